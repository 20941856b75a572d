//! Failures to come, and the trace of what was done.

use std::io;
use std::path::Path;

/// An operation of the disk that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Anything that changes or syncs.
    Any,
    /// `write_at` and `zero`.
    Write,
    /// `read_at`, `len`, `open`, `list` and `stat`.
    Read,
    /// `sync_data` and `sync_tree`.
    Sync,
    /// `create`.
    Create,
    /// `allocate`.
    Allocate,
    /// `set_len`.
    Truncate,
    /// `rename`, by its first name.
    Rename,
    /// `remove` and `remove_dir`.
    Remove,
    /// `create_dir_all`.
    CreateDir,
    /// `sync_dir`.
    SyncDir,
}

/// A failure to come.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What fails.
    pub on: Operation,
    /// Only files whose path contains this.
    pub path_part: String,
    /// How many such operations succeed first.
    pub after: u64,
    /// How many fail then.
    pub times: u64,
    /// With what.
    pub error: io::ErrorKind,
    /// Of a failing write, this many bytes are written all the same; a failing create leaves a file of this length,
    /// none at all if it is 0.
    pub bytes_written: usize,
}

impl Fault {
    /// The next operation of a kind on files whose path contains `path_part` fails, and all that follow.
    pub fn from_now(on: Operation, path_part: &str, error: io::ErrorKind) -> Fault {
        Fault { on, path_part: path_part.into(), after: 0, times: u64::MAX, error, bytes_written: 0 }
    }

    /// Whether this operation fails; counts it.
    fn strikes(&mut self, on: Operation, path: &str) -> bool {
        let concerned = self.on == on || (self.on == Operation::Any && on != Operation::Read);
        if !concerned || self.times == 0 || !path.contains(&self.path_part) {
            return false;
        }
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

/// How an operation fails: with what, and how many bytes it does before.
pub(crate) struct Failure {
    pub error: io::Error,
    pub bytes_done: usize,
}

/// Failures to come, and what was done so far.
#[derive(Default)]
pub(crate) struct Log {
    pub faults: Vec<Fault>,
    pub struck: u64,
    pub operations: u64,
    pub syncs: u64,
    pub trace: Trace,
}

impl Log {
    /// Counts an operation, and fails it if its time has come.
    pub fn operate(&mut self, on: Operation, path: &Path) -> Result<(), Failure> {
        if on != Operation::Read {
            self.operations += 1;
            self.trace.add(&[on as u8]);
            self.trace.add(path.as_os_str().as_encoded_bytes());
        }
        if on == Operation::Sync {
            self.syncs += 1;
        }
        let path = path.to_string_lossy();
        let Some(fault) = self.faults.iter_mut().find_map(|fault| fault.strikes(on, &path).then_some(fault))
        else {
            return Ok(());
        };
        self.struck += 1;
        Err(Failure { error: io::Error::new(fault.error, "injected"), bytes_done: fault.bytes_written })
    }
}

/// One number for everything that was done, in order: two histories with the same number were the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Trace(0xCBF2_9CE4_8422_2325)
    }
}

impl Trace {
    /// A number for some bytes.
    pub(crate) fn of(bytes: &[u8]) -> u64 {
        let mut trace = Trace::default();
        trace.add(bytes);
        trace.0
    }

    /// Adds what was done (FNV-1a).
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }
}
