//! Messages that are sent to see whether and how fast that goes. They are stored like any others.

use std::time::{Duration, Instant};

use thrustmq_client::{Message, MessageQueue, Producer, Receipt, SendStatus};

use super::call::{Call, Failure, told};
use super::command::Command;
use super::java::{self};
use super::line::{flag, required};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "sendMsgStatus",
        about: "Send messages to the topic that is named like a broker.",
        flags: &[
            required("b", "brokerName", "name of the broker"),
            flag("s", "messageSize", "bytes of a message [default: 128]"),
            flag("c", "count", "messages [default: 50]"),
        ],
        differs: "",
        run: |call| Box::pin(to_broker(call)),
    },
    Command {
        name: "checkMsgSendRT",
        about: "Send messages to a topic and measure the time.",
        flags: &[
            required("t", "topic", "name of the topic"),
            flag("a", "amount", "messages [default: 100]"),
            flag("s", "size", "bytes of a message [default: 128]"),
        ],
        differs: "",
        run: |call| Box::pin(to_topic(call)),
    },
    Command {
        name: "clusterRT",
        about: "Send messages to all brokers again and again and measure the time.",
        flags: &[
            flag("a", "amount", "messages of a round [default: 100]"),
            flag("s", "size", "bytes of a message [default: 128]"),
            flag("c", "cluster", "one cluster [default: all]"),
            flag("p", "print log", "true: a line of fields for a log"),
            flag("m", "machine room", "name of the place, for the log [default: noname]"),
            flag("i", "interval", "seconds between rounds [default: 10]"),
        ],
        differs: "the log's times are local and not those of GMT+8",
        run: |call| Box::pin(to_clusters(call)),
    },
];

/// What was confirmed, as Java names it.
pub fn status_name(status: SendStatus) -> &'static str {
    match status {
        SendStatus::FlushDiskTimeout => "FLUSH_DISK_TIMEOUT",
        SendStatus::FlushSlaveTimeout => "FLUSH_SLAVE_TIMEOUT",
        SendStatus::SlaveNotAvailable => "SLAVE_NOT_AVAILABLE",
        _ => "SEND_OK",
    }
}

/// A receipt in one line.
pub fn receipt(receipt: &Receipt) -> String {
    format!(
        "SendResult [sendStatus={}, msgId={}, offsetMsgId={}, messageQueue={}, queueOffset={}, recallHandle={}]",
        status_name(receipt.status),
        receipt.message_id,
        receipt.offset_id,
        java::queue(&receipt.queue),
        receipt.offset,
        receipt.recall_handle.as_deref().unwrap_or("null")
    )
}

async fn to_broker(call: &Call) -> Result<(), Failure> {
    let broker = call.line.text("b");
    let size: usize = call.line.number("s")?.unwrap_or(128);
    let count: u64 = call.line.number("c")?.unwrap_or(50);
    let producer = call.client.producer("PID_SMSC").build()?;
    // As many whole phrases of eleven letters as it takes.
    let body = |size: usize| "hello world".repeat(size.div_ceil(11).max(1));
    // The first one makes the connection.
    send(&producer, broker, body(16)).await?;
    for _ in 0..count {
        let begin = Instant::now();
        let sent = send(&producer, broker, body(size)).await?;
        call.say(&format!("rt={}ms, SendResult={}\n", begin.elapsed().as_millis(), receipt(&sent)))?;
    }
    Ok(())
}

async fn send(producer: &Producer, topic: &str, body: String) -> Result<Receipt, Failure> {
    let sent = producer.send(Message::new(topic, body)).await;
    sent.map_err(|error| Failure::Other(told(error.cause())))
}

/// Times of sends; the first of them, which makes the connection, does not count.
#[derive(Default)]
struct Rounds {
    done: u64,
    failed: u64,
    total: Duration,
}

impl Rounds {
    fn add(&mut self, is_done: bool, took: Duration) {
        if self.done + self.failed > 0 {
            self.total += took;
        }
        *(if is_done { &mut self.done } else { &mut self.failed }) += 1;
    }

    /// Milliseconds of a send, on average.
    fn mean_ms(&self) -> f64 {
        self.total.as_millis() as f64 / (self.done + self.failed).saturating_sub(1) as f64
    }
}

async fn to_topic(call: &Call) -> Result<(), Failure> {
    let topic = call.line.text("t");
    let amount: usize = call.line.number("a")?.unwrap_or(100);
    let body = "a".repeat(call.line.number("s")?.unwrap_or(128));
    let producer = call.client.producer(call.times.now_ms().to_string()).build()?;
    let queues: Vec<MessageQueue> = producer.queues(topic).await?;
    if queues.is_empty() {
        return Err(Failure::NotThere(format!("topic \"{topic}\" has no queue that can be written")));
    }
    call.say(&format!("{:<32}  {:<4}  {:<20}    #RT\n", "#Broker Name", "#QID", "#Send Result"))?;
    let mut rounds = Rounds::default();
    for queue in queues.iter().cycle().take(amount) {
        let begin = Instant::now();
        let is_done = producer.send_to(Message::new(topic, body.clone()), queue).await.is_ok();
        rounds.add(is_done, begin.elapsed());
        let (broker, id, took) = (&queue.broker_name, queue.queue_id, begin.elapsed().as_millis());
        call.say(&format!("{broker:<32}  {id:<4}  {is_done:<20}    {took}\n"))?;
    }
    call.say(&format!("Avg RT: {:.2}\n", rounds.mean_ms()))?;
    match rounds.failed {
        0 => Ok(()),
        failed => Err(Failure::Other(format!("{failed} of {amount} messages were not sent"))),
    }
}

async fn to_clusters(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    let amount: u64 = line.number("a")?.unwrap_or(100);
    let body = "a".repeat(line.number("s")?.unwrap_or(128));
    let pause = Duration::from_secs(line.number("i")?.unwrap_or(10));
    let as_log = line.truth("p").unwrap_or(false);
    let room = line.value("m").unwrap_or("noname");
    let cluster = call.cluster().await?;
    let names: Vec<String> = match line.value("c") {
        Some(name) => vec![name.to_owned()],
        None => cluster.0.cluster_addr_table.keys().cloned().collect(),
    };
    let producer = call.client.producer(call.times.now_ms().to_string()).build()?;
    if !as_log {
        let headings = ["#Cluster Name", "#Broker Name", "#RT", "#successCount", "#failCount"];
        let [cluster, broker, time, done, failed] = headings;
        call.say(&format!("{cluster:<24}  {broker:<24}  {time:<4}  {done:<8}  {failed:<8}\n"))?;
    }
    loop {
        for name in &names {
            for broker in cluster.brokers(name)? {
                let rounds = rounds(&producer, broker, &body, amount).await;
                let (time, mean) = (call.times.to_second(call.times.now_ms()), rounds.mean_ms());
                call.say(&match as_log {
                    true => format!("{time}|{room}|{name}|{broker}|{mean:.0}\n"),
                    false => format!(
                        "{name:<24}  {broker:<24}  {:<8}  {:<16}  {:<16}\n",
                        format!("{mean:.2}"),
                        rounds.done,
                        rounds.failed
                    ),
                })?;
            }
        }
        tokio::time::sleep(pause).await;
    }
}

async fn rounds(producer: &Producer, topic: &str, body: &str, amount: u64) -> Rounds {
    let mut rounds = Rounds::default();
    for _ in 0..amount {
        let begin = Instant::now();
        let sent = producer.send(Message::new(topic, body.to_owned())).await;
        rounds.add(sent.is_ok(), begin.elapsed());
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_send_is_not_measured() {
        let mut rounds = Rounds::default();
        for (is_done, millis) in [(true, 900), (true, 2), (false, 4)] {
            rounds.add(is_done, Duration::from_millis(millis));
        }
        assert_eq!((rounds.done, rounds.failed, rounds.mean_ms()), (2, 1, 3.0));
    }
}
