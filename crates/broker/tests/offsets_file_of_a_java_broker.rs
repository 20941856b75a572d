//! `consumerOffset.json` as a Java broker of 5.5 leaves it: what means nothing here is there when Java comes back.

use crate::support::World;

#[tokio::test]
async fn members_that_only_java_knows_are_kept() {
    let world = World::start().await;
    world.create_topic("Orders", 1).await;
    world.create_group("g").await;
    world.send("Orders", 0, "m").await;
    world.commit("g", "Orders", 0, 1).await;
    let world = world.restart().await;
    let path = world.directory().join("config/consumerOffset.json");
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(!written.contains("pullOffsetTable"), "no file of ours has it unasked: {written}");
    std::fs::write(
        &path,
        "{\"dataVersion\":{\"counter\":3,\"stateVersion\":0,\"timestamp\":5},\n\"offsetTable\":{\"Orders@g\":{0:1},\"Gone@g\":{1:7}},\n\
         \"pullOffsetTable\":{\"Orders@g\":{0:1},\"Orders@other\":{0:9}},\n\"later\":{\"member\":[1,{\"x\":2}]}}",
    )
    .unwrap();
    // The first start reads it, the second one reads what the first one wrote.
    let world = world.restart().await;
    world.send("Orders", 0, "n").await;
    world.pull("g", "Orders", 0, 1).await;
    world.commit("g", "Orders", 0, 2).await;
    let world = world.restart().await;
    let written: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(written["offsetTable"], serde_json::json!({"Gone@g": {"1": 7}, "Orders@g": {"0": 2}}));
    assert_eq!(
        written["pullOffsetTable"],
        serde_json::json!({"Orders@g": {"0": 2}, "Orders@other": {"0": 9}})
    );
    assert_eq!(written["later"], serde_json::json!({"member": [1, {"x": 2}]}));
    assert_eq!(world.committed("g", "Orders", 0).await, Some(2));
}
