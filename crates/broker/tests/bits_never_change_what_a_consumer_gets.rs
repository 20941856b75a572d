//! The answers of registered filters are kept as bits beside the queues (`enableCalcFilterBitMap`): whatever happens, a
//! group with bits gets what the same expression gives to somebody who has none.

use crate::support::messages::{bodies, records, text};
use crate::support::peer::heartbeat;
use crate::support::{Ask, House, Peer, Situation, number, stored};
use serde_json::Value;
use sim::Random;
use wire::code::request as code;

const KEYS: [(&str, &str); 4] = [
    ("enablePropertyFilter", "true"),
    ("enableConsumeQueueExt", "true"),
    ("enableCalcFilterBitMap", "true"),
    ("mappedFileSizeConsumeQueueExt", "1024"),
];
const EXPRESSIONS: [&str; 5] =
    ["n < 3", "n > 5 AND TAGS = 'even'", "n BETWEEN 2 AND 7", "n = 9 OR x = 1", "n < 0"];
const GROUPS: [&str; 4] = ["one", "two", "three", "four"];

async fn register(peer: &Peer, group: &str, expression: &str, version: i64) {
    let mut beat = heartbeat(group, group, &[("orders", "*")]);
    let subscription = &mut beat.consumer_data_set[0].subscription_data_set[0];
    subscription.sub_string = expression.to_owned();
    subscription.expression_type = "SQL92".to_owned();
    subscription.sub_version = version;
    let answer = peer.ask_with(code::HEART_BEAT, &[], &serde_json::to_vec(&beat).unwrap()).await;
    assert_eq!(answer.code, 0, "{answer:?}");
}

async fn read(peer: &Peer, ask: Ask<'_>) -> Vec<String> {
    let (mut offset, mut all) = (0, Vec::new());
    loop {
        let answer = peer.pull(&Ask { offset, ..ask.clone() }).await;
        match answer.code {
            0 => all.extend(bodies(&records(&answer.body)).iter().map(|body| body.to_string())),
            20 => {}
            _ => return all,
        }
        offset = number(&answer, "nextBeginOffset");
    }
}

async fn check(peer: &Peer, registered: &[Option<&'static str>]) {
    for (group, expression) in GROUPS.iter().zip(registered) {
        let Some(expression) = expression else { continue };
        let expected = read(peer, Ask::new("orders", 0, 0).of_group("nobody").by_sql(expression)).await;
        let relying = read(peer, Ask::new("orders", 0, 0).of_group(group).registered()).await;
        assert_eq!(relying, expected, "{group} with {expression}");
        let bringing = read(peer, Ask::new("orders", 0, 0).of_group(group).by_sql(expression)).await;
        assert_eq!(bringing, expected, "{group} with its own {expression}");
    }
}

async fn history(seed: u64) {
    let mut random = Random::new(seed);
    let mut situation = Situation::new(&KEYS);
    let (mut sent, mut version) = (0, 0);
    for life in 0..4 {
        let house: House = situation.start().await;
        let peer = house.peer();
        let mut registered = [None; GROUPS.len()];
        for _ in 0..25 {
            match random.below(10) {
                0 | 1 => {
                    let group = random.below(GROUPS.len() as u64) as usize;
                    let expression = EXPRESSIONS[random.below(EXPRESSIONS.len() as u64) as usize];
                    version += 1;
                    register(&peer, GROUPS[group], expression, version).await;
                    registered[group] = Some(expression);
                }
                2 => check(&peer, &registered).await,
                _ => {
                    let n = random.below(10);
                    let tags = if n.is_multiple_of(2) { "even" } else { "odd" };
                    let properties = text(&[("n", &n.to_string()), ("TAGS", tags)]);
                    stored(peer.send_with("orders", 0, format!("{sent}").as_bytes(), &properties).await);
                    sent += 1;
                }
            }
        }
        check(&peer, &registered).await;
        peer.close();
        if random.chance(50) || life == 3 {
            house.stop().await.unwrap();
        } else {
            let after = situation.after_kill();
            drop(house);
            situation = after;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_histories_of_registering_sending_stopping_and_killing() {
    for seed in 0..8 {
        println!("seed {seed}");
        history(seed).await;
    }
}

/// Bitmaps of a queue's messages, as they are in the file.
fn bitmaps(situation: &Situation) -> Vec<Vec<u8>> {
    let files = situation.disk.files();
    let bytes = &files[&situation.path("consumequeue_ext/orders/0/00000000000000000000")];
    let mut rest = &bytes[..];
    let mut bitmaps = Vec::new();
    while rest[..2] > [0, 0][..] && rest[0] < 0x80 {
        let (unit, next) = rest.split_at(usize::from(rest[1]));
        bitmaps.push(unit[20..].to_vec());
        rest = next;
    }
    bitmaps
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bits_in_the_file_are_those_of_the_groups_whose_filter_said_yes() {
    let situation = Situation::new(&KEYS);
    let house = situation.start().await;
    let peer = house.peer();
    let send = async |n: u32| {
        stored(peer.send_with("orders", 0, b"x", &text(&[("n", &n.to_string())])).await);
    };
    send(1).await;
    register(&peer, "one", "n < 3", 1).await;
    register(&peer, "two", "n > 5", 1).await;
    for n in [1, 4, 9] {
        send(n).await;
    }
    house.stop().await.unwrap();
    let kept: Option<Value> =
        store::config_file::load(&situation.disk, &situation.path("config/consumerFilter.json"), |bytes| {
            serde_json::from_slice(bytes).ok()
        })
        .unwrap();
    let groups = &kept.unwrap()["filterDataByTopic"]["orders"]["groupFilterData"];
    let bits = |group: &str| {
        let mut bitmap = vec![0u8; 14];
        for position in groups[group]["bloomFilterData"]["bitPos"].as_array().unwrap() {
            let position = position.as_u64().unwrap() as usize;
            bitmap[position / 8] |= 1 << (position % 8);
        }
        bitmap
    };
    assert_eq!(bitmaps(&situation), [vec![], bits("one"), vec![0; 14], bits("two")]);
}
