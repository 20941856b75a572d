//! A store that the real Java broker left with transactions open (fixtures/README.md): each is asked about and ends as
//! its producer says, and what was decided before stays so.

use std::collections::BTreeMap;
use std::path::Path;

use crate::archive;
use crate::support::{World, records};
use wire::code::{request, response};

const TOPIC: &str = "HandedOver";
const OPEN: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn ten_are_open_and_end_once() {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    archive::unpack(&fixtures.join("java-5.5.0-open-transactions.tar.gz"), dir.path());
    let mut expected: Vec<String> =
        std::fs::read_to_string(dir.path().join("ledger")).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(expected.len(), 5);
    let keys = [
        ("mappedFileSizeCommitLog", "1048576"),
        ("mappedFileSizeConsumeQueue", "2000"),
        ("transactionCheckInterval", "100"),
        ("transactionTimeOut", "50"),
        // What is older than this is discarded, and the fixture grows older.
        ("fileReservedTime", "876000"),
    ];
    let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let world = World::open(dir, keys).await;
    world.me.produce("p1", "HandedOverGroup").await;
    let mut answered: BTreeMap<String, String> = BTreeMap::new();
    while answered.len() < OPEN {
        let asked = world.me.hears(request::CHECK_TRANSACTION_STATE).await;
        let shown = records(&asked.body).remove(0);
        assert_eq!(shown.topic, TOPIC);
        let times: u32 = shown.property("TRANSACTION_CHECK_TIMES").unwrap().parse().unwrap();
        assert!(times > 2, "Java's count goes on: {times}");
        let commits = shown.body.starts_with("open-commit");
        assert!(commits || shown.body.starts_with("open-rollback"), "{}", shown.body);
        if answered.contains_key(&shown.body) {
            continue;
        }
        let field = |name| asked.field(name).unwrap();
        let fields = [
            ("producerGroup", "HandedOverGroup"),
            ("tranStateTableOffset", field("tranStateTableOffset")),
            ("commitLogOffset", field("commitLogOffset")),
            ("commitOrRollback", if commits { "8" } else { "12" }),
            ("fromTransactionCheck", "true"),
            ("msgId", field("msgId")),
        ];
        let answer = world.me.ask(request::END_TRANSACTION, &fields).await;
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        if commits {
            expected.push(shown.body.clone());
        }
        answered.insert(shown.body, field("msgId").to_owned());
    }
    let world = world.restart().await;
    let mut found: Vec<String> =
        world.pull("readers", TOPIC, 0, 0).await.messages.into_iter().map(|message| message.body).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let metrics = std::fs::read_to_string(world.directory().join("config/transactionMetrics")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
    assert_eq!(metrics["transactionCount"][TOPIC]["count"], 0);
}
