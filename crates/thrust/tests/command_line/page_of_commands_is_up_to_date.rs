//! `docs/commands.md` says what the definitions say.

use super::run;
use crate::process::printed;

#[test]
fn the_page_is_what_the_definitions_give() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md");
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page.trim_end() == printed(&run(&["commands"])).trim_end(),
        "docs/commands.md is not up to date; run `cargo run -p thrust -- commands > docs/commands.md`"
    );
}
