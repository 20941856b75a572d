//! Expressions and properties with what the real Java filter said to them (`interop/filter`).

use std::fs;
use std::path::Path;

use broker::filter::sql::Expression;
use wire::properties;

/// A file of more cases of the same form, for a long comparison.
const MORE: &str = "THRUST_SQL_VECTORS";

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        out.push(match character {
            '\\' => match characters.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                other => other.unwrap(),
            },
            other => other,
        });
    }
    out
}

fn outcome(expression: &str, properties: &[u8]) -> &'static str {
    let Ok(expression) = Expression::compile(expression) else { return "REFUSED" };
    match expression.evaluate(properties) {
        Ok(Some(true)) => "TRUE",
        Ok(Some(false)) => "FALSE",
        Ok(None) => "NULL",
        Err(_) => "ERROR",
    }
}

/// Cases that differ, and how many there were of each outcome.
fn compare(path: &Path) -> (Vec<String>, [usize; 5]) {
    let mut differing = Vec::new();
    let mut counts = [0; 5];
    for line in fs::read_to_string(path).unwrap().lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [expression, pairs @ .., wanted] = &columns[..] else { panic!("{line}") };
        let mut text = Vec::new();
        for pair in pairs {
            let (name, value) = pair.split_once('=').unwrap();
            properties::push(&mut text, name, &unescaped(value));
        }
        let found = outcome(&unescaped(expression), &text);
        if found != *wanted {
            differing.push(format!("{line} but here {found}"));
        }
        let kinds = ["REFUSED", "TRUE", "FALSE", "NULL", "ERROR"];
        counts[kinds.iter().position(|kind| kind == wanted).unwrap()] += 1;
    }
    (differing, counts)
}

#[test]
fn every_outcome_is_that_of_java() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sql_vectors.tsv");
    let (differing, counts) = compare(&golden);
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
    assert!(counts.iter().all(|&count| count >= 50), "{counts:?}");
    if let Some(more) = std::env::var_os(MORE) {
        let (differing, counts) = compare(Path::new(&more));
        let shown = differing.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
        assert!(differing.is_empty(), "{} of {counts:?} differ:\n{shown}", differing.len());
    }
}
