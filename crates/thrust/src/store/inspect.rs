//! `thrust store inspect`.

use ::store::QueueEntry;
use ::store::examine::{Checkpoint, Found, Overview, StoreFiles};
use clap::Args;
use serde_json::{Value, json};
use wire::ids::OffsetId;
use wire::prop_crc;
use wire::properties;
use wire::record::Record;

use super::findings::{Verdict, findings_json, print_findings, tell_line};
use super::place::{CommandError, Place, open_to_look};
use crate::moment::{Times, utc};
use crate::output::message::body_text;
use crate::output::progress::Bar;
use crate::output::screen::cell_of_time;
use crate::output::table::Table;
use crate::output::words::grouped;

/// `thrust store inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    #[command(flatten)]
    pub place: Place,
    /// Count the records of all segments, not only of the last one.
    #[arg(long)]
    pub records: bool,
    /// Show the record that begins at this offset of the log.
    #[arg(long, value_name = "N", conflicts_with = "topic")]
    pub offset: Option<u64>,
    /// Show entries of the queues of a topic.
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Only of this queue.
    #[arg(long, value_name = "N", requires = "topic")]
    pub queue: Option<u32>,
    /// First entry to show [default: the first that is still in the log].
    #[arg(long, value_name = "N", requires = "topic")]
    pub from: Option<u64>,
    /// Entries to show of each queue.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub count: u64,
}

/// Most bytes of a body that are shown.
const SHOWN_BYTES: usize = 256;

pub fn run(args: &InspectArgs) -> Result<Verdict, CommandError> {
    let files = open_to_look(&args.place)?;
    if let Some(offset) = args.offset {
        return show_record(&files, offset, args.place.json);
    }
    if let Some(topic) = &args.topic {
        return show_entries(&files, topic, args);
    }
    let overview = overview(&files, args.records)?;
    if args.place.json {
        tell!("{:#}", overview_json(&overview, &files));
    } else {
        print_overview(&overview, &files);
    }
    Ok(if overview.findings.is_empty() { Verdict::Sound } else { Verdict::Findings })
}

/// A store at a glance; counting the records of all segments may take long.
fn overview(files: &StoreFiles, records: bool) -> Result<Overview, CommandError> {
    let mut bar = Bar::of_bytes("inspect");
    Ok(files.overview(records, &mut |progress| bar.set(progress.done, progress.total))?)
}

fn print_overview(overview: &Overview, files: &StoreFiles) {
    let options = files.options();
    match &overview.abort {
        None => tell_line(&format!("{}: stopped cleanly", options.root.display())),
        Some(pid) => {
            tell_line(&format!("{}: not stopped cleanly, abort says {pid:?}", options.root.display()))
        }
    }
    let (bytes, dir) = (grouped(options.segment_bytes), options.commit_log_dir.display());
    tell_line(&format!("segments of {bytes} bytes in {dir}"));
    tell!();
    print_findings(&overview.findings, &options.root);

    segments(overview).print();
    queues(overview).print();
    compacted_logs(overview).print();
    index_files(overview).print();
    checkpoint(overview).print();
    config_files(overview).print();
}

fn segments(overview: &Overview) -> Table {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let times = Times::new();
    let time = |millis| cell_of_time(&times, millis);
    let mut table = Table::new(&["SEGMENT", "FIRST STORED", "LAST STORED", ">RECORDS", ">USED BYTES"]);
    for segment in &overview.segments {
        table.row([
            format!("{:020}", segment.base),
            or_dash(segment.first_time.map(time)),
            or_dash(segment.last_time.map(time)),
            or_dash(segment.records.map(grouped)),
            or_dash(segment.used.map(grouped)),
        ]);
    }
    table
}

fn queues(overview: &Overview) -> Table {
    let mut table = Table::new(&["TOPIC", ">QUEUE", ">MIN", ">MAX", ">MESSAGES", ">FILES", ">EXT FILES"]);
    for queue in &overview.queues {
        let messages = queue.max.saturating_sub(queue.min);
        let [id, files, ext] = [queue.id.to_string(), queue.files.to_string(), queue.ext_files.to_string()];
        table.row([
            queue.topic.clone(),
            id,
            queue.min.to_string(),
            queue.max.to_string(),
            messages.to_string(),
            files,
            ext,
        ]);
    }
    table
}

fn compacted_logs(overview: &Overview) -> Table {
    let mut table = Table::new(&["COMPACTED TOPIC", ">QUEUE", ">FIRST", ">LAST", ">MESSAGES", ">FILES"]);
    for log in &overview.compacted {
        let [id, first, last] = [u64::from(log.id), log.first, log.last].map(|number| number.to_string());
        table.row([log.topic.clone(), id, first, last, log.messages.to_string(), log.files.to_string()]);
    }
    table
}

fn index_files(overview: &Overview) -> Table {
    let times = Times::new();
    let time = |millis| cell_of_time(&times, millis);
    let mut table = Table::new(&["INDEX FILE", "BEGIN", "END", ">BEGIN PHY", ">END PHY", ">SLOTS", ">COUNT"]);
    for index in &overview.index {
        let name = index.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let header = |value: &dyn Fn(&::store::examine::IndexHeader) -> String| {
            index.header.as_ref().map_or_else(|| "other size".into(), value)
        };
        table.row([
            name,
            header(&|header| time(header.begin_timestamp)),
            header(&|header| time(header.end_timestamp)),
            header(&|header| header.begin_phy_offset.to_string()),
            header(&|header| header.end_phy_offset.to_string()),
            header(&|header| header.hash_slot_count.to_string()),
            header(&|header| header.index_count.to_string()),
        ]);
    }
    table
}

fn checkpoint(overview: &Overview) -> Table {
    let mut table = Table::new(&["CHECKPOINT", ">VALUE", "MEANS"]);
    for (name, value, meaning) in overview.checkpoint.iter().flat_map(checkpoint_fields) {
        table.row([name.into(), value.to_string(), meaning]);
    }
    table
}

fn config_files(overview: &Overview) -> Table {
    let mut table = Table::new(&["CONFIG FILE", ">BYTES", "STATE"]);
    for file in &overview.config {
        table.row([file.name.clone(), file.bytes.to_string(), file.state.unwrap_or("-").into()]);
    }
    table
}

/// Java's names, and ours behind them.
fn checkpoint_fields(checkpoint: &Checkpoint) -> Vec<(&'static str, i64, String)> {
    let at = |millis: i64| if millis == 0 { "never".to_owned() } else { Times::new().told(millis) };
    let mut fields = vec![
        ("physicMsgTimestamp", checkpoint.physic_timestamp, at(checkpoint.physic_timestamp)),
        ("logicsMsgTimestamp", checkpoint.logics_timestamp, at(checkpoint.logics_timestamp)),
        ("indexMsgTimestamp", checkpoint.index_timestamp, at(checkpoint.index_timestamp)),
        ("masterFlushedOffset", checkpoint.master_flushed, String::new()),
        ("confirmPhyOffset", checkpoint.confirm, String::new()),
        (
            "logicsPhysicalOffset",
            checkpoint.logics_offset,
            "queue entries of records before are durable".into(),
        ),
    ];
    if let Some(own) = &checkpoint.own {
        fields.extend([
            ("flushed", own.flushed as i64, "ours: the log is durable up to here".into()),
            (
                "written",
                own.written.position as i64,
                "ours: queue entries of records before are in files".into(),
            ),
            ("durable", own.durable.position as i64, "ours: and durable".into()),
            ("entries", own.durable.entries as i64, "ours: so many of them".into()),
            ("index", own.index as i64, "ours: index files of records before are durable".into()),
        ]);
        if let Some(mark) = own.index_mark {
            let meaning = "ours: so are these records' entries in the next index file";
            fields.push(("indexMark", mark.position as i64, meaning.into()));
        }
    }
    fields
}

fn overview_json(overview: &Overview, files: &StoreFiles) -> Value {
    let segments = overview.segments.iter().map(|segment| {
        json!({
            "base": segment.base, "bytes": segment.bytes, "used": segment.used, "records": segment.records,
            "firstStoreTimestamp": segment.first_time, "lastStoreTimestamp": segment.last_time,
        })
    });
    let queues = overview.queues.iter().map(|queue| {
        json!({
            "topic": queue.topic, "queueId": queue.id, "minOffset": queue.min, "maxOffset": queue.max,
            "files": queue.files, "extFiles": queue.ext_files,
        })
    });
    let compacted = overview.compacted.iter().map(|log| {
        json!({
            "topic": log.topic, "queueId": log.id, "firstOffset": log.first, "lastOffset": log.last,
            "messages": log.messages, "files": log.files,
        })
    });
    let index = overview.index.iter().map(|index| {
        let header = index.header.map(|header| {
            json!({
                "beginTimestamp": header.begin_timestamp, "endTimestamp": header.end_timestamp,
                "beginPhyOffset": header.begin_phy_offset, "endPhyOffset": header.end_phy_offset,
                "hashSlotCount": header.hash_slot_count, "indexCount": header.index_count,
            })
        });
        json!({ "path": index.path, "header": header })
    });
    let checkpoint = overview.checkpoint.as_ref().map(|checkpoint| {
        let fields = checkpoint_fields(checkpoint).into_iter();
        Value::Object(fields.map(|(name, value, _)| (name.to_owned(), json!(value))).collect())
    });
    let config = overview
        .config
        .iter()
        .map(|file| json!({ "name": file.name, "bytes": file.bytes, "state": file.state }));
    let mut all = findings_json(&overview.findings);
    all["storePathRootDir"] = json!(files.options().root);
    all["mappedFileSizeCommitLog"] = json!(files.options().segment_bytes);
    all["clean"] = json!(overview.abort.is_none());
    all["segments"] = segments.collect();
    all["queues"] = queues.collect();
    all["compactionLogs"] = compacted.collect();
    all["index"] = index.collect();
    all["checkpoint"] = json!(checkpoint);
    all["config"] = config.collect();
    all
}

fn show_record(files: &StoreFiles, offset: u64, json: bool) -> Result<Verdict, CommandError> {
    let bytes = match files.look_at(offset)? {
        Found::Record(bytes) => bytes,
        Found::Blank { next } => {
            match json {
                true => tell!("{:#}", json!({ "physicalOffset": offset, "next": next })),
                false => tell!("at {offset} the segment ends; the log goes on at {next}"),
            }
            return Ok(Verdict::Sound);
        }
        Found::Bad(reason) => {
            match json {
                true => tell!("{:#}", json!({ "physicalOffset": offset, "error": reason })),
                false => tell!("at {offset} begins no record: {reason}"),
            }
            return Ok(Verdict::Findings);
        }
        Found::Nothing => {
            return Err(CommandError::Arguments(format!("no segment of the log holds offset {offset}")));
        }
    };
    let record = Record::parse(&bytes).map_err(|error| CommandError::Arguments(error.to_string()))?;
    if json {
        tell!("{:#}", record_json(&record));
    } else {
        for (name, value) in record_fields(&record) {
            match value {
                Value::String(text) => tell!("{name:<26} {text}"),
                Value::Object(entries) => entries.iter().for_each(|(key, value)| {
                    tell!("{name:<26} {key} = {}", value.as_str().unwrap_or_default());
                }),
                other => tell!("{name:<26} {other}"),
            }
        }
    }
    let sound =
        record.verify_crc().is_ok() && (!prop_crc::is_sealed(&bytes) || prop_crc::verify(&bytes).is_ok());
    Ok(if sound { Verdict::Sound } else { Verdict::Findings })
}

fn offset_id(record: &Record<'_>) -> String {
    let mut id = Vec::new();
    OffsetId { store_host: record.store_host, offset: record.physical_offset as u64 }.write(&mut id);
    String::from_utf8_lossy(&id).into_owned()
}

fn state(result: Result<(), wire::record::RecordError>) -> String {
    result.map_or_else(|error| error.to_string(), |()| "agrees".to_owned())
}

/// Whether the CRC of the whole record agrees, if it has one.
fn record_crc(record: &Record<'_>) -> String {
    match prop_crc::is_sealed(record.bytes) {
        true => state(prop_crc::verify(record.bytes)),
        false => "none".to_owned(),
    }
}

fn record_properties(record: &Record<'_>) -> Value {
    let all = properties::iter(record.properties).map(|(name, value)| (name.to_owned(), json!(value)));
    Value::Object(all.collect())
}

/// A record for machines.
fn record_json(record: &Record<'_>) -> Value {
    let (body, encoding) = body_text(record.body);
    json!({
        "physicalOffset": record.physical_offset,
        "totalSize": record.bytes.len(),
        "magic": format!("{:08x}", record.magic),
        "bodyCrc": format!("{:08x}", record.body_crc),
        "bodyCrcError": record.verify_crc().err().map(|error| error.to_string()),
        "recordCrc": record_crc(record),
        "queueId": record.queue_id,
        "queueOffset": record.queue_offset,
        "flag": record.flag,
        "sysFlag": record.sys_flag,
        "bornMs": record.born_timestamp,
        "bornHost": record.born_host.to_string(),
        "storedMs": record.store_timestamp,
        "storeHost": record.store_host.to_string(),
        "reconsumeTimes": record.reconsume_times,
        "preparedTransactionOffset": record.prepared_transaction_offset,
        "topic": record.topic,
        "properties": record_properties(record),
        "offsetId": offset_id(record),
        "bodyLength": record.body.len(),
        "body": body,
        "bodyEncoding": encoding,
    })
}

/// All fields with Java's names, in the order in which they stand in the record.
fn record_fields(record: &Record<'_>) -> Vec<(&'static str, Value)> {
    let times = Times::new();
    let time = |millis: i64| format!("{millis} {}", times.told(millis));
    let shown = &record.body[..record.body.len().min(SHOWN_BYTES)];
    vec![
        ("totalSize", json!(record.bytes.len())),
        ("magic", json!(format!("{:08x}", record.magic))),
        ("bodyCRC", json!(format!("{:08x}, {}", record.body_crc, state(record.verify_crc())))),
        ("queueId", json!(record.queue_id)),
        ("flag", json!(record.flag)),
        ("queueOffset", json!(record.queue_offset)),
        ("physicalOffset", json!(record.physical_offset)),
        ("sysFlag", json!(record.sys_flag)),
        ("bornTimestamp", json!(time(record.born_timestamp))),
        ("bornHost", json!(record.born_host.to_string())),
        ("storeTimestamp", json!(time(record.store_timestamp))),
        ("storeHost", json!(record.store_host.to_string())),
        ("reconsumeTimes", json!(record.reconsume_times)),
        ("preparedTransactionOffset", json!(record.prepared_transaction_offset)),
        ("topic", json!(record.topic)),
        ("properties", record_properties(record)),
        ("CRC of the whole record", json!(record_crc(record))),
        ("offsetMsgId", json!(offset_id(record))),
        ("bodyLength", json!(record.body.len())),
        ("body", json!(printable(shown))),
    ]
}

/// Text with everything that a terminal would act on taken out.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() || c == char::REPLACEMENT_CHARACTER { '.' } else { c }).collect()
}

fn show_entries(files: &StoreFiles, topic: &str, args: &InspectArgs) -> Result<Verdict, CommandError> {
    let mut table = Table::new(&[
        ">QUEUE",
        ">OFFSET",
        ">PHYSICAL OFFSET",
        ">SIZE",
        ">TAGS CODE",
        "STORED",
        "KEYS",
        "TAGS",
    ]);
    let mut rows = Vec::new();
    let times = Times::new();
    for id in queues_of(files, topic, args.queue)? {
        for (number, entry) in files.entries(topic, id, args.from, args.count)?.unwrap_or_default() {
            let described = entry.map(|entry| describe(files, &entry)).transpose()?;
            let Described { stored_ms, stored, keys, tags } =
                described.unwrap_or_else(|| Described::nothing("empty"));
            let QueueEntry { physical_offset, size, tags_code } =
                entry.unwrap_or(QueueEntry { physical_offset: 0, size: 0, tags_code: 0 });
            let extension = entry.and_then(|entry| entry.extension_position());
            rows.push(json!({
                "queueId": id, "queueOffset": number, "physicalOffset": physical_offset, "size": size,
                "tagsCode": tags_code, "extPosition": extension, "stored": stored, "storedMs": stored_ms,
                "keys": keys, "tags": tags,
            }));
            table.row([
                id.to_string(),
                number.to_string(),
                physical_offset.to_string(),
                size.to_string(),
                extension.map_or_else(|| tags_code.to_string(), |position| format!("ext at {position}")),
                stored_ms.map_or(stored, |stored_ms| cell_of_time(&times, stored_ms)),
                keys,
                tags,
            ]);
        }
    }
    if args.place.json {
        tell!("{:#}", Value::Array(rows));
    } else {
        table.print();
    }
    Ok(Verdict::Sound)
}

/// Numbers of the queues of a topic that were asked for and have files.
fn queues_of(files: &StoreFiles, topic: &str, wanted: Option<u32>) -> Result<Vec<u32>, CommandError> {
    let overview = overview(files, false)?;
    let ids = overview.queues.iter().filter(|queue| queue.topic == topic).map(|queue| queue.id);
    let ids: Vec<u32> = ids.filter(|id| wanted.is_none_or(|queue| queue == *id)).collect();
    if ids.is_empty() {
        let what = match wanted {
            Some(queue) => format!("queue {queue} of topic {topic:?}"),
            None => format!("topic {topic:?}"),
        };
        return Err(CommandError::Arguments(format!("there are no files of {what}")));
    }
    Ok(ids)
}

/// The record that an entry leads to.
struct Described {
    stored_ms: Option<i64>,
    /// When it was stored, or why that is not known.
    stored: String,
    keys: String,
    tags: String,
}

impl Described {
    fn nothing(why: &str) -> Described {
        Described { stored_ms: None, stored: why.to_owned(), keys: String::new(), tags: String::new() }
    }
}

fn describe(files: &StoreFiles, entry: &QueueEntry) -> Result<Described, CommandError> {
    if entry.physical_offset == 0 && entry.size == i32::MAX as u32 {
        return Ok(Described::nothing("filler"));
    }
    let Found::Record(bytes) = files.look_at(entry.physical_offset)? else {
        return Ok(Described::nothing("no record"));
    };
    let Ok(record) = Record::parse(&bytes) else { return Ok(Described::nothing("no record")) };
    let property = |name| record.property(name).unwrap_or_default().to_owned();
    Ok(Described {
        stored_ms: Some(record.store_timestamp),
        stored: utc(record.store_timestamp),
        keys: property(properties::KEYS),
        tags: property(properties::TAGS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_does_nothing_to_the_terminal() {
        assert_eq!(printable("grüße\x1b[2J\n\0".as_bytes()), "grüße.[2J..");
        assert_eq!(printable(&[0xFF, b'a']), ".a");
    }
}
