//! Looking at the files of a store that no broker works on: what is in them, whether it is sound, and making it so.
//!
//! Everything here is lenient where opening a store is strict: a stray file, a damaged record or a queue that does not
//! fit becomes a [`Finding`] and the look goes on. Nothing is changed except by [`StoreFiles::repair`].

mod compaction_check;
mod config_check;
mod ext_check;
mod finding;
mod index_check;
mod log_files;
mod overview;
mod queue_check;
mod repair;
mod store_files;
mod verify;

pub use crate::checkpoint::{Checkpoint, IndexMark, Mark, Own};
pub use compaction_check::CompactedView;
pub use finding::{Area, Finding, Findings};
pub use overview::{ConfigView, IndexHeader, IndexView, Overview, QueueView, SegmentView};
pub use repair::{LogChoice, Plan, Repaired};
pub use store_files::{Found, NumberedEntry, Sizes, StoreFiles, sizes};
pub use verify::{Progress, Stretch, Verified};
