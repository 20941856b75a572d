//! Attributes of topics and consumer groups: which there are, what they may say, and how a request edits them
//! (broker.md §2.2; since-5.3.md §1.5).

use std::collections::BTreeMap;
use std::time::Duration;

use store::QueueKind;

use crate::exchange::Refusal;

/// How long the messages of a topic can be read, in milliseconds: ours, on the log that all topics share.
pub(crate) const RETENTION: &str = "retention.ms";
/// How long a unique key is remembered, in milliseconds, so that a repeated send is stored once: ours.
pub(crate) const DEDUP_WINDOW: &str = "dedup.window.ms";
/// Whether a topic keeps its messages for a time, or the last one of each key.
const CLEANUP_POLICY: &str = "cleanup.policy";
/// Of a hundred pops of a group, how many take the most urgent messages first.
const PRIORITY_FACTOR: &str = "priority.factor";
/// What a topic's messages are.
pub(crate) const MESSAGE_TYPE: &str = "message.type";

/// A day: the window is read from the log at start.
const DEDUP_WINDOW_MAX_MS: i64 = 86_400_000;

/// Attributes by name.
pub(crate) type Attributes = BTreeMap<String, String>;

/// One attribute that is known.
pub(crate) struct Attribute {
    name: &'static str,
    /// Whether it can change once the topic or group exists.
    mutable: bool,
    form: Form,
}

enum Form {
    /// One of these words; those of the second list stand for what is not served yet.
    Words(&'static [&'static str], &'static [&'static str]),
    /// A number within bounds.
    Number(i64, i64),
    /// Java knows it; here it would have no effect, and the text says what to do.
    Unserved(&'static str),
}

const fn fixed(name: &'static str, form: Form) -> Attribute {
    Attribute { name, mutable: false, form }
}

const fn mutable(name: &'static str, form: Form) -> Attribute {
    Attribute { name, mutable: true, form }
}

const LITE: Form = Form::Unserved("lite topics come later");

/// Attributes that a topic may have.
pub(crate) const OF_TOPICS: &[Attribute] = &[
    fixed("queue.type", Form::Words(&["SimpleCQ", "BatchCQ"], &[])),
    fixed(CLEANUP_POLICY, Form::Words(&["DELETE", "COMPACTION"], &[])),
    mutable(
        MESSAGE_TYPE,
        Form::Words(
            &["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "MIXED", "PRIORITY"],
            &["LITE"],
        ),
    ),
    mutable(RETENTION, Form::Number(-1, i64::MAX)),
    mutable(DEDUP_WINDOW, Form::Number(0, DEDUP_WINDOW_MAX_MS)),
    // Hours in Java's tiered storage; without that Java refuses it too.
    mutable(
        "reserve.time",
        Form::Unserved("it belongs to tiered storage, which comes later; use retention.ms"),
    ),
    mutable("lite.topic.expiration", LITE),
];

/// Attributes that a consumer group may have.
pub(crate) const OF_GROUPS: &[Attribute] = &[
    mutable(PRIORITY_FACTOR, Form::Number(0, 100)),
    mutable("lite.bind.topic", LITE),
    mutable("lite.sub.model", LITE),
    mutable("lite.sub.reset.offset.exclusive", LITE),
    mutable("lite.sub.reset.offset.unsubscribe", LITE),
    mutable("lite.sub.client.quota", LITE),
    mutable("lite.sub.client.max.event.cnt", LITE),
    mutable("lite.sub.wildcard", LITE),
];

/// The edits of a header field: `+key=value,-key`.
pub(crate) fn edits_of(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',')
        .map(str::trim)
        .filter(|edit| !edit.is_empty())
        .map(|edit| edit.split_once('=').unwrap_or((edit, "")))
}

/// Applies edits to the attributes of a topic or group, or refuses all of them. `old` is `None` for one that is made.
pub(crate) fn edit<'a>(
    known: &[Attribute],
    old: Option<&Attributes>,
    edits: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Attributes, Refusal> {
    let mut attributes = old.cloned().unwrap_or_default();
    let mut touched = Vec::new();
    for (edit, value) in edits {
        let (adds, key) = match (edit.strip_prefix('+'), edit.strip_prefix('-')) {
            (Some(key), _) => (true, key),
            (_, Some(key)) => (false, key),
            _ => return Err(Refusal::system(format!("attribute {edit} must begin with + or -"))),
        };
        let Some(attribute) = known.iter().find(|known| known.name == key) else {
            return Err(Refusal::system(format!("unsupported key: {key}")));
        };
        if touched.contains(&key) {
            return Err(Refusal::system(format!("key duplication: {key}")));
        }
        touched.push(key);
        let present = attributes.get(key).map(String::as_str);
        if old.is_some() && !attribute.mutable && !(adds && present == Some(value)) {
            return Err(Refusal::system(format!("attempt to update an unchangeable attribute. key: {key}")));
        }
        if adds {
            attribute.check(value)?;
            attributes.insert(key.to_owned(), value.to_owned());
        } else if attributes.remove(key).is_none() {
            return Err(Refusal::system(format!("attempt to delete a nonexistent key: {key}")));
        }
    }
    Ok(attributes)
}

impl Attribute {
    fn check(&self, value: &str) -> Result<(), Refusal> {
        let name = self.name;
        let accepted = match &self.form {
            Form::Words(words, _) if words.contains(&value) => return Ok(()),
            Form::Words(_, later) if later.contains(&value) => {
                return Err(Refusal::system(format!("topics with {name}={value} are not served yet")));
            }
            Form::Words(words, _) => words.join(", "),
            Form::Number(lowest, highest) => {
                if value.parse().is_ok_and(|number: i64| (*lowest..=*highest).contains(&number)) {
                    return Ok(());
                }
                format!("a number from {lowest} to {highest}")
            }
            Form::Unserved(remedy) => {
                return Err(Refusal::system(format!("attribute {name} has no effect here: {remedy}")));
            }
        };
        Err(Refusal::system(format!(
            "value \"{value}\" of attribute {name} is invalid, accepted: {accepted}"
        )))
    }
}

/// How long a topic with these attributes keeps its messages; `None` for as long as the log does.
pub(crate) fn retention(attributes: &Attributes) -> Option<Duration> {
    let millis: u64 = attributes.get(RETENTION)?.parse().ok()?;
    Some(Duration::from_millis(millis))
}

/// Refuses attributes that cannot go together. `old` is what the topic has already, `None` for one that is made.
pub(crate) fn check_together(old: Option<&Attributes>, attributes: &Attributes) -> Result<(), Refusal> {
    let batch = QueueKind::of_attributes(attributes) == QueueKind::Batch;
    if batch && dedup_window(attributes).is_some() {
        let remark =
            format!("{DEDUP_WINDOW} knows messages one by one, not those of a topic with queue.type=BatchCQ");
        return Err(Refusal::system(remark));
    }
    // Topics that have both were made before this was refused: that does not stand in the way of other changes.
    let time = retention(attributes);
    if is_compacted(attributes) && time.is_some() && time != old.and_then(retention) {
        let remark = format!(
            "{RETENTION} cannot be kept by a topic with {CLEANUP_POLICY}=COMPACTION: the last message of each key \
             stays however old it is; leave {RETENTION} away, and send a message without a body to delete a key"
        );
        return Err(Refusal::system(remark));
    }
    Ok(())
}

/// How long a topic with these attributes knows a unique key again; `None` if it does not.
pub(crate) fn dedup_window(attributes: &Attributes) -> Option<Duration> {
    let millis: u64 = attributes.get(DEDUP_WINDOW)?.parse().ok()?;
    (millis > 0).then(|| Duration::from_millis(millis))
}

/// Whether a topic with these attributes keeps the last message of each key.
pub(crate) fn is_compacted(attributes: &Attributes) -> bool {
    attributes.get(CLEANUP_POLICY).is_some_and(|policy| policy == "COMPACTION")
}

/// Whether the messages of a topic with these attributes have priorities.
pub(crate) fn has_priorities(attributes: &Attributes) -> bool {
    attributes.get(MESSAGE_TYPE).is_some_and(|kind| kind == "PRIORITY")
}

/// Of a hundred pops of a group with these attributes, how many go by priority.
pub(crate) fn priority_factor(attributes: &Attributes) -> u32 {
    attributes.get(PRIORITY_FACTOR).and_then(|factor| factor.parse().ok()).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(old: Option<&Attributes>, text: &str) -> Result<Attributes, String> {
        edit(OF_TOPICS, old, edits_of(text)).map_err(|refusal| refusal.remark.into_owned())
    }

    #[test]
    fn edits_are_taken_as_a_whole_or_not_at_all() {
        let made = edited(None, "+message.type=FIFO, +retention.ms=1000").unwrap();
        assert_eq!(retention(&made), Some(Duration::from_secs(1)));
        let changed = edited(Some(&made), "-retention.ms,+queue.type=SimpleCQ");
        assert!(changed.unwrap_err().contains("unchangeable"));
        let changed = edited(Some(&made), "-retention.ms,+message.type=NORMAL").unwrap();
        assert_eq!(changed, Attributes::from([(MESSAGE_TYPE.to_owned(), "NORMAL".to_owned())]));
        assert_eq!(edited(Some(&made), "").unwrap(), made);
        assert_eq!(retention(&edited(None, "+retention.ms=-1").unwrap()), None);
        let fixed = edited(None, "+queue.type=SimpleCQ").unwrap();
        assert_eq!(edited(Some(&fixed), "+queue.type=SimpleCQ").unwrap(), fixed, "what it is already");
        assert!(edited(Some(&fixed), "-queue.type").is_err());
    }

    #[test]
    fn a_compacted_topic_that_has_a_time_from_before_can_be_changed_otherwise() {
        let both = edited(None, "+cleanup.policy=COMPACTION,+retention.ms=1000").unwrap();
        assert!(check_together(None, &both).is_err());
        let change = |text| check_together(Some(&both), &edited(Some(&both), text).unwrap());
        assert!(change("+message.type=FIFO").is_ok());
        assert!(change("+retention.ms=2000").is_err());
        assert!(change("-retention.ms").is_ok());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("message.type=FIFO", "must begin with"),
            ("+colour=red", "unsupported key: colour"),
            ("+message.type=fifo", "is invalid, accepted: UNSPECIFIED"),
            ("+message.type=FIFO,-message.type", "key duplication"),
            ("-message.type", "nonexistent"),
            ("+message.type", "is invalid"),
            ("+queue.type=batchcq", "is invalid, accepted: SimpleCQ, BatchCQ"),
            ("+message.type=LITE", "not served yet"),
            ("+cleanup.policy=compact", "accepted: DELETE, COMPACTION"),
            ("+retention.ms=-2", "a number from -1"),
            ("+retention.ms=1h", "a number from -1"),
            ("+reserve.time=72", "use retention.ms"),
        ] {
            let refused = edited(None, text).unwrap_err();
            assert!(refused.contains(part), "{text}: {refused}");
        }
        let refused = edit(OF_GROUPS, None, edits_of("+lite.sub.model=Shared")).unwrap_err();
        assert!(refused.remark.contains("lite topics come later"));
        let refused = edit(OF_GROUPS, None, edits_of("+priority.factor=101")).unwrap_err();
        assert!(refused.remark.contains("a number from 0 to 100"));
        let group = edit(OF_GROUPS, None, edits_of("+priority.factor=7")).unwrap_or_default();
        assert_eq!((priority_factor(&group), priority_factor(&Attributes::new())), (7, 100));
    }

    /// What the page of settings says of an attribute: whose it is, what it takes, whether it can change.
    fn row_of(attribute: &Attribute, owner: &str) -> Option<[String; 4]> {
        let takes = match &attribute.form {
            Form::Words(words, _) => words.join(", "),
            Form::Number(-1, i64::MAX) => "-1, or 1 and more, up to `fileReservedTime`".into(),
            Form::Number(lowest, highest) => format!("{lowest} to {highest}"),
            Form::Unserved(_) => return None,
        };
        let changes = if attribute.mutable { "yes" } else { "no" };
        Some([format!("`{}`", attribute.name), owner.into(), takes, changes.into()])
    }

    #[test]
    fn the_page_of_settings_has_those_that_are_taken_and_no_others() {
        let page = settings::configuration_page();
        let chapter = page.split("\n## ").find(|chapter| chapter.starts_with("Attributes of")).unwrap();
        let rows = chapter.lines().filter(|line| line.starts_with("| `"));
        let told: Vec<[String; 4]> = rows
            .map(|row| {
                let cells: Vec<&str> = row.split('|').map(str::trim).collect();
                // Behind what it takes comes what holds without it.
                [cells[1], cells[2], cells[3], cells[5]].map(str::to_owned)
            })
            .collect();
        let of_topics = OF_TOPICS.iter().filter_map(|attribute| row_of(attribute, "topics"));
        let of_groups = OF_GROUPS.iter().filter_map(|attribute| row_of(attribute, "groups"));
        assert_eq!(told, of_topics.chain(of_groups).collect::<Vec<_>>());
    }
}
