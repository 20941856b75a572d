use std::path::Path;

use sim::{SimClock, SimDisk};

use super::*;

const NOW: i64 = 1_700_000_000_000;
const DAY: Duration = Duration::from_secs(86_400);

fn filters(disk: &Arc<SimDisk>) -> ConsumerFilters {
    let file = StateFile::new(Arc::clone(disk) as _, Path::new("/config"), "consumerFilter.json");
    ConsumerFilters::load(file, &settings::Broker::default(), NOW).unwrap()
}

fn disk() -> Arc<SimDisk> {
    Arc::new(SimDisk::new(SimClock::new(NOW, 0)))
}

fn sql(topic: &str, expression: &str, version: i64) -> SubscriptionData {
    SubscriptionData {
        topic: topic.to_owned(),
        sub_string: expression.to_owned(),
        expression_type: SQL92.to_owned(),
        sub_version: version,
        ..SubscriptionData::default()
    }
}

fn data(filters: &ConsumerFilters, topic: &str, group: &str) -> ConsumerFilterData {
    filters.table.read().filter_data_by_topic[topic].group_filter_data[group].clone()
}

#[test]
fn a_newer_version_replaces_the_expression_and_an_older_one_is_ignored() {
    let filters = filters(&disk());
    filters.register("g", &[sql("T", "a > 1", 10)], || NOW);
    filters.register("g", &[sql("T", "a > 2", 9)], || NOW + 1);
    assert_eq!(data(&filters, "T", "g").expression, "a > 1");
    filters.register("g", &[sql("T", "a > 2", 11)], || NOW + 2);
    assert_eq!(
        (data(&filters, "T", "g").expression.as_str(), data(&filters, "T", "g").born_time),
        ("a > 2", NOW + 2)
    );
    assert!(filters.find("T", "g").is_some_and(|Registered { expression, version, .. }| {
        version == 11 && expression.matches(b"a\x013\x02") && !expression.matches(b"a\x012\x02")
    }));
}

#[test]
fn a_bad_expression_takes_the_old_filter_away() {
    let filters = filters(&disk());
    filters.register("g", &[sql("T", "a > 1", 10)], || NOW);
    filters.register("g", &[sql("T", "a >", 11)], || NOW);
    assert!(filters.find("T", "g").is_none());
    filters.register(
        "g",
        &[SubscriptionData { expression_type: "XPATH".to_owned(), ..sql("T", "a", 12) }],
        || NOW,
    );
    assert!(filters.find("T", "g").is_none());
}

#[test]
fn a_group_that_leaves_is_remembered_and_comes_back_or_is_forgotten() {
    let disk = disk();
    let filters = filters(&disk);
    filters.register("g", &[sql("T", "a > 1", 10), sql("U", "b = 2", 10)], || NOW);
    filters.register("g", &[sql("T", "a > 1", 10)], || NOW + 5);
    assert_eq!((data(&filters, "T", "g").dead_time, data(&filters, "U", "g").dead_time), (0, NOW + 5));
    filters.unregister("g", NOW + 7);
    assert_eq!(data(&filters, "T", "g").dead_time, NOW + 7);
    filters.register("g", &[sql("T", "a > 1", 10)], || NOW + 8);
    assert_eq!(data(&filters, "T", "g").dead_time, 0);
    filters.save(DAY, NOW + 5 + DAY.as_millis() as i64).unwrap();
    assert!(filters.find("U", "g").is_none() && filters.find("T", "g").is_some());
}

#[test]
fn the_file_is_read_again_and_its_consumers_count_as_gone() {
    let disk = disk();
    let before = filters(&disk);
    before.register("g", &[sql("T", "a > 1", 10)], || NOW - 60_000);
    before.save(DAY, NOW).unwrap();
    let after = filters(&disk);
    assert_eq!(data(&after, "T", "g").dead_time, NOW - 30_000);
    assert!(after.find("T", "g").is_some_and(|found| found.expression.matches(b"a\x012\x02")));
    // A Bloom filter of another shape has other bits.
    let other = settings::Broker { expect_consumer_num_use_filter: 64, ..settings::Broker::default() };
    let file = StateFile::new(Arc::clone(&disk) as _, Path::new("/config"), "consumerFilter.json");
    assert!(ConsumerFilters::load(file, &other, NOW).unwrap().find("T", "g").is_none());
}

#[test]
fn the_file_of_a_java_broker_is_understood() {
    let text = include_bytes!("../../../tests/golden/consumerFilter.json");
    let table: FilterTable = wire::loose_json::read(text).unwrap();
    let stored = &table.filter_data_by_topic["InteropSql"].group_filter_data["sql-group"];
    let bloom = Bloom::new(20, 32);
    assert_eq!(stored.bloom_filter_data.as_ref(), Some(&bloom.of("sql-group", "InteropSql")));
    assert_eq!((stored.expression.as_str(), stored.expression_type.as_str()), ("a BETWEEN 1 AND 5", SQL92));
    // What we write has the same fields.
    let ours: serde_json::Value = serde_json::to_value(&table).unwrap();
    let theirs: serde_json::Value = wire::loose_json::read(text).unwrap();
    assert_eq!(ours, theirs);
}

#[test]
fn expressions_of_pulls_stay_compiled() {
    let filters = filters(&disk());
    let of = |text: &str| match filters.of_request(Some(text), Some(SQL92)).unwrap() {
        Filter::Sql(expression, _) => expression,
        Filter::Tags(_) => panic!("tags"),
    };
    assert!(Arc::ptr_eq(&of("a = 1"), &of("a = 1")));
    for number in 0..COMPILED_MAX * 2 {
        of(&format!("a = {number}"));
    }
    assert!(filters.compiled.lock().len() <= COMPILED_MAX);
    assert_eq!(filters.of_request(None, Some(SQL92)).unwrap_err(), FilterError::Empty);
    assert!(matches!(filters.of_request(Some("x"), Some("XPATH")), Err(FilterError::Type(_))));
    assert!(matches!(filters.of_request(Some("a ="), Some(SQL92)), Err(FilterError::Sql(_))));
}
