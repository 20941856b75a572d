//! The process is killed right after a commit: the half message is neither lost nor delivered again.

use crate::support::messages::{bodies, text};
use crate::support::peer::borrowed;
use crate::support::{Peer, Situation, eventually, number, stored};
use wire::code::request as code;
use wire::ids::OffsetId;

const DISCARDED: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

async fn half(peer: &Peer, body: &str) -> [(&'static str, String); 4] {
    let properties = text(&[("TRAN_MSG", "true"), ("PGROUP", "payers")]);
    let answer = stored(peer.send_with("orders", 0, body.as_bytes(), &properties).await);
    let id = OffsetId::parse(answer.field("msgId").unwrap()).unwrap();
    [
        ("producerGroup", "payers".to_owned()),
        ("tranStateTableOffset", number(&answer, "queueOffset").to_string()),
        ("commitLogOffset", id.offset.to_string()),
        ("commitOrRollback", "8".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_before_the_kill_stand_and_what_was_open_is_open() {
    let situation = Situation::new(&[("transactionTimeOut", "1"), ("transactionCheckMax", "1")]);
    let house = situation.start().await;
    let peer = house.peer();
    let committed = half(&peer, "committed").await;
    half(&peer, "open").await;
    assert_eq!(peer.ask_with(code::END_TRANSACTION, &borrowed(&committed), &[]).await.code, 0);
    // From here on nothing that the first broker does counts.
    let killed = situation.after_kill().with("transactionCheckInterval", "20");
    let house_after = killed.start().await;
    let peer = house_after.peer();
    let end = peer.ask_with(code::END_TRANSACTION, &borrowed(&committed), &[]).await;
    assert_eq!(end.code, 1, "it is decided: {end:?}");
    eventually("the open one is checked once and then discarded", async || {
        let fields = [("topic", DISCARDED), ("queueId", "0")];
        peer.ask_with(code::GET_MAX_OFFSET, &fields, &[]).await.field("offset") == Some("1")
    })
    .await;
    assert_eq!(bodies(&peer.read_all(DISCARDED, 0).await), ["open"]);
    assert_eq!(bodies(&peer.read_all("orders", 0).await), ["committed"]);
    drop(house);
}
