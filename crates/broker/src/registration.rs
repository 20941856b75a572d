//! Telling the nameservers: everything at start and every `registerNameServerPeriod`, single topics when they are
//! created or changed (broker.md §1.4).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use remoting::{Channel, Client, Limits, Service, Turn};
use tokio::sync::{Notify, watch};
use wire::body::{PERM_READ, PERM_WRITE, RegisterBrokerBody, TopicConfigWrapper};
use wire::code::{request, response};

use crate::Broker;

/// Longest wait for a nameserver when leaving; a broker that stops must not hang on a dead nameserver.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause before a registration that failed everywhere is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What is to be told, and who waits for it.
#[derive(Default)]
pub(crate) struct Registration {
    changed: Mutex<Vec<String>>,
    wake: Notify,
    /// Counts rounds of telling: asked for and done.
    asked: Mutex<u64>,
    done: OnceLock<watch::Sender<u64>>,
    client: OnceLock<Client>,
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

    fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::new(Limits::default(), Arc::new(NoRequests)))
    }

    /// Waits until everything that has changed so far has been told, or until `limit`.
    pub async fn settled(&self, limit: Duration) {
        let asked = *self.asked.lock();
        let mut done = self.done().subscribe();
        let _ = tokio::time::timeout(limit, done.wait_for(|done| *done >= asked)).await;
    }
}

/// Nameservers ask nothing of a broker yet.
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
        loop {
            let period = self.settings.load().register_name_server_period;
            tokio::select! {
                () = tokio::time::sleep(period) => {
                    if !self.register_all().await {
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                }
                () = registration.wake.notified() => {
                    let asked = *registration.asked.lock();
                    let names = std::mem::take(&mut *registration.changed.lock());
                    if !self.register_topics(names).await {
                        // The whole table repairs whatever a single topic could not tell.
                        self.register_all().await;
                    }
                    registration.done().send_replace(asked);
                }
            }
        }
    }

    /// Tells every nameserver the whole table; true if any heard, or if there is none.
    pub async fn register_all(&self) -> bool {
        self.tell(self.topics.wrapper()).await
    }

    async fn register_topics(&self, names: Vec<String>) -> bool {
        let topics = names.iter().filter_map(|name| self.topics.get(name));
        let table = topics.map(|topic| (topic.config.topic_name.clone(), topic.config.clone())).collect();
        self.tell(TopicConfigWrapper { data_version: self.topics.version(), topic_config_table: table }).await
    }

    async fn tell(&self, mut topics: TopicConfigWrapper) -> bool {
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
        let checksum = wire::record::body_crc(&body).to_string();
        let address = self.address.to_string();
        let ha_address = format!("{}:{}", self.address.ip(), settings.ha_listen_port);
        let id = settings.broker_id.to_string();
        let fields = [
            ("bodyCrc32", checksum.as_str()),
            ("brokerAddr", &address),
            ("brokerId", &id),
            ("brokerName", &settings.broker_name),
            ("clusterName", &settings.broker_cluster_name),
            ("compressed", "false"),
            ("enableActingMaster", "false"),
            ("haServerAddr", &ha_address),
        ];
        let mut heard = false;
        for nameserver in &settings.namesrv_addr {
            let limit = settings.register_broker_timeout_mills;
            let answer =
                self.registration.client().call(nameserver, request::REGISTER_BROKER, &fields, &body, limit);
            match answer.await {
                Ok(answer) if answer.code == response::SUCCESS => heard = true,
                Ok(answer) => {
                    let remark = answer.remark.unwrap_or_default();
                    tracing::warn!(nameserver, code = answer.code, "registration refused: {remark}");
                }
                Err(error) => tracing::warn!(nameserver, "registration failed: {error}"),
            }
        }
        heard
    }

    /// Tells the nameservers that this broker leaves.
    pub(crate) async fn leave(&self) {
        let settings = self.settings();
        let (address, id) = (self.address.to_string(), settings.broker_id.to_string());
        let fields = [
            ("brokerAddr", address.as_str()),
            ("brokerId", &id),
            ("brokerName", &settings.broker_name),
            ("clusterName", &settings.broker_cluster_name),
        ];
        for nameserver in &settings.namesrv_addr {
            let client = self.registration.client();
            let answer = client.call(nameserver, request::UNREGISTER_BROKER, &fields, &[], LEAVE_TIMEOUT);
            if let Err(error) = answer.await {
                tracing::warn!(nameserver, "could not leave: {error}");
            }
        }
        self.registration.client().close();
    }
}
