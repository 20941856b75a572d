//! Signed requests: who asks, and proof that nobody changed it on the way (wire.md §8).

use hmac::{Hmac, Mac};
use sha1::Sha1;

/// An access key and its secret.
///
/// `Debug` never shows the secret.
#[derive(Clone)]
pub struct Credentials {
    access_key: String,
    secret_key: String,
    security_token: Option<String>,
}

impl Credentials {
    /// Of a user of the brokers.
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>) -> Credentials {
        Credentials { access_key: access_key.into(), secret_key: secret_key.into(), security_token: None }
    }

    /// With the token of a temporary credential.
    #[must_use]
    pub fn with_security_token(mut self, token: impl Into<String>) -> Credentials {
        self.security_token = Some(token.into());
        self
    }

    /// Adds the fields of a signature, which covers all fields that are there and the body.
    pub(crate) fn sign<'a>(&'a self, fields: &mut Vec<(&'a str, &'a str)>, body: &[u8]) -> String {
        fields.push(("AccessKey", &self.access_key));
        if let Some(token) = &self.security_token {
            fields.push(("SecurityToken", token));
        }
        self.signature(fields, body)
    }

    fn signature(&self, fields: &[(&str, &str)], body: &[u8]) -> String {
        let mut sorted: Vec<_> = fields.to_vec();
        // Java sorts by UTF-16 units, which for names of ASCII letters is the order of bytes.
        sorted.sort_unstable();
        // A key of any length is accepted, so this cannot fail.
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(self.secret_key.as_bytes()) else {
            return String::new();
        };
        for (_, value) in sorted {
            mac.update(value.as_bytes());
        }
        mac.update(body);
        wire::base64::encode(&mac.finalize().into_bytes())
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}
