//! Limits on how much a group reads that is not in memory (broker.md §11.7), and what administrators ask and say about
//! them (2001–2004).
//!
//! What the readers fetch for a pull is counted by group and over all groups, in windows of [`WINDOW_MS`]. With
//! `coldDataFlowControlEnable`, a group that has had its share of a window, or that comes when all together have had
//! theirs, is told to come back later if it is pushed to, and gets one message after a pause if it pulls. What is in
//! memory is never held back: only pulls that the threads for reading from disk would serve come here.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use settings::{Broker as Settings, properties};
use wire::code::response;
use wire::names;

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal};

/// Bytes are counted for this long, then from 0 again.
const WINDOW_MS: i64 = 5_000;
/// A group that has read nothing cold for this long is not told of any more.
const FORGOTTEN_AFTER_MS: i64 = 60_000;
/// How long a pull of a consumer that asks for messages itself is held when its group is at its limit.
pub(crate) const PAUSE: Duration = Duration::from_secs(3);
/// Most groups that have a limit of their own, and that are counted.
const GROUPS_MAX: usize = 100_000;

/// `READ_AHEAD_MODE` of 2004, in the numbers of `madvise`.
const MODE_NORMAL: i32 = 0;
const MODE_RANDOM: i32 = 1;

/// Who has read how much, and who may.
#[derive(Default)]
pub(crate) struct ColdReads(Mutex<Table>);

#[derive(Default)]
struct Table {
    window_from_ms: i64,
    /// Bytes of all groups in this window.
    all_bytes: u64,
    groups: HashMap<String, Reading>,
    /// Limits in bytes of a window that administrators have given to groups.
    limits: BTreeMap<String, u64>,
}

/// There is no room for the limits of so many groups.
#[derive(Debug, PartialEq, Eq)]
struct TooManyGroups;

/// What one group reads.
#[derive(Debug, Clone, Copy)]
struct Reading {
    bytes: u64,
    since_ms: i64,
    last_ms: i64,
}

/// The limits that hold where administrators have given none; bytes of a window.
#[derive(Debug, Clone, Copy)]
struct Limits {
    group: u64,
    all: u64,
}

impl Limits {
    fn of(settings: &Settings) -> Limits {
        Limits { group: settings.cg_cold_read_threshold, all: settings.global_cold_read_threshold }
    }
}

impl Table {
    /// Begins a new window if the present one is over. A clock that was set back begins one too.
    fn turn(&mut self, now_ms: i64) {
        if (0..WINDOW_MS).contains(&(now_ms - self.window_from_ms)) {
            return;
        }
        self.window_from_ms = now_ms;
        self.all_bytes = 0;
        self.groups.retain(|_, reading| {
            reading.bytes = 0;
            (0..FORGOTTEN_AFTER_MS).contains(&(now_ms - reading.last_ms))
        });
    }

    fn note(&mut self, group: &str, bytes: u64, now_ms: i64) {
        self.turn(now_ms);
        self.all_bytes += bytes;
        if let Some(reading) = self.groups.get_mut(group) {
            reading.bytes += bytes;
            reading.last_ms = now_ms;
        } else if self.groups.len() < GROUPS_MAX {
            self.groups.insert(group.to_owned(), Reading { bytes, since_ms: now_ms, last_ms: now_ms });
        }
    }

    fn is_at_limit(&mut self, group: &str, limits: Limits, now_ms: i64) -> bool {
        self.turn(now_ms);
        // Who has read nothing cold yet gets something, however much the others read.
        let Some(reading) = self.groups.get(group) else { return false };
        let limit = self.limits.get(group).copied().unwrap_or(limits.group);
        reading.bytes >= limit || self.all_bytes >= limits.all
    }

    /// Gives groups limits of their own, or none of them.
    fn limit(&mut self, wanted: BTreeMap<String, u64>) -> Result<(), TooManyGroups> {
        let new = wanted.keys().filter(|group| !self.limits.contains_key(*group)).count();
        if self.limits.len() + new > GROUPS_MAX {
            return Err(TooManyGroups);
        }
        self.limits.extend(wanted);
        Ok(())
    }

    /// In the members that Java's tool reads.
    fn to_json(&self, limits: Limits) -> Value {
        let runtime: serde_json::Map<String, Value> = self
            .groups
            .iter()
            .map(|(group, reading)| {
                let told = json!({
                    "coldAcc": reading.bytes,
                    "createTimeMills": reading.since_ms,
                    "lastColdReadTimeMills": reading.last_ms,
                });
                (group.clone(), told)
            })
            .collect();
        json!({
            "cgColdReadThreshold": limits.group,
            "configTable": self.limits,
            "globalAcc": self.all_bytes,
            "globalColdReadThreshold": limits.all,
            "runtimeTable": runtime,
        })
    }
}

impl Broker {
    /// Counts what a pull had to be given from the disk.
    pub(crate) fn note_cold_read(&self, group: &str, bytes: usize) {
        if self.settings.load().cold_data_flow_control_enable && bytes > 0 && !names::is_system_group(group) {
            self.cold_reads.0.lock().note(group, bytes as u64, self.now_ms());
        }
    }

    /// Whether the group has read its share of what is not in memory.
    pub(crate) fn is_cold_limited(&self, group: &str) -> bool {
        let settings = self.settings.load();
        settings.cold_data_flow_control_enable
            && !names::is_system_group(group)
            && self.cold_reads.0.lock().is_at_limit(group, Limits::of(&settings), self.now_ms())
    }

    /// Gives groups limits of their own (2001), as lines `group=bytes`. All or none are taken.
    pub(crate) fn limit_cold_reads(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let mut wanted = BTreeMap::new();
        let text = properties::decode(exchange.request.body);
        for entry in properties::parse(&text).map_err(Refusal::system)? {
            let (group, limit) = (entry.key, entry.value);
            names::check_group(&group).map_err(Refusal::system)?;
            let limit: u64 = limit.parse().map_err(|_| {
                Refusal::system(format!(
                    "the limit of group {group} is \"{limit}\", which is no number of bytes"
                ))
            })?;
            wanted.insert(group, limit);
        }
        let limited = self.cold_reads.0.lock().limit(wanted);
        limited.map_err(|TooManyGroups| {
            Refusal::system(format!("no more than {GROUPS_MAX} groups can have limits of their own"))
        })?;
        exchange.ok()
    }

    /// Takes the limit of a group back (2002); its name is the body.
    pub(crate) fn free_cold_reads(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let group = String::from_utf8_lossy(exchange.request.body);
        self.cold_reads.0.lock().limits.remove(group.trim());
        exchange.ok()
    }

    /// Who reads how much (2003).
    pub(crate) fn cold_reads(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let limits = Limits::of(&self.settings.load());
        let told = {
            let mut table = self.cold_reads.0.lock();
            table.turn(self.now_ms());
            table.to_json(limits)
        };
        exchange.ok_json(&told)
    }

    /// Whether the disk is asked for more than a reader wants (2004), until the broker stops.
    pub(crate) fn set_read_ahead(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let wrong = |code, what: &'static str| Err(Refusal::new(code, what));
        let Some(mode) = exchange.request.field("READ_AHEAD_MODE") else {
            return wrong(response::SYSTEM_ERROR, "set commitlog readahead mode param error");
        };
        let read_ahead = match mode.parse() {
            Ok(MODE_NORMAL) => true,
            Ok(MODE_RANDOM) => false,
            Ok(_) => {
                return wrong(response::INVALID_PARAMETER, "set commitlog readahead mode param value error");
            }
            Err(_) => return wrong(response::SYSTEM_ERROR, "set commitlog readahead mode failed"),
        };
        self.change_read_ahead(read_ahead);
        let remark = format!("set commitlog readahead mode success, mode: {mode}");
        exchange.answer(response::SUCCESS, Some(&remark), |writer| writer.empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { group: 100, all: 250 };

    #[test]
    fn a_group_is_at_its_limit_until_the_next_window() {
        let mut table = Table::default();
        assert!(!table.is_at_limit("g", LIMITS, 10_000));
        table.note("g", 99, 10_000);
        assert!(!table.is_at_limit("g", LIMITS, 10_001));
        table.note("g", 1, 14_999);
        assert!(table.is_at_limit("g", LIMITS, 14_999) && !table.is_at_limit("h", LIMITS, 14_999));
        assert!(!table.is_at_limit("g", LIMITS, 15_000));
        table.note("g", 100, 15_000);
        assert!(!table.is_at_limit("g", LIMITS, 9_000), "a clock that was set back holds nobody up");
    }

    #[test]
    fn limits_of_administrators_count_before_the_common_one_and_all_together_have_one() {
        let limits = BTreeMap::from([("g".to_owned(), 10), ("h".to_owned(), 1000)]);
        let mut table = Table { limits, ..Table::default() };
        table.note("g", 10, 0);
        table.note("h", 200, 0);
        assert!(table.is_at_limit("g", LIMITS, 1) && !table.is_at_limit("h", LIMITS, 1));
        table.note("h", 40, 2);
        assert!(table.is_at_limit("h", LIMITS, 3), "250 bytes together");
        assert!(!table.is_at_limit("new", LIMITS, 3), "who has had nothing gets something");
    }

    #[test]
    fn where_all_groups_have_limits_they_can_be_changed_and_not_be_more() {
        let all = (0..GROUPS_MAX).map(|number| (number.to_string(), 1));
        let mut table = Table { limits: all.collect(), ..Table::default() };
        let mut limit = |group: &str| table.limit(BTreeMap::from([(group.to_owned(), 2)]));
        assert_eq!((limit("7"), limit("new")), (Ok(()), Err(TooManyGroups)));
        assert_eq!((table.limits["7"], table.limits.len()), (2, GROUPS_MAX));
    }

    #[test]
    fn what_is_told_is_what_javas_tool_reads() {
        let mut table = Table::default();
        table.note("g", 7, 1_000);
        table.limits.insert("h".to_owned(), 5);
        assert_eq!(
            table.to_json(LIMITS).to_string(),
            r#"{"cgColdReadThreshold":100,"configTable":{"h":5},"globalAcc":7,"globalColdReadThreshold":250,"runtimeTable":{"g":{"coldAcc":7,"createTimeMills":1000,"lastColdReadTimeMills":1000}}}"#
        );
        table.turn(1_000 + FORGOTTEN_AFTER_MS);
        assert!(table.groups.is_empty());
    }
}
