//! Telling the nameservers: everything at start and every `registerNameServerPeriod`, single topics when they are
//! created or changed (broker.md §1.4).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use remoting::{Channel, Client, Limits, Service, Turn};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::body::{DataVersion, PERM_READ, PERM_WRITE, RegisterBrokerBody, TopicConfigAndMappingWrapper};
use wire::code::{request, response};

use crate::Broker;
use crate::static_topics;
use crate::topics::Topic;

/// Longest wait for a nameserver when leaving; a broker that stops must not hang on a dead nameserver.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause before a registration that failed everywhere is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// What is to be told, and who waits for it.
#[derive(Default)]
pub(crate) struct Registration {
    changed: Mutex<Vec<String>>,
    wake: Notify,
    /// Counts rounds of telling: asked for and done.
    asked: Mutex<u64>,
    done: OnceLock<watch::Sender<u64>>,
    client: OnceLock<Arc<Client>>,
    /// Tells the expiry task that there are clients.
    pub clients_changed: Notify,
}

impl Registration {
    /// Topics that the nameservers must hear of.
    pub fn topics_changed(&self, names: Vec<String>) {
        self.changed.lock().extend(names);
        *self.asked.lock() += 1;
        self.wake.notify_one();
    }

    fn done(&self) -> &watch::Sender<u64> {
        self.done.get_or_init(|| watch::Sender::new(0))
    }

    /// The connections of this broker to nameservers and other brokers.
    pub fn client(&self) -> Arc<Client> {
        let made = || Arc::new(Client::new(Limits::default(), Arc::new(NoRequests)));
        Arc::clone(self.client.get_or_init(made))
    }

    /// Waits until everything that has changed so far has been told, or until `limit`.
    pub async fn settled(&self, limit: Duration) {
        let asked = *self.asked.lock();
        let mut done = self.done().subscribe();
        let _ = tokio::time::timeout(limit, done.wait_for(|done| *done >= asked)).await;
    }
}

/// Neither nameservers nor other brokers ask anything over a connection that this broker has made.
struct NoRequests;

impl Service for NoRequests {
    fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(request) = turn.next_request() {
            let remark = format!(" request type {} not supported", request.header.code);
            request.reply_to().write(turn.out, response::REQUEST_CODE_NOT_SUPPORTED, Some(&remark));
        }
    }

    fn closed(&self, _: &Arc<Channel>) {}
}

impl Broker {
    /// Registers for ever.
    pub(crate) async fn run_registration(&self) {
        let registration = &self.registration;
        let period = || self.settings.load().register_name_server_period;
        // However often single topics are told in between: only the whole table helps a nameserver that has restarted.
        let mut due = Instant::now() + period();
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {
                    let told = self.register_all().await;
                    due = Instant::now() + if told { period() } else { RETRY_PAUSE };
                }
                () = registration.wake.notified() => {
                    let asked = *registration.asked.lock();
                    let names = std::mem::take(&mut *registration.changed.lock());
                    if !self.register_topics(&names).await {
                        // The whole table repairs whatever a single topic could not tell.
                        self.register_all().await;
                    }
                    registration.done().send_replace(asked);
                    self.renew_routes_of(&names).await;
                }
            }
        }
    }

    /// Tells every nameserver the whole table; true if any heard, or if there is none.
    pub async fn register_all(&self) -> bool {
        // The version first: a change in between is told once more rather than never.
        let version = self.topics.version();
        self.tell(wrapper(version, &self.topics.all())).await
    }

    async fn register_topics(&self, names: &[String]) -> bool {
        let version = self.topics.version();
        let topics: Vec<_> = names.iter().filter_map(|name| self.topics.get(name)).collect();
        self.tell(wrapper(version, &topics)).await
    }

    async fn tell(&self, mut topics: TopicConfigAndMappingWrapper) -> bool {
        let settings = self.settings();
        if settings.namesrv_addr.is_empty() {
            return true;
        }
        let allowed = settings.broker_permission;
        if allowed & (PERM_READ | PERM_WRITE) != PERM_READ | PERM_WRITE {
            topics.topic_config_table.values_mut().for_each(|topic| topic.perm &= allowed);
        }
        let body =
            RegisterBrokerBody { filter_server_list: Vec::new(), topic_config_serialize_wrapper: topics };
        let Ok(body) = serde_json::to_vec(&body) else { return false };
        let mut fields = self.identity(&settings);
        fields.extend([
            ("bodyCrc32", wire::record::body_crc(&body).to_string()),
            ("compressed", "false".to_owned()),
            ("enableActingMaster", "false".to_owned()),
            ("haServerAddr", format!("{}:{}", self.address.ip(), settings.ha_listen_port)),
        ]);
        self.ask_all(request::REGISTER_BROKER, fields, body, settings.register_broker_timeout_mills).await
    }

    /// Tells the nameservers that this broker leaves.
    pub(crate) async fn leave(&self) {
        let fields = self.identity(&self.settings());
        self.ask_all(request::UNREGISTER_BROKER, fields, Vec::new(), LEAVE_TIMEOUT).await;
        self.registration.client().close();
    }

    /// Fields by which nameservers know this broker.
    fn identity(&self, settings: &settings::Broker) -> Vec<(&'static str, String)> {
        vec![
            ("brokerAddr", self.address.to_string()),
            ("brokerId", settings.broker_id.to_string()),
            ("brokerName", settings.broker_name.clone()),
            ("clusterName", settings.broker_cluster_name.clone()),
        ]
    }

    /// Sends a request to all nameservers at once, so that a dead one delays nobody; true if any agreed.
    async fn ask_all(
        &self,
        code: i32,
        fields: Vec<(&'static str, String)>,
        body: Vec<u8>,
        limit: Duration,
    ) -> bool {
        let request = Arc::new((fields, body));
        let mut asked = JoinSet::new();
        for nameserver in self.settings().namesrv_addr.clone() {
            let (client, request) = (self.registration.client(), Arc::clone(&request));
            asked.spawn(async move {
                let (fields, body) = &*request;
                let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let answer = client.call(&nameserver, code, &fields, body, limit).await;
                match &answer {
                    Ok(answer) if answer.code == response::SUCCESS => return true,
                    Ok(answer) => {
                        let remark = answer.remark.as_deref().unwrap_or_default();
                        tracing::warn!(nameserver, code, answer = answer.code, "refused: {remark}");
                    }
                    Err(error) => tracing::warn!(nameserver, code, "a nameserver was not told: {error}"),
                }
                false
            });
        }
        let mut agreed = false;
        while let Some(done) = asked.join_next().await {
            agreed |= done.unwrap_or(false);
        }
        agreed
    }
}

fn wrapper(data_version: DataVersion, topics: &[Arc<Topic>]) -> TopicConfigAndMappingWrapper {
    let config = |topic: &Arc<Topic>| (topic.config.topic_name.clone(), topic.config.clone());
    TopicConfigAndMappingWrapper {
        data_version,
        topic_config_table: topics.iter().map(config).collect(),
        topic_queue_mapping_info_map: static_topics::infos(topics.iter()),
        ..TopicConfigAndMappingWrapper::default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicU32, Ordering};

    use remoting::Server;
    use sim::{SimClock, SimDisk};
    use wire::names;

    use super::*;
    use crate::testing;

    /// A nameserver that counts whole tables.
    #[derive(Default)]
    struct Counting(AtomicU32);

    impl Service for Counting {
        fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
            while let Some(request) = turn.next_request() {
                if String::from_utf8_lossy(request.body).contains(names::SELF_TEST_TOPIC) {
                    self.0.fetch_add(1, Ordering::Relaxed);
                }
                request.reply_to().write(turn.out, response::SUCCESS, None);
            }
        }

        fn closed(&self, _: &Arc<Channel>) {}
    }

    #[tokio::test]
    async fn topics_that_change_all_the_time_do_not_put_off_the_whole_table() {
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let nameserver = Arc::new(Counting::default());
        let server = Server::start(here, Limits::default(), Arc::<Counting>::clone(&nameserver)).unwrap();
        let clock = SimClock::default();
        let broker = testing::open(&SimDisk::new(clock.clone()), &clock, |settings| {
            settings.namesrv_addr = vec![server.address().to_string()];
            settings.register_name_server_period = Duration::from_millis(100);
        });
        let telling = Arc::clone(&broker);
        let task = tokio::spawn(async move { telling.run_registration().await });
        let deadline = Instant::now() + Duration::from_secs(20);
        while nameserver.0.load(Ordering::Relaxed) < 2 {
            assert!(Instant::now() < deadline, "only single topics are told");
            broker.registration.topics_changed(vec![names::BENCHMARK_TOPIC.to_owned()]);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        task.abort();
    }
}
