//! Tag filters (broker.md §11.1): the broker compares hashes only, clients compare the text again.

use wire::body::SubscriptionData;
use wire::hash::java_hash;

/// Which messages a reader wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagFilter {
    /// All of them.
    All,
    /// Those whose tag has one of these hashes.
    Hashes(Vec<i32>),
}

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// SQL and class filters.
    #[error("expressions of type {0} are not served yet; subscribe by tags, or filter in the consumer")]
    Type(String),
    /// Nothing but separators.
    #[error("the tag expression \"{0}\" names no tag; use * for all messages")]
    Empty(String),
}

impl TagFilter {
    /// From the expression of a pull. Absent type means tags.
    pub fn parse(expression: Option<&str>, kind: Option<&str>) -> Result<TagFilter, FilterError> {
        match kind {
            None | Some("" | "TAG") => (),
            Some(other) => return Err(FilterError::Type(other.to_owned())),
        }
        let expression = expression.unwrap_or("*").trim();
        if expression.is_empty() || expression == "*" {
            return Ok(TagFilter::All);
        }
        let tags = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        let hashes: Vec<i32> = tags.map(java_hash).collect();
        if hashes.is_empty() {
            Err(FilterError::Empty(expression.to_owned()))
        } else {
            Ok(TagFilter::Hashes(hashes))
        }
    }

    /// From a subscription of a heartbeat, which carries the hashes.
    pub fn from_subscription(data: &SubscriptionData) -> TagFilter {
        if data.expression_type != "TAG" || data.sub_string == "*" || data.code_set.is_empty() {
            TagFilter::All
        } else {
            TagFilter::Hashes(data.code_set.clone())
        }
    }

    /// Whether a message of this tags code is wanted; collisions pass.
    pub fn matches(&self, tags_code: i64) -> bool {
        match self {
            TagFilter::All => true,
            TagFilter::Hashes(hashes) => hashes.contains(&(tags_code as i32)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_become_hashes() {
        assert_eq!(TagFilter::parse(None, None).unwrap(), TagFilter::All);
        assert_eq!(TagFilter::parse(Some(" * "), Some("TAG")).unwrap(), TagFilter::All);
        let filter = TagFilter::parse(Some("TagA || TagB||"), None).unwrap();
        assert!(filter.matches(i64::from(java_hash("TagA"))));
        assert!(filter.matches(i64::from(java_hash("TagB"))));
        assert!(!filter.matches(0));
        assert!(matches!(TagFilter::parse(Some("||"), None), Err(FilterError::Empty(_))));
        assert!(matches!(TagFilter::parse(Some("a > 1"), Some("SQL92")), Err(FilterError::Type(_))));
    }
}
