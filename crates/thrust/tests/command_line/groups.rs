//! `thrust group`.

use predicates::str::contains;

use wire::code::{request, response};

use super::{Server, cells};
use crate::process::stub;

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
    assert!(lag.ends_with("\n1 message behind"), "{lag}");
    assert!(server.json(&["group", "describe", "billing"])["online"].is_null());
    assert!(server.prints(&["group", "describe", "billing"]).contains("no member is online"));

    let reset = ["group", "reset", "billing", "-t", "orders", "--to", "first"];
    server.run(&reset).code(2).stderr(contains("from its first message"));
    assert_eq!(behind(&server), 1, "nothing was done");
    let moved = server.json(&[&reset[..], &["--yes"]].concat());
    assert_eq!(moved["queues"][0]["offset"], 0);
    assert_eq!(behind(&server), 3);
    server.prints(&["group", "reset", "billing", "-t", "orders", "--to", "last", "-y"]);
    assert_eq!(behind(&server), 0);

    server.prints(&["group", "delete", "billing", "--yes"]);
    server.run(&["group", "describe", "billing"]).code(3);
}

#[test]
fn a_wrong_name_of_a_group_is_answered_with_the_right_one() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    server.prints(&["produce", "-t", "orders", "a"]);
    server.prints(&["consume", "-t", "orders", "-g", "billing", "--count", "1"]);
    server.run(&["group", "lag", "biling"]).code(3).stderr(contains("(did you mean \"billing\"?)"));
    let wrong_topic = server.run(&["group", "lag", "billing", "-t", "order"]);
    wrong_topic.code(3).stderr(contains("no broker has topic \"order\" (did you mean \"orders\"?)"));
}

#[test]
fn a_group_is_created_paused_and_let_go_on() {
    let server = Server::start();
    let created = server.json(&["group", "create", "audit", "--retries", "3"]);
    assert_eq!((&created["created"], &created["group"]["retries"]), (&true.into(), &3.into()));
    server.run(&["group", "create", "audit"]).code(2).stderr(contains("`thrust group update audit`"));

    let changed = server.prints(&["group", "update", "audit", "--consume", "forbid", "--retries", "5"]);
    let rows: Vec<Vec<&str>> = changed.lines().skip(1).map(|line| cells(line)[1..].to_vec()).collect();
    assert_eq!(rows, [["consume", "allowed", "forbidden"], ["retries", "3", "5"]], "{changed}");
    let same = server.prints(&["group", "update", "audit", "--retries", "5"]);
    assert_eq!(same.trim_end(), "nothing changes: the group has these settings already");
    let described = server.prints(&["group", "describe", "audit"]);
    assert!(
        described.contains("consume    forbidden") && described.contains("5 before the dead"),
        "{described}"
    );
    let wrong = server.run(&["group", "update", "adit", "--retries", "1"]);
    wrong.code(3).stderr(contains("(did you mean \"audit\"?)"));
}

#[test]
fn a_broker_that_refuses_to_tell_is_not_taken_for_a_group_that_is_up_to_date() {
    let server = Server::start();
    server.prints(&["group", "create", "billing"]);
    // One knows no such group, which is no failure; the other refuses for a reason of its own.
    for (code, ends_with) in [(response::SUBSCRIPTION_GROUP_NOT_EXIST, 0), (response::NO_PERMISSION, 1)] {
        let other = stub(move |asked, _| match asked {
            request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => {
                (0, &[], "{\"subscriptionGroupTable\":{}}".to_owned())
            }
            request::GET_CONSUME_STATS => (code, &[], String::new()),
            _ => (response::CONSUMER_NOT_ONLINE, &[], String::new()),
        });
        let _registered = server.register("broker-z", "DefaultCluster", "0", &other.to_string());
        for line in [&["group", "lag", "billing"][..], &["group", "describe", "billing"], &["group", "list"]]
        {
            server.run(line).code(ends_with);
        }
    }
}
