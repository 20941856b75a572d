//! From what a read of a physical queue has come to, to what the reader of the logical one is told.

use wire::body::LogicQueueMappingItem;
use wire::code::response;
use wire::header::FrameWriter;

use super::LogicalQueue;

/// What a pull is told beside its messages: a response code and offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub code: i32,
    /// Where to go on.
    pub next: i64,
    pub min: i64,
    pub max: i64,
    /// What is to be added to the offsets in the records.
    pub delta: Option<i64>,
}

impl LogicalQueue {
    /// Translates what a read of one generation at the physical offset `asked` has come to. A reader at the end of a
    /// generation goes on with the next one.
    pub fn told(&self, item: &LogicQueueMappingItem, asked: i64, read: Told) -> Told {
        let (item, read) = self.moved_on(item, asked, read);
        let next = if item.has_end() { read.next.min(item.end_offset) } else { read.next };
        Told {
            code: read.code,
            next: item.logical(next),
            min: item.logical(read.min),
            max: item.logical(read.max).max(self.leader.logical_end()),
            delta: Some(item.delta()),
        }
    }

    fn moved_on<'q>(
        &'q self,
        item: &'q LogicQueueMappingItem,
        asked: i64,
        read: Told,
    ) -> (&'q LogicQueueMappingItem, Told) {
        if read.code == response::SUCCESS {
            return (item, read);
        }
        let is_leader = item.r#gen == self.leader.r#gen;
        let is_oldest = self.begun().next().is_some_and(|oldest| oldest.r#gen == item.r#gen);
        if asked < read.min {
            // Only what was before the oldest generation is lost. The beginning of a later one has expired without
            // those before it, which are shorter: the reader passes over the gap.
            let code = if is_oldest { response::PULL_OFFSET_MOVED } else { response::PULL_RETRY_IMMEDIATELY };
            return (item, Told { code, next: read.min, ..read });
        }
        if is_leader || asked < read.max {
            return (item, read);
        }
        match self.after(item) {
            Some(next) => {
                let start = next.start_offset;
                let code = response::PULL_RETRY_IMMEDIATELY;
                (next, Told { code, next: start, min: start, max: start, ..read })
            }
            // The next generation takes messages already, and will be read once it is known where it begins.
            None => (item, Told { code: response::PULL_NOT_FOUND, ..read }),
        }
    }
}

impl Told {
    /// Writes the offsets as fields of an answer.
    pub fn write(&self, writer: &mut FrameWriter<'_>) {
        writer.number("maxOffset", self.max);
        writer.number("minOffset", self.min);
        writer.number("nextBeginOffset", self.next);
        if let Some(delta) = self.delta {
            writer.number("offsetDelta", delta);
        }
    }
}
