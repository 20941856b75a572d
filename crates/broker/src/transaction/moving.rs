//! Half messages on a real store. One that is moved to the end of its queue stays one transaction, under the offset it
//! had and under the one it has, and a broker that starts afterwards sees the same. One that the disk does not give at
//! the moment stays one too.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use sim::{Fault, Operation, SimClock, SimDisk};
use store::{Batch, RealClock};
use wire::hash;
use wire::names;
use wire::properties as props;
use wire::record::{Message, Record};

use super::queues;
use super::table::{Ending, Positions, Table};
use crate::Broker;

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 10911))
}

fn open(disk: &SimDisk) -> Arc<Broker> {
    let keys = [
        ("storePathRootDir", "/store"),
        ("mappedFileSizeCommitLog", "65536"),
        ("messageIndexEnable", "false"),
    ];
    let keys: Vec<_> = keys.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let settings = settings::load_broker("", &keys).unwrap().settings;
    Broker::open(settings, address(), Arc::new(disk.clone()), Arc::new(RealClock::default())).unwrap()
}

fn store_half(broker: &Broker) -> u64 {
    let mut properties = Vec::new();
    for (name, value) in [
        (props::PGROUP, "payers"),
        (props::REAL_TOPIC, "orders"),
        (props::REAL_QID, "2"),
        (props::TAGS, "paid"),
    ] {
        props::push(&mut properties, name, value);
    }
    let message = Message {
        topic: names::HALF_TOPIC,
        queue_id: 0,
        flag: 3,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: address(),
        store_host: address(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"body",
        properties: &properties,
    };
    let mut batch = Batch::default();
    batch.push(&broker.transactions.halves, &message, hash::tags_code(Some("paid"))).unwrap();
    broker.store.append(&mut batch).unwrap();
    broker.follow_halves();
    batch.appended(0).offset
}

fn open_at(broker: &Broker, offset: u64) -> Option<(u64, u32)> {
    broker.transactions.table.lock().get(offset).map(|open| (open.physical, open.checks))
}

fn begin(broker: &Broker, offset: u64) -> Option<Ending> {
    let ending = broker.transactions.begin_end(&broker.store, offset);
    if let Some(ending) = ending {
        broker.transactions.table.lock().gave_up(ending.offset);
    }
    ending
}

#[tokio::test]
async fn it_is_the_same_transaction_at_another_place() {
    let disk = SimDisk::new(SimClock::new(1_700_000_000_000, 0));
    let broker = open(&disk);
    let first = store_half(&broker);
    broker.transactions.table.lock().checked(0);
    broker.move_to_end(0, first).unwrap();
    let (second, checks) = open_at(&broker, 1).unwrap();
    assert_eq!((checks, open_at(&broker, 0)), (1, None));
    broker.move_to_end(1, second).unwrap();
    let (third, _) = open_at(&broker, 2).unwrap();
    let bytes = broker.store.record_at(third).unwrap().unwrap();
    let record = Record::parse(&bytes).unwrap();
    assert_eq!((record.body, record.flag, record.queue_offset), (&b"body"[..], 3, 2));
    assert_eq!(record.property(queues::PREPARED_OFFSET), Some("0"), "the first offset it had");
    assert_eq!(record.property(queues::CHECK_TIMES), Some("1"));
    for offset in 0..3 {
        assert_eq!(begin(&broker, offset), Some(Ending { offset: 2, checks: 1 }), "{offset}");
    }
    let positions = broker.transactions.table.lock().positions();
    assert_eq!((positions.half, positions.op), (2, 2), "nothing before it need be read again");

    let later = disk.copy();
    let after_kill = open(&later);
    assert_eq!(open_at(&after_kill, 2), Some((third, 1)));
    assert_eq!(after_kill.transactions.table.lock().open_count(), 1);
    assert_eq!(
        begin(&after_kill, 0),
        Some(Ending { offset: 2, checks: 1 }),
        "its producer may still name the first"
    );
    assert!(after_kill.close(2, &mut Batch::default(), Some("orders")).unwrap().is_some());

    let after_end = open(&later.copy());
    assert_eq!(after_end.transactions.table.lock().open_count(), 0);
    for offset in 0..3 {
        assert_eq!(begin(&after_end, offset), None, "{offset} came back");
    }
}

#[tokio::test]
async fn what_cannot_be_read_now_is_neither_decided_nor_forgotten() {
    const START: Positions = Positions { half: 0, op: 0 };
    let disk = SimDisk::new(SimClock::new(1_700_000_000_000, 0));
    let broker = open(&disk);
    let first = store_half(&broker);
    broker.store.queue_step(true).unwrap();
    let (store, transactions) = (&broker.store, &broker.transactions);
    let load = || queues::load(store, &transactions.halves, &transactions.ops, START, &BTreeMap::new());

    disk.inject(Fault::from_now(Operation::Read, "consumequeue", ErrorKind::Other));
    let mut table = Table::new(START);
    queues::follow(store, &transactions.halves, &mut table);
    assert_eq!((table.followed(), table.open_count()), (0, 0), "it is looked at again");
    assert!(load().is_err(), "a broker that starts does not go on without it");

    disk.heal();
    queues::follow(store, &transactions.halves, &mut table);
    assert_eq!((table.followed(), table.open_count()), (1, 1));
    disk.inject(Fault::from_now(Operation::Read, "commitlog", ErrorKind::Other));
    let (table, _) = load().unwrap();
    assert_eq!(table.get(0).map(|open| (open.physical, open.known)), Some((first, None)));
}
