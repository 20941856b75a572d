//! Prints `docs/configuration.md`: `cargo run -p settings --example configuration_page > docs/configuration.md`.

fn main() {
    print!("{}", settings::configuration_page());
}
