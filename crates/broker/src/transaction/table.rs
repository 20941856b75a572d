//! Which transactions are open: a plain state machine over offsets of the half queue and the op queue.
//!
//! It knows no message and no disk. What stands in the two queues is told to it in order; what it says is which half
//! messages are still undecided, when each wants to be asked about, and from where a restart must read the queues to
//! come to the same state. Invariant: a half message leaves `open` only behind an op record that names it, or into
//! the place of its own copy; so whatever a crash takes away, reading the queues again finds every undecided one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Half messages that may lie between the first undecided one and the end before that one is moved to the end.
const WINDOW: u64 = 1 << 18;
/// The window grows with what is open, so that moving costs each half message a bounded number of copies.
const WINDOW_PER_OPEN: u64 = 4;

/// What the record of a half message says about its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// When the producer made it, or when it was stored if that was earlier; Unix milliseconds.
    pub born_ms: i64,
    /// When it was stored, Unix milliseconds.
    pub stored_ms: i64,
    /// Time that the producer wants before the first check.
    pub immunity_ms: Option<i64>,
}

/// A half message that is neither committed nor rolled back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Open {
    /// Where its record begins in the log.
    pub physical: u64,
    /// How often the producer was asked.
    pub checks: u32,
    /// What its record says, once that was read.
    pub known: Option<Known>,
    /// Somebody is deciding about it right now.
    ending: bool,
    /// Offsets that it had before it was moved.
    before: Vec<u64>,
}

impl Open {
    /// One whose record was not read.
    pub fn new(physical: u64) -> Open {
        Open { physical, ..Open::default() }
    }

    /// One whose producer was asked before this broker started.
    pub fn asked(physical: u64, checks: u32, known: Option<Known>) -> Open {
        Open { physical, checks, known, ..Open::default() }
    }
}

/// A decision that was begun and must be finished or given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Offset that the op record must name.
    pub offset: u64,
    /// How often the producer was asked.
    pub checks: u32,
}

/// The settings that say when a producer is asked, and the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub now_ms: i64,
    /// `transactionTimeOut`.
    pub timeout_ms: i64,
    /// `transactionCheckMax`.
    pub check_max: u32,
    /// `fileReservedTime`: what is older goes out of the log soon.
    pub reserved_ms: i64,
}

/// What is to be done about an open half message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is too early to ask, or somebody is deciding.
    Wait,
    /// Ask the producer.
    Check,
    /// It was asked about too often, or is too old: it goes to the discard topic.
    Discard,
}

/// From where a restart must read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Positions {
    /// Every half message before it is decided.
    pub half: u64,
    /// Every op record before it names only half messages before `half`.
    pub op: u64,
}

/// All transactions of the broker.
#[derive(Debug, Default)]
pub(crate) struct Table {
    open: BTreeMap<u64, Open>,
    /// Half messages before it have been looked at.
    followed: u64,
    /// Decided before they were looked at.
    decided_ahead: BTreeSet<u64>,
    /// Where a moved half message is now.
    moved: HashMap<u64, u64>,
    /// Op records from `op_from` on, with the highest offset that each names.
    ops: BTreeMap<u64, u64>,
    op_from: u64,
    /// What op records named while the queues were read at start.
    closed: HashSet<u64>,
    /// Those of them that were named because they were moved.
    closed_by_move: HashSet<u64>,
}

impl Table {
    /// An empty table that will read the queues from here.
    pub fn new(from: Positions) -> Table {
        Table { followed: from.half, op_from: from.op, ..Table::default() }
    }

    /// Notes an op record found at start: what it names was decided, or `moved`. All of them come before the first
    /// half message.
    pub fn found_op(&mut self, op_offset: u64, named: &[u64], moved: bool) {
        self.closed.extend(named);
        if moved {
            self.closed_by_move.extend(named);
        }
        self.ops.insert(op_offset, named.iter().copied().max().unwrap_or(0));
    }

    /// Whether a half message found at start is decided already, so that its record need not be read.
    pub fn found_half(&mut self, offset: u64) -> bool {
        self.followed = self.followed.max(offset + 1);
        self.closed.contains(&offset)
    }

    /// Enters a half message found at start, unless a decision named the offset it had `before`. True when there is
    /// one more open than before.
    pub fn restore(&mut self, offset: u64, mut open: Open, before: Option<u64>) -> bool {
        let mut is_new = true;
        if let Some(before) = before.filter(|before| *before < offset) {
            if self.closed.contains(&before) && !self.closed_by_move.contains(&before) {
                return false;
            }
            // A crash can have come between the copy and the op record that names what was copied.
            let present = self.moved.get(&before).copied().unwrap_or(before);
            if let Some(copied) = self.open.remove(&present) {
                is_new = false;
                open.before.extend(copied.before);
                open.before.push(present);
            }
            open.before.push(before);
            open.before.dedup();
            self.moved.extend(open.before.iter().map(|before| (*before, offset)));
        }
        self.open.insert(offset, open);
        is_new
    }

    /// Ends the reading at start.
    pub fn restored(&mut self) {
        self.closed = HashSet::new();
        self.closed_by_move = HashSet::new();
    }

    /// First half offset that has not been looked at.
    pub fn followed(&self) -> u64 {
        self.followed
    }

    /// Takes in what stands at the next offset of the half queue; `None` where there is no message.
    pub fn follow(&mut self, offset: u64, physical: Option<u64>) {
        self.followed = self.followed.max(offset + 1);
        if let Some(physical) = physical
            && !self.decided_ahead.remove(&offset)
        {
            self.open.entry(offset).or_insert_with(|| Open::new(physical));
        }
    }

    /// Number of open half messages among those looked at.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// The open half message at `offset`, by its present offset.
    pub fn get(&self, offset: u64) -> Option<&Open> {
        self.open.get(&offset)
    }

    /// The open half message that has or had `offset`.
    pub fn find(&self, offset: u64) -> Option<&Open> {
        self.open.get(self.moved.get(&offset).unwrap_or(&offset))
    }

    /// Begins a decision about the half message that has or had `offset`; `None` when it is decided already.
    pub fn begin_end(&mut self, offset: u64) -> Option<Ending> {
        let offset = self.moved.get(&offset).copied().unwrap_or(offset);
        let open = self.open.get_mut(&offset).filter(|open| !open.ending)?;
        open.ending = true;
        Some(Ending { offset, checks: open.checks })
    }

    /// The op record that names `offset` is in the log.
    pub fn ended(&mut self, offset: u64) {
        let Some(open) = self.open.remove(&offset) else { return };
        self.forget_moves(&open);
        if offset >= self.followed {
            self.decided_ahead.insert(offset);
        }
    }

    /// The decision could not be stored: everything is as before.
    pub fn gave_up(&mut self, offset: u64) {
        if let Some(open) = self.open.get_mut(&offset) {
            open.ending = false;
        }
    }

    /// A copy of the half message at `from`, whose end was begun, stands at `to`; the op record that names `from` is
    /// in the log with it.
    pub fn moved(&mut self, from: u64, to: u64, physical: u64) {
        let Some(mut open) = self.open.remove(&from) else { return };
        open.physical = physical;
        open.ending = false;
        open.before.push(from);
        self.moved.extend(open.before.iter().map(|before| (*before, to)));
        if from >= self.followed {
            self.decided_ahead.insert(from);
        }
        self.open.insert(to, open);
    }

    /// An op record was appended at `op_offset`.
    pub fn op_written(&mut self, op_offset: u64, highest: u64) {
        self.ops.insert(op_offset, highest);
    }

    /// Notes what a record says.
    pub fn learn(&mut self, offset: u64, known: Known) {
        if let Some(open) = self.open.get_mut(&offset) {
            open.known = Some(known);
        }
    }

    /// The producer was asked.
    pub fn checked(&mut self, offset: u64) {
        if let Some(open) = self.open.get_mut(&offset) {
            open.checks = open.checks.saturating_add(1);
        }
    }

    /// What is to be done about the half message at `offset`. One whose record was not read waits.
    pub fn verdict(&self, offset: u64, limits: &Limits) -> Verdict {
        let Some((open, known)) = self.open.get(&offset).and_then(|open| Some((open, open.known?))) else {
            return Verdict::Wait;
        };
        if open.ending {
            return Verdict::Wait;
        }
        if open.checks >= limits.check_max || limits.now_ms - known.stored_ms > limits.reserved_ms {
            return Verdict::Discard;
        }
        let age_ms = limits.now_ms - known.born_ms;
        let patience_ms = known.immunity_ms.unwrap_or(limits.timeout_ms);
        // An age below zero comes from a clock that was set back; waiting for it to catch up could take for ever.
        if (0..=patience_ms).contains(&age_ms) { Verdict::Wait } else { Verdict::Check }
    }

    /// Half messages in `from..until` that are to be looked at: those not waiting and those whose record was not
    /// read. At most `count`, with their physical offsets, in order.
    pub fn candidates(&self, from: u64, until: u64, limits: &Limits, count: usize) -> Vec<(u64, u64)> {
        let range = self.open.range(from..until.max(from)).filter(|(offset, open)| {
            !open.ending && (open.known.is_none() || self.verdict(**offset, limits) != Verdict::Wait)
        });
        range.take(count).map(|(offset, open)| (*offset, open.physical)).collect()
    }

    /// Open half messages from `from` on, so far behind the end that they are to be moved there, at most `count`.
    pub fn stragglers(&self, from: u64, count: usize) -> Vec<(u64, u64)> {
        let window = WINDOW.max(self.open.len() as u64 * WINDOW_PER_OPEN);
        let behind = self.open.range(from..self.followed.saturating_sub(window).max(from));
        behind
            .filter(|(_, open)| !open.ending)
            .take(count)
            .map(|(offset, open)| (*offset, open.physical))
            .collect()
    }

    /// Where a restart would have to read from. What is decided is passed over here.
    pub fn positions(&mut self) -> Positions {
        let half = self.open.first_key_value().map_or(self.followed, |(first, _)| self.followed.min(*first));
        while let Some(highest) = self.ops.get(&self.op_from)
            && *highest < half
        {
            self.ops.remove(&self.op_from);
            self.op_from += 1;
        }
        Positions { half, op: self.op_from }
    }

    /// How often producers were asked, for those that were.
    pub fn checks(&self) -> BTreeMap<u64, u32> {
        let asked = self.open.iter().filter(|(_, open)| open.checks > 0);
        asked.map(|(offset, open)| (*offset, open.checks)).collect()
    }

    fn forget_moves(&mut self, open: &Open) {
        for before in &open.before {
            self.moved.remove(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { now_ms: 1_000_000, timeout_ms: 6_000, check_max: 3, reserved_ms: 900_000 };

    fn known(age_ms: i64, immunity_ms: Option<i64>) -> Known {
        let born_ms = LIMITS.now_ms - age_ms;
        Known { born_ms, stored_ms: born_ms, immunity_ms }
    }

    fn table(count: u64) -> Table {
        let mut table = Table::new(Positions { half: 0, op: 0 });
        for offset in 0..count {
            table.follow(offset, Some(offset * 100));
        }
        table
    }

    fn end(table: &mut Table, offset: u64, op_offset: u64) {
        let ending = table.begin_end(offset).expect("open");
        table.op_written(op_offset, ending.offset);
        table.ended(ending.offset);
    }

    #[test]
    fn a_producer_is_asked_after_its_time_and_only_so_often() {
        let mut table = table(1);
        assert_eq!(table.verdict(0, &LIMITS), Verdict::Wait, "nothing is known yet");
        assert_eq!(table.candidates(0, 9, &LIMITS, 9), [(0, 0)], "so it is to be looked at");
        let cases = [
            (known(6_000, None), Verdict::Wait),
            (known(6_001, None), Verdict::Check),
            (known(-1, None), Verdict::Check),
            (known(6_001, Some(60_000)), Verdict::Wait),
            (known(60_001, Some(60_000)), Verdict::Check),
            (known(900_001, Some(i64::MAX)), Verdict::Discard),
        ];
        for (known, verdict) in cases {
            table.learn(0, known);
            assert_eq!(table.verdict(0, &LIMITS), verdict, "{known:?}");
        }
        table.learn(0, known(10_000, None));
        for _ in 0..LIMITS.check_max {
            assert_eq!(table.verdict(0, &LIMITS), Verdict::Check);
            table.checked(0);
        }
        assert_eq!(table.verdict(0, &LIMITS), Verdict::Discard);
        assert_eq!(table.checks(), BTreeMap::from([(0, 3)]));
    }

    #[test]
    fn positions_wait_for_the_first_open_one_and_for_ops_that_are_still_needed() {
        let mut table = table(4);
        end(&mut table, 2, 0);
        assert_eq!(table.positions(), Positions { half: 0, op: 0 });
        end(&mut table, 0, 1);
        assert_eq!(table.positions(), Positions { half: 1, op: 0 }, "op 0 names 2, which is not passed");
        end(&mut table, 1, 3);
        assert_eq!(table.positions(), Positions { half: 3, op: 2 }, "op 2 is being written");
        table.op_written(2, 0);
        assert_eq!(table.positions(), Positions { half: 3, op: 4 });
    }

    #[test]
    fn a_decision_that_was_not_stored_leaves_the_transaction_open() {
        let mut table = table(1);
        assert_eq!(table.begin_end(0), Some(Ending { offset: 0, checks: 0 }));
        assert_eq!(table.begin_end(0), None, "one at a time");
        table.gave_up(0);
        assert!(table.begin_end(0).is_some());
        table.ended(0);
        assert_eq!(table.begin_end(0), None, "decided once and for all");
    }

    #[test]
    fn a_moved_one_is_found_by_every_offset_it_had() {
        let mut table = table(3);
        assert!(table.begin_end(0).is_some());
        table.moved(0, 3, 900);
        assert!(table.begin_end(3).is_some());
        table.moved(3, 4, 950);
        for offset in [0, 3, 4] {
            assert_eq!(table.begin_end(offset), Some(Ending { offset: 4, checks: 0 }));
            table.gave_up(4);
        }
        let ending = table.begin_end(0).expect("open");
        table.ended(ending.offset);
        for offset in [3, 4] {
            table.follow(offset, Some(1));
        }
        for offset in [0, 3, 4] {
            assert_eq!(table.begin_end(offset), None, "{offset} came back to life");
        }
    }

    #[test]
    fn what_holds_the_window_open_is_moved() {
        let mut table = table(WINDOW + 10);
        for offset in 1..WINDOW + 10 {
            table.ended(offset);
        }
        assert_eq!(table.stragglers(0, 9), [(0, 0)]);
    }
}
