//! Which messages a reader wants: tags, compared by hash, and SQL92 expressions over the properties (broker.md §11).
//!
//! A filter is made once, from a pull or from a heartbeat, and asked of every message without allocating.

mod bloom;
mod prefilter;
mod registered;
pub mod sql;
mod tags;

use std::sync::Arc;

use store::{Extension, MessageFilter};
use wire::record;

pub use prefilter::Bits;
pub use registered::{ConsumerFilters, FilterTable};
pub use tags::TagFilter;

use sql::{Expression, SqlError};

/// Type of tag expressions, and what an absent type means.
pub const TAG: &str = "TAG";
/// Type of expressions over properties.
pub const SQL92: &str = "SQL92";

/// Whether a type of expression is that of tags.
pub fn is_tag_type(kind: &str) -> bool {
    matches!(kind, "" | TAG)
}

/// What a reader wants.
#[derive(Debug, Clone)]
pub enum Filter {
    /// By tags.
    Tags(Arc<TagFilter>),
    /// By properties, with what is known without looking into messages.
    Sql(Arc<Expression>, Option<Arc<Bits>>),
}

impl From<TagFilter> for Filter {
    fn from(filter: TagFilter) -> Filter {
        Filter::Tags(Arc::new(filter))
    }
}

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No type that anybody knows.
    #[error("expressions of type {0} are unknown; there are TAG and SQL92")]
    Type(String),
    /// Nothing but separators.
    #[error("the tag expression \"{0}\" names no tag; use * for all messages")]
    NoTag(String),
    /// Longer than any list of tags.
    #[error("the tag expression is {0} bytes, the longest is {max}", max = tags::EXPRESSION_MAX)]
    TooLong(usize),
    /// No expression where one is needed.
    #[error("an expression of type SQL92 cannot be empty")]
    Empty,
    /// A fault in an expression over properties.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

impl MessageFilter for Filter {
    fn wants_entry(&self, tags_code: Option<i64>) -> bool {
        match (self, tags_code) {
            (Filter::Tags(tags), Some(tags_code)) => tags.matches(tags_code),
            _ => true,
        }
    }

    fn wants_extended(&self, extension: &Extension<'_>) -> bool {
        match self {
            Filter::Sql(_, Some(bits)) => bits.may_want(extension),
            _ => true,
        }
    }

    fn looks_into_record(&self, tags_code: Option<i64>) -> bool {
        match self {
            Filter::Tags(tags) => tags_code.is_none() && **tags != TagFilter::All,
            Filter::Sql(..) => true,
        }
    }

    fn wants_record(&self, record: &[u8]) -> bool {
        let Some(properties) = record::properties_of(record) else { return false };
        match self {
            Filter::Tags(tags) => tags.matches_properties(properties),
            Filter::Sql(expression, _) => expression.matches(properties),
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::record::Message;

    use super::*;

    fn record(properties: &[u8]) -> Vec<u8> {
        let host = "127.0.0.1:1".parse().unwrap();
        let message = Message { properties, ..Message::of_broker(host, "T", 0, b"body") };
        let mut bytes = Vec::new();
        record::encode(&message, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn tags_are_read_from_the_record_where_the_entry_does_not_tell_them() {
        let filter = Filter::from(TagFilter::parse(Some("A || B")).unwrap());
        let code = i64::from(wire::hash::java_hash("A"));
        assert!(filter.wants_entry(Some(code)) && !filter.looks_into_record(Some(code)));
        assert!(!filter.wants_entry(Some(0)));
        assert!(filter.wants_entry(None) && filter.looks_into_record(None));
        assert!(filter.wants_record(&record(b"TAGS\x01B\x02")));
        assert!(!filter.wants_record(&record(b"TAGS\x01C\x02")));
        assert!(!filter.wants_record(&record(b"")));
        assert!(!Filter::from(TagFilter::All).looks_into_record(None));
    }

    #[test]
    fn sql_reads_the_record() {
        let filter = Filter::Sql(Arc::new(Expression::compile("a > 5").unwrap()), None);
        assert!(filter.wants_entry(Some(7)) && filter.looks_into_record(Some(7)));
        assert!(filter.wants_record(&record(b"a\x016\x02")));
        assert!(!filter.wants_record(&record(b"a\x015\x02")));
        assert!(!filter.wants_record(b"no record"));
    }
}
