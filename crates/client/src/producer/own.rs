//! Messages that this crate sends by itself: records of traces, and what a consumer could not give back to its broker.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use wire::code::request;
use wire::names::retry_topic;
use wire::properties as props;

use super::send::{Outgoing, Target};
use super::{Inner, Options};
use crate::body::{Compression, pack};
use crate::error::Error;
use crate::identity::now_ms;
use crate::received::Received;
use crate::shared::Shared;

/// Group of messages about others.
const TRACE_GROUP: &str = "_INNER_TRACE_PRODUCER";
/// Group of messages that consumers send.
const CONSUMER_GROUP: &str = "CLIENT_INNER_PRODUCER";
/// Delay level after the first failure; it rises with each further one.
const FIRST_RETRY_LEVEL: i32 = 3;

/// Properties that tell of a delivery, or of how the message came to be delivered, and not of the message.
const OF_DELIVERY: [&str; 18] = [
    props::DELAY,
    props::TIMER_DELAY_SEC,
    props::TIMER_DELAY_MS,
    props::TIMER_DELIVER_MS,
    props::TIMER_OUT_MS,
    props::TRAN_MSG,
    props::REAL_TOPIC,
    props::REAL_QID,
    props::RETRY_TOPIC,
    props::ORIGIN_MESSAGE_ID,
    props::RECONSUME_TIME,
    props::MAX_RECONSUME_TIMES,
    props::POP_CK,
    props::INNER_NUM,
    props::INNER_BASE,
    props::CRC32,
    "MIN_OFFSET",
    "MAX_OFFSET",
];

/// Sends records of a trace, for no producer that anybody knows of, and past the hooks.
pub(crate) async fn send_trace(
    shared: &Arc<Shared>,
    topic: &str,
    keys: String,
    body: String,
) -> Result<(), Error> {
    let options = Options { timeout: Duration::from_secs(5), ..Options::usual() };
    let inner = Inner::new(Arc::clone(shared), TRACE_GROUP.to_owned(), options);
    let key = shared.keys.next(now_ms());
    let mut properties = Vec::new();
    for (name, value) in [(props::KEYS, keys.as_str()), (props::UNIQ_KEY, &key), (props::WAIT, "true")] {
        props::push(&mut properties, name, value);
    }
    let (body, sys_flag) = pack(&body.into(), inner.options.compress_from, Compression::Zlib);
    let outgoing = Outgoing {
        topic: Cow::Borrowed(topic),
        body,
        flag: 0,
        sys_flag,
        properties: String::from_utf8(properties).unwrap_or_default(),
        code: request::SEND_MESSAGE_V2,
        unique_key: &key,
        failures: None,
    };
    inner.attempts(&outgoing, Target::Any, None).await.map(drop).map_err(|failure| failure.error)
}

/// A message that failed and whose broker would not take it back.
pub(crate) struct SentBack<'a> {
    pub message: &'a Received,
    /// Complete names of the group, and of the topic that the message was sent to first.
    pub group: &'a str,
    pub topic: &'a str,
    /// As the request to take it back has it: 0 lets the number of failures decide, less than that is death.
    pub level: i32,
    pub retries_max: i32,
}

impl SentBack<'_> {
    /// How often it failed by now and how often it may. Brokers make a dead letter of what failed more often.
    fn failures(&self) -> (i32, i32) {
        let failures = self.message.reconsume_times.saturating_add(1);
        (failures, if self.level < 0 { 0 } else { self.retries_max })
    }

    fn delay_level(&self) -> i32 {
        if self.level > 0 {
            return self.level;
        }
        FIRST_RETRY_LEVEL.saturating_add(self.message.reconsume_times)
    }

    fn properties(&self) -> Vec<u8> {
        let message = self.message;
        let origin = match message.property(props::ORIGIN_MESSAGE_ID) {
            Some(origin) => Cow::Borrowed(origin),
            None => message.message_id(),
        };
        let (failures, most) = self.failures();
        let told = [
            (props::RETRY_TOPIC, self.topic),
            (props::ORIGIN_MESSAGE_ID, &*origin),
            (props::RECONSUME_TIME, &failures.to_string()),
            (props::MAX_RECONSUME_TIMES, &most.to_string()),
            (props::DELAY, &self.delay_level().to_string()),
        ];
        let mut text = Vec::with_capacity(256);
        let kept = message.properties().filter(|(name, _)| !OF_DELIVERY.contains(name));
        for (name, value) in kept.chain(told) {
            props::push(&mut text, name, value);
        }
        text
    }
}

/// Sends a message that failed to the retry topic of its group, at whichever broker takes it (client.md §3.6).
pub(crate) async fn send_back(shared: &Arc<Shared>, back: &SentBack<'_>) -> Result<(), Error> {
    let inner = Inner::new(Arc::clone(shared), CONSUMER_GROUP.to_owned(), Options::usual());
    let (body, sys_flag) = pack(&back.message.body, inner.options.compress_from, Compression::Zlib);
    let key = back.message.message_id();
    let outgoing = Outgoing {
        topic: Cow::Owned(retry_topic(back.group)),
        body,
        flag: back.message.flag,
        sys_flag,
        // They were texts before.
        properties: String::from_utf8(back.properties()).unwrap_or_default(),
        code: request::SEND_MESSAGE_V2,
        unique_key: &key,
        failures: Some(back.failures()),
    };
    inner.attempts(&outgoing, Target::Any, None).await.map(drop).map_err(|failure| failure.error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::received::tests::message;

    fn told(back: &SentBack<'_>) -> String {
        String::from_utf8(back.properties()).unwrap().replace('\u{1}', "=").replace('\u{2}', ";")
    }

    #[test]
    fn what_is_sent_back_says_what_it_was_and_how_often_it_failed() {
        let mut failed = message("%RETRY%G", "0A");
        failed.reconsume_times = 2;
        for (name, value) in [("KEYS", "7"), ("DELAY", "4"), ("RETRY_TOPIC", "x"), ("POP_CK", "1 2 3")] {
            failed.add_property(name, value);
        }
        let back = SentBack { message: &failed, group: "G", topic: "T", level: 0, retries_max: 16 };
        let always = "UNIQ_KEY=0A;KEYS=7;RETRY_TOPIC=T;ORIGIN_MESSAGE_ID=0A";
        assert_eq!(told(&back), format!("{always};RECONSUME_TIME=3;MAX_RECONSUME_TIMES=16;DELAY=5;"));
        assert_eq!(back.failures(), (3, 16));
        let chosen = SentBack { level: 9, ..back };
        assert_eq!((chosen.delay_level(), chosen.failures()), (9, (3, 16)));
        let dead = SentBack { level: -1, ..chosen };
        assert_eq!(dead.failures(), (3, 0), "brokers bury what failed more often than it may");
        failed.add_property(props::ORIGIN_MESSAGE_ID, "0B");
        let again = SentBack { message: &failed, group: "G", topic: "T", level: 0, retries_max: 16 };
        assert!(told(&again).contains("ORIGIN_MESSAGE_ID=0B;"), "the first id stays");
    }
}
