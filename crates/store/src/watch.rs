//! Who wants to hear of new messages of a queue.
//!
//! Each kind of watcher has a bit of its own, and a bit is only ever cleared by the arrival that its kind is then told
//! of. So no kind can lose a message because another one was told.

use std::sync::atomic::{AtomicU8, Ordering, fence};

/// A kind of watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watcher {
    /// Pulls that wait for the queue.
    Pull,
    /// Pops, and questions whether there is something to pop.
    Pop,
    /// The delivery of delayed messages.
    Schedule,
    /// The check of transactions.
    Transactions,
    /// The return of popped messages that nobody has acknowledged.
    Revive,
    /// The store's own timer. It stays when it is told, since it follows its queue for as long as the store is open.
    Timer,
}

impl Watcher {
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Bits that stay when their kind is told.
const STANDING: u8 = Watcher::Timer.bit();

/// The kinds that watch one queue.
#[derive(Debug, Default)]
pub struct Watchers(AtomicU8);

impl Watchers {
    /// Has `watcher` told of the next arrival: once, the timer excepted.
    ///
    /// Whoever calls this looks for messages afterwards, not before: what is not there by then will be told.
    pub fn watch(&self, watcher: Watcher) {
        self.0.fetch_or(watcher.bit(), Ordering::SeqCst);
        // Pairs with the fence of `Store::tell`, between showing a message and asking who watches: one of the two
        // sees the other.
        fence(Ordering::SeqCst);
    }

    /// Those to tell of an arrival. One load where nobody watches.
    pub(crate) fn take(&self) -> Told {
        match self.0.load(Ordering::Acquire) {
            0 => Told(0),
            _ => Told(self.0.fetch_and(STANDING, Ordering::SeqCst)),
        }
    }
}

/// The kinds that are told of one arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told(u8);

impl Told {
    /// Whether this kind is among them.
    pub fn includes(self, watcher: Watcher) -> bool {
        self.0 & watcher.bit() != 0
    }

    /// Whether nobody is.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The others.
    pub(crate) fn without(self, watcher: Watcher) -> Told {
        Told(self.0 & !watcher.bit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Watcher; 3] = [Watcher::Pull, Watcher::Pop, Watcher::Revive];
    /// Appends in a history.
    const APPENDS: usize = 2;

    /// What is between an append and those who wait, and what each of these knows.
    #[derive(Default)]
    struct World {
        watchers: Watchers,
        /// Messages that can be read.
        shown: usize,
        /// Messages of which the watchers were told.
        announced: usize,
        /// By kind: whether it has begun to watch, and how many messages it has seen or was made to look for.
        watching: [bool; KINDS.len()],
        known: [usize; KINDS.len()],
    }

    impl World {
        /// One append does its next step: it shows a message, then tells of it.
        fn append(&mut self) {
            if self.shown == self.announced {
                self.shown += 1;
                return;
            }
            self.announced = self.shown;
            let told = self.watchers.take();
            for (kind, watcher) in KINDS.into_iter().enumerate() {
                if told.includes(watcher) {
                    // Woken, it watches again and looks, in this order, as everybody does.
                    self.watchers.watch(watcher);
                    self.known[kind] = self.shown;
                }
            }
        }

        /// A kind does its next step: it watches, then looks.
        fn wait(&mut self, kind: usize) {
            if self.watching[kind] {
                self.known[kind] = self.shown;
            } else {
                self.watchers.watch(KINDS[kind]);
                self.watching[kind] = true;
            }
        }
    }

    /// Runs every order in which the steps can come, by their numbers: the kinds, and behind them the append.
    fn every_history(left: &mut [usize], steps: &mut Vec<usize>, run: &mut impl FnMut(&[usize])) {
        if left.iter().all(|&left| left == 0) {
            return run(steps);
        }
        for step in 0..left.len() {
            if left[step] > 0 {
                left[step] -= 1;
                steps.push(step);
                every_history(left, steps, run);
                steps.pop();
                left[step] += 1;
            }
        }
    }

    #[test]
    fn in_no_order_does_one_kind_make_another_miss_a_message() {
        let mut histories = 0;
        let mut left = [2, 2, 2, 2 * APPENDS];
        every_history(&mut left, &mut Vec::new(), &mut |steps| {
            histories += 1;
            let mut world = World::default();
            for &step in steps {
                if step == KINDS.len() { world.append() } else { world.wait(step) }
            }
            assert_eq!(world.known, [APPENDS; KINDS.len()], "{steps:?}");
        });
        assert_eq!(histories, 18_900, "10! / (2! 2! 2! 4!)");
    }

    #[test]
    fn a_kind_is_told_once_and_the_timer_always() {
        let watchers = Watchers::default();
        assert!(watchers.take().is_empty());
        watchers.watch(Watcher::Timer);
        watchers.watch(Watcher::Pull);
        let told = watchers.take();
        assert!(
            told.includes(Watcher::Pull) && told.includes(Watcher::Timer) && !told.includes(Watcher::Pop)
        );
        let told = watchers.take();
        assert!(told.includes(Watcher::Timer) && told.without(Watcher::Timer).is_empty());
    }
}
