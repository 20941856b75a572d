//! The body of a batch send, and of inner batches: several messages in one (wire.md §13.3).

/// One message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The application's flag.
    pub flag: i32,
    /// The message body.
    pub body: &'a [u8],
    /// Properties text.
    pub properties: &'a [u8],
}

/// A batch body that is not a sequence of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("batch body is malformed at byte {at}: {what}")]
pub struct BatchError {
    /// Offset in the body.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// Walks over the entries of a batch body; ends after the first error.
pub fn entries(body: &[u8]) -> Entries<'_> {
    Entries { body, at: 0 }
}

/// Iterator of [`entries`].
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Entries<'a> {
    fn fail(&mut self, what: &'static str) -> BatchError {
        let at = self.at;
        self.at = self.body.len();
        BatchError { at, what }
    }

    fn entry(&mut self) -> Result<Entry<'a>, BatchError> {
        let rest = &self.body[self.at..];
        let number = |at: usize| Some(i32::from_be_bytes(*rest.get(at..)?.first_chunk()?));
        let (Some(size), Some(flag), Some(body_length)) = (number(0), number(12), number(16)) else {
            return Err(self.fail("an entry needs 22 bytes at least"));
        };
        let Some(entry) = usize::try_from(size).ok().and_then(|size| rest.get(..size)) else {
            return Err(self.fail("the entry's size leads outside the body"));
        };
        let body = usize::try_from(body_length)
            .ok()
            .and_then(|length| length.checked_add(20))
            .and_then(|end| Some((entry.get(20..end)?, end)));
        let Some((body, end)) = body else {
            return Err(self.fail("the message body leads outside the entry"));
        };
        let Some(length) = entry.get(end..).and_then(|tail| tail.first_chunk::<2>()) else {
            return Err(self.fail("the entry ends before its properties length"));
        };
        let length = i16::from_be_bytes(*length);
        let properties = usize::try_from(length).ok().and_then(|length| entry.get(end + 2..end + 2 + length));
        let Some(properties) = properties else {
            return Err(self.fail("the properties lead outside the entry"));
        };
        if end + 2 + properties.len() != entry.len() {
            return Err(self.fail("the entry's parts do not add up to its size"));
        }
        self.at += entry.len();
        Ok(Entry { flag, body, properties })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.at < self.body.len()).then(|| self.entry())
    }
}

/// Appends one entry to a batch body.
pub fn push(body: &mut Vec<u8>, entry: &Entry<'_>) {
    let size = 22 + entry.body.len() + entry.properties.len();
    body.extend_from_slice(&(size as u32).to_be_bytes());
    body.extend_from_slice(&[0; 8]);
    body.extend_from_slice(&entry.flag.to_be_bytes());
    body.extend_from_slice(&(entry.body.len() as u32).to_be_bytes());
    body.extend_from_slice(entry.body);
    body.extend_from_slice(&(entry.properties.len() as u16).to_be_bytes());
    body.extend_from_slice(entry.properties);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn entries_survive_the_round_trip(
            parts in proptest::collection::vec((any::<i32>(), any::<Vec<u8>>(), any::<Vec<u8>>()), 0..5)
        ) {
            let mut body = Vec::new();
            for (flag, bytes, properties) in &parts {
                push(&mut body, &Entry { flag: *flag, body: bytes, properties });
            }
            let read: Result<Vec<_>, _> = entries(&body).collect();
            let expected: Vec<_> =
                parts.iter().map(|(flag, body, properties)| Entry { flag: *flag, body, properties }).collect();
            prop_assert_eq!(read.unwrap(), expected);
        }

        #[test]
        fn no_bytes_panic_or_loop(body: Vec<u8>) {
            prop_assert!(entries(&body).count() <= body.len());
        }
    }

    #[test]
    fn negative_and_overlong_lengths_are_errors() {
        let mut body = Vec::new();
        push(&mut body, &Entry { flag: 0, body: b"abc", properties: b"" });
        for (at, byte) in [(0, 0xFF), (3, 99), (16, 0x80), (19, 200), (23, 0x80), (24, 7)] {
            let mut bad = body.clone();
            bad[at] = byte;
            assert!(entries(&bad).next().unwrap().is_err(), "{at}");
        }
    }
}
