//! Why a server cannot run.

use std::path::PathBuf;

use broker::BrokerError;
use nameserver::NameserverError;
use remoting::ServerError;
use settings::SettingError;

/// Why a process cannot start or ends badly. One clear line each.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A setting is wrong.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A configuration file cannot be read.
    #[error("cannot read {}: {cause}; check the path given with -c", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// An option has a value that makes no sense.
    #[error("{0}")]
    Argument(String),
    /// An address on the command line or in the file makes no sense.
    #[error("{0}")]
    Address(String),
    /// A port cannot be taken.
    #[error(transparent)]
    Port(#[from] ServerError),
    /// The data directory cannot be used.
    #[error("data directory {} cannot be written: {cause}; choose another with --data or correct its owner", path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The broker cannot start or stop cleanly.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The nameserver cannot start.
    #[error(transparent)]
    Nameserver(#[from] NameserverError),
    /// The process lacks something from the system.
    #[error("cannot {what}: {cause}")]
    System {
        /// A verb.
        what: &'static str,
        /// What the system said.
        cause: std::io::Error,
    },
}
