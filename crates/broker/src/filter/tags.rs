//! Tag filters (broker.md §11.1): the broker compares hashes only, clients compare the text again.

use wire::body::SubscriptionData;
use wire::hash::{self, java_hash};
use wire::properties;

use super::{FilterError, is_tag_type};

/// Longest expression that is taken, bytes: what it becomes is kept for as long as a pull waits.
pub(super) const EXPRESSION_MAX: usize = 64 << 10;

/// Which tags a reader wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagFilter {
    /// All of them.
    All,
    /// Those with one of these hashes, which are sorted.
    Hashes(Vec<i32>),
}

impl TagFilter {
    /// From the expression of a pull; absent means all.
    pub fn parse(expression: Option<&str>) -> Result<TagFilter, FilterError> {
        let expression = expression.unwrap_or("*").trim();
        if expression.is_empty() || expression == "*" {
            return Ok(TagFilter::All);
        }
        if expression.len() > EXPRESSION_MAX {
            return Err(FilterError::TooLong(expression.len()));
        }
        let tags = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        let hashes: Vec<i32> = tags.map(java_hash).collect();
        if hashes.is_empty() {
            Err(FilterError::NoTag(expression.to_owned()))
        } else {
            Ok(TagFilter::of(hashes))
        }
    }

    /// From a subscription of a heartbeat, which carries the hashes.
    pub fn from_subscription(data: &SubscriptionData) -> TagFilter {
        if !is_tag_type(&data.expression_type) || data.sub_string == "*" || data.code_set.is_empty() {
            TagFilter::All
        } else {
            TagFilter::of(data.code_set.clone())
        }
    }

    fn of(mut hashes: Vec<i32>) -> TagFilter {
        hashes.sort_unstable();
        hashes.dedup();
        TagFilter::Hashes(hashes)
    }

    /// Whether a message of this tags code is wanted; collisions pass.
    pub fn matches(&self, tags_code: i64) -> bool {
        match self {
            TagFilter::All => true,
            TagFilter::Hashes(hashes) => hashes.binary_search(&(tags_code as i32)).is_ok(),
        }
    }

    /// Whether a message with these properties is wanted.
    pub fn matches_properties(&self, properties: &[u8]) -> bool {
        self.matches(hash::tags_code(properties::find(properties, properties::TAGS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_become_hashes() {
        assert_eq!(TagFilter::parse(None).unwrap(), TagFilter::All);
        assert_eq!(TagFilter::parse(Some(" * ")).unwrap(), TagFilter::All);
        let filter = TagFilter::parse(Some("TagA || TagB||")).unwrap();
        assert!(filter.matches(i64::from(java_hash("TagA"))));
        assert!(filter.matches(i64::from(java_hash("TagB"))));
        assert!(!filter.matches(0));
        assert!(matches!(TagFilter::parse(Some("||")), Err(FilterError::NoTag(_))));
    }

    #[test]
    fn what_an_expression_becomes_is_small() {
        let repeated = TagFilter::parse(Some(&"a||b||".repeat(10_000))).unwrap();
        let mut hashes = vec![java_hash("a"), java_hash("b")];
        hashes.sort_unstable();
        assert_eq!(repeated, TagFilter::Hashes(hashes));
        let long = "a||".repeat(30_000);
        assert_eq!(TagFilter::parse(Some(&long)), Err(FilterError::TooLong(90_000)));
    }
}
