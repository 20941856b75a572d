//! Codes 25 and 318: what a client may change, and that everything else stays.

use settings::{Broker, Change, Nameserver, Refusal, Table, updatable, update};

#[test]
fn a_change_that_acts_at_once_and_one_that_waits_for_a_start() {
    let before = Broker::default();
    let update =
        update(&before, "channelExpiredTimeout=12\nflushDiskType=SYNC_FLUSH\nbrokerPermission=6\n").unwrap();
    let changed: Vec<_> = update.changed.iter().map(|c| (c.key, &*c.from, &*c.to, c.change)).collect();
    assert_eq!(
        changed,
        [
            ("channelExpiredTimeout", "120000", "12", Change::Live),
            ("flushDiskType", "ASYNC_FLUSH", "SYNC_FLUSH", Change::Restart),
        ]
    );
    assert_eq!(update.settings.get("channelExpiredTimeout").as_deref(), Some("12"));
}

#[test]
fn keys_of_the_known_attacks_are_refused() {
    // CVE-2023-33246 and CVE-2023-37582, and the keys that would do the same here.
    for key in [
        "rocketmqHome",
        "brokerConfigPath",
        "configStorePath",
        "kvConfigPath",
        "configBlackList",
        "storePathRootDir",
        "storePathCommitLog",
        "namesrvAddr",
        "brokerIP1",
        "brokerIP2",
        "listenPort",
        "bindAddress",
        "brokerName",
        "brokerId",
        "thrust.maxConnections",
    ] {
        let refusal = update(&Broker::default(), &format!("fileReservedTime=1\n{key}=1\n")).unwrap_err();
        assert!(refusal.is_forbidden(), "{key}: {refusal}");
    }
    for key in ["configStorePath", "kvConfigPath", "configBlackList", "rocketmqHome", "listenPort"] {
        assert!(update(&Nameserver::default(), &format!("{key}=/etc/cron.d/x")).unwrap_err().is_forbidden());
    }
    // The first fix of CVE-2023-37582 listed a misspelt key: paths must be locked by what they are.
    for row in Broker::ROWS.iter().chain(Nameserver::ROWS) {
        assert!(!row.is_path || row.change == Change::Locked, "{}", row.key);
    }
}

#[test]
fn the_black_list_of_the_user_is_obeyed_and_cannot_unlock_anything() {
    let mut broker = Broker::default();
    broker.set("configBlackList", "flushDiskType; fileReservedTime;").unwrap();
    let refusal = updatable(&broker, "fileReservedTime").unwrap_err();
    assert_eq!(refusal, Refusal::BlackListed { key: "fileReservedTime".into() });
    assert_eq!(updatable(&broker, "deleteWhen"), Ok(Some(Change::Live)));
    assert_eq!(
        updatable(&broker, "flushDiskType"),
        Err(Refusal::BlackListed { key: "flushDiskType".into() })
    );
    assert_eq!(updatable(&broker, "messageDelayLevel"), Ok(Some(Change::Restart)));
    assert!(updatable(&broker, "configBlackList").unwrap_err().is_forbidden());
}

#[test]
fn keys_without_effect_are_answered_as_java_does() {
    let update = update(&Broker::default(), "sendMessageThreadPoolNums=4\nnoSuchKey=1\n").unwrap();
    assert_eq!(update.settings, Broker::default());
    assert_eq!(update.changed, []);
    assert_eq!(
        update.without_effect,
        [
            ("sendMessageThreadPoolNums".into(), "the server has no thread pools or request queues to size"),
            ("noSuchKey".into(), "no such key"),
        ]
    );
}

#[test]
fn one_bad_value_refuses_the_whole_request() {
    let refusal = update(&Broker::default(), "fileReservedTime=1\ndeleteWhen=noon\n").unwrap_err();
    assert!(!refusal.is_forbidden());
    assert!(refusal.to_string().starts_with("deleteWhen = \"noon\" is not accepted"), "{refusal}");
}

#[test]
fn a_body_with_more_keys_than_exist_is_not_worked_through() {
    let body = "x=1\n".repeat(100_000);
    assert_eq!(update(&Broker::default(), &body).unwrap_err(), Refusal::TooMany { given: 100_000 });
}

#[test]
fn the_answer_of_code_26_is_sorted_and_is_read_back() {
    let entries = Broker::default().entries();
    assert!(entries.is_sorted());
    assert_eq!(entries.len(), Broker::ROWS.len());
    let body = settings::properties::format(entries.iter().map(|(key, value)| (key, value)));
    let read = settings::properties::parse(&body).unwrap();
    let pairs: Vec<_> = read.iter().map(|entry| (&*entry.key, entry.value.clone())).collect();
    assert_eq!(pairs, entries);
}
