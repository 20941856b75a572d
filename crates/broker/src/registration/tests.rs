use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nameserver::Nameserver;
use remoting::{Listener, Server};
use sim::{SimClock, SimDisk};
use tempfile::TempDir;
use wire::body::{TopicConfig, TopicRoute};
use wire::names;

use super::*;
use crate::testing;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
/// A period that does not come in the time of a test.
const NEVER: Duration = Duration::from_secs(3600);

/// A nameserver that can be made deaf.
struct Deaf {
    nameserver: Arc<Nameserver>,
    is_deaf: AtomicBool,
    /// Requests that it did not hear.
    missed: AtomicU32,
}

impl Service for Deaf {
    fn serve(&self, channel: &Arc<Channel>, turn: &mut Turn<'_>) {
        if !self.is_deaf.load(Ordering::SeqCst) {
            return self.nameserver.serve(channel, turn);
        }
        while turn.next_request().is_some() {
            self.missed.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn closed(&self, channel: &Arc<Channel>) {
        self.nameserver.closed(channel);
    }
}

/// A nameserver behind a port.
struct World {
    server: Server,
    ears: Arc<Deaf>,
    client: Client,
    _folder: TempDir,
}

impl World {
    fn new(text: &str) -> World {
        World::on(Listener::bind(nowhere()).unwrap(), text)
    }

    fn on(listener: Listener, text: &str) -> World {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings::load_nameserver(text, &[]).unwrap().settings;
        let nameserver = Nameserver::new(settings, folder.path().join("kvConfig.json")).unwrap();
        let ears =
            Arc::new(Deaf { nameserver, is_deaf: AtomicBool::default(), missed: AtomicU32::default() });
        let server = listener.serve(Limits::default(), Arc::<Deaf>::clone(&ears));
        let client = Client::new(Limits::default(), Arc::new(NoRequests));
        World { server, ears, client, _folder: folder }
    }

    fn address(&self) -> String {
        self.server.address().to_string()
    }

    async fn ask(&self, code: i32, fields: &[(&str, &str)]) -> Answer {
        self.client.call(&self.address(), code, fields, &[], PATIENCE).await.unwrap()
    }

    /// Queues for writers, and permission, of a topic.
    async fn queues(&self, topic: &str) -> Option<(i32, i32)> {
        let answer = self.ask(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)]).await;
        let route: TopicRoute = loose_json::read(&answer.body).ok()?;
        route.queue_datas.first().map(|data| (data.write_queue_nums, data.perm))
    }

    async fn queues_become(&self, topic: &str, queues: i32, perm: i32) {
        let deadline = Instant::now() + PATIENCE;
        while self.queues(topic).await != Some((queues, perm)) {
            assert!(Instant::now() < deadline, "{topic} has {:?}", self.queues(topic).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn topic_count(&self) -> usize {
        let answer = self.ask(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[]).await;
        let list: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        list["topicList"].as_array().unwrap().len()
    }
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A broker that registers with these nameservers.
fn broker(nameservers: &[String], period: Duration) -> Arc<Broker> {
    let clock = SimClock::default();
    testing::open(&SimDisk::new(clock.clone()), &clock, |settings| {
        settings.namesrv_addr = nameservers.to_vec();
        settings.register_name_server_period = period;
        settings.register_broker_timeout_mills = NEVER;
    })
}

/// Lets it register.
fn run(broker: &Arc<Broker>) {
    let telling = Arc::clone(broker);
    tokio::spawn(async move { telling.run_registration(Duration::from_millis(50)).await });
}

fn change(broker: &Broker, topic: &str, queues: i32) {
    broker.topics.update(vec![TopicConfig::new(topic, queues, PERM_READ | PERM_WRITE)], 1).unwrap();
}

#[tokio::test]
async fn a_nameserver_that_starts_after_the_broker_hears_of_it_soon() {
    let listener = Listener::bind(nowhere()).unwrap();
    let address = listener.address();
    drop(listener);
    let broker = broker(&[address.to_string()], NEVER);
    change(&broker, "orders", 4);
    run(&broker);
    assert!(broker.registered(PATIENCE).await, "whoever waits for the registration is not kept");
    let nameserver = World::on(Listener::bind(address).unwrap(), "");
    nameserver.queues_become("orders", 4, 6).await;
}

#[tokio::test]
async fn a_nameserver_that_hangs_does_not_keep_news_from_the_others() {
    let (mute, other) = (World::new(""), World::new(""));
    mute.ears.is_deaf.store(true, Ordering::SeqCst);
    let broker = broker(&[mute.address(), other.address()], NEVER);
    run(&broker);
    for (topic, queues) in [("orders", 4), ("invoices", 5), ("orders", 6)] {
        change(&broker, topic, queues);
        // All of them while the first one does not answer.
        other.queues_become(topic, queues, 6).await;
    }
    assert!(!broker.registered(Duration::from_millis(1)).await);
}

/// A device on the way may have forgotten it: over another one the nameserver may be reached.
#[tokio::test]
async fn a_connection_that_is_silent_is_not_used_for_ever() {
    let mute = World::new("");
    mute.ears.is_deaf.store(true, Ordering::SeqCst);
    let clock = SimClock::default();
    let broker = testing::open(&SimDisk::new(clock.clone()), &clock, |settings| {
        settings.namesrv_addr = vec![mute.address()];
        settings.register_broker_timeout_mills = DOUBT;
    });
    run(&broker);
    let (mut used, deadline) = (HashSet::new(), Instant::now() + PATIENCE);
    while used.len() < 2 {
        used.extend(broker.registration.client().connection(&mute.address()));
        assert!(Instant::now() < deadline, "all the time over one connection");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The whole table has the version that the second change has brought, and would be passed over by it.
#[tokio::test]
async fn a_change_that_one_nameserver_has_missed_reaches_it_later() {
    let (one, two) = (World::new(""), World::new(""));
    let clock = SimClock::default();
    let broker = testing::open(&SimDisk::new(clock.clone()), &clock, |settings| {
        settings.namesrv_addr = vec![one.address(), two.address()];
        settings.register_name_server_period = Duration::from_secs(2);
        settings.register_broker_timeout_mills = Duration::from_millis(500);
    });
    change(&broker, "orders", 4);
    run(&broker);
    two.queues_become("orders", 4, 6).await;
    two.ears.is_deaf.store(true, Ordering::SeqCst);
    change(&broker, "orders", 8);
    let deadline = Instant::now() + PATIENCE;
    while two.ears.missed.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    two.ears.is_deaf.store(false, Ordering::SeqCst);
    change(&broker, "invoices", 5);
    two.queues_become("invoices", 5, 6).await;
    two.queues_become("orders", 8, 6).await;
}

#[tokio::test]
async fn what_a_nameserver_has_been_told_of_permissions_lasts_while_nothing_changes() {
    let nameserver = World::new("");
    let broker = broker(&[nameserver.address()], Duration::from_millis(50));
    change(&broker, "orders", 4);
    run(&broker);
    nameserver.queues_become("orders", 4, 6).await;
    let name = broker.settings().broker_name.clone();
    nameserver.ask(request::WIPE_WRITE_PERM_OF_BROKER, &[("brokerName", &name)]).await;
    whole_table_comes_again(&nameserver, names::BENCHMARK_TOPIC).await;
    assert_eq!(nameserver.queues("orders").await, Some((4, 4)));
    broker.registration.everything_changed();
    nameserver.queues_become("orders", 4, 6).await;
}

/// Only the whole table brings back a topic that was deleted there.
async fn whole_table_comes_again(nameserver: &World, topic: &str) {
    nameserver.ask(request::DELETE_TOPIC_IN_NAMESRV, &[("topic", topic)]).await;
    let deadline = Instant::now() + PATIENCE;
    while nameserver.queues(topic).await.is_none() {
        assert!(Instant::now() < deadline, "the whole table does not come again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn topics_that_change_all_the_time_do_not_put_off_the_whole_table() {
    let nameserver = World::new("");
    let broker = broker(&[nameserver.address()], Duration::from_millis(100));
    run(&broker);
    nameserver.queues_become(names::SELF_TEST_TOPIC, 1, 6).await;
    let changing = Arc::clone(&broker);
    let changes = tokio::spawn(async move {
        for queues in 1.. {
            change(&changing, "orders", 1 + queues % 2);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    whole_table_comes_again(&nameserver, names::BENCHMARK_TOPIC).await;
    assert!(!changes.is_finished());
    changes.abort();
}

#[tokio::test]
async fn topics_that_a_nameserver_names_as_ordered_are() {
    let nameserver = World::new("");
    for topic in ["orders", "of-another-broker"] {
        let fields = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", topic), ("value", "b:4")];
        assert_eq!(nameserver.ask(request::PUT_KV_CONFIG, &fields).await.code, response::SUCCESS);
    }
    let broker = broker(&[nameserver.address()], NEVER);
    change(&broker, "orders", 4);
    change(&broker, "invoices", 4);
    run(&broker);
    assert!(broker.registered(PATIENCE).await);
    let is_ordered = |topic: &str| broker.topics.get(topic).map(|topic| topic.config.order);
    assert_eq!(is_ordered("orders"), Some(true));
    assert_eq!(is_ordered("invoices"), Some(false));
    assert_eq!(is_ordered("of-another-broker"), None);
    let before = broker.topics.version();
    broker.registration.everything_changed();
    assert!(broker.registered(PATIENCE).await);
    assert_eq!(broker.topics.version(), before, "the second time there is nothing to change");
}

/// One frame takes 16 MiB, of which a topic of such a name needs 224 bytes.
#[tokio::test]
async fn more_topics_than_one_frame_holds_are_registered_and_stay() {
    let nameserver = World::new("deleteTopicWithBrokerRegistration=true\n");
    let broker = broker(&[nameserver.address()], Duration::from_millis(200));
    let name = |number: usize| format!("a-topic-whose-name-has-forty-bytes-{number:05}");
    let config = |number| TopicConfig::new(&name(number), 8, PERM_READ | PERM_WRITE);
    broker.topics.update((0..100_000).map(config).collect(), 1).unwrap();
    let count = broker.topics.all().len();
    run(&broker);
    assert!(broker.registered(PATIENCE).await);
    assert_eq!(nameserver.queues(&name(99_999)).await, Some((8, 6)));
    whole_table_comes_again(&nameserver, &name(99_999)).await;
    assert_eq!(nameserver.topic_count().await, count);
    // A topic of each part is another one now.
    let changed = (0..100_000).step_by(10_000);
    broker.topics.update(changed.clone().map(|n| TopicConfig::new(&name(n), 9, 6)).collect(), 2).unwrap();
    for number in changed {
        nameserver.queues_become(&name(number), 9, 6).await;
    }
    broker.registration.everything_changed();
    whole_table_comes_again(&nameserver, &name(5)).await;
    assert_eq!(nameserver.topic_count().await, count);
}
