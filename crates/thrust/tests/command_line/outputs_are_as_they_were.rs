//! What every command prints for people and for machines, compared with `tests/snapshots`.

use super::Server;
use super::snapshot::Snapshot;

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
    figures.run("doctor --json");
}
