//! Questions to other brokers, which hold earlier generations of what this one leads.

use std::collections::{HashMap, HashSet};
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
use crate::routes::ANSWER_MAX;

/// For how long an address is taken for right without asking again, as clients do with routes.
const FRESH: Duration = Duration::from_secs(30);
/// Pause between questions for a broker that no nameserver knows, or that was not reached where it is said to be.
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
    /// Brokers that were not reached there, and may have moved.
    doubted: HashSet<String>,
    asked: Option<Instant>,
}

impl Neighbours {
    /// The address, and whether it is as new as can be.
    fn find(&self, broker_name: &str, now: Instant) -> (Option<String>, bool) {
        let known = self.known.lock();
        let address = known.addresses.get(broker_name).cloned();
        let is_trusted = address.is_some() && !known.doubted.contains(broker_name);
        let enough = if is_trusted { FRESH } else { ASK_AGAIN };
        (address, known.asked.is_some_and(|asked| now.saturating_duration_since(asked) < enough))
    }

    /// `None` keeps what was known, for those whose brokers still answer.
    fn note(&self, addresses: Option<HashMap<String, String>>, now: Instant) {
        let mut known = self.known.lock();
        known.asked = Some(now);
        if let Some(addresses) = addresses {
            known.addresses = addresses;
            known.doubted.clear();
        }
    }

    /// Asks anew for a broker the next time, but not more often than for one that nobody knows. Its address stays for
    /// as long as no nameserver tells another: it may just have been away for a moment.
    fn doubt(&self, broker_name: &str) {
        self.known.lock().doubted.insert(broker_name.to_owned());
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
        let deadline = Instant::now() + limit;
        let address = self.address_of(broker_name, deadline).await;
        let address = address.ok_or_else(|| failed("is known to no nameserver"))?;
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = self.registration.call(&address, code, fields, &[], left).await;
        let answer = answer.map_err(|error| {
            self.neighbours.doubt(broker_name);
            failed(&format!("was not reached: {error}"))
        })?;
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

    async fn address_of(&self, broker_name: &str, deadline: Instant) -> Option<String> {
        let (address, fresh) = self.neighbours.find(broker_name, Instant::now());
        if fresh {
            return address;
        }
        let _one_at_a_time = self.neighbours.asking.lock().await;
        if let (address, true) = self.neighbours.find(broker_name, Instant::now()) {
            return address;
        }
        let masters = self.ask_for_masters(deadline).await;
        self.neighbours.note(masters, Instant::now());
        self.neighbours.find(broker_name, Instant::now()).0
    }

    /// Addresses of all masters, from the first nameserver that answers. Each has its part of the time until
    /// `deadline`, and one part is left for whoever is asked there.
    async fn ask_for_masters(&self, deadline: Instant) -> Option<HashMap<String, String>> {
        let settings = self.settings();
        let nameservers = &settings.namesrv_addr;
        for (asked, at) in self.routes.in_turn(nameservers.len()).enumerate() {
            let parts = u32::try_from(nameservers.len() - asked + 1).unwrap_or(u32::MAX);
            let left = deadline.saturating_duration_since(Instant::now());
            let (code, limit) = (request::GET_BROKER_CLUSTER_INFO, ANSWER_MAX.min(left / parts));
            let answer = self.registration.call(&nameservers[at], code, &[], &[], limit).await;
            let Ok(answer) = answer else { continue };
            if let Ok(info) = loose_json::read::<ClusterInfo>(&answer.body) {
                self.routes.answered(at);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{SocketAddr, TcpListener};

    use remoting::{Channel, Limits, Server, Service, Turn};
    use sim::{SimClock, SimDisk};
    use wire::header::FrameWriter;

    use super::*;
    use crate::testing;

    const PATIENCE: Duration = Duration::from_secs(20);
    const NEIGHBOUR: &str = "broker-b";

    /// A nameserver, by what it says of a neighbour, and that neighbour.
    struct Both(String);

    impl Service for Both {
        fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
            while let Some(request) = turn.next_request() {
                let mut writer =
                    FrameWriter::new(turn.out, &request.reply_to().head(response::SUCCESS, None));
                if request.header.code == request::GET_BROKER_CLUSTER_INFO {
                    let data = BrokerData {
                        broker_addrs: BTreeMap::from([(MASTER_ID, self.0.clone())]),
                        ..BrokerData::default()
                    };
                    let broker_addr_table = [(NEIGHBOUR.to_owned(), data)].into_iter().collect();
                    loose_json::body_of(writer, &ClusterInfo { broker_addr_table, ..ClusterInfo::default() });
                } else {
                    writer.number("offset", 7);
                    writer.empty();
                }
            }
        }

        fn closed(&self, _: &Arc<Channel>) {}
    }

    fn somewhere() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    /// One that says where the neighbour is, which is `at`.
    fn nameserver(at: &str) -> Server {
        Server::start(somewhere(), Limits::default(), Arc::new(Both(at.to_owned()))).unwrap()
    }

    /// Takes connections and never says anything.
    fn silence() -> TcpListener {
        TcpListener::bind(somewhere()).unwrap()
    }

    fn broker(nameservers: &[SocketAddr], forward_timeout: Duration) -> Arc<Broker> {
        let clock = SimClock::default();
        testing::open(&SimDisk::new(clock.clone()), &clock, |settings| {
            settings.namesrv_addr = nameservers.iter().map(SocketAddr::to_string).collect();
            settings.forward_timeout = forward_timeout;
        })
    }

    async fn ask(broker: &Broker) -> Result<i64, Refusal> {
        broker.ask_number(NEIGHBOUR, request::GET_MAX_OFFSET, &[], "offset").await
    }

    #[tokio::test]
    async fn one_nameserver_that_is_silent_does_not_hide_where_a_neighbour_is() {
        let (silent, neighbour) = (silence(), nameserver(""));
        let other = nameserver(&neighbour.address().to_string());
        let broker = broker(&[silent.local_addr().unwrap(), other.address()], Duration::from_secs(3));
        let deadline = Instant::now() + PATIENCE;
        loop {
            match ask(&broker).await {
                Ok(offset) => break assert_eq!(offset, 7),
                Err(refusal) => assert!(Instant::now() < deadline, "{refusal:?}"),
            }
        }
        assert_eq!(broker.routes.in_turn(2).collect::<Vec<_>>(), [1, 0], "it is not waited for each time");
    }

    #[tokio::test]
    async fn while_no_nameserver_answers_a_neighbour_is_where_it_was() {
        let (silent, neighbour) = (silence(), nameserver(""));
        let broker = broker(&[silent.local_addr().unwrap()], PATIENCE);
        let known = HashMap::from([(NEIGHBOUR.to_owned(), neighbour.address().to_string())]);
        broker.neighbours.note(Some(known), Instant::now());
        broker.neighbours.known.lock().asked = None;
        assert_eq!(ask(&broker).await, Ok(7));
        assert_eq!(ask(&broker).await, Ok(7));
    }

    #[test]
    fn a_neighbour_that_fails_is_asked_for_again_and_stays_known() {
        let (neighbours, now) = (Neighbours::default(), Instant::now());
        let at = |address: &str| Some(HashMap::from([(NEIGHBOUR.to_owned(), address.to_owned())]));
        let (old, new) = (Some("old".to_owned()), Some("new".to_owned()));
        assert_eq!(neighbours.find(NEIGHBOUR, now), (None, false));
        neighbours.note(at("old"), now);
        let later = now + FRESH - Duration::from_secs(1);
        assert_eq!(neighbours.find(NEIGHBOUR, later), (old.clone(), true));
        neighbours.doubt(NEIGHBOUR);
        assert_eq!(neighbours.find(NEIGHBOUR, later), (old.clone(), false));
        neighbours.note(None, later);
        assert_eq!(
            neighbours.find(NEIGHBOUR, later),
            (old.clone(), true),
            "not more often than every second"
        );
        assert_eq!(neighbours.find(NEIGHBOUR, later + ASK_AGAIN), (old, false));
        neighbours.note(at("new"), later);
        assert_eq!(neighbours.find(NEIGHBOUR, later + ASK_AGAIN), (new, true));
    }
}
