//! Looking up the extensions of queue entries, for readers that pass over many.

use crate::queue::Queue;
use crate::queue_entry::QueueEntry;
use crate::queue_ext::{Decoded, Extension};
use crate::records::Reach;

/// Bytes that a reader fetches at a time: some hundred extensions, which readers ask for one after the other.
const FETCHED: usize = 4096;

/// What looking for an extension came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Unit(Extension<'a>),
    /// It is not there, or cannot be read: the record itself must tell.
    Nothing,
    /// It is farther away than the reader goes.
    Far,
}

/// Reads the extensions of a queue one after the other.
#[derive(Default)]
pub(crate) struct ExtReader {
    bytes: Vec<u8>,
    from: u64,
}

impl ExtReader {
    /// The extension of an entry whose tags code is not known.
    pub fn find(&mut self, reach: Reach, queue: &Queue, entry: &QueueEntry) -> Found<'_> {
        let Some(position) = entry.extension_position() else { return Found::Nothing };
        let needed = match Extension::decode(self.held(position)) {
            Decoded::Short(needed) => needed.max(FETCHED),
            _ => 0,
        };
        if needed > 0 && !self.fetch(reach, queue, position, needed) {
            return Found::Far;
        }
        // An extension with a bitmap that is longer than what readers fetch.
        if let Decoded::Short(longer) = Extension::decode(self.held(position))
            && longer > needed
            && !self.fetch(reach, queue, position, longer)
        {
            return Found::Far;
        }
        match Extension::decode(self.held(position)) {
            Decoded::Unit(unit) => Found::Unit(unit),
            _ => Found::Nothing,
        }
    }

    fn held(&self, position: u64) -> &[u8] {
        let at = position.checked_sub(self.from).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.bytes.get(at..)).unwrap_or_default()
    }

    /// Fetches what is there from `position` on; false if that is too far away.
    fn fetch(&mut self, reach: Reach, queue: &Queue, position: u64, bytes: usize) -> bool {
        self.bytes.resize(bytes, 0);
        self.from = position;
        let read = match queue.ext_bytes_within(reach, position, &mut self.bytes) {
            Ok(Some(read)) => read,
            Ok(None) => {
                self.bytes.clear();
                return false;
            }
            Err(error) => {
                tracing::warn!(?queue, position, %error, "cannot read an extension; the message itself is looked into");
                0
            }
        };
        self.bytes.truncate(read);
        true
    }
}
