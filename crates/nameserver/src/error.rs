//! Why a nameserver cannot start.

use std::io;
use std::path::PathBuf;

/// Why a nameserver cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NameserverError {
    /// The key-value file is there and cannot be read.
    #[error("cannot read {}: {cause}; make it readable or point kvConfigPath to another file", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Neither the key-value file nor its backup is what it should be. Starting without would forget the order
    /// topics, and the next change would overwrite them.
    #[error(
        "{} is not a key-value table: {cause}; repair it, or move it away to start without its entries",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
}
