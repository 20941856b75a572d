//! Enqueued messages of one key go one after the other: the first may need another attempt, and the second must not
//! pass it by meanwhile. Where nobody answers, those that have waited for long are not sent at all, or a line would
//! last as long as all its sends together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

/// A topic and a key.
type Line = (String, String);

/// Who came last in each line.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    lines: HashMap<Line, Last>,
    /// Number of who came last in any of them.
    newest: u64,
}

#[derive(Debug)]
struct Last {
    number: u64,
    over: Over,
}

/// Hears of the end of a turn, and whether it was in vain.
type Over = watch::Receiver<bool>;

/// A place in a line, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    line: Line,
    number: u64,
    joined: Instant,
    before: Option<Over>,
    over: watch::Sender<bool>,
}

impl Turns {
    /// Takes the last place in a line.
    pub fn join(self: &Arc<Self>, topic: &str, key: &str) -> Turn {
        let line = (topic.to_owned(), key.to_owned());
        let (sender, over) = watch::channel(false);
        let mut state = self.0.lock();
        state.newest += 1;
        let number = state.newest;
        let before = state.lines.insert(line.clone(), Last { number, over }).map(|last| last.over);
        Turn { turns: Arc::clone(self), line, number, joined: Instant::now(), before, over: sender }
    }

    /// Waits until everybody is gone who is in a line now.
    pub async fn wait(&self, topic: &str, key: &str) {
        let last = {
            let state = self.0.lock();
            // Mostly nobody is anywhere.
            if state.lines.is_empty() {
                return;
            }
            state.lines.get(&(topic.to_owned(), key.to_owned())).map(|last| last.over.clone())
        };
        ended(last).await;
    }
}

impl Turn {
    /// Waits until everybody is gone who came before, and says whether the last of them was there in vain.
    pub async fn come(&mut self) -> bool {
        ended(self.before.take()).await
    }

    /// Tells those behind that nobody answered.
    pub fn was_in_vain(&self) {
        self.over.send_replace(true);
    }

    /// How long ago it was joined.
    pub fn waited(&self) -> Duration {
        self.joined.elapsed()
    }
}

/// Waits for the end of a turn, and says whether it was in vain.
async fn ended(turn: Option<Over>) -> bool {
    let Some(mut over) = turn else { return false };
    // It is over when its sender is gone, not when that has said something.
    while over.changed().await.is_ok() {}
    *over.borrow()
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.0.lock();
        if state.lines.get(&self.line).is_some_and(|last| last.number == self.number) {
            state.lines.remove(&self.line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn each_line_is_served_in_the_order_in_which_it_was_joined() {
        let turns = Arc::new(Turns::default());
        let (mut first, mut second) = (turns.join("T", "k"), turns.join("T", "k"));
        let mut other = turns.join("T", "l");
        assert!(!other.come().await && !first.come().await);
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, second.come()).await.is_err(), "the first is not gone");
        let mut third = turns.join("T", "k");
        first.was_in_vain();
        assert!(tokio::time::timeout(soon, turns.wait("T", "k")).await.is_err(), "the first is still there");
        drop(first);
        assert!(tokio::time::timeout(soon, turns.wait("T", "k")).await.is_err(), "two are left");
        drop(second);
        assert!(!third.come().await, "the second was not in vain");
        drop((third, other));
        turns.wait("T", "k").await;
        assert!(turns.0.lock().lines.is_empty());
    }

    #[tokio::test]
    async fn the_next_hears_that_the_one_before_was_there_in_vain() {
        let turns = Arc::new(Turns::default());
        let (first, mut second) = (turns.join("T", "k"), turns.join("T", "k"));
        first.was_in_vain();
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, second.come()).await.is_err(), "the first is not gone");
        assert!(second.waited() >= soon);
        let mut third = turns.join("T", "k");
        drop(first);
        drop(second);
        assert!(!third.come().await, "that the first was in vain says nothing of the second");
        let (first, mut second) = (turns.join("T", "l"), turns.join("T", "l"));
        first.was_in_vain();
        drop(first);
        assert!(second.come().await);
    }
}
