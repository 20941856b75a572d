use super::departure::Expired;
use super::*;

fn key(address: &str) -> BrokerKey {
    BrokerKey { cluster: "c".to_owned(), address: address.to_owned() }
}

fn version(counter: i64, state_version: i64) -> DataVersion {
    DataVersion { counter, state_version, timestamp: 5 }
}

fn topics(names: &[&str]) -> Vec<TopicQueues> {
    let queues = Queues { read: 4, write: 4, perm: 6, sys_flag: 0 };
    names.iter().map(|name| TopicQueues { name: (*name).into(), queues }).collect()
}

/// Broker `b` with topics T and U over connection 1.
fn broker(id: i64, address: &str) -> Registration {
    Registration {
        broker: key(address),
        group: "b".to_owned(),
        id,
        ha_address: Some(format!("ha-{address}")),
        zone: None,
        heartbeat_timeout_ms: None,
        partial: false,
        acting_master: Some(false),
        version: version(1, 0),
        topics: topics(&["T", "U", "b"]),
        mappings: Vec::new(),
        channel: 1,
    }
}

/// Logical queue 0 of a topic of one, on its physical queue 3.
fn mapping(broker: &str, topic: &str, epoch: i64) -> TopicQueueMappingInfo {
    TopicQueueMappingInfo {
        bname: broker.to_owned(),
        curr_id_map: BTreeMap::from([(0, 3)]),
        epoch,
        topic: topic.to_owned(),
        total_queues: 1,
        ..TopicQueueMappingInfo::default()
    }
}

/// Epochs of a static topic by broker, as a client sees them.
fn epochs(tables: &Tables, topic: &str) -> Vec<(String, i64)> {
    let route = tables.route(topic, false).unwrap_or_default();
    let mappings = route.topic_queue_mapping_by_broker.into_iter().flatten();
    mappings.map(|(broker, info)| (broker, info.epoch)).collect()
}

fn perm(tables: &Tables, topic: &str) -> i32 {
    tables.holders(topic)[0].queues.perm
}

fn address_of(tables: &Tables, id: i64) -> Option<&str> {
    tables.groups().get("b").and_then(|group| group.addresses.get(&id)).map(String::as_str)
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}

fn with(registrations: &[Registration]) -> Tables {
    let mut tables = Tables::default();
    for registration in registrations {
        tables.register(registration.clone(), false, 0).unwrap();
    }
    tables
}

#[test]
fn broker_disappears_when_its_connection_closes() {
    let mut tables = with(&[broker(0, "m:1")]);
    assert_eq!(tables.holders("T").len(), 1);
    tables.leave(&[Departure::Channel(2)]);
    assert_eq!(tables.holders("T").len(), 1);
    tables.leave(&[Departure::Channel(1)]);
    assert!(tables.holders("T").is_empty() && tables.groups().is_empty());
    assert!(!tables.has_channel(1));
    assert_eq!(tables.next_expiry_ms(), None);
}

#[test]
fn broker_that_reconnected_stays_when_its_old_connection_closes() {
    let again = Registration { channel: 2, ..broker(0, "m:1") };
    let mut tables = with(&[broker(0, "m:1"), again]);
    tables.leave(&[Departure::Channel(1)]);
    assert_eq!(address_of(&tables, 0), Some("m:1"));
    tables.leave(&[Departure::Channel(2)]);
    assert!(tables.groups().is_empty());
}

#[test]
fn silent_broker_expires() {
    let quick = Registration {
        group: "quick".to_owned(),
        heartbeat_timeout_ms: Some(10_000),
        channel: 2,
        ..broker(0, "q:1")
    };
    let mut tables = with(&[broker(0, "m:1"), quick]);
    assert_eq!(tables.next_expiry_ms(), Some(10_000));
    assert_eq!(tables.expire(10_000), Expired::default());
    assert_eq!(tables.expire(10_001).channels, [2]);
    assert_eq!(tables.groups().len(), 1);
    assert_eq!(tables.next_expiry_ms(), Some(120_000));
    assert_eq!(tables.expire(120_001).channels, [1]);
    assert!(tables.groups().is_empty() && tables.topics().next().is_none());
}

#[test]
fn heartbeat_and_version_query_keep_a_broker_alive() {
    let mut tables = with(&[broker(0, "m:1")]);
    tables.touch(&key("m:1"), 100_000);
    tables.touch(&key("unknown:1"), 100_000);
    assert_eq!(tables.expire(200_000), Expired::default());
    assert_eq!(tables.next_expiry_ms(), Some(220_000));
}

#[test]
fn silent_broker_of_a_container_leaves_the_connection_to_the_others() {
    let quick =
        Registration { group: "quick".to_owned(), heartbeat_timeout_ms: Some(1_000), ..broker(0, "q:1") };
    let mut tables = with(&[broker(0, "m:1"), quick]);
    assert_eq!(tables.expire(5_000).channels, [0; 0]);
    assert_eq!(tables.groups().len(), 1);
}

#[test]
fn wiped_broker_keeps_reading() {
    let mut tables = with(&[broker(0, "m:1")]);
    assert_eq!(tables.change_write_permission("b", false), 3);
    assert_eq!(perm(&tables, "T"), 4);
    assert_eq!(tables.change_write_permission("unknown", false), 0);
    // A registration with the same version keeps it wiped, a newer one opens it again.
    tables.register(broker(0, "m:1"), false, 1).unwrap();
    assert_eq!(perm(&tables, "T"), 4);
    tables.register(Registration { version: version(2, 0), ..broker(0, "m:1") }, false, 2).unwrap();
    assert_eq!(perm(&tables, "T"), 6);
}

#[test]
fn write_permission_is_added() {
    let mut tables = with(&[broker(0, "m:1")]);
    tables.change_write_permission("b", false);
    assert_eq!(tables.change_write_permission("b", true), 3);
    assert_eq!(perm(&tables, "T"), 6);
}

#[test]
fn first_registration_with_one_topic_is_refused() {
    let mut tables = Tables::default();
    let lone = Registration { topics: topics(&["T"]), ..broker(0, "m:1") };
    let refused = tables.register(lone.clone(), false, 0).unwrap_err();
    assert_eq!(refused.to_string(), "register broker failed");
    assert!(tables.groups().is_empty() && tables.next_expiry_ms().is_none());
    tables.register(Registration { topics: Vec::new(), ..broker(0, "m:1") }, false, 0).unwrap();
    tables.register(Registration { version: version(2, 0), ..lone }, false, 0).unwrap();
    assert_eq!(tables.holders("T").len(), 1);
}

#[test]
fn unchanged_version_adds_only_unknown_topics() {
    let mut tables = with(&[broker(0, "m:1")]);
    let mut again = broker(0, "m:1");
    again.topics = topics(&["T", "new"]);
    again.topics[0].queues.read = 9;
    tables.register(again, false, 1).unwrap();
    assert_eq!(tables.holders("T")[0].queues.read, 4);
    assert_eq!(tables.holders("new").len(), 1);
}

#[test]
fn role_change_never_leaves_two_ids_for_one_address() {
    let mut tables = with(&[broker(1, "s:1")]);
    tables.register(broker(0, "s:1"), false, 1).unwrap();
    assert_eq!((address_of(&tables, 0), address_of(&tables, 1)), (Some("s:1"), None));
}

#[test]
fn renamed_broker_leaves_its_old_name() {
    let mut tables = with(&[broker(0, "m:1")]);
    tables.register(Registration { group: "new".to_owned(), ..broker(0, "m:1") }, false, 1).unwrap();
    let names: Vec<_> = tables.groups().keys().map(|name| &**name).collect();
    assert_eq!(names, ["new"]);
    let holders: Vec<_> = tables.holders("T").iter().map(|holder| &*holder.broker).collect();
    assert_eq!(holders, ["new"]);
}

#[test]
fn deposed_master_is_fenced_off() {
    let deposed = Registration { version: version(9, 1), channel: 7, ..broker(0, "old:1") };
    let elected = Registration { version: version(1, 2), channel: 8, ..broker(0, "new:1") };
    let mut tables = with(&[deposed.clone(), elected.clone()]);
    assert_eq!(address_of(&tables, 0), Some("new:1"));
    let registered = tables.register(deposed, false, 1).unwrap();
    assert_eq!(registered, Registered::default());
    assert_eq!(address_of(&tables, 0), Some("new:1"));
    assert!(!tables.has_channel(7));
    // Once the elected one is gone, the other is welcome.
    tables.leave(&[Departure::Channel(8)]);
    tables.register(Registration { version: version(9, 1), ..broker(0, "old:1") }, false, 2).unwrap();
    assert_eq!(address_of(&tables, 0), Some("old:1"));
}

#[test]
fn replaced_master_goes_without_taking_its_successor_along() {
    let successor = Registration { channel: 2, ..broker(0, "new:1") };
    let mut tables = with(&[broker(0, "old:1"), successor]);
    tables.leave(&[Departure::Channel(1)]);
    assert_eq!(address_of(&tables, 0), Some("new:1"));
    assert_eq!(tables.holders("T").len(), 1);
}

#[test]
fn slave_learns_its_master_and_publishes_nothing() {
    let mut tables = with(&[broker(0, "m:1")]);
    let mut slave = Registration { channel: 2, ..broker(1, "s:1") };
    slave.topics.extend(topics(&["slave-only"]));
    let registered = tables.register(slave, false, 0).unwrap();
    let master = Master { address: "m:1".to_owned(), ha_address: Some("ha-m:1".to_owned()) };
    assert_eq!(registered.master, Some(master));
    assert!(tables.holders("slave-only").is_empty());
}

#[test]
fn old_slave_without_a_master_publishes_nothing() {
    let tables = with(&[Registration { acting_master: None, ..broker(1, "s:1") }]);
    assert!(tables.holders("T").is_empty());
    assert_eq!(address_of(&tables, 1), Some("s:1"));
}

#[test]
fn prime_slave_of_an_acting_group_serves_readers_only() {
    let acting = |id, address: &str, channel| Registration {
        acting_master: Some(true),
        channel,
        ..broker(id, address)
    };
    let mut tables = with(&[acting(0, "m:1", 1), acting(1, "s:1", 2), acting(2, "t:1", 3)]);
    let changes = tables.leave(&[Departure::Channel(1)]);
    assert_eq!(perm(&tables, "T"), 4);
    let expected = MinIdChange {
        min_id: 1,
        min_address: "s:1".to_owned(),
        offline_address: Some("m:1".to_owned()),
        ha_address: None,
        tell: vec!["s:1".to_owned(), "t:1".to_owned()],
    };
    assert_eq!(changes, [expected]);
    let route = tables.route("T", true).unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs[&0], "s:1");
    assert!(!tables.route("T", false).unwrap().broker_datas[0].broker_addrs.contains_key(&0));

    tables.register(Registration { version: version(2, 0), ..acting(1, "s:1", 2) }, false, 1).unwrap();
    assert_eq!(perm(&tables, "T"), 4);
    let back = tables.register(acting(0, "m:1", 4), false, 2).unwrap();
    assert_eq!(perm(&tables, "T"), 6);
    assert_eq!(back.min_id_changes[0].tell, ["s:1", "t:1"]);
    assert_eq!(tables.route("T", true).unwrap().broker_datas[0].broker_addrs[&0], "m:1");
}

#[test]
fn topics_that_a_whole_table_does_not_name_are_dropped_if_wanted() {
    let mut tables = with(&[broker(0, "m:1")]);
    let shorter = Registration { version: version(2, 0), topics: topics(&["T", "b"]), ..broker(0, "m:1") };
    tables.register(shorter.clone(), false, 1).unwrap();
    assert_eq!(tables.holders("U").len(), 1);
    tables
        .register(Registration { mappings: vec![mapping("b", "T", 1)], ..shorter.clone() }, true, 1)
        .unwrap();
    assert_eq!(tables.holders("U").len(), 1);
    tables.register(Registration { partial: true, ..shorter.clone() }, true, 1).unwrap();
    assert_eq!(tables.holders("U").len(), 1);
    tables.register(shorter, true, 1).unwrap();
    assert!(tables.holders("U").is_empty());
}

#[test]
fn topic_announced_alone_does_not_drop_the_others() {
    let mut tables = with(&[broker(0, "m:1")]);
    let lone = Registration { version: version(2, 0), topics: topics(&["new"]), ..broker(0, "m:1") };
    tables.register(lone, true, 1).unwrap();
    assert_eq!((tables.holders("new").len(), tables.holders("T").len()), (1, 1));
}

#[test]
fn deleted_topic_is_gone_in_one_cluster_or_in_all() {
    let mut other = Registration { group: "o".to_owned(), channel: 2, ..broker(0, "o:1") };
    other.broker.cluster = "d".to_owned();
    let mut tables = with(&[broker(0, "m:1"), other]);
    assert_eq!(sorted(tables.topics_of_cluster("d")), ["T", "U", "b"]);
    tables.delete_topic("T", Some("d"));
    assert_eq!(tables.holders("T").len(), 1);
    assert_eq!(sorted(tables.topics_of_cluster("d")), ["U", "b"]);
    tables.delete_topic("U", None);
    assert!(tables.holders("U").is_empty());
    tables.delete_topic("unknown", Some("d"));
    tables.delete_topic("T", Some("unknown"));
    assert_eq!(tables.holders("T").len(), 1);
}

#[test]
fn topic_added_by_hand_needs_known_brokers() {
    let mut tables = with(&[broker(0, "m:1")]);
    let data = |broker: &str| QueueData { broker_name: broker.to_owned(), perm: 6, ..QueueData::default() };
    let refused = tables.add_topic("hand", &[data("b"), data("unknown")]).unwrap_err();
    assert_eq!(refused.to_string(), "its broker unknown is not registered");
    assert!(tables.holders("hand").is_empty());
    tables.add_topic("hand", &[data("b")]).unwrap();
    assert_eq!(tables.holders("hand").len(), 1);
}

#[test]
fn system_topics_are_the_names_of_clusters_and_brokers() {
    let tables = with(&[broker(0, "m:1")]);
    let list = tables.system_topics();
    assert_eq!(list.topic_list, ["b", "c"]);
    assert_eq!(list.broker_addr.as_deref(), Some("m:1"));
    assert_eq!(Tables::default().system_topics().broker_addr, None);
}

#[test]
fn other_zones_are_left_out_unless_they_lost_their_master() {
    let zoned = |group: &str, id, zone: Option<&str>, channel| Registration {
        group: group.to_owned(),
        zone: zone.map(str::to_owned),
        acting_master: Some(true),
        channel,
        ..broker(id, group)
    };
    let here = zoned("here", 0, Some("Z1"), 1);
    let there = zoned("there", 0, Some("z2"), 2);
    let masterless = zoned("masterless", 1, Some("z2"), 3);
    let nowhere = zoned("nowhere", 0, None, 4);
    let mut route = with(&[here, there, masterless, nowhere]).route("T", false).unwrap();
    crate::route::keep_zone(&mut route, "z1");
    let brokers: Vec<_> = route.broker_datas.iter().map(|data| &*data.broker_name).collect();
    let queues: Vec<_> = route.queue_datas.iter().map(|data| &*data.broker_name).collect();
    assert_eq!(brokers, ["here", "masterless"]);
    assert_eq!(queues, ["here", "masterless"]);
}

#[test]
fn whatever_happens_the_tables_agree_with_each_other() {
    // Every group is held up by an address, every holder by a group, every connection by a live broker.
    let mut tables = Tables::default();
    let mut seed = 88_172_645_463_325_252_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for step in 0..20_000 {
        let address = format!("a{}:1", random(6));
        match random(6) {
            0 => drop(tables.leave(&[Departure::Channel(random(5))])),
            1 => drop(tables.leave(&[Departure::Broker(key(&address), format!("g{}", random(3)))])),
            2 => drop(tables.expire(step)),
            _ => {
                let registration = Registration {
                    group: format!("g{}", random(3)),
                    acting_master: [None, Some(false), Some(true)][random(3) as usize],
                    heartbeat_timeout_ms: Some(random(50) as i64),
                    version: version(random(3) as i64, random(3) as i64),
                    channel: random(5),
                    topics: topics(&["T", "U", "g0"][..random(4) as usize]),
                    ..broker(random(3) as i64, &address)
                };
                let _ = tables.register(registration, random(2) == 0, step);
            }
        }
        for group in tables.groups.values() {
            let addresses: HashSet<_> = group.addresses.values().collect();
            assert!(!addresses.is_empty() && addresses.len() == group.addresses.len(), "step {step}");
        }
        for holders in tables.topics.values() {
            assert!(!holders.is_empty() && holders.is_sorted_by(|a, b| a.broker < b.broker), "step {step}");
            assert!(holders.iter().all(|holder| tables.groups.contains_key(&holder.broker)), "step {step}");
        }
        let mut connected: Vec<_> = tables.by_channel.values().flatten().collect();
        connected.sort_by_key(|key| &key.address);
        connected.dedup();
        assert_eq!(connected.len(), tables.live.len(), "step {step}");
        assert!(tables.by_channel.values().all(|keys| !keys.is_empty()), "step {step}");
    }
}

#[test]
fn static_topic_is_in_the_route_with_its_queues_of_each_broker() {
    let first = Registration { mappings: vec![mapping("b", "T", 7)], ..broker(0, "m:1") };
    let other = Registration {
        group: "other".to_owned(),
        topics: topics(&["T", "other"]),
        mappings: vec![mapping("other", "T", 8)],
        channel: 2,
        ..broker(0, "o:1")
    };
    let mut tables = with(&[first, other]);
    assert_eq!(epochs(&tables, "T"), [("b".to_owned(), 7), ("other".to_owned(), 8)]);
    assert_eq!(tables.route("U", false).unwrap().topic_queue_mapping_by_broker, None);
    let route = tables.route("T", false).unwrap();
    assert_eq!(route.topic_queue_mapping_by_broker.unwrap()["b"].curr_id_map, BTreeMap::from([(0, 3)]));
    tables.leave(&[Departure::Channel(2)]);
    assert_eq!(epochs(&tables, "T"), [("b".to_owned(), 7)]);
    tables.delete_topic("T", None);
    tables.register(Registration { version: version(2, 0), ..broker(0, "m:1") }, false, 1).unwrap();
    assert_eq!(epochs(&tables, "T"), [], "the topic came back as an ordinary one");
}

#[test]
fn mapping_is_taken_with_a_new_version_and_kept_by_a_registration_without_it() {
    let first = Registration { mappings: vec![mapping("b", "T", 7)], ..broker(0, "m:1") };
    let mut tables = with(std::slice::from_ref(&first));
    let same_version = Registration { mappings: vec![mapping("b", "T", 8)], ..first.clone() };
    tables.register(same_version, false, 1).unwrap();
    assert_eq!(epochs(&tables, "T"), [("b".to_owned(), 7)]);
    let changed = Registration { version: version(2, 0), mappings: vec![mapping("b", "T", 8)], ..first };
    tables.register(changed, false, 2).unwrap();
    assert_eq!(epochs(&tables, "T"), [("b".to_owned(), 8)]);
    let another_topic =
        Registration { version: version(3, 0), topics: topics(&["V", "W"]), ..broker(0, "m:1") };
    tables.register(another_topic, false, 3).unwrap();
    assert_eq!(epochs(&tables, "T"), [("b".to_owned(), 8)]);
}

/// A nameserver that has restarted may hear of new topics first, by the version that the whole table has too.
#[test]
fn mapping_is_taken_with_a_known_version_where_there_is_none() {
    let new_topics = Registration { topics: topics(&["V", "W"]), ..broker(0, "m:1") };
    let whole = Registration {
        topics: topics(&["T", "U", "V", "W", "b"]),
        mappings: vec![mapping("b", "T", 7), mapping("b", "V", 3)],
        ..broker(0, "m:1")
    };
    let tables = with(&[new_topics, whole]);
    assert_eq!(epochs(&tables, "T"), [("b".to_owned(), 7)]);
    assert_eq!(epochs(&tables, "V"), [("b".to_owned(), 3)]);
}

#[test]
fn broker_speaks_only_for_itself_and_for_topics_it_holds() {
    let mappings = vec![mapping("another", "T", 7), mapping("b", "unknown", 7)];
    let tables = with(&[Registration { mappings, ..broker(0, "m:1") }]);
    assert_eq!(epochs(&tables, "T"), []);
    assert!(tables.holders("unknown").is_empty());
}
