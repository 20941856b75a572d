//! Which queues a client of a group shall read, on all brokers of the cluster, and whether by pull or by pop, decided
//! here (400, 401, 402; broker.md §14).

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use settings::MessageRequestMode;
use wire::body::MessageQueue;
use wire::code::response;
use wire::{loose_json, names};

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal, Reply, answer_later};
use crate::pull::{no_group, no_topic};
use crate::routes::{ReadQueue, ReadQueues, Told};
use crate::state_file::StateFile;

/// How a group reads a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestMode {
    topic: String,
    consumer_group: String,
    /// `PULL` or `POP`.
    mode: String,
    /// With `POP`, how many other members share the queues of one; below 1 all share all.
    #[serde(default)]
    pop_share_queue_num: i32,
}

/// `config/messageRequestMode.json`, and the answer to 402.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestModesBody {
    /// By topic and group.
    #[serde(default)]
    message_request_mode_map: BTreeMap<String, BTreeMap<String, RequestMode>>,
}

/// What administrators have set.
pub struct RequestModes {
    table: Mutex<RequestModesBody>,
    file: StateFile,
}

impl RequestModes {
    /// Reads the file.
    pub fn load(file: StateFile) -> io::Result<RequestModes> {
        Ok(RequestModes { table: Mutex::new(file.load()?), file })
    }

    fn get(&self, topic: &str, group: &str) -> Option<RequestMode> {
        self.table.lock().message_request_mode_map.get(topic)?.get(group).cloned()
    }

    /// Sets a mode; it is in the file when this returns.
    fn set(&self, mode: RequestMode) -> io::Result<()> {
        let mut table = self.table.lock();
        let mut changed = table.clone();
        let groups = changed.message_request_mode_map.entry(mode.topic.clone()).or_default();
        groups.insert(mode.consumer_group.clone(), mode);
        self.file.save(&changed)?;
        *table = changed;
        Ok(())
    }

    /// The whole table.
    pub fn body(&self) -> RequestModesBody {
        self.table.lock().clone()
    }
}

/// Body of 400.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct AssignmentRequest {
    topic: String,
    consumer_group: String,
    client_id: String,
    message_model: String,
    strategy_name: String,
}

/// Answer to 400.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct AssignmentAnswer {
    /// `None` tells the client to stay with what it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_queue_assignments: Option<Vec<Assignment>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Assignment {
    /// Queue -1 stands for all of its broker.
    message_queue: MessageQueue,
    mode: &'static str,
}

/// How queues are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    /// Contiguous shares.
    Average,
    /// One by one in turn.
    ByCircle,
}

impl Strategy {
    fn named(name: &str) -> Option<Strategy> {
        match name {
            "AVG" => Some(Strategy::Average),
            "AVG_BY_CIRCLE" => Some(Strategy::ByCircle),
            _ => None,
        }
    }

    /// Places in the list of queues of the client with this place among `clients`.
    fn share(self, queues: usize, clients: usize, index: usize) -> Vec<usize> {
        match self {
            Strategy::Average => average(queues, clients, index).collect(),
            Strategy::ByCircle => (index..queues).step_by(clients).collect(),
        }
    }
}

impl Broker {
    pub(crate) fn query_assignment(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let asked: AssignmentRequest = exchange.body()?;
        if let Some(queues) = self.queues_at_hand(&asked.topic) {
            return exchange.ok_json(&self.assignment(&asked, &queues));
        }
        let broker = Arc::clone(self);
        answer_later(exchange, async move {
            let (answer, remark) = match broker.ask_for_queues(&asked.topic).await {
                Told::Queues(queues) => (broker.assignment(&asked, &queues), None),
                Told::Unknown => (AssignmentAnswer::default(), Some("no nameserver knows the topic")),
                Told::Silence => {
                    (AssignmentAnswer::default(), Some("no nameserver tells where the topic is"))
                }
            };
            if let Some(why) = remark {
                tracing::warn!(
                    topic = asked.topic,
                    group = asked.consumer_group,
                    "no queues are assigned: {why}"
                );
            }
            Ok(move |mut reply: Reply<'_>| {
                reply.answer(response::SUCCESS, remark, |writer| loose_json::body_of(writer, &answer))
            })
        })
    }

    /// The share of one client in the queues of a topic.
    fn assignment(&self, asked: &AssignmentRequest, queues: &ReadQueues) -> AssignmentAnswer {
        let (mode, others) = self.request_mode(asked);
        let queues = match mode {
            MessageRequestMode::Pull => &queues.pulled,
            MessageRequestMode::Pop => &queues.popped,
        };
        let assigned =
            if asked.message_model == "BROADCASTING" || !self.settings.load().server_load_balancer_enable {
                Some(queues.to_vec())
            } else {
                let mut clients = self.clients.consumer_ids(&asked.consumer_group);
                // One that connects anew is there twice for a while, and would leave the second share to nobody.
                clients.dedup();
                Strategy::named(&asked.strategy_name).filter(|_| !clients.is_empty()).map(|strategy| {
                    let index = clients.iter().position(|id| *id == asked.client_id);
                    share_of(queues, strategy, clients.len(), index, mode, others)
                })
            };
        let mode = match mode {
            MessageRequestMode::Pull => "PULL",
            MessageRequestMode::Pop => "POP",
        };
        let assignment = |queue: ReadQueue| {
            let message_queue = MessageQueue {
                topic: asked.topic.clone(),
                broker_name: queue.broker_name.as_ref().to_owned(),
                queue_id: queue.queue_id,
            };
            Assignment { message_queue, mode }
        };
        AssignmentAnswer {
            message_queue_assignments: assigned.map(|queues| queues.into_iter().map(assignment).collect()),
        }
    }

    /// What is set for the group on the topic, else the default; retries are always pulled.
    fn request_mode(&self, asked: &AssignmentRequest) -> (MessageRequestMode, i32) {
        if let Some(set) = self.request_modes.get(&asked.topic, &asked.consumer_group) {
            let mode = if set.mode == "POP" { MessageRequestMode::Pop } else { MessageRequestMode::Pull };
            return (mode, set.pop_share_queue_num);
        }
        let settings = self.settings.load();
        if asked.topic.starts_with(names::RETRY_PREFIX) {
            return (MessageRequestMode::Pull, 0);
        }
        (settings.default_message_request_mode, settings.default_pop_share_queue_num)
    }

    pub(crate) fn set_request_mode(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let mode: RequestMode = exchange.body()?;
        if mode.topic.starts_with(names::RETRY_PREFIX) {
            return Err(Refusal::new(response::NO_PERMISSION, "retry topic is not allowed to set mode"));
        }
        if !matches!(mode.mode.as_str(), "PULL" | "POP") {
            let remark = format!("mode is \"{}\"; PULL and POP are possible", mode.mode);
            return Err(Refusal::new(response::INVALID_PARAMETER, remark));
        }
        self.topics.get(&mode.topic).ok_or_else(|| no_topic(&mode.topic))?;
        let group = &mode.consumer_group;
        let known = self.groups.find_or_create(group, &self.settings.load(), self.now_ms())?;
        known.ok_or_else(|| no_group(group))?;
        tracing::info!(topic = mode.topic, group, mode = mode.mode, "message request mode set");
        self.request_modes.set(mode)?;
        exchange.ok()
    }

    pub(crate) fn all_request_modes(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        exchange.ok_json(&self.request_modes.body())
    }
}

/// Queues of the client with this place among `clients`; none if it is not among them.
fn share_of(
    queues: &[ReadQueue],
    strategy: Strategy,
    clients: usize,
    index: Option<usize>,
    mode: MessageRequestMode,
    others: i32,
) -> Vec<ReadQueue> {
    let places = match (mode, index) {
        (MessageRequestMode::Pop, _) => match popped(strategy, queues.len(), clients, index, others) {
            Popped::All => return all_of_each_broker(queues),
            Popped::Places(places) => places,
        },
        (MessageRequestMode::Pull, Some(index)) => strategy.share(queues.len(), clients, index),
        (MessageRequestMode::Pull, None) => Vec::new(),
    };
    places.into_iter().filter_map(|place| queues.get(place).cloned()).collect()
}

/// What one client pops.
#[derive(Debug, PartialEq, Eq)]
enum Popped {
    /// Whatever there is, as all other clients do.
    All,
    /// These places in the list of queues.
    Places(Vec<usize>),
}

/// What one client pops: several clients may pop from the same queue, its own share and those of the `others` that
/// follow it.
fn popped(strategy: Strategy, queues: usize, clients: usize, index: Option<usize>, others: i32) -> Popped {
    let others = usize::try_from(others).unwrap_or(0);
    if others == 0 || others + 1 >= clients {
        return Popped::All;
    }
    let Some(index) = index else { return Popped::Places(Vec::new()) };
    if clients > queues {
        return Popped::Places((0..queues).skip(index % queues.max(1)).take(1).collect());
    }
    let shares = (index..=index + others).flat_map(|index| strategy.share(queues, clients, index % clients));
    let mut mine: Vec<usize> = shares.collect();
    mine.sort_unstable();
    mine.dedup();
    Popped::Places(mine)
}

/// One queue for each broker, which stands for all of its queues.
fn all_of_each_broker(queues: &[ReadQueue]) -> Vec<ReadQueue> {
    let mut all: Vec<_> = queues.iter().map(|queue| ReadQueue { queue_id: -1, ..queue.clone() }).collect();
    all.dedup();
    all
}

/// Contiguous shares; the first clients get one more when it does not come out even.
fn average(queues: usize, clients: usize, index: usize) -> Range<usize> {
    let (share, rest) = (queues / clients, queues % clients);
    let start = index * share + index.min(rest);
    start..start + share + usize::from(index < rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use MessageRequestMode::{Pop, Pull};
    use Strategy::{Average, ByCircle};

    /// Queues 0 and up of broker `a`, and as many as said of broker `b`.
    fn on_two_brokers(a: i32, b: i32) -> Vec<ReadQueue> {
        let queue = |broker_name: &str, queue_id| ReadQueue { broker_name: broker_name.into(), queue_id };
        (0..a).map(|id| queue("a", id)).chain((0..b).map(|id| queue("b", id))).collect()
    }

    fn names(queues: &[ReadQueue]) -> Vec<String> {
        queues.iter().map(|queue| format!("{}{}", queue.broker_name, queue.queue_id)).collect()
    }

    #[test]
    fn every_queue_is_pulled_by_one_client() {
        for strategy in [Average, ByCircle] {
            for (a, b) in (0..12).flat_map(|a| [(a, 0), (a, 1), (a, 7)]) {
                let queues = on_two_brokers(a, b);
                for clients in 1..9 {
                    let share = |index| share_of(&queues, strategy, clients, Some(index), Pull, 0);
                    let mut all: Vec<_> = (0..clients).flat_map(share).collect();
                    all.sort_unstable();
                    assert_eq!(all, queues, "{strategy:?} {clients}");
                }
            }
        }
    }

    #[test]
    fn queues_of_all_brokers_are_shared_out_as_one_list() {
        let queues = on_two_brokers(2, 3);
        let pulled = |strategy, index| names(&share_of(&queues, strategy, 2, Some(index), Pull, 0));
        assert_eq!(pulled(Average, 0), ["a0", "a1", "b0"]);
        assert_eq!(pulled(Average, 1), ["b1", "b2"]);
        assert_eq!(pulled(ByCircle, 0), ["a0", "b0", "b2"]);
        assert_eq!(pulled(ByCircle, 1), ["a1", "b1"]);
        assert!(share_of(&queues, Average, 2, None, Pull, 0).is_empty(), "it has not joined yet");
    }

    #[test]
    fn clients_that_share_all_queues_pop_from_every_broker() {
        // Also one that has not joined yet.
        for (index, others) in [(Some(0), -1), (Some(3), 0), (Some(1), 3), (Some(1), 9), (None, 0)] {
            let popped = share_of(&on_two_brokers(8, 2), Average, 4, index, Pop, others);
            assert_eq!(names(&popped), ["a-1", "b-1"], "{index:?} {others}");
        }
        assert!(share_of(&[], Average, 4, Some(0), Pop, -1).is_empty());
    }

    #[test]
    fn in_pop_mode_queues_are_shared_with_the_clients_that_follow() {
        let queues = on_two_brokers(4, 4);
        let popped = |strategy, index, others| names(&share_of(&queues, strategy, 4, index, Pop, others));
        assert_eq!(popped(Average, Some(0), 1), ["a0", "a1", "a2", "a3"]);
        assert_eq!(popped(Average, Some(3), 1), ["a0", "a1", "b2", "b3"]);
        assert_eq!(popped(ByCircle, Some(1), 2), ["a1", "a2", "a3", "b1", "b2", "b3"]);
        assert!(popped(Average, None, 1).is_empty());
    }

    #[test]
    fn of_more_clients_than_queues_each_pops_from_one() {
        let queues = on_two_brokers(1, 1);
        for (index, expected) in [(0, "a0"), (1, "b0"), (3, "b0"), (4, "a0")] {
            assert_eq!(names(&share_of(&queues, Average, 5, Some(index), Pop, 1)), [expected]);
        }
        assert!(share_of(&[], Average, 5, Some(3), Pop, 1).is_empty());
    }
}
