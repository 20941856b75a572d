//! A disk on which chosen files are not in memory, and whose reads of them wait until they are let go.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use sim::SimDisk;
use store::{Disk, Entry, File, Lock, Map, Space, Stat};

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
    fn is_cold(&self, path: &str) -> bool {
        self.state.lock().cold.as_ref().is_some_and(|part| path.contains(part))
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

struct SlowFile {
    file: Arc<dyn File>,
    path: String,
    gate: Arc<Gate>,
}

impl File for SlowFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.gate.is_cold(&self.path) {
            self.gate.pass();
        }
        self.file.read_at(buffer, offset)
    }

    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        if self.gate.is_cold(&self.path) { Ok(false) } else { self.file.read_cached_at(buffer, offset) }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn allocate(&self, from: u64, until: u64) -> io::Result<()> {
        self.file.allocate(from, until)
    }

    fn zero(&self, from: u64, until: u64) -> io::Result<()> {
        self.file.zero(from, until)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn map(&self) -> io::Result<Option<Map>> {
        self.file.map()
    }
}

impl SlowDisk {
    fn slow(&self, path: &Path, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(SlowFile { file, path: path.display().to_string(), gate: Arc::clone(&self.gate) })
    }
}

impl Disk for SlowDisk {
    fn create(&self, path: &Path, size: u64) -> io::Result<Arc<dyn File>> {
        Ok(self.slow(path, self.disk.create(path, size)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.slow(path, self.disk.open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_tree(dir)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk.space(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        self.disk.stat(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }

    fn boot_id(&self) -> Option<[u8; 16]> {
        self.disk.boot_id()
    }
}
