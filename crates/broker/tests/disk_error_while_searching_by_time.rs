//! The disk fails while an offset is searched by time: who asks is told so, and no group is moved past its messages.

use std::io::ErrorKind;

use crate::support::{Situation, number, remark};
use sim::{Fault, Operation};
use wire::code::request as code;

#[tokio::test(flavor = "multi_thread")]
async fn the_error_is_answered_and_nobody_is_moved() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    for number in 0..10 {
        peer.store("orders", 0, &format!("{number}")).await;
    }
    let search = [("topic", "orders"), ("queueId", "0"), ("timestamp", "1")];
    let reset = [("group", "billing"), ("topic", "orders"), ("timestamp", "1"), ("isForce", "true")];
    let committed = [("consumerGroup", "billing"), ("topic", "orders"), ("queueId", "0")];
    let group = br#"{"groupName":"billing"}"#;
    assert_eq!(peer.ask_with(code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], group).await.code, 0);
    let commit = [("commitOffset", "2")].iter().chain(&committed).copied().collect::<Vec<_>>();
    assert_eq!(peer.ask_with(code::UPDATE_CONSUMER_OFFSET, &commit, &[]).await.code, 0);
    situation.disk.inject(Fault::from_now(Operation::Read, "commitlog", ErrorKind::Other));
    for (asked, fields) in
        [(code::SEARCH_OFFSET_BY_TIMESTAMP, &search[..]), (code::INVOKE_BROKER_TO_RESET_OFFSET, &reset[..])]
    {
        let refused = peer.ask_with(asked, fields, &[]).await;
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(remark(&refused).contains("injected"), "the cause is named: {refused:?}");
    }
    situation.disk.heal();
    let kept = peer.ask_with(code::QUERY_CONSUMER_OFFSET, &committed, &[]).await;
    assert_eq!(number(&kept, "offset"), 2);
    let found = peer.ask_with(code::SEARCH_OFFSET_BY_TIMESTAMP, &search, &[]).await;
    assert_eq!(number(&found, "offset"), 0);
    house.stop().await.unwrap();
}
