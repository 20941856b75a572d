//! Orderly consumption whose handler says what is written down and when (client.md §3.5).

use std::sync::Arc;

use super::{Delivered, Place, Seat, Source, USUAL};
use crate::hooks::ConsumeOutcome;
use crate::received::Received;

/// What becomes of messages whose handler writes offsets down itself: see
/// [`serve_orderly`](crate::ConsumerBuilder::serve_orderly). The names are Java's, for a context without automatic
/// commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumeOrderlyStatus {
    /// They are done, but not written down: the next messages of the queue come.
    Success,
    /// They are done, and so is everything of the queue before them: the offset is written down.
    Commit,
    /// They come again, and with them everything of the queue since the last commit. It does not count as a failure.
    Rollback,
    /// They failed and come again by themselves after a pause; too often, and they are dead letters.
    SuspendCurrentQueueAMoment,
}

/// Does with messages of one queue what their handler says.
pub(in crate::consumer) async fn settle_orderly(some: Vec<Delivered>, status: ConsumeOrderlyStatus) {
    match status {
        ConsumeOrderlyStatus::Success => some.into_iter().for_each(Delivered::keep),
        ConsumeOrderlyStatus::Commit => commit(some),
        ConsumeOrderlyStatus::Rollback => Box::pin(roll_back(some)).await,
        ConsumeOrderlyStatus::SuspendCurrentQueueAMoment => {
            for delivered in some {
                delivered.failed(USUAL).await;
            }
        }
    }
}

/// Everything of the queue up to these is done.
fn commit(some: Vec<Delivered>) {
    if let Some(Place::Pulled(seat)) = some.first().and_then(|first| first.place.as_ref()) {
        seat.commit_kept();
    }
    some.into_iter().for_each(Delivered::ack);
}

/// These and everything of the queue since the last commit come again, after a pause in which nothing of it does.
async fn roll_back(mut some: Vec<Delivered>) {
    let seats: Vec<_> = some.iter_mut().filter_map(Delivered::undo).collect();
    let Some((first, _)) = seats.first() else { return };
    let source = Arc::clone(&first.source);
    let Source { member, assigned, generation } = &*source;
    if assigned.direct {
        assigned.restart(0);
        return;
    }
    // From here on nobody has them in hands.
    let messages: Vec<_> = seats.into_iter().map(|(_, message)| message).collect();
    let (member, assigned, generation) = (Arc::clone(member), Arc::clone(assigned), *generation);
    member.runtime.clone().spawn(async move {
        tokio::time::sleep(member.options.pause).await;
        let mut line = assigned.line.lock();
        if assigned.generation() != generation {
            return;
        }
        line.kept_again(generation);
        for message in messages {
            line.again(generation, message);
        }
        drop(line);
        member.next_in_line(&assigned);
    });
}

impl Delivered {
    /// It is done, and written down with the next commit.
    fn keep(mut self) {
        if let Some(Place::Pulled(seat)) = self.settle(ConsumeOutcome::Done) {
            seat.keep(self.message.clone());
        }
    }

    /// It was in hands in vain.
    fn undo(&mut self) -> Option<(Seat, Received)> {
        match self.settle(ConsumeOutcome::Failed)? {
            Place::Pulled(seat) => Some((seat, self.message.clone())),
            Place::Popped(_) => None,
        }
    }
}

impl Seat {
    fn keep(self, message: Received) {
        let Source { member, assigned, generation } = &*self.source;
        if assigned.direct {
            self.done(message.offset);
            return;
        }
        let mut line = assigned.line.lock();
        // Under the lock, which a restart takes after it has changed the generation.
        if assigned.generation() == *generation {
            line.keep(*generation, message);
        }
        drop(line);
        member.next_in_line(assigned);
    }

    fn commit_kept(&self) {
        let Source { member, assigned, generation } = &*self.source;
        let kept = assigned.line.lock().take_kept(*generation);
        let offsets = kept.iter().map(|message| message.offset);
        member.settle(assigned, *generation, offsets);
    }
}
