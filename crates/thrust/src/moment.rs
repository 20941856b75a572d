//! Times: as people write them, and as they read them.

use std::time::Duration;

use ::store::{Clock, LocalTime, RealClock};

/// The machine's clock, with the names that people give to moments.
pub struct Times {
    clock: RealClock,
}

impl Times {
    pub fn new() -> Times {
        Times { clock: RealClock::default() }
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_millis()
    }

    /// A moment in local time with its zone, and how long ago it was; `-` for none.
    pub fn told(&self, at_ms: i64) -> String {
        match at_ms {
            ..=0 => "-".to_owned(),
            _ => format!("{} ({})", stamp(at_ms, self.clock.utc_offset_seconds(at_ms)), self.age(at_ms)),
        }
    }

    /// How long ago a moment was; `-` for none.
    pub fn age_told(&self, at_ms: i64) -> String {
        if at_ms <= 0 { "-".to_owned() } else { self.age(at_ms) }
    }

    fn age(&self, at_ms: i64) -> String {
        match self.now_ms() - at_ms {
            past @ 0.. => format!("{} ago", span(past)),
            future => format!("in {}", span(-future)),
        }
    }

    /// Reads `@1700000000000` (Unix milliseconds), `10m` (ago), or `2026-01-31T12:30[:59][Z]`, local without `Z`.
    pub fn parse(&self, text: &str) -> Option<i64> {
        if let Some(millis) = text.strip_prefix('@') {
            return millis.parse().ok();
        }
        if let Ok(ago) = duration(text) {
            return self.now_ms().checked_sub(i64::try_from(ago.as_millis()).ok()?);
        }
        let (text, is_utc) = text.strip_suffix('Z').map_or((text, false), |text| (text, true));
        let utc = civil(text)?;
        Some(if is_utc { utc } else { of_local(utc, |at_ms| self.clock.utc_offset_seconds(at_ms)) })
    }
}

/// The moment of a local clock time, which is given as if it were UTC. The offset of the zone at the moment is not
/// known before the moment is: that of the same clock time in UTC may be the one from before or after a change that is
/// hours away, and leads near enough to the moment to find the right one.
pub fn of_local(utc: i64, offset_seconds: impl Fn(i64) -> i32) -> i64 {
    let near = utc - i64::from(offset_seconds(utc)) * 1000;
    utc - i64::from(offset_seconds(near)) * 1000
}

/// Reads `250ms`, `5s`, `10m`, `2h` or `3d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("\"{text}\" is no time; write it as 250ms, 5s, 10m, 2h or 3d")),
    };
    let number: u64 = number.parse().map_err(|_| format!("\"{text}\" does not begin with a number"))?;
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("\"{text}\" is too long a time"))
}

/// Unix milliseconds of a date and a time of day, taken as UTC.
pub fn civil(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let [year, month, day]: [i64; 3] = numbers(date, '-')?.try_into().ok()?;
    let time = numbers(time, ':')?;
    let (hour, minute, second) = match time[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    let is_right = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second);
    if !is_right {
        return None;
    }
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

fn numbers(text: &str, between: char) -> Option<Vec<i64>> {
    text.split(between).map(|part| part.parse().ok()).collect()
}

/// A moment in UTC.
pub fn utc(at_ms: i64) -> String {
    stamp(at_ms, 0)
}

fn stamp(at_ms: i64, offset_seconds: i32) -> String {
    let LocalTime { year, month, day, hour, minute, second, millis } = LocalTime::of(at_ms, offset_seconds);
    let zone = match offset_seconds {
        0 => "Z".to_owned(),
        _ => {
            let (sign, minutes) = (if offset_seconds < 0 { '-' } else { '+' }, offset_seconds.abs() / 60);
            format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
    };
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}{zone}")
}

/// A length of time in its handiest unit.
pub fn span(millis: i64) -> String {
    // From the smallest unit up, each until there are two or more of the next.
    const UNITS: [(i64, i64, &str); 4] =
        [(1_000, 1, "ms"), (120_000, 1_000, "s"), (7_200_000, 60_000, "min"), (172_800_000, 3_600_000, "h")];
    let (unit_ms, name) = UNITS
        .iter()
        .find(|(below, ..)| millis < *below)
        .map_or((86_400_000, "d"), |(_, unit_ms, name)| (*unit_ms, *name));
    format!("{} {name}", millis / unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_they_are_written() {
        let times = Times::new();
        assert_eq!(times.parse("1970-01-01T00:00Z"), Some(0));
        assert_eq!(times.parse("2024-02-29T12:30:59Z"), Some(1_709_209_859_000));
        assert_eq!(times.parse("2026-01-31Z"), Some(1_769_817_600_000));
        assert_eq!(times.parse("@17"), Some(17));
        for wrong in ["yesterday", "2026-13-01T00:00", "2026-01-01T25:00", "2026-01", "@x", "5"] {
            assert_eq!(times.parse(wrong), None, "{wrong}");
        }
        for at in [0, 951_782_400_000, 1_709_209_859_000, 4_102_444_800_000] {
            let written = stamp(at, 0);
            assert_eq!(civil(&written[..19]), Some(at), "{written}");
        }
    }

    #[test]
    fn local_times_are_right_on_the_day_of_a_clock_change() {
        // New York: five hours behind UTC, from 7:00 UTC of 10 March 2024 on four, from 6:00 UTC of 3 November five.
        let (spring, autumn) = (civil("2024-03-10T07:00").unwrap(), civil("2024-11-03T06:00").unwrap());
        let new_york = |at_ms: i64| if (spring..autumn).contains(&at_ms) { -4 * 3_600 } else { -5 * 3_600 };
        // Sydney: eleven hours ahead, from 16:00 UTC of 6 April on ten.
        let april = civil("2024-04-06T16:00").unwrap();
        let sydney = |at_ms: i64| if at_ms < april { 11 * 3_600 } else { 10 * 3_600 };
        for (zone, local, in_utc) in [
            (&new_york as &dyn Fn(i64) -> i32, "2024-03-10T01:30", "2024-03-10T06:30"),
            (&new_york, "2024-03-10T03:30", "2024-03-10T07:30"),
            (&new_york, "2024-03-10T05:00", "2024-03-10T09:00"),
            (&new_york, "2024-11-03T00:30", "2024-11-03T04:30"),
            (&new_york, "2024-11-03T04:30", "2024-11-03T09:30"),
            (&sydney, "2024-04-07T01:30", "2024-04-06T14:30"),
            (&sydney, "2024-04-07T04:30", "2024-04-06T18:30"),
            (&sydney, "2024-04-07T12:30", "2024-04-07T02:30"),
        ] {
            let found = of_local(civil(local).unwrap(), zone);
            assert_eq!(utc(found), utc(civil(in_utc).unwrap()), "{local}");
        }
    }

    #[test]
    fn times_have_their_zone_and_spans_their_unit() {
        assert_eq!(stamp(1_709_209_859_007, 3_600), "2024-02-29 13:30:59.007+01:00");
        assert_eq!(stamp(1_709_209_859_007, -19_800), "2024-02-29 07:00:59.007-05:30");
        assert_eq!([span(999), span(119_000), span(7_199_000)], ["999 ms", "119 s", "119 min"]);
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("5").is_err() && duration("m").is_err() && duration("99999999999999999d").is_err());
    }
}
