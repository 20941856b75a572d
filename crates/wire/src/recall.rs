//! Recall handles: what a producer keeps of a timer message to take it back (wire.md §14.3).
//!
//! URL-safe Base64 with padding of `v1 topic brokerName millis uniqueKey`.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a handle says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecallHandle {
    /// Topic of the message.
    pub topic: String,
    /// Broker that has it.
    pub broker_name: String,
    /// A moment of its slot in the timer wheel, Unix milliseconds in decimal.
    pub millis: String,
    /// Its unique key.
    pub unique_key: String,
}

impl RecallHandle {
    /// Reads a handle; `None` if it is none.
    pub fn parse(text: &str) -> Option<RecallHandle> {
        let raw = String::from_utf8(decode(text.as_bytes())?).ok()?;
        let mut parts = raw.split(' ');
        if parts.next()? != "v1" {
            return None;
        }
        let mut next = || parts.next().map(str::to_owned);
        Some(RecallHandle { topic: next()?, broker_name: next()?, millis: next()?, unique_key: next()? })
    }
}

/// Appends the handle of a message whose slot begins at `out_ms` to `out`.
pub fn write(topic: &str, broker_name: &str, out_ms: i64, unique_key: &str, out: &mut Vec<u8>) {
    // Slots are rounded down from the moment after their beginning (broker.md §8.5).
    let raw = format!("v1 {topic} {broker_name} {} {unique_key}", out_ms.saturating_add(1));
    for group in raw.as_bytes().chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|at| u32::from(group.get(at).copied().unwrap_or(0)));
        let bits = a << 16 | b << 8 | c;
        for place in 0..4 {
            let symbol = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= group.len() { symbol } else { b'=' });
        }
    }
}

/// As Java's URL decoder: padding may be missing, anything else that is not of the alphabet is refused.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let len = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    if text.len() - len > 2 || len % 4 == 1 || (text.len() > len && !text.len().is_multiple_of(4)) {
        return None;
    }
    let mut out = Vec::with_capacity(len / 4 * 3 + 3);
    for group in text[..len].chunks(4) {
        let mut bits = 0u32;
        for byte in group {
            let value = ALPHABET.iter().position(|symbol| symbol == byte)? as u32;
            bits = bits << 6 | value;
        }
        bits <<= 6 * (4 - group.len());
        let [_, bytes @ ..] = bits.to_be_bytes();
        out.extend_from_slice(&bytes[..group.len() * 3 / 4]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(topic: &str, key: &str) -> String {
        let mut out = Vec::new();
        write(topic, "broker-a", 1_700_000_000_000, key, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_handle_is_what_javas_encoder_makes_of_the_text() {
        assert_eq!(written("T", "K"), "djEgVCBicm9rZXItYSAxNzAwMDAwMDAwMDAxIEs=");
        for (topic, key) in [("T", "K"), ("Topic", "7F000001"), ("To", "K?>~ü")] {
            let handle = RecallHandle::parse(&written(topic, key)).unwrap();
            assert_eq!((handle.topic.as_str(), handle.unique_key.as_str()), (topic, key));
            assert_eq!((handle.broker_name.as_str(), handle.millis.as_str()), ("broker-a", "1700000000001"));
        }
        assert!(RecallHandle::parse("djEgVCBicm9rZXItYSAxNzAwMDAwMDAwMDAxIEs").is_some(), "without padding");
    }

    #[test]
    fn anything_else_is_no_handle() {
        for text in ["", "=", "====", "v1 T b 1 K", "djEg", "djEgVCBi!m9r", "d", "djIgVCBiIDEgSw=="] {
            assert_eq!(RecallHandle::parse(text), None, "{text:?}");
        }
    }
}
