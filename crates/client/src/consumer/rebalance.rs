//! Dividing queues: which are mine now, giving up those that are not, starting with those that are new
//! (client.md §3.8).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use remoting::Answer;
use wire::body::{ConsumerIdList, MessageQueue};
use wire::code::{request, response};
use wire::names::RETRY_PREFIX;

use super::assignment::Share;
use super::lock::named_by_broker;
use super::member::{Assigned, Member};
use super::options::{Allocation, Role, StartFrom};
use crate::at_once::all_at_once;
use crate::error::Error;
use crate::fields::Fields;
use crate::route::Route;
use crate::shared::decode;

/// Pause before a division that did not work out is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Divisions in a row that are repeated after [`AGAIN`]: until the lock of a member that is gone is over. Then the
/// usual period is soon enough.
const EAGER_MAX: u32 = 60;

impl Member {
    pub(super) async fn rebalance_for_ever(self: &Arc<Self>) {
        let mut failures = 0;
        loop {
            let balanced = self.divide().await;
            failures = if balanced { 0 } else { failures + 1 };
            let eager = !balanced && failures < EAGER_MAX;
            let pause = if eager { AGAIN.min(self.options.rebalance) } else { self.options.rebalance };
            let _ = tokio::time::timeout(pause, self.rebalance.notified()).await;
        }
    }

    /// One division of all topics; false if it should soon be tried again.
    pub(super) async fn divide(self: &Arc<Self>) -> bool {
        let _alone = self.dividing.lock().await;
        if self.is_stopping() {
            return true;
        }
        self.silent.lock().clear();
        let mut balanced = true;
        let mut changed = false;
        for topic in &self.topics() {
            match self.share(topic).await {
                Ok(share) => {
                    let (all, some) = self.take_over(topic, share).await;
                    balanced &= all;
                    changed |= some;
                }
                Err(Error::NoRoute { .. }) if !self.is_subscribed(topic) => (),
                Err(Error::NoRoute { .. }) => balanced = false,
                Err(error) => {
                    tracing::warn!(group = self.group, topic, "queues are not divided: {error}");
                    balanced = false;
                }
            }
        }
        if changed {
            // Brokers drop what they know of subscriptions with older versions.
            self.newer_version();
            self.tell_watchers();
            self.shared.heartbeat_all().await;
        }
        balanced
    }

    /// Topics that there may be queues of, those last whose queues depend on those of others.
    fn topics(&self) -> Vec<String> {
        let mut topics = self.wanted_topics();
        // Also those that were wanted before, to be given up.
        let mut held: BTreeSet<_> = self.queues.lock().keys().map(|queue| queue.topic.clone()).collect();
        held.extend(self.popped.lock().keys().map(|queue| queue.topic.clone()));
        held.retain(|topic| !topics.contains(topic));
        topics.extend(held);
        topics
    }

    /// Topics that the application wants, and those that hold what failed of them while it was popped.
    fn wanted_topics(&self) -> Vec<String> {
        if self.options.allocation == Allocation::Application {
            let chosen = self.chosen.lock();
            let topics: BTreeSet<&String> = chosen.iter().map(|queue| &queue.topic).collect();
            return topics.into_iter().cloned().collect();
        }
        let mut topics = self.subscribed_topics();
        if self.is_told_by_brokers() {
            let left: Vec<_> = topics.iter().filter_map(|topic| self.left_by_pops(topic)).collect();
            topics.extend(left);
        }
        topics
    }

    /// Whether a topic holds what failed of another while that was popped, and is popped together with it now.
    fn is_popped_besides(&self, topic: &str) -> bool {
        let popped = self.popped.lock();
        popped.keys().any(|queue| self.left_by_pops(&queue.topic).is_some_and(|left| left == topic))
    }

    /// Whether brokers say which queues are this member's. They know no order, and in broadcast all are.
    fn is_told_by_brokers(&self) -> bool {
        self.options.allocation == Allocation::Brokers && !self.options.orderly && !self.is_broadcast()
    }

    /// Which queues of a topic are this member's now.
    async fn share(&self, topic: &str) -> Result<Share, Error> {
        if self.options.allocation == Allocation::Application {
            let chosen = self.chosen.lock();
            let pulled = chosen.iter().filter(|queue| queue.topic == topic).cloned().collect();
            return Ok(Share { pulled, ..Share::default() });
        }
        if !self.wanted_topics().iter().any(|wanted| wanted == topic) {
            return Ok(Share::default());
        }
        let route = self.shared.route(topic).await?;
        if self.options.role == Role::Pop {
            return Ok(self.popped_share(&route).await);
        }
        if self.is_told_by_brokers() {
            if self.is_popped_besides(topic) {
                return Ok(Share::default());
            }
            return self.assigned_by_brokers(&route).await;
        }
        Ok(Share { pulled: self.mine(topic, &route).await?, ..Share::default() })
    }

    async fn mine(&self, topic: &str, route: &Route) -> Result<BTreeSet<MessageQueue>, Error> {
        let mut queues = route.queues_to_read();
        // Java sorts so, and all members must.
        queues.sort_by(|a, b| (&a.broker_name, a.queue_id).cmp(&(&b.broker_name, b.queue_id)));
        if self.is_broadcast() {
            return Ok(queues.into_iter().collect());
        }
        let (address, members) = self.members(&route.addresses()).await?;
        if !members.contains(&self.shared.client_id) {
            // The broker has not heard of this member, or has forgotten it. Others may be silent, and would hold it up.
            self.shared.heartbeat(address).await;
            let what = format!("the broker does not know this reader of \"{topic}\" yet");
            return Err(Error::Illegal(what));
        }
        Ok(self.options.strategy.allocate(&self.shared.client_id, &queues, &members).into_iter().collect())
    }

    /// Ids of all members in order, from the first broker that can say, and its address.
    async fn members<'a>(&self, addresses: &[&'a str]) -> Result<(&'a str, Vec<String>), Error> {
        let mut last = Error::NoBroker { name: self.group.clone() };
        for address in addresses {
            let fields = Fields::new().text("consumerGroup", self.group.as_str());
            match self.ask_unless_silent(address, request::GET_CONSUMER_LIST_BY_GROUP, &fields, &[]).await {
                Ok(answer) => {
                    let mut members = decode::<ConsumerIdList>(address, &answer)?.consumer_id_list;
                    members.sort();
                    // A broker has one twice whose former connection it has not seen to be gone yet.
                    members.dedup();
                    return Ok((address, members));
                }
                Err(error) => {
                    if error.broker_code() == Some(response::SYSTEM_ERROR) {
                        // So says a broker that knows nobody of the group, as after a start.
                        self.shared.heartbeat(address).await;
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// Asks a broker, unless it has left a question about another topic unanswered: each would take as long.
    pub(super) async fn ask_unless_silent(
        &self,
        address: &str,
        code: i32,
        fields: &Fields<'_>,
        body: &[u8],
    ) -> Result<Answer, Error> {
        let silent = self.silent.lock().get(address).cloned();
        if let Some(error) = silent {
            return Err(error);
        }
        let answer = self.shared.ask(address, code, fields, body).await;
        if let Some(error) = answer.as_ref().err().filter(|error| error.nobody_answered()) {
            self.silent.lock().insert(address.to_owned(), error.clone());
        }
        answer
    }

    /// Gives up queues of a topic that are not mine, and starts with those that are. Says whether all could be started,
    /// and whether something changed.
    pub(super) async fn take_over(self: &Arc<Self>, topic: &str, share: Share) -> (bool, bool) {
        let Share { pulled: mine, popped } = share;
        // How many they are decides on how much each may hold.
        let of_topic = mine.len();
        let pops_changed = self.take_over_pops(topic, popped);
        let gone = self.take_away(|one| one.queue.topic == topic && !mine.contains(&*one.queue));
        let new: Vec<MessageQueue> = {
            let queues = self.queues.lock();
            for assigned in queues.values().filter(|assigned| assigned.queue.topic == topic) {
                assigned.of_topic.store(of_topic, Ordering::Relaxed);
            }
            let new = mine.iter().filter(|queue| !queues.contains_key(*queue) && !self.still_leaves(queue));
            new.cloned().collect()
        };
        let mut changed = pops_changed || !gone.is_empty();
        self.give_up(gone).await;
        self.unlock_reserved(|queue| queue.topic == topic && !mine.contains(queue)).await;
        let brokers = named_by_broker(new).into_values();
        let begun = all_at_once(brokers.map(|queues| self.begin_at_broker(queues, of_topic))).await;
        changed |= begun.iter().any(|(_, some)| *some);
        (begun.iter().all(|(all, _)| *all), changed)
    }

    /// Starts with queues of one broker. After a question that it does not answer it is not asked about the others, of
    /// this topic or the next: each would take as long. Says whether all could be started, and whether some could.
    async fn begin_at_broker(self: &Arc<Self>, queues: Vec<MessageQueue>, of_topic: usize) -> (bool, bool) {
        let broker = queues.first().and_then(|queue| self.shared.routes.master(&queue.broker_name));
        if broker.as_ref().is_some_and(|broker| self.silent.lock().contains_key(broker)) {
            return (false, false);
        }
        let (mut all, mut some) = (true, false);
        for queue in queues {
            let Err(error) = self.begin(&queue, of_topic).await else {
                some = true;
                continue;
            };
            tracing::debug!(group = self.group, ?queue, "a queue is not started yet: {error}");
            all = false;
            if error.nobody_answered() {
                self.silent.lock().extend(broker.map(|broker| (broker, error)));
                break;
            }
        }
        (all, some)
    }

    /// Gives up popping what is not this member's any more, and starts with what is. What was popped stays in hands:
    /// nobody else gets it before its time is over. Says whether something changed.
    fn take_over_pops(self: &Arc<Self>, topic: &str, mine: BTreeSet<MessageQueue>) -> bool {
        let (gone, new) = {
            let mut popped = self.popped.lock();
            let of_topic = popped.keys().filter(|queue| queue.topic == topic && !mine.contains(*queue));
            let gone: Vec<_> = of_topic.cloned().collect();
            let gone: Vec<_> = gone.iter().filter_map(|queue| popped.remove(queue)).collect();
            let new: Vec<_> = mine.into_iter().filter(|queue| !popped.contains_key(queue)).collect();
            (gone, new)
        };
        let changed = !gone.is_empty() || !new.is_empty();
        let mut before = self.popped_before.lock();
        before.retain(|popping| popping.strong_count() > 0);
        for popping in gone {
            popping.revoked.store(true, Ordering::Release);
            before.push(Arc::downgrade(&popping));
        }
        drop(before);
        for queue in new {
            self.begin_popping(queue);
        }
        changed
    }

    /// Starts with a queue, one of so many of its topic.
    async fn begin(self: &Arc<Self>, queue: &MessageQueue, of_topic: usize) -> Result<(), Error> {
        if self.locks() && !self.reserve(queue).await? {
            return Err(Error::Illegal("another member still has its lock".to_owned()));
        }
        let stored = self.stored(queue).await?;
        let offset = match stored {
            Some(offset) => offset,
            None => self.first_offset(queue).await?,
        };
        // -1: the broker knows of no offset, and shall.
        let mut assigned = Assigned::new(Arc::new(queue.clone()), offset, stored.unwrap_or(-1));
        assigned.status = self.status_of(&queue.topic);
        assigned.of_topic = AtomicUsize::new(of_topic);
        let assigned = Arc::new(assigned);
        if self.locks() {
            assigned.locked();
        }
        if stored.is_none() && self.options.auto_commit {
            // Who gets the queue after a crash, or before the regular time, would start behind what has come since. If
            // it does not work now, it is tried again then.
            let _ = self.commit(std::slice::from_ref(&assigned)).await;
        }
        self.queues.lock().insert(queue.clone(), Arc::clone(&assigned));
        self.reserved.lock().remove(queue);
        self.spawn(|member| async move { member.pull_for_ever(assigned).await });
        Ok(())
    }

    async fn first_offset(&self, queue: &MessageQueue) -> Result<i64, Error> {
        let retried = queue.topic.starts_with(RETRY_PREFIX);
        match self.options.start {
            // Whatever failed belongs to this group and was never consumed.
            StartFrom::Latest if retried => Ok(0),
            StartFrom::Latest => self.latest(queue).await,
            StartFrom::Earliest => self.shared.offset(queue, request::GET_MIN_OFFSET, |fields| fields).await,
            StartFrom::AtMs(_) if retried => Ok(0),
            StartFrom::AtMs(at) => {
                let more = |fields: Fields<'static>| fields.number("timestamp", at);
                self.shared.offset(queue, request::SEARCH_OFFSET_BY_TIMESTAMP, more).await
            }
        }
    }

    /// Behind what is there, unless the queue is so young that the group may only not have heard of it.
    async fn latest(&self, queue: &MessageQueue) -> Result<i64, Error> {
        // Asked first: of a queue without messages Java's broker does not say that it is young. What is sent to it
        // between the two questions would be in front of the end, and never consumed.
        let end = self.shared.offset(queue, request::GET_MAX_OFFSET, |fields| fields).await?;
        if self.is_broadcast() {
            return Ok(end);
        }
        let young = self.shared.committed_or_young(&self.group, queue).await?;
        Ok(young.unwrap_or(end))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use wire::body::{BrokerData, TopicRoute};

    use super::super::member::tests::{knows, member};
    use super::*;
    use crate::consumer::options::Options;
    use crate::pretended::{Said, pretend};

    fn queue_at(broker_name: &str, queue_id: i32) -> MessageQueue {
        MessageQueue { topic: "T".to_owned(), broker_name: broker_name.to_owned(), queue_id }
    }

    #[tokio::test]
    async fn a_silent_broker_is_asked_for_the_members_once_in_a_division() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let (silent, _silent) = pretend(move |_| {
            counted.fetch_add(1, Ordering::AcqRel);
            None
        });
        let (other, _server) = pretend(|_| Some(Said::body(r#"{"consumerIdList":["c"]}"#)));
        let member = member(Options::usual(Role::Push));
        for _ in 0..30 {
            assert_eq!(member.members(&[&silent, &other]).await.unwrap().1, ["c"]);
        }
        assert_eq!(asked.load(Ordering::Acquire), 1);
        member.divide().await;
        assert_eq!(member.members(&[&silent, &other]).await.unwrap().1, ["c"]);
        assert_eq!(asked.load(Ordering::Acquire), 2, "another division asks again");
    }

    /// Divides a topic that two brokers have, of which the second does not know the group at all or does not know this
    /// member, and gives how many heartbeats the first, which is silent, and the second have heard.
    async fn heartbeats_when_one_says(unknown: impl Fn() -> Said + Send + Sync + 'static) -> [usize; 2] {
        let beats = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let [heard_silently, heard] = [Arc::clone(&beats), Arc::clone(&beats)];
        let (silent, _silent) = pretend(move |asked| {
            let beat = asked.header.code == request::HEART_BEAT;
            heard_silently[0].fetch_add(usize::from(beat), Ordering::AcqRel);
            None
        });
        let (other, _server) = pretend(move |asked| {
            if asked.header.code != request::HEART_BEAT {
                return Some(unknown());
            }
            heard[1].fetch_add(1, Ordering::AcqRel);
            Some(Said::code(response::SUCCESS))
        });
        let member = member(Options::usual(Role::Push));
        member.shared.registry.add_consumer(member.clone()).unwrap();
        knows(&member, "a", &silent);
        knows(&member, "b", &other);
        let broker = |name: &str, address: &str| BrokerData {
            broker_name: name.to_owned(),
            broker_addrs: [(0, address.to_owned())].into(),
            ..BrokerData::default()
        };
        let broker_datas = vec![broker("a", &silent), broker("b", &other)];
        let route = Route::new("T", TopicRoute { broker_datas, ..TopicRoute::default() });
        member.mine("T", &route).await.unwrap_err();
        [&beats[0], &beats[1]].map(|count| count.load(Ordering::Acquire))
    }

    #[tokio::test]
    async fn a_consumer_that_one_broker_does_not_know_tells_that_broker_alone() {
        let others = || Said::body(r#"{"consumerIdList":["another"]}"#);
        assert_eq!(heartbeats_when_one_says(others).await, [0, 1], "it knows others of the group");
        let nobody = || Said::code(response::SYSTEM_ERROR);
        assert_eq!(heartbeats_when_one_says(nobody).await, [0, 1], "it knows nobody of the group");
    }

    #[tokio::test]
    async fn queues_of_others_begin_while_brokers_are_silent() {
        let member = member(Options { orderly: true, ..Options::usual(Role::Push) });
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut pulled = BTreeSet::new();
        // A call takes 1 s: one after the other they would need all the patience there is.
        for broker_name in (0..6).map(|number| format!("a{number}")) {
            knows(&member, &broker_name, &silent.local_addr().unwrap().to_string());
            pulled.extend((0..8).map(|id| queue_at(&broker_name, id)));
        }
        let (address, _server) = pretend(|asked| match asked.header.code {
            request::LOCK_BATCH_MQ => Some(Said::locked(asked)),
            request::QUERY_CONSUMER_OFFSET => Some(Said::offset(0)),
            _ => None,
        });
        knows(&member, "b", &address);
        let others: Vec<_> = (0..2).map(|id| queue_at("b", id)).collect();
        pulled.extend(others.iter().cloned());
        let taken = member.take_over("T", Share { pulled, ..Share::default() });
        let (all, changed) = tokio::time::timeout(Duration::from_secs(30), taken).await.expect("in time");
        assert!(!all && changed);
        assert_eq!(member.queues.lock().keys().cloned().collect::<Vec<_>>(), others);
        member.no_more();
    }

    /// Where a group begins with an empty queue of a Java broker, to which a message is sent after so many questions.
    async fn begins_when_sent_after(questions: usize) -> i64 {
        let asked_before = AtomicUsize::new(0);
        let (address, _server) = pretend(move |asked| {
            let before = asked_before.fetch_add(1, Ordering::AcqRel);
            let max = i64::from(before >= questions);
            let may_be_zero = asked.header.fields.flag("setZeroIfNotFound").unwrap_or(true);
            Some(match asked.header.code {
                request::GET_MAX_OFFSET => Said::offset(max),
                request::QUERY_CONSUMER_OFFSET if may_be_zero && max > 0 => Said::offset(0),
                request::QUERY_CONSUMER_OFFSET => Said::code(response::QUERY_NOT_FOUND),
                _ => return None,
            })
        });
        let member =
            member(Options { start: StartFrom::Latest, auto_commit: false, ..Options::usual(Role::Push) });
        knows(&member, "b", &address);
        let queue = queue_at("b", 0);
        member.begin(&queue, 1).await.unwrap();
        member.no_more();
        let begun = member.queues.lock()[&queue].clone();
        begun.window.lock().next_pull()
    }

    #[tokio::test]
    async fn what_is_sent_while_a_group_asks_for_the_end_of_an_empty_queue_is_consumed() {
        for questions in 0..4 {
            assert_eq!(
                begins_when_sent_after(questions).await,
                0,
                "{questions} questions before it was sent"
            );
        }
    }
}
