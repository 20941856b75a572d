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
        if let Some(error) = told.iter().find_map(|told| told.as_ref().err()) {
            let count = told.iter().filter(|told| told.is_err()).count();
            tracing::warn!(group, count, "messages that are done come again, since {error}");
        }
        for (ack, told) in acks.drain(..).zip(told) {
            if let Some(done) = ack.done {
                // Who gave up waiting does not want to know.
                let _ = done.send(told);
            }
        }
    }
}

/// Whether the broker was told, of each message.
type Told = Vec<Result<(), Error>>;

/// Telling it twice does no harm, and not at all would repeat work.
async fn with_patience(shared: &Shared, group: &str, queue: &MessageQueue, handles: &[Handle<'_>]) -> Told {
    let mut told = acknowledge(shared, group, queue, &handles.iter().collect::<Vec<_>>()).await;
    for attempt in 1..ATTEMPTS {
        let open = |at: &usize| told[*at].as_ref().is_err_and(Error::is_retryable);
        let again: Vec<usize> = (0..told.len()).filter(open).collect();
        if again.is_empty() {
            break;
        }
        tokio::time::sleep(PAUSE * attempt).await;
        let those: Vec<_> = again.iter().map(|at| &handles[*at]).collect();
        for (at, outcome) in again.into_iter().zip(acknowledge(shared, group, queue, &those).await) {
            told[at] = outcome;
        }
    }
    told
}

/// Tells the broker once. One message that it refuses keeps it from hearing of no other.
async fn acknowledge(shared: &Shared, group: &str, queue: &MessageQueue, handles: &[&Handle<'_>]) -> Told {
    let mut told: Told = vec![Ok(()); handles.len()];
    let (near, far): (Vec<usize>, Vec<usize>) =
        (0..handles.len()).partition(|at| bit(handles[*at]).is_some());
    let mut alone = far;
    let mut together = Ok(());
    if near.len() < 2 {
        alone.extend(near);
    } else {
        let some: Vec<_> = near.iter().map(|at| handles[*at]).collect();
        together = acknowledge_together(shared, group, queue, &some).await;
        match &together {
            // Brokers before 5.1 take them one by one.
            Err(error) if error.broker_code() == Some(response::REQUEST_CODE_NOT_SUPPORTED) => {
                alone.extend(near);
            }
            outcome => near.into_iter().for_each(|at| told[at] = outcome.clone()),
        }
    }
    // After one that it does not answer it is not asked about the others: each would take as long.
    let mut silence = together.err().filter(Error::nobody_answered);
    for at in alone {
        told[at] = match &silence {
            Some(error) => Err(error.clone()),
            None => acknowledge_one(shared, group, queue, handles[at]).await,
        };
        silence = told[at].as_ref().err().filter(|error| error.nobody_answered()).cloned();
    }
    told
}

async fn acknowledge_together(
    shared: &Shared,
    group: &str,
    queue: &MessageQueue,
    handles: &[&Handle<'_>],
) -> Result<(), Error> {
    let body = batch(group, queue, handles);
    let address = shared.master_of(queue).await?;
    shared.ask(&address, request::BATCH_ACK_MESSAGE, &Fields::new(), body.as_bytes()).await?;
    Ok(())
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
    use parking_lot::Mutex;
    use tokio::sync::oneshot;

    use super::super::receipt::Receipt;
    use super::*;
    use crate::consumer::member::tests::{knows, member};
    use crate::consumer::options::{Options, Role};
    use crate::pretended::{Said, pretend};

    #[tokio::test]
    async fn a_message_that_is_refused_keeps_no_other_from_being_acknowledged() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let (address, _server) = pretend(move |asked| {
            // A broker before 5.1, which takes them one by one.
            if asked.header.code != request::ACK_MESSAGE {
                return Some(Said::code(response::REQUEST_CODE_NOT_SUPPORTED));
            }
            let offset: i64 = asked.header.fields.number("offset").unwrap();
            if offset == 4 {
                return Some(Said::code(response::MESSAGE_ILLEGAL));
            }
            hears.lock().push(offset);
            Some(Said::code(response::SUCCESS))
        });
        let member = member(Options::usual(Role::Pop));
        knows(&member, "b", &address);
        let queue = MessageQueue { topic: "T".into(), broker_name: "b".into(), queue_id: 0 };
        member.begin_popping(queue.clone());
        let popping = member.popped.lock()[&queue].clone();
        let (acks, gathered) = mpsc::unbounded_channel();
        let mut told = Vec::new();
        for handle in ["4 9 60000 3 0 b 0 4", "4 9 60000 3 0 b 0 5", "4 9 60000 3 0 b 0 6"] {
            let handle = Handle { broker: "", ..Handle::parse(handle).unwrap() };
            let receipt = Receipt::new(Arc::clone(&member), Arc::clone(&popping), handle);
            let (done, answer) = oneshot::channel();
            told.push(answer);
            acks.send(Ack { receipt, done: Some(done) }).unwrap();
        }
        drop(acks);
        acknowledge_for_ever(Arc::clone(&member.shared), "G".to_owned(), queue, gathered).await;
        assert_eq!(*heard.lock(), [5, 6]);
        let mut confirmed = Vec::new();
        for answer in told {
            confirmed.push(answer.await.unwrap().is_ok());
        }
        assert_eq!(confirmed, [false, true, true]);
        member.no_more();
    }

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
