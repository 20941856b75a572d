//! A producer that hears no answer sends again. On a topic that says so its message is stored once, and it is told
//! where; on any other topic both are stored, since the sender may have meant it.

use crate::support::{PATIENCE, World, number};
use wire::batch;
use wire::code::{request, response};
use wire::properties as props;

const KEY: &str = "7F0000010A2B18B4AAC2123456780001";

async fn world(flush: &str) -> World {
    let world = World::start_with(&[("flushDiskType", flush)]).await;
    topic(&world, "orders", "60000").await;
    world
}

async fn topic(world: &World, name: &str, window: &str) {
    world.create_topic_with(name, 4, &format!("+dedup.window.ms={window}")).await;
}

async fn count(world: &World, topic: &str) -> i64 {
    let mut count = 0;
    for queue in ["0", "1", "2", "3"] {
        let answer = world.me.ok(request::GET_MAX_OFFSET, &[("topic", topic), ("queueId", queue)]).await;
        count += number(&answer, "offset");
    }
    count
}

fn unique(key: &str) -> [(&str, &str); 1] {
    [(props::UNIQ_KEY, key)]
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_answered_with_the_place_of_the_first_even_for_another_queue() {
    for flush in ["ASYNC_FLUSH", "SYNC_FLUSH"] {
        let world = world(flush).await;
        let first = world.send_with("orders", 1, "pay", &unique(KEY)).await;
        world.send_with("orders", 1, "other", &unique("7F0000010A2B18B4AAC2123456780002")).await;
        let again = world.send_with("orders", 3, "pay", &unique(KEY)).await;
        assert_eq!(again, first);
        assert_eq!(count(&world, "orders").await, 2);
        // A topic that does not say so keeps both.
        world.create_topic("plain", 4).await;
        world.send_with("plain", 0, "pay", &unique(KEY)).await;
        world.send_with("plain", 0, "pay", &unique(KEY)).await;
        assert_eq!(count(&world, "plain").await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_at_once_store_each_message_once() {
    let world = std::sync::Arc::new(world("ASYNC_FLUSH").await);
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..4 {
        let (world, peer) = (world.clone(), world.peer());
        senders.spawn(async move {
            let mut places = Vec::new();
            for n in 0..200 {
                let key = format!("{KEY}{n}");
                let answer = peer.try_send("orders", sender, b"pay", &unique(&key)).await;
                assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
                places.push(answer.field("msgId").map(str::to_owned));
            }
            drop(world);
            places
        });
    }
    let places = tokio::time::timeout(PATIENCE, senders.join_all()).await.unwrap();
    assert!(places.iter().all(|other| *other == places[0]));
    assert_eq!(count(&world, "orders").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_known_across_a_restart() {
    let world = world("ASYNC_FLUSH").await;
    let first = world.send_with("orders", 2, "pay", &unique(KEY)).await;
    let world = world.restart().await;
    let again = world.send_with("orders", 0, "pay", &unique(KEY)).await;
    // The id also tells the broker's port, which is another one now.
    assert_eq!((again.queue_id, again.queue_offset), (first.queue_id, first.queue_offset));
    assert_eq!(again.offset_id[16..], first.offset_id[16..]);
    assert_eq!(count(&world, "orders").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_window_it_is_another_message() {
    let world = world("ASYNC_FLUSH").await;
    topic(&world, "short", "1").await;
    let first = world.send_with("short", 0, "pay", &unique(KEY)).await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let again = world.send_with("short", 0, "pay", &unique(KEY)).await;
    assert_ne!(again, first);
    // A topic of the same name begins anew.
    world.send_with("orders", 0, "pay", &unique(KEY)).await;
    world.me.ok(request::DELETE_TOPIC_IN_BROKER, &[("topic", "orders")]).await;
    topic(&world, "orders", "60000").await;
    world.send_with("orders", 0, "pay", &unique(KEY)).await;
    assert_eq!(count(&world, "orders").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_repeated_as_a_whole() {
    let world = world("ASYNC_FLUSH").await;
    let send = async |keys: &[&str]| {
        let mut bytes = Vec::new();
        for key in keys {
            let mut properties = Vec::new();
            props::push(&mut properties, props::UNIQ_KEY, key);
            batch::push(&mut bytes, &batch::Entry { flag: 0, body: b"pay", properties: &properties });
        }
        let fields = [
            ("a", "producers"),
            ("b", "orders"),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", "0"),
            ("f", "0"),
            ("g", "1"),
            ("h", "0"),
            ("i", ""),
            ("m", "true"),
        ];
        let answer = world.me.ask_with(request::SEND_BATCH_MESSAGE, &fields, &bytes).await;
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        answer.field("msgId").unwrap().to_owned()
    };
    let first = send(&["A1", "A2", "A3"]).await;
    assert_eq!(first.split(',').count(), 3);
    assert_eq!(send(&["A1", "A2", "A3"]).await, first);
    assert_eq!(count(&world, "orders").await, 3);
    // With something new in it the batch is new: nothing is lost for it.
    assert_ne!(send(&["A1", "A2", "B3"]).await, first);
    assert_eq!(count(&world, "orders").await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_send_that_is_refused_after_the_look_for_a_repeat_holds_up_nobody() {
    let world = world("ASYNC_FLUSH").await;
    // The client's properties alone are short enough, with those of the broker they are not.
    let filler = "x".repeat(wire::record::PROPERTIES_MAX - KEY.len() - 40);
    let properties = [(props::UNIQ_KEY, KEY), ("filler", filler.as_str())];
    let refused = world.peer().try_send("orders", 0, b"pay", &properties).await;
    assert_eq!(refused.code, response::MESSAGE_ILLEGAL, "{refused:?}");
    // Whichever thread of the runtime serves them.
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..16 {
        let peer = world.peer();
        senders.spawn(async move {
            let key = format!("{KEY}{sender}");
            peer.try_send("orders", 0, b"pay", &unique(&key)).await.code
        });
    }
    let codes =
        tokio::time::timeout(PATIENCE, senders.join_all()).await.expect("nobody waits for the refused one");
    assert!(codes.iter().all(|code| *code == response::SUCCESS), "{codes:?}");
}
