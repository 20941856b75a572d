//! Messages as consumers get them: the body of a pull or a pop, taken apart.

use wire::properties;
use wire::record::{Prefix, Record};

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub topic: String,
    pub queue_id: u32,
    pub queue_offset: i64,
    pub physical_offset: i64,
    pub reconsume_times: i32,
    pub body: String,
    pub properties: Vec<(String, String)>,
}

impl Got {
    /// Value of a property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The messages in a body; every byte of it must belong to one.
pub fn records(body: &[u8]) -> Vec<Got> {
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
            body: String::from_utf8_lossy(record.body).into_owned(),
            properties: properties::iter(record.properties)
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        });
        rest = tail;
    }
    all
}

/// Their bodies.
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
