//! Send requests that are built once; only the numbers in them change, in place.

use std::net::Ipv4Addr;
use std::ops::Range;

use wire::batch;
use wire::code::request;
use wire::header::{Dialect, FrameWriter, Head};
use wire::{ids, properties, sys_flag};

use super::lane::{BORN_DIGITS, Staged};
use super::slots::OPAQUE_BASE;

/// Bytes of prebuilt frames that a connection keeps; small enough to stay in the cache with its neighbours'.
const RING_BYTES: usize = 128 << 10;
/// The group that every message comes from.
pub const GROUP: &str = "thrust_bench_producer";
/// Hex digits at the end of a unique key that count: time and counter of wire.md §14.2.
const KEY_DIGITS: usize = 12;

/// What every message of a run has in common.
#[derive(Debug, Clone)]
pub struct Shape {
    pub topic: String,
    /// Above 1, the name is followed by a number in all of them: see [`topic_name`].
    pub topics: u32,
    pub queues: u32,
    pub size: usize,
    /// Messages per request; above 1 they go as a batch.
    pub batch: usize,
    pub dialect: Dialect,
    pub unique_key: bool,
    /// Value of the WAIT property, which Java clients always set.
    pub wait: bool,
    /// Half messages of transactions.
    pub half: bool,
    /// The tag `bench` and a property `n`, which is 0 to 9 in turn, for readers that filter. Not in batches.
    pub marked: bool,
    /// One of ten keys in turn, for compacted topics. Neither in batches nor marked.
    pub keyed: bool,
}

/// Name of the topic with that number among `topics`: the plain name if there is but one.
pub fn topic_name(topic: &str, topics: u32, number: u32) -> String {
    if topics == 1 {
        return topic.to_owned();
    }
    let width = digits(topics);
    format!("{topic}_{number:0width$}")
}

/// Digits of the largest number below `count`.
fn digits(count: u32) -> usize {
    (count - 1).to_string().len()
}

/// The numbers that differ from one request to the next.
#[derive(Clone, Copy)]
struct Sample<'a> {
    opaque: i32,
    topic: &'a str,
    queue: &'a str,
    born: &'a str,
    key_tail: &'a str,
    mark: &'a str,
}

/// One request with the places of its numbers.
pub struct Template {
    bytes: Vec<u8>,
    dialect: Dialect,
    opaque: Range<usize>,
    /// Empty if there is but one topic.
    topic: Range<usize>,
    queue: Range<usize>,
    born: Range<usize>,
    keys: Vec<Range<usize>>,
    /// Empty unless messages are marked or keyed.
    mark: Range<usize>,
}

impl Template {
    pub fn new(shape: &Shape) -> Template {
        // Queue ids have one width, with leading zeros where needed, which every integer parser accepts.
        let width = digits(shape.queues);
        let (zeros, ones) = ("0".repeat(width), "1".repeat(width));
        let first_topic = topic_name(&shape.topic, shape.topics, 0);
        let other_topic = first_topic
            .strip_suffix(&"0".repeat(digits(shape.topics)))
            .map(|name| name.to_owned() + &"1".repeat(digits(shape.topics)));
        let plain = Sample {
            opaque: if shape.dialect == Dialect::Json { OPAQUE_BASE } else { 0 },
            topic: &first_topic,
            queue: &zeros,
            born: "0000000000000",
            key_tail: "000000000000",
            mark: "0",
        };
        let bytes = frame(shape, &plain);
        // A place is where two frames differ that differ in one number: no knowledge of either dialect needed.
        let place = |sample: &Sample<'_>| differences(&bytes, &frame(shape, sample));
        let single = |mut places: Vec<Range<usize>>| {
            assert_eq!(places.len(), 1, "a number stands once in a request");
            places.remove(0)
        };
        let other_opaque = if shape.dialect == Dialect::Json { 2_111_111_111 } else { -1 };
        let opaque = single(place(&Sample { opaque: other_opaque, ..plain }));
        let topic = match other_topic.filter(|_| shape.topics > 1) {
            Some(other) => single(place(&Sample { topic: &other, ..plain })),
            None => 0..0,
        };
        let queue = single(place(&Sample { queue: &ones, ..plain }));
        let born = single(place(&Sample { born: "1111111111111", ..plain }));
        let keys = place(&Sample { key_tail: "FFFFFFFFFFFF", ..plain });
        let mark = match shape.marked || shape.keyed {
            true => single(place(&Sample { mark: "1", ..plain })),
            false => Range::default(),
        };
        assert_eq!(
            keys.len(),
            if shape.unique_key { shape.batch } else { 0 },
            "each message has its own key"
        );
        Template { dialect: shape.dialect, opaque, topic, queue, born, keys, mark, bytes }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends one request; `next_key` gives the number for each message's unique key.
    pub fn append(
        &self,
        out: &mut Vec<u8>,
        opaque: i32,
        (topic, queue): (u32, u32),
        born: &[u8; BORN_DIGITS],
        next_key: impl FnMut() -> u64,
    ) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        self.number(&mut out[start..], opaque, (topic, queue), born, next_key);
    }

    /// Writes the numbers of one request into a copy of the template.
    fn number(
        &self,
        frame: &mut [u8],
        opaque: i32,
        (topic, queue): (u32, u32),
        born: &[u8; BORN_DIGITS],
        mut next_key: impl FnMut() -> u64,
    ) {
        match self.dialect {
            Dialect::Json => write_decimal(&mut frame[self.opaque.clone()], opaque as u32),
            Dialect::Binary => frame[self.opaque.clone()].copy_from_slice(&opaque.to_be_bytes()),
        }
        write_decimal(&mut frame[self.topic.clone()], topic);
        write_decimal(&mut frame[self.queue.clone()], queue);
        frame[self.born.clone()].copy_from_slice(born);
        for place in &self.keys {
            write_hex(&mut frame[place.clone()], next_key());
        }
    }
}

/// Ranges in which two frames of one length differ.
fn differences(one: &[u8], other: &[u8]) -> Vec<Range<usize>> {
    assert_eq!(one.len(), other.len());
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for at in (0..one.len()).filter(|&at| one[at] != other[at]) {
        match ranges.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ => ranges.push(at..at + 1),
        }
    }
    ranges
}

fn frame(shape: &Shape, sample: &Sample<'_>) -> Vec<u8> {
    let message = message_properties(shape, sample);
    let body: Vec<u8> = (0..shape.size).map(|at| b'a' + (at % 26) as u8).collect();
    let is_batch = shape.batch > 1;
    let code = if is_batch { request::SEND_BATCH_MESSAGE } else { request::SEND_MESSAGE_V2 };
    let header_properties = if is_batch { wait_property(shape.wait) } else { message.clone() };
    let mut out = Vec::new();
    let mut writer = FrameWriter::new(&mut out, &Head::request(shape.dialect, code, sample.opaque));
    writer
        .field("a", GROUP)
        .field("b", sample.topic)
        .field("c", "TBW102")
        .field("d", "4")
        .field("e", sample.queue)
        .number("f", if shape.half { sys_flag::TRANSACTION_PREPARED } else { 0 })
        .field("g", sample.born)
        .field("h", "0")
        .field("i", std::str::from_utf8(&header_properties).expect("properties are written from text"))
        .field("j", "0")
        .field("k", "false")
        .field("m", if is_batch { "true" } else { "false" });
    writer.body_with(|out| {
        if !is_batch {
            out.extend_from_slice(&body);
        }
        for _ in 0..if is_batch { shape.batch } else { 0 } {
            batch::push(out, &batch::Entry { flag: 0, body: &body, properties: &message });
        }
    });
    out
}

fn message_properties(shape: &Shape, sample: &Sample<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    if shape.unique_key {
        properties::push(&mut text, "UNIQ_KEY", &(key_prefix() + sample.key_tail));
    }
    text.extend_from_slice(&wait_property(shape.wait));
    if shape.half {
        properties::push(&mut text, "TRAN_MSG", "true");
        properties::push(&mut text, "PGROUP", GROUP);
    }
    if shape.marked {
        properties::push(&mut text, "n", sample.mark);
        properties::push(&mut text, "TAGS", "bench");
    }
    if shape.keyed {
        properties::push(&mut text, "KEYS", sample.mark);
    }
    text
}

/// How all unique keys of this process begin.
pub fn key_prefix() -> String {
    let mut key = Vec::new();
    ids::write_unique_key(Ipv4Addr::LOCALHOST, std::process::id() as u16, 0, 0, &mut key);
    key.truncate(key.len() - KEY_DIGITS);
    String::from_utf8(key).expect("hex is ASCII")
}

fn wait_property(wait: bool) -> Vec<u8> {
    let mut text = Vec::new();
    properties::push(&mut text, "WAIT", if wait { "true" } else { "false" });
    text
}

/// Copies of a template in a row, so that many requests go out with one write.
///
/// Requests are staged from the front; once all that was staged is written, staging starts over.
pub struct Ring {
    template: Template,
    bytes: Vec<u8>,
    staged: usize,
    written: usize,
    /// Requests staged so far.
    turns: u32,
}

impl Ring {
    /// Room for `requests`, or for as many as are worth one write.
    pub fn new(template: Template, requests: usize) -> Ring {
        let count = (RING_BYTES / template.len()).clamp(1, requests.max(1));
        let bytes = template.bytes.repeat(count);
        Ring { template, bytes, staged: 0, written: 0, turns: 0 }
    }

    pub fn is_full(&self) -> bool {
        self.staged == self.bytes.len()
    }

    /// Stages one request; `next_key` gives the number for each message's unique key.
    pub fn stage(
        &mut self,
        opaque: i32,
        (topic, queue): (u32, u32),
        born: &[u8; BORN_DIGITS],
        next_key: impl FnMut() -> u64,
    ) {
        let template = &self.template;
        let frame = &mut self.bytes[self.staged..self.staged + template.len()];
        template.number(frame, opaque, (topic, queue), born, next_key);
        write_decimal(&mut frame[template.mark.clone()], self.turns);
        self.turns = self.turns.wrapping_add(1);
        self.staged += template.len();
    }
}

impl Staged for Ring {
    fn outgoing(&self) -> &[u8] {
        &self.bytes[self.written..self.staged]
    }

    fn written(&mut self, count: usize) {
        self.written += count;
        if self.written == self.staged {
            (self.written, self.staged) = (0, 0);
        }
    }
}

/// Writes `value` into all of `place`, with leading zeros.
pub fn write_decimal(place: &mut [u8], mut value: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn write_hex(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(value & 15) as usize];
        value >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::frame::{self, FRAME_MAX};
    use wire::header;

    fn shape(dialect: Dialect, batch: usize) -> Shape {
        Shape {
            topic: "T".to_owned(),
            topics: 100,
            queues: 12,
            size: 100,
            batch,
            dialect,
            unique_key: true,
            wait: true,
            half: false,
            marked: false,
            keyed: false,
        }
    }

    /// Properties of the messages in a ring of twelve.
    fn staged_properties(ring: &Ring) -> Vec<Vec<u8>> {
        let mut rest = ring.outgoing();
        let mut all = Vec::new();
        while !rest.is_empty() {
            let frame = frame::split(rest, FRAME_MAX).unwrap().unwrap();
            rest = &rest[frame.size..];
            let header = header::parse(frame.dialect, frame.header).unwrap();
            all.push(header.fields.get("i").unwrap().as_bytes().to_vec());
        }
        assert_eq!(all.len(), 12);
        all
    }

    #[test]
    fn marks_count_from_0_to_9_in_turn() {
        let mut ring = Ring::new(Template::new(&Shape { marked: true, ..shape(Dialect::Json, 1) }), 12);
        for n in 0..12 {
            ring.stage(OPAQUE_BASE + n, (0, 0), b"1700000000000", || 1);
        }
        for (n, text) in staged_properties(&ring).iter().enumerate() {
            assert_eq!(properties::find(text, "n"), Some((n % 10).to_string().as_str()));
            assert_eq!(properties::find(text, "TAGS"), Some("bench"));
        }
    }

    #[test]
    fn keys_are_ten_in_turn() {
        let mut ring = Ring::new(Template::new(&Shape { keyed: true, ..shape(Dialect::Binary, 1) }), 12);
        for n in 0..12 {
            ring.stage(n, (0, 0), b"1700000000000", || 1);
        }
        for (n, text) in staged_properties(&ring).iter().enumerate() {
            assert_eq!(properties::find(text, "KEYS"), Some((n % 10).to_string().as_str()));
        }
    }

    #[test]
    fn staged_requests_read_back_with_their_own_numbers() {
        for dialect in [Dialect::Json, Dialect::Binary] {
            let mut ring = Ring::new(Template::new(&shape(dialect, 1)), 5);
            for n in 0..5 {
                let born = format!("170000000000{n}").into_bytes().try_into().unwrap();
                ring.stage(OPAQUE_BASE + 77 + n, (40 + n as u32, 7 + n as u32), &born, || 0xABC0 + n as u64);
            }
            assert!(ring.is_full());
            let mut rest = ring.outgoing();
            for n in 0..5 {
                let frame = frame::split(rest, FRAME_MAX).unwrap().unwrap();
                rest = &rest[frame.size..];
                let header = header::parse(frame.dialect, frame.header).unwrap();
                assert_eq!((header.code, header.opaque), (310, OPAQUE_BASE + 77 + n));
                assert_eq!(header.fields.get("b"), Some(format!("T_4{n}").as_str()));
                assert_eq!(header.fields.number::<i32>("e"), Some(7 + n));
                assert_eq!(header.fields.number::<i64>("g"), Some(1_700_000_000_000 + i64::from(n)));
                let text = header.fields.get("i").unwrap();
                let key = properties::find(text.as_bytes(), "UNIQ_KEY").unwrap();
                assert_eq!(key.len(), 32);
                assert!(key.ends_with(&format!("00000000ABC{n}")), "{key}");
                assert_eq!(properties::find(text.as_bytes(), "WAIT"), Some("true"));
                assert_eq!(frame.body.len(), 100);
            }
            let half = ring.outgoing().len() / 2;
            ring.written(half);
            assert!(ring.is_full());
            ring.written(ring.outgoing().len());
            assert!(!ring.is_full() && ring.outgoing().is_empty());
        }
    }

    #[test]
    fn each_message_of_a_batch_has_its_own_key() {
        let mut ring = Ring::new(Template::new(&shape(Dialect::Json, 3)), 1);
        let mut next = 0;
        ring.stage(OPAQUE_BASE, (0, 0), b"1700000000000", || {
            next += 1;
            next
        });
        let frame = frame::split(ring.outgoing(), FRAME_MAX).unwrap().unwrap();
        let header = header::parse(frame.dialect, frame.header).unwrap();
        assert_eq!((header.code, header.fields.get("m")), (320, Some("true")));
        let keys: Vec<_> = batch::entries(frame.body)
            .map(|entry| properties::find(entry.unwrap().properties, "UNIQ_KEY").unwrap().to_owned())
            .collect();
        assert!(keys[0].ends_with("1") && keys[1].ends_with("2") && keys[2].ends_with("3"), "{keys:?}");
    }
}
