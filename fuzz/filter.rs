//! What must hold for any expression and any properties. Shared by the fuzz target and by the plain test that replays
//! its corpus (`crates/broker/tests/fuzz_corpus.rs`).

use broker::filter::sql::Expression;

/// Expression and properties, separated by a line feed with a zero before it.
pub fn sql_filter(bytes: &[u8]) {
    let split = bytes.windows(2).position(|pair| pair == b"\0\n");
    let (text, properties) = split.map_or((bytes, &b""[..]), |at| (&bytes[..at], &bytes[at + 2..]));
    let text = String::from_utf8_lossy(text);
    match Expression::compile(&text) {
        Ok(expression) => {
            assert_eq!(expression.matches(properties), expression.evaluate(properties) == Ok(Some(true)));
            // What stands in brackets means the same, unless it ends before its end or a limit is met.
            if !text.contains(')')
                && let Ok(bracketed) = Expression::compile(&format!("({text}\n)"))
            {
                assert_eq!(bracketed.evaluate(properties), expression.evaluate(properties));
            }
        }
        Err(error) => {
            assert!(error.position >= 1 && error.position <= text.chars().count() + 1);
            assert!(!error.to_string().is_empty());
        }
    }
}
