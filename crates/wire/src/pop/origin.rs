//! Where a popped message lay: in its own topic, or in one of the two topics that a group's retries of it have had
//! (broker.md §15.1).

use crate::names::RETRY_PREFIX;

/// Kind of the topic that a message was popped from, as handles and answers mark it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The topic itself.
    Normal,
    /// `%RETRY%group_topic`.
    RetryV1,
    /// `%RETRY%group+topic`: `+` may stand in no other name, so this one can be taken apart.
    RetryV2,
}

impl Origin {
    /// The kind that a topic's name shows.
    pub fn of(topic: &str) -> Origin {
        match topic.strip_prefix(RETRY_PREFIX) {
            None => Origin::Normal,
            Some(rest) if rest.contains('+') => Origin::RetryV2,
            Some(_) => Origin::RetryV1,
        }
    }

    /// From the mark in a handle or a batch of acknowledgements.
    pub fn from_mark(mark: &str) -> Option<Origin> {
        match mark {
            "0" => Some(Origin::Normal),
            "1" => Some(Origin::RetryV1),
            "2" => Some(Origin::RetryV2),
            _ => None,
        }
    }

    /// The mark in handles and answers.
    pub fn mark(self) -> &'static str {
        match self {
            Origin::Normal => "0",
            Origin::RetryV1 => "1",
            Origin::RetryV2 => "2",
        }
    }

    /// Name of the topic of this kind.
    pub fn topic(self, group: &str, topic: &str) -> String {
        match self {
            Origin::Normal => topic.to_owned(),
            Origin::RetryV1 => format!("{RETRY_PREFIX}{group}_{topic}"),
            Origin::RetryV2 => format!("{RETRY_PREFIX}{group}+{topic}"),
        }
    }
}

/// The topic that `topic` holds the retries of for `group`; `topic` itself if it holds none.
pub fn normal_topic<'a>(topic: &'a str, group: &str) -> &'a str {
    let rest = topic.strip_prefix(RETRY_PREFIX).and_then(|rest| rest.strip_prefix(group));
    rest.and_then(|rest| rest.strip_prefix(['_', '+'])).unwrap_or(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for origin in [Origin::Normal, Origin::RetryV1, Origin::RetryV2] {
            let name = origin.topic("readers_1", "orders");
            assert_eq!(Origin::of(&name), origin);
            assert_eq!(Origin::from_mark(origin.mark()), Some(origin));
            assert_eq!(normal_topic(&name, "readers_1"), "orders");
        }
        assert_eq!(Origin::RetryV1.topic("g", "t"), "%RETRY%g_t");
        assert_eq!(Origin::RetryV2.topic("g", "t"), "%RETRY%g+t");
        assert_eq!(normal_topic("%RETRY%g", "g"), "%RETRY%g");
        assert_eq!(Origin::from_mark("3"), None);
    }
}
