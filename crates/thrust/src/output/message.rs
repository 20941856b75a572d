//! A message as `--json` shows it.

use serde_json::{Value, json};
use thrustmq_client::Received;

/// A message for machines.
pub fn message_json(message: &Received) -> Value {
    let (body, encoding) = body_text(&message.body);
    let properties = message.properties().map(|(name, value)| (name.to_owned(), Value::from(value)));
    json!({
        "topic": message.topic(),
        "broker": message.queue.broker_name,
        "queueId": message.queue.queue_id,
        "offset": message.offset,
        "messageId": message.message_id(),
        "offsetId": message.offset_id(),
        "tag": message.tag(),
        "keys": message.keys().collect::<Vec<_>>(),
        "bornMs": message.born_at_ms,
        "storedMs": message.stored_at_ms,
        "bornHost": message.born_host.to_string(),
        "storeHost": message.store_host.to_string(),
        "reconsumeTimes": message.reconsume_times,
        "properties": Value::Object(properties.collect()),
        "body": body,
        "bodyEncoding": encoding,
        "flag": message.flag,
    })
}

/// A body for machines, and how it is written: text, or hexadecimal digits where it is none.
pub fn body_text(body: &[u8]) -> (String, &'static str) {
    match std::str::from_utf8(body) {
        Ok(text) => (text.to_owned(), "utf-8"),
        Err(_) => (body.iter().map(|byte| format!("{byte:02x}")).collect(), "hex"),
    }
}
