//! How Java prints: cut texts, times, versions, JSON over several lines, objects in one line.

use std::fmt::Write;

use serde_json::Value;
use thrustmq_client::{Received, TopicConfig};

use ::store::{Clock, LocalTime, RealClock};

/// The first letters of a text, as columns of fixed width show it.
pub fn front(text: &str, letters: usize) -> &str {
    text.char_indices().nth(letters).map_or(text, |(at, _)| &text[..at])
}

/// The machine's clock and zone.
pub struct Times(RealClock);

impl Times {
    pub fn new() -> Times {
        Times(RealClock::default())
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.0.now_millis()
    }

    fn local(&self, at_ms: i64) -> LocalTime {
        LocalTime::of(at_ms, self.0.utc_offset_seconds(at_ms))
    }

    /// `2026-01-31 12:30:59`.
    pub fn to_second(&self, at_ms: i64) -> String {
        let LocalTime { year, month, day, hour, minute, second, .. } = self.local(at_ms);
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }

    /// `2026-01-31 12:30:59,007`.
    pub fn to_millis(&self, at_ms: i64) -> String {
        format!("{},{:03}", self.to_second(at_ms), self.local(at_ms).millis)
    }

    /// `20260131123059007`.
    pub fn digits(&self, at_ms: i64) -> String {
        self.to_millis(at_ms).chars().filter(char::is_ascii_digit).collect()
    }

    /// Reads Unix milliseconds or `2026-01-31#12:30:59:007`, which is local.
    pub fn parse(&self, text: &str) -> Option<i64> {
        if let Ok(millis) = text.parse() {
            return Some(millis);
        }
        let (date, time) = text.split_once('#')?;
        let [hour, minute, second, millis]: [&str; 4] =
            time.split(':').collect::<Vec<_>>().try_into().ok()?;
        let utc = crate::moment::civil(&format!("{date} {hour}:{minute}:{second}"))?;
        let millis: i64 = millis.parse().ok().filter(|millis| (0..1000).contains(millis))?;
        Some(crate::moment::of_local(utc, |at_ms| self.0.utc_offset_seconds(at_ms)) + millis)
    }
}

/// A client's version as its name: `V5_5_0` for 513.
pub fn version(number: i32) -> String {
    // Ten minor versions of ten patches, each with a snapshot before it, from V4_0_0_SNAPSHOT on.
    const FIRST: i32 = 212;
    match number - FIRST {
        before @ ..0 => format!("V3({})", before + FIRST),
        at => {
            let snapshot = if at % 2 == 0 { "_SNAPSHOT" } else { "" };
            let patch = at / 2;
            format!("V{}_{}_{}{snapshot}", 4 + patch / 100, patch / 10 % 10, patch % 10)
        }
    }
}

/// Permission bits as letters: `RW-`.
pub fn perm(bits: i32) -> String {
    let letter = |bit: i32, letter: char| if bits & bit != 0 { letter } else { '-' };
    [letter(4, 'R'), letter(2, 'W'), letter(1, 'X')].into_iter().collect()
}

/// `{a=1, b=2}`.
pub fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<String> = pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// A topic's settings in one line.
pub fn topic_config(config: &TopicConfig, attributes: &[(String, String)]) -> String {
    format!(
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}, topicFilterType={}, \
         topicSysFlag={}, order={}, attributes={}]",
        config.topic_name,
        config.read_queue_nums,
        config.write_queue_nums,
        perm(config.perm),
        config.topic_filter_type,
        config.topic_sys_flag,
        config.order,
        map(attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()))),
    )
}

/// `MessageQueue [topic=…, brokerName=…, queueId=…]`.
pub fn queue(queue: &thrustmq_client::MessageQueue) -> String {
    let (topic, broker, id) = (&queue.topic, &queue.broker_name, queue.queue_id);
    format!("MessageQueue [topic={topic}, brokerName={broker}, queueId={id}]")
}

/// A message in one line, with its properties in order of their names.
pub fn message(message: &Received) -> String {
    let mut properties: Vec<(&str, &str)> = message.properties().collect();
    properties.sort_unstable();
    let mut body = String::new();
    for (at, byte) in message.body.iter().enumerate() {
        // Java's bytes have a sign. Writing to a text cannot fail.
        let _ = write!(body, "{}{}", if at == 0 { "" } else { ", " }, byte.cast_signed());
    }
    format!(
        "MessageExt [brokerName={}, queueId={}, storeSize={}, queueOffset={}, sysFlag={}, bornTimestamp={}, \
         bornHost=/{}, storeTimestamp={}, storeHost=/{}, msgId={}, commitLogOffset={}, bodyCRC={}, \
         reconsumeTimes={}, preparedTransactionOffset={}, toString()=Message{{topic='{}', flag={}, \
         properties={}, body=[{body}], transactionId='null'}}]",
        if message.queue.broker_name.is_empty() { "null" } else { &message.queue.broker_name },
        message.queue.queue_id,
        message.stored_bytes,
        message.offset,
        message.sys_flag,
        message.born_at_ms,
        message.born_host,
        message.stored_at_ms,
        message.store_host,
        message.offset_id(),
        message.commit_log_offset,
        message.body_crc,
        message.reconsume_times,
        message.prepared_transaction_offset,
        message.topic(),
        message.flag,
        map(properties),
    )
}

/// JSON over several lines, with tabs; keys that are numbers in Java's tables stand without quotes.
pub fn json(value: &Value) -> String {
    let mut text = String::new();
    write_json(&sorted(value), 0, false, &mut text);
    text
}

/// The same in one line.
pub fn json_line(value: &Value) -> String {
    sorted(value).to_string()
}

/// A value with the members of its objects in order of their names, or of their numbers where they are numbers, and
/// without those that are null, as Java writes those of its classes.
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().filter(|(_, member)| !member.is_null()).collect();
            members.sort_by_key(|(name, _)| (name.parse::<i64>().ok(), *name));
            Value::Object(members.into_iter().map(|(name, member)| (name.clone(), sorted(member))).collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn write_json(value: &Value, depth: usize, numbered: bool, text: &mut String) {
    let line = |depth: usize| format!("\n{}", "\t".repeat(depth));
    match value {
        Value::Object(members) if !members.is_empty() => {
            text.push('{');
            for (at, (key, member)) in members.iter().enumerate() {
                *text += if at == 0 { "" } else { "," };
                *text += &line(depth + 1);
                *text +=
                    &if numbered { format!("{key}:") } else { format!("{}:", Value::from(key.as_str())) };
                write_json(member, depth + 1, ["brokerAddrs", "currIdMap"].contains(&key.as_str()), text);
            }
            *text += &line(depth);
            text.push('}');
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                *text += if at == 0 { "" } else { "," };
                *text += &line(depth + 1);
                write_json(item, depth + 1, false, text);
            }
            *text += &line(depth);
            text.push(']');
        }
        // fastjson leaves the line of the first item even where there is none.
        Value::Array(_) => *text += &format!("[{}{}]", line(depth + 1), line(depth)),
        other => *text += &other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn versions_have_the_names_of_releases() {
        let names = [513, 433, 401, 412, 212, 3].map(version);
        assert_eq!(names, ["V5_5_0", "V5_1_0", "V4_9_4", "V5_0_0_SNAPSHOT", "V4_0_0_SNAPSHOT", "V3(3)"]);
    }

    #[test]
    fn json_is_laid_out_with_tabs_and_numbered_tables_have_no_quotes() {
        let value = json!({"b": [1, {"brokerAddrs": {"0": "a:1"}}], "a": {}, "c": []});
        let expected = "{\n\t\"a\":{},\n\t\"b\":[\n\t\t1,\n\t\t{\n\t\t\t\"brokerAddrs\":{\n\t\t\t\t0:\"a:1\"\n\t\t\t}\n\
            \t\t}\n\t],\n\t\"c\":[\n\t\t\n\t]\n}";
        assert_eq!(super::json(&value), expected);
    }

    #[test]
    fn numbers_that_are_names_stand_in_their_order() {
        let text = super::json(&json!({"currIdMap": {"10": 1, "9": 2}}));
        assert_eq!(text, "{\n\t\"currIdMap\":{\n\t\t9:2,\n\t\t10:1\n\t}\n}");
    }

    #[test]
    fn times_are_read_as_the_tool_writes_them_down() {
        let times = Times::new();
        let at = 1_769_862_659_007;
        let text = times.to_millis(at).replacen(' ', "#", 1).replace(',', ":");
        assert_eq!(times.parse(&text), Some(at), "{text}");
        assert_eq!(times.parse("-1"), Some(-1));
        assert_eq!(times.digits(at).len(), 17);
        for wrong in ["yesterday", "2026-01-31", "2026-01-31#12:30", "2026-01-31#12:30:59:1000"] {
            assert_eq!(times.parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn long_texts_lose_their_end() {
        assert_eq!((front("abcdef", 3), front("äöü", 2), front("ab", 3)), ("abc", "äö", "ab"));
        assert_eq!((perm(6), perm(4), perm(3)), ("RW-".into(), "R--".into(), "-WX".into()));
    }
}
