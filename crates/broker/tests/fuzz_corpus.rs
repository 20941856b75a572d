//! Replays what the fuzzer found (`fuzz/corpus/sql_filter`, made by `fuzz/run`) without a fuzzer.

#[path = "../../../fuzz/filter.rs"]
mod checks;

use std::path::Path;

#[test]
fn every_input_of_the_corpus_keeps_what_must_hold() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/sql_filter");
    let mut inputs = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        // Shown only when the check below panics.
        println!("{}", path.display());
        checks::sql_filter(&std::fs::read(&path).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "the corpus is empty; `fuzz/run 60 sql_filter` fills it");
}
