//! What `broker.conf` and `namesrv.conf` may say: the text format, the keys that act with their types and
//! defaults, and for every other key of the Java broker the reason why it has no effect here.
//!
//! ```
//! let text = "brokerName=broker-a\nsendMessageThreadPoolNums=16\nflushDisktype=SYNC_FLUSH\n";
//! let loaded = settings::load_broker(text, &[])?;
//! assert_eq!(loaded.settings.broker_name, "broker-a");
//! assert_eq!(loaded.ignored[0].key, "sendMessageThreadPoolNums");
//! assert_eq!(loaded.unknown[0].nearest, Some("flushDiskType"));
//! # Ok::<(), settings::SettingError>(())
//! ```
//!
//! Reading is stricter than Java's in one respect: a value that a key cannot take is an error with its line,
//! where Java keeps the default without a word (operations.md §2).
//!
//! Invariant: nothing here opens a file of the user, a socket or a process; a caller brings texts. The one exception
//! is [`replace_file`], for callers that write a changed text back. Whatever the text, there is an answer or an error,
//! never a panic.

#![deny(missing_docs)]

mod broker;
mod error;
mod file;
mod form;
mod known;
mod load;
mod nameserver;
mod page;
pub mod properties;
mod surroundings;
mod table;
mod update;

pub use broker::Broker;
pub use error::{Place, SettingError};
pub use file::replace as replace_file;
pub use form::{BrokerRole, DelayLevels, FlushDiskType, MessageRequestMode};
pub use load::{Ignored, Loaded, Remark, Superseded, Unknown, load_broker, load_in, load_nameserver};
pub use nameserver::Nameserver;
pub use page::configuration_page;
pub use surroundings::Surroundings;
pub use table::{Change, Row, Table};
pub use update::{Changed, Refusal, Update, updatable, update};
