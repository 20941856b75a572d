//! `thrust group`.

use super::{Server, cells};

fn behind(server: &Server) -> i64 {
    server.json(&["group", "lag", "billing"])["behind"].as_i64().unwrap()
}

#[test]
fn a_group_is_listed_measured_moved_and_deleted() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    server.prints(&["produce", "-t", "orders", "a", "b", "c"]);
    server.prints(&["consume", "-t", "orders", "-g", "billing", "--count", "2"]);

    let list = server.prints(&["group", "list"]);
    assert_eq!(cells(list.lines().nth(1).unwrap()), ["billing", "0", "1", "orders"], "{list}");
    assert_eq!(behind(&server), 1);
    let lag = server.prints(&["group", "lag", "billing", "-t", "orders"]);
    assert!(lag.ends_with("1 messages behind"), "{lag}");
    assert!(server.json(&["group", "describe", "billing"])["online"].is_null());
    assert!(server.prints(&["group", "describe", "billing"]).contains("no member is online"));

    let reset = ["group", "reset", "billing", "-t", "orders", "--to", "first"];
    let refused = server.run(&reset);
    assert!(refused.code == Some(2) && refused.err.contains("from its first message"), "{refused:?}");
    assert_eq!(behind(&server), 1, "nothing was done");
    let moved = server.json(&[&reset[..], &["--yes"]].concat());
    assert_eq!(moved["queues"][0]["offset"], 0);
    assert_eq!(behind(&server), 3);
    server.prints(&["group", "reset", "billing", "-t", "orders", "--to", "last", "-y"]);
    assert_eq!(behind(&server), 0);

    server.prints(&["group", "delete", "billing", "--yes"]);
    let gone = server.run(&["group", "describe", "billing"]);
    assert_eq!(gone.code, Some(3), "{gone:?}");
}

#[test]
fn a_wrong_name_of_a_group_is_answered_with_the_right_one() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    server.prints(&["produce", "-t", "orders", "a"]);
    server.prints(&["consume", "-t", "orders", "-g", "billing", "--count", "1"]);
    let wrong = server.run(&["group", "lag", "biling"]);
    assert!(wrong.code == Some(3) && wrong.err.contains("(did you mean \"billing\"?)"), "{wrong:?}");
}
