//! A store that nobody holds any more is gone with all that it held, however its life ended.

use std::sync::Arc;

use crate::support::{World, letter, open_on, send, small_options};
use sim::{Layer, Layered};
use store::{Options, Store};

/// Held by every file of the disk.
struct Token(#[expect(dead_code, reason = "it is counted")] Arc<()>);

impl Layer for Token {}

/// How many still hold the disk when a store has lived, and been dropped.
fn held_after(live: impl FnOnce(&Store)) -> usize {
    let options = Options { queue_ext_enabled: true, queue_ext_segment_bytes: 7000, ..small_options() };
    let world = World::new(options);
    let token = Arc::new(());
    let disk = Layered::new(Arc::new(world.disk.clone()), Token(token.clone()));
    let store = open_on(Arc::new(disk), Arc::new(world.clock.clone()), world.options.clone()).unwrap();
    for i in 0..20_000 {
        send(&store, &letter("t", i % 3 / 2, "x")).unwrap();
    }
    live(&store);
    drop(store);
    Arc::strong_count(&token) - 1
}

#[test]
fn after_a_kill_with_entries_in_memory() {
    assert_eq!(held_after(|_| {}), 0);
}

#[test]
fn after_a_deleted_topic_and_after_a_stop() {
    assert_eq!(held_after(|store| store.delete_topic("t").unwrap()), 0);
    assert_eq!(held_after(|store| store.stop().unwrap()), 0);
}
