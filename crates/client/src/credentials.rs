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

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `AclClientRPCHook` of Java 5.5.0; see `interop/acl`.
    const TABLE: &str = include_str!("../tests/golden/signatures_java550.tsv");

    fn bytes(digits: &str) -> Vec<u8> {
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    fn text(digits: &str) -> String {
        String::from_utf8(bytes(digits)).unwrap()
    }

    #[test]
    fn signatures_are_those_of_java() {
        let (mut lines, mut tokens) = (0, 0);
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let [access, secret, token, pairs, body, expected] = line.split('\t').collect::<Vec<_>>()[..]
            else {
                panic!("not six columns: {line}");
            };
            let mut credentials = Credentials::new(text(access), text(secret));
            if token != "-" {
                credentials = credentials.with_security_token(text(token));
                tokens += 1;
            }
            let pairs: Vec<(String, String)> = pairs
                .split(',')
                .map(|pair| pair.split_once('=').unwrap())
                .map(|(name, value)| (text(name), text(value)))
                .collect();
            let mut fields: Vec<(&str, &str)> =
                pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!(credentials.sign(&mut fields, &bytes(body)), expected, "{line}");
            lines += 1;
        }
        assert!(lines == 300 && tokens > 50, "{lines} lines, {tokens} with a token");
    }

    #[test]
    fn the_secret_is_not_shown() {
        let shown = format!("{:?}", Credentials::new("user", "hidden").with_security_token("hidden too"));
        assert!(shown.contains("user") && !shown.contains("hidden"), "{shown}");
    }
}
