//! How one value is written in a file: what is accepted, and the text it is shown as.
//!
//! Every form trims blanks. Java trims texts but not numbers, so `fileReservedTime = 168 ` silently keeps the
//! default there (operations.md §2); here it is 168.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The way a value of a setting is written. A form may be the type itself (`bool`) or only name the notation
/// (`Millis` for a [`Duration`]).
pub trait Form {
    /// What the setting's field holds.
    type Value;
    /// Short name for tables, such as `boolean` or `milliseconds`.
    const NAME: &'static str;
    /// Completes "accepted: …" in an error.
    const ACCEPTS: &'static str;
    /// Whether variables such as `${user.home}` are expanded before the value is read.
    const IS_PATH: bool = false;
    /// The value, or `None` when the text has not this form.
    fn read(text: &str) -> Option<Self::Value>;
    /// The text that [`Form::read`] takes back.
    fn write(value: &Self::Value) -> String;
}

/// A form whose values are written the way Rust parses and prints them.
macro_rules! plain_form {
    ($($type:ty, $name:literal, $accepts:literal;)+) => {$(
        impl Form for $type {
            type Value = $type;
            const NAME: &'static str = $name;
            const ACCEPTS: &'static str = $accepts;
            fn read(text: &str) -> Option<$type> {
                text.trim().parse().ok()
            }
            fn write(value: &$type) -> String {
                value.to_string()
            }
        }
    )+};
}

plain_form! {
    i32, "number", "a whole number";
    i64, "number", "a whole number";
    u32, "number", "a whole number, not negative";
    u64, "number", "a whole number, not negative";
    usize, "number", "a whole number, not negative";
    u16, "port", "a port from 0 to 65535";
}

impl Form for bool {
    type Value = bool;
    const NAME: &'static str = "boolean";
    const ACCEPTS: &'static str = "true or false (the Java broker takes every other word for false)";
    fn read(text: &str) -> Option<bool> {
        let text = text.trim();
        let is = |word: &str| text.eq_ignore_ascii_case(word);
        if is("true") { Some(true) } else { is("false").then_some(false) }
    }
    fn write(value: &bool) -> String {
        value.to_string()
    }
}

impl Form for String {
    type Value = String;
    const NAME: &'static str = "text";
    const ACCEPTS: &'static str = "a text that is not empty";
    fn read(text: &str) -> Option<String> {
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
    fn write(value: &String) -> String {
        value.clone()
    }
}

impl Form for PathBuf {
    type Value = PathBuf;
    const NAME: &'static str = "path";
    const ACCEPTS: &'static str = "one path";
    const IS_PATH: bool = true;
    fn read(text: &str) -> Option<PathBuf> {
        let text = text.trim();
        (!text.is_empty()).then(|| Path::new(text).to_owned())
    }
    fn write(value: &PathBuf) -> String {
        value.display().to_string()
    }
}

/// A value that may be absent: an empty text says so.
impl<F: Form> Form for Option<F> {
    type Value = Option<F::Value>;
    const NAME: &'static str = F::NAME;
    const ACCEPTS: &'static str = F::ACCEPTS;
    const IS_PATH: bool = F::IS_PATH;
    fn read(text: &str) -> Option<Option<F::Value>> {
        if text.trim().is_empty() { Some(None) } else { F::read(text).map(Some) }
    }
    fn write(value: &Option<F::Value>) -> String {
        value.as_ref().map(F::write).unwrap_or_default()
    }
}

/// A time span as a plain number of one unit.
macro_rules! span_form {
    ($($(#[$doc:meta])* $form:ident, $name:literal, $accepts:literal, $millis:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $form;

        impl Form for $form {
            type Value = Duration;
            const NAME: &'static str = $name;
            const ACCEPTS: &'static str = $accepts;
            fn read(text: &str) -> Option<Duration> {
                let number: u64 = text.trim().parse().ok()?;
                number.checked_mul($millis).map(Duration::from_millis)
            }
            fn write(value: &Duration) -> String {
                (value.as_millis() / $millis).to_string()
            }
        }
    )+};
}

span_form! {
    /// Milliseconds, as most keys count.
    Millis, "milliseconds", "a whole number of milliseconds", 1;
    /// Seconds, as keys say that end in `Seconds`.
    Seconds, "seconds", "a whole number of seconds", 1000;
    /// Hours, as `fileReservedTime` counts.
    Hours, "hours", "a whole number of hours", 3_600_000;
}

/// A number of bytes; for the keys that the Java broker does not know a unit may follow.
#[derive(Debug, Clone, Copy)]
pub struct Bytes;

impl Form for Bytes {
    type Value = u64;
    const NAME: &'static str = "bytes";
    const ACCEPTS: &'static str = "a number of bytes, or one with a unit: 512KiB, 64MiB, 2GiB";
    fn read(text: &str) -> Option<u64> {
        let text = text.trim();
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
        for (unit, shift) in units {
            if let Some(number) = text.strip_suffix(unit) {
                return number.trim().parse::<u64>().ok()?.checked_mul(1 << shift);
            }
        }
        text.parse().ok()
    }
    fn write(value: &u64) -> String {
        value.to_string()
    }
}

/// Texts separated by `;`. Blanks and a `;` at the end do not count.
#[derive(Debug, Clone, Copy)]
pub struct List;

impl Form for List {
    type Value = Vec<String>;
    const NAME: &'static str = "list";
    const ACCEPTS: &'static str = "texts separated by ;";
    fn read(text: &str) -> Option<Vec<String>> {
        Some(items(text).map(str::to_owned).collect())
    }
    fn write(value: &Vec<String>) -> String {
        value.join(";")
    }
}

/// `host:port` items separated by `;`.
#[derive(Debug, Clone, Copy)]
pub struct Addresses;

impl Form for Addresses {
    type Value = Vec<String>;
    const NAME: &'static str = "addresses";
    const ACCEPTS: &'static str = "host:port, several separated by ;";
    fn read(text: &str) -> Option<Vec<String>> {
        items(text).map(|item| is_address(item).then(|| item.to_owned())).collect()
    }
    fn write(value: &Vec<String>) -> String {
        value.join(";")
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').map(str::trim).filter(|item| !item.is_empty())
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host_is_plain =
        !host.is_empty() && !host.contains(char::is_whitespace) && (bracketed || !host.contains(':'));
    host_is_plain && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// Hours of the day separated by `;`, each from 0 to 23.
#[derive(Debug, Clone, Copy)]
pub struct HoursOfDay;

impl Form for HoursOfDay {
    type Value = Vec<u8>;
    const NAME: &'static str = "hours of the day";
    const ACCEPTS: &'static str = "hours from 00 to 23, several separated by ;";
    fn read(text: &str) -> Option<Vec<u8>> {
        let hours: Option<Vec<u8>> = items(text).map(|hour| hour.parse().ok().filter(|h| *h < 24)).collect();
        hours.filter(|hours| !hours.is_empty())
    }
    fn write(value: &Vec<u8>) -> String {
        let hours: Vec<String> = value.iter().map(|hour| format!("{hour:02}")).collect();
        hours.join(";")
    }
}

/// The delays that the levels 1, 2, 3 … of a message stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayLevels {
    text: String,
    delays: Vec<Duration>,
}

impl DelayLevels {
    /// The delay of a level, counted from 1. Level 0 means no delay and is not in the table.
    pub fn delay(&self, level: usize) -> Option<Duration> {
        self.delays.get(level.checked_sub(1)?).copied()
    }

    /// The delays of levels 1, 2, 3 …
    pub fn delays(&self) -> &[Duration] {
        &self.delays
    }

    /// The highest level; higher ones are taken for this one.
    pub fn max_level(&self) -> usize {
        self.delays.len()
    }

    /// The table as it was written, such as `1s 5s 10s`.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Default for DelayLevels {
    fn default() -> DelayLevels {
        const SECONDS: [u64; 18] =
            [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
        DelayLevels {
            text: "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h".to_owned(),
            delays: SECONDS.map(Duration::from_secs).to_vec(),
        }
    }
}

impl Form for DelayLevels {
    type Value = DelayLevels;
    const NAME: &'static str = "delays";
    const ACCEPTS: &'static str = "delays such as 1s 5s 10m 2h 1d, separated by blanks";
    fn read(text: &str) -> Option<DelayLevels> {
        let text = text.trim();
        let delays: Option<Vec<Duration>> = text.split_whitespace().map(delay).collect();
        let delays = delays.filter(|delays| !delays.is_empty())?;
        Some(DelayLevels { text: text.to_owned(), delays })
    }
    fn write(value: &DelayLevels) -> String {
        value.text.clone()
    }
}

fn delay(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    // Java counts delays in milliseconds of an i64; more than that is no delay anybody waits for.
    let whole = number.checked_mul(seconds).filter(|whole| *whole <= i64::MAX as u64 / 1000)?;
    Some(Duration::from_secs(whole))
}

/// An enum that is written as one of Java's constant names.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $accepts:literal, $($(#[$case_doc:meta])* $case:ident = $word:literal,)+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$case_doc])* $case,)+
        }

        impl Form for $name {
            type Value = $name;
            const NAME: &'static str = "word";
            const ACCEPTS: &'static str = $accepts;
            fn read(text: &str) -> Option<$name> {
                match text.trim() {
                    $($word => Some($name::$case),)+
                    _ => None,
                }
            }
            fn write(value: &$name) -> String {
                match value { $($name::$case => $word.to_owned(),)+ }
            }
        }
    };
}

words! {
    /// When a send is answered relative to the disk.
    FlushDiskType, "ASYNC_FLUSH or SYNC_FLUSH",
    /// Once the message is in the operating system's memory.
    Async = "ASYNC_FLUSH",
    /// Once the message is on the disk.
    Sync = "SYNC_FLUSH",
}

words! {
    /// How a group gets its messages.
    MessageRequestMode, "PULL or POP",
    /// Clients choose the messages by offset.
    Pull = "PULL",
    /// The broker chooses them.
    Pop = "POP",
}

words! {
    /// The part this broker plays among the brokers of its name.
    BrokerRole, "ASYNC_MASTER, SYNC_MASTER or SLAVE",
    /// Takes messages, does not wait for slaves.
    AsyncMaster = "ASYNC_MASTER",
    /// Takes messages, answers when a slave has them too.
    SyncMaster = "SYNC_MASTER",
    /// Copies a master.
    Slave = "SLAVE",
}
