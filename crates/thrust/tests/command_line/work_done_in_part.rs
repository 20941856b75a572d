//! What is done at some servers and not at others is told so, in what is printed and in the exit code.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::{Value, json};
use wire::code::request;

use super::{Server, run};
use crate::process::stub::Said;
use crate::process::{eventually, stub};

const DOWN: &str = "127.0.0.1:1";

/// Name server and broker in one: `orders` has a queue at each of these brokers, and the group `billing` is known.
fn answer(asked: i32, brokers: &[(&str, Value)]) -> Said {
    let datas = brokers.iter().map(|(name, addresses)| {
        json!({ "brokerName": name, "cluster": "DefaultCluster", "brokerAddrs": addresses })
    });
    let body = match asked {
        request::GET_ROUTEINFO_BY_TOPIC => {
            let queues = brokers.iter().map(|(name, _)| {
                json!({ "brokerName": name, "readQueueNums": 1, "writeQueueNums": 1, "perm": 6, "topicSysFlag": 0 })
            });
            let (datas, queues) = (datas.collect::<Vec<_>>(), queues.collect::<Vec<_>>());
            json!({ "brokerDatas": datas, "queueDatas": queues, "filterServerTable": {} })
        }
        request::GET_BROKER_CLUSTER_INFO => {
            // The group is asked for at the first alone.
            let first = datas.take(1).map(|data| ("a".to_owned(), data));
            let table: serde_json::Map<String, Value> = first.collect();
            json!({ "brokerAddrTable": table, "clusterAddrTable": { "DefaultCluster": ["a"] } })
        }
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => {
            json!({ "subscriptionGroupTable": { "billing": { "groupName": "billing" } } })
        }
        request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => json!({ "topicList": ["orders", "%RETRY%billing"] }),
        request::INVOKE_BROKER_TO_RESET_OFFSET => json!({ "offsetTable": {} }),
        _ => json!({}),
    };
    (0, &[], body.to_string())
}

fn native(names: SocketAddr) -> assert_cmd::assert::Assert {
    let line = ["group", "reset", "billing", "-t", "orders", "--to", "first", "--yes", "-n"];
    run(&[&line[..], &[&names.to_string()]].concat())
}

fn official(names: SocketAddr) -> assert_cmd::assert::Assert {
    let line = ["mqadmin", "resetOffsetByTime", "-g", "billing", "-t", "orders", "-s", "now", "-n"];
    run(&[&line[..], &[&names.to_string()]].concat())
}

#[test]
fn a_group_that_is_moved_at_one_broker_of_two_is_moved_in_part() {
    let names = stub(|asked, own| {
        answer(asked, &[("a", json!({ "0": own.to_string() })), ("b", json!({ "0": DOWN }))])
    });
    native(names).code(1).stderr(contains("not done at b: cannot connect to 127.0.0.1:1"));
    official(names).code(2).stdout(contains("#brokerName")).stderr(contains("1 of 2 failed, as told above"));
}

#[test]
fn a_group_is_moved_nowhere_while_a_broker_has_no_master() {
    let moved = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&moved);
    let names = stub(move |asked, own| {
        seen.fetch_or(asked == request::INVOKE_BROKER_TO_RESET_OFFSET, Ordering::Relaxed);
        answer(asked, &[("a", json!({ "0": own.to_string() })), ("b", json!({ "1": DOWN }))])
    });
    native(names).code(4);
    official(names).code(3).stdout("");
    assert!(!moved.load(Ordering::Relaxed));
}

#[test]
fn a_topic_is_deleted_where_that_is_possible() {
    let server = Server::start();
    for topic in ["orders", "invoices"] {
        server.prints(&["topic", "create", topic]);
    }
    let _down = server.master_that_is_down("broker-z");
    let deleted = server.run(&["topic", "delete", "orders", "--yes"]).code(1);
    deleted.stdout("").stderr(contains("not done at 127.0.0.1:1: cannot connect"));
    server.run(&["topic", "route", "orders"]).code(3);
    let deleted = server.run(&["mqadmin", "deleteTopic", "-c", "DefaultCluster", "-t", "invoices"]).code(2);
    deleted.stdout("delete topic [invoices] from NameServer success.\n");
    server.run(&["topic", "route", "invoices"]).code(3);
}

#[test]
fn what_only_some_brokers_have_is_made_at_the_others() {
    let server = Server::start_with(&["brokerName=broker-a"]);
    server.prints(&["topic", "create", "orders", "-q", "4"]);
    server.prints(&["group", "create", "billing"]);
    let another = server.another_broker("broker-b", &[]);
    eventually("both are registered", || server.json(&["cluster", "list"]).as_array().unwrap().len() == 2);
    let told = "does not have topic \"orders\"; `thrust topic create orders --cluster DefaultCluster`";
    server.run(&["topic", "update", "orders", "-q", "4"]).success().stderr(contains(told));
    let new = another.broker().to_string();
    let created = server.prints(&["topic", "create", "orders", "-q", "4"]);
    assert!(created.ends_with(&format!(" at {new}")), "{created}");
    let created = server.prints(&["group", "create", "billing"]);
    assert!(created.ends_with(&format!(" at {new}")), "{created}");
    server.run(&["topic", "create", "orders"]).code(2).stderr(contains("there already").and(contains(&new)));
    server.run(&["group", "create", "billing"]).code(2).stderr(contains("there already"));
    server.run(&["topic", "update", "orders", "-q", "4"]).success().stderr("");
}

#[test]
fn a_list_that_lacks_something_says_so() {
    let names = stub(|asked, own| {
        answer(asked, &[("a", json!({ "0": own.to_string() })), ("b", json!({ "0": DOWN }))])
    });
    for (command, heading, what) in
        [("statsAll", "#Topic", "orders"), ("consumerProgress", "billing", "billing")]
    {
        let told = run(&["mqadmin", command, "-n", &names.to_string()]).code(2);
        let why = contains(format!("mqadmin: {what}: ")).and(contains("127.0.0.1:1"));
        told.stdout(contains(heading)).stderr(why.and(contains("1 of 1 failed")));
    }
}

#[test]
fn to_do_something_at_no_broker_is_no_success() {
    let names = stub(|asked, _| answer(asked, &[("a", json!({ "1": DOWN }))]));
    let line = ["mqadmin", "updateTopic", "-c", "DefaultCluster", "-t", "orders", "-n"];
    let told = run(&[&line[..], &[&names.to_string()]].concat()).code(4);
    told.stdout("").stderr(contains("no broker of cluster \"DefaultCluster\" has a master"));
}

#[test]
fn a_name_server_that_is_down_keeps_nothing_from_the_others() {
    let server = Server::start();
    let both = format!("{DOWN};{}", server.names);
    let put = ["updateOrderConf", "-m", "put", "-t", "orders", "-v", "broker-a:4"];
    let get = ["mqadmin", "updateOrderConf", "-m", "get", "-t", "orders"];
    let failed = || contains(format!("mqadmin: {DOWN}: ")).and(contains("1 of 2 failed"));
    run(&[&["mqadmin"], &put[..], &["-n", &both]].concat()).code(2).stdout("").stderr(failed());
    server.run(&get).success().stdout(contains("broker-a:4"));
    let delete = ["deleteKvConfig", "-s", "ORDER_TOPIC_CONFIG", "-k", "orders"];
    run(&[&["mqadmin"], &delete[..], &["-n", &both]].concat()).code(2).stdout("").stderr(failed());
    server.run(&get).code(4);
}
