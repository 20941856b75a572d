//! `docs/configuration.md` says what the definitions say.

#[test]
fn the_page_is_the_one_that_the_definitions_give() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let page = std::fs::read_to_string(path).unwrap();
    assert!(
        page == settings::configuration_page(),
        "docs/configuration.md is old: cargo run -p settings --example configuration_page > docs/configuration.md"
    );
}
