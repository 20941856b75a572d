//! `thrust topic`.

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use super::{Server, cells};

#[test]
fn a_topic_is_created_shown_changed_and_deleted() {
    let server = Server::start();
    let created = server.prints(&["topic", "create", "orders", "-q", "4", "--type", "fifo"]);
    assert!(created.starts_with("created topic orders with 4 queues at 127.0.0.1:"), "{created}");
    let again = server.run(&["topic", "create", "orders"]);
    again.code(2).stderr(contains("`thrust topic update orders` changes it"));

    let list = server.prints(&["topic", "list"]);
    let lines: Vec<_> = list.lines().map(cells).collect();
    assert_eq!(lines[0], ["TOPIC", "CLASS", "TYPE", "PERM", "QUEUES", "BROKERS"]);
    assert_eq!(lines[1..], [["orders", "topic", "FIFO", "rw", "4", "1"]], "only topics of people");
    let all = server.json(&["topic", "list", "--all"]);
    assert!(all.as_array().unwrap().len() > 1 && all.to_string().contains("\"system\""), "{all}");

    let changes = server.json(&["topic", "update", "orders", "-q", "6", "--perm", "r"]);
    let changes = changes["changes"].as_array().unwrap();
    let setting = |name: &str| changes.iter().find(|change| change["setting"] == name).unwrap();
    assert_eq!((&setting("perm")["from"], &setting("perm")["to"]), (&"rw".into(), &"r".into()));
    assert_eq!(setting("writeQueues")["to"], "6");
    assert_eq!(changes.len(), 3, "what stays is not named: {changes:?}");
    let same = server.prints(&["topic", "update", "orders", "--perm", "r"]);
    assert!(same.contains("nothing changes"), "{same}");

    let told = server.json(&["topic", "describe", "orders"]);
    assert_eq!((told["topic"].as_str(), told["messages"].as_i64()), (Some("orders"), Some(0)));
    let config = told["brokers"].as_object().unwrap().values().next().unwrap();
    assert_eq!(config["attributes"]["message.type"], "FIFO", "the update has kept it");
    assert_eq!(config["readQueues"], 6);

    // Nobody can be asked.
    let refused = server.run(&["topic", "delete", "orders"]).code(2);
    refused
        .stderr(contains("\"orders\" with 0 messages").and(contains("--yes")).and(contains(&server.names)));
    server.prints(&["topic", "delete", "orders", "--yes"]);
    assert!(server.prints(&["topic", "list"]).contains("there are no topics"));
}

#[test]
fn a_route_names_brokers_and_addresses() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "3"]);
    let route = server.json(&["topic", "route", "orders"]);
    let first = &route["route"][0];
    assert_eq!((first["readQueues"].as_i64(), first["perm"].as_str()), (Some(3), Some("rw")));
    assert!(first["addresses"]["0"].as_str().unwrap().starts_with("127.0.0.1:"), "{first}");
    let text = server.prints(&["topic", "route", "orders"]);
    assert!(text.contains("0=127.0.0.1:"), "{text}");
}

#[test]
fn a_wrong_name_is_answered_with_the_right_one() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders"]);
    for command in [&["topic", "describe", "ordesr"][..], &["consume", "-t", "ordesr", "-g", "g"]] {
        let told = contains("no broker has topic \"ordesr\" (did you mean \"orders\"?)");
        server.run(command).code(3).stderr(told.and(contains("\n").count(1)));
    }
    for what in ["topic", "group"] {
        let told = contains("there is no cluster \"DefaultClustr\" (did you mean \"DefaultCluster\"?)");
        server.run(&[what, "create", "new", "--cluster", "DefaultClustr"]).code(3).stderr(told);
    }
}

#[test]
fn queues_with_messages_do_not_go_without_a_word() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "4"]);
    // Nothing is lost with queues that are empty.
    server.prints(&["topic", "update", "orders", "-q", "2"]);
    server.prints(&["produce", "-t", "orders", "a", "b", "c", "d", "e", "f"]);
    let fewer = ["topic", "update", "orders", "-q", "1"];
    let refused = server.run(&fewer).code(2);
    refused.stderr(contains("topic \"orders\" gets fewer queues: ").and(contains("are read no more")));
    assert_eq!(server.json(&["topic", "route", "orders"])["route"][0]["readQueues"], 2, "nothing was done");
    // Those that are written no more are read to their end.
    server.prints(&["topic", "update", "orders", "--write-queues", "1"]);
    server.prints(&[&fewer[..], &["--yes"]].concat());
    assert_eq!(server.json(&["topic", "route", "orders"])["route"][0]["readQueues"], 1);
}
