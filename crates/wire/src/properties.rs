//! Message properties as text: `name\u0001value\u0002` repeated (wire.md §13.4).
//!
//! Readers accept a missing final separator and skip malformed entries, as every official reader does; the
//! last of equal names wins. Names are case-sensitive.

use crate::scan;

/// Between a name and its value.
pub const NAME_VALUE: u8 = 1;
/// Behind every value.
pub const END: u8 = 2;

/// Space-separated keys of the message.
pub const KEYS: &str = "KEYS";
/// Tags of the message.
pub const TAGS: &str = "TAGS";
/// Whether the producer waits for flush and replicas; anything but `false` means yes.
pub const WAIT: &str = "WAIT";
/// Delay level, 1-based.
pub const DELAY: &str = "DELAY";
/// Topic a message is really for while it is parked elsewhere.
pub const REAL_TOPIC: &str = "REAL_TOPIC";
/// Queue a message is really for while it is parked elsewhere.
pub const REAL_QID: &str = "REAL_QID";
/// `true` on half messages.
pub const TRAN_MSG: &str = "TRAN_MSG";
/// Producer group of a half message.
pub const PGROUP: &str = "PGROUP";
/// Topic of the first failed consumption.
pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
/// Reconsume count that a client puts on a message it sends back itself.
pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
/// Maximum that goes with [`RECONSUME_TIME`].
pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
/// Client-made unique id.
pub const UNIQ_KEY: &str = "UNIQ_KEY";
/// Offset id of the message that a retry or dead letter came from.
pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
/// Region of the broker.
pub const MSG_REGION: &str = "MSG_REGION";
/// Whether the broker wants clients to trace.
pub const TRACE_ON: &str = "TRACE_ON";
/// Cluster that stored the message.
pub const CLUSTER: &str = "CLUSTER";
/// Receipt handle of a popped message; stripped from sends.
pub const POP_CK: &str = "POP_CK";
/// When a popped message that comes back was delivered for the first time, Unix milliseconds.
pub const FIRST_POP_TIME: &str = "1ST_POP_TIME";
/// Group that a message was popped by and failed in, on the copy that comes back: who is woken for it.
pub const ORIGIN_GROUP: &str = "ORIGIN_GROUP";
/// Messages inside an inner batch.
pub const INNER_NUM: &str = "INNER_NUM";
/// First queue offset of an inner batch.
pub const INNER_BASE: &str = "INNER_BASE";
/// Light queues that a message is put into besides its own, comma-separated.
pub const INNER_MULTI_DISPATCH: &str = "INNER_MULTI_DISPATCH";
/// Its offsets in those, in the same order.
pub const INNER_MULTI_QUEUE_OFFSET: &str = "INNER_MULTI_QUEUE_OFFSET";
/// CRC property (wire.md §13.2).
pub const CRC32: &str = "__CRC32#";
/// Client to push a reply to.
pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
/// Correlates a reply with its request.
pub const CORRELATION_ID: &str = "CORRELATION_ID";
/// Kind of message, `reply` on replies.
pub const MSG_TYPE: &str = "MSG_TYPE";
/// Id of a transaction.
pub const TRANSACTION_ID: &str = "__transactionId__";
/// Seconds after which a message is due.
pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
/// Milliseconds after which a message is due.
pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
/// Unix milliseconds at which a message is due.
pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
/// Timer properties: a message carrying any of them is due later. The first of them that is there counts.
pub const TIMER: [&str; 3] = [TIMER_DELAY_SEC, TIMER_DELAY_MS, TIMER_DELIVER_MS];
/// Beginning of the slot of the timer wheel that a message waits in, Unix milliseconds.
pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
/// When a message was put into the timer wheel.
pub const TIMER_ENQUEUE_MS: &str = "TIMER_ENQUEUE_MS";
/// When a message was taken out of the timer wheel.
pub const TIMER_DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
/// How often a message was put into the timer topic again, being due beyond the wheel.
pub const TIMER_ROLL_TIMES: &str = "TIMER_ROLL_TIMES";
/// Unique key of a timer message that this one takes back.
pub const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";
/// How urgent a message is: a decimal number, 0 or more.
pub const PRIORITY: &str = "_SYS_MSG_PRIORITY_";
/// What keeps messages of one kind in order.
pub const SHARDING_KEY: &str = "__SHARDINGKEY";
/// When the client that recalls a message did so.
pub const BORN_TIMESTAMP: &str = "BORN_TIMESTAMP";

/// Walks over `(name, value)` pairs in order.
pub fn iter(text: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let pair = take_entry(&mut rest);
            if pair.is_some() {
                return pair;
            }
        }
        None
    })
}

/// Takes the first entry, up to its end or that of the text; `None` if it is no property.
fn take_entry<'a>(text: &mut &'a [u8]) -> Option<(&'a str, &'a str)> {
    let whole = *text;
    let split = scan::either(whole, NAME_VALUE, END).filter(|&at| whole[at] == NAME_VALUE);
    let from = split.map_or(0, |at| at + 1);
    let end = from + scan::byte(&whole[from..], END).unwrap_or(whole.len() - from);
    *text = whole.get(end + 1..).unwrap_or_default();
    let (name, value) = (&whole[..split?], &whole[from..end]);
    if name.is_empty() || value.is_empty() {
        return None;
    }
    Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
}

/// Value of `name`; the last of equal names wins.
///
/// Looked for from the end, and without a look at the texts of other properties: filters ask this of every message.
pub fn find<'a>(text: &'a [u8], name: &str) -> Option<&'a str> {
    if name.is_empty() {
        return None;
    }
    text.rsplit(|&byte| byte == END).find_map(|entry| {
        let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(&[NAME_VALUE])?;
        if value.is_empty() { None } else { std::str::from_utf8(value).ok() }
    })
}

/// Appends one property. Empty values are left out, since no reader would see them.
pub fn push(text: &mut Vec<u8>, name: &str, value: &str) {
    if name.is_empty() || value.is_empty() {
        return;
    }
    text.extend_from_slice(name.as_bytes());
    text.push(NAME_VALUE);
    text.extend_from_slice(value.as_bytes());
    text.push(END);
}

/// Copies `text` into `out` without the properties named in `removed`, each entry properly ended.
pub fn copy_without(text: &[u8], removed: &[&str], out: &mut Vec<u8>) {
    for (name, value) in iter(text) {
        if !removed.contains(&name) {
            push(out, name, value);
        }
    }
}

/// Replaces or adds one property.
pub fn set(text: &mut Vec<u8>, name: &str, value: &str) {
    if find(text, name) == Some(value) {
        return;
    }
    let mut kept = Vec::with_capacity(text.len() + name.len() + value.len() + 2);
    copy_without(text, &[name], &mut kept);
    push(&mut kept, name, value);
    *text = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_final_separator_and_malformed_entries_are_accepted() {
        let text = b"A\x011\x02\x02x\x02=\x01\x02\x01v\x02LONG\x01a\x01b\x02A\x012";
        let pairs: Vec<_> = iter(text).collect();
        assert_eq!(pairs, [("A", "1"), ("LONG", "a\u{1}b"), ("A", "2")]);
        assert_eq!(find(text, "A"), Some("2"));
        assert_eq!(find(text, "B"), None);
    }

    #[test]
    fn setting_replaces_every_earlier_value() {
        let mut text = b"A\x011\x02B\x012\x02A\x013".to_vec();
        set(&mut text, "A", "9");
        assert_eq!(text, b"B\x012\x02A\x019\x02");
    }
}
