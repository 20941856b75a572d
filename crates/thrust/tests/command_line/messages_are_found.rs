//! `thrust message`.

use serde_json::Value;

use super::Server;

#[test]
fn a_message_is_found_by_whatever_is_known_of_it() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    server.prints(&["topic", "create", "other"]);
    let sent =
        server.prints(&["produce", "-t", "orders", "--tag", "paid", "-k", "order-7", "seven", "--json"]);
    let receipt: Value = serde_json::from_str(&sent).unwrap();
    let text = |name: &str| receipt[name].as_str().unwrap();

    for (args, form) in [
        (&["message", "find", text("messageId")][..], "unique key"),
        (&["message", "find", "-t", "orders", "--unique-key", text("messageId")], "unique key"),
        (&["message", "find", text("offsetId")], "offset id"),
        (&["message", "find", "order-7"], "key"),
        (&["message", "find", "-t", "orders", "--key", "order-7"], "key"),
    ] {
        let found = server.json(args);
        assert_eq!(found["foundBy"], form, "{args:?}");
        let message = &found["messages"][0];
        assert_eq!(
            (&message["messageId"], &message["offsetId"]),
            (&receipt["messageId"], &receipt["offsetId"])
        );
        assert_eq!((&message["body"], &message["tag"]), (&"seven".into(), &"paid".into()));
    }
    let told = server.prints(&["message", "find", "order-7"]);
    assert!(told.starts_with("order-7 is the key of 1 message\n"), "{told}");
    assert!(told.contains(text("messageId")) && told.contains(text("offsetId")), "{told}");
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    server.prints(&["produce", "-t", "orders", "seven"]);
    let missing = server.run(&["message", "find", "order-8"]);
    assert_eq!((missing.code, missing.out.as_str()), (Some(3), ""), "{missing:?}");
    // The address in this id is none of the cluster's, and is not asked.
    let foreign = server.run(&["message", "find", "C000020100002A9F0000000000000000"]);
    assert_eq!(foreign.code, Some(3), "{foreign:?}");

    let show =
        |offset: &str| server.run(&["message", "show", "-t", "orders", "-q", "0", "-o", offset, "--json"]);
    assert!(show("0").out.contains("\"body\": \"seven\""));
    assert_eq!(show("5").code, Some(3));
}
