//! Writing down how far a group has come: at the broker, or for broadcast in a file (client.md §3.7).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::{AbortHandle, JoinSet};
use wire::body::MessageQueue;

use super::lock::by_broker;
use super::member::{Assigned, Member, Unanswered};
use crate::error::Error;

/// Regular times after which also offsets are sent that have not changed: a member that had the queue before may have
/// set one back.
const UNCHANGED: u32 = 12;

/// Which offsets brokers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Changed,
    All,
}

impl Member {
    /// How far the group has come in a queue, if it has ever been there.
    pub(super) async fn stored(&self, queue: &MessageQueue) -> Result<Option<i64>, Error> {
        if self.is_broadcast() {
            return Ok(self.in_file.lock().get(queue).copied());
        }
        self.shared.committed(&self.group, queue).await
    }

    /// Writes down regularly how far everything was read. A broker that does not answer in time is left out until it
    /// has; the others do not wait for it.
    pub(super) async fn commit_for_ever(self: &Arc<Self>) {
        let mut tasks = JoinSet::new();
        let mut busy: BTreeMap<String, AbortHandle> = BTreeMap::new();
        for round in (0..UNCHANGED).cycle() {
            tokio::time::sleep(self.options.commit).await;
            let queues = self.assigned();
            if self.is_broadcast() {
                self.commit_to_file(&queues);
                continue;
            }
            while tasks.try_join_next().is_some() {}
            busy.retain(|_, task| !task.is_finished());
            let told = if round + 1 == UNCHANGED { Told::All } else { Told::Changed };
            for (broker, queues) in by_broker(&queues) {
                if !busy.contains_key(broker) {
                    busy.insert(broker.to_owned(), tasks.spawn(self.commit_at_broker(queues, told)));
                }
            }
        }
    }

    /// Writes down all queues whose offset has changed, as far as that works.
    pub(super) async fn commit_all(self: &Arc<Self>) {
        // What did not work was logged, and is tried again.
        let _ = self.commit(&self.assigned()).await;
    }

    /// Writes down those of these queues whose offset has changed, at all brokers at a time, and gives an error if
    /// there was one.
    pub(super) async fn commit(self: &Arc<Self>, queues: &[Arc<Assigned>]) -> Result<(), Error> {
        if self.is_broadcast() {
            self.commit_to_file(queues);
            return Ok(());
        }
        let mut tasks = JoinSet::new();
        for queues in by_broker(queues).into_values() {
            tasks.spawn(self.commit_at_broker(queues, Told::Changed));
        }
        let mut outcome = Ok(());
        while let Some(ended) = tasks.join_next().await {
            // It fails when the task panics, which none does.
            outcome = outcome.and(ended.unwrap_or(Ok(())));
        }
        outcome
    }

    /// Writes down queues of one broker, one after the other, and gives the first error. After one that it does not
    /// answer it is not asked about the others: each would take as long.
    fn commit_at_broker(
        self: &Arc<Self>,
        queues: Vec<Arc<Assigned>>,
        told: Told,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let member = Arc::clone(self);
        async move {
            let mut outcome = Ok(());
            for assigned in queues {
                let Err(error) = member.commit_one(&assigned, told).await else { continue };
                let (group, queue) = (&member.group, &assigned.queue);
                tracing::warn!(group, ?queue, "the offset is not written down: {error}");
                let silent = matches!(error, Error::Connect { .. } | Error::Timeout { .. });
                outcome = outcome.and(Err(error));
                if silent {
                    break;
                }
            }
            outcome
        }
    }

    async fn commit_one(&self, assigned: &Assigned, told: Told) -> Result<(), Error> {
        // Of two at a time the one with the older offset could come last.
        let mut unanswered = assigned.writing.lock().await;
        let offset = assigned.window.lock().committable();
        let is_known = unanswered.is_none() && assigned.committed.load(Ordering::Acquire) == offset;
        if told == Told::Changed && is_known {
            return Ok(());
        }
        if assigned.is_revoked() && !self.wrote_last(assigned, &unanswered).await? {
            // Its next member has come further, and would neither know nor mend that it is set back.
            return Ok(());
        }
        // Before it is sent: who waits for the answer may be cancelled.
        unanswered.tell(offset);
        let answer = self.shared.commit(&self.group, &assigned.queue, offset).await;
        match &answer {
            Ok(()) => {
                unanswered.answered();
                assigned.committed.store(offset, Ordering::Release);
            }
            Err(error) if error.maybe_done() => (),
            Err(_) => unanswered.not_told(),
        }
        answer
    }

    /// Whether nobody has written down an offset of a queue since this member did, as far as it knows what it wrote.
    async fn wrote_last(&self, assigned: &Assigned, unanswered: &Unanswered) -> Result<bool, Error> {
        let Some(stored) = self.stored(&assigned.queue).await? else { return Ok(true) };
        Ok(stored == assigned.committed.load(Ordering::Acquire) || unanswered.has(stored))
    }

    fn commit_to_file(&self, queues: &[Arc<Assigned>]) {
        let mut changed = self.file_is_behind.load(Ordering::Acquire);
        for assigned in queues {
            let offset = assigned.window.lock().committable();
            if assigned.committed.swap(offset, Ordering::AcqRel) != offset {
                self.in_file.lock().insert(MessageQueue::clone(&assigned.queue), offset);
                changed = true;
            }
        }
        if changed {
            self.write_file();
        }
    }

    fn write_file(&self) {
        let Some(file) = &self.file else { return };
        // Who writes later has more. A few hundred bytes: not worth a thread of its own.
        let offsets = self.in_file.lock();
        let written = file.write(&offsets);
        self.file_is_behind.store(written.is_err(), Ordering::Release);
        if let Err(error) = written {
            tracing::warn!(group = self.group, "{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use parking_lot::Mutex;
    use wire::code::{request, response};

    use super::super::member::tests::{knows, member, queue};
    use super::super::options::{Options, Role};
    use super::*;
    use crate::pretended::{Said, pretend};

    /// What a broker has been told of the one group and queue.
    #[derive(Default)]
    struct Kept {
        offset: Mutex<Option<i64>>,
        /// It takes offsets and does not answer.
        loses_answers: AtomicBool,
    }

    impl Kept {
        fn lose_answers(&self, lose: bool) {
            self.loses_answers.store(lose, Ordering::Release);
        }
    }

    /// A member that has one queue at a broker.
    async fn with_queue() -> (Arc<Member>, Arc<Assigned>, Arc<Kept>, remoting::Server) {
        let kept = Arc::new(Kept::default());
        let broker = Arc::clone(&kept);
        let (address, server) = pretend(move |asked| match asked.header.code {
            request::UPDATE_CONSUMER_OFFSET => {
                *broker.offset.lock() = asked.header.fields.number("commitOffset");
                (!broker.loses_answers.load(Ordering::Acquire)).then(|| Said::code(response::SUCCESS))
            }
            _ => Some(match *broker.offset.lock() {
                Some(offset) => Said::offset(offset),
                None => Said::code(response::QUERY_NOT_FOUND),
            }),
        });
        let member = member(Options::usual(Role::Push));
        knows(&member, "b", &address);
        let assigned = queue(&member, 0);
        (member, assigned, kept, server)
    }

    fn comes_to(assigned: &Assigned, offset: i64) {
        let mut window = assigned.window.lock();
        let generation = window.generation();
        window.pulled(generation, [], offset);
    }

    #[tokio::test]
    async fn a_queue_that_goes_is_written_down_though_an_answer_was_lost_before() {
        let (member, assigned, kept, _server) = with_queue().await;
        let all = std::slice::from_ref(&assigned);
        comes_to(&assigned, 3);
        member.commit(all).await.unwrap();
        kept.lose_answers(true);
        for offset in [5, 6] {
            comes_to(&assigned, offset);
            member.commit(all).await.unwrap_err();
        }
        kept.lose_answers(false);
        assigned.revoked.store(true, Ordering::Release);
        comes_to(&assigned, 7);
        member.commit(all).await.unwrap();
        assert_eq!(*kept.offset.lock(), Some(7));
        *kept.offset.lock() = Some(9);
        comes_to(&assigned, 8);
        member.commit(all).await.unwrap();
        assert_eq!(*kept.offset.lock(), Some(9), "its next member has come further");
    }

    #[tokio::test]
    async fn offsets_that_a_file_did_not_take_are_written_when_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("offsets");
        let member = member(Options { broadcast: Some(place.clone()), ..Options::usual(Role::Push) });
        let assigned = queue(&member, 0);
        comes_to(&assigned, 3);
        std::fs::write(&place, "a file where the folder should be").unwrap();
        member.commit_all().await;
        std::fs::remove_file(&place).unwrap();
        member.commit_all().await;
        let written = member.file.as_ref().unwrap().read().unwrap();
        assert_eq!(written, [(MessageQueue::clone(&assigned.queue), 3)].into());
    }

    #[tokio::test]
    async fn an_offset_that_is_set_back_to_the_last_one_confirmed_is_told_if_the_broker_may_have_another() {
        let (member, assigned, kept, _server) = with_queue().await;
        let all = std::slice::from_ref(&assigned);
        comes_to(&assigned, 3);
        member.commit(all).await.unwrap();
        kept.lose_answers(true);
        comes_to(&assigned, 5);
        member.commit(all).await.unwrap_err();
        kept.lose_answers(false);
        assigned.restart(3);
        member.commit(all).await.unwrap();
        assert_eq!(*kept.offset.lock(), Some(3));
    }
}
