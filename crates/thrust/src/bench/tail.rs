//! The end of a queue, followed with long polls. What arrives tells by its unique key when it was sent.

use std::sync::Arc;

use wire::code::{request, response};
use wire::header::{Dialect, FrameWriter, Head, Header};
use wire::properties;
use wire::pull_flag::{SUBSCRIPTION, SUSPEND};
use wire::record;

use super::admin::{Client, Target};
use super::answer;
use super::error::BenchError;
use super::pull::GROUP;
use super::template;

const SUSPEND_MS: u32 = 15_000;

/// What the requests for all queues have in common.
#[derive(Debug)]
pub struct TailShape {
    pub topic: String,
    pub dialect: Dialect,
    /// Most messages of an answer.
    pub batch: u32,
    /// How keys of this process begin: messages of others are passed over.
    pub key_prefix: String,
}

/// One queue.
#[derive(Debug)]
pub struct Tail {
    shape: Arc<TailShape>,
    queue: u32,
    next: u64,
}

/// The ends of all queues of a topic at this moment.
pub fn tails(
    target: &Target,
    topic: &str,
    queues: u32,
    dialect: Dialect,
    batch: u32,
) -> Result<Vec<Tail>, BenchError> {
    let mut client = Client::connect(target.only_broker(topic)?, dialect)?;
    let key_prefix = template::key_prefix();
    let shape = Arc::new(TailShape { topic: topic.to_owned(), dialect, batch, key_prefix });
    (0..queues)
        .map(|queue| {
            let (_, next) = client.queue_range(topic, queue)?;
            Ok(Tail { shape: Arc::clone(&shape), queue, next })
        })
        .collect()
}

impl Tail {
    pub fn queue(&self) -> u32 {
        self.queue
    }

    /// Appends a request for what comes next.
    pub fn ask(&self, out: &mut Vec<u8>, opaque: i32) {
        let head = Head::request(self.shape.dialect, request::PULL_MESSAGE, opaque);
        let mut writer = FrameWriter::new(out, &head);
        writer
            .field("consumerGroup", GROUP)
            .field("topic", &self.shape.topic)
            .number("queueId", self.queue)
            .number("queueOffset", self.next)
            .number("maxMsgNums", self.shape.batch)
            .number("sysFlag", SUBSCRIPTION | SUSPEND)
            .field("commitOffset", "0")
            .number("suspendTimeoutMillis", SUSPEND_MS)
            .field("subscription", "*")
            .field("subVersion", "0")
            .field("expressionType", "TAG");
        writer.empty();
    }

    /// Takes an answer: `arrived` gets of each message of this process the number at the end of its key, and its bytes.
    /// Gives whether the answer is one of those that a follower has to expect.
    pub fn take(
        &mut self,
        header: &Header<'_>,
        body: &[u8],
        arrived: impl FnMut(u64, u64),
    ) -> Result<bool, String> {
        match header.code {
            response::SUCCESS => self.records(body, arrived)?,
            response::PULL_NOT_FOUND | response::PULL_RETRY_IMMEDIATELY | response::PULL_OFFSET_MOVED => {}
            _ => return Ok(false),
        }
        self.next = header.fields.number("nextBeginOffset").unwrap_or(self.next);
        Ok(true)
    }

    fn records(&self, body: &[u8], mut arrived: impl FnMut(u64, u64)) -> Result<(), String> {
        for record in answer::records(body) {
            let record = record?;
            let key = record::properties_of(record).and_then(|text| properties::find(text, "UNIQ_KEY"));
            let own = key.and_then(|key| key.strip_prefix(self.shape.key_prefix.as_str()));
            if let Some(number) = own.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
                arrived(number, record.len() as u64);
            }
        }
        Ok(())
    }
}
