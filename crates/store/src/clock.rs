//! Time as a parameter: the wall clock in Unix milliseconds, a monotonic clock, and the local hour.
#![allow(clippy::disallowed_methods, reason = "this is the one door to the clock")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time_zone::TimeZone;

/// Where the store gets the time from.
pub trait Clock: Send + Sync {
    /// Unix milliseconds. May step back; the commit log does not follow it then.
    fn now_millis(&self) -> i64;
    /// Time since some fixed moment, never going back: deadlines are counted in it.
    fn monotonic(&self) -> Duration;
    /// What to add to UTC to get local time, in seconds, at a moment.
    fn utc_offset_seconds(&self, at_millis: i64) -> i32;
}

/// The machine's clock.
#[derive(Debug, Clone)]
pub struct RealClock {
    start: Instant,
    zone: TimeZone,
}

impl Default for RealClock {
    /// With the machine's time zone from `/etc/localtime`; UTC if it cannot be read.
    fn default() -> Self {
        let zone = std::fs::read("/etc/localtime").ok().and_then(|bytes| TimeZone::parse(&bytes));
        let zone = zone.unwrap_or_default();
        RealClock { start: Instant::now(), zone }
    }
}

impl Clock for RealClock {
    fn now_millis(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn utc_offset_seconds(&self, at_millis: i64) -> i32 {
        self.zone.offset_at(at_millis.div_euclid(1000))
    }
}

/// A moment in local time, field by field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// Gregorian year.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
    /// 0 to 999.
    pub millis: u32,
}

impl LocalTime {
    /// Splits a moment, given the offset of its zone.
    pub fn of(unix_millis: i64, utc_offset_seconds: i32) -> LocalTime {
        let local = unix_millis + i64::from(utc_offset_seconds) * 1000;
        let (days, rest) = (local.div_euclid(86_400_000), local.rem_euclid(86_400_000));
        // Howard Hinnant's civil_from_days: eras of 400 years, years that begin in March.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        LocalTime {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u32,
            day: (day_of_year - (153 * march_month + 2) / 5 + 1) as u32,
            hour: (rest / 3_600_000) as u32,
            minute: (rest / 60_000 % 60) as u32,
            second: (rest / 1000 % 60) as u32,
            millis: (rest % 1000) as u32,
        }
    }

    /// Seventeen digits, year to millisecond: how index files are named.
    pub fn digits(&self) -> String {
        format!(
            "{:04}{:02}{:02}{:02}{:02}{:02}{:03}",
            self.year, self.month, self.day, self.hour, self.minute, self.second, self.millis
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_split_into_local_fields() {
        let time = LocalTime::of(1_700_000_000_123, 0);
        assert_eq!(time.digits(), "20231114221320123");
        assert_eq!(LocalTime::of(1_700_000_000_123, 8 * 3600).digits(), "20231115061320123");
        assert_eq!(LocalTime::of(-1, 0).digits(), "19691231235959999");
        assert_eq!(LocalTime::of(951_782_400_000, 0).digits(), "20000229000000000");
    }
}
