//! Single messages: found by id, key or place, and what became of them.

use thrustmq_client::{ConsumeResult, Error, Filter, Index, Message, MessageQueue, Received, Search};
use wire::code::response;
use wire::ids::OffsetId;

use super::call::{Call, Failure, told};
use super::command::Command;
use super::group::members;
use super::java::{self, Times};
use super::line::{bare, flag, parts, required};
use super::message::{TOOLS, pull};

/// Where the official tool writes bodies of messages.
const BODIES: &str = "/tmp/rocketmq/msgbodys";
const HOUR_MS: i64 = 3_600_000;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "queryMsgById",
        about: "Show messages by their ids.",
        flags: &[
            required("t", "topic", "name of the topic"),
            required("i", "msgId", "offset ids or unique keys, with commas between them"),
            flag("g", "consumerGroup", "a group; with -d, one of its members consumes the message now"),
            flag("d", "clientId", "the member"),
            flag("s", "sendMessage", "true: send the message again"),
            flag("u", "unitName", "unit of the sender"),
            flag("f", "bodyFormat", "print the body in this character set"),
            flag("c", "cluster", "a topic whose brokers are asked, for light queues"),
        ],
        differs: "bodies are read as UTF-8 alone, and `-u` has no effect",
        run: |call| Box::pin(by_id(call)),
    },
    Command {
        name: "queryMsgByKey",
        about: "Find messages by a key or a tag.",
        flags: &[
            required("t", "topic", "name of the topic"),
            required("k", "msgKey", "the key"),
            flag("b", "beginTimestamp", "first store time, Unix milliseconds [default: 0]"),
            flag("e", "endTimestamp", "last store time, Unix milliseconds [default: no end]"),
            flag("m", "maxNum", "messages that each broker answers with [default: 64]"),
            flag("c", "cluster", "the cluster to ask, or a topic whose brokers are asked, for light queues"),
            flag("p", "keyType", "K for keys, T for tags [default: K]"),
            flag("l", "lastKey", "where an earlier search ended"),
        ],
        differs: "",
        run: |call| Box::pin(by_key(call)),
    },
    Command {
        name: "queryMsgByUniqueKey",
        about: "Show the message with a unique key.",
        flags: &[
            required("i", "msgId", "the unique key"),
            flag("g", "consumerGroup", "a group; with -d, one of its members consumes the message now"),
            flag("d", "clientId", "the member"),
            required("t", "topic", "name of the topic"),
            bare("a", "showAll", "all messages with the key, up to 32"),
            flag("c", "cluster", "the cluster to ask, or a topic whose brokers are asked, for light queues"),
            flag("s", "startTime", "first store time, Unix milliseconds [default: 36 hours ago]"),
            flag("e", "endTime", "last store time, Unix milliseconds [default: in 36 hours]"),
        ],
        differs: "",
        run: |call| Box::pin(by_unique_key(call)),
    },
    Command {
        name: "queryMsgByOffset",
        about: "Show the message at a place of a queue.",
        flags: &[
            required("t", "topic", "name of the topic"),
            required("b", "brokerName", "name of the broker"),
            required("i", "queueId", "number of the queue"),
            required("o", "offset", "place in the queue"),
            flag("f", "bodyFormat", "print the body in this character set"),
            flag("r", "routeTopic", "a topic whose brokers are asked, for light queues"),
        ],
        differs: "a message that is not found is exit code 4 and a line on stderr, not silence; bodies are read as \
                  UTF-8 alone",
        run: |call| Box::pin(by_offset(call)),
    },
    Command {
        name: "queryMsgTraceById",
        about: "Show who sent and who consumed a message, where that was traced.",
        flags: &[
            required("i", "msgId", "unique key of the message"),
            flag("t", "traceTopic", "topic of traces [default: RMQ_SYS_TRACE_TOPIC]"),
            flag("b", "beginTimestamp", "first store time, Unix milliseconds [default: 0]"),
            flag("e", "endTimestamp", "last store time, Unix milliseconds [default: no end]"),
            flag("c", "maxNum", "traces that each broker answers with [default: 64]"),
        ],
        differs: "",
        run: |call| Box::pin(trace(call)),
    },
    Command {
        name: "queryCq",
        about: "Show entries of a queue.",
        flags: &[
            required("t", "topic", "name of the topic"),
            required("q", "queue", "number of the queue"),
            required("i", "index", "first entry"),
            flag("c", "count", "entries [default: 10]"),
            flag("b", "broker", "address of the broker [default: the first of the topic]"),
            flag("g", "consumer", "a group; says which entries it gets"),
        ],
        differs: "",
        run: |call| Box::pin(queue(call)),
    },
];

/// A search among all that brokers of a topic know.
fn search<'a>(call: &'a Call, topic: &'a str, word: &'a str, index: Index) -> Search<'a> {
    let place = call.line.value("c");
    let light = wire::names::is_light(topic) || topic == wire::names::TIMER_TOPIC;
    Search {
        topic,
        route_topic: place.filter(|_| light),
        cluster: place.filter(|_| !light),
        word,
        index,
        max: 32,
        from_ms: 0,
        until_ms: i64::MAX,
        after: None,
    }
}

fn no_message() -> Failure {
    Failure::NotThere("CODE: 208  DESC: query message by key finished, but no message.".to_owned())
}

/// The message with an offset id or a unique key.
async fn message(call: &Call, topic: &str, id: &str) -> Result<Received, Failure> {
    // Both kinds may have 32 digits; only in an offset id they are an address of a broker that answers.
    if OffsetId::parse(id).is_some() {
        match call.admin.view_message(topic, id).await {
            Ok(message) => return Ok(message),
            Err(error @ Error::Refused { .. }) => tracing::debug!("{id} is no offset id: {error}"),
            Err(error @ (Error::Connect { .. } | Error::Timeout { .. } | Error::Closed { .. })) => {
                tracing::debug!("{id} is no offset id: {error}");
            }
            Err(error) => return Err(error.into()),
        }
    }
    let mut search = search(call, topic, id, Index::UniqueKey);
    search.from_ms = call.times.now_ms() - 72 * HOUR_MS;
    call.admin.search(&search).await?.into_iter().next().ok_or_else(no_message)
}

async fn by_id(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    let topic = line.text("t");
    for id in parts(line.text("i")) {
        let message = message(call, topic, id).await?;
        if let (Some(group), Some(client)) = (line.value("g"), line.value("d")) {
            consume(call, group, client, &message).await?;
        } else if let Some(again) = line.truth("s") {
            if again {
                send_again(call, id, &message).await?;
            }
        } else {
            show(call, &message, 0, true).await?;
        }
    }
    Ok(())
}

/// Has a member consume a message now.
async fn consume(call: &Call, group: &str, client: &str, message: &Received) -> Result<(), Failure> {
    let info = call.admin.running_info(group, client, false).await?;
    let kind = info.get("properties").and_then(|all| all.get("PROP_CONSUME_TYPE"));
    if kind.and_then(|kind| kind.as_str()) != Some("CONSUME_PASSIVELY") {
        return Err(Failure::Other(format!(
            "this {client} client is not push consumer ,not support direct push"
        )));
    }
    let result = call.admin.consume_directly(group, client, message.topic(), &message.offset_id()).await?;
    call.say(&consumed(&result))
}

fn consumed(result: &ConsumeResult) -> String {
    format!(
        "ConsumeMessageDirectlyResult [order={}, autoCommit={}, consumeResult={}, remark={}, spentTimeMills={}]",
        result.order,
        result.auto_commit,
        result.consume_result,
        result.remark.as_deref().unwrap_or("null"),
        result.spent_ms
    )
}

async fn send_again(call: &Call, id: &str, message: &Received) -> Result<(), Failure> {
    call.say(&format!("prepare resend msg. originalMsgId={id}"))?;
    let producer = call.client.producer("ReSendMsgById").build()?;
    let sent = producer
        .send(Message::copy_of(message, message.topic()))
        .await
        .map_err(|error| Failure::Other(error.to_string()))?;
    call.say(&super::rehearsal::receipt(&sent))
}

/// Prints a message, writes its body down, and says what became of it.
async fn show(call: &Call, message: &Received, index: usize, with_id: bool) -> Result<(), Failure> {
    let path = write_body(message, index)?;
    let mut text = facts(message, &path, with_id, &call.times);
    if with_id && call.line.has("f") {
        text += &fact("Message Body:", &message.text());
    }
    let tracks = tracks(call, message).await?;
    text += "\n\n";
    if tracks.is_empty() {
        text += "WARN: No Consumer";
    }
    for track in tracks {
        text += &track;
        // The official tool ends these lines in one of its two commands only.
        text += if with_id { "\n" } else { "" };
    }
    call.say(&text)
}

fn write_body(message: &Received, index: usize) -> Result<String, Failure> {
    // Ids come from clients: they must not lead elsewhere.
    let name = message.message_id().replace(['/', '\\'], "_");
    let name = if index > 0 { format!("{name}_{index}") } else { name };
    let path = format!("{BODIES}/{name}");
    let written = std::fs::create_dir_all(BODIES).and_then(|()| std::fs::write(&path, &message.body));
    written.map_err(|cause| Failure::File { what: "write", path: path.clone(), cause })?;
    Ok(path)
}

fn fact(name: &str, value: &str) -> String {
    format!("{name:<20} {value}\n")
}

fn facts(message: &Received, path: &str, with_id: bool, times: &Times) -> String {
    let mut properties: Vec<(&str, &str)> = message.properties().collect();
    properties.sort_unstable();
    let word = |name: &str| format!("[{}]", message.property(name).unwrap_or("null"));
    let rows = [
        ("Topic:", message.topic().to_owned()),
        ("Tags:", word("TAGS")),
        ("Keys:", word("KEYS")),
        ("Queue ID:", message.queue.queue_id.to_string()),
        ("Queue Offset:", message.offset.to_string()),
        ("CommitLog Offset:", message.commit_log_offset.to_string()),
        ("Reconsume Times:", message.reconsume_times.to_string()),
        ("Born Timestamp:", times.to_millis(message.born_at_ms)),
        ("Store Timestamp:", times.to_millis(message.stored_at_ms)),
        ("Born Host:", message.born_host.to_string()),
        ("Store Host:", message.store_host.to_string()),
        ("System Flag:", message.sys_flag.to_string()),
        ("Properties:", java::map(properties)),
        ("Message Body Path:", path.to_owned()),
    ];
    let id = if with_id { fact("OffsetID:", &message.offset_id()) } else { String::new() };
    id + &rows.iter().map(|(name, value)| fact(name, value)).collect::<String>()
}

/// What became of a message in each group that reads its topic.
async fn tracks(call: &Call, message: &Received) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for group in call.admin.groups_of_topic(message.topic()).await? {
        let (kind, why) = track(call, message, &group).await;
        let why = why.unwrap_or_else(|| "null".to_owned());
        all.push(format!("MessageTrack [consumerGroup={group}, trackType={kind}, exceptionDesc={why}]"));
    }
    Ok(all)
}

async fn track(call: &Call, message: &Received, group: &str) -> (&'static str, Option<String>) {
    let members = match members(call, group, None).await {
        Ok(members) => members,
        Err(Failure::Client(Error::Refused { code, remark, .. })) => {
            let kind = if code == response::CONSUMER_NOT_ONLINE { "NOT_ONLINE" } else { "UNKNOWN" };
            return (kind, Some(format!("CODE:{code} DESC:{remark}")));
        }
        Err(failure) => return ("UNKNOWN", Some(failure.to_string())),
    };
    if members.consume_type == "CONSUME_ACTIVELY" {
        return ("PULL", None);
    }
    let stats = match call.admin.consume_stats(group, None).await {
        Ok(stats) => stats,
        Err(error) => return ("UNKNOWN", Some(told(&error))),
    };
    if stats.offset_table.is_empty() && members.message_model == "BROADCASTING" {
        return ("CONSUME_BROADCASTING", None);
    }
    let own =
        |queue: &MessageQueue| queue.topic == message.topic() && queue.queue_id == message.queue.queue_id;
    let read = stats.offset_table.iter().any(|(queue, at)| own(queue) && at.consumer_offset > message.offset);
    if !read {
        return ("NOT_CONSUME_YET", None);
    }
    let tags = members.subscription_table.get(message.topic()).map(|data| &data.tags_set);
    let wanted = tags.is_none_or(|tags| {
        let tag = message.tag().unwrap_or_default();
        tags.is_empty() || tags.iter().any(|own| own == tag || own == "*")
    });
    (if wanted { "CONSUMED" } else { "CONSUMED_BUT_FILTERED" }, None)
}

async fn by_key(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    let index = match line.value("p").unwrap_or("K") {
        "K" => Index::Key,
        "T" => Index::Tag,
        _ => {
            return Err(Failure::Usage("index type error, just support K for keys or T for tags".to_owned()));
        }
    };
    let (topic, key) = (line.text("t"), line.text("k"));
    let mut search = search(call, topic, key, index);
    search.from_ms = line.number("b")?.unwrap_or(0);
    search.until_ms = line.number("e")?.unwrap_or(i64::MAX);
    search.max = line.number("m")?.unwrap_or(64);
    search.after = line.value("l");
    let found = call.admin.search(&search).await?;
    if found.is_empty() {
        return Err(no_message());
    }
    let letter = line.value("p").unwrap_or("K");
    call.say(&key_table(&found, topic, letter, key))
}

fn key_table(found: &[Received], topic: &str, letter: &str, key: &str) -> String {
    let mut text = format!("{:<50} {:>4} {:>40} {:<200}\n", "#Message ID", "#QID", "#Offset", "#IndexKey");
    for message in found {
        // Where a search that goes on begins: the hour of the message, and who it is.
        let hour = message.stored_at_ms - message.stored_at_ms.rem_euclid(HOUR_MS);
        let id = message.message_id();
        let place = format!("{hour}@{topic}@{letter}@{key}@{id}@{}", message.commit_log_offset);
        text += &format!("{id:<50} {:>4} {:>40} {place:<200}\n", message.queue.queue_id, message.offset);
    }
    text
}

async fn by_unique_key(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    let (topic, key) = (line.text("t"), line.text("i"));
    if let (Some(group), Some(client)) = (line.value("g"), line.value("d")) {
        return consume(call, group, client, &message(call, topic, key).await?).await;
    }
    let mut search = search(call, topic, key, Index::UniqueKey);
    let now = call.times.now_ms();
    (search.from_ms, search.until_ms) = match (line.number("s")?, line.number("e")?) {
        (Some(from), Some(until)) => (from, until),
        _ => (now - 36 * HOUR_MS, now + 36 * HOUR_MS),
    };
    let mut found = call.admin.search(&search).await?;
    if found.is_empty() {
        return Err(no_message());
    }
    found.sort_by_key(|message| message.stored_at_ms);
    let shown = if line.has("a") { found.len() } else { 1 };
    for (index, message) in found.iter().take(shown).enumerate() {
        show(call, message, index, false).await?;
    }
    Ok(())
}

async fn by_offset(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    if let Some(topic) = line.value("r") {
        // The client learns from this topic where the broker is.
        call.client.route(topic).await?;
    }
    let queue_id = line.number("i")?.unwrap_or(0);
    let queue =
        MessageQueue { topic: line.text("t").to_owned(), broker_name: line.text("b").to_owned(), queue_id };
    let offset: i64 = line.number("o")?.unwrap_or(0);
    let pulled = pull(&call.client.reader(TOOLS), &queue, offset, 1, &Filter::all()).await?;
    let (min, max) = (pulled.min_offset, pulled.max_offset);
    let message = pulled.messages.first().filter(|message| message.offset == offset).ok_or_else(|| {
        let what = format!("there is no message at {offset}; the queue has those from {min} to before {max}");
        Failure::NotThere(what)
    })?;
    show(call, message, 0, true).await
}

async fn trace(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    let topic = line.value("t").unwrap_or(wire::names::TRACE_TOPIC);
    let id = line.text("i");
    let mut search = search(call, topic, id, Index::Key);
    // `-c` is a number here, and no place.
    (search.cluster, search.route_topic) = (None, None);
    search.from_ms = line.number("b")?.unwrap_or(0);
    search.until_ms = line.number("e")?.unwrap_or(i64::MAX);
    search.max = line.number("c")?.unwrap_or(64);
    let found = call.admin.search(&search).await?;
    if found.is_empty() {
        return Err(no_message());
    }
    let steps: Vec<Step> = found.iter().flat_map(|message| steps(&message.text(), id, message)).collect();
    call.say(&trace_table(&steps, &call.times))
}

/// What happened to a message, as a client wrote it down.
#[derive(Debug, PartialEq)]
struct Step {
    sent: bool,
    group: String,
    host: String,
    at_ms: i64,
    cost_ms: i64,
    done: bool,
}

/// Steps of one message in a trace: U+0002 ends each, U+0001 separates its fields.
fn steps(text: &str, id: &str, carrier: &Received) -> Vec<Step> {
    let host = carrier.born_host.ip().to_string();
    text.split('\u{2}')
        .filter_map(|step| read_step(&step.split('\u{1}').collect::<Vec<_>>(), id, &host))
        .collect()
}

fn read_step(fields: &[&str], id: &str, host: &str) -> Option<Step> {
    let field = |at: usize| fields.get(at).copied();
    let number = |at: usize| field(at).and_then(|text| text.parse().ok());
    let is_true = |at: usize| field(at).is_some_and(|text| text == "true");
    let host = host.to_owned();
    match field(0)? {
        "Pub" if field(5)? == id => Some(Step {
            sent: true,
            group: field(3)?.to_owned(),
            host,
            at_ms: number(1)?,
            cost_ms: number(10)?,
            done: is_true(if fields.len() == 13 { 12 } else { 13 }),
        }),
        "SubAfter" if field(2)? == id => Some(Step {
            sent: false,
            group: field(8).unwrap_or("null").to_owned(),
            host,
            at_ms: number(7).unwrap_or(0),
            cost_ms: number(3)?,
            done: is_true(4),
        }),
        _ => None,
    }
}

fn trace_table(steps: &[Step], times: &Times) -> String {
    let row = |cells: [&str; 6]| {
        let [kind, group, host, time, cost, status] = cells;
        format!("{kind:<10} {group:<20} {host:<20} {time:<20} {cost:<10} {status:<10}\n")
    };
    let told = |step: &Step| {
        let (time, cost) = (times.to_second(step.at_ms), format!("{}ms", step.cost_ms));
        let kind = if step.sent { "Pub" } else { "Sub" };
        row([kind, &step.group, &step.host, &time, &cost, if step.done { "success" } else { "failed" }])
    };
    let mut text = String::new();
    for step in steps.iter().filter(|step| step.sent) {
        text += &row(["#Type", "#ProducerGroup", "#ClientHost", "#SendTime", "#CostTimes", "#Status"]);
        text += &told(step);
        text.push('\n');
    }
    let mut groups: Vec<&str> =
        steps.iter().filter(|step| !step.sent).map(|step| step.group.as_str()).collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        text += &row(["#Type", "#ConsumerGroup", "#ClientHost", "#ConsumerTime", "#CostTimes", "#Status"]);
        text.extend(steps.iter().filter(|step| !step.sent && step.group == group).map(told));
        text.push('\n');
    }
    text
}

async fn queue(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    let topic = line.text("t");
    let address = match line.value("b").filter(|address| !address.is_empty()) {
        Some(address) => address.to_owned(),
        None => {
            let route = call.admin.topic_route(topic).await?;
            let first = route.masters().first().map(|address| (*address).to_owned());
            first.ok_or_else(|| Failure::NotThere("No topic route data!".to_owned()))?
        }
    };
    let from: i64 = line.number("i")?.unwrap_or(0);
    let count = line.number("c")?.unwrap_or(10);
    let id = line.number("q")?.unwrap_or(0);
    let entries = call.admin.queue_entries(&address, topic, id, from, count, line.value("g")).await?;
    let rule = "======================================\n";
    let mut text = String::new();
    if let Some(data) = &entries.subscription_data {
        let data = serde_json::to_value(data).map_err(|error| Failure::Other(error.to_string()))?;
        text += &format!("Subscription data: \n{}\n{rule}", java::json(&data));
    }
    if let Some(data) = &entries.filter_data {
        text += &format!("Filter data: \n{data}\n{rule}");
    }
    let (min, max) = (entries.min_queue_index, entries.max_queue_index);
    text += &format!("Queue data: \nmax: {max}, min: {min}\n{rule}");
    for (index, entry) in (from..).zip(&entries.queue_data) {
        let or_null = |text: &Option<String>| text.as_deref().unwrap_or("null").to_owned();
        text += &format!(
            "idx: {index}\nConsumeQueueData{{physicOffset={}, physicSize={}, tagsCode={}, extendDataJson='{}', \
             bitMap='{}', eval={}, msg='{}'}}\n{rule}",
            entry.physic_offset,
            entry.physic_size,
            entry.tags_code,
            or_null(&entry.extend_data_json),
            or_null(&entry.bit_map),
            entry.eval,
            or_null(&entry.msg)
        );
    }
    call.say(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_and_laid_out() {
        let sent = "Pub\u{1}0\u{1}region\u{1}senders\u{1}orders\u{1}ID1\u{1}tag\u{1}key\u{1}10.0.0.1:10911\u{1}5\u{1}3\u{1}0\
                    \u{1}OFFSET\u{1}true\u{1}10.0.0.7";
        let read = "SubAfter\u{1}R\u{1}ID1\u{1}4\u{1}false\u{1}key\u{1}0\u{1}0\u{1}readers";
        let others = "Pub\u{1}x\u{2}Nonsense\u{2}SubAfter\u{1}R\u{1}ID2\u{1}4\u{1}true";
        let text = format!("{sent}\u{2}{read}\u{2}{others}");
        let steps: Vec<Step> = text
            .split('\u{2}')
            .filter_map(|step| read_step(&step.split('\u{1}').collect::<Vec<_>>(), "ID1", "10.0.0.7"))
            .collect();
        let [sent, read] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!((sent.group.as_str(), sent.cost_ms, sent.done), ("senders", 3, true));
        assert_eq!((read.group.as_str(), read.cost_ms, read.done), ("readers", 4, false));
        let table = trace_table(&steps, &Times::new());
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 6, "{table}");
        assert!(
            lines[0].starts_with("#Type      #ProducerGroup       #ClientHost          #SendTime  "),
            "{table}"
        );
        assert!(lines[4].starts_with("Sub        readers              10.0.0.7  "), "{table}");
    }
}
