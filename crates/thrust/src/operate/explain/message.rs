//! `thrust explain message`.

use clap::Args;
use serde_json::json;
use thrustmq_client::{Admin, Received};
use wire::names::{HALF_TOPIC, SCHEDULE_TOPIC, TIMER_TOPIC, TRANS_CHECK_MAX_TIME_TOPIC, dlq_topic};
use wire::properties as props;

use super::story::{Story, online};
use super::told;
use crate::failure::Failure;
use crate::moment::{Times, span};
use crate::operate::message::search::{Form, SAME_ID_MAX, find, forms_of_id, not_there};
use crate::operate::message::track::{Again, Fate, Track, copies, tracked_json, tracks};
use crate::output::message::message_json;
use crate::output::words::{bytes, count, list};
use crate::target::Target;

/// How often a broker has asked what became of a half message.
const CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
/// Topics in which messages wait that are not in their own yet.
const WAITING_PLACES: [&str; 4] = [HALF_TOPIC, SCHEDULE_TOPIC, TIMER_TOPIC, TRANS_CHECK_MAX_TIME_TOPIC];

#[derive(Debug, Args)]
pub struct MessageArgs {
    /// Id of the message, of any form, or a key of it.
    id: String,
    /// Its topic [default: all are asked].
    #[arg(short, long)]
    topic: Option<String>,
    #[command(flatten)]
    target: Target,
}

pub async fn run(args: &MessageArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let topic = args.topic.as_deref();
    let (form, mut found) = match find(&admin, &args.id, &forms_of_id(&args.id), topic, SAME_ID_MAX).await? {
        Some(found) => (found.form, found.originals()),
        None => (Form::UniqueKey, waiting(&admin, &args.id).await?),
    };
    // A key may be that of many messages; the newest is the likeliest to be asked about.
    found.sort_by_key(|message| std::cmp::Reverse(message.stored_at_ms));
    let Some((message, others)) = found.split_first() else { return Err(not_there(&args.id, topic)) };
    let mut story = Story::default();
    let place = Place::of(message);
    tell_origin(message, &mut story);
    tell_others(&args.id, form, others, &mut story);
    let own = (place == Place::Own).then_some(message.queue.topic.as_str());
    let told = told::told(&admin, message, own).await;
    let tracks = match place {
        Place::Own => {
            tell_past(message, &mut story);
            tell_surroundings(&admin, message, &mut story).await;
            match &told {
                Some(told) => told::tracks(told, message),
                None => tracks(&admin, message).await?,
            }
        }
        _ => {
            tell_waiting(message, place, &mut story);
            Vec::new()
        }
    };
    if let Some(told) = &told {
        told::tell(told, &mut story);
    }
    for track in &tracks {
        tell_group(message, track, &mut story);
    }
    if place == Place::Own && tracks.is_empty() {
        story.tell("No group has read its topic, and none is online for it.");
        let topic = message.topic();
        story.advise(format!("`thrust consume --topic {topic} --group NAME` reads the topic"));
    }
    let facts = json!({
        "message": message_json(message),
        "place": place.name(),
        "groups": tracks.iter().map(tracked_json).collect::<Vec<_>>(),
        "broker": told,
    });
    story.print(facts, args.target.json)
}

fn tell_others(id: &str, form: Form, others: &[Received], story: &mut Story) {
    let number = others.len();
    match (form, number) {
        (_, 0) => (),
        (Form::Key, _) => {
            let others = count(number, "older message");
            story.tell(format!("It is the newest with this key; there {} {others}.", are(number)));
            story.advise(format!("`thrust message find {id}` shows all messages with this key"));
        }
        _ => {
            let ids: Vec<String> = others.iter().map(Received::offset_id).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            story.tell(format!(
                "It is stored {} times, as after a send that was tried again; the offset ids of the others are {}.",
                number + 1,
                list(&ids)
            ));
        }
    }
}

fn are(number: usize) -> &'static str {
    if number == 1 { "is" } else { "are" }
}

/// Where a message is on its way to its consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In its own topic.
    Own,
    Half,
    Schedule,
    Timer,
    /// Its producer was asked too often what became of the transaction.
    GivenUp,
}

impl Place {
    fn of(message: &Received) -> Place {
        match message.queue.topic.as_str() {
            HALF_TOPIC => Place::Half,
            SCHEDULE_TOPIC => Place::Schedule,
            TIMER_TOPIC => Place::Timer,
            TRANS_CHECK_MAX_TIME_TOPIC => Place::GivenUp,
            _ => Place::Own,
        }
    }

    /// The name that JSON has.
    fn name(self) -> &'static str {
        match self {
            Place::Own => "topic",
            Place::Half => "half message",
            Place::Schedule => "schedule",
            Place::Timer => "timer",
            Place::GivenUp => "given up",
        }
    }
}

/// Messages with an id that are not in a topic of their own yet.
async fn waiting(admin: &Admin, id: &str) -> Result<Vec<Received>, Failure> {
    for place in WAITING_PLACES {
        let mut found = copies(admin, place, id).await?;
        if !found.is_empty() {
            // What waits is written anew at times; the latest says how it is now.
            found.sort_by_key(|message| std::cmp::Reverse(message.stored_at_ms));
            found.truncate(1);
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

fn tell_origin(message: &Received, story: &mut Story) {
    let times = Times::new();
    let tag = message.tag().map(|tag| format!(", tag {tag}")).unwrap_or_default();
    let keys: Vec<&str> = message.keys().collect();
    let keys = if keys.is_empty() {
        String::new()
    } else {
        format!(", {} {}", plural_of_keys(keys.len()), list(&keys))
    };
    let (id, offset_id) = (message.message_id(), message.offset_id());
    let size = bytes(message.body.len() as u64);
    story.tell(format!("Message {id} (offset id {offset_id}) has {size}{tag}{keys}."));
    let (host, queue) = (message.born_host, &message.queue);
    let (born, stored) = (times.told(message.born_at_ms), times.told(message.stored_at_ms));
    let took = message.stored_at_ms - message.born_at_ms;
    let took = if took < 0 { String::new() } else { format!(", {} later", span(took)) };
    story.tell(format!(
        "{host} made it at {born}. Broker {} stored it at {stored}{took}, in queue {} of topic {} at {}; its record \
         has {} at {} of the log.",
        queue.broker_name,
        queue.queue_id,
        queue.topic,
        message.offset,
        bytes(message.stored_bytes as u64),
        message.commit_log_offset
    ));
}

fn plural_of_keys(number: usize) -> &'static str {
    if number == 1 { "key" } else { "keys" }
}

/// What it went through before it came to its topic.
fn tell_past(message: &Received, story: &mut Story) {
    let times = Times::new();
    let moment = |name: &str| message.property(name).and_then(|text| text.parse::<i64>().ok());
    if let Some(due) = moment(props::TIMER_DELIVER_MS).or_else(|| moment(props::TIMER_OUT_MS)) {
        let late = message.stored_at_ms - due;
        story.tell(format!(
            "It was to come at {} and came {} after that.",
            times.told(due),
            span(late.max(0))
        ));
    }
    if message.property(props::TRAN_MSG) == Some("true") {
        let group = message.property(props::PGROUP).unwrap_or("-");
        story.tell(format!("It was sent in a transaction of producer group {group}, which was committed."));
    }
    if let Some(topic) = message.property("DLQ_ORIGIN_TOPIC") {
        story.tell(format!("It is a dead letter that was sent to topic {topic} first."));
    }
}

fn tell_waiting(message: &Received, place: Place, story: &mut Story) {
    let times = Times::new();
    let topic = message.property(props::REAL_TOPIC).unwrap_or("-");
    let moment = |name: &str| message.property(name).and_then(|text| text.parse::<i64>().ok());
    match place {
        Place::Own => (),
        Place::Schedule => {
            let level = message.property(props::DELAY).unwrap_or("-");
            story.tell(format!(
                "No group sees it yet: it waits for the end of delay level {level} and goes to topic {topic} then."
            ));
            story.advise("`thrust broker config get messageDelayLevel` shows how long the levels are");
        }
        Place::Timer => {
            let due = moment(props::TIMER_DELIVER_MS).or_else(|| moment(props::TIMER_OUT_MS)).unwrap_or(0);
            let when = if due > 0 { format!(" at {}", times.told(due)) } else { String::new() };
            story.tell(format!(
                "No group sees it yet: it waits in the timer and goes to topic {topic}{when}."
            ));
            if due > 0 && due < times.now_ms() {
                story.tell(
                    "That is past: it went to its topic and is not there any more, or the timer lags behind.",
                );
                story.advise("`thrust broker status` shows timerReadBehind and timerEnqueueBehind");
            }
        }
        Place::Half => {
            let group = message.property(props::PGROUP).unwrap_or("-");
            let checks = message.property(CHECK_TIMES).unwrap_or("0");
            story.tell(format!(
                "No group sees it: it is a half message for topic {topic} of producer group {group}, which has not \
                 committed it: the transaction is open or was rolled back. The broker has asked the producer {checks} \
                 times."
            ));
            story.advise(format!(
                "look at the log of producer group {group} for transaction {}",
                message.message_id()
            ));
        }
        Place::GivenUp => {
            story.tell(
                "No group sees it: it is a half message whose producer did not say what became of the transaction, \
                 and the broker has given up asking.",
            );
            story.advise("mend the producer, and send what is missing again");
        }
    }
}

/// What is around it in its queue, and how long it is kept. What cannot be had is not told.
async fn tell_surroundings(admin: &Admin, message: &Received, story: &mut Story) {
    if let Ok(max) = admin.max_offset(&message.queue).await {
        let behind = (max - message.offset - 1).max(0);
        story.tell(format!("{} came behind it in its queue.", count(behind, "message")));
    }
    let config = admin.broker_config(&message.store_host.to_string()).await.unwrap_or_default();
    let hours: Option<i64> = config.get("fileReservedTime").and_then(|text| text.parse().ok());
    if let Some(hours) = hours {
        let until = message.stored_at_ms.saturating_add(hours.saturating_mul(3_600_000));
        story.tell(format!("It is kept at least until {}, if the disk has room.", Times::new().told(until)));
    }
}

fn tell_group(message: &Received, track: &Track, story: &mut Story) {
    let Track { group, members, fate, at, again } = track;
    let online = online(*members);
    let place = at.map_or("it has never read this queue".to_owned(), |at| format!("it stands at {at}"));
    story.tell(match fate {
        Fate::Read => format!("Group {group} ({online}) has read past it: {place}."),
        Fate::Filtered => {
            format!("Group {group} ({online}) has passed it over: its filter does not want it.")
        }
        Fate::NotYet => format!("Group {group} ({online}) has not come to it: {place}."),
        Fate::Broadcast => {
            format!("Group {group} ({online}) reads in broadcast: its members alone know how far.")
        }
    });
    if *fate == Fate::NotYet {
        let topic = &message.queue.topic;
        story.advise(match members {
            0 => format!(
                "start a consumer of group {group}, such as `thrust consume --topic {topic} --group {group}`"
            ),
            _ => format!("`thrust explain group {group}` says why it is behind"),
        });
    }
    let Some((times, again)) = again else { return };
    let times = count(times, "time");
    story.tell(format!("There it failed {times} and {}.", again.name()));
    if *again == Again::Dead {
        let (topic, id) = (dlq_topic(group), message.message_id());
        story.advise(format!("`thrust message find {id} --topic {topic}` shows the dead letter"));
        story.advise(format!("`thrust message resend {id} --group {group}` lets the group try it once more"));
    }
}
