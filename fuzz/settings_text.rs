//! What must hold for any text of a `broker.conf` or of a configuration request. Shared by the fuzz target and by the
//! plain test that replays its corpus (`crates/settings/tests/fuzz_corpus.rs`).

use settings::properties::{self, Entry};

/// Entries survive being written and read again, a change is seen in the changed text, and loading never panics.
pub fn settings_text(bytes: &[u8]) {
    let text = properties::decode(bytes);
    let _ = settings::load_nameserver(&text, &[]);
    if let Ok(loaded) = settings::load_broker(&text, &[]) {
        let _ = loaded.warnings();
    }
    let _ = settings::update(&settings::Broker::default(), &text);
    let Ok(entries) = properties::parse(&text) else { return };
    let pairs = |entries: &[Entry]| -> Vec<(String, String)> {
        entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    };
    let before = pairs(&entries);
    let written = properties::format(before.clone());
    assert!(written.is_ascii());
    assert_eq!(pairs(&properties::parse(&written).unwrap()), before);
    let revised = properties::revise(&text, &[("brokerName", "b")]).unwrap();
    let after = properties::parse(&revised).unwrap();
    assert_eq!(after.iter().rev().find(|entry| entry.key == "brokerName").unwrap().value, "b");
    let others = |pairs: Vec<(String, String)>| -> Vec<_> {
        pairs.into_iter().filter(|(key, _)| key != "brokerName").collect()
    };
    assert_eq!(others(pairs(&after)), others(before));
}
