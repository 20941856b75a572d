//! Frames and records of real clients and brokers, read by our parsers and compared with the tables of
//! `golden/README.md`, which say what was captured.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;

use wire::body::*;
use wire::code::request;
use wire::frame::{self, FRAME_MAX, Frame};
use wire::hash::java_hash;
use wire::header::{self, FrameWriter, Head, Header, Language};
use wire::ids::OffsetId;
use wire::record::{self, Record};
use wire::{batch, loose_json, properties, sys_flag};

const README: &str = include_str!("golden/README.md");

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

fn bytes(file: &str) -> Vec<u8> {
    std::fs::read(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Rows of the README's table whose header starts with `| file |` and holds `column`.
fn table(column: &str) -> Vec<BTreeMap<&'static str, String>> {
    let mut lines = README.lines().skip_while(|line| {
        !(line.starts_with("| file |") && line.split('|').any(|cell| cell.trim() == column))
    });
    let names: Vec<&str> = lines.next().expect("the table is there").split('|').map(str::trim).collect();
    let rows: Vec<_> = lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| names.iter().copied().zip(cells(line)).filter(|(name, _)| !name.is_empty()).collect())
        .collect();
    assert!(!rows.is_empty(), "the table with {column} is empty");
    rows
}

/// Cells of a table row. `\1`, `\2` and `\n` stand for those bytes, any other escaped character for itself.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (character, cells.last_mut().expect("never empty")) {
            ('|', _) => cells.push(String::new()),
            ('\\', cell) => match characters.next().expect("an escaped character") {
                '1' => cell.push('\u{1}'),
                '2' => cell.push('\u{2}'),
                'n' => cell.push('\n'),
                other => cell.push(other),
            },
            (other, cell) => cell.push(other),
        }
    }
    cells.iter().map(|cell| cell.trim_matches([' ', '`']).to_owned()).collect()
}

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(row: &BTreeMap<&str, String>, column: &str) -> T {
    row[column].parse().unwrap_or_else(|error| panic!("{row:?} {column}: {error:?}"))
}

fn open(bytes: &[u8]) -> (Frame<'_>, Header<'_>) {
    let frame = frame::split(bytes, FRAME_MAX).unwrap().expect("a whole frame");
    assert_eq!(frame.size, bytes.len());
    (frame, header::parse(frame.dialect, frame.header).unwrap())
}

fn body(file: &str) -> Vec<u8> {
    open(&bytes(&format!("{file}.bin"))).0.body.to_vec()
}

fn read<T: serde::de::DeserializeOwned>(file: &str) -> T {
    let body = body(file);
    loose_json::read(&body)
        .unwrap_or_else(|error| panic!("{file}: {error}: {}", String::from_utf8_lossy(&body)))
}

fn records(bytes: &[u8]) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let record = Record::parse(&bytes[at..]).unwrap();
        at += record.bytes.len();
        records.push(record);
    }
    records
}

fn queue(topic: &str) -> MessageQueue {
    MessageQueue { topic: topic.to_owned(), broker_name: "broker-a".to_owned(), queue_id: 0 }
}

#[test]
fn the_tables_name_every_file_and_no_other() {
    let listed: BTreeSet<String> = ["opaque", "physical offset"]
        .iter()
        .flat_map(|column| table(column))
        .map(|row| row["file"].clone())
        .collect();
    let there: BTreeSet<String> = std::fs::read_dir(path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".bin"))
        .collect();
    assert_eq!(listed, there);
}

#[test]
fn every_header_says_what_the_table_says() {
    for row in table("opaque") {
        let (file, bytes) = (&row["file"], bytes(&row["file"]));
        let (frame, header) = open(&bytes);
        assert_eq!(frame.dialect.byte(), u8::from(file.ends_with("_binary.bin")), "{file}");
        assert_eq!(header.code, number::<i32>(&row, "code"), "{file}");
        assert_eq!(header.flag, number::<i32>(&row, "flag"), "{file}");
        assert_eq!(header.is_response(), file.contains("_response_"), "{file}");
        assert_eq!(header.opaque, number::<i32>(&row, "opaque"), "{file}");
        assert_eq!(header.version, number::<i32>(&row, "version"), "{file}");
        assert_eq!(header.language, Language::from_name(&row["language"]), "{file}");
        let expected = if row["ext"] == "-" { 0 } else { number::<usize>(&row, "ext") };
        assert_eq!(header.fields.len(), expected, "{file}");
        assert_eq!(frame.body.len(), number::<usize>(&row, "body"), "{file}");
        let remark = header.remark.as_deref().filter(|remark| !remark.is_empty()).unwrap_or("-");
        match row["remark"].strip_suffix('…') {
            Some(start) => assert!(remark.starts_with(start), "{file}: {remark}"),
            None => assert_eq!(remark.trim(), row["remark"], "{file}"),
        }
        for pair in row["some ext fields"].split("; ").filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap();
            assert_eq!(header.fields.get(name), Some(value), "{file}: {name}");
        }
    }
}

#[test]
fn a_frame_written_again_in_its_dialect_reads_the_same() {
    for row in table("opaque") {
        let (file, bytes) = (&row["file"], bytes(&row["file"]));
        let (frame, header) = open(&bytes);
        let head = Head {
            dialect: frame.dialect,
            code: header.code,
            opaque: header.opaque,
            flag: header.flag,
            remark: header.remark.as_deref(),
        };
        let mut out = Vec::new();
        let mut writer = FrameWriter::new(&mut out, &head);
        for (name, value) in header.fields.iter() {
            writer.field(name, value);
        }
        writer.body(frame.body);
        let (again, reread) = open(&out);
        assert_eq!((again.dialect, again.body), (frame.dialect, frame.body), "{file}");
        assert_eq!(
            (reread.code, reread.opaque, reread.flag, &reread.remark),
            (header.code, header.opaque, header.flag, &header.remark),
            "{file}"
        );
        assert!(reread.fields.iter().eq(header.fields.iter()), "{file}");
    }
}

#[test]
fn every_truncation_of_a_frame_is_awaited_and_never_half_read() {
    for row in table("opaque") {
        let bytes = bytes(&row["file"]);
        for end in 0..bytes.len() {
            assert!(frame::split(&bytes[..end], FRAME_MAX).unwrap().is_none(), "{} at {end}", row["file"]);
        }
        let (frame, _) = open(&bytes);
        for end in 0..frame.header.len() {
            assert!(header::parse(frame.dialect, &frame.header[..end]).is_err(), "{} at {end}", row["file"]);
        }
    }
}

#[test]
fn every_stored_record_says_what_the_table_says() {
    let origins: BTreeMap<_, _> =
        table("where from").into_iter().map(|row| (row["file"].clone(), row)).collect();
    for row in table("physical offset") {
        let (file, bytes) = (&row["file"], bytes(&row["file"]));
        assert_eq!(bytes.len(), number::<usize>(&row, "bytes"), "{file}");
        let records = records(&bytes);
        let number_in_file: usize = number(&row, "#");
        let record = records[number_in_file];
        let at = format!("{file} #{number_in_file}");
        record.verify_crc().unwrap();
        assert_eq!(record.magic, record::MAGIC_V1, "{at}");
        assert_eq!(record.bytes.len(), number::<usize>(&row, "total"), "{at}");
        assert_eq!(record.queue_id, number::<u32>(&row, "queue"), "{at}");
        assert_eq!(record.queue_offset, number::<i64>(&row, "queue offset"), "{at}");
        assert_eq!(record.physical_offset, number::<i64>(&row, "physical offset"), "{at}");
        assert_eq!(record.flag, number::<i32>(&row, "flag"), "{at}");
        assert_eq!(record.sys_flag, number::<i32>(&row, "sysFlag"), "{at}");
        assert_eq!(record.body_crc, number::<u32>(&row, "body CRC"), "{at}");
        assert_eq!(record.body.len(), number::<usize>(&row, "body"), "{at}");
        assert_eq!(record.topic, row["topic"], "{at}");
        assert_eq!(std::str::from_utf8(record.properties).unwrap(), row["properties"], "{at}");
        assert_eq!(record.prepared_transaction_offset, 0, "{at}");
        let origin = &origins[file];
        assert_eq!(record.born_host.to_string(), origin["born host"], "{at}");
        assert_eq!(record.store_host.to_string(), origin["store host"], "{at}");
        assert_eq!(record.reconsume_times, number::<i32>(origin, "reconsume times"), "{at}");
        if number_in_file == 0 {
            assert_eq!(record.born_timestamp, number::<i64>(origin, "born"), "{at}");
            assert_eq!(record.store_timestamp, number::<i64>(origin, "stored"), "{at}");
        }
    }
}

#[test]
fn a_record_encoded_from_its_parts_has_the_bytes_that_java_wrote() {
    for file in table("physical offset").iter().map(|row| row["file"].clone()).collect::<BTreeSet<_>>() {
        for record in records(&bytes(&file)) {
            let mut out = Vec::new();
            record::encode(&record.message(), &mut out).unwrap();
            let (queue_offset, offset) = (record.queue_offset as u64, record.physical_offset as u64);
            record::patch(&mut out, queue_offset, offset, record.store_timestamp);
            assert_eq!(out, record.bytes, "{file}");
        }
    }
}

#[test]
fn compressed_bodies_are_marked_and_inflate() {
    for file in ["records_zlib_broker497.bin", "records_zlib_broker550.bin"] {
        let bytes = bytes(file);
        let record = records(&bytes)[0];
        assert_eq!(record.sys_flag & sys_flag::COMPRESSED, sys_flag::COMPRESSED);
        assert_eq!(record.sys_flag & sys_flag::COMPRESSION_MASK, 0x300);
        let mut body = String::new();
        flate2::read::ZlibDecoder::new(record.body).read_to_string(&mut body).unwrap();
        assert_eq!(body, "z".repeat(5000));
    }
}

#[test]
fn answers_and_checks_carry_whole_records() {
    let mut seen = 0;
    for row in table("opaque").iter().filter(|row| row["note"].contains("record")) {
        let bytes = bytes(&row["file"]);
        let (frame, header) = open(&bytes);
        for record in records(frame.body) {
            record.verify_crc().unwrap();
            seen += 1;
            if header.code == request::CHECK_TRANSACTION_STATE {
                // Brokers put the real topic back before they ask.
                assert_eq!(Some(record.topic), record.property(properties::REAL_TOPIC), "{}", row["file"]);
                assert_eq!(record.property(properties::TRAN_MSG), Some("true"));
                let id = OffsetId { store_host: record.store_host, offset: record.physical_offset as u64 };
                assert_eq!(
                    header.fields.get("offsetMsgId"),
                    Some(id.to_string().as_str()),
                    "{}",
                    row["file"]
                );
            }
        }
    }
    // Four transaction checks, four queries, four views, a pop of three, four pulls of two.
    assert_eq!(seen, 4 + 4 + 4 + 3 + 4 * 2);
}

#[test]
fn batch_bodies_split_into_their_messages() {
    let go = [("batch one", Some("TagA")), ("batch two", Some("TagB"))];
    let java = [("batch one", Some("TagA")), ("batch two", Some("TagB")), ("batch three", None)];
    for (file, expected) in [
        ("send_batch_request_go212_json", &go[..]),
        ("send_batch_request_java498_binary", &java[..]),
        ("send_batch_request_java498_json", &java[..]),
        ("send_batch_request_java550_binary", &java[..]),
        ("send_batch_request_java550_json", &java[..]),
    ] {
        let body = body(file);
        let entries: Vec<_> = batch::entries(&body).collect::<Result<_, _>>().unwrap();
        let read: Vec<_> = entries
            .iter()
            .map(|entry| {
                (
                    std::str::from_utf8(entry.body).unwrap(),
                    properties::find(entry.properties, properties::TAGS),
                )
            })
            .collect();
        assert_eq!(read, expected, "{file}");
        let mut again = Vec::new();
        entries.iter().for_each(|entry| batch::push(&mut again, entry));
        // The reserved words (magic and CRC) are zero in every client, as in what we write.
        assert_eq!(again, body, "{file}");
    }
}

#[test]
fn ids_in_answers_name_host_and_offset() {
    let bytes = bytes("send_batch_response_broker550_json.bin");
    let (_, header) = open(&bytes);
    let offsets: Vec<u64> = header
        .fields
        .get("msgId")
        .unwrap()
        .split(',')
        .map(|text| {
            let id = OffsetId::parse(text).unwrap();
            assert_eq!(id.store_host.to_string(), "127.0.0.1:29911");
            assert_eq!(id.to_string(), text);
            id.offset
        })
        .collect();
    assert_eq!(offsets, [0x316, 0x3DE, 0x4A6]);
}

#[test]
fn heartbeats_of_consumers_are_understood() {
    for (file, group, topic, sub_version) in [
        ("heartbeat_consumer_request_java550_json", "gpushJ5", "GoldJ5", Some(1_795_283_070_957)),
        ("heartbeat_consumer_request_java550_binary", "gpushJ5", "GoldJ5", None),
        ("heartbeat_consumer_request_java498_json", "gpushJ4", "GoldJ4", None),
        ("heartbeat_consumer_request_java498_binary", "gpushJ4", "GoldJ4", None),
        // The Go client writes the codes as strings.
        ("heartbeat_consumer_request_go212_json", "gpushG", "GoldG", Some(1_795_283_141_459_358_241)),
    ] {
        let data: HeartbeatData = read(file);
        assert_eq!(data.client_id, "192.0.2.2@one", "{file}");
        assert_eq!((data.heartbeat_fingerprint, data.without_sub), (0, false), "{file}");
        let [consumer] = &data.consumer_data_set[..] else { panic!("{file}: {data:?}") };
        assert_eq!(consumer.group_name, group);
        assert_eq!(consumer.consume_from_where, "CONSUME_FROM_FIRST_OFFSET");
        assert_eq!(consumer.consume_type, "CONSUME_PASSIVELY");
        assert_eq!(consumer.message_model, "CLUSTERING");
        assert!(!consumer.unit_mode);
        let of =
            |topic: &str| consumer.subscription_data_set.iter().find(|data| data.topic == topic).unwrap();
        assert_eq!(consumer.subscription_data_set.len(), 2, "{file}");
        let tagged = of(topic);
        assert_eq!(tagged.sub_string, "TagA || TagC", "{file}");
        assert_eq!(tagged.tags_set, ["TagA", "TagC"], "{file}");
        assert_eq!(tagged.code_set, [java_hash("TagA"), java_hash("TagC")], "{file}");
        assert_eq!(tagged.expression_type, "TAG");
        assert!(!tagged.class_filter_mode);
        if let Some(version) = sub_version {
            assert_eq!(tagged.sub_version, version, "{file}");
        }
        let retry = of(&format!("%RETRY%{group}"));
        assert_eq!(retry.sub_string, "*");
        assert!(retry.tags_set.is_empty() && retry.code_set.is_empty());
    }
}

#[test]
fn heartbeats_of_producers_are_understood() {
    let go: HeartbeatData = read("heartbeat_producer_request_go212_json");
    assert_eq!(go.client_id, "192.0.2.2@8658");
    assert_eq!(go.producer_data_set, [ProducerData { group_name: "gpG".to_owned() }]);
    assert!(go.consumer_data_set.is_empty());
    for dialect in ["json", "binary"] {
        // A pull consumer carries the producer of its client factory along.
        let java: HeartbeatData = read(&format!("heartbeat_producer_request_java550_{dialect}"));
        assert_eq!(java.producer_data_set, [ProducerData { group_name: "CLIENT_INNER_PRODUCER".to_owned() }]);
        assert_eq!(java.consumer_data_set[0].consume_type, "CONSUME_ACTIVELY");
        assert!(java.consumer_data_set[0].subscription_data_set.is_empty());
        let java: HeartbeatData = read(&format!("heartbeat_producer_request_java498_{dialect}"));
        assert!(!java.producer_data_set.is_empty());
    }
}

#[test]
fn queue_locks_are_understood_and_answered_as_java_does() {
    for (file, group, topic) in [
        ("lock_batch_request_go212_json", "gordG", "GoldOrdG"),
        ("lock_batch_request_java498_binary", "gordJ4", "GoldOrdJ4"),
        ("lock_batch_request_java498_json", "gordJ4", "GoldOrdJ4"),
        ("lock_batch_request_java550_binary", "gordJ5", "GoldOrdJ5"),
        ("lock_batch_request_java550_json", "gordJ5", "GoldOrdJ5"),
        ("unlock_batch_request_go212_json", "gordG", "GoldOrdG"),
        ("unlock_batch_request_java550_json", "gordJ5", "GoldOrdJ5"),
    ] {
        let expected = LockBatch {
            client_id: "192.0.2.2@ord".to_owned(),
            consumer_group: group.to_owned(),
            mq_set: vec![queue(topic)],
            only_this_broker: false,
        };
        assert_eq!(read::<LockBatch>(file), expected, "{file}");
    }
    for (file, topic) in [
        ("lock_batch_response_broker550_json", "GoldOrdJ5"),
        ("lock_batch_response_broker497_binary", "GoldOrdJ4"),
    ] {
        let locked = LockedQueues { locked: vec![queue(topic)] };
        assert_eq!(read::<LockedQueues>(file), locked);
        assert_eq!(serde_json::to_vec(&locked).unwrap(), body(file), "{file}");
    }
}

#[test]
fn consumer_lists_are_written_as_java_writes_them() {
    for (file, member) in [
        ("consumer_list_response_broker550_json", "192.0.2.2@gold@STREAM"),
        ("consumer_list_response_broker550_binary", "192.0.2.2@gold@STREAM"),
        ("consumer_list_response_broker497_json", "192.0.2.2@one"),
        ("consumer_list_response_broker497_binary", "192.0.2.2@one"),
    ] {
        let list: ConsumerIdList = read(file);
        assert_eq!(list.consumer_id_list, [member]);
        assert_eq!(serde_json::to_vec(&list).unwrap(), body(file), "{file}");
    }
}

#[test]
fn routes_are_read_with_quoted_and_bare_integer_keys() {
    for (file, perm, queues) in [
        ("route_quoted_response_broker550_json", 7, 8),
        ("route_quoted_response_broker550_binary", 7, 8),
        ("route_quoted_response_broker497_json", 7, 8),
        ("route_unquoted_response_broker550_json", 6, 1),
        ("route_unquoted_response_broker497_json", 6, 1),
    ] {
        let route: TopicRoute = read(file);
        assert_eq!(route.order_topic_conf, None);
        assert!(route.filter_server_table.is_empty());
        let [broker] = &route.broker_datas[..] else { panic!("{file}: {route:?}") };
        assert_eq!(broker.broker_addrs, BTreeMap::from([(0, "127.0.0.1:29911".to_owned())]));
        assert_eq!((broker.broker_name.as_str(), broker.cluster.as_str()), ("broker-a", "DefaultCluster"));
        let expected = QueueData {
            broker_name: "broker-a".to_owned(),
            perm,
            read_queue_nums: queues,
            write_queue_nums: queues,
            topic_sys_flag: 0,
        };
        assert_eq!(route.queue_datas, [expected], "{file}");
        if file.starts_with("route_quoted_response_broker550") {
            assert_eq!(serde_json::to_vec(&route).unwrap(), body(file), "{file}: ours differs from Java's");
        }
    }
    let cluster: ClusterInfo = read("cluster_info_response_broker550_json");
    assert_eq!(cluster.broker_addr_table["broker-a"].broker_addrs[&0], "127.0.0.1:29911");
    assert!(cluster.cluster_addr_table["DefaultCluster"].contains("broker-a"));
}

#[test]
fn registrations_of_both_versions_are_understood_and_their_checksum_is_right() {
    for (file, topics, timestamp) in [
        ("register_broker_request_broker497_json", 8, Some(1_795_283_489_416)),
        ("register_broker_request_broker497_binary", 8, None),
        ("register_broker_request_broker550_json", 15, Some(1_795_283_057_874)),
        ("register_broker_request_broker550_binary", 15, None),
        ("register_broker_increment_request_broker550_json", 1, Some(1_795_283_067_549)),
        ("register_broker_increment_request_broker550_binary", 1, None),
    ] {
        let bytes = bytes(&format!("{file}.bin"));
        let (frame, header) = open(&bytes);
        assert_eq!(header.fields.number("bodyCrc32"), Some(record::body_crc(frame.body)), "{file}");
        let table = read::<RegisterBrokerBody>(file).topic_config_serialize_wrapper;
        assert_eq!(table.topic_config_table.len(), topics, "{file}");
        assert_eq!(table.data_version.counter, i64::from(topics == 1), "{file}");
        assert_eq!(table.data_version.state_version, 0);
        if let Some(timestamp) = timestamp {
            assert_eq!(table.data_version.timestamp, timestamp, "{file}");
        }
        for (name, config) in &table.topic_config_table {
            assert_eq!(&config.topic_name, name);
        }
        match topics {
            1 => assert_eq!(table.topic_config_table["GoldJ5"], TopicConfig::new("GoldJ5", 1, 6)),
            _ => assert_eq!(table.topic_config_table["TBW102"], TopicConfig::new("TBW102", 8, 7)),
        }
    }
}

#[test]
fn offset_tables_keyed_by_queues_are_read_and_written_in_the_loose_form() {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Table {
        offset_table: BTreeMap<String, i64>,
    }
    for (file, topic) in [
        ("reset_client_offset_request_broker497_json", "GoldJ4"),
        ("reset_offset_response_broker497_json", "GoldJ4"),
        ("reset_offset_response_broker550_json", "GoldJ5"),
        ("reset_offset_response_broker550_binary", "GoldJ5"),
    ] {
        let table: Table = read(file);
        let (key, offset) = table.offset_table.first_key_value().unwrap();
        assert_eq!(serde_json::from_str::<MessageQueue>(key).unwrap(), queue(topic), "{file}");
        assert_eq!(*offset, 0);
        let ours = loose_json::write_object_keyed([(queue(topic), 0)]).unwrap();
        assert_eq!(format!("{{\"offsetTable\":{ours}}}").as_bytes(), body(file), "{file}");
    }
}
