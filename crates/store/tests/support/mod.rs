//! A store on a simulated disk, small enough that a test sees segments roll.
#![allow(dead_code, reason = "each test uses a part of this")]

use std::path::Path;
use std::sync::Arc;

use sim::{SimClock, SimDisk};
use store::{
    AppendError, Appended, Batch, Bitmaps, Clock, Disk, Extension, FlushMode, MessageFilter, Options, Queue,
    ReadLimits, ReadStatus, Store, StoreError,
};
use wire::hash;
use wire::properties;
use wire::record::{Message, Record};

pub const ROOT: &str = "/store";

/// Small segments everywhere.
pub fn small_options() -> Options {
    Options {
        segment_bytes: 16 * 1024,
        queue_segment_entries: 40,
        batch_queue_segment_entries: 30,
        index_slots: 50,
        index_entries: 150,
        index_mark_bytes: 2000,
        in_memory_bytes: 1 << 30,
        queue_journal_queues_min: 0,
        ..Options::new(ROOT)
    }
}

pub fn sync_options() -> Options {
    let timeout = std::time::Duration::from_secs(5);
    Options { flush: FlushMode::Sync { timeout }, ..small_options() }
}

/// A disk and a clock, and the options of the store on them.
pub struct World {
    pub disk: SimDisk,
    pub clock: SimClock,
    pub options: Options,
}

impl World {
    pub fn new(options: Options) -> World {
        let clock = SimClock::default();
        World { disk: SimDisk::new(clock.clone()), clock, options }
    }

    pub fn try_open(&self) -> Result<Arc<Store>, StoreError> {
        open_on(Arc::new(self.disk.clone()), Arc::new(self.clock.clone()), self.options.clone())
    }

    pub fn open(&self) -> Arc<Store> {
        self.try_open().expect("the store opens")
    }

    pub fn path(&self, below: &str) -> std::path::PathBuf {
        Path::new(ROOT).join(below)
    }
}

pub fn open_on(
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    options: Options,
) -> Result<Arc<Store>, StoreError> {
    Store::open(disk, clock, options, Arc::new(|_| {}))
}

/// What a test sends; everything else about the message is fixed.
#[derive(Debug, Clone, Default)]
pub struct Letter {
    pub topic: String,
    pub queue: u32,
    pub body: Vec<u8>,
    pub keys: String,
    pub tags: String,
    pub delay: String,
    pub sys_flag: i32,
    /// Messages of an inner batch; 0 for a message that is none.
    pub inner: u16,
    /// Light queues that name it too, comma-separated.
    pub light: String,
}

/// Writes a broker's configuration in which these topics have batch queues, so that a store finds it.
pub fn configure_batch_topics(disk: &dyn Disk, topics: &[&str]) {
    let entries = topics.iter().map(|topic| {
        format!("\"{topic}\":{{\"attributes\":{{\"queue.type\":\"BatchCQ\"}},\"topicName\":\"{topic}\"}}")
    });
    let table = entries.collect::<Vec<_>>().join(",");
    let path = Path::new(ROOT).join("config/topics.json");
    let text = format!("{{\"topicConfigTable\":{{{table}}}}}");
    store::config_file::save(disk, &path, text.as_bytes()).expect("a configuration");
}

pub fn letter(topic: &str, queue: u32, body: &str) -> Letter {
    Letter { topic: topic.into(), queue, body: body.into(), ..Letter::default() }
}

impl Letter {
    pub fn keyed(mut self, keys: &str) -> Letter {
        self.keys = keys.into();
        self
    }

    pub fn tagged(mut self, tags: &str) -> Letter {
        self.tags = tags.into();
        self
    }

    /// Of so many messages, in one record.
    pub fn inner_batch(mut self, count: u16) -> Letter {
        self.inner = count;
        self
    }

    /// Put into these light queues too.
    pub fn also_in(mut self, light: &str) -> Letter {
        self.light = light.into();
        self
    }

    /// Queue offsets that it takes.
    pub fn offsets(&self) -> u64 {
        u64::from(self.inner.max(1))
    }

    pub fn push_to(&self, store: &Store, batch: &mut Batch) -> usize {
        let mut text = Vec::new();
        properties::push(&mut text, properties::KEYS, &self.keys);
        properties::push(&mut text, properties::TAGS, &self.tags);
        properties::push(&mut text, properties::DELAY, &self.delay);
        properties::push(&mut text, properties::INNER_MULTI_DISPATCH, &self.light);
        if self.inner > 0 {
            properties::push(&mut text, properties::INNER_NUM, &self.inner.to_string());
        }
        let message = Message {
            topic: &self.topic,
            queue_id: self.queue,
            flag: 0,
            sys_flag: self.sys_flag | if self.inner > 0 { 0xC0 } else { 0 },
            born_timestamp: 1,
            born_host: "127.0.0.1:1000".parse().unwrap(),
            store_host: "127.0.0.1:10911".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &self.body,
            properties: &text,
        };
        let queue = store.queue(&self.topic, self.queue);
        let tags_code = hash::tags_code(Some(&self.tags));
        match self.inner {
            0 => batch.push(&queue, &message, tags_code).unwrap(),
            count => batch.push_inner_batch(&queue, &message, tags_code, count).unwrap(),
        }
    }
}

pub fn send(store: &Store, letter: &Letter) -> Result<Appended, AppendError> {
    send_all(store, std::slice::from_ref(letter)).map(|appended| appended[0])
}

pub fn send_all(store: &Store, letters: &[Letter]) -> Result<Vec<Appended>, AppendError> {
    let mut batch = Batch::default();
    for letter in letters {
        letter.push_to(store, &mut batch);
    }
    store.append(&mut batch)?;
    Ok((0..letters.len()).map(|i| batch.appended(i)).collect())
}

/// One message as a consumer gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub queue_offset: i64,
    pub physical_offset: i64,
    pub body: Vec<u8>,
}

/// Reads a queue from its beginning to its end, as a consumer does, checking every record on the way.
pub fn read_queue(store: &Store, queue: &Queue) -> Vec<Got> {
    let mut got = Vec::new();
    let mut offset = queue.min_offset() as i64;
    loop {
        let limits = ReadLimits { max_count: 32, max_bytes: 1 << 20 };
        let result = store.read(queue, offset, limits, &mut |_| true).expect("reading works");
        match result.status {
            ReadStatus::Found => {}
            ReadStatus::OffsetOverflowOne | ReadStatus::NoMessageInQueue => return got,
            other => panic!("{queue:?}: {other:?} at {offset}"),
        }
        let mut body = Vec::new();
        result.records.copy_to(&mut body).unwrap();
        let mut rest = &body[..];
        let mut next = offset;
        while !rest.is_empty() {
            let record = Record::parse(rest).expect("a record");
            record.verify_crc().expect("its CRC");
            if wire::names::is_light(queue.topic()) {
                assert_eq!(light_offset(&record, queue.topic()), Some(next), "{queue:?}");
            } else {
                assert_eq!(record.topic, &**queue.topic());
                assert_eq!(record.queue_id, queue.id());
                assert_eq!(record.queue_offset, next, "{queue:?}");
            }
            let wrapped = queue.kind() == store::QueueKind::Batch;
            let count = record
                .property(properties::INNER_NUM)
                .filter(|_| wrapped)
                .map_or(1, |count| count.parse().unwrap());
            if count > 1 {
                let base = record.property(properties::INNER_BASE).map(|base| base.parse());
                assert_eq!(base, Some(Ok(record.queue_offset)));
            }
            next += count;
            got.push(Got {
                queue_offset: record.queue_offset,
                physical_offset: record.physical_offset,
                body: record.body.to_vec(),
            });
            rest = &rest[record.bytes.len()..];
        }
        assert_eq!(result.next_offset, next);
        assert_eq!(result.records.messages() as i64, next - offset);
        offset = result.next_offset;
    }
}

/// Offset of a record in a light queue, as it says itself.
pub fn light_offset(record: &Record<'_>, queue: &str) -> Option<i64> {
    let names = record.property(properties::INNER_MULTI_DISPATCH)?;
    let number = names.split(',').position(|name| name == queue)?;
    let offsets = record.property(properties::INNER_MULTI_QUEUE_OFFSET)?;
    offsets.split(',').nth(number)?.parse().ok()
}

/// A reader of one tag that makes use of everything an entry says, and of the bitmaps of [`TagBits`].
pub struct Tagged<'a>(pub &'a str);

impl MessageFilter for Tagged<'_> {
    fn wants_entry(&self, tags_code: Option<i64>) -> bool {
        tags_code.is_none_or(|code| code == hash::tags_code(Some(self.0)))
    }

    fn wants_extended(&self, extension: &Extension<'_>) -> bool {
        extension.bitmap.is_empty() || extension.bitmap == tag_bits(self.0)
    }

    fn looks_into_record(&self, tags_code: Option<i64>) -> bool {
        tags_code.is_none()
    }

    fn wants_record(&self, record: &[u8]) -> bool {
        Record::parse(record).expect("a record").property(properties::TAGS) == Some(self.0)
    }
}

/// Bitmaps of messages whose keys do not end with 7: one bit for each tag.
pub struct TagBits;

fn tag_bits(tag: &str) -> Vec<u8> {
    let mut bits = vec![0; 1 + tag.len() * 5];
    bits[0] = 1 << (tag.as_bytes().first().copied().unwrap_or_default() % 8);
    bits
}

impl Bitmaps for TagBits {
    fn edition(&self) -> u64 {
        1
    }

    fn push(&self, _topic: &str, record: &[u8], out: &mut Vec<u8>) {
        let record = Record::parse(record).expect("a record");
        if !record.property(properties::KEYS).is_some_and(|keys| keys.ends_with('7')) {
            out.extend(tag_bits(record.property(properties::TAGS).unwrap_or_default()));
        }
    }
}

/// Bodies of the messages of one tag, from a queue's beginning to its end.
pub fn read_tagged(store: &Store, queue: &Queue, tag: &str) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    let mut offset = queue.min_offset() as i64;
    loop {
        let limits = ReadLimits { max_count: 32, max_bytes: 1 << 20 };
        let result = store.read_filtered(queue, offset, limits, &Tagged(tag)).expect("reading works");
        match result.status {
            ReadStatus::Found | ReadStatus::NoMatchedMessage => {}
            ReadStatus::OffsetOverflowOne | ReadStatus::NoMessageInQueue => return bodies,
            other => panic!("{queue:?}: {other:?} at {offset}"),
        }
        for record in result.records.iter() {
            bodies.push(Record::parse(&record.unwrap()).expect("a record").body.to_vec());
        }
        offset = result.next_offset;
    }
}

pub fn bodies(store: &Store, topic: &str, queue: u32) -> Vec<String> {
    let queue = store.queue(topic, queue);
    read_queue(store, &queue).into_iter().map(|got| String::from_utf8_lossy(&got.body).into_owned()).collect()
}
