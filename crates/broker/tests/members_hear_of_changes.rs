//! Members of a consumer group: who is in it, who hears of it, who holds which queue.

use std::io::ErrorKind;

use crate::support::peer::heartbeat;
use crate::support::{Peer, Situation, eventually, remark};
use remoting::Answer;
use sim::{Fault, Operation};
use wire::body::{ConsumerIdList, LockBatch, LockedQueues, MessageQueue, ProducerData};
use wire::code::request as code;

async fn members(peer: &Peer, group: &str) -> Vec<String> {
    let answer = peer.ask_with(code::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", group)], &[]).await;
    if answer.code != 0 {
        assert_eq!(answer.code, 1, "{answer:?}");
        return Vec::new();
    }
    serde_json::from_slice::<ConsumerIdList>(&answer.body).unwrap().consumer_id_list
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_leaving_and_vanishing_are_told_to_all_who_are_there() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let (first, second, third) = (house.peer(), house.peer(), house.peer());
    let joined = first.join("first", "readers", "orders", "*").await;
    assert_eq!(joined.code, 0);
    assert_eq!(joined.field("IS_SUPPORT_HEART_BEAT_V2"), Some("true"));
    // The newcomer hears of itself too.
    first.is_told("readers", 1).await;
    second.join("second", "readers", "orders", "*").await;
    second.is_told("readers", 1).await;
    first.is_told("readers", 2).await;
    assert_eq!(members(&first, "readers").await, ["first", "second"]);

    // A further heartbeat changes nothing, another group is another matter.
    second.join("second", "readers", "orders", "*").await;
    third.join("third", "others", "orders", "*").await;
    third.is_told("others", 1).await;
    first.is_told("readers", 2).await;

    second.leave("second", "readers").await;
    first.is_told("readers", 3).await;
    assert_eq!(members(&first, "readers").await, ["first"]);
    assert_eq!(second.notices("readers"), 1, "who has left is not told any more");

    third.join("third", "readers", "orders", "*").await;
    first.is_told("readers", 4).await;
    third.close();
    first.is_told("readers", 5).await;
    assert_eq!(members(&first, "readers").await, ["first"]);
    eventually("a group without members is gone", async || members(&first, "others").await.is_empty()).await;
    first.leave("first", "readers").await;
    assert!(members(&second, "readers").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_that_change_are_told_and_broadcasting_groups_are_told_nothing() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let (first, second) = (house.peer(), house.peer());
    first.join("first", "readers", "orders", "*").await;
    first.is_told("readers", 1).await;
    let two = heartbeat("first", "readers", &[("orders", "*"), ("invoices", "*")]);
    first.ask_with(code::HEART_BEAT, &[], &serde_json::to_vec(&two).unwrap()).await;
    first.is_told("readers", 2).await;
    for (peer, id) in [(&first, "first"), (&second, "second")] {
        let mut radio = heartbeat(id, "listeners", &[("news", "*")]);
        radio.consumer_data_set[0].message_model = "BROADCASTING".to_owned();
        peer.ask_with(code::HEART_BEAT, &[], &serde_json::to_vec(&radio).unwrap()).await;
    }
    assert_eq!(members(&first, "listeners").await, ["first", "second"]);
    second.join("second", "readers", "orders", "*").await;
    // Notices come in the order of their causes, so one of the radio would have come before this.
    second.is_told("readers", 1).await;
    assert_eq!((first.notices("listeners"), second.notices("listeners")), (0, 0));
}

/// Otherwise it would be taken for gone after two minutes, with all groups that it is in.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_group_that_cannot_be_created_is_in_its_other_groups_all_the_same() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    for group in ["first", "last"] {
        house.peer().join("other", group, "orders", "*").await;
    }
    situation.disk.inject(Fault::from_now(Operation::Write, "config", ErrorKind::StorageFull));
    let mut alive = heartbeat("c", "first", &[("orders", "*")]);
    for group in ["new", "last"] {
        alive.consumer_data_set.extend(heartbeat("c", group, &[("orders", "*")]).consumer_data_set);
    }
    alive.producer_data_set.push(ProducerData { group_name: "senders".to_owned() });
    let peer = house.peer();
    let refused = peer.ask_with(code::HEART_BEAT, &[], &serde_json::to_vec(&alive).unwrap()).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(remark(&refused).contains("subscriptionGroup.json"), "{refused:?}");
    for (group, there) in [("first", true), ("new", false), ("last", true)] {
        assert_eq!(members(&peer, group).await.contains(&"c".to_owned()), there, "{group}");
    }
    let senders = [("producerGroup", "senders"), ("topic", "orders")];
    assert_eq!(peer.ask(code::GET_PRODUCER_CONNECTION_LIST, &senders).await.code, 0);
}

/// The second version of heartbeats: who has changed nothing sends a fingerprint and no subscriptions.
#[tokio::test(flavor = "multi_thread")]
async fn a_light_heartbeat_leaves_the_subscriptions_as_they_are() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    let mut full = heartbeat("c", "readers", &[("orders", "*")]);
    full.heartbeat_fingerprint = 77;
    let send = async |data: &wire::body::HeartbeatData| -> Answer {
        peer.ask_with(code::HEART_BEAT, &[], &serde_json::to_vec(data).unwrap()).await
    };
    assert_eq!(send(&full).await.field("IS_SUB_CHANGE"), Some("false"));
    let mut light = heartbeat("c", "readers", &[]);
    light.heartbeat_fingerprint = 77;
    light.without_sub = true;
    assert_eq!(send(&light).await.field("IS_SUB_CHANGE"), Some("false"));
    peer.is_told("readers", 1).await;
    light.heartbeat_fingerprint = 78;
    assert_eq!(send(&light).await.field("IS_SUB_CHANGE"), Some("true"), "it must send them again");
}

/// The broker has forgotten the group with its last connection; a client that connects anew does not know that.
#[tokio::test(flavor = "multi_thread")]
async fn a_light_heartbeat_to_a_group_without_subscriptions_asks_for_them() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    let send = async |data: &wire::body::HeartbeatData| -> Option<String> {
        let answer = peer.ask_with(code::HEART_BEAT, &[], &serde_json::to_vec(data).unwrap()).await;
        answer.field("IS_SUB_CHANGE").map(str::to_owned)
    };
    let mut light = heartbeat("c", "readers", &[]);
    light.heartbeat_fingerprint = 77;
    light.without_sub = true;
    assert_eq!(send(&light).await.as_deref(), Some("true"));
    assert_eq!(send(&light).await.as_deref(), Some("true"), "until it has sent them");
    let mut full = heartbeat("c", "readers", &[("orders", "*")]);
    full.heartbeat_fingerprint = 77;
    assert_eq!(send(&full).await.as_deref(), Some("false"));
    assert_eq!(send(&light).await.as_deref(), Some("false"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_locked_by_one_client_of_a_group() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let (first, second) = (house.peer(), house.peer());
    let queues = |ids: &[i32]| -> Vec<MessageQueue> {
        let queue = |id: &i32| MessageQueue {
            broker_name: "b".to_owned(),
            queue_id: *id,
            topic: "orders".to_owned(),
        };
        ids.iter().map(queue).collect()
    };
    let ask = async |peer: &Peer, code: i32, client: &str, group: &str, ids: &[i32]| -> Answer {
        let wanted = LockBatch {
            client_id: client.to_owned(),
            consumer_group: group.to_owned(),
            mq_set: queues(ids),
            only_this_broker: false,
        };
        let answer = peer.ask_with(code, &[], &serde_json::to_vec(&wanted).unwrap()).await;
        assert_eq!(answer.code, 0, "{answer:?}");
        answer
    };
    let lock = async |peer: &Peer, client: &str, group: &str, ids: &[i32]| -> Vec<i32> {
        let answer = ask(peer, code::LOCK_BATCH_MQ, client, group, ids).await;
        let locked = serde_json::from_slice::<LockedQueues>(&answer.body).unwrap().locked;
        let mut ids: Vec<i32> = locked.into_iter().map(|queue| queue.queue_id).collect();
        ids.sort();
        ids
    };
    assert_eq!(lock(&first, "first", "readers", &[0, 1]).await, [0, 1]);
    assert_eq!(lock(&second, "second", "readers", &[0, 1, 2]).await, [2]);
    assert_eq!(lock(&second, "second", "others", &[0]).await, [0]);
    assert_eq!(lock(&first, "first", "readers", &[0, 1, 2]).await, [0, 1], "own locks are renewed");
    // Nobody unlocks what another holds.
    ask(&second, code::UNLOCK_BATCH_MQ, "second", "readers", &[0]).await;
    assert_eq!(lock(&second, "second", "readers", &[0]).await, [0; 0]);
    ask(&first, code::UNLOCK_BATCH_MQ, "first", "readers", &[0]).await;
    assert_eq!(lock(&second, "second", "readers", &[0, 1]).await, [0]);
}
