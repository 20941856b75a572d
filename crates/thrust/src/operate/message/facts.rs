//! A message as people read it.

use thrustmq_client::Received;

use crate::failure::Failure;
use crate::moment::Times;
use crate::output::screen::{print, print_facts};
use crate::output::terminal::harmless;
use crate::output::words::count;

/// Both ids, and where the message stands.
pub fn print_ids(message: &Received) -> Result<(), Failure> {
    let queue = &message.queue;
    print_facts(&[
        ("message id", message.message_id().into_owned()),
        ("offset id", message.offset_id()),
        ("topic", message.topic().to_owned()),
        ("queue", format!("{} of {}, at {}", queue.queue_id, queue.broker_name, message.offset)),
    ])
}

/// All that is known of it, and its text.
pub fn print_message(message: &Received) -> Result<(), Failure> {
    let times = Times::new();
    let keys: Vec<&str> = message.keys().collect();
    let properties: Vec<String> =
        message.properties().map(|(name, value)| format!("{name}={value}")).collect();
    print_ids(message)?;
    print_facts(&[
        ("stored", times.told(message.stored_at_ms)),
        ("born", format!("{} at {}", times.told(message.born_at_ms), message.born_host)),
        ("tag", message.tag().unwrap_or("-").to_owned()),
        ("keys", keys.join(" ")),
        ("retries", message.reconsume_times.to_string()),
        ("properties", properties.join(" ")),
        ("body", count(message.body.len(), "byte")),
    ])?;
    print(&format!("\n{}\n", harmless(&message.text())))
}
