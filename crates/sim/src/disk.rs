//! A disk in memory that knows, for every file and directory, what was synced and what was only written.
//!
//! [`SimDisk::crash`] gives a disk as it may look after a power cut: of what was not synced, any subset of 512-byte
//! sectors is there, in any of the states they were in, and of each directory's changes the first ones or any of them.
//! Simply dropping a store and opening it again on the same disk is a `kill -9`: everything written stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use store::{Clock, Disk, Entry, File, Lock, Map, Space, Stat};

use crate::clock::SimClock;
use crate::content::Content;
use crate::fault::{Failure, Fault, Log, Operation, Trace};
use crate::names::{self, Change, Names};
use crate::random::Random;

/// The disk. Clones share it.
#[derive(Clone)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
    clock: SimClock,
    hold: Arc<Hold>,
}

/// Holds syncs up while it is closed.
#[derive(Default)]
struct Hold {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Default)]
struct Held {
    /// Syncs of files whose path contains this hang.
    path_part: Option<String>,
    /// Those that do at the moment.
    count: usize,
}

impl Hold {
    fn pass(&self, path: &Path) {
        let mut held = self.held.lock();
        held.count += 1;
        let holds = |held: &mut Held| {
            held.path_part.as_ref().is_some_and(|part| path.to_string_lossy().contains(part))
        };
        self.changed.wait_while(&mut held, holds);
        held.count -= 1;
    }
}

struct World {
    inodes: HashMap<u64, Inode>,
    next_inode: u64,
    live: Names,
    durable: Names,
    /// Changes of names since the last sync of their directory, in order.
    changes: Vec<Change>,
    locked: BTreeSet<PathBuf>,
    boot_id: [u8; 16],
    space: Space,
    log: Log,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    content: Content,
    modified: i64,
    /// Its readers do not go on where they stopped, as the last advice said.
    reads_at_random: bool,
}

impl SimDisk {
    /// An empty disk; files take their times from `clock`.
    pub fn new(clock: SimClock) -> SimDisk {
        let world = World {
            inodes: HashMap::new(),
            next_inode: 1,
            live: Names::default(),
            durable: Names::default(),
            changes: Vec::new(),
            locked: BTreeSet::new(),
            boot_id: [1; 16],
            space: Space { total: 1000, free: 900, available: 900 },
            log: Log::default(),
        };
        SimDisk { world: Arc::new(Mutex::new(world)), clock, hold: Arc::default() }
    }

    /// The disk after a power cut at this moment, as one of the many that may be. This one goes on as it was.
    pub fn crash(&self, random: &mut Random) -> SimDisk {
        let world = self.world.lock();
        // Crashes that keep everything and crashes that lose everything find different faults than mixed ones.
        let kept = [0, 10, 50, 90, 100][random.below(5) as usize];
        let names = names::crash(&world.durable, &world.changes, random, kept);
        let mut inodes = HashMap::new();
        for number in names.files.values() {
            let Inode { content, modified, .. } = &world.inodes[number];
            // A file may have two names when a rename survived and what came before it did not.
            if !inodes.contains_key(number) {
                let content = content.crash(random, kept);
                let modified = *modified;
                inodes.insert(*number, Inode { content, modified, reads_at_random: false });
            }
        }
        let mut boot_id = [0; 16];
        boot_id[..8].copy_from_slice(&random.next_u64().to_be_bytes());
        boot_id[8..].copy_from_slice(&random.next_u64().to_be_bytes());
        let world = World {
            inodes,
            next_inode: world.next_inode,
            live: names.clone(),
            durable: names,
            changes: Vec::new(),
            locked: BTreeSet::new(),
            boot_id,
            space: world.space,
            log: Log { trace: world.log.trace, ..Log::default() },
        };
        SimDisk { world: Arc::new(Mutex::new(world)), clock: self.clock.clone(), hold: Arc::default() }
    }

    /// A copy that shares nothing with this disk: to look at what a recovery changes.
    pub fn copy(&self) -> SimDisk {
        let world = self.world.lock();
        let world = World {
            inodes: world.inodes.clone(),
            next_inode: world.next_inode,
            live: world.live.clone(),
            durable: world.durable.clone(),
            changes: world.changes.clone(),
            locked: BTreeSet::new(),
            boot_id: world.boot_id,
            space: world.space,
            log: Log { trace: world.log.trace, ..Log::default() },
        };
        SimDisk { world: Arc::new(Mutex::new(world)), clock: self.clock.clone(), hold: Arc::default() }
    }

    /// Lets something fail from now on.
    pub fn inject(&self, fault: Fault) {
        self.world.lock().log.faults.push(fault);
    }

    /// Heals the disk.
    pub fn heal(&self) {
        self.world.lock().log.faults.clear();
    }

    /// Operations that failed so far, not counting those before a crash.
    pub fn failures(&self) -> u64 {
        self.world.lock().log.struck
    }

    /// Lets syncs of files hang, as on a disk that does not answer, or go on.
    pub fn hold_syncs(&self, held: bool) {
        self.hold_syncs_of(held.then_some(""));
    }

    /// The same for files whose path contains `path_part`; all others go on.
    pub fn hold_syncs_of(&self, path_part: Option<&str>) {
        self.hold.held.lock().path_part = path_part.map(str::to_owned);
        self.hold.changed.notify_all();
    }

    /// How many syncs hang at the moment.
    pub fn held_syncs(&self) -> usize {
        self.hold.held.lock().count
    }

    /// Sets what the file system says about its space.
    pub fn set_space(&self, space: Space) {
        self.world.lock().space = space;
    }

    /// Operations so far that changed or synced something.
    pub fn operations(&self) -> u64 {
        self.world.lock().log.operations
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.world.lock().log.syncs
    }

    /// One number for all operations so far, those before a crash included.
    pub fn trace(&self) -> Trace {
        self.world.lock().log.trace
    }

    /// Every file with its content.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let world = self.world.lock();
        let content = |inode: &u64| world.inodes[inode].content.live().to_vec();
        world.live.files.iter().map(|(path, inode)| (path.clone(), content(inode))).collect()
    }

    /// Every file of which both name and directories are durable, with the content that is.
    pub fn durable_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let world = self.world.lock();
        let names = names::crash(&world.durable, &[], &mut Random::new(0), 0);
        let content = |inode: &u64| world.inodes[inode].content.durable().to_vec();
        names.files.iter().map(|(path, inode)| (path.clone(), content(inode))).collect()
    }

    /// The files of which the last advice said that nothing is to be read in advance.
    pub fn read_at_random(&self) -> BTreeSet<PathBuf> {
        let world = self.world.lock();
        let at_random = |inode: &u64| world.inodes[inode].reads_at_random;
        world.live.files.iter().filter(|(_, inode)| at_random(inode)).map(|(path, _)| path.clone()).collect()
    }

    /// Changes bytes of a file behind everybody's back, durably.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world.lock();
        let inode = world.live.files[path];
        if let Some(Inode { content, .. }) = world.inodes.get_mut(&inode) {
            let mut bytes = content.live().to_vec();
            change(&mut bytes);
            content.set_len(0);
            content.write(&bytes, 0);
            content.sync();
        }
    }
}

impl World {
    fn operate(&mut self, on: Operation, path: &Path) -> io::Result<()> {
        self.log.operate(on, path).map_err(|failure| failure.error)
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.changes.push(change);
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for SimDisk {
    fn create(&self, path: &Path, size: u64) -> io::Result<Arc<dyn File>> {
        let mut world = self.world.lock();
        let outcome = world.log.operate(Operation::Create, path);
        let len = match &outcome {
            Ok(()) => size as usize,
            Err(Failure { bytes_done: 0, .. }) => 0,
            Err(failure) => failure.bytes_done.min(size as usize),
        };
        if !path.parent().is_some_and(|dir| world.live.dirs.contains(dir)) {
            return Err(missing());
        }
        if let Err(Failure { error, bytes_done: 0 }) = outcome {
            return Err(error);
        }
        let inode = match world.live.files.get(path) {
            Some(inode) => *inode,
            None => {
                let inode = world.next_inode;
                world.next_inode += 1;
                world.inodes.insert(inode, Inode::default());
                world.change(Change::File { path: path.to_path_buf(), inode: Some(inode) });
                inode
            }
        };
        let modified = self.clock.now_millis();
        if let Some(inode) = world.inodes.get_mut(&inode) {
            inode.content.set_len(0);
            inode.content.set_len(len);
            inode.modified = modified;
        }
        outcome.map_err(|failure| failure.error)?;
        Ok(Arc::new(SimFile { disk: self.clone(), inode, path: path.to_path_buf() }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut world = self.world.lock();
        world.operate(Operation::Read, path)?;
        let inode = *world.live.files.get(path).ok_or_else(missing)?;
        Ok(Arc::new(SimFile { disk: self.clone(), inode, path: path.to_path_buf() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut world = self.world.lock();
        world.operate(Operation::Read, dir)?;
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let len = |inode: &u64| world.inodes[inode].content.live().len() as u64;
        let files = world.live.files.iter().filter(|(path, _)| path.parent() == Some(dir));
        let files = files.map(|(path, inode)| Entry { name: name(path), is_dir: false, len: len(inode) });
        let dirs = world.live.dirs.iter().filter(|path| path.parent() == Some(dir));
        let dirs = dirs.map(|path| Entry { name: name(path), is_dir: true, len: 0 });
        let mut entries: Vec<_> = files.chain(dirs).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.operate(Operation::Rename, from)?;
        world.log.trace.add(to.as_os_str().as_encoded_bytes());
        let inode = *world.live.files.get(from).ok_or_else(missing)?;
        if !to.parent().is_some_and(|dir| world.live.dirs.contains(dir)) {
            return Err(missing());
        }
        world.change(Change::Rename { from: from.to_path_buf(), to: to.to_path_buf(), inode });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.operate(Operation::Remove, path)?;
        if world.live.files.contains_key(path) {
            world.change(Change::File { path: path.to_path_buf(), inode: None });
        }
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        if !self.list(dir)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let mut world = self.world.lock();
        world.operate(Operation::Remove, dir)?;
        if !world.live.dirs.contains(dir) {
            return Err(missing());
        }
        world.change(Change::Dir { path: dir.to_path_buf(), there: false });
        Ok(())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let above: Vec<_> = dir.ancestors().filter(|dir| !dir.as_os_str().is_empty()).collect();
        for dir in above.into_iter().rev() {
            if dir.parent().is_some() && !world.live.dirs.contains(dir) {
                world.operate(Operation::CreateDir, dir)?;
                world.change(Change::Dir { path: dir.to_path_buf(), there: true });
            }
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.operate(Operation::SyncDir, dir)?;
        if dir.parent().is_some() && !world.live.dirs.contains(dir) {
            return Err(missing());
        }
        let mut rest: Vec<Change> = Vec::new();
        for change in std::mem::take(&mut world.changes) {
            if change.dir() != dir {
                rest.push(change);
                continue;
            }
            change.apply(&mut world.durable);
            if let Change::Dir { path, there: false } = &change {
                rest = rest.into_iter().filter_map(|earlier| earlier.without(path)).collect();
            }
        }
        world.changes = rest;
        Ok(())
    }

    fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let outcome = world.operate(Operation::Sync, dir);
        if outcome.is_ok() && dir.parent().is_some() && !world.live.dirs.contains(dir) {
            return Err(missing());
        }
        // Like syncfs: the whole file system.
        if outcome.is_ok() {
            for change in std::mem::take(&mut world.changes) {
                change.apply(&mut world.durable);
            }
        }
        for inode in world.inodes.values_mut() {
            match outcome {
                Ok(()) => inode.content.sync(),
                Err(_) => inode.content.fail_sync(),
            }
        }
        outcome
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        Ok(self.world.lock().space)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let mut world = self.world.lock();
        world.operate(Operation::Read, path)?;
        if world.live.dirs.contains(path) {
            return Ok(Some(Stat { len: 0, modified_millis: 0, is_dir: true }));
        }
        let inode = world.live.files.get(path).map(|inode| &world.inodes[inode]);
        Ok(inode.map(|inode| Stat {
            len: inode.content.live().len() as u64,
            modified_millis: inode.modified,
            is_dir: false,
        }))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        if !self.world.lock().locked.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { disk: self.clone(), path: path.to_path_buf() }))
    }

    fn boot_id(&self) -> Option<[u8; 16]> {
        Some(self.world.lock().boot_id)
    }
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.world.lock().locked.remove(&self.path);
    }
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
    path: PathBuf,
}

impl SimFile {
    /// Counts the operation and lets `act` do it, given how it is to fail.
    fn with<R>(
        &self,
        on: Operation,
        detail: &[u64],
        act: impl FnOnce(&mut Inode, Result<(), Failure>) -> io::Result<R>,
    ) -> io::Result<R> {
        let mut world = self.disk.world.lock();
        let outcome = world.log.operate(on, &self.path);
        for number in detail {
            world.log.trace.add(&number.to_be_bytes());
        }
        match world.inodes.get_mut(&self.inode) {
            Some(inode) => act(inode, outcome),
            None => Err(missing()),
        }
    }

    fn change(&self, bytes: &[u8], at: usize) -> io::Result<()> {
        let modified = self.disk.clock.now_millis();
        let content = Trace::of(bytes);
        self.with(Operation::Write, &[at as u64, bytes.len() as u64, content], |inode, outcome| {
            let done = outcome.as_ref().err().map_or(bytes.len(), |failure| failure.bytes_done);
            inode.content.write(&bytes[..done.min(bytes.len())], at);
            inode.modified = modified;
            outcome.map_err(|failure| failure.error)
        })
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(Operation::Read, &[], |inode, outcome| {
            outcome.map_err(|failure| failure.error)?;
            let from = offset as usize;
            let bytes = inode.content.live().get(from..from + buffer.len());
            buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn expect_streams(&self, streams: bool) {
        if let Some(inode) = self.disk.world.lock().inodes.get_mut(&self.inode) {
            inode.reads_at_random = !streams;
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(bytes, offset as usize)
    }

    fn allocate(&self, from: u64, until: u64) -> io::Result<()> {
        self.with(Operation::Allocate, &[from, until], |_, outcome| outcome.map_err(|failure| failure.error))
    }

    fn zero(&self, from: u64, until: u64) -> io::Result<()> {
        if from >= until {
            return Ok(());
        }
        let until = until.min(self.len()?);
        self.change(&vec![0; until.saturating_sub(from) as usize], from as usize)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(Operation::Truncate, &[len], |inode, outcome| {
            outcome.map_err(|failure| failure.error)?;
            inode.content.set_len(len as usize);
            Ok(())
        })
    }

    fn set_modified(&self, seconds: i64) -> io::Result<()> {
        self.with(Operation::Truncate, &[seconds.cast_unsigned()], |inode, outcome| {
            outcome.map_err(|failure| failure.error)?;
            inode.modified = seconds * 1000;
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.hold.pass(&self.path);
        self.with(Operation::Sync, &[], |inode, outcome| {
            match outcome {
                Ok(()) => inode.content.sync(),
                Err(_) => inode.content.fail_sync(),
            }
            outcome.map_err(|failure| failure.error)
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(Operation::Read, &[], |inode, outcome| {
            outcome.map_err(|failure| failure.error)?;
            Ok(inode.content.live().len() as u64)
        })
    }

    fn map(&self) -> io::Result<Option<Map>> {
        Ok(None)
    }
}
