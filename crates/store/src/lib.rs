//! The message store: one commit log is the only truth; consume queues and the key index follow it and can be
//! rebuilt from it. The files are those of the Java broker (see `docs/formats.md`).
//!
//! Invariants: the store never sees a socket and knows no async runtime; disk and time come in through [`Disk`] and
//! [`Clock`]; whatever bytes are found on disk, nothing here panics.
//!
//! The way of a message: [`Batch::push`] encodes it, [`Store::append`] gives it its offsets and writes it,
//! [`Store::when_flushed`] tells when it is safe, [`Store::read`] gives it to consumers.
#![deny(missing_docs)]

mod ahead;
mod append;
mod appender;
mod base;
mod batch;
mod check;
mod checkpoint;
mod clock;
mod commit_log;
mod compaction;
pub mod config_file;
mod delete_topic;
mod deletion;
mod disk;
mod dispatch;
mod error;
pub mod examine;
mod expiry;
mod ext_reader;
mod flush;
mod flushing;
mod foreign;
mod gathering;
mod index;
mod index_file;
mod index_keys;
mod index_mark;
mod index_search;
mod index_state;
mod indexing;
mod kept_for;
mod map;
mod options;
mod progress;
mod query;
mod queue;
mod queue_entry;
mod queue_ext;
mod queue_ext_files;
mod queue_files;
mod queue_journal;
mod queue_kind;
mod queue_rounds;
mod queue_table;
mod queue_writer;
mod queues;
mod read;
mod records;
mod recovery;
mod retention;
mod runtime;
mod sealed;
mod segment;
mod seldom;
mod signal;
mod sound_place;
mod store;
mod store_time;
mod time_search;
mod time_zone;
mod timer;
mod torn;
mod watch;
mod zeros;

pub use batch::{Appended, Batch};
pub use clock::{Clock, LocalTime, RealClock};
pub use delete_topic::Deletion;
pub use disk::{Disk, Entry, File, Lock, ReadOnlyDisk, RealDisk, Space, Stat};
pub use error::{AppendError, StoreError};
pub use flush::{Flushed, Waiter};
pub use index_keys::FoundBy;
pub use map::Map;
pub use options::{CompactionOptions, FlushMode, Options, TimerOptions, Transfer};
pub use query::{KeyKind, QueryResult};
pub use queue::Queue;
pub use queue_entry::QueueEntry;
pub use queue_ext::{Bitmaps, Extension};
pub use queue_kind::{INNER_MESSAGES_MAX, QueueKind};
pub use read::{MessageFilter, ReadLimits, ReadResult, ReadStatus};
pub use records::{Reach, Records};
pub use runtime::Runtime;
pub use store::{Arrival, OnArrival, OnDeletion, Store};
pub use time_search::Boundary;
pub use timer::{OnDelivered, TimerFigures, TimerNext};
pub use watch::{Told, Watcher, Watchers};
