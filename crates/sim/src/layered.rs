//! A disk over another, which does a few operations in its own way.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use store::{Disk, Entry, File, Lock, Map, Space, Stat};

/// What is done in another way than by the disk below; what is not said here is done as there.
///
/// Paths of files are those under which they were created or opened.
pub trait Layer: Send + Sync + 'static {
    /// See [`Disk::sync_dir`].
    fn sync_dir(&self, below: &dyn Disk, dir: &Path) -> io::Result<()> {
        below.sync_dir(dir)
    }

    /// See [`File::read_at`].
    fn read_at(&self, below: &dyn File, _path: &Path, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        below.read_at(buffer, offset)
    }

    /// See [`File::read_cached_at`].
    fn read_cached_at(
        &self,
        below: &dyn File,
        _path: &Path,
        buffer: &mut [u8],
        offset: u64,
    ) -> io::Result<bool> {
        below.read_cached_at(buffer, offset)
    }

    /// See [`File::write_at`].
    fn write_at(&self, below: &dyn File, _path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        below.write_at(bytes, offset)
    }

    /// See [`File::allocate`].
    fn allocate(&self, below: &dyn File, _path: &Path, from: u64, until: u64) -> io::Result<()> {
        below.allocate(from, until)
    }

    /// See [`File::sync_data`].
    fn sync_data(&self, below: &dyn File, _path: &Path) -> io::Result<()> {
        below.sync_data()
    }
}

/// A disk with a layer over it.
pub struct Layered<L> {
    below: Arc<dyn Disk>,
    layer: Arc<L>,
}

impl<L: Layer> Layered<L> {
    /// Lays `layer` over a disk.
    pub fn new(below: Arc<dyn Disk>, layer: L) -> Layered<L> {
        Layered { below, layer: Arc::new(layer) }
    }

    fn file(&self, path: &Path, below: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(LayeredFile { below, path: path.to_owned(), layer: Arc::clone(&self.layer) })
    }
}

impl<L: Layer> Disk for Layered<L> {
    fn create(&self, path: &Path, size: u64) -> io::Result<Arc<dyn File>> {
        Ok(self.file(path, self.below.create(path, size)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(path, self.below.open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.below.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.below.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.below.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.below.remove_dir(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.below.create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.layer.sync_dir(&*self.below, dir)
    }

    fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        self.below.sync_tree(dir)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.below.space(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        self.below.stat(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.below.lock(path)
    }

    fn boot_id(&self) -> Option<[u8; 16]> {
        self.below.boot_id()
    }
}

struct LayeredFile<L> {
    below: Arc<dyn File>,
    path: PathBuf,
    layer: Arc<L>,
}

impl<L: Layer> File for LayeredFile<L> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.layer.read_at(&*self.below, &self.path, buffer, offset)
    }

    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        self.layer.read_cached_at(&*self.below, &self.path, buffer, offset)
    }

    fn read_ahead(&self, from: u64, until: u64) {
        self.below.read_ahead(from, until);
    }

    fn expect_streams(&self, streams: bool) {
        self.below.expect_streams(streams);
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.layer.write_at(&*self.below, &self.path, bytes, offset)
    }

    fn allocate(&self, from: u64, until: u64) -> io::Result<()> {
        self.layer.allocate(&*self.below, &self.path, from, until)
    }

    fn zero(&self, from: u64, until: u64) -> io::Result<()> {
        self.below.zero(from, until)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.below.set_len(len)
    }

    fn set_modified(&self, seconds: i64) -> io::Result<()> {
        self.below.set_modified(seconds)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.layer.sync_data(&*self.below, &self.path)
    }

    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }

    fn map(&self) -> io::Result<Option<Map>> {
        self.below.map()
    }

    fn map_part(&self, from: u64, len: usize) -> io::Result<Option<Map>> {
        self.below.map_part(from, len)
    }
}
