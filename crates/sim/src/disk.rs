//! A disk in memory that knows, for every file and directory, what was synced and what was only written.
//!
//! [`SimDisk::crash`] gives a disk as it may look after a power cut: of what was not synced, any subset of 512-byte
//! sectors is there, and of each directory's changes any number of the first ones. Simply dropping a store and opening
//! it again on the same disk is a `kill -9`: everything written stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use store::{Clock, Disk, Entry, File, Lock, Map, Space, Stat};

use crate::clock::SimClock;
use crate::random::Random;

const SECTOR: usize = 512;

/// An operation of the disk that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Anything that changes or syncs.
    Any,
    /// `write_at`.
    Write,
    /// `read_at`.
    Read,
    /// `sync_data` and `sync_tree`.
    Sync,
    /// `create`.
    Create,
    /// `allocate`.
    Allocate,
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
    /// Of a failing write, this many bytes are written all the same.
    pub bytes_written: usize,
}

impl Fault {
    /// The next operation of a kind on files whose path contains `path_part` fails, and all that follow.
    pub fn from_now(on: Operation, path_part: &str, error: io::ErrorKind) -> Fault {
        Fault { on, path_part: path_part.into(), after: 0, times: u64::MAX, error, bytes_written: 0 }
    }
}

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
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Hold {
    fn pass(&self) {
        self.opened.wait_while(&mut self.closed.lock(), |closed| *closed);
    }
}

struct World {
    inodes: HashMap<u64, Inode>,
    next_inode: u64,
    live: Names,
    durable: Names,
    /// Changes of names since the last sync of their directory, in order.
    changes: Vec<Change>,
    faults: Vec<Fault>,
    locked: BTreeSet<PathBuf>,
    boot_id: [u8; 16],
    space: Space,
    operations: u64,
    full_syncs: u64,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Names {
    files: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
}

#[derive(Debug, Clone)]
enum Change {
    File { path: PathBuf, inode: Option<u64> },
    Rename { from: PathBuf, to: PathBuf, inode: u64 },
    Dir { path: PathBuf, there: bool },
}

impl Change {
    fn dir(&self) -> &Path {
        let (Change::File { path, .. } | Change::Rename { to: path, .. } | Change::Dir { path, .. }) = self;
        path.parent().unwrap_or(Path::new(""))
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Change::File { path, inode: Some(inode) } => {
                names.files.insert(path.clone(), *inode);
            }
            Change::File { path, inode: None } => {
                names.files.remove(path);
            }
            Change::Rename { from, to, inode } => {
                names.files.remove(from);
                names.files.insert(to.clone(), *inode);
            }
            Change::Dir { path, there: true } => {
                names.dirs.insert(path.clone());
            }
            Change::Dir { path, there: false } => {
                names.dirs.remove(path);
            }
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    modified: i64,
}

impl Inode {
    fn write(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        if end > self.live.len() {
            self.live.resize(end, 0);
        }
        self.live[at..end].copy_from_slice(bytes);
        if !bytes.is_empty() {
            self.dirty.extend(at / SECTOR..=(end - 1) / SECTOR);
        }
    }

    fn sync(&mut self) {
        if self.durable.len() == self.live.len() {
            for sector in std::mem::take(&mut self.dirty) {
                let from = (sector * SECTOR).min(self.live.len());
                let until = (from + SECTOR).min(self.live.len());
                self.durable[from..until].copy_from_slice(&self.live[from..until]);
            }
        } else {
            self.durable = self.live.clone();
            self.dirty.clear();
        }
    }

    /// As it may look after a power cut; `kept` percent of the unsynced sectors survive.
    fn crash(&self, random: &mut Random, kept: u64) -> Inode {
        let mut content = self.durable.clone();
        if self.live.len() != self.durable.len() && random.chance(kept.max(20)) {
            content.resize(self.live.len(), 0);
        }
        for &sector in &self.dirty {
            let from = sector * SECTOR;
            let until = (from + SECTOR).min(content.len()).min(self.live.len());
            if from < until && random.chance(kept) {
                content[from..until].copy_from_slice(&self.live[from..until]);
            }
        }
        Inode { live: content.clone(), durable: content, dirty: BTreeSet::new(), modified: self.modified }
    }
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
            faults: Vec::new(),
            locked: BTreeSet::new(),
            boot_id: [1; 16],
            space: Space { total: 1000, free: 900, available: 900 },
            operations: 0,
            full_syncs: 0,
        };
        SimDisk { world: Arc::new(Mutex::new(world)), clock, hold: Arc::default() }
    }

    /// The disk after a power cut at this moment, as one of the many that may be. This one goes on as it was.
    pub fn crash(&self, random: &mut Random) -> SimDisk {
        let world = self.world.lock();
        // Crashes that keep everything and crashes that lose everything find different faults than mixed ones.
        let kept = [0, 10, 50, 90, 100][random.below(5) as usize];
        let mut names = world.durable.clone();
        let mut budget: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for change in &world.changes {
            *budget.entry(change.dir().to_path_buf()).or_default() += 1;
        }
        for count in budget.values_mut() {
            *count = random.below(*count + 1);
        }
        for change in &world.changes {
            let left = budget.entry(change.dir().to_path_buf()).or_default();
            if *left > 0 {
                *left -= 1;
                change.apply(&mut names);
            }
        }
        // What stands in a directory that did not survive is gone.
        let dirs = names.dirs.clone();
        let reachable = |path: &Path| {
            path.ancestors()
                .skip(1)
                .all(|dir| dir.parent().is_none() || dir.as_os_str().is_empty() || dirs.contains(dir))
        };
        names.files.retain(|path, _| reachable(path));
        names.dirs.retain(|path| reachable(path));
        let mut inodes = HashMap::new();
        for inode in names.files.values() {
            inodes.insert(*inode, world.inodes[inode].crash(random, kept));
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
            faults: Vec::new(),
            locked: BTreeSet::new(),
            boot_id,
            space: world.space,
            operations: 0,
            full_syncs: 0,
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
            faults: Vec::new(),
            locked: BTreeSet::new(),
            boot_id: world.boot_id,
            space: world.space,
            operations: 0,
            full_syncs: 0,
        };
        SimDisk { world: Arc::new(Mutex::new(world)), clock: self.clock.clone(), hold: Arc::default() }
    }

    /// Lets something fail from now on.
    pub fn inject(&self, fault: Fault) {
        self.world.lock().faults.push(fault);
    }

    /// Heals the disk.
    pub fn heal(&self) {
        self.world.lock().faults.clear();
    }

    /// Lets syncs of files hang, as on a disk that does not answer, or go on.
    pub fn hold_syncs(&self, held: bool) {
        *self.hold.closed.lock() = held;
        self.hold.opened.notify_all();
    }

    /// Sets what the file system says about its space.
    pub fn set_space(&self, space: Space) {
        self.world.lock().space = space;
    }

    /// Operations so far that changed or synced something.
    pub fn operations(&self) -> u64 {
        self.world.lock().operations
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.world.lock().full_syncs
    }

    /// Every file with its content.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let world = self.world.lock();
        world
            .live
            .files
            .iter()
            .map(|(path, inode)| (path.clone(), world.inodes[inode].live.clone()))
            .collect()
    }

    /// Changes bytes of a file behind everybody's back, durably.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world.lock();
        let inode = world.live.files[path];
        if let Some(inode) = world.inodes.get_mut(&inode) {
            change(&mut inode.live);
            inode.sync();
        }
    }
}

impl World {
    /// Counts an operation and fails it if its time has come; gives the bytes that a failing write still writes.
    fn operate(&mut self, on: Operation, path: &Path) -> Result<(), (io::Error, usize)> {
        if on != Operation::Read {
            self.operations += 1;
        }
        let path = path.to_string_lossy();
        for fault in &mut self.faults {
            let concerned = fault.on == on || (fault.on == Operation::Any && on != Operation::Read);
            if !concerned || fault.times == 0 || !path.contains(&fault.path_part) {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            fault.times -= 1;
            return Err((io::Error::new(fault.error, "injected"), fault.bytes_written));
        }
        Ok(())
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
        world.operate(Operation::Create, path).map_err(|(error, _)| error)?;
        if !path.parent().is_some_and(|dir| world.live.dirs.contains(dir)) {
            return Err(missing());
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
        if let Some(content) = world.inodes.get_mut(&inode) {
            let old = content.live.len();
            content.live.clear();
            content.live.resize(size as usize, 0);
            content.dirty.extend(0..old.min(size as usize).div_ceil(SECTOR));
            content.modified = modified;
        }
        Ok(Arc::new(SimFile { disk: self.clone(), inode, path: path.to_path_buf() }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inode = *self.world.lock().live.files.get(path).ok_or_else(missing)?;
        Ok(Arc::new(SimFile { disk: self.clone(), inode, path: path.to_path_buf() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let world = self.world.lock();
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let files =
            world.live.files.iter().filter(|(path, _)| path.parent() == Some(dir)).map(|(path, inode)| {
                Entry { name: name(path), is_dir: false, len: world.inodes[inode].live.len() as u64 }
            });
        let dirs = world.live.dirs.iter().filter(|path| path.parent() == Some(dir));
        let dirs = dirs.map(|path| Entry { name: name(path), is_dir: true, len: 0 });
        let mut entries: Vec<_> = files.chain(dirs).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.operate(Operation::Any, from).map_err(|(error, _)| error)?;
        let inode = *world.live.files.get(from).ok_or_else(missing)?;
        world.change(Change::Rename { from: from.to_path_buf(), to: to.to_path_buf(), inode });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.operate(Operation::Any, path).map_err(|(error, _)| error)?;
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
        world.operate(Operation::Any, dir).map_err(|(error, _)| error)?;
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
                world.operate(Operation::Any, dir).map_err(|(error, _)| error)?;
                world.change(Change::Dir { path: dir.to_path_buf(), there: true });
            }
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.operate(Operation::Any, dir).map_err(|(error, _)| error)?;
        if dir.parent().is_some() && !world.live.dirs.contains(dir) {
            return Err(missing());
        }
        let (synced, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut world.changes).into_iter().partition(|change| change.dir() == dir);
        for change in &synced {
            change.apply(&mut world.durable);
        }
        world.changes = rest;
        Ok(())
    }

    fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.operate(Operation::Sync, dir).map_err(|(error, _)| error)?;
        world.full_syncs += 1;
        // Like syncfs: the whole file system.
        for change in std::mem::take(&mut world.changes) {
            change.apply(&mut world.durable);
        }
        for inode in world.inodes.values_mut() {
            inode.sync();
        }
        Ok(())
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        Ok(self.world.lock().space)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let world = self.world.lock();
        if world.live.dirs.contains(path) {
            return Ok(Some(Stat { len: 0, modified_millis: 0, is_dir: true }));
        }
        let inode = world.live.files.get(path).map(|inode| &world.inodes[inode]);
        Ok(inode.map(|inode| Stat {
            len: inode.live.len() as u64,
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
    fn with<R>(
        &self,
        on: Operation,
        act: impl FnOnce(&mut Inode, Result<(), (io::Error, usize)>) -> io::Result<R>,
    ) -> io::Result<R> {
        let mut world = self.disk.world.lock();
        let outcome = world.operate(on, &self.path);
        if on == Operation::Sync {
            world.full_syncs += 1;
        }
        match world.inodes.get_mut(&self.inode) {
            Some(inode) => act(inode, outcome),
            None => Err(missing()),
        }
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(Operation::Read, |inode, outcome| {
            outcome.map_err(|(error, _)| error)?;
            let from = offset as usize;
            let bytes = inode.live.get(from..from + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let modified = self.disk.clock.now_millis();
        self.with(Operation::Write, |inode, outcome| {
            let len = outcome.as_ref().err().map_or(bytes.len(), |(_, written)| (*written).min(bytes.len()));
            inode.write(&bytes[..len], offset as usize);
            inode.modified = modified;
            outcome.map_err(|(error, _)| error)
        })
    }

    fn allocate(&self, _from: u64, _until: u64) -> io::Result<()> {
        self.with(Operation::Allocate, |_, outcome| outcome.map_err(|(error, _)| error))
    }

    fn zero(&self, from: u64, until: u64) -> io::Result<()> {
        if from >= until {
            return Ok(());
        }
        self.with(Operation::Write, |inode, outcome| {
            outcome.map_err(|(error, _)| error)?;
            let until = (until as usize).min(inode.live.len());
            let zeros = vec![0; until.saturating_sub(from as usize)];
            inode.write(&zeros, from as usize);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(Operation::Write, |inode, outcome| {
            outcome.map_err(|(error, _)| error)?;
            inode.live.resize(len as usize, 0);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.hold.pass();
        self.with(Operation::Sync, |inode, outcome| {
            outcome.map_err(|(error, _)| error)?;
            inode.sync();
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(Operation::Read, |inode, _| Ok(inode.live.len() as u64))
    }

    fn map(&self) -> io::Result<Option<Map>> {
        Ok(None)
    }
}
