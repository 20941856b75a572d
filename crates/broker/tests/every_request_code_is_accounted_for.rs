//! Each code is served, refused with a reason, or nobody's; what is served is tested; and the page says so.

use crate::catalogue::{Fate, fates, page, root, tests_of};
use crate::support::World;
use wire::code::{request, response};

#[test]
fn each_code_has_one_fate_and_what_is_served_has_a_test() {
    for (code, fates) in fates() {
        let name = request::name(code).unwrap_or_default();
        assert_eq!(fates.len(), 1, "{code} {name}: {fates:?}");
        if let Fate::Served(function) = &fates[0] {
            let tests = tests_of(code);
            assert!(!tests.is_empty(), "{code} {name}, {function}: tests/catalogue/mod.rs names no test");
            for test in tests {
                assert!(root().join(&test).is_file(), "{code} {name}: there is no {test}");
            }
        }
    }
}

#[test]
fn the_page_says_what_the_sources_say() {
    let path = root().join("docs/requests.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/requests.md is old: cargo run -p broker --example requests_page > docs/requests.md"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_refuses_what_it_is_said_to_refuse_and_nothing_else() {
    let world = World::start().await;
    let peer = world.peer();
    for (code, fates) in fates() {
        // What lacks all its fields is refused for that, by who serves it; what takes none does no harm to an empty
        // store.
        let answer = peer.ask(code, &[]).await;
        let remark = answer.remark.unwrap_or_default();
        let refused = answer.code == response::REQUEST_CODE_NOT_SUPPORTED;
        match &fates[0] {
            Fate::Served(function) if function.starts_with("broker") => assert!(!refused, "{code}: {remark}"),
            Fate::Refused(reason) => assert!(refused && remark.contains(reason.as_str()), "{code}: {remark}"),
            _ => assert!(refused, "{code}: {} {remark}", answer.code),
        }
    }
}
