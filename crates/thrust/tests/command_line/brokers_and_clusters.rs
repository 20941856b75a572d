//! `thrust cluster`, `thrust broker config` and `thrust broker status`.

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use super::{Server, cells};
use crate::process::{eventually, printed};

#[test]
fn a_cluster_shows_its_brokers_and_their_work() {
    let server = Server::start();
    let list = server.prints(&["cluster", "list"]);
    let row = cells(list.lines().nth(1).unwrap());
    assert_eq!((row[2], row[3]), ("0", "master"), "{list}");
    assert_eq!(row[4], server.json(&["cluster", "list"])[0]["address"]);

    let stats = server.json(&["cluster", "stats"]);
    assert!(stats[0]["inPerSecond"].is_f64() && stats[0]["version"].is_string(), "{stats}");
    let status = server.json(&["broker", "status", "-b", row[1]]);
    assert_eq!(status[0]["values"]["brokerVersionDesc"], stats[0]["version"]);
}

#[test]
fn a_setting_of_a_running_broker_is_changed_and_the_change_is_shown() {
    let server = Server::start();
    let value = || {
        server.json(&["broker", "config", "get", "fileReservedTime"])[0]["values"]["fileReservedTime"].clone()
    };
    let old = value();
    let set = server.json(&["broker", "config", "set", "fileReservedTime=33"]);
    assert_eq!(set["changes"][0]["setting"], "fileReservedTime");
    assert_eq!((&set["changes"][0]["from"], &set["changes"][0]["to"]), (&old, &"33".into()));
    assert_eq!(value(), "33");
    let same = server.prints(&["broker", "config", "set", "fileReservedTime=33"]);
    assert!(same.contains("nothing changes"), "{same}");

    let unknown = server.run(&["broker", "config", "set", "fileReservedTme=1"]);
    unknown.code(2).stderr(contains("did you mean \"fileReservedTime\"?"));
    server.run(&["broker", "config", "get", "-b", "nobody"]).code(3);
    let unknown = server.run(&["broker", "config", "get", "fileReservdTime"]);
    unknown.code(3).stderr(contains("(did you mean \"fileReservedTime\"?)"));
}

#[test]
fn a_setting_that_is_not_in_force_is_not_told_as_if_it_were() {
    let server = Server::start_with(&["brokerName=broker-a"]);
    let told =
        contains("flushDiskType acts at a start only and was not kept (the broker was started without -c)");
    let set = server.run(&["broker", "config", "set", "flushDiskType=SYNC_FLUSH"]).success();
    set.stderr(contains("broker-a/0: ").and(told.clone()));
    let set = server.json(&["broker", "config", "set", "flushDiskType=ASYNC_FLUSH"]);
    let remark = &set["remarks"][0];
    assert_eq!((&remark["broker"], &remark["brokerId"]), (&"broker-a".into(), &0.into()));
    assert!(remark["remark"].as_str().unwrap().contains("was not kept"), "{set}");
    let line = ["mqadmin", "updateBrokerConfig", "-b", &server.broker, "-k", "flushDiskType", "-v"];
    let set = server.run(&[&line[..], &["SYNC_FLUSH"]].concat()).success();
    set.stdout(format!("update broker config success, {}\n", server.broker)).stderr(told);
    // What has no effect at all is no setting of the broker's, and `thrust broker` does not send it.
    let line = ["mqadmin", "updateBrokerConfig", "-b", &server.broker, "-k", "useTLS", "-v", "true"];
    server.run(&line).stderr(contains("useTLS has no effect"));
}

#[test]
fn settings_of_several_brokers_change_with_consent_alone() {
    let server = Server::start_with(&["brokerName=broker-a"]);
    let _another = server.another_broker("broker-b", &[]);
    eventually("both are registered", || server.json(&["cluster", "list"]).as_array().unwrap().len() == 2);
    let values = || {
        let told = server.json(&["broker", "config", "get", "fileReservedTime"]);
        let value = |at: usize| told[at]["values"]["fileReservedTime"].as_str().unwrap().to_owned();
        [value(0), value(1)]
    };
    let line = ["broker", "config", "set", "fileReservedTime=1"];
    let told = contains("settings of 2 brokers change: broker-a and broker-b; --broker names one");
    server.run(&line).code(2).stderr(told.and(contains("add --yes")));
    assert_eq!(values(), ["72", "72"]);
    server.prints(&[&line[..], &["--broker", "broker-b"]].concat());
    assert_eq!(values(), ["72", "1"]);
    server.prints(&["broker", "config", "set", "fileReservedTime=2", "--yes"]);
    assert_eq!(values(), ["2", "2"]);
}

#[test]
fn settings_change_nowhere_when_one_broker_cannot_be_asked() {
    let server = Server::start_with(&["brokerName=broker-a"]);
    let _down = server.master_that_is_down("broker-b");
    server.run(&["broker", "config", "set", "fileReservedTime=1", "--yes"]).code(4);
    let told = server.json(&["broker", "config", "get", "fileReservedTime", "--broker", "broker-a"]);
    assert_eq!(told[0]["values"]["fileReservedTime"], "72");
}

#[test]
fn a_broker_that_is_down_hides_no_other() {
    let server = Server::start_with(&["brokerName=broker-a"]);
    let _replica = server.replica_that_is_down("broker-a");
    let told = server.run(&["cluster", "stats"]).code(1);
    let told =
        told.stderr(contains("broker-a/1: cannot connect to 127.0.0.1:1").and(contains("`thrust doctor`")));
    let table = printed(&told);
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(cells).collect();
    assert_eq!((rows.len(), rows[0][1], rows[1][1], rows[1][3]), (2, "0", "1", "-"), "{table}");
    let told = server.run(&["cluster", "stats", "--json"]).code(1);
    let stats: serde_json::Value = serde_json::from_str(&printed(&told)).unwrap();
    assert!(stats[0]["error"].is_null() && stats[0]["inPerSecond"].is_f64(), "{stats}");
    assert!(stats[1]["error"].is_string() && stats[1]["inPerSecond"].is_null(), "{stats}");
}

#[test]
fn the_official_list_of_clusters_says_which_broker_is_down() {
    let server = Server::start_with(&["brokerName=broker-a"]);
    let _replica = server.replica_that_is_down("broker-a");
    for line in [&["mqadmin", "clusterList"][..], &["mqadmin", "clusterList", "-m"]] {
        let told = server.run(line).code(2);
        let told = told.stderr(contains("mqadmin: broker-a/1: ").and(contains("1 of 2 failed")));
        assert_eq!(printed(&told).lines().count(), 3, "the broker that is down is listed all the same");
    }
}
