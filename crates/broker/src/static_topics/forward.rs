//! Questions to other brokers, which hold earlier generations of what this one leads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use remoting::Answer;
use tokio::time::Instant;
use wire::body::{BrokerData, ClusterInfo};
use wire::code::{request, response};
use wire::loose_json;

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal, Reply, answer_later};

/// For how long an address is taken for right without asking again, as clients do with routes.
const FRESH: Duration = Duration::from_secs(30);
/// Pause between questions for a broker that no nameserver knows.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Broker id of a master.
const MASTER_ID: i64 = 0;

/// Where the masters of the other brokers are.
#[derive(Default)]
pub(crate) struct Neighbours {
    known: Mutex<Known>,
    /// Held while a nameserver is asked, so that one question serves all who wait.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    addresses: HashMap<String, String>,
    asked: Option<Instant>,
}

impl Neighbours {
    /// The address, and whether it is as new as can be.
    fn find(&self, broker_name: &str) -> (Option<String>, bool) {
        let known = self.known.lock();
        let address = known.addresses.get(broker_name).cloned();
        let enough = if address.is_some() { FRESH } else { ASK_AGAIN };
        (address, known.asked.is_some_and(|asked| asked.elapsed() < enough))
    }

    /// `None` keeps what was known, for those whose brokers still answer.
    fn note(&self, addresses: Option<HashMap<String, String>>) {
        let mut known = self.known.lock();
        known.asked = Some(Instant::now());
        if let Some(addresses) = addresses {
            known.addresses = addresses;
        }
    }

    /// Asks anew for a broker the next time, but not more often than for one that nobody knows.
    fn forget(&self, broker_name: &str) {
        self.known.lock().addresses.remove(broker_name);
    }
}

impl Broker {
    /// Asks the master called `broker_name`, within `forwardTimeout` in all. The answer has one of the codes in
    /// `expected`; all else is a refusal.
    pub(super) async fn ask_neighbour(
        &self,
        broker_name: &str,
        code: i32,
        fields: &[(&str, &str)],
        expected: &[i32],
    ) -> Result<Answer, Refusal> {
        let limit = self.settings.load().forward_timeout;
        let failed = |why: &str| {
            let remark = format!("broker {broker_name}, which holds a part of this logical queue, {why}");
            Refusal::system(remark)
        };
        let ask = async {
            let address = self.address_of(broker_name).await;
            let address = address.ok_or_else(|| failed("is known to no nameserver"))?;
            let answer = self.registration.client().call(&address, code, fields, &[], limit).await;
            answer.map_err(|error| failed(&format!("was not reached: {error}")))
        };
        let answer = tokio::time::timeout(limit, ask).await;
        let answer = answer.unwrap_or_else(|_| Err(failed("did not answer in time (forwardTimeout)")));
        // It may have moved.
        let answer = answer.inspect_err(|_| self.neighbours.forget(broker_name))?;
        if expected.contains(&answer.code) {
            return Ok(answer);
        }
        let remark = answer.remark.as_deref().unwrap_or_default();
        Err(failed(&format!("answered request {code} with {}: {remark}", answer.code)))
    }

    /// The number that another broker answers in the field `name`.
    pub(super) async fn ask_number(
        &self,
        broker_name: &str,
        code: i32,
        fields: &[(&str, &str)],
        name: &str,
    ) -> Result<i64, Refusal> {
        let answer = self.ask_neighbour(broker_name, code, fields, &[response::SUCCESS]).await?;
        number_in(&answer, name)
    }

    async fn address_of(&self, broker_name: &str) -> Option<String> {
        let (address, fresh) = self.neighbours.find(broker_name);
        if fresh {
            return address;
        }
        let _one_at_a_time = self.neighbours.asking.lock().await;
        if let (address, true) = self.neighbours.find(broker_name) {
            return address;
        }
        self.neighbours.note(self.ask_for_masters().await);
        self.neighbours.find(broker_name).0
    }

    /// Addresses of all masters, from the first nameserver that answers.
    async fn ask_for_masters(&self) -> Option<HashMap<String, String>> {
        let settings = self.settings();
        let client = self.registration.client();
        for nameserver in &settings.namesrv_addr {
            let code = request::GET_BROKER_CLUSTER_INFO;
            let answer = client.call(nameserver, code, &[], &[], settings.forward_timeout).await;
            let Ok(answer) = answer else { continue };
            if let Ok(info) = loose_json::read::<ClusterInfo>(&answer.body) {
                let master = |(name, mut data): (String, BrokerData)| {
                    Some((name, data.broker_addrs.remove(&MASTER_ID)?))
                };
                return Some(info.broker_addr_table.into_iter().filter_map(master).collect());
            }
        }
        None
    }

    /// Runs what may wait for the disk on a thread that may.
    pub(super) async fn on_reader<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Broker>) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let done = self.readers.run_own(work).await;
        done.ok_or_else(|| Refusal::new(response::SYSTEM_BUSY, "the broker is stopping, or busy; try again"))
    }
}

/// Answers a request with a number that takes its time, from a task of its own.
pub(super) fn answer_number_later(
    exchange: &Exchange<'_, '_>,
    name: &'static str,
    number: impl Future<Output = Result<i64, Refusal>> + Send + 'static,
) -> Outcome {
    answer_later(exchange, async move {
        number.await.map(|number| move |mut reply: Reply<'_>| reply.ok_number(name, number))
    })
}

/// A number among the fields of another broker's answer.
pub(super) fn number_in(answer: &Answer, name: &str) -> Result<i64, Refusal> {
    let number = answer.field(name).and_then(|text| text.parse().ok());
    number.ok_or_else(|| Refusal::system(format!("another broker answered without the number {name}")))
}
