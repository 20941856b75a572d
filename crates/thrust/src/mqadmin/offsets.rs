//! Moving consumer groups.

use std::cell::RefCell;
use std::collections::BTreeMap;

use thrustmq_client::{Error, MessageQueue, Moment};

use super::call::{Call, Failure};
use super::command::Command;
use super::java::front;
use super::line::{flag, required};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "resetOffsetByTime",
        about: "Move a consumer group to a time.",
        flags: &[
            required("g", "group", "name of the group"),
            required("t", "topic", "name of the topic"),
            required("s", "timestamp", "now, Unix milliseconds, -1 for the end, or yyyy-MM-dd#HH:mm:ss:SSS"),
            flag("f", "force", "whether it may be moved forward: true or false [default: true]"),
            flag("c", "cluster", "a topic whose brokers are asked, for light queues"),
            flag("b", "broker", "address of a broker; with -q, one queue is moved"),
            flag("q", "queue", "number of the queue"),
            flag("o", "offset", "place that the queue is moved to, instead of the time"),
        ],
        differs: "one queue can be moved to its beginning, which the official tool leaves out; `-c` has no effect",
        run: |call| Box::pin(reset(call)),
    },
    Command {
        name: "skipAccumulatedMessage",
        about: "Move a consumer group behind all that is there.",
        flags: &[
            required("g", "group", "name of the group"),
            required("t", "topic", "name of the topic"),
            flag("f", "force", "whether it may be moved forward: true or false [default: true]"),
            flag("c", "cluster", "a topic whose brokers are asked, for light queues"),
        ],
        differs: "`-c` has no effect",
        run: |call| Box::pin(skip(call)),
    },
    Command {
        name: "cloneGroupOffset",
        about: "Give a consumer group the offsets of another.",
        flags: &[
            required("s", "srcGroup", "the group that is copied"),
            required("d", "destGroup", "the group that is moved"),
            required("t", "topic", "name of the topic"),
            flag("o", "offline", "has no effect"),
        ],
        differs: "moves the group in the topic that is named; the official tool moves it in all topics of the other",
        run: |call| Box::pin(clone(call)),
    },
];

fn moment(timestamp: i64) -> Moment {
    if timestamp == -1 { Moment::Latest } else { Moment::AtMs(timestamp) }
}

fn table(moved: &BTreeMap<MessageQueue, i64>) -> String {
    let mut text = format!("{:<40}  {:<40}  {:<40}\n", "#brokerName", "#queueId", "#offset");
    for (queue, offset) in moved {
        text += &format!("{:<40}  {:<40}  {offset:<40}\n", front(&queue.broker_name, 32), queue.queue_id);
    }
    text
}

async fn reset(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    let (group, topic, text) = (line.text("g"), line.text("t"), line.text("s"));
    let timestamp = match text {
        "now" => call.times.now_ms(),
        _ => call.moment("s")?.unwrap_or(0),
    };
    let force = line.truth("f").unwrap_or(true);
    let times = format!("timestamp(string)[{text}], timestamp(long)[{timestamp}]");
    let about = format!("start reset consumer offset by specified, group[{group}], topic[{topic}]");
    if let (Some(address), Some(queue_id @ 0..)) = (line.value("b"), line.number::<i32>("q")?) {
        call.say(&format!("{about}, queueId[{queue_id}], broker[{address}], {times}\n"))?;
        let queue = MessageQueue { topic: topic.to_owned(), broker_name: String::new(), queue_id };
        let offset = match line.number("o")? {
            // Brokers take -1 for a place that is looked up by time.
            Some(offset @ ..0) => {
                return Err(Failure::Usage(format!(
                    "-o wants a place of the queue, from 0 on, not {offset}"
                )));
            }
            Some(offset) => offset,
            None => call.admin.offset_at_broker(address, &queue, timestamp).await?,
        };
        call.admin.reset_queue_offset(address, group, &queue, offset).await?;
        return call.say(&format!("reset consumer offset to {offset}\n"));
    }
    let (moved, done) = move_everywhere(call, moment(timestamp), force).await?;
    call.say(&format!("{about}, force[{force}], {times}\n{}", table(&moved)))?;
    done
}

/// Moves the group at all brokers that the topic has. What was moved, and whether all have done it.
async fn move_everywhere(
    call: &Call,
    to: Moment,
    force: bool,
) -> Result<(BTreeMap<MessageQueue, i64>, Result<(), Failure>), Failure> {
    let (group, topic) = (call.line.text("g"), call.line.text("t"));
    let brokers = call.admin.brokers_to_move(topic).await?;
    let moved = RefCell::new(BTreeMap::new());
    let work = |broker: String| {
        let moved = &moved;
        async move {
            let own = call.admin.reset_offsets_at(&broker, group, topic, to, force).await?;
            moved.borrow_mut().extend(own);
            Ok(())
        }
    };
    match call.each(&brokers, work).await {
        done @ (Ok(()) | Err(Failure::Partly { .. })) => Ok((moved.into_inner(), done)),
        Err(failure) => Err(failure),
    }
}

async fn skip(call: &Call) -> Result<(), Failure> {
    let force = call.line.truth("f").unwrap_or(true);
    let (moved, done) = move_everywhere(call, Moment::Latest, force).await?;
    call.say(&table(&moved))?;
    done
}

async fn clone(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    let (from, to, topic) = (line.text("s"), line.text("d"), line.text("t"));
    let stats = call.admin.consume_stats(from, Some(topic)).await?;
    let route = call.admin.topic_route(topic).await?;
    let mut of_brokers: BTreeMap<String, Vec<(&MessageQueue, i64)>> = BTreeMap::new();
    for (queue, at) in stats.offset_table.iter().filter(|(queue, _)| queue.topic == topic) {
        if at.consumer_offset < 0 {
            continue;
        }
        // Before anything is moved.
        if route.master(&queue.broker_name).is_none() {
            return Err(Error::NoBroker { name: queue.broker_name.clone() }.into());
        }
        of_brokers.entry(queue.broker_name.clone()).or_default().push((queue, at.consumer_offset));
    }
    let brokers: Vec<String> = of_brokers.keys().cloned().collect();
    let of_brokers = &of_brokers;
    call.each(&brokers, |broker| async move {
        for (queue, offset) in of_brokers.get(&broker).into_iter().flatten() {
            call.admin.commit(to, queue, *offset).await?;
        }
        Ok(())
    })
    .await?;
    call.say(&format!("clone group offset success. srcGroup[{from}], destGroup=[{to}], topic[{topic}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_that_were_moved_stand_in_columns() {
        let queue = MessageQueue { topic: "T".into(), broker_name: "broker-a".into(), queue_id: 3 };
        assert_eq!(table(&[(queue, 7)].into()), include_str!("layouts/resetOffsetByTime.txt"));
        assert_eq!((moment(-1), moment(0)), (Moment::Latest, Moment::AtMs(0)));
    }
}
