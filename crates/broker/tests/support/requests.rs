//! Requests at random: what official clients sent, and what answers say is missing, with values and bodies that no
//! client would send. The same seed gives the same requests to servers that give the same answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use remoting::Answer;
use sim::Random;
use wire::code::request as code;
use wire::frame::{FRAME_MAX, split};
use wire::header::{self, Dialect, FLAG_ONEWAY, Head};

use super::frames::frame;

/// Values that are wrong, or at an end, wherever they stand.
const EDGES: &[&str] = &[
    "",
    " ",
    "-1",
    "0",
    "1",
    "127",
    "128",
    "65536",
    "2147483647",
    "2147483648",
    "-2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "99999999999999999999",
    "1.5",
    "NaN",
    "null",
    "true",
    "FALSE",
    "../../etc/passwd",
    "%s%n",
    "a b",
    "\u{0}",
    "\u{1}\u{2}",
    "\u{fc}\u{1f4a9}",
    "\"}{[",
];

const TOPICS: &[&str] = &[
    "orders",
    "letters",
    "nowhere",
    "%RETRY%readers",
    "%DLQ%readers",
    "%RETRY%readers_orders",
    "%LMQ%light",
    "SCHEDULE_TOPIC_XXXX",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "rmq_sys_REVIVE_LOG_DefaultCluster",
    "rmq_sys_wheel_timer",
    "TBW102",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
];

const GROUPS: &[&str] =
    &["readers", "poppers", "nobody", "CID_RMQ_SYS_TRANS", "CID_RMQ_SYS_REVIVE_GROUP", "DEFAULT_CONSUMER"];

const EXPRESSIONS: &[&str] = &["*", "", "a", "a || b", "a > 1 AND b IS NOT NULL", "TAGS = 'a'", "((((", "'"];

const ATTRIBUTES: &[&str] = &[
    "+message.type=FIFO",
    "+queue.type=BatchCQ",
    "+cleanup.policy=COMPACTION",
    "+retention.ms=1",
    "-queue.type",
    "+a=b",
    "+=,-",
];

const PROPERTIES: &[&str] = &[
    "TAGS\u{1}a\u{2}KEYS\u{1}k l\u{2}UNIQ_KEY\u{1}0A00000100002A9F000000000000ABCD\u{2}",
    "DELAY\u{1}3\u{2}",
    "DELAY\u{1}-9\u{2}",
    "TIMER_DELAY_MS\u{1}10\u{2}",
    "TIMER_DELAY_SEC\u{1}9223372036854775807\u{2}",
    "TIMER_DELIVER_MS\u{1}-5\u{2}",
    "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}senders\u{2}",
    "INNER_MULTI_DISPATCH\u{1}%LMQ%light,%LMQ%other\u{2}",
    "RECONSUME_TIME\u{1}99\u{2}RETRY_TOPIC\u{1}orders\u{2}",
    "INNER_NUM\u{1}3\u{2}",
    "\u{1}\u{1}\u{2}\u{2}TAGS\u{1}",
];

const BODIES: &[&str] = &[
    "",
    "{}",
    "[]",
    "null",
    "0",
    "\"text\"",
    "maxMessageSize=100000\nmessageDelayLevel=1s 2s\n",
    "orders",
    r#"{"topicConfigList":[{"topicName":"listed","readQueueNums":2,"writeQueueNums":2,"perm":6}]}"#,
    r#"{"groupName":"poppers","retryMaxTimes":3,"consumeBroadcastEnable":true}"#,
    r#"{"groupConfigList":[{"groupName":"listed"},{"groupName":""}]}"#,
    r#"{"brokerName":"broker-a","acks":[{"c":"poppers","t":"orders","q":0,"rq":0,"po":1,"it":1000,"pt":1,"r":"0","so":0,"b":[1]}]}"#,
    r#"{"consumerGroup":"readers","clientId":"c","mqSet":[{"topic":"orders","brokerName":"broker-a","queueId":0}]}"#,
    r#"{"topicConfig":{"topicName":"static"},"mappingDetail":{"topic":"static","totalQueues":1,"bname":"broker-a","epoch":1,"hostedQueues":{0:[{"gen":0,"queueId":0,"bname":"broker-a","logicOffset":0,"startOffset":0,"endOffset":-1,"timeOfStart":-1,"timeOfEnd":-1}]}}}"#,
    r#"{"topic":"orders","consumerGroup":"readers","clientId":"c","strategyName":"AVG","messageModel":"CLUSTERING"}"#,
    r#"{"clientId":"c","group":"readers","subscriptionData":{"topic":"orders","subString":"a > ","expressionType":"SQL92"}}"#,
    "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

/// Values to break bodies with.
const PIECES: &[&str] =
    &["-1", "9223372036854775807", "1e999", "null", "{", "]", ",", "\\u", "\"", "\0", "\u{fc}"];

/// A request as it is sent.
#[derive(Debug, Clone)]
pub struct Made {
    pub dialect: Dialect,
    pub code: i32,
    pub oneway: bool,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Made {
    /// Its frame.
    pub fn frame(&self, opaque: i32) -> Vec<u8> {
        let mut head = Head::request(self.dialect, self.code, opaque);
        if self.oneway {
            head.flag |= FLAG_ONEWAY;
        }
        let fields: Vec<_> =
            self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        frame(&head, &fields, &self.body)
    }

    /// Whether its answer may be a long time coming, or never come: a producer that does not know yet how its
    /// transaction ends is told nothing, as by Java.
    pub fn may_wait(&self) -> bool {
        self.oneway
            || matches!(
                self.code,
                code::PULL_MESSAGE
                    | code::LITE_PULL_MESSAGE
                    | code::POP_MESSAGE
                    | code::NOTIFICATION
                    | code::END_TRANSACTION
            )
    }
}

/// Makes requests, and learns from their answers what they lack.
pub struct Requests {
    random: Random,
    codes: Vec<i32>,
    captured: Vec<Made>,
    /// Fields that a code cannot be without.
    needed: BTreeMap<i32, BTreeSet<String>>,
    /// Names of fields that some code takes.
    names: Vec<String>,
}

impl Requests {
    /// With these codes. What clients sent comes from `golden`, a directory of captured frames; names of fields from
    /// the sources below `sources`.
    pub fn new(seed: u64, codes: Vec<i32>, golden: &Path, sources: &Path) -> Requests {
        let mut captured = captured(golden);
        captured.retain(|made| codes.contains(&made.code));
        let names = names(sources);
        Requests { random: Random::new(seed), codes, captured, needed: BTreeMap::new(), names }
    }

    /// The next request.
    pub fn next(&mut self) -> Made {
        let mut made = if self.random.chance(30) && !self.captured.is_empty() {
            self.pick(|requests| &requests.captured)
        } else {
            let code = self.pick(|requests| &requests.codes);
            let alike: Vec<_> = self.captured.iter().filter(|made| made.code == code).cloned().collect();
            let new = Made {
                dialect: Dialect::Json,
                code,
                oneway: false,
                fields: Vec::new(),
                body: self.one_of(BODIES).as_bytes().to_vec(),
            };
            if alike.is_empty() { new } else { alike[self.random.below(alike.len() as u64) as usize].clone() }
        };
        self.complete(&mut made);
        self.change_fields(&mut made);
        self.change_body(&mut made);
        made.oneway = self.random.chance(3);
        let is_short = i16::try_from(made.code).is_ok();
        made.dialect = if is_short && self.random.chance(20) { Dialect::Binary } else { Dialect::Json };
        made
    }

    /// Notes which field a request lacked.
    pub fn learn(&mut self, made: &Made, answer: &Answer) {
        let remark = answer.remark.as_deref().unwrap_or_default();
        let name = remark
            .strip_prefix("the field ")
            .and_then(|rest| rest.strip_suffix(" is missing"))
            .or_else(|| remark.strip_prefix("the request has no "));
        if let Some(name) = name {
            self.needed.entry(made.code).or_default().insert(name.to_owned());
        }
    }

    fn complete(&mut self, made: &mut Made) {
        for name in self.needed.get(&made.code).cloned().unwrap_or_default() {
            if !made.fields.iter().any(|(known, _)| *known == name) {
                let value = self.value(&name);
                made.fields.push((name, value));
            }
        }
    }

    fn change_fields(&mut self, made: &mut Made) {
        for at in 0..made.fields.len() {
            let (name, _) = &made.fields[at];
            let value = match self.random.below(20) {
                0..10 => continue,
                10..18 => self.value(&name.clone()),
                _ => self.one_of(EDGES).to_owned(),
            };
            made.fields[at].1 = value;
        }
        if self.random.chance(10) && !made.fields.is_empty() {
            let gone = self.random.below(made.fields.len() as u64) as usize;
            made.fields.swap_remove(gone);
        }
        for _ in 0..self.random.below(3) {
            let name = self.pick(|requests| &requests.names);
            let value =
                if self.random.chance(20) { self.one_of(EDGES).to_owned() } else { self.value(&name) };
            made.fields.push((name, value));
        }
    }

    fn change_body(&mut self, made: &mut Made) {
        match self.random.below(10) {
            0..6 => return,
            6 => made.body = self.one_of(BODIES).as_bytes().to_vec(),
            7 if !self.captured.is_empty() => made.body = self.pick(|requests| &requests.captured).body,
            _ => (),
        }
        for _ in 0..=self.random.below(3) {
            let at = self.random.below(made.body.len() as u64 + 1) as usize;
            match self.random.below(4) {
                0 => made.body.truncate(at),
                1 if at < made.body.len() => made.body[at] ^= 1 << self.random.below(8),
                2 if at < made.body.len() => drop(made.body.remove(at)),
                _ => drop(made.body.splice(at..at, self.one_of(PIECES).bytes())),
            }
        }
    }

    /// A value that a field of this name may have. Single letters are the names of code 310.
    fn value(&mut self, name: &str) -> String {
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "b" => self.one_of(TOPICS).to_owned(),
            "a" => self.one_of(GROUPS).to_owned(),
            "i" | "properties" => self.one_of(PROPERTIES).to_owned(),
            "subscription" | "exp" => self.one_of(EXPRESSIONS).to_owned(),
            "expressiontype" | "exptype" => self.one_of(&["TAG", "SQL92", "NONE"]).to_owned(),
            "attributes" => self.one_of(ATTRIBUTES).to_owned(),
            "extrainfo" => self.handle(),
            "brokername" | "bname" | "n" => self.one_of(&["broker-a", "broker-b"]).to_owned(),
            "clientid" | "clientaddr" => self.one_of(&["c", "127.0.0.1:1"]).to_owned(),
            "order" | "isorder" | "isforce" | "force" | "offline" | "suspend" => {
                self.one_of(&["true", "false"]).to_owned()
            }
            "msgid" | "offsetmsgid" => format!("7F00000100002A9F{:016X}", self.random.below(5000)),
            text if text.contains("topic") && !text.ends_with("num") => self.one_of(TOPICS).to_owned(),
            text if text.contains("group") && !text.ends_with("flag") => self.one_of(GROUPS).to_owned(),
            _ => self.random.below(9).to_string(),
        }
    }

    /// A receipt handle as pop makes them.
    fn handle(&mut self) -> String {
        let now_ms = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
        let small = [(); 4].map(|()| self.random.below(10));
        format!("{} {now_ms} 60000 {} {} broker-a 0 {}", small[0], small[1], small[2] % 3, small[3])
    }

    fn one_of(&mut self, texts: &'static [&'static str]) -> &'static str {
        texts[self.random.below(texts.len() as u64) as usize]
    }

    fn pick<T: Clone>(&mut self, list: impl Fn(&Requests) -> &Vec<T>) -> T {
        let at = self.random.below(list(self).len() as u64) as usize;
        list(self)[at].clone()
    }
}

/// Requests that official clients and brokers sent.
fn captured(golden: &Path) -> Vec<Made> {
    let mut files: Vec<_> = std::fs::read_dir(golden).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.retain(|path| path.file_name().unwrap().to_string_lossy().contains("_request_"));
    let read = |path| {
        let bytes = std::fs::read(path).unwrap();
        let frame = split(&bytes, FRAME_MAX).unwrap().unwrap();
        let header = header::parse(frame.dialect, frame.header).unwrap();
        let fields = header.fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Made {
            dialect: frame.dialect,
            code: header.code,
            oneway: false,
            fields: fields.collect(),
            body: frame.body.to_vec(),
        }
    };
    files.iter().map(read).collect()
}

/// Names in calls such as `number("queueId")`, in the sources below a directory.
fn names(sources: &Path) -> Vec<String> {
    const CALLS: [&str; 7] = ["text", "number", "number_or", "optional_number", "flag", "field", "required"];
    let mut names = BTreeSet::new();
    let mut dirs = vec![sources.to_owned()];
    while let Some(dir) = dirs.pop() {
        for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            for (before, after) in text.match_indices("(\"").map(|(at, _)| text.split_at(at)) {
                let call = before.strip_suffix("::<i64>").unwrap_or(before);
                if CALLS.iter().any(|name| call.ends_with(name))
                    && let Some((name, _)) = after[2..].split_once('"')
                    && name.bytes().all(|byte| byte.is_ascii_alphabetic())
                {
                    names.insert(name.to_owned());
                }
            }
        }
    }
    names.into_iter().collect()
}
