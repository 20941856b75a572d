//! The machine's time zone, from a TZif file (RFC 9636): a table of moments at which the offset changes, and behind
//! them a rule for all the years to come.
//!
//! Files of today hold the table only up to the last time the law changed, so that for most zones the rule is what
//! counts. A file that cannot be understood is no zone: its reader takes UTC.

/// Offsets from UTC over all time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TimeZone {
    /// From a moment on, in Unix seconds, the offset in seconds; ascending.
    table: Vec<(i64, i32)>,
    /// What holds from the last moment of the table on.
    rule: Option<Rule>,
}

/// The text behind the table: `CET-1CEST,M3.5.0,M10.5.0/3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    /// Seconds to add to UTC in winter.
    standard: i32,
    summer: Option<Summer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Summer {
    /// Seconds to add to UTC in summer.
    offset: i32,
    begins: Turn,
    ends: Turn,
}

/// A moment of each year, in the local time that holds before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    day: Day,
    /// After that day's midnight; may be negative or more than a day.
    seconds: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Day {
    /// 1 to 365; 29 February is not counted.
    Julian(u32),
    /// 0 to 365; 29 February is counted.
    OfYear(u32),
    /// A weekday (0 is Sunday) of a month: the first to the fourth, or with 5 the last.
    Weekday { month: u32, week: u32, weekday: u32 },
}

const DAY_SECONDS: i64 = 86_400;

impl TimeZone {
    /// Reads a TZif file of version 2 or later.
    pub fn parse(bytes: &[u8]) -> Option<TimeZone> {
        let counts = |at: usize| -> Option<[usize; 6]> {
            let mut counts = [0; 6];
            for (i, count) in counts.iter_mut().enumerate() {
                *count = u32::from_be_bytes(*bytes.get(at + 20 + i * 4..)?.first_chunk()?) as usize;
            }
            Some(counts)
        };
        if bytes.get(..4)? != b"TZif" || *bytes.get(4)? < b'2' {
            return None;
        }
        // The first block has times of 32 bits and is for readers of old.
        let [utc, standard, leaps, times, types, names] = counts(0)?;
        let second = 44 + times * 5 + types * 6 + names + leaps * 8 + standard + utc;
        let [utc, standard, leaps, times, types, names] = counts(second)?;
        let at_times = second + 44;
        let at_kinds = at_times + times * 8;
        let at_types = at_kinds + times;
        let footer = at_types + types * 6 + names + leaps * 12 + standard + utc;
        let offset_of = |kind: usize| -> Option<i32> {
            Some(i32::from_be_bytes(*bytes.get(at_types + kind * 6..)?.first_chunk()?))
        };
        let mut table = Vec::new();
        if types > 0 {
            table.push((i64::MIN, offset_of(0)?));
        }
        for i in 0..times {
            let kind = *bytes.get(at_kinds + i)?;
            let moment = i64::from_be_bytes(*bytes.get(at_times + i * 8..)?.first_chunk()?);
            table.push((moment, offset_of(usize::from(kind))?));
        }
        let rule = bytes.get(footer..).and_then(|footer| footer.strip_prefix(b"\n"));
        let rule = rule.and_then(|text| text.split(|byte| *byte == b'\n').next());
        let rule = rule.and_then(|text| Rule::parse(std::str::from_utf8(text).ok()?));
        Some(TimeZone { table, rule })
    }

    /// What to add to UTC, in seconds, at a moment in Unix seconds.
    pub fn offset_at(&self, at: i64) -> i32 {
        let next = self.table.partition_point(|(from, _)| *from <= at);
        match &self.rule {
            Some(rule) if next == self.table.len() => rule.offset_at(at),
            _ => next.checked_sub(1).and_then(|last| self.table.get(last)).map_or(0, |(_, offset)| *offset),
        }
    }
}

impl Rule {
    /// `None` for a text that is empty or no rule.
    fn parse(text: &str) -> Option<Rule> {
        let mut rest = text;
        name(&mut rest)?;
        let standard = -time(&mut rest)?;
        if rest.is_empty() {
            return Some(Rule { standard, summer: None });
        }
        name(&mut rest)?;
        // An hour more unless it says otherwise; written west-positive, as all offsets of this text.
        let offset = if rest.starts_with(',') { standard + 3600 } else { -time(&mut rest)? };
        let begins = Turn::parse(&mut rest)?;
        let ends = Turn::parse(&mut rest)?;
        rest.is_empty().then_some(Rule { standard, summer: Some(Summer { offset, begins, ends }) })
    }

    fn offset_at(&self, at: i64) -> i32 {
        let Some(summer) = self.summer else { return self.standard };
        let year = year_of((at + i64::from(self.standard)).div_euclid(DAY_SECONDS));
        let begins = summer.begins.in_year(year) - i64::from(self.standard);
        let ends = summer.ends.in_year(year) - i64::from(summer.offset);
        // South of the equator summer lies over the turn of the year.
        let is_summer =
            if begins <= ends { (begins..ends).contains(&at) } else { !(ends..begins).contains(&at) };
        if is_summer { summer.offset } else { self.standard }
    }
}

impl Turn {
    /// `,M3.5.0/2`, taken off the front.
    fn parse(rest: &mut &str) -> Option<Turn> {
        *rest = rest.strip_prefix(',')?;
        let day = if let Some(weekday) = rest.strip_prefix('M') {
            *rest = weekday;
            let month = number(rest, 1, 12)?;
            *rest = rest.strip_prefix('.')?;
            let week = number(rest, 1, 5)?;
            *rest = rest.strip_prefix('.')?;
            Day::Weekday { month, week, weekday: number(rest, 0, 6)? }
        } else if let Some(julian) = rest.strip_prefix('J') {
            *rest = julian;
            Day::Julian(number(rest, 1, 365)?)
        } else {
            Day::OfYear(number(rest, 0, 365)?)
        };
        let mut seconds = 2 * 3600;
        if let Some(at) = rest.strip_prefix('/') {
            *rest = at;
            seconds = time(rest)?;
        }
        Some(Turn { day, seconds })
    }

    /// Seconds since 1970 by the clock on the wall.
    fn in_year(&self, year: i64) -> i64 {
        let first = days_before(year, 1);
        let day = match self.day {
            Day::Julian(day) => first + i64::from(day) - 1 + i64::from(is_leap(year) && day >= 60),
            Day::OfYear(day) => first + i64::from(day),
            Day::Weekday { month, week, weekday } => {
                let month_begins = days_before(year, month);
                // 1 January 1970 was a Thursday.
                let first_weekday = (month_begins + 4).rem_euclid(7);
                let first = month_begins + (i64::from(weekday) - first_weekday).rem_euclid(7);
                let next_month =
                    if month == 12 { days_before(year + 1, 1) } else { days_before(year, month + 1) };
                let day = first + 7 * (i64::from(week) - 1);
                if day < next_month { day } else { day - 7 }
            }
        };
        day * DAY_SECONDS + i64::from(self.seconds)
    }
}

/// A zone's name, taken off the front: letters, or anything between `<` and `>`.
fn name(rest: &mut &str) -> Option<()> {
    let end = match rest.strip_prefix('<') {
        Some(quoted) => quoted.find('>')? + 2,
        None => rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len()),
    };
    *rest = rest.get(end..)?;
    (end >= 3).then_some(())
}

/// `[+-]hh[:mm[:ss]]` in seconds, taken off the front.
fn time(rest: &mut &str) -> Option<i32> {
    let negative = rest.starts_with('-');
    *rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    // RFC 9636 lets a turn lie up to a week beside its day.
    let mut seconds = number(rest, 0, 167)? * 3600;
    for unit in [60, 1] {
        if let Some(more) = rest.strip_prefix(':') {
            *rest = more;
            seconds += number(rest, 0, 59)? * unit;
        }
    }
    let seconds = seconds as i32;
    Some(if negative { -seconds } else { seconds })
}

/// A number within bounds, taken off the front.
fn number(rest: &mut &str, lowest: u32, highest: u32) -> Option<u32> {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let number = rest.get(..end)?.parse().ok().filter(|number| (lowest..=highest).contains(number))?;
    *rest = rest.get(end..)?;
    Some(number)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days from 1 January 1970 to the first day of a month, 1 to 12.
fn days_before(year: i64, month: u32) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let earlier = year - 1;
    let leap_days = |year: i64| year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let of_month =
        BEFORE.get(month as usize - 1).copied().unwrap_or(0) + i64::from(month > 2 && is_leap(year));
    (year - 1970) * 365 + leap_days(earlier) - leap_days(1969) + of_month
}

/// The Gregorian year of a day counted from 1 January 1970.
fn year_of(day: i64) -> i64 {
    // 400 years have 146,097 days; the guess is at most one year off.
    let guess = 1970 + (day * 400).div_euclid(146_097);
    let years = [guess + 1, guess, guess - 1];
    years.into_iter().find(|year| days_before(*year, 1) <= day).unwrap_or(guess)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(text: &str) -> Rule {
        Rule::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    /// Offsets as `date -d @… +%z` of a machine with the zone gives them.
    #[test]
    fn summer_begins_and_ends_by_the_rule() {
        let berlin = zone("CET-1CEST,M3.5.0,M10.5.0/3");
        // 2026-03-29 01:00 UTC and 2026-10-25 01:00 UTC.
        for (at, offset) in
            [(1_774_745_999, 3600), (1_774_746_000, 7200), (1_792_889_999, 7200), (1_792_890_000, 3600)]
        {
            assert_eq!(berlin.offset_at(at), offset, "{at}");
        }
        // 2026-03-08 07:00 UTC and 2026-11-01 06:00 UTC.
        let new_york = zone("EST5EDT,M3.2.0,M11.1.0");
        for (at, offset) in [
            (1_772_953_199, -18000),
            (1_772_953_200, -14400),
            (1_793_512_799, -14400),
            (1_793_512_800, -18000),
        ] {
            assert_eq!(new_york.offset_at(at), offset, "{at}");
        }
        // Summer over the turn of the year: until 2026-04-04 16:00 UTC, from 2026-10-03 16:00 UTC on.
        let sydney = zone("AEST-10AEDT,M10.1.0,M4.1.0/3");
        for (at, offset) in [
            (1_767_225_600, 39600),
            (1_775_318_399, 39600),
            (1_775_318_400, 36000),
            (1_791_043_199, 36000),
            (1_791_043_200, 39600),
        ] {
            assert_eq!(sydney.offset_at(at), offset, "{at}");
        }
        assert_eq!(zone("<+0330>-3:30").offset_at(0), 12_600);
        assert_eq!(zone("UTC0").offset_at(1_800_000_000), 0);
        // Day 60 is 1 March in every year, day 59 counted from 0 is it in common years only.
        assert_eq!(zone("AAA0BBB,J60/0,J300/0").standard, 0);
        assert_eq!(
            Turn { day: Day::Julian(60), seconds: 0 }.in_year(2024),
            Turn { day: Day::OfYear(60), seconds: 0 }.in_year(2024)
        );
        assert_eq!(
            Turn { day: Day::Julian(60), seconds: 0 }.in_year(2023),
            Turn { day: Day::OfYear(59), seconds: 0 }.in_year(2023)
        );
    }

    #[test]
    fn what_is_no_rule_is_none() {
        for text in ["", "C", "CET", "CET-1CEST", "CET-1CEST,M3.5.0", "CET-1CEST,M13.5.0,M10.5.0", "CET-999"]
        {
            assert_eq!(Rule::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_days_of_years_and_months() {
        assert_eq!(days_before(1970, 1), 0);
        assert_eq!(days_before(2000, 3), 11_017);
        assert_eq!(days_before(2026, 1), 20_454);
        for year in -400..2600 {
            assert_eq!(year_of(days_before(year, 1)), year);
            assert_eq!(year_of(days_before(year, 1) - 1), year - 1);
        }
    }

    #[test]
    fn behind_the_last_moment_of_the_table_the_rule_counts() {
        // One change in 1980 from one hour to none, then the rule.
        let mut bytes = b"TZif2".to_vec();
        bytes.resize(44, 0);
        bytes.extend(b"TZif2");
        bytes.extend([0; 15]);
        for count in [0u32, 0, 0, 1, 2, 4] {
            bytes.extend(count.to_be_bytes());
        }
        bytes.extend(315_532_800i64.to_be_bytes());
        bytes.push(1);
        for offset in [3600i32, 0] {
            bytes.extend(offset.to_be_bytes());
            bytes.extend([0, 0]);
        }
        bytes.extend(b"ABC\0");
        let without_rule = bytes.len();
        bytes.extend(b"\nCET-1CEST,M3.5.0,M10.5.0/3\n");
        let zone = TimeZone::parse(&bytes).unwrap();
        assert_eq!(zone.offset_at(0), 3600);
        assert_eq!(zone.offset_at(1_782_000_000), 7200);
        assert_eq!(zone.offset_at(1_797_000_000), 3600);
        // Without a rule the table's last offset stays.
        bytes.truncate(without_rule);
        let zone = TimeZone::parse(&bytes).unwrap();
        assert_eq!(zone.offset_at(1_782_000_000), 0);
    }

    #[test]
    fn a_broken_zone_file_is_no_zone() {
        assert_eq!(TimeZone::parse(b""), None);
        assert_eq!(TimeZone::parse(b"TZif2"), None);
        let mut huge = b"TZif2".to_vec();
        huge.resize(44, 0xFF);
        assert_eq!(TimeZone::parse(&huge), None);
    }
}
