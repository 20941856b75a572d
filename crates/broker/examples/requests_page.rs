//! Prints `docs/requests.md`: `cargo run -p broker --example requests_page > docs/requests.md`.

#[path = "../tests/catalogue/mod.rs"]
mod catalogue;

fn main() {
    print!("{}", catalogue::page());
}
