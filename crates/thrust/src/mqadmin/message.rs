//! Messages: printed, consumed, sent.

use std::collections::BTreeMap;

use thrustmq_client::{Filter, Message, MessageQueue, Pulled, QueueReader, Received};

use super::call::{Call, Failure, told};
use super::command::Command;
use super::java;
use super::line::{flag, required};
use super::rehearsal::status_name;

/// Group that tools read with, which every broker knows.
pub const TOOLS: &str = "TOOLS_CONSUMER";

pub const COMMANDS: &[Command] = &[
    Command {
        name: "printMsg",
        about: "Print messages of a topic.",
        flags: &[
            required("t", "topic", "name of the topic"),
            flag("c", "charsetName", "character set of bodies; UTF-8"),
            flag("s", "subExpression", "tags, such as a || b [default: all]"),
            flag("b", "beginTimestamp", "first store time, Unix milliseconds or yyyy-MM-dd#HH:mm:ss:SSS"),
            flag("e", "endTimestamp", "last store time, likewise"),
            flag("d", "printBody", "whether bodies are printed: true or false [default: true]"),
            flag("l", "lmqParentTopic", "a topic whose brokers are asked, for light queues"),
        ],
        differs: PRINTED,
        run: |call| Box::pin(print_topic(call)),
    },
    Command {
        name: "printMsgByQueue",
        about: "Print messages of a queue, or count them by tag.",
        flags: &[
            required("t", "topic", "name of the topic"),
            required("a", "brokerName", "name of the broker"),
            required("i", "queueId", "number of the queue"),
            flag("c", "charsetName", "character set of bodies; UTF-8"),
            flag("s", "subExpression", "tags, such as a || b [default: all]"),
            flag("b", "beginTimestamp", "first store time, Unix milliseconds or yyyy-MM-dd#HH:mm:ss:SSS"),
            flag("e", "endTimestamp", "last store time, likewise"),
            flag("p", "print msg", "whether messages are printed: true or false [default: false]"),
            flag("d", "printBody", "whether bodies are printed: true or false [default: false]"),
            flag("f", "calculate", "whether messages are counted by tag: true or false [default: false]"),
        ],
        differs: PRINTED,
        run: |call| Box::pin(print_queue(call)),
    },
    Command {
        name: "consumeMessage",
        about: "Print the first messages of a topic, a queue, or from a place on.",
        flags: &[
            required("t", "topic", "name of the topic"),
            flag("b", "brokerName", "name of the broker"),
            flag("i", "queueId", "number of the queue"),
            flag("o", "offset", "place in the queue"),
            flag("g", "consumerGroup", "group to read as [default: TOOLS_CONSUMER]"),
            flag("s", "beginTimestamp", "first store time, Unix milliseconds or yyyy-MM-dd#HH:mm:ss:SSS"),
            flag("e", "endTimestamp", "last store time, likewise"),
            flag("c", "MessageNumber", "messages [default: 128]"),
        ],
        differs: PRINTED,
        run: |call| Box::pin(consume(call)),
    },
    Command {
        name: "sendMessage",
        about: "Send a message.",
        flags: &[
            required("t", "topic", "name of the topic"),
            required("p", "body", "the body"),
            flag("k", "key", "keys of the message"),
            flag("c", "tags", "tag of the message"),
            flag("b", "broker", "name of the broker that gets it"),
            flag("i", "qid", "queue of that broker that gets it"),
            flag("m", "msgTraceEnable", "whether the send is traced; it is not"),
        ],
        differs: "sends are not traced: `-m` has no effect",
        run: |call| Box::pin(send(call)),
    },
    Command {
        name: "dumpCompactionLog",
        about: "Print messages of a file of a compaction log.",
        flags: &[flag("f", "file", "the file")],
        differs: "bodies are printed too",
        run: |call| Box::pin(dump(call)),
    },
];

const PRINTED: &str = "properties of a message are sorted by name, and bodies are read as UTF-8 alone";

/// A message as lists of messages show it, with its body where that is wanted.
fn printed(message: &Received, body: bool) -> String {
    let text = if body { message.text() } else { "NOT PRINT BODY".into() };
    format!("MSGID: {} {} BODY: {text}\n", message.message_id(), java::message(message))
}

/// What a pull came to, in Java's words.
fn outcome(pulled: &Pulled, asked: i64) -> &'static str {
    match pulled {
        _ if !pulled.messages.is_empty() => "FOUND",
        _ if pulled.out_of_range => "OFFSET_ILLEGAL",
        _ if pulled.next_offset > asked => "NO_MATCHED_MSG",
        _ => "NO_NEW_MSG",
    }
}

/// Pulls with what Java's client adds to each message.
pub async fn pull(
    reader: &QueueReader,
    queue: &MessageQueue,
    offset: i64,
    max: i64,
    filter: &Filter,
) -> Result<Pulled, Failure> {
    let max = u32::try_from(max.clamp(1, 1024)).unwrap_or(1);
    let mut pulled = reader.pull(queue, offset, max, filter).await?;
    let bounds = [("MIN_OFFSET", pulled.min_offset), ("MAX_OFFSET", pulled.max_offset)];
    for message in &mut pulled.messages {
        for (name, offset) in bounds {
            message.add_property(name, &offset.to_string());
        }
    }
    Ok(pulled)
}

fn filter(call: &Call) -> Result<Filter, Failure> {
    match call.line.value("s").unwrap_or("*") {
        "*" | "" => Ok(Filter::all()),
        tags => Ok(Filter::tags(tags.split("||").map(str::trim))),
    }
}

/// Only UTF-8 is read; other sets are refused rather than read wrongly.
fn check_charset(call: &Call) -> Result<(), Failure> {
    match call.line.value("c") {
        Some(name) if !["utf-8", "utf8", "us-ascii", "ascii"].contains(&name.to_lowercase().as_str()) => {
            Err(Failure::Usage(format!("-c wants UTF-8, not \"{name}\"")))
        }
        _ => Ok(()),
    }
}

/// Where reading begins and ends, by the times of the line.
async fn bounds(
    call: &Call,
    reader: &QueueReader,
    queue: &MessageQueue,
    [begin, end]: [&str; 2],
) -> Result<(i64, i64), Failure> {
    let from = match call.moment(begin)? {
        Some(at) => reader.offset_at(queue, at).await?,
        None => reader.min_offset(queue).await?,
    };
    let until = match call.moment(end)? {
        Some(at) => reader.offset_at(queue, at).await?,
        None => reader.max_offset(queue).await?,
    };
    Ok((from, until))
}

async fn print_topic(call: &Call) -> Result<(), Failure> {
    check_charset(call)?;
    let topic = call.line.text("t");
    let reader = call.client.reader(TOOLS);
    let mut queues = reader.queues(call.line.value("l").unwrap_or(topic)).await?;
    queues.iter_mut().for_each(|queue| topic.clone_into(&mut queue.topic));
    let (filter, body) = (filter(call)?, call.line.truth("d").unwrap_or(true));
    for queue in queues {
        let (from, until) = bounds(call, &reader, &queue, ["b", "e"]).await?;
        let name = java::queue(&queue);
        call.say(&format!("minOffset={from}, maxOffset={until}, {name}\n"))?;
        let mut offset = from;
        while offset < until {
            let pulled = pull(&reader, &queue, offset, 32, &filter).await?;
            let status = outcome(&pulled, offset);
            offset = pulled.next_offset;
            let text = match status {
                "FOUND" => pulled.messages.iter().map(|message| printed(message, body)).collect(),
                "NO_MATCHED_MSG" => format!("{name} no matched msg. status={status}, offset={offset}\n"),
                _ => format!("{name} print msg finished. status={status}, offset={offset}\n"),
            };
            call.say(&text)?;
            if !["FOUND", "NO_MATCHED_MSG"].contains(&status) {
                break;
            }
        }
        call.say("--------------------------------------------------------\n")?;
    }
    Ok(())
}

async fn print_queue(call: &Call) -> Result<(), Failure> {
    check_charset(call)?;
    let line = &call.line;
    let reader = call.client.reader(TOOLS);
    let queue_id = line.number("i")?.unwrap_or(0);
    let queue =
        MessageQueue { topic: line.text("t").to_owned(), broker_name: line.text("a").to_owned(), queue_id };
    let [print, body, count] = ["p", "d", "f"].map(|name| line.truth(name).unwrap_or(false));
    let filter = filter(call)?;
    let (mut offset, until) = bounds(call, &reader, &queue, ["b", "e"]).await?;
    let mut tags: BTreeMap<String, u64> = BTreeMap::new();
    while offset < until {
        let pulled = pull(&reader, &queue, offset, 32, &filter).await?;
        if pulled.messages.is_empty() {
            break;
        }
        offset = pulled.next_offset;
        for message in &pulled.messages {
            if let Some(tag) = message.tag().filter(|_| count) {
                *tags.entry(tag.to_owned()).or_default() += 1;
            }
            if print {
                call.say(&printed(message, body))?;
            }
        }
    }
    call.say(&counts(tags))
}

/// Tags with how often they came, the most frequent first.
fn counts(tags: BTreeMap<String, u64>) -> String {
    let mut tags: Vec<(String, u64)> = tags.into_iter().collect();
    tags.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    tags.iter().map(|(tag, count)| format!("Tag: {tag:<30} Count: {count}\n")).collect()
}

async fn consume(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    let usage = |what: &str| Failure::Usage(what.to_owned());
    let count: i64 = line.number("c")?.unwrap_or(128);
    if count <= 0 {
        return Err(usage("Please input a positive messageNumber!"));
    }
    if line.has("i") && !line.has("b") {
        return Err(usage("Please set the brokerName before queueId!"));
    }
    if line.has("o") && !line.has("i") {
        return Err(usage("Please set queueId before offset!"));
    }
    let now = call.times.now_ms();
    let (begin, end) = (call.moment("s")?, call.moment("e")?);
    if begin.is_some_and(|begin| begin > now) {
        return Err(usage("Please set the beginTimestamp before now!"));
    }
    if end.is_some_and(|end| end > now) {
        return Err(usage("Please set the endTimestamp before now!"));
    }
    if begin.zip(end).is_some_and(|(begin, end)| begin > end) {
        return Err(usage(
            "Please make sure that the beginTimestamp is less than or equal to the endTimestamp",
        ));
    }
    let reader = call.client.reader(line.value("g").unwrap_or(TOOLS));
    match line.number("i")? {
        Some(queue_id) => consume_queue(call, &reader, queue_id, count).await,
        None => consume_topic(call, &reader, count).await,
    }
}

async fn consume_queue(call: &Call, reader: &QueueReader, queue_id: i32, count: i64) -> Result<(), Failure> {
    let (topic, broker) = (call.line.text("t"), call.line.text("b"));
    let queue = MessageQueue { topic: topic.to_owned(), broker_name: broker.to_owned(), queue_id };
    let (min, mut max) = bounds(call, reader, &queue, ["s", "e"]).await?;
    let offset: i64 = call.line.number("o")?.unwrap_or(0);
    if offset > max {
        return call.say(&format!("{} no matched msg, offset={offset}\n", java::queue(&queue)));
    }
    let min = min.max(offset);
    if max - min > count {
        call.say(&format!("The oldler {count} message will be provided\n"))?;
        max = min + count - 1;
    }
    pull_all(call, reader, &queue, min, max).await
}

async fn consume_topic(call: &Call, reader: &QueueReader, count: i64) -> Result<(), Failure> {
    let mut left = count;
    for queue in reader.queues(call.line.text("t")).await? {
        if left <= 0 {
            break;
        }
        let (min, mut max) = bounds(call, reader, &queue, ["s", "e"]).await?;
        if max - min > left {
            let id = queue.queue_id;
            call.say(&format!("The older {left} message of the {id} queue will be provided\n"))?;
            max = min + left - 1;
            left = 0;
        } else {
            left -= max - min + 1;
        }
        pull_all(call, reader, &queue, min, max).await?;
    }
    Ok(())
}

/// Prints the messages between two places of a queue, both of them too, or up to the end of the queue.
async fn pull_all(
    call: &Call,
    reader: &QueueReader,
    queue: &MessageQueue,
    min: i64,
    max: i64,
) -> Result<(), Failure> {
    let mut offset = min;
    while offset <= max {
        let pulled = pull(reader, queue, offset, max - offset + 1, &Filter::all()).await?;
        let status = outcome(&pulled, offset);
        offset = pulled.next_offset;
        let name = java::queue(queue);
        match status {
            "FOUND" => {
                let rows: String = pulled.messages.iter().map(|message| printed(message, true)).collect();
                call.say(&format!("Consume ok\n{rows}"))?;
            }
            "NO_MATCHED_MSG" => {
                call.say(&format!("{name} no matched msg. status={status}, offset={offset}\n"))?;
            }
            _ => return call.say(&format!("{name} print msg finished. status={status}, offset={offset}\n")),
        }
    }
    Ok(())
}

async fn send(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    if line.has("i") && !line.has("b") {
        return Err(Failure::Usage("Broker name must be set if the queue is chosen!".to_owned()));
    }
    let topic = line.text("t");
    let mut message = Message::new(topic, line.text("p").to_owned());
    if let Some(tag) = line.value("c").filter(|tag| !tag.is_empty()) {
        message = message.tag(tag);
    }
    if let Some(keys) = line.value("k").filter(|keys| !keys.is_empty()) {
        message = message.key(keys);
    }
    let producer = call.client.producer(call.times.now_ms().to_string()).build()?;
    let sent = match (line.value("b"), line.number("i")?) {
        (Some(broker), Some(queue_id)) => {
            let queue = MessageQueue { topic: topic.to_owned(), broker_name: broker.to_owned(), queue_id };
            producer.send_to(message, &queue).await
        }
        _ => producer.send(message).await,
    };
    let sent = sent.map_err(|error| Failure::Other(told(error.cause())))?;
    call.say(&format!(
        "{:<32}  {:<4}  {:<20}    #MsgId\n{:<32}  {:<4}  {:<20}    {}\n",
        "#Broker Name",
        "#QID",
        "#Send Result",
        sent.queue.broker_name,
        sent.queue.queue_id,
        status_name(sent.status),
        sent.message_id
    ))
}

async fn dump(call: &Call) -> Result<(), Failure> {
    let path = call.line.value("f").ok_or_else(|| Failure::Usage("miss dump log file name".to_owned()))?;
    if std::path::Path::new(path).is_dir() {
        return Err(Failure::Usage(format!("file {path} is a directory.")));
    }
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::NotThere(format!("file {path} not exist.")));
        }
        Err(cause) => return Err(Failure::File { what: "read", path: path.to_owned(), cause }),
    };
    // Segments are longer than what is in them: the first bytes that are no record end it.
    for message in Received::of_file(bytes.into()) {
        call.say(&format!("{}\n", java::message(&message)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_counted_with_the_most_frequent_first() {
        let tags = [("a".to_owned(), 1), ("b".to_owned(), 20)].into();
        assert_eq!(counts(tags), format!("Tag: {:<30} Count: 20\nTag: {:<30} Count: 1\n", "b", "a"));
    }
}
