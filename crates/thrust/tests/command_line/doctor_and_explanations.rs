//! `thrust doctor` and `thrust explain`, `thrust message track` and `resend`: what is wrong, why, and what to do.

use std::net::{Shutdown, TcpListener, TcpStream};

use predicates::str::contains;
use serde_json::Value;

use super::{Server, run};
use crate::process::printed;

/// Findings of a check that are no `ok`: what and remedy.
fn findings(report: &Value, check: &str) -> Vec<(String, String)> {
    let all = report["findings"].as_array().unwrap().iter();
    let bad = all.filter(|finding| finding["check"] == check && finding["level"] != "ok");
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    bad.map(|finding| (text(finding, "what"), text(finding, "remedy"))).collect()
}

fn doctor(server: &Server, more: &[&str]) -> (i32, Value) {
    let done = server.run(&[&["doctor", "--json"][..], more].concat());
    let report = serde_json::from_str(&printed(&done)).unwrap_or_else(|error| panic!("{error}: {done}"));
    (done.get_output().status.code().unwrap(), report)
}

fn billing_is_behind(server: &Server) {
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    server.prints(&["produce", "-t", "orders", "--tag", "paid", "-k", "7", "a", "b", "c"]);
    server.prints(&["consume", "-t", "orders", "-g", "billing", "--count", "1"]);
}

#[test]
fn a_healthy_cluster_has_no_findings_but_perhaps_of_its_disk() {
    let server = Server::start();
    billing_is_behind(&server);
    let data = server.dir.path().to_str().unwrap();
    let (_, report) = doctor(&server, &["--data", data]);
    for check in ["nameserver", "broker", "clock", "route", "group"] {
        assert_eq!(findings(&report, check), [], "{check}");
        assert!(
            report["findings"].as_array().unwrap().iter().any(|finding| finding["check"] == check),
            "{check}"
        );
    }
    server.run(&["doctor"]).stdout(contains("ok       clock       "));
    // The broker runs here: its disk and limits are looked at without being named.
    let checks = |more: &[&str]| {
        let (_, report) = doctor(&server, more);
        let findings = report["findings"].as_array().unwrap();
        findings.iter().filter(|finding| matches!(finding["check"].as_str(), Some("disk" | "files"))).count()
    };
    assert_eq!([checks(&[]), checks(&["--remote"])], [3, 0]);
}

#[test]
fn what_is_wrong_is_told_with_a_remedy_and_an_exit_code_for_monitoring() {
    let server = Server::start();
    billing_is_behind(&server);
    let (code, report) = doctor(&server, &["--max-behind", "1"]);
    assert!(code >= 1);
    let (what, remedy) = findings(&report, "group").remove(0);
    assert_eq!(what, "billing is 2 messages behind with 0 members online");
    assert!(remedy.starts_with("start its consumers"), "{remedy}");

    server.prints(&["broker", "config", "set", "brokerPermission=4"]);
    server.prints(&["group", "update", "billing", "--consume", "forbid"]);
    let (code, report) = doctor(&server, &[]);
    assert!(code >= 1);
    let told = findings(&report, "store");
    assert!(
        told.iter().any(|(what, _)| what.ends_with("takes no messages (brokerPermission=4)")),
        "{told:?}"
    );
    assert!(findings(&report, "group")[0].1.contains("--consume allow"));

    let names = format!("{};127.0.0.1:1", server.names);
    let half = run(&["doctor", "-n", &names, "--json"]).code(2);
    let report: Value = serde_json::from_str(&printed(&half)).unwrap();
    assert!(findings(&report, "nameserver")[0].0.starts_with("127.0.0.1:1 does not answer"));
    assert_eq!(report["level"], "error");
    run(&["doctor", "-n", "127.0.0.1:1"]).code(2);
}

#[test]
fn a_broker_is_asked_at_its_fast_port_too() {
    let (server, port) = with_ports(&[]);
    let (_, report) = doctor(&server, &["--remote"]);
    assert_eq!(findings(&report, "broker"), []);
    let fast = format!("answers at its fast port too, 127.0.0.1:{}", port - 2);
    assert!(report.to_string().contains(&fast), "{report}");
}

#[test]
fn a_fast_port_that_is_closed_is_told() {
    // Clients are told an address at which a door is open for the main port alone.
    let (server, port) = with_ports(&["--advertise", "127.0.0.2"]);
    open_door(port);
    let (code, report) = doctor(&server, &["--remote"]);
    let (what, remedy) = findings(&report, "broker").remove(0);
    assert!(what.contains(&format!("does not answer at its fast port 127.0.0.2:{}", port - 2)), "{what}");
    assert!(remedy.contains("sendMessageWithVIPChannel") && code >= 1, "{remedy}");
}

/// A broker whose port is named, as those of people are, so that it has its fast port too.
fn with_ports(more: &[&str]) -> (Server, u16) {
    // Tests of other processes take ports that the system gives, which are higher.
    for port in (20_000..30_000).step_by(7).skip(std::process::id() as usize % 1_000) {
        let is_free = |ip, port| TcpListener::bind((ip, port)).is_ok();
        let own = [port, port - 2, port + 1].iter().all(|port| is_free("127.0.0.1", *port));
        if own && is_free("127.0.0.2", port) {
            let named = ["--broker-port", &port.to_string()];
            return (Server::start_as(&[&named[..], more].concat()), port);
        }
    }
    panic!("no port is free");
}

/// Lets connections to another loopback address through to the first.
fn open_door(port: u16) {
    let door = TcpListener::bind(("127.0.0.2", port)).unwrap();
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        std::thread::spawn(move || {
            // It ends with an error when one of them is gone, which is as good an end.
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        })
    };
    std::thread::spawn(move || {
        for outside in door.incoming().map_while(Result::ok) {
            let inside = TcpStream::connect(("127.0.0.1", port)).unwrap();
            copy(outside.try_clone().unwrap(), inside.try_clone().unwrap());
            copy(inside, outside);
        }
    });
}

#[test]
fn a_master_with_replicas_is_asked_at_its_replication_port() {
    let (server, port) = with_ports(&["--set", "brokerName=broker-a"]);
    let (_, report) = doctor(&server, &["--remote"]);
    assert!(!report.to_string().contains("replication port"), "nobody needs it: {report}");
    let _replica = server.replica_that_is_down("broker-a");
    let (code, report) = doctor(&server, &["--remote"]);
    let told = findings(&report, "broker");
    let closed = format!("broker-a/0 takes no connections at its replication port 127.0.0.1:{}", port + 1);
    let (_, remedy) = told.iter().find(|(what, _)| what.starts_with(&closed)).expect("it is told");
    assert!(remedy.contains("haListenPort") && code == 2, "{remedy}");
    let down = told.iter().any(|(what, _)| what.starts_with("broker-a/1 cannot be asked at 127.0.0.1:1"));
    assert!(down, "{told:?}");
    let _port = TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let open = "broker-a/0 takes connections at its replication port";
    assert!(doctor(&server, &["--remote"]).1.to_string().contains(open));
}

#[test]
fn a_disk_that_is_not_seen_from_here_is_told_not_to_be_looked_at() {
    let server = Server::start();
    let data = server.dir.path().join("data");
    std::fs::rename(data.join("abort"), data.join("elsewhere")).unwrap();
    let (_, report) = doctor(&server, &[]);
    assert!(report.to_string().contains("no disk was looked at: "), "{report}");
    std::fs::rename(data.join("elsewhere"), data.join("abort")).unwrap();
}

#[test]
fn a_group_that_is_behind_is_explained() {
    let server = Server::start();
    billing_is_behind(&server);
    let told = server.json(&["explain", "group", "billing"]);
    assert_eq!((&told["behind"], &told["members"]), (&2.into(), &0.into()));
    let queue = told["queues"].as_array().unwrap().iter().find(|queue| queue["topic"] == "orders").unwrap();
    assert_eq!(queue["cause"], "nobody online");
    let story = server.prints(&["explain", "group", "billing"]);
    assert!(story.contains("2 messages behind, at 1 of 3: no member is online."), "{story}");
    assert!(story.contains("`thrust consume --topic orders --group billing`"), "{story}");

    server.prints(&["group", "update", "billing", "--consume", "forbid"]);
    assert!(
        server
            .prints(&["explain", "group", "billing"])
            .contains("thrust group update billing --consume allow")
    );
    server.run(&["explain", "group", "biling"]).code(3).stderr(contains("did you mean \"billing\""));
    let topic = server.prints(&["explain", "topic", "orders"]);
    assert!(topic.contains("It is read by 1 group: billing (nobody online, 2 messages behind)."), "{topic}");
}

#[test]
fn a_message_is_followed_through_its_groups() {
    let server = Server::start();
    billing_is_behind(&server);
    let first = ["message", "show", "-t", "orders", "-q", "0", "-o", "0"];
    let (id, offset_id) = (server.json(&first)["messageId"].clone(), server.json(&first)["offsetId"].clone());
    let (id, offset_id) = (id.as_str().unwrap(), offset_id.as_str().unwrap());
    let tracked = server.json(&["message", "track", id]);
    assert_eq!(tracked[0]["offsetId"], offset_id);
    let group = &tracked[0]["groups"][0];
    assert_eq!(
        (&group["group"], &group["state"], &group["failures"]),
        (&"billing".into(), &"read".into(), &0.into())
    );
    let last = server.json(&["message", "show", "-t", "orders", "-q", "0", "-o", "2"]);
    let last = last["offsetId"].as_str().unwrap();
    assert_eq!(server.json(&["message", "track", last])[0]["groups"][0]["state"], "not yet");
    let told = server.prints(&["message", "track", id]);
    assert!(told.contains(id) && told.contains(offset_id), "{told}");

    let story = server.prints(&["explain", "message", last]);
    assert!(story.contains("Group billing (nobody online) has not come to it: it stands at 1."), "{story}");
    assert!(server.prints(&["explain", "message", id]).contains("has read past it"));
    server.run(&["explain", "message", "nothing"]).code(3);
}

#[test]
fn a_message_that_waits_for_its_time_is_explained_too() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    let sent = server.prints(&["produce", "-t", "orders", "--delay", "1h", "late", "--json"]);
    let receipt: Value = serde_json::from_str(&sent).unwrap();
    let told = server.json(&["explain", "message", receipt["messageId"].as_str().unwrap()]);
    assert_eq!(told["place"], "timer");
    let story = told["story"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(story.contains("it waits in the timer and goes to topic orders at "), "{story}");
}

#[test]
fn a_message_is_sent_once_more() {
    let server = Server::start();
    billing_is_behind(&server);
    server.prints(&["topic", "create", "copies", "-q", "1"]);
    server.prints(&["produce", "-t", "orders", "-k", "twice", "d", "e"]);
    let last = server.json(&["message", "show", "-t", "orders", "-q", "0", "-o", "2"]);
    let id = last["offsetId"].as_str().unwrap();
    server.run(&["message", "resend", id]).code(2).stderr(contains("add --yes"));
    let two = server.json(&["message", "find", "twice"])["messages"].as_array().unwrap().len();
    assert_eq!(two, 2);
    server.run(&["message", "resend", "twice"]).code(2).stderr(contains("that of 2 messages"));
    let sent = server.json(&["message", "resend", id, "--to", "copies", "--yes"]);
    assert_eq!((&sent["topic"], &sent["resent"]), (&"copies".into(), &last["messageId"]));
    let copy = server.json(&["message", "show", sent["messageId"].as_str().unwrap()]);
    for same in ["body", "tag", "keys"] {
        assert_eq!(copy[same], last[same], "{same}");
    }
    assert_ne!(copy["messageId"], last["messageId"]);
    // A member would be handed the message, which is asked about; nobody of the group is online.
    server.run(&["message", "resend", id, "--group", "billing"]).code(3);
}
