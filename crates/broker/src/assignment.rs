//! Which queues a client of a group shall read, and whether by pull or by pop, decided here (400, 401, 402;
//! broker.md §14).

use std::collections::BTreeMap;
use std::io;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use settings::MessageRequestMode;
use wire::code::response;
use wire::names;

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal};
use crate::pull::{no_group, no_topic};
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

    /// Queues of the client with this place among `clients`.
    fn share(self, queues: i32, clients: usize, index: usize) -> Vec<i32> {
        match self {
            Strategy::Average => average(queues, clients as i32, index as i32),
            Strategy::ByCircle => (0..queues).skip(index).step_by(clients).collect(),
        }
    }
}

impl Broker {
    pub(crate) fn query_assignment(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let asked: AssignmentRequest = exchange.body()?;
        let (mode, share) = self.request_mode(&asked);
        // No list at all tells the client to stay with what it has.
        let Some(queues) = self.assigned(&asked, mode, share) else { return exchange.ok_json(&json!({})) };
        let broker_name = self.settings.load().broker_name.clone();
        let mode = match mode {
            MessageRequestMode::Pull => "PULL",
            MessageRequestMode::Pop => "POP",
        };
        let assignments: Vec<_> = queues
            .into_iter()
            .map(|queue_id| {
                json!({
                    "messageQueue": {"brokerName": broker_name, "queueId": queue_id, "topic": asked.topic},
                    "mode": mode
                })
            })
            .collect();
        exchange.ok_json(&json!({"messageQueueAssignments": assignments}))
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

    /// Queues for the client, -1 standing for all; `None` when that cannot be said.
    fn assigned(&self, asked: &AssignmentRequest, mode: MessageRequestMode, share: i32) -> Option<Vec<i32>> {
        let queues = self.topics.get(&asked.topic)?.config.read_queue_nums;
        if asked.message_model == "BROADCASTING" || !self.settings.load().server_load_balancer_enable {
            return Some((0..queues).collect());
        }
        let clients = self.clients.consumer_ids(&asked.consumer_group);
        let strategy = Strategy::named(&asked.strategy_name).filter(|_| !clients.is_empty())?;
        let index = clients.iter().position(|id| *id == asked.client_id);
        match mode {
            MessageRequestMode::Pull => {
                Some(index.map_or_else(Vec::new, |index| strategy.share(queues, clients.len(), index)))
            }
            MessageRequestMode::Pop => Some(shared(strategy, queues, clients.len(), index, share)),
        }
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

/// Queues of one client in pop mode, in which several clients may have the same queue.
fn shared(strategy: Strategy, queues: i32, clients: usize, index: Option<usize>, share: i32) -> Vec<i32> {
    let others = usize::try_from(share).unwrap_or(0);
    if others == 0 || others + 1 >= clients {
        return if queues > 0 { vec![-1] } else { Vec::new() };
    }
    let Some(index) = index else { return Vec::new() };
    if clients as i64 > i64::from(queues) {
        return if queues > 0 { vec![index as i32 % queues] } else { Vec::new() };
    }
    let mut mine: Vec<i32> =
        (index..=index + others).flat_map(|index| strategy.share(queues, clients, index % clients)).collect();
    mine.sort_unstable();
    mine.dedup();
    mine
}

/// Contiguous shares; the first clients get one more when it does not come out even.
fn average(queues: i32, clients: i32, index: i32) -> Vec<i32> {
    let (share, rest) = (queues / clients, queues % clients);
    let count = share + i32::from(index < rest);
    let start = index * share + index.min(rest);
    (start..start + count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_contiguous_and_complete() {
        for queues in 0..20 {
            for clients in 1..9 {
                let all: Vec<i32> = (0..clients).flat_map(|index| average(queues, clients, index)).collect();
                assert_eq!(all, (0..queues).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn in_pop_mode_queues_are_shared_with_the_clients_that_follow() {
        use Strategy::{Average, ByCircle};
        // All share all.
        for share in [-1, 0, 3, 9] {
            assert_eq!(shared(Average, 8, 4, Some(0), share), [-1], "{share}");
        }
        assert_eq!(shared(Average, 8, 4, Some(0), 1), [0, 1, 2, 3]);
        assert_eq!(shared(Average, 8, 4, Some(3), 1), [0, 1, 6, 7]);
        assert_eq!(shared(ByCircle, 8, 4, Some(1), 2), [1, 2, 3, 5, 6, 7]);
        // More clients than queues: each has one.
        assert_eq!(shared(Average, 2, 5, Some(3), 1), [1]);
        assert_eq!(shared(Average, 8, 4, None, 1), [0; 0]);
        assert_eq!(shared(Average, 0, 4, None, -1), [0; 0]);
    }
}
