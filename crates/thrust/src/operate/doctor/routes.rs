//! Routes: whether name servers say of topics what brokers have.

use std::collections::BTreeMap;

use thrustmq_client::{Admin, TopicConfig, TopicRoute};
use wire::body::{PERM_READ, PERM_WRITE};
use wire::names::{LMQ_PREFIX, is_system_topic};

use super::report::{Finding, Level, Report};
use super::servers::Broker;
use crate::output::progress::Bar;
use crate::output::words::count;

/// Findings of one kind that are told one by one.
const TOLD_MAX: usize = 10;
const READ_WRITE: i32 = PERM_READ | PERM_WRITE;

/// What one topic has at one broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Queues {
    read: i32,
    write: i32,
    perm: i32,
}

/// Queues by topic and broker.
type Table = BTreeMap<String, BTreeMap<String, Queues>>;

/// Asks all name servers and all masters for all topics, and compares.
pub async fn look(admin: &Admin, brokers: &[Broker], bar: &mut Bar, report: &mut Report) {
    let mut had = Table::new();
    for broker in brokers.iter().filter(|broker| broker.id == 0) {
        match admin.topic_configs(&broker.address).await {
            Ok(topics) => add(&mut had, broker, topics.into_iter().filter(|(name, _)| is_compared(name))),
            Err(error) => report.warning(
                "route",
                format!("{}/0 does not tell its topics: {error}", broker.name),
                "ask with the keys of an administrator",
            ),
        }
    }
    let mut servers = admin.name_servers();
    servers.sort();
    let (mut findings, mut topics) = (Vec::new(), 0);
    for server in &servers {
        // One that does not answer is told already.
        let Ok(routed) = routes(admin, server, bar).await else { continue };
        topics = topics.max(routed.len());
        compare(server, &had, &routed, &mut findings);
    }
    if findings.is_empty() {
        let answering = count(servers.len(), "name server");
        report.ok("route", format!("{} routed by {answering} as brokers have them", count(topics, "topic")));
    }
    let more = findings.len().saturating_sub(TOLD_MAX);
    report.findings.extend(findings.into_iter().take(TOLD_MAX));
    if more > 0 {
        report.warning("route", format!("and {more} more like these"), "see above");
    }
}

fn is_compared(topic: &str) -> bool {
    !is_system_topic(topic) && !topic.starts_with(LMQ_PREFIX)
}

fn add(table: &mut Table, broker: &Broker, topics: impl Iterator<Item = (String, TopicConfig)>) {
    for (name, config) in topics {
        // Brokers register what they allow themselves, which may be less.
        let perm = config.perm & broker.permission() & READ_WRITE;
        let queues = Queues { read: config.read_queue_nums, write: config.write_queue_nums, perm };
        table.entry(name).or_default().insert(broker.name.clone(), queues);
    }
}

async fn routes(admin: &Admin, server: &str, bar: &mut Bar) -> Result<Table, thrustmq_client::Error> {
    let mut table = Table::new();
    for topic in admin.topics_at(server).await?.into_iter().filter(|topic| is_compared(topic)) {
        bar.step();
        if let Some(route) = admin.topic_route_at(server, &topic).await? {
            table.insert(topic, of_route(&route));
        }
    }
    Ok(table)
}

fn of_route(route: &TopicRoute) -> BTreeMap<String, Queues> {
    let queues = route.queue_datas.iter().map(|data| {
        let perm = data.perm & READ_WRITE;
        (data.broker_name.clone(), Queues { read: data.read_queue_nums, write: data.write_queue_nums, perm })
    });
    queues.collect()
}

/// What one name server says differently from the brokers.
fn compare(server: &str, had: &Table, routed: &Table, findings: &mut Vec<Finding>) {
    let none = BTreeMap::new();
    for (topic, brokers) in had {
        let told = routed.get(topic).unwrap_or(&none);
        for (broker, queues) in brokers {
            let difference = match told.get(broker) {
                None => Some((
                    format!("topic \"{topic}\" is at broker {broker}, but not in the routes of {server}"),
                    format!(
                        "brokers register their topics every 30 s; if it stays, look whether {broker} lists {server} \
                         in namesrvAddr"
                    ),
                )),
                Some(route) => difference(server, topic, broker, *queues, *route),
            };
            if let Some((what, remedy)) = difference {
                findings.push(Finding { level: Level::Warning, check: "route", what, remedy });
            }
        }
    }
}

fn difference(
    server: &str,
    topic: &str,
    broker: &str,
    had: Queues,
    routed: Queues,
) -> Option<(String, String)> {
    if had == routed {
        return None;
    }
    if (had.read, had.write) == (routed.read, routed.write)
        && had.perm & PERM_WRITE > routed.perm & PERM_WRITE
    {
        return Some((
            format!("{server} keeps producers of topic \"{topic}\" away from broker {broker}"),
            format!(
                "somebody wiped its write permission there; `mqadmin addWritePerm -b {broker}` gives it back"
            ),
        ));
    }
    let told = |queues: Queues| {
        let Queues { read, write, perm } = queues;
        format!("{read} to read, {write} to write, perm {perm}")
    };
    let (has, says) = (told(had), told(routed));
    Some((
        format!("topic \"{topic}\" at broker {broker} has queues {has}, but {server} says {says}"),
        "wait 30 s for the next registration; if it stays, restart the broker and look at its log".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(&str, &str, i32, i32, i32)]) -> Table {
        let mut table = Table::new();
        for (topic, broker, read, write, perm) in rows {
            let queues = Queues { read: *read, write: *write, perm: *perm };
            table.entry((*topic).to_owned()).or_default().insert((*broker).to_owned(), queues);
        }
        table
    }

    fn told(had: &Table, routed: &Table) -> Vec<String> {
        let mut findings = Vec::new();
        compare("n1", had, routed, &mut findings);
        assert!(findings.iter().all(|finding| !finding.remedy.is_empty()));
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn what_brokers_have_and_routes_do_not_is_told() {
        let had = table(&[("t", "a", 4, 4, 6), ("t", "b", 4, 4, 6), ("u", "a", 1, 1, 6)]);
        assert_eq!(told(&had, &had), [""; 0]);
        let routed = table(&[("t", "a", 4, 4, 6)]);
        assert_eq!(
            told(&had, &routed),
            [
                "topic \"t\" is at broker b, but not in the routes of n1",
                "topic \"u\" is at broker a, but not in the routes of n1"
            ]
        );
    }

    #[test]
    fn other_numbers_of_queues_and_wiped_permissions_are_told_apart() {
        let had = table(&[("t", "a", 4, 8, 6)]);
        assert_eq!(
            told(&had, &table(&[("t", "a", 4, 4, 6)])),
            [
                "topic \"t\" at broker a has queues 4 to read, 8 to write, perm 6, but n1 says 4 to read, 4 to write, perm 6"
            ]
        );
        assert_eq!(
            told(&had, &table(&[("t", "a", 4, 8, 4)])),
            ["n1 keeps producers of topic \"t\" away from broker a"]
        );
    }
}
