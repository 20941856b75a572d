//! Queues that topics have on all brokers of the cluster, as nameservers tell: what assignment shares out
//! (broker.md §14).
//!
//! A topic comes in when a client asks for it first, is asked for anew every `loadBalancePollNameServerInterval` and
//! when it changes here, and leaves when no client has asked for it for [`UNASKED_MAX`]. While no nameserver answers,
//! what was known stays.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OnceCell};
use tokio::time::Instant;
use wire::body::{PERM_READ, TopicQueueMappingInfo, TopicRoute, logical_broker};
use wire::code::{request, response};
use wire::{loose_json, names};

use crate::Broker;
use crate::topics::QUEUES_MAX;

/// A topic that no client has asked for so long is forgotten; members of groups ask every 20 s.
const UNASKED_MAX: Duration = Duration::from_secs(300);
/// Topics that are remembered; those beyond are asked for each time.
const TOPICS_MAX: usize = 10_000;
/// How long one nameserver may take, so that the second is asked before a client, which waits for 3 s, gives up.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(1);

/// A queue that consumers may read, in the order in which clients count the queues of one topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReadQueue {
    pub broker_name: Arc<str>,
    pub queue_id: i32,
}

/// Queues of one topic, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadQueues {
    /// By the names of pulls: those of a static topic are logical, and of no broker.
    pub pulled: Arc<[ReadQueue]>,
    /// By the names of pops, which are those of the queues where messages are stored.
    pub popped: Arc<[ReadQueue]>,
}

impl ReadQueues {
    fn of_one_broker(broker_name: &str, count: i32) -> ReadQueues {
        let queues: Arc<[ReadQueue]> = numbered(broker_name, count).collect();
        ReadQueues { pulled: Arc::clone(&queues), popped: queues }
    }
}

/// What nameservers say of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// It has these queues.
    Queues(ReadQueues),
    /// None of those that answered knows it.
    Unknown,
    /// None has answered.
    Silence,
}

/// No nameserver has answered.
#[derive(Debug)]
pub(crate) struct Silence;

/// The topics that clients have asked for of late.
#[derive(Default)]
pub(crate) struct Routes {
    known: Mutex<HashMap<String, Known>>,
    /// Questions under way: one serves all who wait for its answer.
    questions: Mutex<HashMap<String, Arc<OnceCell<Told>>>>,
    filled: Notify,
    /// Which nameserver answered last, so that one that does not is not waited for each time.
    answering: AtomicUsize,
}

struct Known {
    queues: ReadQueues,
    asked_for: Instant,
}

impl Routes {
    /// What is known of a topic, for a client that asks.
    pub fn find(&self, topic: &str, now: Instant) -> Option<ReadQueues> {
        let mut known = self.known.lock();
        let found = known.get_mut(topic)?;
        found.asked_for = now;
        Some(found.queues.clone())
    }

    /// Takes what nameservers say of a topic that a client has asked for.
    pub fn note(&self, topic: &str, told: &Told, now: Instant) {
        let mut known = self.known.lock();
        match told {
            Told::Queues(queues) if known.contains_key(topic) || known.len() < TOPICS_MAX => {
                known.insert(topic.to_owned(), Known { queues: queues.clone(), asked_for: now });
                self.filled.notify_one();
            }
            Told::Unknown => drop(known.remove(topic)),
            Told::Queues(_) | Told::Silence => (),
        }
    }

    /// Takes what nameservers say of a topic when they are asked again; one that was forgotten meanwhile stays so.
    pub fn renew(&self, topic: &str, told: &Told) {
        let mut known = self.known.lock();
        match told {
            Told::Queues(queues) => {
                if let Some(found) = known.get_mut(topic) {
                    found.queues = queues.clone();
                }
            }
            Told::Unknown => drop(known.remove(topic)),
            Told::Silence => (),
        }
    }

    /// Topics that nameservers are to be asked for again; forgets those that clients ask for no more.
    pub fn to_renew(&self, now: Instant) -> Vec<String> {
        let mut known = self.known.lock();
        known.retain(|_, known| now.saturating_duration_since(known.asked_for) < UNASKED_MAX);
        known.keys().cloned().collect()
    }

    /// Those of some topics that are known.
    fn known_of(&self, topics: &[String]) -> Vec<String> {
        let known = self.known.lock();
        topics.iter().filter(|topic| known.contains_key(*topic)).cloned().collect()
    }

    fn is_empty(&self) -> bool {
        self.known.lock().is_empty()
    }

    /// Which of so many nameservers to ask, one after the other: the one that answered last comes first.
    pub fn in_turn(&self, count: usize) -> impl Iterator<Item = usize> + use<> {
        let first = self.answering.load(Ordering::Relaxed);
        (0..count).map(move |step| (first + step) % count)
    }

    /// This nameserver has answered.
    pub fn answered(&self, at: usize) {
        self.answering.store(at, Ordering::Relaxed);
    }

    /// The question for a topic that is under way, or a new one.
    fn question(&self, topic: &str) -> Arc<OnceCell<Told>> {
        Arc::clone(self.questions.lock().entry(topic.to_owned()).or_default())
    }

    /// Who asks from now on begins a new question.
    fn close_question(&self, topic: &str, question: &Arc<OnceCell<Told>>) {
        let mut questions = self.questions.lock();
        if questions.get(topic).is_some_and(|open| Arc::ptr_eq(open, question)) {
            questions.remove(topic);
        }
    }
}

/// Queues that consumers may read, of all brokers.
pub(crate) fn readable(route: &TopicRoute) -> ReadQueues {
    let brokers = route.queue_datas.iter().filter(|data| data.perm & PERM_READ != 0);
    let popped = in_order(brokers.flat_map(|data| numbered(&data.broker_name, data.read_queue_nums)));
    let pulled = match &route.topic_queue_mapping_by_broker {
        // A Java broker assigns the physical ones here too, whose numbers a client that pulls takes for logical ones.
        Some(mappings) if !mappings.is_empty() => logical(mappings),
        _ => Arc::clone(&popped),
    };
    ReadQueues { pulled, popped }
}

/// The queues of a static topic by the names that clients have for them.
fn logical(mappings: &BTreeMap<String, TopicQueueMappingInfo>) -> Arc<[ReadQueue]> {
    let of_broker = |info: &TopicQueueMappingInfo| numbered(&logical_broker(&info.scope), info.total_queues);
    in_order(mappings.values().flat_map(of_broker))
}

fn in_order(queues: impl Iterator<Item = ReadQueue>) -> Arc<[ReadQueue]> {
    let mut queues: Vec<_> = queues.collect();
    queues.sort_unstable();
    queues.dedup();
    queues.into()
}

/// Queues of one broker; however many its route claims, not more than a topic can have.
fn numbered(broker_name: &str, count: i32) -> impl Iterator<Item = ReadQueue> + use<> {
    let broker_name: Arc<str> = broker_name.into();
    let queue = move |queue_id| ReadQueue { broker_name: Arc::clone(&broker_name), queue_id };
    (0..count.clamp(0, QUEUES_MAX)).map(queue)
}

impl Broker {
    /// Queues of a topic on all brokers, if that can be said without asking a nameserver.
    pub(crate) fn queues_at_hand(&self, topic: &str) -> Option<ReadQueues> {
        let settings = self.settings.load();
        // A light queue is where it was asked for.
        if names::is_light(topic) {
            return Some(ReadQueues::of_one_broker(&settings.broker_name, 1));
        }
        // Without nameservers no client finds another broker.
        if settings.namesrv_addr.is_empty() {
            let topic = self.topics.get(topic)?;
            let count = if topic.is_readable() { topic.config.read_queue_nums } else { 0 };
            return Some(ReadQueues::of_one_broker(&settings.broker_name, count));
        }
        self.routes.find(topic, Instant::now())
    }

    /// Asks nameservers for the queues of a topic, and remembers them for others who ask.
    pub(crate) async fn ask_for_queues(&self, topic: &str) -> Told {
        if self.settings.load().namesrv_addr.is_empty() {
            return Told::Unknown;
        }
        let question = self.routes.question(topic);
        let told = question
            .get_or_init(|| async {
                let told = self.told_of(topic).await;
                self.routes.note(topic, &told, Instant::now());
                told
            })
            .await
            .clone();
        self.routes.close_question(topic, &question);
        told
    }

    /// Asks again for the topics that clients ask for, for ever.
    pub(crate) async fn run_routes(&self) {
        loop {
            if self.routes.is_empty() {
                self.routes.filled.notified().await;
            }
            let period = self.settings.load().load_balance_poll_name_server_interval;
            tokio::time::sleep(period).await;
            self.renew_routes(self.routes.to_renew(Instant::now())).await;
        }
    }

    /// Asks again for those of some topics that clients ask for, once the nameservers have heard of a change here.
    pub(crate) async fn renew_routes_of(&self, topics: &[String]) {
        self.renew_routes(self.routes.known_of(topics)).await;
    }

    async fn renew_routes(&self, topics: Vec<String>) {
        for topic in topics {
            let told = self.told_of(&topic).await;
            if told == Told::Silence {
                tracing::warn!("no nameserver answers; queues are assigned from the routes that were known");
                return;
            }
            self.routes.renew(&topic, &told);
        }
    }

    async fn told_of(&self, topic: &str) -> Told {
        match self.route_of(topic, ANSWER_MAX).await {
            Ok(Some(route)) => Told::Queues(readable(&route)),
            Ok(None) => Told::Unknown,
            Err(Silence) => Told::Silence,
        }
    }

    /// The route of a topic, from the first nameserver that knows it; `None` if none of those that answer does. One
    /// that has just started may know nothing yet. Each may take as long as `limit`.
    pub(crate) async fn route_of(&self, topic: &str, limit: Duration) -> Result<Option<TopicRoute>, Silence> {
        let settings = self.settings();
        let nameservers = &settings.namesrv_addr;
        let mut some_answered = false;
        for at in self.routes.in_turn(nameservers.len()) {
            let code = request::GET_ROUTEINFO_BY_TOPIC;
            let fields = [("topic", topic), ("acceptStandardJsonOnly", "true")];
            let answer = self.registration.call(&nameservers[at], code, &fields, &[], limit).await;
            let Ok(answer) = answer else { continue };
            match answer.code {
                response::SUCCESS => {
                    if let Ok(route) = loose_json::read(&answer.body) {
                        self.routes.answered(at);
                        return Ok(Some(route));
                    }
                }
                response::TOPIC_NOT_EXIST => some_answered = true,
                _ => (),
            }
        }
        if some_answered { Ok(None) } else { Err(Silence) }
    }
}

#[cfg(test)]
mod tests {
    use wire::body::QueueData;

    use super::*;

    fn queues(broker_name: &str, perm: i32, read_queue_nums: i32) -> QueueData {
        QueueData {
            broker_name: broker_name.to_owned(),
            perm,
            read_queue_nums,
            write_queue_nums: 9,
            ..QueueData::default()
        }
    }

    fn told(datas: &[QueueData]) -> Told {
        Told::Queues(readable(&TopicRoute { queue_datas: datas.to_vec(), ..TopicRoute::default() }))
    }

    fn names(queues: &[ReadQueue]) -> Vec<String> {
        queues.iter().map(|queue| format!("{}{}", queue.broker_name, queue.queue_id)).collect()
    }

    #[test]
    fn queues_are_those_of_all_brokers_that_may_be_read() {
        let route = [queues("b", 6, 2), queues("c", 2, 5), queues("a", 4, 1), queues("d", 6, -1)];
        let Told::Queues(queues) = told(&route) else { panic!("no queues") };
        assert_eq!(names(&queues.popped), ["a0", "b0", "b1"]);
        assert_eq!(queues.pulled, queues.popped);
    }

    #[test]
    fn queues_of_a_static_topic_are_pulled_by_their_logical_numbers_whoever_leads_them() {
        let info = |scope: &str, total_queues| TopicQueueMappingInfo {
            scope: scope.to_owned(),
            total_queues,
            ..TopicQueueMappingInfo::default()
        };
        let mappings = [("a", info("__global__", 3)), ("b", info("__global__", 3)), ("c", info("own", 1))];
        let queues = readable(&TopicRoute {
            queue_datas: vec![queues("a", 6, 1), queues("b", 6, 2)],
            topic_queue_mapping_by_broker: Some(
                mappings.into_iter().map(|(name, info)| (name.to_owned(), info)).collect(),
            ),
            ..TopicRoute::default()
        });
        let of_all = ["__syslo__global__0", "__syslo__global__1", "__syslo__global__2", "__syslo__own0"];
        assert_eq!(names(&queues.pulled), of_all);
        assert_eq!(names(&queues.popped), ["a0", "b0", "b1"]);
    }

    #[test]
    fn no_route_makes_more_queues_than_a_topic_can_have() {
        let route = TopicRoute { queue_datas: vec![queues("a", 6, i32::MAX)], ..TopicRoute::default() };
        assert_eq!(readable(&route).pulled.len(), QUEUES_MAX as usize);
    }

    #[test]
    fn what_was_known_stays_while_no_nameserver_answers() {
        let (routes, now) = (Routes::default(), Instant::now());
        routes.note("orders", &Told::Silence, now);
        assert_eq!(routes.find("orders", now), None);
        routes.note("orders", &told(&[queues("a", 6, 1)]), now);
        routes.renew("orders", &Told::Silence);
        assert_eq!(names(&routes.find("orders", now).unwrap().pulled), ["a0"]);
        routes.renew("orders", &told(&[queues("a", 6, 1), queues("b", 6, 1)]));
        assert_eq!(names(&routes.find("orders", now).unwrap().pulled), ["a0", "b0"]);
        routes.renew("orders", &Told::Unknown);
        assert_eq!(routes.find("orders", now), None, "its topic was deleted");
    }

    #[test]
    fn a_topic_that_nobody_asks_for_is_forgotten() {
        let (routes, start) = (Routes::default(), Instant::now());
        for topic in ["asked", "left"] {
            routes.note(topic, &told(&[queues("a", 6, 1)]), start);
        }
        let later = start + UNASKED_MAX - Duration::from_secs(1);
        assert!(routes.find("asked", later).is_some());
        let end = start + UNASKED_MAX;
        // To be asked again is not to be asked for.
        routes.renew("left", &told(&[queues("a", 6, 2)]));
        assert_eq!(routes.to_renew(end), ["asked"]);
        assert_eq!(routes.find("left", end), None);
        routes.renew("left", &told(&[queues("a", 6, 2)]));
        assert_eq!(routes.find("left", end), None, "it was forgotten");
    }

    #[test]
    fn topics_beyond_the_limit_are_not_remembered() {
        let (routes, now) = (Routes::default(), Instant::now());
        for number in 0..=TOPICS_MAX {
            routes.note(&number.to_string(), &told(&[]), now);
        }
        assert!(routes.find("0", now).is_some());
        assert_eq!(routes.find(&TOPICS_MAX.to_string(), now), None);
        routes.note("0", &told(&[queues("a", 6, 1)]), now);
        assert_eq!(names(&routes.find("0", now).unwrap().pulled), ["a0"]);
    }
}
