//! A broker behind a real socket, in one of two worlds, and peers that speak frames to it.
//!
//! [`World`] is a broker on a temporary directory of the machine's disk; [`Situation`] is a simulated disk that fails,
//! hangs and is killed when told to, on which a [`House`] is a broker. A [`Peer`] is a client with a connection of its
//! own, which can answer what the broker asks it; [`frames::Wire`] is a bare socket, for what no client would send.
#![allow(dead_code, reason = "each test uses a part of this")]

pub mod frames;
pub mod messages;
pub mod peer;
pub mod pops;
pub mod requests;
mod situation;
pub mod slow_disk;
mod world;

use std::time::{Duration, Instant};

use remoting::Answer;
use serde_json::Value;
use wire::code::response;
use wire::loose_json;

pub use messages::{Got, records};
pub use peer::{Ask, Asked, Peer};
pub use situation::{House, Situation};
pub use world::{Pulled, Sent, World};

/// How long anything may take that must come, on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again until the answer is yes.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An answer that says the message is stored.
pub fn stored(answer: Answer) -> Answer {
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
    answer
}

/// A field that must be a number.
pub fn number(answer: &Answer, name: &str) -> i64 {
    let text = answer.field(name).unwrap_or_else(|| panic!("no field {name} in {answer:?}"));
    text.parse().unwrap_or_else(|_| panic!("{name} is {text}"))
}

/// What an answer says to people.
pub fn remark(answer: &Answer) -> &str {
    answer.remark.as_deref().unwrap_or_default()
}

/// The JSON body of an answer that must be SUCCESS. Object keys become strings of their compact text.
pub fn body(answer: &Answer) -> Value {
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    loose_json::read(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", body_text(answer)))
}

/// The body of an answer as text.
pub fn body_text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// A queue as a key in a loose body that [`body`] has read.
pub fn queue_key(topic: &str, queue_id: i32) -> String {
    format!(r#"{{"brokerName":"broker-a","queueId":{queue_id},"topic":"{topic}"}}"#)
}
