//! The text form, compared with what `java.util.Properties.load` makes of it.

use proptest::prelude::*;
use settings::properties::{decode, format, parse, revise};

fn pairs(text: &str) -> Vec<(String, String)> {
    parse(text).unwrap().into_iter().map(|entry| (entry.key, entry.value)).collect()
}

#[track_caller]
fn reads(text: &str, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    assert_eq!(pairs(text), expected, "{text:?}");
}

#[test]
fn separators_and_blanks_as_in_the_documentation_of_java() {
    reads("Truth = Beauty", &[("Truth", "Beauty")]);
    reads(" Truth:Beauty", &[("Truth", "Beauty")]);
    reads("Truth                    :Beauty", &[("Truth", "Beauty")]);
    reads("Truth Beauty", &[("Truth", "Beauty")]);
    reads("a==b", &[("a", "=b")]);
    reads("a = :b", &[("a", ":b")]);
    reads("cheeses", &[("cheeses", "")]);
    reads("=x", &[("", "x")]);
    reads("a\\=b\\:c\\ d=1", &[("a=b:c d", "1")]);
    reads("a=b \t ", &[("a", "b \t ")]);
    reads("a\u{c}b", &[("a", "b")]);
}

#[test]
fn lines_that_continue() {
    reads(
        "fruits      apple, banana, pear, \\\n            cantaloupe, watermelon, \\\r\n            kiwi, mango",
        &[("fruits", "apple, banana, pear, cantaloupe, watermelon, kiwi, mango")],
    );
    reads("a=1\\\\\nb=2", &[("a", "1\\"), ("b", "2")]);
    reads("a=1\\\n\nb=2", &[("a", "1"), ("b", "2")]);
    reads("a=1\\\n#b=2", &[("a", "1#b=2")]);
    reads("\\\n#b=2", &[]);
    reads("\\\n\n#b=2\nc", &[("c", "")]);
    reads("a=1\\", &[("a", "1")]);
    let entries = parse("\n\na=1\\\n2\rb=3").unwrap();
    assert_eq!((entries[0].line, entries[0].last_line, entries[1].line), (3, 4, 5));
}

#[test]
fn comments_never_continue() {
    reads("# a \\\n b=1\n!x\n   # y\r\n\t!z=\rc=2", &[("b", "1"), ("c", "2")]);
}

#[test]
fn escapes() {
    reads(r#"a=\t\n\r\f\\\q\""#, &[("a", "\t\n\r\u{c}\\q\"")]);
    reads(r"a=\u0041\u00e9\uD83D\uDE00\uD83Dx", &[("a", "Aé😀\u{fffd}x")]);
    reads(r"path=C:\temp", &[("path", "C:\temp")]);
    let error = parse("\nx=C:\\users").unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"line 2: "\users" is not a \uXXXX escape with four hexadecimal digits; write \\ for a backslash"#
    );
    for broken in ["a=\\u", "a=\\u12", "a=\\u+123", "a=\\u12é4", "a\\u=1"] {
        assert!(parse(broken).is_err(), "{broken}");
    }
}

#[test]
fn files_in_utf_8_with_a_mark_and_in_latin_1() {
    assert_eq!(decode(b"\xef\xbb\xbfa=1"), "a=1");
    assert_eq!(decode("a=主".as_bytes()), "a=主");
    assert_eq!(decode(b"a=caf\xe9"), "a=café");
}

#[test]
fn what_is_written_is_ascii_because_java_clients_read_latin_1() {
    assert_eq!(format([("a b", " \u{e9}\\😀 ")]), "a\\ b=\\ \\u00E9\\\\\\uD83D\\uDE00 \n");
}

#[test]
fn a_change_keeps_comments_and_order() {
    let text = "# who\nbrokerName = a\n\n! how long\nfileReservedTime=48\\\n  00\nbrokerName=b\nlistenPort=1";
    let revised =
        revise(text, &[("fileReservedTime", "12"), ("brokerName", "c"), ("new", "1"), ("new", "2")]);
    assert_eq!(
        revised.unwrap(),
        "# who\nbrokerName = a\n\n! how long\nfileReservedTime=12\nbrokerName=c\nlistenPort=1\nnew=2\n"
    );
    assert_eq!(revise("", &[("a", "1")]).unwrap(), "a=1\n");
    assert_eq!(revise("x=\\\r", &[("a", "1")]).unwrap(), "x=\\\r\n\na=1\n");
    assert_eq!(revise("x=\\", &[("a", "1")]).unwrap(), "x=\\\n\na=1\n");
}

/// Text that is made of the pieces the form gives a meaning to.
fn tricky() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\\".to_owned()),
        Just("\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("=".to_owned()),
        Just(" ".to_owned()),
        Just("#".to_owned()),
        Just("\\u00e".to_owned()),
        Just("brokerName".to_owned()),
        Just("listenPort=1".to_owned()),
        any::<char>().prop_map(String::from),
        "[a-z0-9:!\t\u{c}\r]{0,3}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    // Failures print the text itself; there is no file of them to keep.
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(written in prop::collection::vec((tricky(), tricky()), 0..6)) {
        let text = format(written.iter().map(|(key, value)| (key, value)));
        prop_assert!(text.is_ascii());
        prop_assert_eq!(pairs(&text), written);
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in tricky(), bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = parse(&text);
        let _ = parse(&decode(&bytes));
        let machine = settings::Surroundings::default();
        let _ = settings::load_in::<settings::Broker>(&machine, &text, &[(text.clone(), text.clone())]);
        let _ = settings::update(&settings::Broker::default(), &text);
        for row in <settings::Broker as settings::Table>::ROWS {
            let _ = settings::Broker::default().set(row.key, &text);
        }
    }

    #[test]
    fn a_change_changes_one_key_and_nothing_else(text in tricky(), key in "[a-z]{1,3}|brokerName", value in tricky()) {
        if let Ok(before) = parse(&text) {
            let revised = revise(&text, &[(&key, &value)]).unwrap();
            let mut expected: Vec<_> = before.into_iter().map(|entry| (entry.key, entry.value)).collect();
            match expected.iter_mut().rev().find(|pair| pair.0 == key) {
                Some(pair) => pair.1 = value,
                None => expected.push((key, value)),
            }
            prop_assert_eq!(pairs(&revised), expected);
        }
    }
}
