//! Finding messages by whatever is known of them.

use std::collections::BTreeSet;

use thrustmq_client::{Admin, Received};
use wire::ids::OffsetId;
use wire::names::{DLQ_PREFIX, RETRY_PREFIX, is_system_topic};

use crate::failure::Failure;
use crate::output::progress::Bar;
use crate::target::route;

/// Messages of one id that are looked at.
pub const SAME_ID_MAX: u32 = 32;

/// What a text is that messages are found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    OffsetId,
    UniqueKey,
    Key,
}

impl Form {
    pub fn name(self) -> &'static str {
        match self {
            Form::OffsetId => "offset id",
            Form::UniqueKey => "unique key",
            Form::Key => "key",
        }
    }
}

/// Messages, and what the text was.
pub struct Found {
    pub form: Form,
    /// At least one; newest first for a key.
    pub messages: Vec<Received>,
}

impl Found {
    /// Without the copies that groups got after failures, unless there is nothing else.
    pub fn originals(self) -> Vec<Received> {
        let is_copy = |message: &Received| {
            let topic = &message.queue.topic;
            topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX)
        };
        let (copies, originals): (Vec<_>, Vec<_>) = self.messages.into_iter().partition(is_copy);
        if originals.is_empty() { copies } else { originals }
    }
}

/// What a text that people have may be, likeliest first: the two ids have the same letters and may have the same
/// length, so that only the broker knows.
pub fn forms_of_id(text: &str) -> Vec<Form> {
    match OffsetId::parse(text).is_some_and(|id| id.store_host.port() != 0) {
        true => vec![Form::UniqueKey, Form::OffsetId, Form::Key],
        false => vec![Form::UniqueKey, Form::Key],
    }
}

/// Looks in one topic, or in all that are not the system's own.
pub async fn find(
    admin: &Admin,
    text: &str,
    forms: &[Form],
    topic: Option<&str>,
    count: u32,
) -> Result<Option<Found>, Failure> {
    let topics = match topic {
        Some(topic) => {
            route(admin, topic).await?;
            vec![topic.to_owned()]
        }
        None => all_topics(admin).await?,
    };
    let mut bar = Bar::of("topics asked", (topics.len() * forms.len()) as u64);
    for form in forms {
        let messages = search(admin, &topics, text, *form, count, &mut bar).await?;
        if !messages.is_empty() {
            return Ok(Some(Found { form: *form, messages }));
        }
    }
    Ok(None)
}

/// The same for an id of a message that must be there.
pub async fn must_find(admin: &Admin, text: &str, topic: Option<&str>) -> Result<Found, Failure> {
    let found = find(admin, text, &forms_of_id(text), topic, SAME_ID_MAX).await?;
    found.ok_or_else(|| not_there(text, topic))
}

/// What is said when nothing is found.
pub fn not_there(text: &str, topic: Option<&str>) -> Failure {
    let whereabouts = topic.map_or("any topic".to_owned(), |topic| format!("topic \"{topic}\""));
    Failure::NotFound(format!(
        "no message \"{text}\" in {whereabouts}; it may be deleted by age, or the servers are others"
    ))
}

async fn search(
    admin: &Admin,
    topics: &[String],
    text: &str,
    form: Form,
    count: u32,
    bar: &mut Bar,
) -> Result<Vec<Received>, Failure> {
    if form == Form::OffsetId {
        return by_offset_id(admin, topics, text).await;
    }
    let mut found = Vec::new();
    for topic in topics {
        bar.step();
        let messages = match form {
            Form::Key => admin.messages_by_key(topic, text, count, 0, i64::MAX).await,
            _ => admin.messages_by_unique_key(topic, text).await,
        };
        match messages {
            Ok(messages) => found.extend(messages),
            // A topic that was deleted since the list was made has none.
            Err(thrustmq_client::Error::NoRoute { .. }) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// An id that names a broker which is none of the cluster's is not asked: it may be any machine.
async fn by_offset_id(admin: &Admin, topics: &[String], text: &str) -> Result<Vec<Received>, Failure> {
    let Some(id) = OffsetId::parse(text) else { return Ok(Vec::new()) };
    let brokers: BTreeSet<String> = admin.brokers("").await?.into_iter().collect();
    if !brokers.contains(&id.store_host.to_string()) {
        return Ok(Vec::new());
    }
    let topic = topics.first().map(String::as_str).unwrap_or_default();
    match admin.view_message(topic, text).await {
        Ok(message) => Ok(vec![message]),
        Err(error) if error.broker_code().is_some() => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

async fn all_topics(admin: &Admin) -> Result<Vec<String>, Failure> {
    let system: BTreeSet<String> = admin.system_topics().await?.into_iter().collect();
    let topics = admin.topics().await?.into_iter();
    Ok(topics.filter(|topic| !system.contains(topic) && !is_system_topic(topic)).collect())
}
