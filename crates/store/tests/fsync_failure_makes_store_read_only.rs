//! A sync fails: what is on the disk is unknown from then on.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::{World, bodies, letter, open_on, send, sync_options};
use parking_lot::{Condvar, Mutex};
use sim::{Fault, Layer, Layered, Operation, Random};
use store::{AppendError, File, Flushed, Store};

fn wait_for(store: &Store, until: u64) -> Arc<Mutex<Vec<Flushed>>> {
    let outcome = Arc::new(Mutex::new(Vec::new()));
    store.when_flushed(
        until,
        Box::new({
            let outcome = outcome.clone();
            move |flushed| outcome.lock().push(flushed)
        }),
    );
    outcome
}

#[test]
fn waiters_learn_it_and_nothing_more_is_accepted_or_tried() {
    let world = World::new(sync_options());
    let store = world.open();
    let first = send(&store, &letter("t", 0, "durable")).unwrap();
    let waiting = wait_for(&store, first.until);
    assert!(waiting.lock().is_empty());
    store.flush_step().unwrap();
    assert_eq!(*waiting.lock(), [Flushed::Done]);

    let second = send(&store, &letter("t", 0, "unknown")).unwrap();
    let waiting = wait_for(&store, second.until);
    world.disk.inject(Fault { times: 1, ..Fault::from_now(Operation::Sync, "commitlog", ErrorKind::Other) });
    store.flush_step().unwrap_err();
    assert_eq!(*waiting.lock(), [Flushed::Failed]);
    assert_eq!(*wait_for(&store, second.until).lock(), [Flushed::Failed]);

    let syncs = world.disk.syncs();
    store.flush_step().unwrap_err();
    assert_eq!(world.disk.syncs(), syncs, "a failed sync is never tried again");
    assert!(matches!(send(&store, &letter("t", 0, "late")), Err(AppendError::ReadOnly { .. })));
    assert!(!store.is_writable());
    // What was durable can still be read, what was not is never shown.
    assert_eq!(bodies(&store, "t", 0), ["durable"]);
    store.stop().unwrap_err();
    assert!(world.disk.files().contains_key(&world.path("abort")));
}

#[test]
fn a_failure_that_only_the_zeros_ahead_were_told_of_counts_too() {
    let world = World::new(sync_options());
    let store = world.open();
    let appended = send(&store, &letter("t", 0, "unknown")).unwrap();
    let waiting = wait_for(&store, appended.until);
    world.disk.inject(Fault { times: 1, ..Fault::from_now(Operation::Sync, "commitlog", ErrorKind::Other) });
    store.zero_step().unwrap_err();
    assert_eq!(*waiting.lock(), [Flushed::Failed]);
    store.flush_step().unwrap_err();
    assert!(!store.is_writable());
}

/// Of two syncs of one segment at the same time the first to begin is told that writing has failed, and comes back
/// last; the second succeeds. Linux tells each opening of a file of such a failure once.
#[derive(Default)]
struct ToldOnce {
    stage: Mutex<Stage>,
    moved: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Stage {
    #[default]
    Sound,
    Broken,
    FirstIsTold,
    SecondIsThrough,
    FirstComesBack,
}

impl ToldOnce {
    fn go_to(&self, stage: Stage) {
        *self.stage.lock() = stage;
        self.moved.notify_all();
    }

    fn wait_for(&self, stage: Stage) {
        self.moved.wait_while(&mut self.stage.lock(), |now| *now < stage);
    }
}

struct FailsOnce(Arc<ToldOnce>);

impl Layer for FailsOnce {
    fn sync_data(&self, below: &dyn File, path: &Path) -> io::Result<()> {
        let stage = *self.0.stage.lock();
        match stage {
            Stage::Broken if path.starts_with("/store/commitlog") => {
                self.0.go_to(Stage::FirstIsTold);
                self.0.wait_for(Stage::FirstComesBack);
                Err(ErrorKind::Other.into())
            }
            Stage::FirstIsTold if path.starts_with("/store/commitlog") => {
                self.0.go_to(Stage::SecondIsThrough);
                Ok(())
            }
            _ => below.sync_data(),
        }
    }
}

#[test]
fn a_flush_whose_failure_the_zeros_ahead_are_told_of_at_the_same_time_answers_nobody() {
    let told = Arc::new(ToldOnce::default());
    let world = World::new(sync_options());
    let disk = Layered::new(Arc::new(world.disk.clone()), FailsOnce(told.clone()));
    let store = open_on(Arc::new(disk), Arc::new(world.clock.clone()), world.options).unwrap();
    let appended = send(&store, &letter("t", 0, "unknown")).unwrap();
    let waiting = wait_for(&store, appended.until);
    told.go_to(Stage::Broken);
    let zeroing = thread::spawn({
        let store = store.clone();
        move || store.zero_step()
    });
    told.wait_for(Stage::FirstIsTold);
    let flushing = thread::spawn({
        let store = store.clone();
        move || store.flush_step()
    });
    told.wait_for(Stage::SecondIsThrough);
    // A flush that believes its own success gets the time to say so.
    for _ in 0..30 {
        if !flushing.is_finished() {
            thread::park_timeout(Duration::from_millis(10));
        }
    }
    told.go_to(Stage::FirstComesBack);
    zeroing.join().unwrap().unwrap_err();
    flushing.join().unwrap().unwrap_err();
    assert_eq!(*waiting.lock(), [Flushed::Failed]);
    assert_eq!(bodies(&store, "t", 0), Vec::<String>::new());
    assert!(!store.is_writable());
}

/// After a failed sync the kernel shows what it was given to everybody and never writes it: who starts again on the
/// same machine, finds everything and syncs it once more, has still not got it on the disk.
#[test]
fn what_a_failed_sync_left_is_written_again_by_the_next_start() {
    for (part, seed) in [("commitlog", 0), ("consumequeue", 100)] {
        let mut world = World::new(sync_options());
        let store = world.open();
        send(&store, &letter("t", 0, "durable")).unwrap();
        store.flush_step().unwrap();
        store.queue_step(true).unwrap();
        for i in 0..20 {
            send(&store, &letter("t", 0, &format!("{i}{}", "x".repeat(1000)))).unwrap();
        }
        store.queue_step(false).unwrap();
        world.disk.inject(Fault { times: 1, ..Fault::from_now(Operation::Sync, part, ErrorKind::Other) });
        let _ = store.flush_step();
        let _ = store.queue_step(true);
        assert!(!store.is_writable());
        drop(store);
        let store = world.open();
        send(&store, &letter("t", 0, "after")).unwrap();
        store.flush_step().unwrap();
        store.queue_step(true).unwrap();
        let expected = bodies(&store, "t", 0);
        assert_eq!(expected.len(), 22);
        drop(store);
        let cut = world.disk.copy();
        for seed in seed..seed + 20 {
            world.disk = cut.crash(&mut Random::new(seed));
            assert_eq!(bodies(&world.open(), "t", 0), expected, "{part}, seed {seed}");
        }
    }
}

#[test]
fn in_synchronous_mode_messages_show_when_they_are_durable() {
    let world = World::new(sync_options());
    let store = world.open();
    let appended = send(&store, &letter("t", 0, "hello")).unwrap();
    assert_eq!(appended.queue_offset, 0);
    let queue = store.queue("t", 0);
    assert_eq!(queue.max_offset(), 0);
    assert_eq!(bodies(&store, "t", 0), Vec::<String>::new());
    store.flush_step().unwrap();
    assert_eq!(queue.max_offset(), 1);
    assert_eq!(bodies(&store, "t", 0), ["hello"]);
}

#[test]
fn a_waiter_whose_time_is_over_is_told_so_once() {
    let world = World::new(sync_options());
    let store = world.open();
    let appended = send(&store, &letter("t", 0, "slow")).unwrap();
    let waiting = wait_for(&store, appended.until);
    world.clock.advance(std::time::Duration::from_secs(4));
    store.deadline_step();
    assert!(waiting.lock().is_empty());
    world.clock.advance(std::time::Duration::from_secs(2));
    store.deadline_step();
    assert_eq!(*waiting.lock(), [Flushed::Timeout]);
    // The message is in the log all the same, and shows once it is durable (store.md §24 T22).
    store.flush_step().unwrap();
    assert_eq!(waiting.lock().len(), 1);
    assert_eq!(bodies(&store, "t", 0), ["slow"]);
}
