//! A disk on which chosen files are not in memory, and whose reads of them wait until they are let go.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use sim::{Layer, Layered, SimDisk};
use store::{Disk, File};

use super::PATIENCE;

/// The disk. Clones share it.
#[derive(Clone)]
pub struct SlowDisk {
    disk: SimDisk,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Files whose path contains this are not in memory.
    cold: Option<String>,
    /// Reads of them do not end.
    stuck: bool,
    /// Reads that wait at this moment.
    waiting: usize,
    /// Reads that went to the disk.
    reads: usize,
}

impl SlowDisk {
    pub fn over(disk: &SimDisk) -> SlowDisk {
        SlowDisk { disk: disk.clone(), gate: Arc::default() }
    }

    /// As a store sees it.
    pub fn seen(&self) -> Arc<dyn Disk> {
        Arc::new(Layered::new(Arc::new(self.disk.clone()), self.clone()))
    }

    /// From now on files whose path contains `path_part` are not in memory, and reading them does not end.
    pub fn stick(&self, path_part: &str) {
        let mut state = self.gate.state.lock();
        state.cold = Some(path_part.to_owned());
        state.stuck = true;
    }

    /// Reads end, also those that wait. Nothing becomes warm by that.
    pub fn let_go(&self) {
        self.gate.state.lock().stuck = false;
        self.gate.changed.notify_all();
    }

    /// Reads that wait at this moment.
    pub fn waiting(&self) -> usize {
        self.gate.state.lock().waiting
    }

    /// Reads of cold files so far.
    pub fn reads(&self) -> usize {
        self.gate.state.lock().reads
    }
}

impl Gate {
    fn is_cold(&self, path: &Path) -> bool {
        self.state.lock().cold.as_ref().is_some_and(|part| path.to_string_lossy().contains(part))
    }

    fn pass(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state.lock();
        state.reads += 1;
        state.waiting += 1;
        while state.stuck && !self.changed.wait_until(&mut state, deadline).timed_out() {}
        state.waiting -= 1;
    }
}

impl Layer for SlowDisk {
    fn read_at(&self, below: &dyn File, path: &Path, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.gate.is_cold(path) {
            self.gate.pass();
        }
        below.read_at(buffer, offset)
    }

    fn read_cached_at(
        &self,
        below: &dyn File,
        path: &Path,
        buffer: &mut [u8],
        offset: u64,
    ) -> io::Result<bool> {
        if self.gate.is_cold(path) { Ok(false) } else { below.read_cached_at(buffer, offset) }
    }
}
