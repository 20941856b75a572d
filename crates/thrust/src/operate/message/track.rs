//! `thrust message track`: what became of a message in every group that reads its topic.

use clap::Args;
use serde_json::{Value, json};
use thrustmq_client::{Admin, ConsumerConnection, Error, Received, SubscriptionData};
use wire::names::{SCHEDULE_TOPIC, dlq_topic, retry_topic};
use wire::properties::REAL_TOPIC;

use super::facts::print_ids;
use super::search::must_find;
use crate::failure::Failure;
use crate::output::screen::{print, print_json, print_table};
use crate::output::table::Table;
use crate::target::Target;

#[derive(Debug, Args)]
pub struct TrackArgs {
    /// Id of the message, of any form, or a key of it.
    id: String,
    /// Its topic [default: all are asked].
    #[arg(short, long)]
    topic: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// What became of a message in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The group has finished it, or everything up to it; one that failed is in `again`.
    Read,
    /// The group has passed it over: its filter does not want it.
    Filtered,
    /// The group has not come so far.
    NotYet,
    /// Every member reads for itself and keeps its offsets itself.
    Broadcast,
}

impl Fate {
    /// The name that JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Fate::Read => "read",
            Fate::Filtered => "filtered",
            Fate::NotYet => "not yet",
            Fate::Broadcast => "broadcast",
        }
    }
}

/// Where a message is that failed in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Again {
    /// Its next attempt waits for its time.
    Waits,
    /// Its next attempt is in the retry topic and not finished.
    Offered,
    /// An attempt from the retry topic was finished.
    Read,
    /// It is a dead letter.
    Dead,
}

impl Again {
    pub fn name(self) -> &'static str {
        match self {
            Again::Waits => "waits for its next attempt",
            Again::Offered => "is offered again",
            Again::Read => "was read again",
            Again::Dead => "is a dead letter",
        }
    }
}

/// A message in one group.
#[derive(Debug)]
pub struct Track {
    pub group: String,
    /// Members that are online.
    pub members: usize,
    pub fate: Fate,
    /// Where the group stands in the queue of the message, if it has been there.
    pub at: Option<i64>,
    /// Failures so far, and where it is now; `None` when it never failed.
    pub again: Option<(i32, Again)>,
}

/// Follows a message through all groups that have read its topic or are online for it.
///
/// # Errors
/// When a broker does not answer.
pub async fn tracks(admin: &Admin, message: &Received) -> Result<Vec<Track>, Failure> {
    let mut tracks = Vec::new();
    for group in admin.groups_of_topic(&message.queue.topic).await? {
        let online = admin.consumers(&group).await?;
        let at = admin.committed(&group, &message.queue).await?;
        let members = online.as_ref().map_or(0, |online| online.connection_set.len());
        let fate = fate(message, at, online.as_ref());
        let again = again(admin, &group, message).await?;
        tracks.push(Track { group, members, fate, at, again });
    }
    Ok(tracks)
}

fn fate(message: &Received, at: Option<i64>, online: Option<&ConsumerConnection>) -> Fate {
    if online.is_some_and(|online| online.message_model == "BROADCASTING") {
        return Fate::Broadcast;
    }
    let filter = online.and_then(|online| online.subscription_table.get(&message.queue.topic));
    match at {
        Some(at) if at > message.offset && filter.is_some_and(|filter| !wants(filter, message.tag())) => {
            Fate::Filtered
        }
        Some(at) if at > message.offset => Fate::Read,
        _ => Fate::NotYet,
    }
}

/// Whether a filter by tags lets a tag through. Conditions on properties are for the broker to tell: yes.
pub fn wants(filter: &SubscriptionData, tag: Option<&str>) -> bool {
    let expression = filter.sub_string.trim();
    if filter.expression_type != "TAG" || expression.is_empty() || expression == "*" {
        return true;
    }
    tag.is_some_and(|tag| expression.split("||").any(|wanted| wanted.trim() == tag))
}

/// Looks for later attempts: those that wait, those in the retry topics of the group, and dead letters.
async fn again(admin: &Admin, group: &str, message: &Received) -> Result<Option<(i32, Again)>, Failure> {
    let id = &message.message_id();
    let mut found: Option<(i32, Again)> = None;
    let mut see = |times: i32, again: Again| found = found.max(Some((times, again)));
    let topic = message.topic();
    // Groups that pop have a retry topic for each topic, with a name that depends on the broker's version.
    let retry_topics = [
        retry_topic(group),
        retry_topic(&format!("{group}+{topic}")),
        retry_topic(&format!("{group}_{topic}")),
    ];
    for copy in copies(admin, SCHEDULE_TOPIC, id).await? {
        if copy.property(REAL_TOPIC).is_some_and(|real| retry_topics.iter().any(|topic| topic == real)) {
            see(copy.reconsume_times, Again::Waits);
        }
    }
    for topic in &retry_topics {
        for copy in copies(admin, topic, id).await? {
            let at = admin.committed(group, &copy.queue).await?;
            let is_read = at.is_some_and(|at| at > copy.offset);
            see(copy.reconsume_times, if is_read { Again::Read } else { Again::Offered });
        }
    }
    for copy in copies(admin, &dlq_topic(group), id).await? {
        see(copy.reconsume_times, Again::Dead);
    }
    Ok(found)
}

/// Messages with an id in a topic that need not be there.
pub async fn copies(admin: &Admin, topic: &str, id: &str) -> Result<Vec<Received>, Failure> {
    match admin.messages_by_unique_key(topic, id).await {
        Err(Error::NoRoute { .. }) => Ok(Vec::new()),
        other => Ok(other?),
    }
}

pub async fn run(args: &TrackArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let found = must_find(&admin, &args.id, args.topic.as_deref()).await?;
    let mut all = Vec::new();
    for message in found.originals() {
        let tracks = tracks(&admin, &message).await?;
        all.push((message, tracks));
    }
    if args.target.json {
        return print_json(&all.iter().map(|(message, tracks)| track_json(message, tracks)).collect());
    }
    for (i, (message, tracks)) in all.iter().enumerate() {
        if i > 0 {
            print("\n")?;
        }
        print_ids(message)?;
        let mut table = Table::new(&["GROUP", ">MEMBERS", "STATE", ">GROUP AT", "AFTER A FAILURE"]);
        for track in tracks {
            let at = track.at.map_or("-".to_owned(), |at| at.to_string());
            let again =
                track.again.map_or("-".to_owned(), |(times, again)| format!("{times}: {}", again.name()));
            table.row([
                track.group.clone(),
                track.members.to_string(),
                track.fate.name().to_owned(),
                at,
                again,
            ]);
        }
        print("\n")?;
        print_table(&table, "no group has read this topic, and none is online for it")?;
    }
    Ok(())
}

fn track_json(message: &Received, tracks: &[Track]) -> Value {
    let groups = tracks.iter().map(tracked_json);
    json!({
        "messageId": message.message_id(),
        "offsetId": message.offset_id(),
        "topic": message.topic(),
        "broker": message.queue.broker_name,
        "queueId": message.queue.queue_id,
        "offset": message.offset,
        "groups": groups.collect::<Vec<_>>(),
    })
}

/// One group of a track, for machines.
pub fn tracked_json(track: &Track) -> Value {
    json!({
        "group": track.group,
        "members": track.members,
        "state": track.fate.name(),
        "consumerOffset": track.at,
        "failures": track.again.map_or(0, |(times, _)| times),
        "afterFailure": track.again.map(|(_, again)| again.name()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(kind: &str, expression: &str) -> SubscriptionData {
        SubscriptionData {
            expression_type: kind.to_owned(),
            sub_string: expression.to_owned(),
            ..SubscriptionData::default()
        }
    }

    #[test]
    fn filters_by_tags_are_judged_and_conditions_are_not() {
        let tags = filter("TAG", "paid || created");
        assert!(wants(&tags, Some("paid")) && wants(&tags, Some("created")));
        assert!(!wants(&tags, Some("pai")) && !wants(&tags, None));
        assert!(wants(&filter("TAG", "*"), None) && wants(&filter("SQL92", "n > 1"), None));
    }

    #[test]
    fn the_latest_attempt_is_what_is_told() {
        let mut found: Option<(i32, Again)> = None;
        for seen in [(1, Again::Read), (2, Again::Offered), (2, Again::Waits)] {
            found = found.max(Some(seen));
        }
        assert_eq!(found, Some((2, Again::Offered)));
    }
}
