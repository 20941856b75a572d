//! What every command prints for people and for machines, compared with `tests/snapshots`.

use super::Server;
use super::snapshot::{Fields, Snapshot};
use crate::process::{Thrust, printed, thrust};

/// What the bench prints of two servers.
const RATIOS: [&str; 6] = [
    "ratio.messages_per_second",
    "ratio.latency_p50",
    "ratio.latency_p99",
    "ratio.latency_p999",
    "ratio.server_cpu_per_message",
    "ratio.server_resident",
];

/// A broker with a name that does not depend on the machine.
fn server() -> Server {
    Server::start_with(&["brokerName=broker-a"])
}

/// A topic of one queue with three messages, and a group that has read one of them. No member of it was ever online:
/// one that is gone soon may or may not have been in the retry topic.
fn with_messages() -> Server {
    let server = server();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    server.prints(&["group", "create", "billing"]);
    server.prints(&["produce", "-t", "orders", "--tag", "paid", "-k", "7", "order 7 is paid"]);
    server.prints(&["group", "reset", "billing", "-t", "orders", "--to", "last", "--yes"]);
    server.prints(&["produce", "-t", "orders", "--tag", "created", "-p", "amount=120", "order 8", "order 9"]);
    server
}

#[test]
fn of_topics() {
    let server = server();
    let mut snapshot = Snapshot::of(&server);
    snapshot.run("topic list");
    snapshot.run("topic create orders -q 2 --type fifo");
    snapshot.run("topic create prices -q 1 --attribute cleanup.policy=COMPACTION --json");
    snapshot.run("topic create orders");
    snapshot.run("topic create a.b");
    snapshot.run_twice("topic list");
    snapshot.run("topic list --all");
    snapshot.run_twice("topic describe orders");
    snapshot.run("topic describe ordres");
    snapshot.run("topic update orders -q 3");
    snapshot.run("topic update orders -q 4 --json");
    snapshot.run("topic update orders -q 4");
    snapshot.run_twice("topic route orders");
    snapshot.run("topic delete orders");
    snapshot.run("topic delete orders --yes");
    snapshot.run("topic delete prices --yes --json");
    snapshot.compare("topics");
}

#[test]
fn of_groups() {
    let server = with_messages();
    let mut snapshot = Snapshot::of(&server);
    snapshot.run("group create audit --retries 3");
    snapshot.run("group create copy --json");
    snapshot.run("group create audit");
    snapshot.run_twice("group list");
    snapshot.run_twice("group describe billing");
    snapshot.run_twice("group lag billing");
    snapshot.run("group lag biling");
    snapshot.run("group update audit --consume forbid");
    snapshot.run("group update audit --consume allow --json");
    snapshot.run("group update audit --consume allow");
    snapshot.run("group reset billing -t orders --to first");
    snapshot.run("group reset billing -t orders --to first --yes");
    snapshot.run("group reset billing -t orders --to last --yes --json");
    snapshot.run("group lag billing -t orders");
    snapshot.run("group delete audit --yes");
    snapshot.run("group delete copy --yes --json");
    snapshot.compare("groups");
}

#[test]
fn of_messages() {
    let server = with_messages();
    server.prints(&["topic", "create", "copies", "-q", "1"]);
    let mut snapshot = Snapshot::of(&server);
    snapshot.run_twice("message find 7");
    snapshot.run("message find 70");
    snapshot.run_twice("message show 7");
    snapshot.run("message show -t orders -q 0 -o 1");
    snapshot.run("message show -t orders -q 0 -o 17");
    snapshot.run_twice("message track 7");
    snapshot.run("message resend 7");
    snapshot.run("message resend 7 --to copies --yes");
    snapshot.run("produce -t copies --shard 1 a b --json");
    snapshot.run("produce -t copies c");
    snapshot.run("consume -t copies -g copy --until-end --format raw");
    snapshot.run("consume -t copies -g copy-as-json --until-end --json");
    snapshot.run("consume -t copies -g copy-as-text --until-end");
    snapshot.compare("messages");
}

#[test]
fn of_resending_for_machines() {
    let server = with_messages();
    server.prints(&["topic", "create", "copies", "-q", "1"]);
    let mut snapshot = Snapshot::of(&server);
    snapshot.run("message resend 7 --to copies --yes --json");
    let names = &server.names;
    let reader = ["consume", "-t", "copies", "-g", "copy", "--follow", "--format", "raw", "-n", names];
    let reader = Thrust::start(&reader);
    assert_eq!(reader.ready.line, "order 7 is paid");
    snapshot.run("message resend 7 -t copies --group copy");
    snapshot.run("message resend 7 -t copies --group copy --yes --json");
    snapshot.run("message resend 7 -t orders --group billing");
    snapshot.compare("resending");
}

#[test]
fn of_explanations() {
    let server = with_messages();
    let mut snapshot = Snapshot::of(&server);
    snapshot.run_twice("explain message 7");
    snapshot.run_twice("explain group billing");
    snapshot.run_twice("explain topic orders");
    snapshot.run("explain topic ordres");
    snapshot.compare("explanations");
}

#[test]
fn of_brokers() {
    let server = server();
    let mut snapshot = Snapshot::of(&server);
    snapshot.run_twice("cluster list");
    snapshot.run("cluster stats");
    snapshot.run_twice("broker config get flushDiskType");
    snapshot.run("broker config set fileReservedTime=48");
    snapshot.run("broker config set fileReservedTime=24 --json");
    snapshot.run("broker config set fileReservdTime=24");
    snapshot.run("broker config get flush --broker broker-b");
    snapshot.compare("brokers");
    // Their figures are others every time, and their fields are listed all the same.
    let mut figures = Snapshot::of(&server);
    figures.run("cluster stats --json");
    figures.run("broker status --json");
    for work in ["send --rate 500", "pull --fill 300", "roundtrip", "mixed", "transact", "pop --fill 300"] {
        figures.run(&format!("bench {work} --secs 0.2 --warmup 0 --queues 1 --conns 1 --json"));
    }
    figures.fields.are_complete(&RATIOS);
    let broker = &server.broker;
    let mut figures = Snapshot::by_context(&server);
    let short = format!("{broker} --secs 0.2 --warmup 0.1 --queues 1 --conns 1 --json");
    figures.run(&format!("bench idle {short} --suspend 0.1 --heartbeat 0.1"));
    figures.run(&format!("bench send {short} --compare {broker} --rounds 1"));
    figures.fields.are_complete(&[]);
}

#[test]
fn of_the_doctor() {
    // The disk of this machine may be rather full.
    let full = ["brokerName=broker-a", "diskMaxUsedSpaceRatio=95"];
    let server = Server::start_with(&full);
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    server.prints(&["group", "create", "billing"]);
    let mut snapshot = Snapshot::of(&server);
    snapshot.run_twice("doctor --remote");
    server.prints(&["group", "reset", "billing", "-t", "orders", "--to", "last", "--yes"]);
    server.prints(&["produce", "-t", "orders", "a", "b"]);
    server.prints(&["broker", "config", "set", "brokerPermission=4"]);
    snapshot.run("doctor --remote --max-behind 1");
    snapshot.compare("doctor");
    Snapshot::of(&server).run(&format!("doctor --json --data {}", server.dir.path().display()));
}

#[test]
fn of_contexts() {
    let server = server();
    let file = |name: &str| {
        let from = concat!(env!("CARGO_MANIFEST_DIR"), "/../remoting/tests/certificates");
        let to = server.dir.path().join(name);
        std::fs::copy(format!("{from}/{name}"), &to).unwrap();
        to.to_str().unwrap().to_owned()
    };
    let (ca, chain, key) = (file("authority.pem"), file("client.pem"), file("client.key"));
    let keys = server.file("keys.yml", "accessKey: me\nsecretKey: deep\n");
    let (names, guarded) =
        (&server.names, format!("--tls-ca {ca} --tls-certificate {chain} --tls-key {key}"));
    let mut snapshot = Snapshot::by_context(&server);
    snapshot.run("context list");
    snapshot.run("context show");
    snapshot.run(&format!("context add here -n {names} --access-key-file {keys}"));
    snapshot
        .run(&format!("context add guarded -n {names} --tls-server-name brokers.example {guarded} --json"));
    snapshot.run(&format!("context add broken -n {names} --tls-ca {keys}"));
    snapshot.run_twice("context list");
    snapshot.run_twice("context show");
    snapshot.run_twice("context show guarded");
    snapshot.run("context use gaurded");
    snapshot.run("context use guarded");
    snapshot.run("context use here --json");
    snapshot.run("topic list");
    snapshot.run("context remove guarded --json");
    snapshot.run("context remove here");
    snapshot.run("context remove here --yes");
    snapshot.compare("contexts");
}

#[test]
fn of_stores_for_machines() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut left = Thrust::serve(&data, &["--set", "mappedFileSizeCommitLog=1048576"]);
    let names = left.nameserver().to_string();
    thrust(&["produce", "-t", "orders", "-k", "7", "a", "b", "-n", &names]).assert().success();
    left.stop();
    let mut fields = Fields::default();
    // Offset 1 begins no record, and at the end of the only segment nothing is told of the next.
    for (what, code) in [
        ("inspect", 0),
        ("inspect --topic orders", 0),
        ("inspect --offset 0", 0),
        ("inspect --offset 1", 1),
        ("verify", 0),
        ("repair", 0),
    ] {
        let line = format!("store {what} --json");
        let (words, data) = (line.split(' '), data.to_str().unwrap());
        let done = thrust(&words.chain([data]).collect::<Vec<_>>()).assert().code(code);
        fields.see(&line, &serde_json::from_str(&printed(&done)).unwrap());
    }
    fields.are_complete(&["next"]);
}
