//! Repair: queues and index come anew from the log; a damaged log is changed only as was asked, and every byte that
//! goes is kept beside the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Letter, World, letter, open_on, send, small_options};
use sim::SimDisk;
use store::examine::{LogChoice, Plan, Repaired, StoreFiles, Verified};
use store::{Disk, KeyKind, Options, ReadLimits, Store, StoreError, config_file};

const FIRST: &str = "/store/commitlog/00000000000000000000";
const TOPICS: &[u8] = br#"{"topicConfigTable":{"orders":{"topicName":"orders"}}}"#;

/// Thirty messages in two queues, stopped.
fn filled() -> World {
    let world = World::new(Options { segment_bytes: 1024, ..small_options() });
    config_file::save(&world.disk, Path::new("/store/config/topics.json"), TOPICS).unwrap();
    let store = world.open();
    for i in 0..30 {
        let letter = letter("orders", i % 2, &format!("body {i}")).keyed(&format!("key{i}"));
        send(&store, &letter).unwrap();
    }
    store.stop().unwrap();
    world
}

fn verify(world: &World) -> Verified {
    files(world).verify(&mut |_| {}).unwrap()
}

fn files(world: &World) -> StoreFiles {
    StoreFiles::open(Arc::new(world.disk.clone()), world.options.clone()).unwrap()
}

fn repair(world: &World, choice: Option<LogChoice>) -> Result<(Plan, Repaired), StoreError> {
    let files = files(world);
    let verified = files.verify(&mut |_| {})?;
    let plan = files.plan(&verified, choice, false)?;
    let repaired = files.repair(&plan, Arc::new(world.clock.clone()), &mut |_| {})?;
    let again = verify(world);
    assert_eq!(again.findings.kept(), [], "after {:?}", plan.steps);
    assert!(again.clean);
    Ok((plan, repaired))
}

/// Bodies of a queue, `None` where no message is.
fn bodies(store: &Store, queue: u32) -> Vec<Option<String>> {
    let queue = store.queue("orders", queue);
    let read = |offset: u64| {
        let limits = ReadLimits { max_count: 1, max_bytes: 1 };
        let result = store.read(&queue, offset as i64, limits, &mut |_| true).unwrap();
        let bytes = result.records.iter().next()?.unwrap().into_owned();
        let record = wire::record::Record::parse(&bytes).unwrap();
        (record.queue_offset as u64 == offset).then(|| String::from_utf8(record.body.to_vec()).unwrap())
    };
    (0..queue.max_offset()).map(read).collect()
}

fn open(world: &World) -> Arc<Store> {
    open_on(Arc::new(world.disk.clone()), Arc::new(world.clock.clone()), world.options.clone()).unwrap()
}

fn expected(queue: u32) -> Vec<Option<String>> {
    (0..15).map(|i| Some(format!("body {}", 2 * i + queue))).collect()
}

/// What was put beside the store, by file name.
fn kept(disk: &SimDisk, dir: &Path) -> Vec<(String, Vec<u8>)> {
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    disk.files()
        .into_iter()
        .filter(|(path, _)| path.starts_with(dir))
        .map(|(path, bytes)| (name(&path), bytes))
        .collect()
}

#[test]
fn nothing_is_done_where_nothing_is_wrong() {
    let world = filled();
    let before = world.disk.files();
    let (plan, repaired) = repair(&world, None).unwrap();
    assert!(plan.steps.is_empty() && repaired.kept.is_none());
    assert_eq!(world.disk.files(), before);
}

#[test]
fn queues_and_index_come_from_the_log() {
    let world = filled();
    for (path, _) in world.disk.files() {
        if path.starts_with("/store/consumequeue/orders/1") {
            world.disk.damage(&path, |bytes| bytes[47] ^= 4);
        }
        if path.starts_with("/store/consumequeue/orders/0") {
            world.disk.remove(&path).unwrap();
        }
        if path.starts_with("/store/index") {
            world.disk.damage(&path, |bytes| bytes[300..400].fill(0));
        }
    }
    let log: Vec<_> =
        world.disk.files().into_iter().filter(|(path, _)| path.starts_with("/store/commitlog")).collect();
    let (_, repaired) = repair(&world, None).unwrap();
    assert_eq!((repaired.kept, repaired.queue_entries), (None, 30));
    let now: Vec<_> =
        world.disk.files().into_iter().filter(|(path, _)| path.starts_with("/store/commitlog")).collect();
    assert_eq!(log, now, "no byte of the log has changed");
    let store = open(&world);
    for queue in 0..2 {
        assert_eq!(bodies(&store, queue), expected(queue));
    }
    for i in 0..30 {
        let found = store.query("orders", &format!("key{i}"), 8, 0, i64::MAX, KeyKind::Key).unwrap();
        assert_eq!(found.records.len(), 1, "key{i}");
    }
}

#[test]
fn queues_of_deleted_topics_stay_deleted() {
    let world = filled();
    let store = world.open();
    send(&store, &letter("gone", 0, "x")).unwrap();
    store.delete_topic("gone").unwrap();
    store.stop().unwrap();
    drop(store);
    assert_eq!(verify(&world).findings.kept(), []);
    world.disk.damage(Path::new("/store/consumequeue/orders/0/00000000000000000000"), |bytes| bytes[0] ^= 1);
    repair(&world, None).unwrap();
    let store = open(&world);
    let topics = store.topics();
    assert!(
        topics.iter().any(|topic| &**topic == "orders") && !topics.iter().any(|topic| &**topic == "gone")
    );
}

#[test]
fn light_queues_are_no_deleted_topics() {
    let mut world = filled();
    world.options.multi_dispatch = true;
    let store = world.open();
    for i in 0..3 {
        send(&store, &letter("orders", 0, &format!("light {i}")).also_in("%LMQ%a")).unwrap();
    }
    store.stop().unwrap();
    drop(store);
    for (path, _) in world.disk.files() {
        if path.starts_with("/store/consumequeue/%LMQ%a") {
            world.disk.remove(&path).unwrap();
        }
    }
    world.disk.remove_dir(Path::new("/store/consumequeue/%LMQ%a/0")).unwrap();
    world.disk.remove_dir(Path::new("/store/consumequeue/%LMQ%a")).unwrap();
    world.disk.damage(Path::new("/store/consumequeue/orders/0/00000000000000000000"), |bytes| bytes[0] ^= 1);
    repair(&world, None).unwrap();
    assert_eq!(open(&world).queue("%LMQ%a", 0).max_offset(), 3);
}

#[test]
fn what_only_the_settings_of_the_broker_say_is_not_guessed() {
    let mut world = filled();
    world.options.multi_dispatch = true;
    world.options.delay_levels = vec![Duration::from_secs(60)];
    let store = world.open();
    send(&store, &letter("orders", 0, "light").also_in("%LMQ%a")).unwrap();
    let delayed = Letter { delay: "1".into(), ..letter("SCHEDULE_TOPIC_XXXX", 0, "later") };
    send(&store, &delayed).unwrap();
    store.stop().unwrap();
    drop(store);
    assert!(verify(&world).guessed(&world.options).is_none());
    let guessed = |change: &dyn Fn(&mut Options)| {
        let mut options = world.options.clone();
        change(&mut options);
        let files = StoreFiles::open(Arc::new(world.disk.clone()), options.clone()).unwrap();
        files.verify(&mut |_| {}).unwrap().guessed(&options).unwrap().to_string()
    };
    let light = guessed(&|options| options.multi_dispatch = false);
    let delay = guessed(&|options| options.delay_levels = vec![Duration::from_secs(1)]);
    assert!(light.contains("%LMQ%") && light.contains("-c"), "{light}");
    assert!(delay.contains("messageDelayLevel") && delay.contains("-c"), "{delay}");
}

#[test]
fn a_damaged_log_is_left_alone_until_somebody_decides() {
    let world = filled();
    world.disk.damage(Path::new(FIRST), |bytes| bytes[90] ^= 1);
    let before = world.disk.files();
    let files = files(&world);
    let verified = files.verify(&mut |_| {}).unwrap();
    let error = files.plan(&verified, None, false).unwrap_err().to_string();
    assert!(error.contains("damaged at 0") && error.contains("--log skip"), "{error}");
    files.plan(&verified, Some(LogChoice::Cut), false).unwrap();
    files.plan(&verified, Some(LogChoice::Skip), false).unwrap();
    assert_eq!(world.disk.files(), before, "a plan changes nothing");
}

#[test]
fn one_damaged_message_is_skipped_and_the_others_stay() {
    // The body, the size and the magic of a record in the middle of a segment, and the first record of all.
    let size = wire::record::Prefix::parse(&filled().disk.files()[Path::new(FIRST)]).unwrap().size as usize;
    for at in [2 * size + 90, 2 * size + 1, 2 * size + 6, 5] {
        let world = filled();
        let original = world.disk.files()[Path::new(FIRST)].clone();
        world.disk.damage(Path::new(FIRST), |bytes| bytes[at] ^= 1);
        let damaged = world.disk.files()[Path::new(FIRST)].clone();
        let (_, repaired) = repair(&world, Some(LogChoice::Skip)).unwrap();
        let kept = kept(&world.disk, &repaired.kept.unwrap());
        let lost = at / size;
        let range = lost * size..(lost + 1) * size;
        let name = format!("00000000000000000000.bytes-{}-{}", range.start, range.end);
        assert_eq!(kept.len(), 2);
        assert_eq!(kept[0], (name.clone(), damaged[range.clone()].to_vec()));
        assert!(kept[1].0 == "README.txt" && String::from_utf8_lossy(&kept[1].1).contains(&name));

        let store = open(&world);
        for queue in 0..2 {
            let mut expected = expected(queue);
            if lost as u32 % 2 == queue {
                expected[lost / 2] = None;
            }
            // Fillers before the first message count as expired ones.
            let found = bodies(&store, queue);
            let first = expected.iter().position(Option::is_some).unwrap();
            assert_eq!(found[first..], expected[first..], "byte {at}");
        }
        assert_eq!(
            store.record_at((lost * size) as u64).unwrap(),
            None,
            "what fills the place is not served"
        );
        let next = send(&store, &letter("orders", 0, "next")).unwrap();
        assert_eq!(next.queue_offset, 15);
        drop(store);
        assert_eq!(world.disk.files()[Path::new(FIRST)][range.end..], original[range.end..]);
    }
}

/// Else the next message would get an offset that consumers are past.
#[test]
fn the_offset_of_a_damaged_message_that_was_the_last_of_its_queue_is_not_given_again() {
    for (queue, number) in [(0, 28), (1, 29)] {
        let world = filled();
        let body = format!("body {number}").into_bytes();
        let files = world.disk.files().into_iter().filter(|(path, _)| path.starts_with("/store/commitlog"));
        let mut places = files.filter_map(|(path, bytes)| {
            Some((path, bytes.windows(body.len()).position(|window| window == body)?))
        });
        let (path, at) = places.next_back().unwrap();
        world.disk.damage(&path, |bytes| bytes[at] ^= 1);
        repair(&world, Some(LogChoice::Skip)).unwrap();
        let store = open(&world);
        let next = send(&store, &letter("orders", queue, "next")).unwrap();
        assert_eq!(next.queue_offset, 15, "of queue {queue}");
        let mut expected = expected(queue);
        expected[14] = None;
        expected.push(Some("next".into()));
        assert_eq!(bodies(&store, queue), expected);
    }
}

#[test]
fn damage_that_stops_a_start_after_a_kill_is_put_right() {
    for journaled in [false, true] {
        // The table of queues is that of the beginning, so without the journal all of the log is read again.
        let options = Options { segment_bytes: 1024, queue_table_rows_min: 1, ..small_options() };
        let world = World::new(options);
        config_file::save(&world.disk, Path::new("/store/config/topics.json"), TOPICS).unwrap();
        let store = world.open();
        for i in 0..30 {
            send(&store, &letter("orders", i % 2, &format!("body {i}"))).unwrap();
        }
        store.flush_step().unwrap();
        store.queue_step(false).unwrap();
        if journaled {
            store.journal_step().unwrap();
        }
        drop(store);
        world.disk.damage(Path::new(FIRST), |bytes| bytes[90] ^= 1);
        match world.try_open() {
            Ok(store) => {
                assert!(journaled, "it passed over the damage");
                let mut expected = expected(0);
                expected[0] = None;
                assert_eq!(bodies(&store, 0), expected, "a reader passes over it");
                continue;
            }
            Err(error) => {
                let text = error.to_string();
                assert!(!journaled && text.contains("at offset 0"), "{text}");
                assert!(text.contains("`thrust store repair`") && text.contains("--log skip"), "{text}");
            }
        }
        repair(&world, Some(LogChoice::Skip)).unwrap();
        let store = open(&world);
        assert_eq!(bodies(&store, 0)[1..], expected(0)[1..]);
        assert_eq!(bodies(&store, 1), expected(1));
    }
}

#[test]
fn the_rest_of_a_segment_is_left_out_where_nothing_in_it_is_sound() {
    let world = filled();
    world.disk.damage(Path::new(FIRST), |bytes| bytes[700..].fill(0x55));
    let (_, repaired) = repair(&world, Some(LogChoice::Skip)).unwrap();
    assert!(repaired.kept.is_some());
    let store = open(&world);
    let found: Vec<_> = (0..2).flat_map(|queue| bodies(&store, queue)).collect();
    assert_eq!(found.len(), 30);
    let lost = found.iter().filter(|body| body.is_none()).count();
    assert!((1..6).contains(&lost), "{lost}");
}

#[test]
fn a_log_is_cut_where_the_damage_begins() {
    let world = filled();
    let second = PathBuf::from("/store/commitlog/00000000000000001024");
    let before = world.disk.files();
    world.disk.damage(&second, |bytes| bytes[90] ^= 1);
    let damaged = world.disk.files()[&second].clone();
    let (plan, repaired) = repair(&world, Some(LogChoice::Cut)).unwrap();
    assert!(plan.steps.len() >= 5, "{:?}", plan.steps);
    let kept = kept(&world.disk, &repaired.kept.unwrap());
    let segments = before.keys().filter(|path| path.starts_with("/store/commitlog")).count();
    assert_eq!(kept.len(), segments, "all but the first segment, and the text");
    assert_eq!(kept[0], ("00000000000000001024".into(), damaged));
    let left = world.disk.files().keys().filter(|path| path.starts_with("/store/commitlog")).count();
    assert_eq!(left, 1);
    let store = open(&world);
    let found = bodies(&store, 0);
    assert!(!found.is_empty() && found.len() < 15);
    assert_eq!(found[..], expected(0)[..found.len()]);
    assert_eq!(send(&store, &letter("orders", 0, "next")).unwrap().queue_offset, found.len() as u64);
}

#[test]
fn a_stray_file_is_for_the_operator() {
    let world = filled();
    world.disk.create(Path::new("/store/commitlog/copy.tmp"), 10).unwrap();
    let files = files(&world);
    let verified = files.verify(&mut |_| {}).unwrap();
    assert!(verified.findings.kept()[0].what.contains("is no commit log segment"));
    let error = files.plan(&verified, None, false).unwrap_err().to_string();
    assert!(error.contains("move it out"), "{error}");
}
