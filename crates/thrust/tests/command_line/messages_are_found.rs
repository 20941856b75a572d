//! `thrust message`.

use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
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
    let told = server.run(&["message", "find", "order-7"]).success();
    let both_ids = contains(text("messageId")).and(contains(text("offsetId")));
    told.stdout(starts_with("order-7 is the key of 1 message\n")).stdout(both_ids);
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    server.prints(&["produce", "-t", "orders", "seven"]);
    server.run(&["message", "find", "order-8"]).code(3).stdout("");
    // The address in this id is none of the cluster's, and is not asked.
    server.run(&["message", "find", "C000020100002A9F0000000000000000"]).code(3);

    let show =
        |offset: &str| server.run(&["message", "show", "-t", "orders", "-q", "0", "-o", offset, "--json"]);
    show("0").success().stdout(contains("\"body\": \"seven\""));
    show("5").code(3);
}

#[test]
fn a_wrong_name_of_a_broker_is_answered_with_the_right_one() {
    let server = Server::start_with(&["brokerName=broker-a"]);
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    server.prints(&["produce", "-t", "orders", "first"]);
    let at = |broker| server.run(&["message", "show", "-t", "orders", "-b", broker, "-q", "0", "-o", "0"]);
    at("broker-a").success().stdout(contains("first"));
    at("broker-b").code(3).stderr(contains("at broker \"broker-b\" (did you mean \"broker-a\"?)"));
}
