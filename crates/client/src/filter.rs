//! Which messages of a topic a consumer wants.

use std::sync::Arc;

use wire::body::SubscriptionData;
use wire::hash::java_hash;

use crate::received::Received;

/// Which messages of a topic are wanted. Clones are cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    All,
    Tags(Arc<[String]>),
    Sql(Arc<str>),
}

impl Filter {
    pub(crate) const ALL: Filter = Filter(Kind::All);

    /// Everything.
    pub fn all() -> Filter {
        Filter(Kind::All)
    }

    /// Messages with one of these tags; no tag at all means everything.
    pub fn tags<T: Into<String>>(tags: impl IntoIterator<Item = T>) -> Filter {
        let tags: Vec<String> = tags
            .into_iter()
            .flat_map(|tag| tag.into().split("||").map(|tag| tag.trim().to_owned()).collect::<Vec<_>>())
            .filter(|tag| !tag.is_empty())
            .collect();
        if tags.is_empty() || tags.iter().any(|tag| tag == "*") {
            Filter::all()
        } else {
            Filter(Kind::Tags(tags.into()))
        }
    }

    /// Messages whose properties satisfy a condition in SQL92, which the broker must allow
    /// (`enablePropertyFilter`).
    pub fn sql(condition: impl Into<String>) -> Filter {
        Filter(Kind::Sql(condition.into().into()))
    }

    pub(crate) fn expression(&self) -> String {
        match &self.0 {
            Kind::All => "*".to_owned(),
            Kind::Tags(tags) => tags.join(" || "),
            Kind::Sql(condition) => condition.to_string(),
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        if self.is_sql() { "SQL92" } else { "TAG" }
    }

    pub(crate) fn is_sql(&self) -> bool {
        matches!(self.0, Kind::Sql(_))
    }

    /// Whether a message that the broker selected is meant: it compares hashes of tags, not tags.
    pub(crate) fn selects(&self, message: &Received) -> bool {
        match &self.0 {
            Kind::Tags(tags) => message.tag().is_some_and(|tag| tags.iter().any(|wanted| wanted == tag)),
            Kind::All | Kind::Sql(_) => true,
        }
    }

    /// As a heartbeat says it.
    pub(crate) fn subscription(&self, topic: &str, version: i64) -> SubscriptionData {
        let tags = match &self.0 {
            Kind::Tags(tags) => tags.to_vec(),
            Kind::All | Kind::Sql(_) => Vec::new(),
        };
        SubscriptionData {
            class_filter_mode: false,
            code_set: tags.iter().map(|tag| java_hash(tag)).collect(),
            expression_type: self.kind().to_owned(),
            sub_string: self.expression(),
            sub_version: version,
            tags_set: tags,
            topic: topic.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_those_of_java() {
        assert_eq!(Filter::tags(["a || b", "c"]).expression(), "a || b || c");
        assert_eq!(Filter::tags(["a", "*"]), Filter::all());
        assert_eq!(Filter::tags(Vec::<String>::new()).expression(), "*");
        let data = Filter::tags(["TagA"]).subscription("T", 7);
        assert_eq!((data.code_set.as_slice(), data.expression_type.as_str()), (&[2_598_919][..], "TAG"));
        assert_eq!(Filter::sql("a > 1").subscription("T", 7).expression_type, "SQL92");
    }
}
