//! Queues that brokers assign, and whether to pull them or to pop (400; client.md §3.9).

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::json;
use wire::body::MessageQueue;
use wire::code::request;
use wire::names::RETRY_PREFIX;
use wire::pop::Origin;

use super::member::Member;
use super::options::Role;
use crate::at_once::all_at_once;
use crate::error::Error;
use crate::fields::Fields;
use crate::route::Route;
use crate::shared::decode;

/// Queues of a topic that are a member's.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub pulled: BTreeSet<MessageQueue>,
    pub popped: BTreeSet<MessageQueue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    /// `None`: the broker cannot say, and everything stays as it is.
    message_queue_assignments: Option<Vec<Assignment>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assignment {
    message_queue: Option<MessageQueue>,
    #[serde(default)]
    mode: String,
}

impl Member {
    /// What the brokers of a topic assign. All are asked at a time: some speak for all brokers, some for themselves
    /// alone. A broker that does not answer changes nothing for its own queues.
    pub(super) async fn assigned_by_brokers(&self, route: &Route) -> Result<Share, Error> {
        let mut share = Share::default();
        let mut failure = None;
        let mut some_answered = false;
        let asked = route.brokers().iter().filter_map(|broker| {
            let address = broker.broker_addrs.values().next()?;
            Some(async move { (broker, address, self.query_assignment(address, route.topic()).await) })
        });
        for (broker, address, answer) in all_at_once(asked).await {
            match answer {
                Ok(Some(assignments)) => {
                    some_answered = true;
                    share.add(assignments, route);
                }
                Ok(None) => self.keep(route.topic(), &broker.broker_name, &mut share),
                Err(error) => {
                    tracing::debug!(group = self.group, address, "no queues are assigned: {error}");
                    self.keep(route.topic(), &broker.broker_name, &mut share);
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if !some_answered => Err(error),
            _ => Ok(share),
        }
    }

    async fn query_assignment(&self, address: &str, topic: &str) -> Result<Option<Vec<Assignment>>, Error> {
        let body = json!({
            "topic": topic,
            "consumerGroup": self.group,
            "clientId": self.shared.client_id,
            "strategyName": self.options.strategy.name(),
            "messageModel": "CLUSTERING",
        })
        .to_string();
        let code = request::QUERY_ASSIGNMENT;
        let answer = self.ask_unless_silent(address, code, &Fields::new(), body.as_bytes()).await?;
        Ok(decode::<Answer>(address, &answer)?.message_queue_assignments)
    }

    /// Adds what this member has of a broker.
    fn keep(&self, topic: &str, broker_name: &str, share: &mut Share) {
        let of_broker = |queue: &&MessageQueue| queue.topic == topic && queue.broker_name == broker_name;
        share.pulled.extend(self.queues.lock().keys().filter(of_broker).cloned());
        share.popped.extend(self.popped.lock().keys().filter(of_broker).cloned());
    }

    /// What a member that only pops has of a topic: the queues that brokers assign for popping, and all of a broker
    /// that assigns none.
    pub(super) async fn popped_share(&self, route: &Route) -> Share {
        let popped = match self.assigned_by_brokers(route).await {
            Ok(share) => share.popped,
            Err(_) => BTreeSet::new(),
        };
        let mut share = Share { popped, ..Share::default() };
        for broker in route.brokers() {
            if !share.popped.iter().any(|queue| queue.broker_name == broker.broker_name) {
                share.popped.insert(MessageQueue {
                    topic: route.topic().to_owned(),
                    broker_name: broker.broker_name.clone(),
                    queue_id: -1,
                });
            }
        }
        share
    }

    /// The topic with what failed while the group popped this one, which must be pulled when it pops no more.
    pub(super) fn left_by_pops(&self, topic: &str) -> Option<String> {
        let plain = !topic.starts_with(RETRY_PREFIX) && self.options.role == Role::Push;
        plain.then(|| Origin::RetryV1.topic(&self.group, topic))
    }
}

impl Share {
    fn add(&mut self, assignments: Vec<Assignment>, route: &Route) {
        for Assignment { message_queue, mode } in assignments {
            let Some(queue) = message_queue.and_then(|queue| route.at_leader(queue)) else { continue };
            if mode == "POP" {
                self.popped.insert(queue)
            } else {
                self.pulled.insert(queue)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::consumer::member::tests::member;
    use crate::consumer::options::Options;
    use crate::pretended::{Said, pretend};
    use crate::route::MASTER_ID;
    use wire::body::{BrokerData, TopicQueueMappingInfo, TopicRoute};
    use wire::loose_json;

    #[tokio::test]
    async fn brokers_that_are_silent_do_not_keep_others_from_assigning_queues() {
        let member = member(Options::usual(Role::Push));
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let said = r#"{"messageQueueAssignments":[
            {"messageQueue":{"brokerName":"b","queueId":2,"topic":"T"},"mode":"PULL"}]}"#;
        let (address, _server) = pretend(move |_| Some(Said::body(said)));
        let broker = |broker_name: String, address: String| {
            let broker_addrs = [(MASTER_ID, address)].into();
            BrokerData { broker_name, broker_addrs, ..BrokerData::default() }
        };
        // A call takes 1 s: one after the other they would need all the patience there is.
        let names = (0..30).map(|number| format!("a{number}"));
        let mut broker_datas: Vec<_> =
            names.map(|name| broker(name, silent.local_addr().unwrap().to_string())).collect();
        broker_datas.push(broker("b".to_owned(), address));
        let route = Route::new("T", TopicRoute { broker_datas, ..TopicRoute::default() });
        let asked = member.assigned_by_brokers(&route);
        let share = tokio::time::timeout(Duration::from_secs(20), asked).await.expect("in time").unwrap();
        assert_eq!(share.pulled.into_iter().map(|queue| queue.queue_id).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn queues_are_pulled_unless_the_broker_says_pop() {
        let text = br#"{"messageQueueAssignments":[
            {"messageQueue":{"brokerName":"a","queueId":-1,"topic":"T"},"mode":"POP"},
            {"messageQueue":{"brokerName":"b","queueId":2,"topic":"T"},"mode":"PULL"},
            {"messageQueue":{"brokerName":"b","queueId":3,"topic":"T"}}, {"mode":"POP"}]}"#;
        let answer: Answer = loose_json::read(text).unwrap();
        let mut share = Share::default();
        share.add(answer.message_queue_assignments.unwrap(), &Route::new("T", TopicRoute::default()));
        let ids =
            |queues: &BTreeSet<MessageQueue>| -> Vec<i32> { queues.iter().map(|q| q.queue_id).collect() };
        assert_eq!((ids(&share.popped), ids(&share.pulled)), (vec![-1], vec![2, 3]));
        let nothing: Answer = loose_json::read(b"{}").unwrap();
        assert!(nothing.message_queue_assignments.is_none());
    }

    #[test]
    fn logical_queues_are_read_at_their_leaders_and_what_nobody_leads_is_not() {
        let info = TopicQueueMappingInfo {
            bname: "b".into(),
            curr_id_map: [(1, 0)].into(),
            ..TopicQueueMappingInfo::default()
        };
        let mappings = Some([("b".to_owned(), info)].into());
        let raw = TopicRoute { topic_queue_mapping_by_broker: mappings, ..TopicRoute::default() };
        let text = br#"{"messageQueueAssignments":[
            {"messageQueue":{"brokerName":"__syslo__global__","queueId":0,"topic":"T"},"mode":"PULL"},
            {"messageQueue":{"brokerName":"__syslo__global__","queueId":1,"topic":"T"},"mode":"PULL"}]}"#;
        let answer: Answer = loose_json::read(text).unwrap();
        let mut share = Share::default();
        share.add(answer.message_queue_assignments.unwrap(), &Route::new("T", raw));
        let queue = MessageQueue { topic: "T".into(), broker_name: "b".into(), queue_id: 1 };
        assert_eq!((share.pulled, share.popped), (BTreeSet::from([queue]), BTreeSet::new()));
    }
}
