//! Telling the nameservers: everything at start and every `registerNameServerPeriod`, single topics when they are
//! created or changed (broker.md §1.4).
//!
//! Each nameserver is told by a task of its own, so that one that hangs delays nobody but itself. It passes over a
//! whole table of a version that it knows, so a version says more than it should when a change on the way to it was
//! lost. From then on until it has taken a whole table, each one comes with a version that it has never heard.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use remoting::{Answer, CallError, Channel, Client, Limits, Service, Turn};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::body::{
    DataVersion, KvTable, PERM_READ, PERM_WRITE, RegisterBrokerBody, TopicConfigAndMappingWrapper,
};
use wire::code::{request, response};
use wire::loose_json;

use crate::Broker;
use crate::static_topics;
use crate::topics::Topic;

/// Longest wait for a nameserver when leaving; a broker that stops must not hang on a dead nameserver.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);
/// Shorter silence says nothing about a connection.
const DOUBT: Duration = Duration::from_secs(1);
/// Pause before a registration that failed is tried again.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Most bytes of topics in one request, by an estimate that is too large: a frame has 16 MiB.
const PART_BYTES_MAX: usize = 8 << 20;

/// What is to be told, and who waits for it.
#[derive(Default)]
pub(crate) struct Registration {
    lines: Vec<Arc<Line>>,
    client: OnceLock<Client>,
    /// Tells the expiry task that there are clients.
    pub clients_changed: Notify,
}

/// One nameserver, and what it has not heard yet.
struct Line {
    nameserver: String,
    news: Mutex<News>,
    wake: Notify,
    /// The last news that have been told, or that could not be.
    done: watch::Sender<u64>,
}

#[derive(Default)]
struct News {
    /// Counts them.
    number: u64,
    /// Topics that are other ones now.
    topics: Vec<String>,
    /// Version of the table with the last of these. It comes together with the names: a version that is ahead of them
    /// would make the nameserver pass over what comes later.
    version: Option<DataVersion>,
    /// What topics do not show has changed.
    everything: bool,
}

/// What a nameserver has heard.
struct Heard {
    version: DataVersion,
    /// Some of what it was to hear it may have missed.
    missed: bool,
    /// Moment of the last whole table by a version of its own. It takes the place of the moment when the table changed:
    /// the counter beside it tells the versions of the table apart.
    stamp: i64,
}

impl Registration {
    /// Nobody has been told anything yet.
    pub fn new(nameservers: &[String]) -> Registration {
        let line = |nameserver: &String| {
            Arc::new(Line {
                nameserver: nameserver.clone(),
                news: Mutex::new(News { number: 1, everything: true, ..News::default() }),
                wake: Notify::new(),
                done: watch::Sender::new(0),
            })
        };
        Registration { lines: nameservers.iter().map(line).collect(), ..Registration::default() }
    }

    /// Topics that the nameservers must hear of, and the version of the table that has them.
    pub fn topics_changed(&self, names: &[String], version: DataVersion) {
        self.add_news(|news| {
            news.topics.extend_from_slice(names);
            news.version = Some(version);
        });
    }

    /// The nameservers must hear of all topics anew, although these are the same.
    pub fn everything_changed(&self) {
        self.add_news(|news| news.everything = true);
    }

    fn add_news(&self, add: impl Fn(&mut News)) {
        for line in &self.lines {
            let mut news = line.news.lock();
            news.number += 1;
            add(&mut news);
            drop(news);
            line.wake.notify_one();
        }
    }

    /// The connections of this broker to nameservers and other brokers.
    fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::new(Limits::default(), Arc::new(NoRequests)))
    }

    /// Asks a nameserver or another broker. If nothing comes over its connection all the time, that ends: a device on
    /// the way may have forgotten it, and then everything that is sent over it is lost until TCP gives up.
    pub async fn call(
        &self,
        address: &str,
        code: i32,
        fields: &[(&str, &str)],
        body: &[u8],
        limit: Duration,
    ) -> Result<Answer, CallError> {
        let client = self.client();
        let answer = client.call(address, code, fields, body, limit).await;
        if let Err(CallError::Timeout { .. }) = answer {
            client.close_if_silent(address, limit.max(DOUBT));
        }
        answer
    }

    /// Tells a nameserver something; its answer if it agreed.
    async fn ask(
        &self,
        nameserver: &str,
        code: i32,
        fields: &[(&str, String)],
        body: &[u8],
        limit: Duration,
    ) -> Option<Answer> {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        match self.call(nameserver, code, &fields, body, limit).await {
            Ok(answer) if answer.code == response::SUCCESS => return Some(answer),
            Ok(answer) => {
                let remark = answer.remark.as_deref().unwrap_or_default();
                tracing::warn!(nameserver, code, answer = answer.code, "refused: {remark}");
            }
            Err(error) => tracing::warn!(nameserver, code, "a nameserver was not told: {error}"),
        }
        None
    }

    /// Waits until every nameserver has been told of what has changed so far, if it could be; false if that takes
    /// longer than `limit`.
    pub async fn settled(&self, limit: Duration) -> bool {
        let wanted: Vec<_> = self.lines.iter().map(|line| line.news.lock().number).collect();
        let all = async {
            for (line, number) in self.lines.iter().zip(wanted) {
                // The sender lives as long as this.
                let _ = line.done.subscribe().wait_for(|done| *done >= number).await;
            }
        };
        tokio::time::timeout(limit, all).await.is_ok()
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
    /// Waits until every nameserver has been told of this broker and of all changes so far, if it could be; false if
    /// that takes longer than `limit`.
    pub async fn registered(&self, limit: Duration) -> bool {
        self.registration.settled(limit).await
    }

    /// Registers for ever.
    pub(crate) async fn run_registration(self: &Arc<Self>, retry_pause: Duration) {
        let mut tasks = JoinSet::new();
        for line in &self.registration.lines {
            let (broker, line) = (Arc::clone(self), Arc::clone(line));
            tasks.spawn(async move { broker.keep_told(&line, retry_pause).await });
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    /// Tells one nameserver whatever it must hear.
    async fn keep_told(&self, line: &Line, retry_pause: Duration) {
        let mut heard = Heard { version: self.topics.version(), missed: true, stamp: 0 };
        // However often single topics are told in between: only the whole table helps a nameserver that has restarted.
        let (mut due, mut has_failed) = (Instant::now(), false);
        loop {
            let is_due = tokio::select! {
                () = tokio::time::sleep_until(due) => true,
                () = line.wake.notified() => false,
            };
            let news = line.take_news();
            heard.version = news.version.unwrap_or(heard.version);
            heard.missed |= news.everything;
            heard.missed = heard.missed || !self.tell_topics(line, &heard, &news.topics).await;
            // The whole table repairs whatever single topics could not tell. One that is away is not asked for each of
            // them.
            if is_due || (heard.missed && !has_failed) {
                has_failed = !self.tell_everything(line, &mut heard).await;
                due = Instant::now() + if has_failed { retry_pause } else { self.period() };
            }
            line.done.send_replace(news.number);
            self.renew_routes_of(&news.topics).await;
        }
    }

    fn period(&self) -> Duration {
        self.settings.load().register_name_server_period
    }

    /// Tells a nameserver of single topics; true if it knows them now.
    async fn tell_topics(&self, line: &Line, heard: &Heard, names: &[String]) -> bool {
        if names.is_empty() {
            return true;
        }
        let topics: Vec<_> = names.iter().filter_map(|name| self.topics.get(name)).collect();
        // The second of two requests of one version would be passed over.
        parts(&topics).len() == 1 && self.tell(line, heard.stamped(), &topics, false).await
    }

    /// Tells a nameserver the whole table, in parts if it is large; true if it has taken it.
    async fn tell_everything(&self, line: &Line, heard: &mut Heard) -> bool {
        let mut topics = self.topics.all();
        // Of parts that have one version, a Java nameserver that has restarted takes logical queues with the first.
        topics.sort_by_key(|topic| topic.mapping.is_none());
        let parts = parts(&topics);
        for part in &parts {
            // Parts that have one version bring back what the nameserver does not know, and leave the rest as it is.
            if heard.missed {
                heard.stamp = self.now_ms().max(heard.stamp + 1);
            }
            if !self.tell(line, heard.stamped(), part, parts.len() == 1).await {
                return false;
            }
        }
        heard.missed = false;
        true
    }

    /// Registers with these topics, which may be the `whole` table; true if the nameserver agreed.
    async fn tell(&self, line: &Line, version: DataVersion, topics: &[Arc<Topic>], whole: bool) -> bool {
        let settings = self.settings();
        let mut topics = wrapper(version, topics);
        let allowed = settings.broker_permission;
        if allowed & (PERM_READ | PERM_WRITE) != PERM_READ | PERM_WRITE {
            topics.topic_config_table.values_mut().for_each(|topic| topic.perm &= allowed);
        }
        let body =
            RegisterBrokerBody { filter_server_list: Vec::new(), topic_config_serialize_wrapper: topics };
        let Ok(body) = serde_json::to_vec(&body) else { return false };
        let mut fields = self.identity(&settings);
        let ha_host = settings.broker_ip2.clone().unwrap_or_else(|| self.address.ip().to_string());
        fields.extend([
            ("bodyCrc32", wire::record::body_crc(&body).to_string()),
            ("compressed", "false".to_owned()),
            ("enableActingMaster", "false".to_owned()),
            ("haServerAddr", format!("{ha_host}:{}", settings.ha_listen_port)),
            // Not a field of Java's: keeps our nameserver from dropping the topics that a part does not name.
            ("partial", (!whole).to_string()),
        ]);
        let (code, limit) = (request::REGISTER_BROKER, settings.register_broker_timeout_mills);
        let answer = self.registration.ask(&line.nameserver, code, &fields, &body, limit).await;
        let Some(answer) = answer else { return false };
        self.note_order_topics(&answer.body);
        true
    }

    /// Takes what a nameserver answers: the order topics that administrators have named there, of all brokers.
    fn note_order_topics(&self, body: &[u8]) {
        if body.is_empty() {
            return;
        }
        let noted = match loose_json::read::<KvTable>(body) {
            Ok(named) => self.topics.make_ordered(named.table.keys(), self.now_ms()),
            Err(error) => Err(std::io::Error::other(error)),
        };
        if let Err(error) = noted {
            tracing::warn!("order topics of a nameserver are not noted: {error}");
        }
    }

    /// Tells the nameservers that this broker leaves, all at once.
    pub(crate) async fn leave(&self) {
        let mut leaving = JoinSet::new();
        for line in &self.registration.lines {
            let (registration, line) = (Arc::clone(&self.registration), Arc::clone(line));
            let fields = self.identity(&self.settings());
            leaving.spawn(async move {
                let code = request::UNREGISTER_BROKER;
                registration.ask(&line.nameserver, code, &fields, &[], LEAVE_TIMEOUT).await;
            });
        }
        while leaving.join_next().await.is_some() {}
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
}

impl Line {
    /// What has come since the last time.
    fn take_news(&self) -> News {
        let mut news = self.news.lock();
        let number = news.number;
        std::mem::replace(&mut *news, News { number, ..News::default() })
    }
}

impl Heard {
    fn stamped(&self) -> DataVersion {
        DataVersion { timestamp: self.stamp, ..self.version }
    }
}

/// Divides topics into what one request can take each. There is at least one part.
fn parts(topics: &[Arc<Topic>]) -> Vec<&[Arc<Topic>]> {
    let mut parts = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, topic) in topics.iter().enumerate() {
        let more = bytes_told(topic);
        if bytes + more > PART_BYTES_MAX && at > from {
            parts.push(&topics[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += more;
    }
    parts.push(&topics[from..]);
    parts
}

/// Bytes that a topic takes in a request, rather too many than too few.
fn bytes_told(topic: &Topic) -> usize {
    let name = topic.config.topic_name.len();
    let attributes = topic.config.attributes.iter().map(|(key, value)| key.len() + value.len() + 8);
    let mapping = topic.mapping.as_ref().map_or(0, |mapping| {
        let detail = &mapping.detail;
        256 + 2 * name + detail.bname.len() + detail.scope.len() + 24 * detail.hosted_queues.len()
    });
    192 + 2 * name + attributes.sum::<usize>() + mapping
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
mod tests;
