//! Replays what the fuzzers found (`fuzz/corpus`, made by `fuzz/run`) without a fuzzer.

#[path = "../../../fuzz/parsers.rs"]
mod parsers;

use std::path::Path;

#[test]
fn every_input_of_the_corpus_keeps_what_must_hold() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (target, check) in parsers::TARGETS {
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus.join(target)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            // Shown only when the check below panics.
            println!("{}", path.display());
            check(&bytes);
            inputs += 1;
        }
        assert!(inputs > 0, "fuzz/corpus/{target} is empty; `fuzz/run 60 {target}` fills it");
    }
}

#[test]
fn every_golden_file_cut_anywhere_keeps_what_must_hold() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for entry in std::fs::read_dir(golden).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for start in (0..bytes.len()).step_by(61) {
            for (_, check) in parsers::TARGETS {
                check(&bytes[start..]);
            }
        }
    }
}
