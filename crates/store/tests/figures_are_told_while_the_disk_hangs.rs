//! A disk that hangs in the middle of work of the store: figures are told all the same, and what administrators and
//! senders ask for beside them. Threads that serve everybody ask, and none of them may wait for that work.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::support::{World, letter, open_on, send, small_options};
use crate::timer::{after, now, park, run, with_small_timer};
use parking_lot::{Condvar, Mutex};
use sim::{Layer, Layered};
use store::{Disk, File, KeyKind, Options, Store};

const PATIENCE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

/// A disk on which reads of chosen files hang, and syncs of chosen directories.
#[derive(Clone, Default)]
struct Hanging(Arc<Gate>);

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    path_part: Option<String>,
    waiting: usize,
}

impl Hanging {
    fn hold(&self, path_part: Option<&str>) {
        self.0.state.lock().path_part = path_part.map(str::to_owned);
        self.0.changed.notify_all();
    }

    /// Waits until so many operations hang.
    fn hang(&self, count: usize) {
        let mut state = self.0.state.lock();
        while state.waiting != count {
            let timed_out = self.0.changed.wait_for(&mut state, PATIENCE).timed_out();
            assert!(!timed_out, "the disk is not waited for");
        }
    }

    fn pass(&self, path: &Path) {
        let mut state = self.0.state.lock();
        let holds = |state: &State| {
            state.path_part.as_ref().is_some_and(|part| path.to_string_lossy().contains(part.as_str()))
        };
        if !holds(&state) {
            return;
        }
        state.waiting += 1;
        self.0.changed.notify_all();
        while holds(&state) && !self.0.changed.wait_for(&mut state, PATIENCE * 3).timed_out() {}
        state.waiting -= 1;
        self.0.changed.notify_all();
    }
}

impl Layer for Hanging {
    fn read_at(&self, below: &dyn File, path: &Path, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.pass(path);
        below.read_at(buffer, offset)
    }

    fn sync_dir(&self, below: &dyn Disk, dir: &Path) -> io::Result<()> {
        self.pass(dir);
        below.sync_dir(dir)
    }
}

fn open(options: Options) -> (World, Hanging, Arc<Store>) {
    let (world, hanging) = (World::new(options), Hanging::default());
    let disk = Layered::new(Arc::new(world.disk.clone()), hanging.clone());
    let store = open_on(Arc::new(disk), Arc::new(world.clock.clone()), world.options.clone()).unwrap();
    (world, hanging, store)
}

/// Does `asked` while `work` hangs in what `path_part` says, and has the work end then.
fn ask_during<T: Send + 'static>(
    hanging: &Hanging,
    store: &Arc<Store>,
    path_part: &str,
    work: impl FnOnce(&Store) + Send + 'static,
    asked: impl FnOnce(&Store) -> T + Send + 'static,
) -> T {
    hanging.hold(Some(path_part));
    let busy = std::thread::spawn({
        let store = store.clone();
        move || work(&store)
    });
    hanging.hang(1);
    let (done, is_done) = channel();
    std::thread::spawn({
        let store = store.clone();
        move || done.send(asked(&store))
    });
    let answer = is_done.recv_timeout(PATIENCE);
    hanging.hold(None);
    busy.join().unwrap();
    answer.expect("an answer while the disk hangs")
}

#[test]
fn while_the_index_makes_a_file() {
    let (_world, hanging, store) = open(small_options());
    send(&store, &letter("t", 0, "body").keyed("k")).unwrap();
    let step = |store: &Store| assert!(!store.index_step().unwrap());
    let behind = ask_during(&hanging, &store, "/index", step, |store| store.runtime().dispatch_behind_bytes);
    assert_eq!(behind, store.log_end(), "the step has not ended");
    assert_eq!(store.runtime().dispatch_behind_bytes, 0);
}

#[test]
fn while_the_timer_reads_a_message() {
    let (world, hanging, store) = open(with_small_timer(small_options()));
    let start = now(&world.clock);
    park(&store, &[after("orders", "first", start, 5000)]);
    run(&store);
    let second = after("orders", "second", start, 5000);
    let slot = second.out_ms(1000);
    park(&store, &[second]);
    let step = |store: &Store| {
        store.timer_step().unwrap();
    };
    let asked = move |store: &Store| {
        let counts = store.timer_metrics().unwrap().timing_count;
        assert!(store.timer_checkpoint().is_some());
        (store.timer_figures(), store.timer_slot_count(slot), counts["orders"].count)
    };
    let (figures, in_slot, counted) = ask_during(&hanging, &store, "commitlog", step, asked);
    assert_eq!((figures.pending, figures.queue_behind), (1, 1));
    assert_eq!((in_slot, counted), (1, 1));
    run(&store);
    let (figures, in_slot, counted) = asked(&store);
    assert_eq!((figures.pending, figures.queue_behind), (2, 0));
    assert_eq!((in_slot, counted), (2, 2));
}

#[test]
fn while_the_cleaner_looks_for_the_oldest_messages_of_topics() {
    let (world, hanging, store) = open(small_options());
    for _ in 0..10 {
        send(&store, &letter("short", 0, "body")).unwrap();
        world.clock.advance(HOUR);
    }
    store.keep_messages("short", Some(HOUR * 3 + HOUR / 2));
    assert_eq!(store.queue("short", 0).min_offset(), 7);
    world.clock.advance(HOUR);
    let clean = |store: &Store| assert_eq!(store.clean_step().unwrap(), 0);
    // While it looks, an administrator takes back that they expire: what it finds is not acted on.
    let asked = |store: &Store| {
        store.clean_soon();
        store.keep_messages("long", None);
        store.keep_messages("short", None);
    };
    ask_during(&hanging, &store, "commitlog", clean, asked);
    assert_eq!(store.queue("short", 0).min_offset(), 0);
}

#[test]
fn while_a_query_reads_a_message() {
    let (_world, hanging, store) = open(small_options());
    send(&store, &letter("t", 0, "body").keyed("k")).unwrap();
    while store.index_step().unwrap() {}
    let query = |store: &Store| {
        assert_eq!(store.query("t", "k", 9, 0, i64::MAX, KeyKind::Key).unwrap().records.len(), 1);
    };
    // The index goes on, too.
    let asked = |store: &Store| assert!(!store.index_step().unwrap());
    ask_during(&hanging, &store, "commitlog", query, asked);
}
