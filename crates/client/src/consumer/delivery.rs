//! Messages in the application's hands, and what becomes of them.

mod orderly;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub use orderly::ConsumeOrderlyStatus;
pub(super) use orderly::settle_orderly;

use super::member::{Assigned, Batch, DEAD, Member, Popped, Receipt};
use crate::hooks::{ConsumeOutcome, Watched};
use crate::received::Received;

/// Pause before a message that could not be sent back is given out again here.
const LOCAL_PAUSE: Duration = Duration::from_secs(5);
/// The broker chooses the delay by how often the message failed.
const USUAL: i32 = 0;
/// Delay level of a message whose handler took too long.
const LATE: i32 = 3;

/// A message to be settled: with [`ack`](Delivered::ack), [`retry`](Delivered::retry) or
/// [`dead_letter`](Delivered::dead_letter). It can be read as a [`Received`].
///
/// Dropping it means that it failed: it comes again later.
#[derive(Debug)]
#[must_use = "a message that is not settled comes again"]
pub struct Delivered {
    message: Received,
    /// How it is settled, until it is.
    place: Option<Place>,
    /// While hooks watch what becomes of it.
    watched: Option<Watched>,
}

/// Where a message came from, which is where its fate is told.
#[derive(Debug)]
enum Place {
    Pulled(Seat),
    Popped(Receipt),
}

#[derive(Debug)]
struct Seat {
    source: Arc<Source>,
    /// Since when the application has it; before that nobody needs to settle it.
    handed: Option<Instant>,
}

/// Where the messages of one pull came from.
#[derive(Debug)]
struct Source {
    member: Arc<Member>,
    assigned: Arc<Assigned>,
    generation: u64,
}

impl std::ops::Deref for Delivered {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.message
    }
}

impl From<Popped> for Delivered {
    fn from(popped: Popped) -> Delivered {
        let Popped { message, receipt, watched } = popped;
        Delivered { message, place: Some(Place::Popped(receipt)), watched }
    }
}

impl Delivered {
    /// The messages of a pull.
    pub(super) fn of(member: &Arc<Member>, batch: Batch) -> impl Iterator<Item = Delivered> {
        let Batch { assigned, generation, messages } = batch;
        let source = Arc::new(Source { member: Arc::clone(member), assigned, generation });
        messages.into_iter().map(move |message| {
            let seat = Seat { source: Arc::clone(&source), handed: None };
            Delivered { message, place: Some(Place::Pulled(seat)), watched: None }
        })
    }

    /// The message, if it was popped.
    pub(super) fn into_popped(mut self) -> Option<Popped> {
        match self.place.take()? {
            Place::Popped(receipt) => {
                let (message, watched) = (self.message.clone(), self.watched.take());
                Some(Popped { message, receipt, watched })
            }
            Place::Pulled(_) => None,
        }
    }

    /// Counts the message as in the application's hands; false when it is not this member's any more.
    pub(super) fn hand_over(&mut self) -> bool {
        let Some(place) = &mut self.place else { return false };
        let handed = match place {
            Place::Pulled(seat) => seat.hand_over(),
            Place::Popped(receipt) => receipt.hand_over(),
        };
        if handed {
            self.watched = place.member().consuming(&self.message);
        }
        handed
    }

    /// Ends the application's part; `None` when that has ended already.
    fn settle(&mut self, outcome: ConsumeOutcome) -> Option<Place> {
        let place = self.place.take()?;
        place.count(outcome == ConsumeOutcome::Done);
        place.member().consumed(self.watched.take(), &self.message, outcome);
        Some(place)
    }

    /// The message itself, for a handler.
    pub(super) fn message(&self) -> Received {
        self.message.clone()
    }

    /// It is done. The offset is written down a little later, and at the end.
    pub fn ack(mut self) {
        match self.settle(ConsumeOutcome::Done) {
            Some(Place::Pulled(seat)) => seat.done(self.message.offset),
            Some(Place::Popped(receipt)) => receipt.acknowledge_later(),
            None => (),
        }
    }

    /// It failed, and comes again: after a time that grows with each failure, or for orderly consumers after a short
    /// pause and before all others of its queue. After too many failures it is a dead letter.
    pub async fn retry(self) {
        self.failed(USUAL).await;
    }

    /// It failed, and comes again after a delay level of the broker's, from 1. Orderly consumers pause as they always
    /// do.
    pub async fn retry_after_level(self, level: u32) {
        self.failed(i32::try_from(level).unwrap_or(USUAL)).await;
    }

    /// It will never be done: it goes to the group's dead letter topic.
    pub async fn dead_letter(self) {
        self.failed(DEAD).await;
    }

    async fn failed(self, level: i32) {
        let outcome = if level == DEAD { ConsumeOutcome::Dead } else { ConsumeOutcome::Failed };
        self.failed_as(outcome, level).await;
    }

    /// How long a handler may have it: an orderly queue waits for as long as it takes, and what was popped has a time
    /// of its own.
    pub(super) fn time_limit(&self) -> Option<Duration> {
        match self.place.as_ref()? {
            Place::Pulled(seat) => {
                let options = &seat.source.member.options;
                (!options.orderly).then_some(options.consume_timeout)
            }
            Place::Popped(_) => None,
        }
    }

    /// For how long nobody else gets it, if it was popped and somebody else may.
    pub(super) fn hidden_for(&self) -> Option<Duration> {
        match self.place.as_ref()? {
            Place::Pulled(_) => None,
            Place::Popped(receipt) => Some(receipt.left()).filter(|left| !left.is_zero()),
        }
    }

    /// Hides it for so long from now, if it was popped.
    pub(super) async fn hide_for(&mut self, hidden: Duration) {
        let Some(Place::Popped(receipt)) = &mut self.place else { return };
        if let Err(error) = receipt.hide(hidden).await {
            let id = self.message.message_id();
            tracing::warn!(%id, "a message in hands is not hidden for longer: {error}");
        }
    }

    /// Its handler has taken too long: it holds its queue back no longer, and comes again.
    pub(super) async fn late(self) {
        tracing::warn!(id = %self.message.message_id(), "a handler takes too long; the message comes again");
        self.failed_as(ConsumeOutcome::TimedOut, LATE).await;
    }

    /// Whether a handler may take it together with another: they were read from one queue, or popped together.
    pub(super) fn goes_with(&self, other: &Delivered) -> bool {
        match (&self.place, &other.place) {
            (Some(Place::Pulled(one)), Some(Place::Pulled(two))) => {
                Arc::ptr_eq(&one.source.assigned, &two.source.assigned)
            }
            (Some(Place::Popped(one)), Some(Place::Popped(two))) => one.goes_with(two),
            _ => false,
        }
    }

    async fn failed_as(mut self, outcome: ConsumeOutcome, level: i32) {
        if let Some(place) = self.settle(outcome) {
            // Boxed, as it is the exception and would make every handler's future large.
            Box::pin(place.failed(self.message.clone(), level)).await;
        }
    }
}

impl Drop for Delivered {
    fn drop(&mut self) {
        let Some(place) = self.settle(ConsumeOutcome::Dropped).filter(Place::is_handed) else { return };
        tracing::debug!(id = %self.message.message_id(), "dropped without being settled; it comes again");
        let message = self.message.clone();
        let runtime = place.member().runtime.clone();
        runtime.spawn(async move { place.failed(message, USUAL).await });
    }
}

impl Place {
    fn member(&self) -> &Arc<Member> {
        match self {
            Place::Pulled(seat) => &seat.source.member,
            Place::Popped(receipt) => receipt.member(),
        }
    }

    fn is_handed(&self) -> bool {
        match self {
            Place::Pulled(seat) => seat.handed.is_some(),
            Place::Popped(receipt) => receipt.is_handed(),
        }
    }

    /// Counts how long the application had it, if it did, and whether it is done.
    fn count(&self, done: bool) {
        match self {
            Place::Pulled(seat) => seat.count(done),
            Place::Popped(receipt) => receipt.count(done),
        }
    }

    async fn failed(self, message: Received, level: i32) {
        match self {
            Place::Pulled(seat) => seat.failed(message, level).await,
            Place::Popped(receipt) => {
                let id = message.message_id().into_owned();
                if let Err(error) = receipt.failed(message, level).await {
                    tracing::warn!(id, "a message comes again when its time is over: {error}");
                }
            }
        }
    }
}

impl Seat {
    fn hand_over(&mut self) -> bool {
        let Source { member, assigned, generation } = &*self.source;
        if assigned.generation() != *generation || !member.reads(assigned) {
            return false;
        }
        self.handed = Some(Instant::now());
        assigned.hands.take();
        true
    }

    fn count(&self, done: bool) {
        let Some(since) = self.handed else { return };
        let Source { member, assigned, .. } = &*self.source;
        let now = Instant::now();
        assigned.status.consumed(now.saturating_duration_since(since), done);
        assigned.last_consume_ms.store(member.unix_ms(now), Ordering::Relaxed);
    }

    fn done(self, offset: i64) {
        let Source { member, assigned, generation } = &*self.source;
        let settled = member.settle(assigned, *generation, [offset]);
        if settled && member.options.orderly && !assigned.direct {
            assigned.line.lock().settled();
            member.next_in_line(assigned);
        }
    }

    async fn failed(self, message: Received, level: i32) {
        let Source { member, assigned, .. } = &*self.source;
        if assigned.direct {
            assigned.restart(message.offset);
            return;
        }
        let id = message.message_id();
        if member.is_broadcast() {
            tracing::warn!(group = member.group, %id, "a message failed; in broadcast it does not come again");
            self.done(message.offset);
            return;
        }
        let too_often = message.reconsume_times >= member.retries_max();
        let orderly = member.options.orderly;
        if orderly && level != DEAD && !too_often {
            self.again_later(message.clone(), member.options.pause);
            return;
        }
        let level = if too_often && orderly { DEAD } else { level };
        match member.send_back(&message, message.topic(), level).await {
            Ok(()) => self.done(message.offset),
            Err(error) => {
                let group = &member.group;
                tracing::warn!(group, %id, "a message cannot be sent back and is tried here: {error}");
                self.again_later(message.clone(), LOCAL_PAUSE);
            }
        }
    }

    /// Gives the message out again from here, unless the queue went to somebody else meanwhile.
    fn again_later(&self, mut message: Received, pause: Duration) {
        message.reconsume_times += 1;
        let source = Arc::clone(&self.source);
        let runtime = source.member.runtime.clone();
        runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            let Source { member, assigned, generation } = &*source;
            let generation = *generation;
            if assigned.generation() != generation {
                return;
            }
            if member.options.orderly {
                assigned.line.lock().again(generation, message);
                member.next_in_line(assigned);
            } else if member.reads(assigned) {
                member.offer(assigned, generation, vec![message]);
            }
        });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.handed.is_some() {
            self.source.assigned.hands.give();
        }
    }
}
