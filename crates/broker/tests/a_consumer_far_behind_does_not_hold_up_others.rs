//! Messages that are not in memory any more, on a disk that takes its time: whoever asks for them waits, and nobody
//! else does, on a runtime with one thread for all connections.

use std::time::Duration;

use crate::support::frames::{Wire, frame};
use crate::support::messages::{bodies, records, text};
use crate::support::peer::topic_fields;
use crate::support::pops::{POP, Pop};
use crate::support::slow_disk::SlowDisk;
use crate::support::{Ask, Asked, House, PATIENCE, Peer, Situation, eventually, number, remark, stored};
use remoting::{Answer, Limits};
use wire::code::{request as code, response};
use wire::header::{Dialect, Head};
use wire::ids::OffsetId;

/// The first file of the log, which the messages of [`backlog`] fill and overflow.
const FIRST_SEGMENT: &str = "commitlog/00000000000000000000";
/// Some thirty of these fill it.
const BODY_BYTES: usize = 8000;
const MESSAGES: i64 = 40;

async fn start(keys: &[(&str, &str)]) -> (Situation, SlowDisk, House) {
    let situation = Situation::new(keys);
    let disk = SlowDisk::over(&situation.disk);
    let house = situation.start_on(disk.seen(), Limits::default()).await;
    (situation, disk, house)
}

/// Forty messages in one queue: the first thirty in the first file of the log, the last in the second.
async fn backlog(house: &House) {
    let sender = house.peer();
    for number in 0..MESSAGES {
        assert_eq!(sender.store("orders", 0, &body(number)).await, number);
    }
}

fn body(number: i64) -> String {
    format!("{number:0>BODY_BYTES$}")
}

async fn reads_wait(disk: &SlowDisk, count: usize) {
    eventually("reads that wait for the disk", async || disk.waiting() == count).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sends_and_reads_of_what_is_in_memory_go_on_while_the_disk_is_waited_for() {
    let (_situation, disk, house) = start(&[]).await;
    backlog(&house).await;
    disk.stick(FIRST_SEGMENT);
    let mut behind = Wire::connect(house.address()).await;
    behind.ask(1, &Ask::new("orders", 0, 0)).await;
    reads_wait(&disk, 1).await;
    // Its own connection is served all the same, and so are others.
    behind.hears_nothing().await;
    let peer = house.peer();
    let last = peer.store("orders", 0, "new").await;
    let newest = peer.pull(&Ask::new("orders", 0, last)).await;
    assert_eq!(bodies(&records(&newest.body)), ["new"]);
    let near = peer.pull(&Ask::new("orders", 0, MESSAGES - 2)).await;
    assert_eq!(bodies(&records(&near.body)), [body(MESSAGES - 2), body(MESSAGES - 1), "new".to_owned()]);
    assert_eq!(disk.waiting(), 1, "the first pull still waits");
    disk.let_go();
    let framed = behind.next().await.unwrap();
    assert_eq!((framed.opaque, framed.answer.code), (1, 0), "{framed:?}");
    let messages = records(&framed.answer.body);
    assert_eq!(messages[0].body, body(0));
    assert_eq!(number(&framed.answer, "nextBeginOffset"), messages.len() as i64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_queue_whose_entries_are_on_disk_is_read_there_too() {
    let (_situation, disk, house) = start(&[("flushIntervalConsumeQueue", "1")]).await;
    backlog(&house).await;
    disk.stick("consumequeue");
    let mut behind = Wire::connect(house.address()).await;
    // As long as the entries have not left memory for their file the answer comes at once.
    let mut asked = 0;
    eventually("a read of entries that waits", async || {
        asked += 1;
        behind.ask(asked, &Ask::new("orders", 0, 0)).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        disk.waiting() > 0
    })
    .await;
    stored(house.peer().send("other", 0, "meanwhile").await);
    disk.let_go();
    loop {
        let framed = behind.next().await.unwrap();
        assert_eq!(framed.answer.code, 0, "{framed:?}");
        assert_eq!(records(&framed.answer.body)[0].body, body(0));
        if framed.opaque == asked {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_failed_message_that_is_not_in_memory_is_waited_for_by_its_consumer_alone() {
    let (_situation, disk, house) = start(&[]).await;
    backlog(&house).await;
    let peer = house.peer();
    peer.join("c", "readers", "orders", "*").await;
    let oldest = peer.pull(&Ask::new("orders", 0, 0)).await;
    let offset = records(&oldest.body)[0].physical_offset.to_string();
    disk.stick(FIRST_SEGMENT);
    let fields = [("offset", offset.as_str()), ("group", "readers"), ("delayLevel", "-1")];
    let failed = async { peer.ask_with(code::CONSUMER_SEND_MSG_BACK, &fields, &[]).await.code };
    let meanwhile = async {
        reads_wait(&disk, 1).await;
        stored(house.peer().send("other", 0, "meanwhile").await);
        assert_eq!(disk.waiting(), 1, "the failed message is still not there");
        disk.let_go();
    };
    let (answered, ()) = tokio::join!(failed, meanwhile);
    assert_eq!(answered, 0);
    assert_eq!(bodies(&peer.read_all("%DLQ%readers", 0).await), [body(0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_delayed_message_that_is_not_in_memory_comes_as_soon_as_the_disk_gives_it() {
    let (_situation, disk, house) = start(&[("messageDelayLevel", "1s")]).await;
    let peer = house.peer();
    stored(peer.send_with("late", 0, b"late", &text(&[("DELAY", "1")])).await);
    disk.stick(FIRST_SEGMENT);
    reads_wait(&disk, 1).await;
    stored(house.peer().send("other", 0, "meanwhile").await);
    assert_eq!(
        number(
            &peer.ask_with(code::GET_MAX_OFFSET, &[("topic", "late"), ("queueId", "0")], &[]).await,
            "offset"
        ),
        0
    );
    assert_eq!(disk.waiting(), 1, "the delayed message is still not there");
    disk.let_go();
    eventually("the delayed message", async || bodies(&peer.read_all("late", 0).await) == ["late"]).await;
    house.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn reads_past_the_number_of_threads_wait_their_turn_and_keep_to_the_limits_of_the_disk() {
    let (_situation, disk, house) = start(&[
        ("thrust.diskReadThreads", "1"),
        ("accessMessageInMemoryMaxRatio", "0"),
        ("maxTransferCountOnMessageInDisk", "5"),
        ("maxTransferBytesOnMessageInDisk", "40000"),
    ])
    .await;
    backlog(&house).await;
    disk.stick(FIRST_SEGMENT);
    let mut behind = Wire::connect(house.address()).await;
    for opaque in 0..6 {
        behind.ask(opaque, &Ask::new("orders", 0, i64::from(opaque))).await;
    }
    reads_wait(&disk, 1).await;
    behind.hears_nothing().await;
    disk.let_go();
    for opaque in 0..6 {
        let framed = behind.next().await.unwrap();
        assert_eq!((framed.opaque, framed.answer.code), (opaque, 0), "in their order: {framed:?}");
        let from = i64::from(opaque);
        let expected: Vec<_> = (from..from + 4).map(body).collect();
        assert_eq!(bodies(&records(&framed.answer.body)), expected, "four messages are 40,000 bytes at most");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_pull_that_waited_is_answered_too_when_its_message_has_left_memory() {
    let (_situation, disk, house) = start(&[]).await;
    let sender = house.peer();
    stored(sender.send("orders", 0, "before").await);
    let mut behind = Wire::connect(house.address()).await;
    behind.park(1, &Ask::new("orders", 0, 1).waiting(PATIENCE)).await;
    disk.stick("commitlog");
    stored(sender.send("orders", 0, "now").await);
    reads_wait(&disk, 1).await;
    behind.hears_nothing().await;
    disk.let_go();
    let framed = behind.next().await.unwrap();
    assert_eq!((framed.opaque, framed.answer.code), (1, 0), "{framed:?}");
    assert_eq!(bodies(&records(&framed.answer.body)), ["now"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn searches_wait_for_the_disk_aside_from_everybody_else() {
    let (_situation, disk, house) = start(&[]).await;
    backlog(&house).await;
    disk.stick(FIRST_SEGMENT);
    let mut tool = Wire::connect(house.address()).await;
    let search = [("topic", "orders"), ("queueId", "0"), ("timestamp", "1")];
    let head = |code, opaque| Head::request(Dialect::Json, code, opaque);
    tool.write(&frame(&head(code::SEARCH_OFFSET_BY_TIMESTAMP, 1), &search, &[])).await;
    tool.write(&frame(&head(code::VIEW_MESSAGE_BY_ID, 2), &[("offset", "0")], &[])).await;
    reads_wait(&disk, 2).await;
    tool.hears_nothing().await;
    stored(house.peer().send("orders", 0, "meanwhile").await);
    disk.let_go();
    let mut answers = [tool.next().await.unwrap(), tool.next().await.unwrap()];
    answers.sort_by_key(|framed| framed.opaque);
    assert_eq!(number(&answers[0].answer, "offset"), 0);
    assert_eq!(bodies(&records(&answers[1].answer.body)), [body(0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dashboard_waits_for_the_disk_aside_from_everybody_else() {
    let (_situation, disk, house) = start(&[]).await;
    backlog(&house).await;
    disk.stick(FIRST_SEGMENT);
    let mut dashboard = Wire::connect(house.address()).await;
    let head = Head::request(Dialect::Json, code::GET_BROKER_RUNTIME_INFO, 1);
    dashboard.write(&frame(&head, &[], &[])).await;
    reads_wait(&disk, 1).await;
    stored(house.peer().send("orders", 0, "meanwhile").await);
    assert_eq!(disk.waiting(), 1, "when the oldest message was stored is still read");
    disk.let_go();
    let framed = dashboard.next().await.unwrap();
    assert_eq!((framed.opaque, framed.answer.code), (1, 0), "{framed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn administrators_wait_for_the_disk_aside_from_everybody_else() {
    let (_situation, disk, house) = start(&[]).await;
    backlog(&house).await;
    let peer = house.peer();
    peer.join("c", "readers", "orders", "*").await;
    let commit = [("consumerGroup", "readers"), ("topic", "orders"), ("queueId", "0"), ("commitOffset", "1")];
    assert_eq!(peer.ask_with(code::UPDATE_CONSUMER_OFFSET, &commit, &[]).await.code, 0);
    disk.stick(FIRST_SEGMENT);
    let mut tool = Wire::connect(house.address()).await;
    let of_group = [("consumerGroup", "readers"), ("topic", "orders")];
    let of_topic = [("topic", "orders"), ("group", "readers")];
    let head = |code, opaque| Head::request(Dialect::Json, code, opaque);
    tool.write(&frame(&head(code::GET_CONSUME_STATS, 1), &of_group, &[])).await;
    reads_wait(&disk, 1).await;
    tool.write(&frame(&head(code::QUERY_CONSUME_TIME_SPAN, 2), &of_topic, &[])).await;
    reads_wait(&disk, 2).await;
    tool.write(&frame(&head(code::GET_BROKER_CONSUME_STATS, 3), &[], &[])).await;
    tool.hears_nothing().await;
    stored(house.peer().send("orders", 0, "meanwhile").await);
    disk.let_go();
    for _ in 0..3 {
        let framed = tool.next().await.unwrap();
        assert_eq!(framed.answer.code, 0, "{framed:?}");
        assert!(String::from_utf8_lossy(&framed.answer.body).contains("orders"), "{framed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_message_to_be_consumed_at_once_is_waited_for_by_who_asks_alone() {
    let (_situation, disk, house) = start(&[]).await;
    let sent = stored(house.peer().send("asked", 0, "look at this").await);
    backlog(&house).await;
    let member = Peer::answering(house.address(), |asked: &Asked| {
        (asked.code == code::CONSUME_MESSAGE_DIRECTLY).then(|| (response::SUCCESS, asked.body.clone()))
    });
    member.consume("c1", "billing", &["asked"]).await;
    disk.stick(FIRST_SEGMENT);
    let id = sent.field("msgId").unwrap();
    let fields = [("consumerGroup", "billing"), ("clientId", "c1"), ("msgId", id), ("topic", "asked")];
    let tool = house.peer();
    let consumed = async { tool.ask(code::CONSUME_MESSAGE_DIRECTLY, &fields).await };
    let meanwhile = async {
        reads_wait(&disk, 1).await;
        stored(house.peer().send("other", 0, "meanwhile").await);
        assert_eq!(disk.waiting(), 1, "the message is still not there");
        disk.let_go();
    };
    let (answer, ()) = tokio::join!(consumed, meanwhile);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    assert_eq!(bodies(&records(&answer.body)), ["look at this"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_topic_that_keeps_its_messages_for_another_time_is_waited_for_by_its_administrator_alone() {
    let (_situation, disk, house) = start(&[]).await;
    backlog(&house).await;
    disk.stick(FIRST_SEGMENT);
    let tool = house.peer();
    let fields = topic_fields("orders", "4", "+retention.ms=3600000");
    let changed = async { tool.ask(code::UPDATE_AND_CREATE_TOPIC, &fields).await };
    let meanwhile = async {
        reads_wait(&disk, 1).await;
        stored(house.peer().send("other", 0, "meanwhile").await);
        // The gate opens by itself in the end, so that one waits at this moment says nothing of who was held up.
        assert_eq!((disk.reads(), disk.waiting()), (1, 1), "its oldest message is still looked for");
        disk.let_go();
    };
    let (answer, ()) = tokio::join!(changed, meanwhile);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_half_message_that_is_not_in_memory_is_waited_for_by_its_check_alone() {
    let keys =
        [("transactionCheckInterval", "50"), ("transactionTimeOut", "20"), ("transactionCheckMax", "100000")];
    let (_situation, disk, house) = start(&keys).await;
    let half = text(&[("TRAN_MSG", "true"), ("PGROUP", "payers")]);
    stored(house.peer().send_with("orders", 0, b"half", &half).await);
    disk.stick(FIRST_SEGMENT);
    reads_wait(&disk, 1).await;
    stored(house.peer().send("other", 0, "meanwhile").await);
    assert_eq!(disk.waiting(), 1, "the half message is still not there");
    disk.let_go();
    house.stop().await.unwrap();
}

fn half_end<'a>(half: &'a Answer, physical: &'a str) -> [(&'static str, &'a str); 5] {
    [
        ("producerGroup", "payers"),
        ("tranStateTableOffset", half.field("queueOffset").unwrap()),
        ("commitLogOffset", physical),
        ("commitOrRollback", "8"),
        ("fromTransactionCheck", "false"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_transaction_whose_half_message_is_not_in_memory_ends_aside_from_everybody_else() {
    let (_situation, disk, house) = start(&[]).await;
    let half = text(&[("TRAN_MSG", "true"), ("PGROUP", "payers")]);
    let sent = stored(house.peer().send_with("orders", 0, b"half", &half).await);
    let physical = OffsetId::parse(sent.field("msgId").unwrap()).unwrap().offset.to_string();
    disk.stick(FIRST_SEGMENT);
    let producer = house.peer();
    let fields = half_end(&sent, &physical);
    let ended = async { producer.ask(code::END_TRANSACTION, &fields).await };
    let meanwhile = async {
        reads_wait(&disk, 1).await;
        stored(house.peer().send("other", 0, "meanwhile").await);
        // The gate opens by itself in the end, so that one waits at this moment says nothing of who was held up.
        assert_eq!((disk.reads(), disk.waiting()), (1, 1), "the half message is still not there");
        disk.let_go();
    };
    let (answer, ()) = tokio::join!(ended, meanwhile);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    assert_eq!(bodies(&house.peer().read_all("orders", 0).await), ["half"]);
    let again = producer.ask(code::END_TRANSACTION, &fields).await;
    assert_eq!(again.code, response::SYSTEM_ERROR, "it is decided: {again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_producer_that_leaves_meanwhile_has_decided_all_the_same() {
    let (_situation, disk, house) = start(&[("thrust.diskReadThreads", "1")]).await;
    let half = text(&[("TRAN_MSG", "true"), ("PGROUP", "payers")]);
    let sent = stored(house.peer().send_with("orders", 0, b"half", &half).await);
    let physical = OffsetId::parse(sent.field("msgId").unwrap()).unwrap().offset.to_string();
    disk.stick(FIRST_SEGMENT);
    // The only thread waits for somebody else, so the decision waits for the thread.
    let mut reader = Wire::connect(house.address()).await;
    let view = Head::request(Dialect::Json, code::VIEW_MESSAGE_BY_ID, 1);
    reader.write(&frame(&view, &[("offset", "0")], &[])).await;
    reads_wait(&disk, 1).await;
    let connected = house.connections();
    let mut producer = Wire::connect(house.address()).await;
    let head = Head::oneway(Dialect::Json, code::END_TRANSACTION, 1);
    producer.write(&frame(&head, &half_end(&sent, &physical), &[])).await;
    // An answer that it does not read makes its connection break when it leaves.
    let asked = [("topic", "orders"), ("queueId", "0")];
    let head = Head::request(Dialect::Json, code::GET_MAX_OFFSET, 2);
    producer.write(&frame(&head, &asked, &[])).await;
    producer.is_answered().await;
    drop(producer);
    eventually("the end of its connection", async || house.connections() == connected).await;
    disk.let_go();
    let peer = house.peer();
    eventually("the committed message", async || bodies(&peer.read_all("orders", 0).await) == ["half"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn clients_that_move_by_themselves_are_told_aside_from_everybody_else() {
    let (_situation, disk, house) = start(&[("useServerSideResetOffset", "false")]).await;
    let member = house.peer();
    backlog(&house).await;
    member.join("c", "readers", "orders", "*").await;
    let tool = house.peer();
    for queue in ["0", "1", "2", "3"] {
        let commit =
            [("consumerGroup", "readers"), ("topic", "orders"), ("queueId", queue), ("commitOffset", "1")];
        tool.ok(code::UPDATE_CONSUMER_OFFSET, &commit).await;
    }
    disk.stick(FIRST_SEGMENT);
    let fields = [("topic", "orders"), ("group", "readers"), ("timestamp", "1"), ("isForce", "true")];
    let reset = async { tool.ask(code::INVOKE_BROKER_TO_RESET_OFFSET, &fields).await };
    let meanwhile = async {
        reads_wait(&disk, 1).await;
        stored(house.peer().send("other", 0, "meanwhile").await);
        assert_eq!((disk.reads(), disk.waiting()), (1, 1), "the offset is still searched");
        disk.let_go();
    };
    let (answer, ()) = tokio::join!(reset, meanwhile);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    member.hears(code::RESET_CONSUMER_CLIENT_OFFSET).await;
}

fn pop(count: &str) -> [(&'static str, &str); 12] {
    Pop { queue: "0", count, ..POP }.fields()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn pops_and_peeks_wait_for_the_disk_aside_from_everybody_else() {
    let (_situation, disk, house) = start(&[]).await;
    backlog(&house).await;
    let head = |code, opaque| Head::request(Dialect::Json, code, opaque);
    let mut reader = Wire::connect(house.address()).await;
    reader.write(&frame(&head(code::POP_MESSAGE, 1), &pop("2"), &[])).await;
    let first = reader.next().await.unwrap();
    assert_eq!(bodies(&records(&first.answer.body)), [body(0), body(1)]);
    disk.stick(FIRST_SEGMENT);
    reader.write(&frame(&head(code::POP_MESSAGE, 2), &pop("3"), &[])).await;
    reads_wait(&disk, 1).await;
    reader.write(&frame(&head(code::PEEK_MESSAGE, 3), &pop("1")[..4], &[])).await;
    reads_wait(&disk, 2).await;
    reader.hears_nothing().await;
    stored(house.peer().send("orders", 0, "meanwhile").await);
    disk.let_go();
    let mut answers = [reader.next().await.unwrap(), reader.next().await.unwrap()];
    answers.sort_by_key(|framed| framed.opaque);
    assert_eq!((answers[0].opaque, answers[0].answer.code), (2, 0), "{:?}", answers[0]);
    assert_eq!(bodies(&records(&answers[0].answer.body)), [body(2), body(3), body(4)]);
    assert_eq!((answers[1].opaque, answers[1].answer.code), (3, 0), "{:?}", answers[1]);
    // They were given away once: the next are others.
    reader.write(&frame(&head(code::POP_MESSAGE, 4), &pop("1"), &[])).await;
    assert_eq!(bodies(&records(&reader.next().await.unwrap().answer.body)), [body(5)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_client_that_leaves_takes_its_reads_along() {
    let (_situation, disk, house) = start(&[("thrust.diskReadThreads", "1")]).await;
    backlog(&house).await;
    disk.stick(FIRST_SEGMENT);
    let mut leaving = Wire::connect(house.address()).await;
    for opaque in 0..50 {
        leaving.ask(opaque, &Ask::new("orders", 0, 0)).await;
    }
    reads_wait(&disk, 1).await;
    leaving.hears_nothing().await;
    let connections = house.connections();
    drop(leaving);
    eventually("the end of a connection", async || house.connections() < connections).await;
    let mut staying = Wire::connect(house.address()).await;
    staying.ask(1, &Ask::new("orders", 0, 5)).await;
    staying.hears_nothing().await;
    let before = disk.reads();
    disk.let_go();
    let framed = staying.next().await.unwrap();
    assert_eq!((framed.opaque, framed.answer.code), (1, 0), "{framed:?}");
    let messages = records(&framed.answer.body).len();
    // What was under way for the one that left, and what the other one asked; fifty pulls would be far more.
    assert!(disk.reads() - before <= 2 * messages + 32, "{} reads", disk.reads() - before);
    house.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stops_refuses_the_reads_that_wait_and_ends_those_under_way() {
    let (situation, disk, house) = start(&[("thrust.diskReadThreads", "1")]).await;
    backlog(&house).await;
    disk.stick(FIRST_SEGMENT);
    let mut behind = Wire::connect(house.address()).await;
    behind.ask(1, &Ask::new("orders", 0, 0)).await;
    reads_wait(&disk, 1).await;
    behind.ask(2, &Ask::new("orders", 0, 0)).await;
    behind.hears_nothing().await;
    let stop = tokio::spawn(house.stop());
    let refused = behind.next().await.unwrap();
    assert_eq!((refused.opaque, refused.answer.code), (2, response::SYSTEM_BUSY), "{refused:?}");
    assert!(remark(&refused.answer).contains("stopping"), "{refused:?}");
    disk.let_go();
    // On a slow machine the connection may have ended before.
    if let Some(answered) = behind.next().await {
        assert_eq!((answered.opaque, answered.answer.code), (1, 0), "{answered:?}");
    }
    stop.await.unwrap().unwrap();
    let again = situation.start().await;
    assert_eq!(again.peer().read_all("orders", 0).await.len() as i64, MESSAGES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_consumer_that_asks_for_more_than_it_reads_keeps_its_connection() {
    const PULLS: i32 = 300;
    let situation = Situation::new(&[]);
    let disk = SlowDisk::over(&situation.disk);
    let limits = Limits { outbound_bytes_max: 2 << 20, ..Limits::default() };
    let house = situation.start_on(disk.seen(), limits).await;
    backlog(&house).await;
    disk.stick(FIRST_SEGMENT);
    let mut behind = Wire::connect(house.address()).await;
    // Some 70 MiB of answers: more than the sockets hold, and far more than the limit.
    for opaque in 0..PULLS {
        behind.ask(opaque, &Ask::new("orders", 0, 0)).await;
    }
    behind.hears_nothing().await;
    disk.let_go();
    let mut answered = 0;
    while answered < PULLS {
        let framed = behind.next().await.expect("the connection is kept");
        assert_eq!(framed.answer.code, 0, "{:?}", framed.answer.remark);
        answered += 1;
    }
}

/// Sends to another topic until it is dropped, one message after the other.
async fn send_without_pause(house: &House, body: &str) -> ! {
    let sender = house.peer();
    loop {
        stored(sender.send("other", 0, body).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_is_far_behind_gets_what_is_in_memory_while_somebody_sends_without_pause() {
    /// Two of these fill a file of the log, and all of them are more than a consumer may be behind to be near.
    const LARGE: usize = 3 << 20;
    const COUNT: i64 = 32;
    let situation = Situation::new(&[("thrust.diskReadThreads", "1")])
        .with("mappedFileSizeCommitLog", &(8 << 20).to_string());
    let disk = SlowDisk::over(&situation.disk);
    let house = situation.start_on(disk.seen(), Limits::default()).await;
    backlog(&house).await;
    let sender = house.peer();
    let large = "x".repeat(LARGE);
    for number in 0..COUNT {
        assert_eq!(sender.store("bulk", 0, &large).await, number);
    }
    // The only thread that reads from disk waits for it, so it is no help.
    disk.stick(FIRST_SEGMENT);
    let mut other = Wire::connect(house.address()).await;
    other.ask(1, &Ask::new("orders", 0, 0)).await;
    reads_wait(&disk, 1).await;
    let body = &large[..LARGE / 2];
    let behind = async {
        let peer = house.peer();
        for number in 4..8 {
            let answer = peer.pull(&Ask::new("bulk", 0, number)).await;
            assert_eq!(bodies(&records(&answer.body)), [large.as_str()]);
        }
    };
    tokio::select! {
        () = behind => (),
        never = send_without_pause(&house, body) => never,
    }
    assert_eq!(disk.waiting(), 1, "the thread still waits");
    disk.let_go();
    assert_eq!(other.next().await.unwrap().answer.code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_waits_for_the_disk_comes_to_the_end_while_somebody_sends_without_pause() {
    let (_situation, disk, house) = start(&[("thrust.diskReadThreads", "1")]).await;
    backlog(&house).await;
    // None of it is in memory any more.
    disk.stick(FIRST_SEGMENT);
    disk.let_go();
    let behind = async {
        let peer = house.peer();
        let mut next = 0;
        while next < MESSAGES {
            let messages = records(&peer.pull(&Ask::new("orders", 0, next)).await.body);
            assert_eq!(messages[0].body, body(next));
            next += messages.len() as i64;
        }
    };
    tokio::select! {
        () = behind => (),
        never = send_without_pause(&house, "new") => never,
    }
    assert!(disk.reads() > 0);
}
