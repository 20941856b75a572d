//! The 878 rows of the Java distribution's configuration (`java_keys.tsv`: component, key, type, default) and
//! what becomes of them here.

use std::collections::BTreeSet;

use settings::{Broker, Nameserver, Surroundings, Table, load_in};

struct JavaKey {
    component: &'static str,
    key: &'static str,
    default: &'static str,
}

fn java_keys() -> Vec<JavaKey> {
    let rows = include_str!("java_keys.tsv").lines().skip(1);
    let columns = rows.map(|row| row.split('\t').collect::<Vec<_>>());
    columns.map(|row| JavaKey { component: row[0], key: row[1], default: row[3] }).collect()
}

fn distinct() -> BTreeSet<&'static str> {
    java_keys().iter().map(|row| row.key).collect()
}

fn acting<S: Table>() -> BTreeSet<&'static str> {
    S::ROWS.iter().map(|row| row.key).collect()
}

#[test]
fn each_key_acts_or_has_a_reason() {
    assert_eq!(java_keys().len(), 878);
    assert_eq!(distinct().len(), 828);
    each_key_acts_or_has_a_reason_in::<Broker>();
    each_key_acts_or_has_a_reason_in::<Nameserver>();
}

fn each_key_acts_or_has_a_reason_in<S: Table>() {
    let others: Vec<_> = distinct().difference(&acting::<S>()).copied().collect();
    let text = settings::properties::format(others.iter().map(|key| (key, "1")));
    let loaded = load_in::<S>(&Surroundings::default(), &text, &[]).unwrap();
    assert_eq!(loaded.unknown, []);
    let ignored: Vec<_> = loaded.ignored.iter().map(|ignored| &*ignored.key).collect();
    assert_eq!(ignored, others);
    for ignored in &loaded.ignored {
        assert!(!ignored.reason.is_empty(), "{} has no reason", ignored.key);
    }
}

#[test]
fn each_acting_key_is_one_of_java_or_one_of_ours() {
    let keys: BTreeSet<_> = acting::<Broker>().union(&acting::<Nameserver>()).copied().collect();
    let foreign: Vec<_> = keys.difference(&distinct()).copied().collect();
    let ours: Vec<_> = keys.iter().copied().filter(|key| key.starts_with("thrust.")).collect();
    assert_eq!(foreign, ours);
}

#[test]
fn defaults_are_those_of_java() {
    // What differs: ports that Java's start-up code sets, and what depends on the machine.
    let elsewhere = ["listenPort", "brokerName", "brokerIP1", "brokerIP2", "namesrvAddr"];
    let (broker, nameserver) = (Broker::default(), Nameserver::default());
    let mut compared = 0;
    for JavaKey { component, key, default } in java_keys() {
        let ours = match component {
            "broker" | "store" => vec![broker.get(key)],
            "namesrv" => vec![nameserver.get(key)],
            "netty-server" => vec![broker.get(key), nameserver.get(key)],
            _ => continue,
        };
        for ours in ours.into_iter().flatten().filter(|_| !elsewhere.contains(&key)) {
            let default = if default == "null" { "" } else { default };
            assert_eq!(ours, default, "{component} {key}");
            compared += 1;
        }
    }
    assert!(compared > 75, "only {compared} defaults were compared");
    assert_eq!((broker.listen_port, nameserver.listen_port), (10911, 9876));
}

#[test]
fn each_value_is_read_back_from_its_own_text() {
    read_back::<Broker>();
    read_back::<Nameserver>();
}

fn read_back<S: Table + PartialEq + std::fmt::Debug>() {
    for row in S::ROWS {
        let mut settings = S::default();
        let text = settings.get(row.key).unwrap();
        assert_eq!(settings.put(row.key, &format!(" {text} ")), Ok(None), "{}", row.key);
        assert_eq!(settings, S::default(), "{}", row.key);
    }
}
