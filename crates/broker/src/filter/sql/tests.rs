use super::*;

fn outcome(expression: &str, properties: &[u8]) -> Option<bool> {
    Expression::compile(expression).unwrap().evaluate(properties).unwrap()
}

fn fault(expression: &str) -> (usize, String) {
    let error = Expression::compile(expression).unwrap_err();
    (error.position, error.to_string())
}

#[test]
fn a_missing_property_makes_neither_true_nor_false() {
    assert_eq!(outcome("a > 1", b""), None);
    assert_eq!(outcome("NOT (a > 1)", b""), None);
    assert_eq!(outcome("a > 1 OR TRUE", b""), Some(true));
    assert_eq!(outcome("a > 1 AND FALSE", b""), Some(false));
    assert_eq!(outcome("a IS NULL", b""), Some(true));
    assert_eq!(outcome("5 = a", b""), Some(false));
    assert_eq!(outcome("a = 5", b""), None);
    assert_eq!(outcome("a NOT IN ('x')", b""), None);
    assert_eq!(outcome("a NOT CONTAINS 'x'", b""), Some(false));
}

#[test]
fn the_last_of_equal_names_counts() {
    let properties = b"region\x01hangzhou\x02a\x011\x02a\x013\x02";
    assert_eq!(outcome("a BETWEEN 0 AND 3 AND region IN ('shanghai', 'hangzhou')", properties), Some(true));
    assert_eq!(outcome("a < 2", properties), Some(false));
}

#[test]
fn a_text_that_is_no_number_matches_nothing() {
    let expression = Expression::compile("a > 5").unwrap();
    assert_eq!(expression.evaluate(b"a\x01much\x02"), Err(EvaluationError::NoNumber));
    assert!(!expression.matches(b"a\x01much\x02"));
    assert_eq!(expression.evaluate(b"a\x015.5\x02"), Err(EvaluationError::NoNumber));
    assert!(Expression::compile("a > 5.0").unwrap().matches(b"a\x015.5\x02"));
}

#[test]
fn a_fault_is_named_with_its_place() {
    for (expression, position, part) in [
        ("", 1, "at its end: a property, a value"),
        ("a >", 4, "at its end"),
        ("a = 1 AND (b > 2", 17, ") expected, not the end"),
        ("a > 5 AND b ! 3", 13, "'!' has no meaning"),
        ("ä = 1", 1, "'ä' has no meaning"),
        ("a = 'ä' AND b LIKE 'x'", 15, ""),
        ("a = 'open", 5, "does not end"),
        ("5", 1, "a comparison or a property"),
        ("a = 1 AND 'b'", 11, "a comparison or a property"),
        ("a > 'x'", 5, "only numbers"),
        ("a = NULL", 5, "IS NULL"),
        ("a BETWEEN 5 AND 3", 11, "lower bound"),
        ("5 IN ('a')", 1, "properties only"),
        ("a IN (5)", 7, "a text in single quotes expected, not 5"),
        ("a = 99999999999999999999", 5, "9223372036854775807"),
        ("a > 0.0", 5, "write 0 as an integer"),
        ("a NOT > 5", 7, "after NOT"),
    ] {
        if part.is_empty() {
            // What follows a complete expression is not looked at, as in Java.
            assert!(Expression::compile(expression).is_ok());
            continue;
        }
        let (at, text) = fault(expression);
        assert_eq!(at, position, "{expression}: {text}");
        assert!(text.contains(part), "{expression}: {text}");
    }
}

#[test]
fn deep_and_large_expressions_are_refused_before_they_hurt() {
    for (open, close) in [("(", ")"), ("NOT ", ""), ("- ", ""), ("+", ""), ("NOT (", ")")] {
        let deep = format!("{}a = 1{}", open.repeat(20_000), close.repeat(20_000));
        let (_, text) = fault(&deep);
        assert!(text.contains("within one another") || text.contains("bytes at most"), "{text}");
    }
    let (_, text) = fault(&format!("a{}", " IS NULL".repeat(5_000)));
    assert!(text.contains("within one another"), "{text}");
    let (_, text) = fault(&format!("a IN ('{}')", "x".repeat(EXPRESSION_BYTES_MAX)));
    assert!(text.contains("bytes at most"), "{text}");
    let deepest = format!("{}a = 1{}", "(".repeat(DEPTH_MAX), ")".repeat(DEPTH_MAX));
    assert!(Expression::compile(&deepest).is_ok());
}

#[test]
fn long_chains_are_not_deep() {
    let chain = (0..4_000).map(|number| format!("a = {number}")).collect::<Vec<_>>().join(" OR ");
    assert_eq!(outcome(&chain, b"a\x013999\x02"), Some(true));
    assert_eq!(outcome(&chain, b"a\x014000\x02"), Some(false));
}
