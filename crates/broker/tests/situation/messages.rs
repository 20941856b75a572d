//! Messages as consumers get them: the body of a pull, taken apart.

use wire::properties;
use wire::record::{Prefix, Record};

/// One message of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub topic: String,
    pub queue_id: u32,
    pub queue_offset: i64,
    pub physical_offset: i64,
    pub reconsume_times: i32,
    pub body: String,
    pub properties: Vec<u8>,
}

impl Got {
    pub fn property(&self, name: &str) -> Option<&str> {
        properties::find(&self.properties, name)
    }
}

/// The messages in a pull's body; every byte of it must belong to one.
pub fn got(body: &[u8]) -> Vec<Got> {
    let mut rest = body;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (bytes, tail) = rest.split_at(Prefix::parse(rest).unwrap().size as usize);
        let record = Record::parse(bytes).unwrap();
        record.verify_crc().unwrap();
        all.push(Got {
            topic: record.topic.to_owned(),
            queue_id: record.queue_id,
            queue_offset: record.queue_offset,
            physical_offset: record.physical_offset,
            reconsume_times: record.reconsume_times,
            body: String::from_utf8(record.body.to_vec()).unwrap(),
            properties: record.properties.to_vec(),
        });
        rest = tail;
    }
    all
}

pub fn bodies(messages: &[Got]) -> Vec<&str> {
    messages.iter().map(|message| message.body.as_str()).collect()
}

/// Property text from pairs.
pub fn text(pairs: &[(&str, &str)]) -> String {
    let mut text = Vec::new();
    for (name, value) in pairs {
        properties::push(&mut text, name, value);
    }
    String::from_utf8(text).unwrap()
}
