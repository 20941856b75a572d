//! Queues go to other members while messages of them are in hands, and members end meanwhile.

mod support;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use support::{PATIENCE, World, eventually};
use thrustmq_client::{
    Client, Consumer, ConsumerBuilder, Delivered, Error, Filter, Message, MessageQueue, RpcHook, RpcRequest,
    RpcResponse, StartFrom, Subscribed,
};
use wire::code::request;

const SOON: Duration = Duration::from_millis(200);
/// Longer than who is not orderly waits for what is in hands.
const LONG: Duration = Duration::from_millis(6_500);

/// A client whose members get queues in the order of its name: the one queue of a topic is for the first.
async fn named(world: &World, name: &str) -> Client {
    Client::builder(world.names()).instance(name).connect().await.expect("a client")
}

/// A member that writes nothing down by the clock.
fn member(client: &Client) -> ConsumerBuilder<Subscribed> {
    let consumer = client.consumer("G").subscribe("T", Filter::all()).start_from(StartFrom::Earliest);
    consumer.rebalance_every(SOON).commit_every(10 * PATIENCE)
}

/// A topic of one queue with so many messages.
async fn topic(world: &World, messages: u32) -> MessageQueue {
    world.create_topic("T", 1).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    for number in 0..messages {
        producer.send(Message::new("T", number.to_string())).await.unwrap();
    }
    producer.queues("T").await.unwrap().remove(0)
}

fn has(queues: &[MessageQueue]) -> bool {
    queues.iter().any(|queue| queue.topic == "T")
}

async fn next(consumer: &mut Consumer) -> Delivered {
    let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
    next.expect("a message in time").expect("an open consumer")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_queue_that_is_given_up_at_the_end_is_free_at_once() {
    let world = World::start().await;
    topic(&world, 2).await;
    let mut first = member(&named(&world, "b").await).orderly().stream().await.unwrap();
    let held = next(&mut first).await;
    let mut second = member(&named(&world, "a").await).orderly().stream().await.unwrap();
    eventually("the queue is not the first's any more", async || !has(&first.queues())).await;
    let closing = tokio::spawn(first.close(PATIENCE));
    tokio::time::sleep(SOON).await;
    held.ack();
    closing.await.unwrap();
    // Its lock would live for twice as long as this waits.
    let message = next(&mut second).await;
    assert_eq!(message.text(), "1", "what was settled is written down");
    message.ack();
    second.close(PATIENCE).await;
}

/// Lets a member wait where it has locked a queue and asks how far the group has come.
struct Gate {
    reached: SyncSender<()>,
    open: Mutex<Receiver<()>>,
}

impl RpcHook for Gate {
    fn before(&self, request: &mut RpcRequest<'_>) {
        let of_topic = || request.fields().iter().any(|(name, value)| *name == "topic" && value == "T");
        if request.code == request::QUERY_CONSUMER_OFFSET && of_topic() && self.reached.try_send(()).is_ok() {
            let _ = self.open.lock().recv_timeout(PATIENCE);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_orderly_queue_that_is_about_to_be_begun_at_the_end_is_free_at_once() {
    let world = World::start().await;
    topic(&world, 1).await;
    let ((reached, at_gate), (opens, open)) = (sync_channel(1), sync_channel(1));
    let gate = Gate { reached, open: Mutex::new(open) };
    let client = Client::builder(world.names()).rpc_hook(gate).connect().await.unwrap();
    let first = member(&client).orderly().stream().await.unwrap();
    tokio::task::spawn_blocking(move || at_gate.recv_timeout(PATIENCE).map(|()| at_gate))
        .await
        .unwrap()
        .expect("it begins with the queue");
    let closing = tokio::spawn(first.close(SOON));
    tokio::time::sleep(SOON).await;
    opens.send(()).unwrap();
    closing.await.unwrap();
    let mut second = member(&world.client().await).orderly().stream().await.unwrap();
    next(&mut second).await.ack();
    second.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_is_written_down_when_a_queue_goes_and_never_sets_its_next_member_back() {
    let world = World::start().await;
    let queue = topic(&world, 3).await;
    let mut first = member(&named(&world, "b").await).stream().await.unwrap();
    next(&mut first).await.ack();
    let held = next(&mut first).await;
    let mut watch = first.watch_queues();
    assert!(has(&watch.now()));
    let other = named(&world, "a").await;
    // It writes nothing down that the test does not.
    let second = other.lite_pull_consumer("G").commit_by_hand().subscribe("T", Filter::all());
    let second = second.rebalance_every(SOON).build().await.unwrap();
    while has(&tokio::time::timeout(PATIENCE, watch.changed()).await.expect("it goes").expect("a member")) {}
    let reader = other.reader("G");
    assert_eq!(reader.committed(&queue).await.unwrap(), Some(1), "whatever is in hands");

    reader.commit(&queue, 3).await.unwrap();
    held.ack();
    tokio::time::sleep(SOON).await;
    first.close(PATIENCE).await;
    assert_eq!(reader.committed(&queue).await.unwrap(), Some(3));
    second.close().await;
}

#[tokio::test]
async fn an_offset_that_was_set_back_is_mended_although_nothing_comes() {
    let world = World::start().await;
    let queue = topic(&world, 1).await;
    let client = world.client().await;
    let mut consumer = member(&client).commit_every(Duration::from_millis(20)).stream().await.unwrap();
    next(&mut consumer).await.ack();
    let reader = client.reader("G");
    let is_one = async || reader.committed(&queue).await.unwrap() == Some(1);
    eventually("it is written down", is_one).await;
    reader.commit(&queue, 0).await.unwrap();
    eventually("it is written down again", is_one).await;
    consumer.close(PATIENCE).await;
}

#[tokio::test]
async fn nobody_else_has_an_orderly_queue_while_a_message_of_it_is_in_hands() {
    let world = World::start().await;
    topic(&world, 2).await;
    let mut first = member(&named(&world, "b").await).orderly().stream().await.unwrap();
    let held = next(&mut first).await;
    let mut second = member(&named(&world, "a").await).orderly().stream().await.unwrap();
    eventually("the queue is not the first's any more", async || !has(&first.queues())).await;
    let early = tokio::time::timeout(LONG, second.next()).await;
    assert!(early.is_err(), "the first is at work");
    held.ack();
    let message = next(&mut second).await;
    assert_eq!(message.text(), "1");
    message.ack();
    second.close(PATIENCE).await;
    first.close(PATIENCE).await;
}

#[tokio::test]
async fn an_orderly_queue_that_comes_back_waits_for_what_is_in_hands() {
    let world = World::start().await;
    topic(&world, 2).await;
    let mut first = member(&named(&world, "b").await).orderly().stream().await.unwrap();
    let held = next(&mut first).await;
    let second = member(&named(&world, "a").await).orderly().stream().await.unwrap();
    eventually("the queue is not the first's any more", async || !has(&first.queues())).await;
    second.close(PATIENCE).await;
    let again = tokio::time::timeout(5 * SOON, first.next()).await;
    assert!(again.is_err(), "it would be the one in hands");
    held.ack();
    let message = next(&mut first).await;
    assert_eq!(message.text(), "1");
    message.ack();
    first.close(PATIENCE).await;
}

/// Makes the end of a member last for several heartbeats after brokers have heard of it.
struct SlowEnd;

impl RpcHook for SlowEnd {
    fn after(&self, request: &RpcRequest<'_>, _: Result<&RpcResponse<'_>, &Error>) {
        if request.code == request::UNREGISTER_CLIENT {
            let (_open, never_opened) = sync_channel::<()>(1);
            let _ = never_opened.recv_timeout(3 * SOON);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_has_left_is_not_brought_back_by_a_heartbeat() {
    let world = World::start().await;
    topic(&world, 1).await;
    let client = Client::builder(world.names()).heartbeat(SOON / 2).rpc_hook(SlowEnd);
    let client = client.connect().await.unwrap();
    // Somebody goes on, and with it the heartbeats.
    let _producer = client.producer("P").build().unwrap();
    let mut consumer = member(&client).stream().await.unwrap();
    next(&mut consumer).await.ack();
    consumer.close(PATIENCE).await;
    let members = world.client().await.admin().consumers("G").await.unwrap();
    assert!(members.is_none_or(|members| members.connection_set.is_empty()), "its queues would rest");
}
