//! Name servers and brokers: whether they answer where clients are sent, their clocks, their stores.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use thrustmq_client::{Admin, ClusterInfo};
use wire::body::{PERM_READ, PERM_WRITE};

use super::report::Report;
use crate::moment::Times;
use crate::output::words::{bytes, count};

/// A clock may be so far off before it is told: brokers tell theirs in whole seconds.
const CLOCK_OFF_MAX_MS: i64 = 2_000;
/// Bytes of the log that queues and index may lag behind.
const DISPATCH_BEHIND_MAX: u64 = 64 << 20;
/// A port that takes no connection within this time is told to take none.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// A broker that answers.
pub struct Broker {
    pub name: String,
    /// 0 is the master.
    pub id: i64,
    pub address: String,
    pub config: BTreeMap<String, String>,
}

impl Broker {
    /// A setting that is a number.
    pub fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.config.get(key)?.trim().parse().ok()
    }

    /// What the whole broker allows, whatever topics say.
    pub fn permission(&self) -> i32 {
        self.number("brokerPermission").unwrap_or(PERM_READ | PERM_WRITE)
    }
}

/// Looks at all servers; gives the brokers that answer.
pub async fn look(admin: &Admin, report: &mut Report) -> Vec<Broker> {
    let mut servers = admin.name_servers();
    servers.sort();
    let mut infos = Vec::new();
    for server in servers {
        let begun = Instant::now();
        match admin.cluster_at(&server).await {
            Ok(info) => {
                report.ok("nameserver", format!("{server} answers in {}", told(begun.elapsed())));
                infos.push((server, info));
            }
            Err(error) => report.error(
                "nameserver",
                format!("{server} does not answer: {error}"),
                "start it with `thrust nameserver`, open its port, or take it off the list of name servers",
            ),
        }
    }
    compare_members(&infos, report);
    let mut brokers = Vec::new();
    for (name, id, address) in members(&infos) {
        if let Some(broker) = look_at_broker(admin, name, id, address, report).await {
            brokers.push(broker);
        }
    }
    let all = members(&infos);
    for broker in &brokers {
        let has_replicas = all.iter().any(|(name, id, _)| *name == broker.name && *id != 0);
        look_at_replication_port(broker, has_replicas, report).await;
    }
    if brokers.is_empty() && !infos.is_empty() {
        report.error("broker", "no broker that is registered answers", "start one with `thrust broker`");
    }
    brokers
}

/// Every member of every broker group that some name server knows.
fn members(infos: &[(String, ClusterInfo)]) -> Vec<(String, i64, String)> {
    let brokers = infos.iter().flat_map(|(_, info)| &info.broker_addr_table);
    let members = brokers.flat_map(|(name, data)| {
        data.broker_addrs.iter().map(|(id, address)| (name.clone(), *id, address.clone()))
    });
    let mut members: Vec<_> = members.collect();
    members.sort();
    members.dedup();
    members
}

fn compare_members(infos: &[(String, ClusterInfo)], report: &mut Report) {
    let all = members(infos);
    for (server, info) in infos {
        let has = |name: &str, id: i64, address: &str| {
            let broker = info.broker_addr_table.get(name);
            broker.and_then(|data| data.broker_addrs.get(&id)).is_some_and(|known| known == address)
        };
        for (name, id, address) in all.iter().filter(|(name, id, address)| !has(name, *id, address)) {
            report.warning(
                "nameserver",
                format!("{server} does not know broker {name}/{id} at {address}, others do"),
                "list all name servers in namesrvAddr of the broker; it registers with each of them every 30 s",
            );
        }
    }
}

async fn look_at_broker(
    admin: &Admin,
    name: String,
    id: i64,
    address: String,
    report: &mut Report,
) -> Option<Broker> {
    let (begun, times) = (Instant::now(), Times::new());
    let before_ms = times.now_ms();
    let stats = match admin.runtime_stats(&address).await {
        Ok(stats) => stats,
        Err(error) => {
            report.error(
                "broker",
                format!("{name}/{id} cannot be asked at {address}, which is where clients are sent: {error}"),
                "if it runs, open that port, or let it tell clients another address (`--advertise`, brokerIP1)",
            );
            return None;
        }
    };
    let took = told(begun.elapsed());
    report.ok("broker", format!("{name}/{id} answers in {took} at {address}, as it is registered"));
    let asked_ms = (before_ms, times.now_ms());
    let broker = Broker { name, id, address, config: BTreeMap::new() };
    let config = match admin.broker_config(&broker.address).await {
        Ok(config) => config,
        Err(error) => {
            let Broker { name, id, .. } = &broker;
            report.warning(
                "broker",
                format!("{name}/{id} does not tell its settings: {error}"),
                "ask with the keys of an administrator",
            );
            BTreeMap::new()
        }
    };
    let broker = Broker { config, ..broker };
    look_at_fast_port(admin, &broker, report).await;
    look_at_clock(&broker, &stats, asked_ms, report);
    look_at_store(&broker, &stats, times.now_ms(), report);
    Some(broker)
}

/// Clients that are told to (`sendMessageWithVIPChannel`) send to a port of their own, so that pulls do not delay them.
async fn look_at_fast_port(admin: &Admin, broker: &Broker, report: &mut Report) {
    let Some(fast) = fast_address(broker) else { return };
    let Broker { name, id, .. } = broker;
    match admin.runtime_stats(&fast).await {
        Ok(_) => report.ok("broker", format!("{name}/{id} answers at its fast port too, {fast}")),
        Err(error) => report.warning(
            "broker",
            format!("{name}/{id} does not answer at its fast port {fast}: {error}"),
            "open that port, or see to it that no client sets sendMessageWithVIPChannel, which goes there",
        ),
    }
}

/// The port two below.
fn fast_address(broker: &Broker) -> Option<String> {
    let (host, port) = own_port(broker)?;
    let fast = port.checked_sub(2).filter(|fast| *fast > 0)?;
    Some(format!("{host}:{fast}"))
}

/// Where clients are sent, if the broker itself listens there. If something stands between, nothing is known of other
/// ports.
fn own_port(broker: &Broker) -> Option<(&str, u16)> {
    let (host, port) = broker.address.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    (broker.number("listenPort") == Some(port)).then_some((host, port))
}

/// Replicas copy from a port of its own at the master. Nobody needs it where there are none.
async fn look_at_replication_port(broker: &Broker, has_replicas: bool, report: &mut Report) {
    let Some(address) = replication_address(broker) else { return };
    let is_needed = has_replicas || broker.config.get("brokerRole").is_some_and(|role| role == "SYNC_MASTER");
    let name = &broker.name;
    let connected = tokio::time::timeout(CONNECT_MAX, tokio::net::TcpStream::connect(&address)).await;
    let cause = match connected {
        Ok(Ok(_)) => {
            return report
                .ok("broker", format!("{name}/0 takes connections at its replication port, {address}"));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", CONNECT_MAX.as_secs()),
    };
    if is_needed {
        report.warning(
            "broker",
            format!("{name}/0 takes no connections at its replication port {address}: {cause}"),
            "open that port for its replicas, which copy from there, or name another (haListenPort, brokerIP2)",
        );
    }
}

/// The port of `haListenPort`, or else the one above; at the address that replicas are told. Only masters have it.
fn replication_address(broker: &Broker) -> Option<String> {
    let (host, port) = own_port(broker).filter(|_| broker.id == 0)?;
    let host = broker
        .config
        .get("brokerIP2")
        .map(|host| host.trim())
        .filter(|host| !host.is_empty())
        .unwrap_or(host);
    let named = broker.number::<u16>("haListenPort").filter(|port| *port > 0);
    Some(format!("{host}:{}", named.or(port.checked_add(1))?))
}

/// Compares clocks: the broker's read the moment of its start plus its time since, which it tells in whole seconds.
fn look_at_clock(
    broker: &Broker,
    stats: &BTreeMap<String, String>,
    (before_ms, after_ms): (i64, i64),
    report: &mut Report,
) {
    let started: Option<i64> = stats.get("bootTimestamp").and_then(|text| text.parse().ok());
    let Some((started, up)) = started.zip(stats.get("runtime").and_then(|text| uptime_ms(text))) else {
        return;
    };
    let theirs = started + up;
    let Broker { name, id, .. } = broker;
    let off = if theirs > after_ms { theirs - after_ms } else { (before_ms - theirs - 1_000).max(0) };
    if off <= CLOCK_OFF_MAX_MS {
        report.ok("clock", format!("{name}/{id} has the time of this machine"));
        return;
    }
    let (seconds, way) = (off / 1_000, if theirs > after_ms { "ahead of" } else { "behind" });
    report.warning(
        "clock",
        format!(
            "{name}/{id} is {} {way} this machine: timers and ages are off by that",
            count(seconds, "second")
        ),
        "let both machines follow the same time servers (NTP)",
    );
}

/// Reads `[ 0 days, 1 hours, 2 minutes, 3 seconds ]`.
fn uptime_ms(text: &str) -> Option<i64> {
    let parts = text.trim().trim_start_matches('[').trim_end_matches(']').split(',');
    let mut seconds = 0_i64;
    for part in parts {
        let (number, unit) = part.trim().split_once(' ')?;
        let number: i64 = number.parse().ok()?;
        let in_seconds = match unit.trim() {
            "days" => 86_400,
            "hours" => 3_600,
            "minutes" => 60,
            "seconds" => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(in_seconds)?)?;
    }
    seconds.checked_mul(1_000)
}

fn look_at_store(broker: &Broker, stats: &BTreeMap<String, String>, now_ms: i64, report: &mut Report) {
    let Broker { name, id, .. } = broker;
    let number = |key: &str| stats.get(key).and_then(|text| text.trim().parse::<f64>().ok());
    look_at_space(broker, number("commitLogDiskRatio"), report);
    look_at_permission(broker, report);
    let accepts_from = number("startAcceptSendRequestTimeStamp").unwrap_or(0.0) as i64;
    if accepts_from > now_ms {
        let when = Times::new().told(accepts_from);
        report.warning(
            "store",
            format!("{name}/{id} takes messages from {when} on"),
            "wait, or change startAcceptSendRequestTimeStamp in its broker.conf",
        );
    }
    let behind = number("dispatchBehindBytes").unwrap_or(0.0) as u64;
    if behind > DISPATCH_BEHIND_MAX {
        report.warning(
            "store",
            format!("{name}/{id} has {} in its log that consumers cannot see yet", bytes(behind)),
            "look at the load of its disk; if it stays, stop it and run `thrust store verify`",
        );
    }
}

/// `used_part` of the log's disk is in use; a broker that cannot tell says something below 0.
fn look_at_space(broker: &Broker, used_part: Option<f64>, report: &mut Report) {
    let Broker { name, id, .. } = broker;
    let limit = |key: &str, usual: f64| broker.number(key).unwrap_or(usual);
    let full = limit("diskSpaceWarningLevelRatio", 90.0);
    let early = limit("diskMaxUsedSpaceRatio", 75.0);
    let used = used_part.filter(|ratio| *ratio >= 0.0).map(|ratio| ratio * 100.0);
    // Named, since without a name it would be set at all brokers.
    let more_space = format!(
        "give it more space, or keep messages for a shorter time: \
         `thrust broker config set fileReservedTime=HOURS --broker {name}`"
    );
    match used {
        Some(used) if used >= full => report.error(
            "store",
            format!("{name}/{id} refuses messages: its disk is {used:.0} % full, the limit is {full:.0} %"),
            &more_space,
        ),
        Some(used) if used >= early => report.warning(
            "store",
            format!("{name}/{id} deletes expired messages at any hour: its disk is {used:.0} % full"),
            &more_space,
        ),
        Some(used) => report.ok("store", format!("{name}/{id} has a disk that is {used:.0} % full")),
        None => (),
    }
}

fn look_at_permission(broker: &Broker, report: &mut Report) {
    let Broker { name, id, .. } = broker;
    let permission = broker.permission();
    let open = format!("`thrust broker config set brokerPermission=6 --broker {name}`");
    if permission & PERM_WRITE == 0 {
        report.warning(
            "store",
            format!("{name}/{id} takes no messages (brokerPermission={permission})"),
            &open,
        );
    }
    if permission & PERM_READ == 0 {
        report.warning(
            "store",
            format!("{name}/{id} gives no messages out (brokerPermission={permission})"),
            &open,
        );
    }
}

fn told(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::doctor::report::Level;

    fn broker(settings: &[(&str, &str)]) -> Broker {
        let config = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Broker { name: "a".into(), id: 0, address: "h:1".into(), config }
    }

    fn stats(values: &[(&str, &str)]) -> BTreeMap<String, String> {
        values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn store_levels(settings: &[(&str, &str)], values: &[(&str, &str)]) -> Vec<Level> {
        let mut report = Report::default();
        look_at_store(&broker(settings), &stats(values), 1_000, &mut report);
        report.findings.iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn a_full_disk_is_an_error_and_one_that_fills_a_warning() {
        assert_eq!(store_levels(&[], &[("commitLogDiskRatio", "0.5")]), [Level::Ok]);
        assert_eq!(store_levels(&[], &[("commitLogDiskRatio", "0.8")]), [Level::Warning]);
        assert_eq!(store_levels(&[], &[("commitLogDiskRatio", "0.9")]), [Level::Error]);
        let lower = [("diskSpaceWarningLevelRatio", "60"), ("diskMaxUsedSpaceRatio", "40")];
        assert_eq!(store_levels(&lower, &[("commitLogDiskRatio", "0.5")]), [Level::Warning]);
        assert_eq!(store_levels(&lower, &[("commitLogDiskRatio", "0.61")]), [Level::Error]);
        assert_eq!(store_levels(&[], &[("commitLogDiskRatio", "-1.0")]), []);
    }

    #[test]
    fn what_is_advised_for_one_broker_changes_no_other() {
        let mut report = Report::default();
        look_at_store(&broker(&[]), &stats(&[("commitLogDiskRatio", "0.9")]), 1_000, &mut report);
        look_at_store(&broker(&[("brokerPermission", "4")]), &stats(&[]), 1_000, &mut report);
        let advised: Vec<&str> = report.findings.iter().map(|finding| finding.remedy.as_str()).collect();
        assert_eq!(advised.len(), 2);
        assert!(advised.iter().all(|remedy| remedy.ends_with(" --broker a`")), "{advised:?}");
    }

    #[test]
    fn a_broker_that_only_reads_or_waits_or_lags_is_told() {
        assert_eq!(store_levels(&[("brokerPermission", "4")], &[]), [Level::Warning]);
        assert_eq!(store_levels(&[("brokerPermission", "0")], &[]), [Level::Warning; 2]);
        assert_eq!(store_levels(&[], &[("startAcceptSendRequestTimeStamp", "2000")]), [Level::Warning]);
        assert_eq!(store_levels(&[], &[("dispatchBehindBytes", "99999999")]), [Level::Warning]);
    }

    #[test]
    fn the_fast_port_is_two_below_where_the_broker_itself_listens() {
        let at = |address: &str, listens: &str| {
            let broker = Broker { address: address.to_owned(), ..broker(&[("listenPort", listens)]) };
            fast_address(&broker)
        };
        assert_eq!(at("h:10911", "10911").as_deref(), Some("h:10909"));
        assert_eq!(at("h:31000", "10911"), None, "another port is told to clients");
        assert_eq!(
            [at("h:2", "2"), at("h:1", "1"), at("h", "10911"), at("h:10911", "")],
            [const { None }; 4]
        );
    }

    #[test]
    fn replicas_find_their_port_one_above_unless_another_is_named() {
        let at = |address: &str, more: &[(&str, &str)]| {
            let settings = [&[("listenPort", "10911")], more].concat();
            replication_address(&Broker { address: address.to_owned(), ..broker(&settings) })
        };
        assert_eq!(at("h:10911", &[]).as_deref(), Some("h:10912"));
        assert_eq!(at("h:10911", &[("haListenPort", "7"), ("brokerIP2", "i")]).as_deref(), Some("i:7"));
        assert_eq!(at("h:10911", &[("haListenPort", "0"), ("brokerIP2", " ")]).as_deref(), Some("h:10912"));
        assert_eq!(at("h:31000", &[]), None, "another port is told to clients");
        let slave = Broker { id: 1, address: "h:10911".into(), ..broker(&[("listenPort", "10911")]) };
        assert_eq!(replication_address(&slave), None);
    }

    #[tokio::test]
    async fn a_replication_port_that_is_closed_is_told_where_there_are_replicas() {
        let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = (open.local_addr().unwrap().port().to_string(), open);
        let look = async |port: &str, has_replicas: bool, role: &str| {
            let settings = [("listenPort", "10911"), ("haListenPort", port), ("brokerRole", role)];
            let broker = Broker { address: "127.0.0.1:10911".into(), ..broker(&settings) };
            let mut report = Report::default();
            look_at_replication_port(&broker, has_replicas, &mut report).await;
            report.findings.iter().map(|finding| finding.level).collect::<Vec<_>>()
        };
        assert_eq!(look(&open.0, false, "ASYNC_MASTER").await, [Level::Ok]);
        assert_eq!(look("1", false, "ASYNC_MASTER").await, []);
        assert_eq!(look("1", true, "ASYNC_MASTER").await, [Level::Warning]);
        assert_eq!(look("1", false, "SYNC_MASTER").await, [Level::Warning]);
    }

    #[test]
    fn clocks_are_compared_to_the_second() {
        let off = |started: &str, now: i64| {
            let mut report = Report::default();
            let values = stats(&[
                ("bootTimestamp", started),
                ("runtime", "[ 0 days, 0 hours, 1 minutes, 40 seconds ]"),
            ]);
            look_at_clock(&broker(&[]), &values, (now, now + 10), &mut report);
            report.findings[0].what.clone()
        };
        assert!(off("0", 100_000).ends_with("has the time of this machine"));
        assert!(off("0", 102_900).ends_with("has the time of this machine"), "whole seconds and some");
        assert!(off("0", 111_000).contains("is 10 seconds behind this machine"), "{}", off("0", 111_000));
        assert!(off("5000", 100_000).contains("is 4 seconds ahead of this machine"));
        assert_eq!(uptime_ms("[ 1 days, 1 hours, 1 minutes, 1 seconds ]"), Some(90_061_000));
        assert_eq!([uptime_ms("soon"), uptime_ms("[ x days ]"), uptime_ms("")], [None; 3]);
    }

    #[test]
    fn a_name_server_that_knows_fewer_brokers_is_named() {
        let info = |names: &[&str]| {
            let data = |name: &&str| thrustmq_client::BrokerData {
                broker_name: (*name).to_owned(),
                broker_addrs: BTreeMap::from([(0, format!("{name}:1"))]),
                ..Default::default()
            };
            let table = names.iter().map(|name| ((*name).to_owned(), data(name))).collect();
            ClusterInfo { broker_addr_table: table, ..ClusterInfo::default() }
        };
        let mut report = Report::default();
        compare_members(&[("n1".into(), info(&["a", "b"])), ("n2".into(), info(&["a"]))], &mut report);
        let told: Vec<&str> = report.findings.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(told, ["n2 does not know broker b/0 at b:1, others do"]);
    }
}
