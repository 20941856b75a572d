//! `thrust produce` and `thrust consume`.

use assert_cmd::assert::Assert;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use serde_json::{Value, json};
use wire::code::{request, response};

use super::{Server, run};
use crate::process::{printed, stub};

/// Time after which a reader gives up, for those whose number of messages is not known.
const WAIT: [&str; 2] = ["--wait", "2s"];

fn lines(done: &Assert) -> Vec<Value> {
    printed(done).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_produced_is_consumed_once_by_a_group() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders"]);
    let two =
        ["produce", "-t", "orders", "--tag", "paid", "-k", "7", "-p", "amount=120", "order 7", "order 8"];
    let sent = server.run(&[&two[..], &["--json"]].concat()).success();
    let sent = sent.stderr(starts_with("2 of 2 messages stored in "));
    let receipts = lines(&sent);
    assert_eq!((receipts.len(), receipts[0]["status"].as_str()), (2, Some("Stored")));

    let read = server.run(&["consume", "-t", "orders", "-g", "billing", "--count", "2", "--json"]).success();
    let mut messages = lines(&read);
    messages.sort_by_key(|message| message["body"].as_str().unwrap().to_owned());
    assert_eq!(messages[0]["body"], "order 7");
    assert_eq!((&messages[0]["tag"], &messages[0]["keys"][0]), (&"paid".into(), &"7".into()));
    assert_eq!(messages[0]["properties"]["amount"], "120");
    assert_eq!(messages[0]["messageId"], receipts[0]["messageId"]);
    assert_eq!(messages[0]["offsetId"], receipts[0]["offsetId"]);

    server.prints(&["produce", "-t", "orders", "order 9"]);
    let next =
        server.prints(&["consume", "-t", "orders", "-g", "billing", "--count", "1", "--format", "raw"]);
    assert_eq!(next, "order 9", "the offsets were written down");
}

#[test]
fn a_file_of_lines_is_sent_and_filters_select() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders"]);
    let lines: String = (0..50).map(|i| format!("line {i}\n")).collect();
    let file = server.file("lines", &lines);
    let sent = server.run(&["produce", "-t", "orders", "--from", &file, "--tag", "plain", "--count", "40"]);
    sent.success().stderr(starts_with("40 of 40 messages stored"));
    let objects = "{\"body\":\"a\",\"tag\":\"json\",\"keys\":[\"k1\",\"k2\"],\"properties\":{\"n\":\"5\"}}\n\
                   {\"body\":{\"x\":1},\"tag\":\"json\",\"properties\":{\"n\":\"50\"}}\n";
    let file = server.file("objects", objects);
    server.prints(&["produce", "-t", "orders", "--from", &file, "--format", "json"]);

    let raw = |more: &[&str]| {
        let args = [&["consume", "-t", "orders", "--format", "raw"][..], more].concat();
        let mut bodies: Vec<String> = server.prints(&args).lines().map(str::to_owned).collect();
        bodies.sort();
        bodies
    };
    assert_eq!(raw(&["-g", "by-tag", "--filter", "json || other", "--count", "2"]), ["a", "{\"x\":1}"]);
    assert_eq!(raw(&["-g", "by-sql", "--sql", "n > 10", "--count", "1"]), ["{\"x\":1}"]);
    assert_eq!(raw(&["-g", "all", "--count", "42"]).len(), 42);
}

#[test]
fn a_body_of_many_lines_takes_one_for_people_and_stays_whole_for_machines() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    server.prints(&["produce", "-t", "orders", "first\nsecond"]);
    let read = |group: &str, more: &[&str]| {
        server.prints(&[&["consume", "-t", "orders", "--until-end", "-g", group][..], more].concat())
    };
    let text = read("people", &[]);
    assert!(text.lines().count() == 1 && text.ends_with(" first\\nsecond"), "{text}");
    assert_eq!(read("raw", &["--format", "raw"]), "first\nsecond");
    let told: Value = serde_json::from_str(&read("machines", &["--json"])).unwrap();
    assert_eq!(told["body"], "first\nsecond");
}

#[test]
fn a_line_that_makes_no_sense_is_named_with_what_was_stored_before() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    let produce = |name: &str, lines: &str| {
        let file = server.file(name, lines);
        server.run(&["produce", "-t", "orders", "--from", &file, "--format", "json"])
    };
    let wrong = produce("wrong", "{\"text\":1}\n").code(2);
    wrong.stderr(
        contains("line 1 of ").and(contains("wrong is not what --format json needs: \"body\" is missing")),
    );
    let half = produce("half", "{\"body\":\"a\"}\n\n{\"body\":\"b\"}\nnothing\n{\"body\":\"c\"}\n").code(1);
    half.stderr(starts_with("2 of 2 messages stored in ").and(contains("thrust: line 4 of ")));
    server
        .run(&["produce", "-t", "orders", "--from", "/nowhere"])
        .code(1)
        .stderr(starts_with("thrust: cannot read"));
}

#[test]
fn what_is_consumed_as_json_can_be_produced_again() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    server.prints(&["topic", "create", "copies", "-q", "1"]);
    let bytes = server.dir.path().join("bytes");
    std::fs::write(&bytes, b"\xff\xfe\ntext\r\n").unwrap();
    let send =
        ["produce", "-t", "orders", "--tag", "paid", "-k", "7", "-k", "8", "-p", "n=5", "--shard", "1"];
    server.prints(&[&send[..], &["--from", bytes.to_str().unwrap()]].concat());
    let read = |topic: &str| server.prints(&["consume", "-t", topic, "-g", "copy", "--until-end", "--json"]);
    let originals = read("orders");
    let file = server.file("originals", &originals);
    server.prints(&["produce", "-t", "copies", "--from", &file, "--format", "json", "--shard", "1"]);
    let own = |printed: &str| -> Vec<Value> {
        let messages = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let own = |one: Value| {
            json!([one["body"], one["bodyEncoding"], one["tag"], one["keys"], one["properties"]["n"]])
        };
        messages.map(own).collect()
    };
    let told = own(&originals);
    assert_eq!(told, own(&read("copies")));
    assert_eq!([&told[0][0], &told[1][0]], ["fffe", "text"]);
}

#[test]
fn a_reader_stops_behind_what_was_there_although_a_filter_passes_over_the_rest() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "3"]);
    let to_the_end = |more: &[&str]| {
        let args = ["consume", "-t", "orders", "--format", "raw", "--until-end"];
        server.prints(&[&args[..], more].concat())
    };
    assert_eq!(to_the_end(&["-g", "early"]), "", "nothing is there");
    server.prints(&["produce", "-t", "orders", "--tag", "paid", "a"]);
    server.prints(&["produce", "-t", "orders", "--tag", "created", "b", "c", "d", "e"]);
    assert_eq!(to_the_end(&["-g", "by-tag", "--filter", "paid"]), "a");
    let mut all: Vec<String> = to_the_end(&["-g", "all"]).lines().map(str::to_owned).collect();
    all.sort();
    assert_eq!(all, ["a", "b", "c", "d", "e"]);
    assert_eq!(to_the_end(&["-g", "all"]), "", "the offsets were written down");
}

#[test]
fn messages_of_a_shard_share_a_queue_and_delayed_ones_come_later() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders"]);
    let args = ["produce", "-t", "orders", "--shard", "customer 3", "a", "b", "c", "--json"];
    let receipts = lines(&server.run(&args));
    let queues: Vec<_> = receipts.iter().map(|receipt| receipt["queueId"].as_i64().unwrap()).collect();
    assert_eq!(queues, [queues[0]; 3]);
    let offsets: Vec<_> = receipts.iter().map(|receipt| receipt["offset"].as_i64().unwrap()).collect();
    assert_eq!(offsets, [0, 1, 2]);

    server.prints(&["topic", "create", "one", "-q", "1"]);
    server.prints(&["produce", "-t", "one", "soon"]);
    server.prints(&["produce", "-t", "one", "--delay", "1s", "late"]);
    let both = ["consume", "-t", "one", "-g", "g", "--from", "first", "--count", "2", "--format", "raw"];
    assert_eq!(server.prints(&both), "soon\nlate");
    let nothing =
        server.prints(&[&["consume", "-t", "orders", "-g", "new", "--from", "last"][..], &WAIT].concat());
    assert_eq!(nothing, "");
}

#[test]
fn a_message_that_is_less_safe_than_promised_is_told_of() {
    let broker = stub(|asked, address| match asked {
        request::GET_ROUTEINFO_BY_TOPIC => (0, &[], route(&address.to_string())),
        request::SEND_MESSAGE_V2 => (
            response::SLAVE_NOT_AVAILABLE,
            &[("msgId", "0A"), ("queueId", "0"), ("queueOffset", "7")],
            String::new(),
        ),
        _ => (0, &[], "{}".to_owned()),
    });
    let sent = run(&["produce", "-t", "orders", "a", "-n", &broker.to_string()]).code(1);
    sent.stdout(contains(" at 7 (SlaveNotAvailable)\n"))
        .stderr(contains("1 with SlaveNotAvailable of 1 message stored"));
}

#[test]
fn a_broker_that_is_down_is_not_taken_for_one_that_has_no_messages() {
    let down = "127.0.0.1:1";
    let names = stub(move |asked, _| match asked {
        request::GET_ROUTEINFO_BY_TOPIC => (0, &[], route(down)),
        _ => (0, &[], "{}".to_owned()),
    });
    for mode in [&["--wait", "1ms"][..], &["--until-end"], &["--count", "1"]] {
        let line = ["consume", "-t", "orders", "-g", "billing", "-n", &names.to_string()];
        let read = run(&[&line[..], mode].concat()).code(4);
        read.stdout("").stderr(contains("cannot connect to 127.0.0.1:1"));
    }
}

/// The route of a topic that has a queue at one broker.
fn route(broker: &str) -> String {
    json!({
        "brokerDatas": [{ "brokerName": "a", "cluster": "c", "brokerAddrs": { "0": broker } }],
        "queueDatas": [
            { "brokerName": "a", "readQueueNums": 1, "writeQueueNums": 1, "perm": 6, "topicSysFlag": 0 }
        ],
        "filterServerTable": {},
    })
    .to_string()
}
