//! Translation and its boundaries, what an administrator may change, and the file.

use std::path::Path;

use sim::{SimClock, SimDisk};
use wire::body::{LogicQueueMappingItem, TopicConfig};
use wire::code::response;

use super::*;

/// A generation on physical queue `gen` of a broker.
fn item(r#gen: i32, bname: &str, logic_offset: i64) -> LogicQueueMappingItem {
    let bname = bname.to_owned();
    LogicQueueMappingItem { r#gen, queue_id: r#gen, bname, logic_offset, ..LogicQueueMappingItem::default() }
}

/// What broker `a` knows of topic T, whose queue 0 has these generations.
fn detail(epoch: i64, items: Vec<LogicQueueMappingItem>) -> TopicQueueMappingDetail {
    TopicQueueMappingDetail {
        bname: "a".to_owned(),
        epoch,
        hosted_queues: BTreeMap::from([(0, items)]),
        topic: "T".to_owned(),
        total_queues: 1,
        ..TopicQueueMappingDetail::default()
    }
}

/// Queue 0, which was on `a`, then on `b`, and is on `a` again.
fn moved_twice() -> Arc<LogicalQueue> {
    let items = vec![item(0, "a", 0), item(1, "b", 10_000), item(2, "a", 20_000)];
    Mapping::new(detail(1, items)).led(0).unwrap()
}

fn read(code: i32, next: i64, min: i64, max: i64) -> Told {
    Told { code, next, min, max, delta: None }
}

fn told(queue: &LogicalQueue, generation: usize, asked: i64, read: Told) -> (i32, i64, i64, i64, i64) {
    let item = queue.begun().nth(generation).unwrap();
    let told = queue.told(item, asked, read);
    (told.code, told.next, told.min, told.max, told.delta.unwrap())
}

#[test]
fn only_who_leads_a_queue_answers_for_it() {
    let mapping = Mapping::new(TopicQueueMappingDetail {
        hosted_queues: BTreeMap::from([
            (0, vec![item(0, "a", 0), item(1, "b", 10_000)]),
            (1, vec![item(0, "b", 0), item(1, "a", -1)]),
            (2, Vec::new()),
        ]),
        ..detail(1, Vec::new())
    });
    for id in [0, 2, 3, -1, i32::MIN] {
        assert_eq!(mapping.led(id).unwrap_err().code, response::NOT_LEADER_FOR_QUEUE, "{id}");
    }
    assert_eq!(mapping.led(1).unwrap().leader.queue_id, 1);
    assert_eq!(mapping.any_led().unwrap().id, 1);
    assert_eq!(mapping.led_into(1).unwrap().id, 1);
    assert_eq!(mapping.led_into(0), None);
    let nowhere = Mapping::new(detail(1, vec![item(0, "b", 0)]));
    assert_eq!(nowhere.any_led().unwrap_err().code, response::NOT_LEADER_FOR_QUEUE);
}

#[test]
fn an_offset_belongs_to_the_last_generation_that_begins_at_it_or_before() {
    let queue = moved_twice();
    for (offset, generation) in
        [(-5, 0), (0, 0), (9_999, 0), (10_000, 1), (19_999, 1), (20_000, 2), (i64::MAX, 2)]
    {
        assert_eq!(queue.item_at(offset).unwrap().r#gen, generation, "{offset}");
    }
    let (first, last) = (queue.oldest().unwrap(), queue.newest().unwrap());
    assert_eq!((queue.room(first, 9_990), queue.room(last, 20_001)), (Some(10), None));
    assert_eq!(queue.after(first).unwrap().r#gen, 1);
    assert_eq!(queue.after(last), None);
}

#[test]
fn a_generation_that_has_not_begun_is_not_read() {
    let items = vec![item(0, "b", 0), item(1, "a", -1)];
    let queue = Mapping::new(detail(1, items)).led(0).unwrap();
    assert_eq!(queue.newest().unwrap().r#gen, 0);
    // The old leader's messages are all read: there is nothing yet, and it is not said that there never will be.
    let end = read(response::PULL_NOT_FOUND, 7, 0, 7);
    assert_eq!(told(&queue, 0, 7, end), (response::PULL_NOT_FOUND, 7, 0, 7, 0));
    let moved = read(response::PULL_OFFSET_MOVED, 7, 0, 7);
    assert_eq!(told(&queue, 0, 9, moved).0, response::PULL_NOT_FOUND);
    let only = Mapping::new(detail(1, vec![item(0, "a", -1)])).led(0).unwrap();
    assert_eq!(only.item_at(0).unwrap_err().code, response::SYSTEM_ERROR);
}

#[test]
fn found_messages_have_their_logical_offsets() {
    let queue = moved_twice();
    let found = read(response::SUCCESS, 8, 2, 40);
    assert_eq!(told(&queue, 0, 5, found), (response::SUCCESS, 8, 2, 20_000, 0));
    assert_eq!(told(&queue, 1, 5, found), (response::SUCCESS, 10_008, 10_002, 20_000, 10_000));
    assert_eq!(told(&queue, 2, 5, found), (response::SUCCESS, 20_008, 20_002, 20_040, 20_000));
}

#[test]
fn a_reader_at_the_end_of_a_generation_goes_on_with_the_next() {
    let queue = moved_twice();
    let again = response::PULL_RETRY_IMMEDIATELY;
    for (code, asked) in [(response::PULL_NOT_FOUND, 40), (response::PULL_OFFSET_MOVED, 45)] {
        let end = read(code, 40, 0, 40);
        assert_eq!(told(&queue, 0, asked, end), (again, 10_000, 10_000, 20_000, 10_000));
        assert_eq!(told(&queue, 1, asked, end), (again, 20_000, 20_000, 20_000, 20_000));
    }
    let end = read(response::PULL_NOT_FOUND, 40, 0, 40);
    assert_eq!(told(&queue, 2, 40, end), (response::PULL_NOT_FOUND, 20_040, 20_000, 20_040, 20_000));
    let beyond = read(response::PULL_OFFSET_MOVED, 40, 0, 40);
    assert_eq!(told(&queue, 2, 45, beyond).1, 20_040);
    assert_eq!(told(&queue, 2, 45, beyond).0, response::PULL_OFFSET_MOVED);
}

#[test]
fn what_a_filter_passes_over_is_not_the_end() {
    let queue = moved_twice();
    let unwanted = read(response::PULL_RETRY_IMMEDIATELY, 30, 0, 40);
    assert_eq!(
        told(&queue, 1, 5, unwanted),
        (response::PULL_RETRY_IMMEDIATELY, 10_030, 10_000, 20_000, 10_000)
    );
}

#[test]
fn only_before_the_oldest_generation_messages_are_lost() {
    let queue = moved_twice();
    let expired = read(response::PULL_OFFSET_MOVED, 12, 12, 40);
    assert_eq!(told(&queue, 0, 3, expired), (response::PULL_OFFSET_MOVED, 12, 12, 20_000, 0));
    for generation in [1, 2] {
        let (code, next, ..) = told(&queue, generation, 3, expired);
        assert_eq!((code, next), (response::PULL_RETRY_IMMEDIATELY, 10_000 * generation as i64 + 12));
    }
}

#[test]
fn nothing_is_told_behind_the_decided_end_of_a_generation() {
    let closed = LogicQueueMappingItem { end_offset: 30, ..item(0, "a", 0) };
    let queue = Mapping::new(detail(1, vec![closed, item(1, "a", 10_000)])).led(0).unwrap();
    assert_eq!(told(&queue, 0, 20, read(response::SUCCESS, 35, 0, 40)).1, 30);
    let item = queue.oldest().unwrap();
    assert_eq!((queue.room(item, 25), queue.room(item, 30)), (Some(5), Some(0)));
}

fn merged(
    known: TopicQueueMappingDetail,
    new: TopicQueueMappingDetail,
) -> Result<TopicQueueMappingDetail, rules::Illegal> {
    rules::merge(Some(&known), new, false)
}

#[test]
fn a_move_to_another_broker_and_the_decision_where_it_begins_are_accepted() {
    let before = detail(1, vec![item(0, "b", 0)]);
    let moved = detail(2, vec![item(0, "b", 0), item(1, "a", -1)]);
    let decided = detail(2, vec![item(0, "b", 0), item(1, "a", 10_000)]);
    let known = merged(before, moved.clone()).unwrap();
    assert_eq!(known, moved);
    assert_eq!(merged(known, decided.clone()).unwrap(), decided);
    let thinned = detail(2, vec![item(1, "a", 10_000)]);
    assert_eq!(merged(decided, thinned.clone()).unwrap(), thinned);
}

#[test]
fn what_was_true_of_a_generation_stays_true() {
    use rules::Illegal;
    let known = detail(5, vec![item(0, "a", 0), item(1, "a", 10_000)]);
    let refused = |new| merged(known.clone(), new).unwrap_err();
    assert!(matches!(
        refused(detail(4, known.hosted_queues[&0].clone())),
        Illegal::Epoch { new: 4, known: 5 }
    ));
    let scope = TopicQueueMappingDetail { scope: "other".to_owned(), ..known.clone() };
    assert!(matches!(refused(scope), Illegal::Scope { .. }));
    let none = TopicQueueMappingDetail { hosted_queues: BTreeMap::new(), ..known.clone() };
    assert!(matches!(refused(none), Illegal::Missing { id: 0 }));
    assert!(matches!(refused(detail(6, Vec::new())), Illegal::Empty { id: 0 }));
    let another = vec![item(0, "a", 0), item(1, "a", 10_000), item(2, "b", 20_000)];
    assert!(matches!(refused(detail(5, another.clone())), Illegal::Leader { id: 0 }));
    assert!(merged(known.clone(), detail(6, another)).is_ok());
    let elsewhere = vec![item(0, "b", 0), item(1, "a", 10_000)];
    assert!(matches!(refused(detail(6, elsewhere)), Illegal::Changed { generation: 0, .. }));
    let later = vec![item(0, "a", 0), item(1, "a", 30_000)];
    assert!(matches!(refused(detail(6, later.clone())), Illegal::Changed { generation: 1, .. }));
    assert!(rules::merge(Some(&known), detail(1, later), true).is_ok(), "unless it is forced");
}

#[test]
fn queues_that_a_new_mapping_does_not_speak_of_stay() {
    let mut known = detail(1, vec![item(0, "a", 0)]);
    known.hosted_queues.insert(7, vec![item(3, "a", 0)]);
    for (epoch, force) in [(2, false), (1, true)] {
        let new = detail(epoch, vec![item(0, "a", 0)]);
        let merged = rules::merge(Some(&known), new, force).unwrap();
        assert_eq!(merged.hosted_queues, known.hosted_queues);
    }
}

#[test]
fn generations_that_cannot_be_are_refused() {
    let closed = |end_offset| LogicQueueMappingItem { end_offset, ..item(0, "a", 0) };
    let illegal = [
        vec![LogicQueueMappingItem { start_offset: -1, ..item(0, "a", 0) }],
        vec![LogicQueueMappingItem { queue_id: -1, ..item(0, "a", 0) }],
        vec![LogicQueueMappingItem { queue_id: i32::MAX, ..item(0, "a", 0) }],
        vec![item(-1, "a", 0)],
        vec![LogicQueueMappingItem { start_offset: 9, ..closed(8) }],
        vec![item(0, "a", -1), item(1, "a", 10)],
        vec![item(1, "a", 0), item(1, "a", 10)],
        vec![item(0, "a", 10), item(1, "a", 10)],
        vec![closed(10), item(1, "a", 10)],
    ];
    for items in illegal {
        let refused = rules::merge(None, detail(1, items.clone()), true);
        assert!(matches!(refused, Err(rules::Illegal::Items { id: 0, .. })), "{items:?}");
    }
    assert!(rules::merge(None, detail(1, vec![closed(10), item(1, "a", 11)]), false).is_ok());
    let far = TopicQueueMappingDetail {
        hosted_queues: BTreeMap::from([(i32::MAX, vec![item(0, "a", 0)])]),
        ..detail(1, Vec::new())
    };
    assert!(rules::merge(None, far, true).is_err());
}

fn over(disk: &Arc<SimDisk>) -> StaticTopics {
    let file = StateFile::new(Arc::clone(disk) as _, Path::new("/config"), "topicQueueMapping.json");
    StaticTopics::load(file).unwrap()
}

#[test]
fn what_was_accepted_is_there_after_a_restart() {
    let disk = Arc::new(SimDisk::new(SimClock::default()));
    let topics = over(&disk);
    assert!(!topics.any());
    topics.update(detail(1, vec![item(0, "a", 0)]), false, 77).unwrap();
    let moved = detail(2, vec![item(0, "a", 0), item(1, "b", -1)]);
    topics.update(moved.clone(), false, 78).unwrap();
    assert!(topics.update(detail(1, vec![item(0, "a", 0)]), false, 79).is_err());
    let again = over(&disk);
    let (version, all) = again.all();
    assert_eq!((version.counter, version.timestamp), (2, 78));
    assert_eq!(all, BTreeMap::from([("T".to_owned(), moved.clone())]));
    let thinned = detail(2, vec![item(1, "b", -1)]);
    let stale = detail(1, Vec::new());
    assert!(again.thin_out(&stale, thinned.clone(), 80).unwrap().is_none(), "it has changed meanwhile");
    assert!(again.thin_out(&moved, thinned.clone(), 80).unwrap().is_some());
    assert_eq!(over(&disk).all().1["T"], thinned);
    again.remove("T", 81).unwrap();
    assert!(!again.any() && !over(&disk).any());
}

/// Whatever is read of whichever generation, the reader is never sent back.
#[test]
fn a_reader_never_goes_back() {
    let items = [0, 3, 4, 10, 30].iter().zip(0..).map(|(begin, number)| item(number, "a", *begin)).collect();
    let queue = Mapping::new(detail(1, items)).led(0).unwrap();
    for asked in 0..50 {
        let generation = queue.item_at(asked).unwrap();
        let physical = generation.physical(asked);
        for max in 0..=60 {
            let outcomes = if physical < max {
                vec![
                    read(response::SUCCESS, physical + 1, 0, max),
                    read(response::SUCCESS, max, 0, max),
                    read(response::PULL_RETRY_IMMEDIATELY, max, 0, max),
                ]
            } else {
                vec![read(response::PULL_NOT_FOUND, physical, 0, physical)]
            };
            for outcome in outcomes {
                let told = queue.told(generation, physical, outcome);
                assert!(told.next >= asked, "{asked} {max} {outcome:?} {told:?}");
                assert!(told.max >= queue.leader.logic_offset && told.min <= told.max, "{told:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_static_topic_that_is_changed_and_deleted_at_once_is_in_both_tables_or_in_none() {
    let clock = SimClock::default();
    let disk = SimDisk::new(clock.clone());
    let named = |settings: &mut settings::Broker| settings.broker_name = "a".to_owned();
    let broker = crate::testing::open(&disk, &clock, named);
    let change = |epoch: i64| {
        let config = TopicConfig::new("T", 1, 6);
        broker.change_static_topic(config, detail(epoch, vec![item(0, "a", 0)]), true).unwrap();
    };
    let (mut stayed, mut went) = (0, 0);
    for round in 0..200 {
        change(1);
        std::thread::scope(|scope| {
            scope.spawn(|| change(2));
            scope.spawn(|| change(3));
            scope.spawn(|| broker.forget_topic_with_retries("T").unwrap());
        });
        let topic = broker.topics.get("T");
        let known = broker.static_topics.all().1.remove("T");
        let mapping = topic.as_ref().and_then(|topic| topic.mapping.as_ref());
        assert_eq!(topic.is_some(), known.is_some(), "round {round}");
        assert_eq!(mapping.map(|mapping| &mapping.detail), known.as_ref(), "round {round}");
        *(if topic.is_some() { &mut stayed } else { &mut went }) += 1;
    }
    let known = broker.static_topics.all().1.remove("T");
    drop(broker);
    let broker = crate::testing::open(&disk.copy(), &clock, named);
    let topic = broker.topics.get("T");
    let mapping = topic.as_ref().and_then(|topic| topic.mapping.as_ref());
    assert_eq!(
        mapping.map(|mapping| &mapping.detail),
        known.as_ref(),
        "after a kill; {stayed} stayed, {went} went"
    );
}
