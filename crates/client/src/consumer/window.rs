//! What a member has of one queue: what was pulled and is not settled, and hence what may be committed
//! (client.md §3.3).

use std::collections::BTreeMap;

/// Messages of a queue between the committed offset and the next pull. A plain type: no clock, no socket.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// Bytes by offset.
    open: BTreeMap<i64, usize>,
    bytes: usize,
    next_pull: i64,
    /// Rises when the queue is read from somewhere else; what was handed out before means nothing then.
    generation: u64,
}

impl Window {
    pub fn at(offset: i64) -> Window {
        Window { open: BTreeMap::new(), bytes: 0, next_pull: offset, generation: 0 }
    }

    pub fn next_pull(&self) -> i64 {
        self.next_pull
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Messages that are not settled, and their bytes.
    pub fn held(&self) -> (usize, usize) {
        (self.open.len(), self.bytes)
    }

    /// How far the newest pulled message is from the oldest that is not settled.
    pub fn span(&self) -> i64 {
        self.open.keys().next().map_or(0, |oldest| self.next_pull - oldest)
    }

    /// A pull brought these and goes on at `next`. False if the queue is read from somewhere else by now.
    pub fn pulled(&mut self, generation: u64, messages: &[(i64, usize)], next: i64) -> bool {
        if generation != self.generation {
            return false;
        }
        for (offset, bytes) in messages {
            if self.open.insert(*offset, *bytes).is_none() {
                self.bytes += bytes;
            }
        }
        self.next_pull = next;
        true
    }

    /// A message is done with. False if that means nothing any more.
    pub fn settled(&mut self, generation: u64, offset: i64) -> bool {
        if generation != self.generation {
            return false;
        }
        match self.open.remove(&offset) {
            Some(bytes) => {
                self.bytes -= bytes;
                true
            }
            None => false,
        }
    }

    /// Reads on from somewhere else.
    pub fn restart(&mut self, offset: i64) {
        self.open.clear();
        self.bytes = 0;
        self.next_pull = offset;
        self.generation += 1;
    }

    /// Everything before this is settled.
    pub fn committable(&self) -> i64 {
        self.open.keys().next().copied().unwrap_or(self.next_pull)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_open_message_holds_the_commit_back() {
        let mut window = Window::at(10);
        assert_eq!(window.committable(), 10);
        // 12 and 14 were not selected.
        assert!(window.pulled(0, &[(10, 5), (11, 5), (13, 5)], 15));
        assert_eq!((window.held(), window.span(), window.committable()), ((3, 15), 5, 10));
        assert!(window.settled(0, 11));
        assert_eq!(window.committable(), 10);
        assert!(window.settled(0, 10));
        assert_eq!(window.committable(), 13);
        assert!(window.settled(0, 13) && !window.settled(0, 13));
        assert_eq!((window.held(), window.committable(), window.span()), ((0, 0), 15, 0));
    }

    #[test]
    fn what_was_handed_out_before_a_restart_means_nothing() {
        let mut window = Window::at(0);
        assert!(window.pulled(0, &[(0, 1), (1, 1)], 2));
        window.restart(7);
        assert!(!window.settled(0, 0) && !window.pulled(0, &[(2, 1)], 3));
        assert_eq!((window.committable(), window.next_pull(), window.generation()), (7, 7, 1));
        assert!(window.pulled(1, &[(7, 1)], 8));
        assert_eq!(window.committable(), 7);
    }
}
