//! A second reader of a store's files, written from `docs/formats.md` alone.
//!
//! It shares no line with `store` or `wire`, so that a mistake there is not repeated here: what the store says it
//! holds is compared with what somebody else finds in its files. It is for tests: it reads everything into memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: [u32; 2] = [0xDAA3_20A7, 0xDAA3_20AB];
const MAGIC_BLANK: u32 = 0xCBD4_3194;
const FILLER_SIZE: u32 = 0x7FFF_FFFF;
const ENTRY_BYTES: usize = 20;
const BATCH_ENTRY_BYTES: usize = 46;

/// The files of a store that was not running when they were read.
#[derive(Debug, Default)]
pub struct StoreFiles {
    segments: BTreeMap<u64, Vec<u8>>,
    queues: BTreeMap<QueueName, BTreeMap<u64, Vec<u8>>>,
    batch_queues: BTreeMap<QueueName, BTreeMap<u64, Vec<u8>>>,
    /// Topics that have batch queues, by the broker's configuration.
    batch_topics: BTreeSet<String>,
    extensions: BTreeMap<QueueName, BTreeMap<u64, Vec<u8>>>,
    index: Vec<Vec<u8>>,
}

/// Topic and number.
pub type QueueName = (String, u32);

/// What the log holds.
#[derive(Debug, Default)]
pub struct Log {
    /// By physical offset.
    pub records: BTreeMap<u64, LogRecord>,
    /// Where the first segment begins.
    pub from: u64,
    /// Behind the last record.
    pub end: u64,
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Bytes of the whole record.
    pub size: u32,
    /// Its topic.
    pub topic: String,
    /// Its queue.
    pub queue: u32,
    /// Its place in the queue.
    pub queue_offset: u64,
    /// See the table of `docs/formats.md`.
    pub sys_flag: u32,
    /// The broker's clock.
    pub store_time: i64,
    /// Its body.
    pub body: Vec<u8>,
    /// Names and values.
    pub properties: Vec<(String, String)>,
}

impl LogRecord {
    fn property(&self, name: &str) -> &str {
        self.properties.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    fn is_queued(&self) -> bool {
        matches!(self.sys_flag & 0xC, 0 | 0x8)
    }

    /// The queues that name this record, with its number in each: its own, and light ones.
    fn places(&self) -> impl Iterator<Item = (QueueName, u64)> {
        let own = ((self.topic.clone(), self.queue), self.queue_offset);
        let offsets = self.property("INNER_MULTI_QUEUE_OFFSET").split(',').map(str::parse);
        let light = self.property("INNER_MULTI_DISPATCH").split(',').zip(offsets);
        let light = light.filter_map(|(name, offset)| Some(((name.to_owned(), 0), offset.ok()?)));
        std::iter::once(own).chain(light)
    }

    /// Hashes under which the index must know this record.
    fn index_hashes(&self) -> BTreeSet<u32> {
        let mut keys: Vec<String> =
            self.property("KEYS").split(' ').filter(|key| !key.is_empty()).map(str::to_owned).collect();
        let unique = self.property("UNIQ_KEY");
        let tags = self.property("TAGS");
        keys.extend((!unique.is_empty()).then(|| unique.to_owned()));
        keys.extend((!tags.is_empty()).then(|| format!("T#{tags}")));
        keys.iter()
            .map(|key| java_hash(&format!("{}#{key}", self.topic)).checked_abs().unwrap_or(0) as u32)
            .collect()
    }
}

/// The entries of a queue.
#[derive(Debug, Default)]
pub struct QueueEntries {
    /// Number of the first entry of the first file.
    pub first: u64,
    /// Physical offset, size and tags code; `None` for fillers.
    pub entries: Vec<Option<(u64, u32, i64)>>,
}

impl QueueEntries {
    fn at(&self, number: u64) -> Option<(u64, u32, i64)> {
        let place = number.checked_sub(self.first)?;
        *self.entries.get(place as usize)?
    }
}

impl StoreFiles {
    /// From the files of a simulated disk.
    pub fn of(files: &BTreeMap<PathBuf, Vec<u8>>, root: &Path) -> Result<StoreFiles, String> {
        let mut found = StoreFiles::default();
        for (path, bytes) in files {
            let Ok(below) = path.strip_prefix(root) else { continue };
            let names: Vec<_> = below.iter().map(|name| name.to_string_lossy().into_owned()).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            found.add(&names, bytes.clone()).map_err(|reason| format!("{}: {reason}", path.display()))?;
        }
        Ok(found)
    }

    /// From a directory of this machine; of the log only segments that end behind `log_from`.
    pub fn read(root: &Path, log_from: u64) -> io::Result<StoreFiles> {
        let mut found = StoreFiles::default();
        for segment in sorted(&root.join("commitlog"))? {
            let name = segment.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let len = segment.metadata()?.len();
            if number(&name).is_ok_and(|base| base + len > log_from) {
                found.segments.insert(number(&name).map_err(io::Error::other)?, std::fs::read(&segment)?);
            }
        }
        let mut topics = sorted(&root.join("consumequeue"))?;
        if root.join("consumequeue_ext").exists() {
            topics.extend(sorted(&root.join("consumequeue_ext"))?);
        }
        for topic in topics.iter().filter(|path| path.is_dir()) {
            for queue in sorted(topic)? {
                for file in sorted(&queue)? {
                    let below = file.strip_prefix(root).map_err(io::Error::other)?;
                    let names: Vec<_> = below.iter().map(|name| name.to_string_lossy()).collect();
                    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
                    found.add(&names, std::fs::read(&file)?).map_err(io::Error::other)?;
                }
            }
        }
        Ok(found)
    }

    fn add(&mut self, names: &[&str], bytes: Vec<u8>) -> Result<(), String> {
        match names {
            ["commitlog", base] => {
                self.segments.insert(number(base)?, bytes);
            }
            ["consumequeue", topic, queue, base] => {
                let queue = queue.parse().map_err(|_| "no number of a queue")?;
                let files = self.queues.entry(((*topic).to_owned(), queue)).or_default();
                files.insert(number(base)?, bytes);
            }
            ["batchconsumequeue", topic, queue, base] => {
                let queue = queue.parse().map_err(|_| "no number of a queue")?;
                let files = self.batch_queues.entry(((*topic).to_owned(), queue)).or_default();
                files.insert(number(base)?, bytes);
            }
            ["config", "topics.json"] => self.batch_topics = batch_topics(&String::from_utf8_lossy(&bytes)),
            ["consumequeue_ext", topic, queue, base] => {
                let queue = queue.parse().map_err(|_| "no number of a queue")?;
                let files = self.extensions.entry(((*topic).to_owned(), queue)).or_default();
                files.insert(number(base)?, bytes);
            }
            ["index", _] => self.index.push(bytes),
            _ => {}
        }
        Ok(())
    }

    /// Reads the log up to where no valid record follows.
    pub fn log(&self) -> Result<Log, String> {
        let from = self.segments.keys().next().copied().unwrap_or(0);
        let mut log = Log { from, end: from, ..Log::default() };
        for (base, bytes) in &self.segments {
            if *base != log.end {
                // The log ended within the segment before; nothing valid may stand in later ones.
                return match record(bytes, *base, *base) {
                    Ok(_) => Err(format!("the log ends at {} and goes on at {base}", log.end)),
                    Err(_) => Ok(log),
                };
            }
            while log.end < base + bytes.len() as u64 {
                let rest = &bytes[(log.end - base) as usize..];
                if int(rest, 4) == Some(MAGIC_BLANK) && int(rest, 0) == Some(rest.len() as u32) {
                    log.end = base + bytes.len() as u64;
                    break;
                }
                let Ok(record) = record(rest, log.end, *base) else { break };
                let offset = log.end;
                log.end += u64::from(record.size);
                log.records.insert(offset, record);
            }
        }
        Ok(log)
    }

    /// Reads all queues.
    pub fn queues(&self) -> Result<BTreeMap<QueueName, QueueEntries>, String> {
        let mut queues = BTreeMap::new();
        for (name, files) in &self.queues {
            let queue = entries(files).map_err(|reason| format!("queue {name:?}: {reason}"))?;
            queues.insert(name.clone(), queue);
        }
        Ok(queues)
    }

    /// Compares queues and log: each entry that points into the log names the record that says the same of itself, and
    /// each record has its entry, but for topics that `has_no_queue` names.
    pub fn compare_queues(&self, log: &Log, has_no_queue: impl Fn(&LogRecord) -> bool) -> Result<(), String> {
        self.compare_batch_queues(log, &has_no_queue)?;
        let queues = self.queues()?;
        for (name, queue) in &queues {
            for (entry, number) in queue.entries.iter().zip(queue.first..) {
                if let Some(entry) = entry.filter(|entry| entry.0 >= log.from) {
                    self.compare_entry(log, name, number, entry)
                        .map_err(|reason| format!("{name:?} {number}: {reason}"))?;
                }
            }
        }
        for (offset, record) in log.records.iter().filter(|(_, record)| record.is_queued()) {
            for (name, number) in record.places().filter(|(name, _)| !self.batch_topics.contains(&name.0)) {
                let entry = queues.get(&name).and_then(|queue| queue.at(number));
                if entry.is_none_or(|entry| entry.0 != *offset) && !has_no_queue(record) {
                    return Err(format!("record at {offset} has no entry {number} in {name:?}: {entry:?}"));
                }
            }
        }
        Ok(())
    }

    /// Compares an entry of a simple queue with the record that it names.
    fn compare_entry(
        &self,
        log: &Log,
        name: &QueueName,
        number: u64,
        entry: (u64, u32, i64),
    ) -> Result<(), String> {
        let (offset, size, tags_code) = entry;
        let record = log.records.get(&offset).ok_or(format!("no record at {offset}"))?;
        let tags = record.property("TAGS");
        let wanted = if tags.is_empty() { 0 } else { i64::from(java_hash(tags)) };
        let found = match position_of(tags_code) {
            None => tags_code,
            Some(position) => self
                .extension(name, position, record.store_time)
                .map_err(|reason| format!("extension at {position}: {reason}"))?,
        };
        let is_its_place = record.places().any(|(place, at)| place == *name && at == number);
        if !is_its_place || (record.size, wanted) != (size, found) {
            return Err(format!("{entry:?} does not fit the record at {offset}"));
        }
        Ok(())
    }

    fn compare_batch_queues(
        &self,
        log: &Log,
        has_no_queue: impl Fn(&LogRecord) -> bool,
    ) -> Result<(), String> {
        let mut known = BTreeSet::new();
        for (name, files) in &self.batch_queues {
            let mut next = 0;
            for entry in batch_entries(files).map_err(|reason| format!("batch queue {name:?}: {reason}"))? {
                if entry.base < next {
                    return Err(format!("{name:?}: {entry:?} begins before {next}"));
                }
                next = entry.base + u64::from(entry.count);
                if entry.offset < log.from {
                    continue;
                }
                let record = log.records.get(&entry.offset);
                let record = record.ok_or(format!("{name:?}: no record for {entry:?}"))?;
                let tags = record.property("TAGS");
                let tags_code = if tags.is_empty() { 0 } else { i64::from(java_hash(tags)) };
                let wanted = BatchEntry {
                    offset: entry.offset,
                    size: record.size,
                    tags_code,
                    store_time: record.store_time,
                    base: record.queue_offset,
                    count: record.property("INNER_NUM").parse().unwrap_or(1),
                };
                if entry != wanted || (&record.topic, record.queue) != (&name.0, name.1) {
                    return Err(format!("{name:?}: {entry:?} does not fit its record, {wanted:?}"));
                }
                known.insert(entry.offset);
            }
        }
        for (offset, record) in log.records.iter().filter(|(_, record)| record.is_queued()) {
            let wanted = self.batch_topics.contains(&record.topic) && !has_no_queue(record);
            if wanted && !known.contains(offset) {
                return Err(format!("record at {offset} has no entry in batch queue {}", record.topic));
            }
        }
        Ok(())
    }

    /// The tags code that an extension holds, whose message was stored at `store_time`.
    fn extension(&self, name: &QueueName, position: u64, store_time: i64) -> Result<i64, &'static str> {
        let files = self.extensions.get(name).ok_or("no files")?;
        let (base, bytes) = files.range(..=position).next_back().ok_or("no file")?;
        let unit = bytes.get((position - base) as usize..).ok_or("behind its file")?;
        let short = |at: usize| Some(u16::from_be_bytes(*unit.get(at..)?.first_chunk()?));
        let size = short(0).ok_or("short")?;
        if !(20..=0x7FFF).contains(&size)
            || short(18) != Some(size - 20)
            || unit.len() < usize::from(size) + 4
        {
            return Err("no extension");
        }
        if long(unit, 10) != Some(store_time as u64) {
            return Err("that of another message");
        }
        long(unit, 2).map(|code| code as i64).ok_or("short")
    }

    /// Compares index and log, after a clean stop: each key of each record leads to it, and nothing else is indexed.
    pub fn compare_index(&self, log: &Log, slots: u32) -> Result<(), String> {
        let mut known = BTreeSet::new();
        for bytes in &self.index {
            for slot in 0..slots {
                let mut at = int(bytes, 40 + 4 * slot as usize).ok_or("an index file is short")?;
                while at > 0 {
                    let entry = 40 + 4 * slots as usize + 20 * at as usize;
                    let hash = int(bytes, entry).ok_or("an index entry is outside of its file")?;
                    let offset = long(bytes, entry + 4).unwrap_or_default();
                    let older = int(bytes, entry + 16).unwrap_or_default();
                    if hash % slots != slot || older >= at {
                        return Err(format!("index entry {at} stands in the wrong chain"));
                    }
                    known.insert((offset, hash));
                    at = older;
                }
            }
        }
        let records = log.records.iter().filter(|(_, record)| record.sys_flag & 0xC != 0xC);
        let wanted: BTreeSet<_> = records
            .flat_map(|(offset, record)| record.index_hashes().into_iter().map(|hash| (*offset, hash)))
            .collect();
        let known: BTreeSet<_> = known.into_iter().filter(|(offset, _)| *offset >= log.from).collect();
        match known.symmetric_difference(&wanted).next() {
            Some((offset, hash)) if wanted.contains(&(*offset, *hash)) => {
                Err(format!("a key of the record at {offset} is not in the index"))
            }
            Some((offset, _)) => Err(format!("the index has a key that nothing at {offset} has")),
            None => Ok(()),
        }
    }
}

/// Where the extension is whose address stands in the place of a tags code.
fn position_of(tags_code: i64) -> Option<u64> {
    (tags_code < i64::from(i32::MIN)).then_some((tags_code as u64) ^ (1 << 63))
}

/// The record that begins `bytes` and should stand at `offset`.
fn record(bytes: &[u8], offset: u64, base: u64) -> Result<LogRecord, &'static str> {
    let size = int(bytes, 0).ok_or("short")?;
    let wide = match int(bytes, 4).ok_or("short")? {
        magic if magic == MAGIC[0] => 1,
        magic if magic == MAGIC[1] => 2,
        _ => return Err("magic"),
    };
    let bytes = bytes.get(..size as usize).ok_or("longer than its segment")?;
    let sys_flag = int(bytes, 36).ok_or("short")?;
    let born = if sys_flag & 0x10 == 0 { 8 } else { 20 };
    let host = if sys_flag & 0x20 == 0 { 8 } else { 20 };
    let mut at = 68 + born + host;
    let mut part = |length_bytes: usize| -> Result<&[u8], &'static str> {
        let length = bytes.get(at..at + length_bytes).ok_or("short")?;
        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let content = bytes.get(at + length_bytes..at + length_bytes + length).ok_or("short")?;
        at += length_bytes + length;
        Ok(content)
    };
    let (body, topic, properties) = (part(4)?, part(wide)?, part(2)?);
    if at != size as usize {
        return Err("lengths");
    }
    if long(bytes, 28) != Some(offset) || offset < base {
        return Err("place");
    }
    if int(bytes, 8) != Some(crc32(body) & 0x7FFF_FFFF) {
        return Err("CRC");
    }
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| "text");
    let properties = text(properties)?;
    let properties = properties.split('\u{2}').filter_map(|pair| pair.split_once('\u{1}'));
    Ok(LogRecord {
        size,
        topic: text(topic)?,
        queue: int(bytes, 12).ok_or("short")?,
        queue_offset: long(bytes, 20).ok_or("short")?,
        sys_flag,
        store_time: long(bytes, 48 + born).ok_or("short")? as i64,
        body: body.to_vec(),
        properties: properties.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    })
}

fn entries(files: &BTreeMap<u64, Vec<u8>>) -> Result<QueueEntries, String> {
    let Some(base) = files.keys().next() else { return Ok(QueueEntries::default()) };
    let mut queue = QueueEntries { first: base / ENTRY_BYTES as u64, entries: Vec::new() };
    let mut ended = false;
    let mut next = *base;
    for (base, bytes) in files {
        if *base != next {
            return Err(format!("there is no file {next:020}"));
        }
        next += bytes.len() as u64;
        for entry in bytes.chunks_exact(ENTRY_BYTES) {
            let (offset, size) = (long(entry, 0).unwrap_or_default(), int(entry, 8).unwrap_or_default());
            if ended && entry.iter().any(|byte| *byte != 0) {
                return Err(format!("something stands behind its end, entry {}", queue.entries.len()));
            }
            ended |= size == 0;
            if !ended {
                let filler = offset == 0 && size == FILLER_SIZE;
                let tags_code = long(entry, 12).unwrap_or_default() as i64;
                queue.entries.push((!filler).then_some((offset, size, tags_code)));
            }
        }
    }
    Ok(queue)
}

/// An entry of a batch queue.
#[derive(Debug, PartialEq, Eq)]
struct BatchEntry {
    offset: u64,
    size: u32,
    tags_code: i64,
    store_time: i64,
    base: u64,
    count: u16,
}

fn batch_entries(files: &BTreeMap<u64, Vec<u8>>) -> Result<Vec<BatchEntry>, String> {
    let mut entries = Vec::new();
    let mut ended = false;
    for bytes in files.values() {
        for entry in bytes.chunks_exact(BATCH_ENTRY_BYTES) {
            let number = |at| long(entry, at).unwrap_or_default();
            let size = int(entry, 8).unwrap_or_default();
            if ended && entry.iter().any(|byte| *byte != 0) {
                return Err(format!("something stands behind its end, entry {}", entries.len()));
            }
            ended |= size == 0;
            if ended {
                continue;
            }
            if entry[38..] != [255, 255, 255, 255, 0, 0, 0, 0] {
                return Err(format!("entry {} ends with something else", entries.len()));
            }
            entries.push(BatchEntry {
                offset: number(0),
                size,
                tags_code: number(12) as i64,
                store_time: number(20) as i64,
                base: number(28),
                count: u16::from_be_bytes([entry[36], entry[37]]),
            });
        }
    }
    Ok(entries)
}

/// Topics with `queue.type` BatchCQ: attributes stand before the name.
fn batch_topics(text: &str) -> BTreeSet<String> {
    let batch = text.split("\"attributes\"").filter(|topic| topic.contains("\"BatchCQ\""));
    let name = |topic: &str| topic.split("\"topicName\"").nth(1)?.split('"').nth(1).map(str::to_owned);
    batch.filter_map(name).collect()
}

fn sorted(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn number(name: &str) -> Result<u64, String> {
    if name.len() != 20 {
        return Err(format!("{name} is not the name of a segment"));
    }
    name.parse().map_err(|_| format!("{name} is not the name of a segment"))
}

fn int(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// `String.hashCode`.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// CRC-32 as in zlib.
pub fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc_table();
    !bytes.iter().fold(!0, |crc: u32, byte| crc >> 8 ^ TABLE[(crc as u8 ^ byte) as usize])
}

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut number = 0;
    while number < 256 {
        let mut crc = number as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[number] = crc;
        number += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_that_everybody_knows() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(java_hash("TagA"), 2_598_919);
    }
}
