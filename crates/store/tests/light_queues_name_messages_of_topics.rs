//! Light queues: a message stands in its own queue and in those that it names, each with a number of its own, in every
//! state that a store can come back from.

use std::sync::Arc;

use crate::support;
use crate::support::{World, bodies, letter, light_offset, send, send_all, small_options, sync_options};
use store::examine::StoreFiles;
use store::{Options, Store};
use wire::properties;
use wire::record::Record;

fn world() -> World {
    World::new(Options { multi_dispatch: true, ..small_options() })
}

/// Three messages, of which %LMQ%a names two and %LMQ%b two.
fn send_three(store: &Store) {
    let letters = [
        letter("orders", 0, "a").also_in("%LMQ%a"),
        letter("orders", 1, "both").also_in("%LMQ%b,%LMQ%a"),
        letter("payments", 0, "b").also_in("%LMQ%b"),
    ];
    send_all(store, &letters).unwrap();
}

fn check_three(store: &Store) {
    assert_eq!(bodies(store, "%LMQ%a", 0), ["a", "both"]);
    assert_eq!(bodies(store, "%LMQ%b", 0), ["both", "b"]);
    assert_eq!(bodies(store, "orders", 1), ["both"]);
    assert_eq!(store.light_queue_count(), 2);
}

#[test]
fn a_message_is_in_each_queue_that_it_names() {
    for append_prop_crc in [false, true] {
        let world = World::new(Options { multi_dispatch: true, append_prop_crc, ..small_options() });
        let store = world.open();
        send_three(&store);
        check_three(&store);
        let appended = send(&store, &letter("orders", 0, "c").also_in("%LMQ%c,%LMQ%a")).unwrap();
        let bytes = store.record_at(appended.offset).unwrap().unwrap();
        let record = Record::parse(&bytes).unwrap();
        assert_eq!((light_offset(&record, "%LMQ%c"), light_offset(&record, "%LMQ%a")), (Some(0), Some(2)));
        assert_eq!(wire::prop_crc::verify(&bytes).is_ok(), append_prop_crc);
        let times = ["%LMQ%c", "orders"].map(|topic| store.store_time_of(&store.queue(topic, 0), 0));
        assert_eq!(times, [Some(appended.store_timestamp); 2]);
    }
}

#[test]
fn what_waits_or_comes_back_or_names_others_is_in_its_own_queue_alone() {
    let world = world();
    let store = world.open();
    send(&store, &letter("%RETRY%g", 0, "again").also_in("%LMQ%a")).unwrap();
    send(&store, &letter("orders", 0, "other").also_in("%LMQ%a,plain")).unwrap();
    let half = support::Letter { sys_flag: 4, ..letter("orders", 0, "half").also_in("%LMQ%a") };
    let appended = send(&store, &half).unwrap();
    assert_eq!(store.light_queue_count(), 0);
    let bytes = store.record_at(appended.offset).unwrap().unwrap();
    assert_eq!(Record::parse(&bytes).unwrap().property(properties::INNER_MULTI_QUEUE_OFFSET), None);

    let world = World::new(small_options());
    let store = world.open();
    send_three(&store);
    assert_eq!(store.light_queue_count(), 0, "nobody asked for light queues");
}

#[test]
fn with_synchronous_flush_they_show_what_is_on_the_disk() {
    let world = World::new(Options { multi_dispatch: true, ..sync_options() });
    let store = world.open();
    send_three(&store);
    assert_eq!(store.queue("%LMQ%a", 0).max_offset(), 0);
    store.flush_step().unwrap();
    check_three(&store);
}

#[test]
fn they_come_back_after_a_stop_a_kill_and_a_loss() {
    let world = world();
    let store = world.open();
    send_three(&store);
    store.stop().unwrap();
    drop(store);
    let store = world.open();
    check_three(&store);
    send(&store, &letter("orders", 0, "more").also_in("%LMQ%a")).unwrap();
    drop(store);
    let store = world.open();
    assert_eq!(bodies(&store, "%LMQ%a", 0), ["a", "both", "more"]);
    store.stop().unwrap();
    drop(store);
    let path = world.path("consumequeue/%LMQ%a/0/00000000000000000000");
    store::Disk::remove(&world.disk, &path).unwrap();
    let store = world.open();
    assert_eq!(bodies(&store, "%LMQ%a", 0), ["a", "both", "more"]);
    assert_eq!(bodies(&store, "%LMQ%b", 0), ["both", "b"]);
    store.delete_topic("%LMQ%a").unwrap();
    assert_eq!(store.light_queue_count(), 1);
    drop(store);
    assert_eq!(world.open().light_queue_count(), 1);
}

#[test]
fn verify_compares_them_with_the_log() {
    let world = world();
    let store = world.open();
    send_three(&store);
    store.stop().unwrap();
    drop(store);
    let open = || StoreFiles::open(Arc::new(world.disk.clone()), world.options.clone()).unwrap();
    let verified = open().verify(&mut |_| {}).unwrap();
    assert!(verified.findings.is_empty(), "{:?}", verified.findings.kept());
    assert_eq!((verified.queues, verified.queue_entries), (5, 7));
    let path = world.path("consumequeue/%LMQ%a/0/00000000000000000000");
    store::Disk::open(&world.disk, &path).unwrap().write_at(&[1], 7).unwrap();
    let verified = open().verify(&mut |_| {}).unwrap();
    assert_eq!(verified.findings.kept().len(), 1, "{:?}", verified.findings.kept());
}
