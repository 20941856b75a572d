//! What the broker of a message tells of it by itself. Java's brokers do not; then it is asked for piece by piece.

use thrustmq_client::{
    Admin, MessageStory, Received, StoryGroup, StoryPosition, StoryRecord, StoryRole, StoryTransactionState,
};

use super::story::Story;
use crate::moment::{Times, span};
use crate::operate::message::track::{Again, Fate, Track};
use crate::output::words::count;

/// The broker's own story of a message that was found in `topic`, if the broker tells stories.
pub async fn told(admin: &Admin, message: &Received, topic: Option<&str>) -> Option<MessageStory> {
    let address = message.store_host.to_string();
    // Whatever goes wrong here, there is the other way.
    admin.message_story(&address, topic, &message.message_id()).await.ok().flatten()
}

/// What became of the message in every group.
pub fn tracks(told: &MessageStory, message: &Received) -> Vec<Track> {
    told.groups.iter().map(|group| track(told, group, message)).collect()
}

fn track(told: &MessageStory, group: &StoryGroup, message: &Received) -> Track {
    let position =
        group.positions.iter().find(|position| position.physical_offset == message.commit_log_offset);
    let fate = match position {
        _ if group.broadcast => Fate::Broadcast,
        Some(position) if position.passed && position.wanted == Some(false) => Fate::Filtered,
        Some(position) if position.passed => Fate::Read,
        _ => Fate::NotYet,
    };
    Track {
        group: group.group.clone(),
        members: group.members as usize,
        fate,
        at: position.and_then(|position| position.consumer_offset),
        again: told.records.iter().filter_map(|record| again(group, record)).max(),
    }
}

/// What a record says about the failures of a group.
fn again(group: &StoryGroup, record: &StoryRecord) -> Option<(i32, Again)> {
    if record.group.as_ref() != Some(&group.group) {
        return None;
    }
    let state = match record.role {
        StoryRole::Delayed if record.waits => Again::Waits,
        StoryRole::Retry if has_passed(group, record) => Again::Read,
        StoryRole::Retry => Again::Offered,
        StoryRole::DeadLetter => Again::Dead,
        _ => return None,
    };
    Some((record.reconsume_times, state))
}

fn has_passed(group: &StoryGroup, record: &StoryRecord) -> bool {
    let is_it = |position: &&StoryPosition| position.physical_offset == record.physical_offset;
    group.positions.iter().find(is_it).is_some_and(|position| position.passed)
}

/// What only the broker knows: how the transaction went, what the message waited for, who has it in hand.
pub fn tell(told: &MessageStory, story: &mut Story) {
    tell_transaction(told, story);
    let times = Times::new();
    let readable = told.records.iter().find(|record| record.role == StoryRole::Message);
    for record in told.records.iter().filter(|record| record.group.is_none() && !record.waits) {
        let place = match record.role {
            StoryRole::Delayed => "behind a delay level",
            StoryRole::Timed => "in the timer",
            StoryRole::Recall => {
                let at = times.told(record.store_timestamp);
                story.tell(format!("It was taken back at {at}."));
                continue;
            }
            _ => continue,
        };
        let Some(readable) = readable else { continue };
        let waited = span(readable.store_timestamp.saturating_sub(record.store_timestamp).max(0));
        story.tell(format!(
            "It was stored at {} and waited {place} for {waited}.",
            times.told(record.store_timestamp)
        ));
    }
    for group in &told.groups {
        tell_hands(told, group, story);
    }
    if !told.complete {
        story.tell("The broker came to the end of what it looks at for one story: there may be more.");
    }
}

fn tell_transaction(told: &MessageStory, story: &mut Story) {
    let Some(transaction) = &told.transaction else { return };
    let times = Times::new();
    let at = transaction.ended_timestamp.map(|at| format!(" at {}", times.told(at))).unwrap_or_default();
    let number = transaction.half_offset;
    story.tell(match transaction.state {
        StoryTransactionState::Open => {
            let checks = count(transaction.checks.unwrap_or(0) as usize, "time");
            format!("The transaction of half message {number} is open; its producer was asked {checks}.")
        }
        StoryTransactionState::Committed => {
            format!("The transaction of half message {number} was committed{at}.")
        }
        StoryTransactionState::RolledBack => {
            format!("The transaction of half message {number} was rolled back{at}.")
        }
        StoryTransactionState::Discarded => {
            format!(
                "The broker gave up the transaction of half message {number}{at}: nobody said how it ends."
            )
        }
        StoryTransactionState::Decided => {
            format!(
                "The transaction of half message {number} was decided, and the log does not say how any more."
            )
        }
    });
}

/// Who popped it and has not acknowledged it, and when the next attempt comes.
fn tell_hands(told: &MessageStory, group: &StoryGroup, story: &mut Story) {
    let (name, times) = (&group.group, Times::new());
    for popped in group.positions.iter().flat_map(|position| &position.popped) {
        let (since, until) = (times.told(popped.pop_timestamp), times.told(popped.due_timestamp));
        story.tell(format!(
            "Group {name} popped it at {since} and has not acknowledged it; it comes back at {until} unless it does."
        ));
    }
    let parked = |record: &&StoryRecord| record.waits && record.group.as_ref() == Some(name);
    for due in told.records.iter().filter(parked).filter_map(|record| record.due_timestamp) {
        story.tell(format!("Its next attempt in group {name} is due at {}.", times.told(due)));
    }
}
