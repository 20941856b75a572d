//! A member of a broadcast group keeps its place when it changes from a proxy to the broker or back, and one that
//! nothing is known of begins where the slowest of the others is.

use crate::support::peer::borrowed;
use crate::support::{Ask, Peer, World, body, number};
use remoting::Answer;
use serde_json::json;
use wire::code::{request, response};

const FOR_BROADCAST: &str = "1";

/// A pull that never waits: by the member itself, or by a proxy for the client named.
async fn pull(peer: &Peer, offset: i64, proxied_for: Option<&str>) -> Answer {
    let asked = Ask::new("Orders", 0, offset).of_group("screens").fields();
    let mut fields = borrowed(&asked);
    if let Some(client_id) = proxied_for {
        fields.extend([("requestSource", FOR_BROADCAST), ("proxyFrowardClientId", client_id)]);
    }
    peer.ask(request::PULL_MESSAGE, &fields).await
}

fn moved_to(answer: &Answer) -> Option<i64> {
    (answer.code == response::PULL_OFFSET_MOVED).then(|| number(answer, "nextBeginOffset"))
}

async fn join(peer: &Peer, client_id: &str) {
    let subscription = json!({"classFilterMode": false, "codeSet": [], "expressionType": "TAG", "subString": "*",
                              "subVersion": 1, "tagsSet": [], "topic": "Orders"});
    let consumer = json!({
        "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET", "consumeType": "CONSUME_PASSIVELY", "groupName": "screens",
        "messageModel": "BROADCASTING", "subscriptionDataSet": [subscription], "unitMode": false,
    });
    let heartbeat = json!({"clientID": client_id, "consumerDataSet": [consumer], "producerDataSet": []});
    let answer = peer.ask_with(request::HEART_BEAT, &[], heartbeat.to_string().as_bytes()).await;
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

async fn world_with_five_messages(given: &[(&str, &str)]) -> World {
    let world = World::start_with(given).await;
    world.create_topic("Orders", 1).await;
    for number in 0..5 {
        world.send("Orders", 0, &format!("m{number}")).await;
    }
    world
}

#[tokio::test]
async fn a_member_that_changes_sides_keeps_its_place() {
    let world = world_with_five_messages(&[]).await;
    let (proxy, member) = (world.peer(), world.peer());
    // It has no offset of its own; the topic is young.
    assert_eq!(moved_to(&pull(&proxy, -1, Some("c1")).await), Some(0));
    assert_eq!(pull(&proxy, 0, Some("c1")).await.code, response::SUCCESS);
    assert_eq!(pull(&proxy, 5, Some("c1")).await.code, response::PULL_NOT_FOUND);
    // The same client comes by itself. What it has on its own disk is older.
    join(&member, "c1").await;
    assert_eq!(moved_to(&pull(&member, 2, None).await), Some(5));
    assert_eq!(
        pull(&member, 2, None).await.code,
        response::SUCCESS,
        "from now on it goes by its own offsets"
    );
    world.send("Orders", 0, "m5").await;
    assert_eq!(pull(&member, 6, None).await.code, response::PULL_NOT_FOUND);
    // And back. Somebody else is not concerned.
    assert_eq!(moved_to(&pull(&proxy, 5, Some("c1")).await), Some(6));
    assert_eq!(pull(&proxy, 1, Some("c2")).await.code, response::SUCCESS);
    // A pull too far ahead counts as what it was corrected to.
    assert_eq!(moved_to(&pull(&proxy, 90, Some("c1")).await), Some(6));
    assert_eq!(moved_to(&pull(&member, 0, None).await), Some(6));
}

#[tokio::test]
async fn a_stranger_begins_where_the_slowest_of_the_others_is() {
    let world = world_with_five_messages(&[]).await;
    let proxy = world.peer();
    pull(&proxy, 5, Some("fast")).await;
    pull(&proxy, 3, Some("slow")).await;
    let world = world.restart().await;
    let proxy = world.peer();
    assert_eq!(moved_to(&pull(&proxy, -1, Some("new")).await), Some(3));
    // The common offset stands under a name that is no group.
    let offsets = body(&world.me.ok(request::GET_ALL_CONSUMER_OFFSET, &[]).await);
    assert_eq!(offsets["offsetTable"], json!({"Orders@screens@broadcast": {"0": 3}}));
    let groups = body(&world.me.ok(request::QUERY_TOPIC_CONSUME_BY_WHO, &[("topic", "Orders")]).await);
    assert_eq!(groups, json!({"groupList": []}));
    let fields = [("groupName", "screens"), ("cleanOffset", "true")];
    world.me.ok(request::DELETE_SUBSCRIPTIONGROUP, &fields).await;
    let offsets = body(&world.me.ok(request::GET_ALL_CONSUMER_OFFSET, &[]).await);
    assert_eq!(offsets["offsetTable"], json!({}));
}

#[tokio::test]
async fn switched_off_every_member_is_taken_at_its_word() {
    let world = world_with_five_messages(&[("enableBroadcastOffsetStore", "false")]).await;
    let (proxy, member) = (world.peer(), world.peer());
    assert_eq!(pull(&proxy, 5, Some("c1")).await.code, response::PULL_NOT_FOUND);
    join(&member, "c1").await;
    assert_eq!(pull(&member, 2, None).await.code, response::SUCCESS);
}
