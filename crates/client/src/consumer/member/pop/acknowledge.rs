//! Acknowledgements of one queue: those that come while others are under way go together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use wire::base64;
use wire::body::MessageQueue;
use wire::code::{request, response};
use wire::pop::Handle;

use super::receipt::{Ack, acknowledge_one};
use crate::error::Error;
use crate::fields::Fields;
use crate::shared::Shared;

/// Acknowledgements of one request.
const AT_ONCE: usize = 256;
/// Requests that the same acknowledgements may take.
const ATTEMPTS: u32 = 3;
/// Bits that stand for the messages of one pop, at most; what lies farther apart goes by itself.
const BITS_MAX: usize = 4_096;
/// Pause between them.
const PAUSE: Duration = Duration::from_millis(100);

/// Tells the broker of messages that are done, until the queue is given up and all of them are told.
pub(super) async fn acknowledge_for_ever(
    shared: Arc<Shared>,
    group: String,
    queue: MessageQueue,
    mut gathered: mpsc::UnboundedReceiver<Ack>,
) {
    let mut acks = Vec::new();
    while gathered.recv_many(&mut acks, AT_ONCE).await > 0 {
        let handles: Vec<Handle<'_>> = acks.iter().map(|ack| ack.receipt.handle()).collect();
        let told = with_patience(&shared, &group, &queue, &handles).await;
        if let Err(error) = &told {
            let count = acks.len();
            tracing::warn!(group, count, "messages that are done come again, since {error}");
        }
        for ack in acks.drain(..) {
            if let Some(done) = ack.done {
                // Who gave up waiting does not want to know.
                let _ = done.send(told.clone());
            }
        }
    }
}

/// Telling it twice does no harm, and not at all would repeat work.
async fn with_patience(
    shared: &Shared,
    group: &str,
    queue: &MessageQueue,
    handles: &[Handle<'_>],
) -> Result<(), Error> {
    let mut attempt = 1;
    loop {
        match acknowledge(shared, group, queue, handles).await {
            Err(error) if error.is_retryable() && attempt < ATTEMPTS => {
                tokio::time::sleep(PAUSE * attempt).await;
                attempt += 1;
            }
            told => return told,
        }
    }
}

async fn acknowledge(
    shared: &Shared,
    group: &str,
    queue: &MessageQueue,
    handles: &[Handle<'_>],
) -> Result<(), Error> {
    let (near, far): (Vec<_>, Vec<_>) = handles.iter().partition(|handle| bit(handle).is_some());
    let alone = if near.len() == 1 { handles.iter().collect() } else { far };
    for handle in alone {
        acknowledge_one(shared, group, queue, handle).await?;
    }
    if near.len() < 2 {
        return Ok(());
    }
    let body = batch(group, queue, &near);
    let address = shared.master_of(queue).await?;
    match shared.ask(&address, request::BATCH_ACK_MESSAGE, &Fields::new(), body.as_bytes()).await {
        // Brokers before 5.1 take them one by one.
        Err(error) if error.broker_code() == Some(response::REQUEST_CODE_NOT_SUPPORTED) => {
            for handle in near {
                acknowledge_one(shared, group, queue, handle).await?;
            }
            Ok(())
        }
        told => told.map(drop),
    }
}

/// Place of a message among the bits of its pop; `None` if it is too far from where that began.
fn bit(handle: &Handle<'_>) -> Option<usize> {
    let distance = handle.offset.checked_sub(handle.start)?;
    usize::try_from(distance).ok().filter(|bit| *bit < BITS_MAX)
}

/// The body of a batch: one entry for each pop of each queue, its messages as bits from where the pop began.
fn batch(group: &str, queue: &MessageQueue, handles: &[&Handle<'_>]) -> String {
    type Pop = (&'static str, i32, i64, i64, i64, i32);
    let mut pops: BTreeMap<Pop, Vec<u8>> = BTreeMap::new();
    for &handle in handles {
        let Handle { start, pop_time, invisible_ms, revive_queue, origin, .. } = *handle;
        let pop = (origin.mark(), handle.queue, start, pop_time, invisible_ms, revive_queue);
        let bits = pops.entry(pop).or_default();
        let Some(bit) = bit(handle) else { continue };
        if bits.len() <= bit / 8 {
            bits.resize(bit / 8 + 1, 0);
        }
        bits[bit / 8] |= 1 << (bit % 8);
    }
    let acks: Vec<_> = pops
        .into_iter()
        .map(|((retry, id, start, pop_time, invisible_ms, revive_queue), bits)| {
            json!({
                "c": group, "t": queue.topic, "r": retry, "so": start, "q": id, "rq": revive_queue,
                "pt": pop_time, "it": invisible_ms, "b": base64::encode(&bits),
            })
        })
        .collect();
    json!({ "brokerName": queue.broker_name, "acks": acks }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_one_pop_are_bits_from_where_it_began() {
        let handle = |text: &'static str| Handle::parse(text).unwrap();
        let handles = [
            handle("100 9 60000 3 0 b 2 100"),
            handle("100 9 60000 3 0 b 2 109"),
            handle("4 9 60000 3 1 b 0 4"),
        ];
        let handles: Vec<_> = handles.iter().collect();
        let queue = MessageQueue { topic: "T".into(), broker_name: "b".into(), queue_id: -1 };
        let body: serde_json::Value = serde_json::from_str(&batch("G", &queue, &handles)).unwrap();
        let acks = body["acks"].as_array().unwrap();
        assert_eq!((acks.len(), body["brokerName"].as_str()), (2, Some("b")));
        assert_eq!(base64::decode(acks[0]["b"].as_str().unwrap()).unwrap(), [1, 2]);
        assert_eq!((acks[0]["so"].as_i64(), acks[0]["q"].as_i64()), (Some(100), Some(2)));
        assert_eq!(base64::decode(acks[1]["b"].as_str().unwrap()).unwrap(), [1]);
        assert_eq!((acks[1]["r"].as_str(), acks[1]["t"].as_str()), (Some("1"), Some("T")));
    }
}
