//! What a member has of one queue: what was pulled and is not settled, and hence what may be committed
//! (client.md §3.3).

use std::collections::VecDeque;

/// Messages of a queue between the committed offset and the next pull. A plain type: no clock, no socket.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// In the order of their offsets, from the oldest that is not settled on.
    pulled: VecDeque<Message>,
    /// How many of them are not settled, and their bytes.
    open: usize,
    bytes: usize,
    next_pull: i64,
    /// Rises when the queue is read from somewhere else; what was handed out before means nothing then.
    generation: u64,
}

#[derive(Debug, Clone, Copy)]
struct Message {
    offset: i64,
    bytes: usize,
    settled: bool,
}

/// What may be pulled of a queue and not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub messages: usize,
    pub bytes: usize,
    /// Offsets between the oldest of them and the next pull.
    pub span: i64,
}

impl Window {
    pub fn at(offset: i64) -> Window {
        Window { pulled: VecDeque::new(), open: 0, bytes: 0, next_pull: offset, generation: 0 }
    }

    pub fn next_pull(&self) -> i64 {
        self.next_pull
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Messages that are not settled, and their bytes.
    pub fn held(&self) -> (usize, usize) {
        (self.open, self.bytes)
    }

    /// How far the next pull is from the oldest message that is not settled.
    pub fn span(&self) -> i64 {
        self.pulled.front().map_or(0, |oldest| self.next_pull - oldest.offset)
    }

    /// Whether more may be pulled.
    pub fn has_room(&self, bounds: &Bounds) -> bool {
        self.open < bounds.messages && self.bytes < bounds.bytes && self.span() <= bounds.span
    }

    /// A pull brought these offsets, with the bytes of each, and goes on at `next`. False if the queue is read from
    /// somewhere else by now.
    pub fn pulled(
        &mut self,
        generation: u64,
        messages: impl IntoIterator<Item = (i64, usize)>,
        next: i64,
    ) -> bool {
        if generation != self.generation {
            return false;
        }
        for (offset, bytes) in messages {
            self.add(offset, bytes);
        }
        self.next_pull = next;
        true
    }

    fn add(&mut self, offset: i64, bytes: usize) {
        let message = Message { offset, bytes, settled: false };
        let at = match self.pulled.back() {
            // Brokers answer in order, so that the rest is for those that do not.
            Some(newest) if newest.offset >= offset => match self.find(offset) {
                Ok(_) => return,
                Err(at) => at,
            },
            _ => self.pulled.len(),
        };
        self.pulled.insert(at, message);
        self.open += 1;
        self.bytes += bytes;
    }

    /// Where a message is, or would be.
    fn find(&self, offset: i64) -> Result<usize, usize> {
        // Where nothing was left out by a filter, offsets have no gaps.
        let oldest = self.pulled.front().map_or(offset, |oldest| oldest.offset);
        if let Ok(at) = usize::try_from(offset - oldest)
            && self.pulled.get(at).is_some_and(|message| message.offset == offset)
        {
            return Ok(at);
        }
        self.pulled.binary_search_by_key(&offset, |message| message.offset)
    }

    /// A message is done with. False if that means nothing any more.
    pub fn settled(&mut self, generation: u64, offset: i64) -> bool {
        if generation != self.generation {
            return false;
        }
        let Ok(at) = self.find(offset) else { return false };
        let message = &mut self.pulled[at];
        if message.settled {
            return false;
        }
        message.settled = true;
        self.open -= 1;
        self.bytes -= message.bytes;
        while self.pulled.front().is_some_and(|oldest| oldest.settled) {
            self.pulled.pop_front();
        }
        true
    }

    /// Reads on from somewhere else.
    pub fn restart(&mut self, offset: i64) {
        let generation = self.generation + 1;
        *self = Window { generation, ..Window::at(offset) };
    }

    /// Everything before this is settled.
    pub fn committable(&self) -> i64 {
        self.pulled.front().map_or(self.next_pull, |oldest| oldest.offset)
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
        assert!(window.pulled(0, [(10, 5), (11, 5), (13, 5)], 15));
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
        assert!(window.pulled(0, [(0, 1), (1, 1)], 2));
        window.restart(7);
        assert!(!window.settled(0, 0) && !window.pulled(0, [(2, 1)], 3));
        assert_eq!((window.committable(), window.next_pull(), window.generation()), (7, 7, 1));
        assert!(window.pulled(1, [(7, 1)], 8));
        assert_eq!(window.committable(), 7);
    }

    #[test]
    fn there_is_room_until_one_of_the_bounds_is_reached() {
        let mut window = Window::at(0);
        let bounds = |messages, bytes, span| Bounds { messages, bytes, span };
        assert!(window.has_room(&bounds(1, 1, 0)));
        assert!(window.pulled(0, [(0, 10), (1, 10), (5, 10)], 6));
        assert!(window.has_room(&bounds(4, 31, 6)));
        assert!(!window.has_room(&bounds(3, 31, 6)));
        assert!(!window.has_room(&bounds(4, 30, 6)));
        assert!(!window.has_room(&bounds(4, 31, 5)));
        assert!(window.settled(0, 0) && window.has_room(&bounds(3, 21, 5)));
    }

    /// Against sets, which need more memory and are plainly right.
    #[test]
    fn any_order_of_settling_ends_where_sets_say() {
        let mut seed = 7_u64;
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let (mut window, mut open) = (Window::at(0), std::collections::BTreeSet::new());
        for _ in 0..2_000 {
            let from = window.next_pull();
            let end = from + 1 + next(4) as i64;
            let some: Vec<i64> = (from..end).filter(|_| next(3) > 0).collect();
            open.extend(some.iter().copied());
            assert!(window.pulled(0, some.iter().map(|offset| (*offset, 2)), end));
            for _ in 0..next(5) {
                let offset = end - next(12) as i64;
                assert_eq!(window.settled(0, offset), open.remove(&offset));
            }
            let oldest = open.first().copied().unwrap_or(end);
            assert_eq!((window.held(), window.committable()), ((open.len(), 2 * open.len()), oldest));
        }
    }
}
