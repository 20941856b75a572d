//! Users and what they may do, as administration tools and brokers tell each other (3001 to 3010).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::or_default;

/// A user. What is absent is not changed by an update.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserInfo {
    /// What its requests are signed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// `enable` or `disable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_status: Option<String>,
    /// `Super`, who may do everything, or `Normal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_type: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

impl fmt::Debug for UserInfo {
    /// Everything but the password, which must not get into logs.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UserInfo { username, user_type, user_status, .. } = self;
        let mut shown = formatter.debug_struct("UserInfo");
        shown.field("username", username).field("user_type", user_type).field("user_status", user_status);
        shown.finish_non_exhaustive()
    }
}

/// What a subject may do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AclInfo {
    /// Its policies.
    #[serde(deserialize_with = "or_default")]
    pub policies: Vec<PolicyInfo>,
    /// Whom it is about, as `User:name`.
    #[serde(deserialize_with = "or_default")]
    pub subject: String,
}

/// Rules of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyInfo {
    /// The rules.
    #[serde(deserialize_with = "or_default")]
    pub entries: Vec<PolicyEntryInfo>,
    /// `Custom`, or `Default` for resources that no other rule is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_type: Option<String>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyEntryInfo {
    /// `Pub`, `Sub`, `Create` and the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<String>>,
    /// `Allow` or `Deny`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// What it is about, as `Topic:orders`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Addresses that requests come from; absent for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ips: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loose_json;

    #[test]
    fn a_password_is_sent_and_never_shown() {
        let user = UserInfo {
            username: Some("reader".to_owned()),
            password: Some("deep".to_owned()),
            ..UserInfo::default()
        };
        assert_eq!(serde_json::to_string(&user).unwrap(), r#"{"password":"deep","username":"reader"}"#);
        assert!(!format!("{user:?}").contains("deep"), "{user:?}");
    }

    #[test]
    fn what_a_java_broker_tells_is_read() {
        // As 5.5.0 writes it, and with what it leaves out.
        let text = r#"[{"policies":[{"entries":[{"actions":["Pub","Sub"],"decision":"Allow","resource":"Topic:orders"}],
            "policyType":"Custom"}],"subject":"User:reader"},{"subject":"User:nobody"}]"#;
        let acls: Vec<AclInfo> = loose_json::read(text.as_bytes()).unwrap();
        let entry = &acls[0].policies[0].entries[0];
        assert_eq!((entry.resource.as_deref(), &entry.source_ips), (Some("Topic:orders"), &None));
        assert_eq!((acls[1].subject.as_str(), acls[1].policies.len()), ("User:nobody", 0));
    }
}
