//! The content of one file: what programs see, what is on the medium, and what a power cut may make of the rest.

use std::collections::BTreeMap;

use crate::random::Random;

/// What the medium writes as a whole: disks promise that a sector is old or new, never half of each.
pub(crate) const SECTOR: usize = 512;
/// States that are remembered of an unsynced sector: the kernel may have written any of them on its own.
const VERSIONS_MAX: usize = 6;

type Versions = Vec<Box<[u8; SECTOR]>>;

/// Bytes of a file, as programs see them and as they are on the medium.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Lengths it was given since the last sync, in order. A file may be long and not yet have the bytes.
    lengths: Vec<usize>,
    /// Sectors written since the last sync, with what was in them in turn.
    dirty: BTreeMap<usize, Versions>,
    /// Sectors whose sync failed: programs read them, but no later sync writes them, because the kernel takes them
    /// to be clean. Only writing them again helps.
    given_up: BTreeMap<usize, Versions>,
}

impl Content {
    /// As programs see it.
    pub fn live(&self) -> &[u8] {
        &self.live
    }

    /// What would be left if nothing but synced bytes survived.
    pub fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub fn write(&mut self, bytes: &[u8], at: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        if end > self.live.len() {
            self.set_len(end);
        }
        self.live[at..end].copy_from_slice(bytes);
        self.touch(at / SECTOR, end.div_ceil(SECTOR));
    }

    pub fn set_len(&mut self, len: usize) {
        let old = self.live.len();
        self.live.resize(len, 0);
        self.lengths.push(len);
        if len < old {
            // What stood behind the cut is gone from memory, whether the cut itself survives or not.
            let first_gone = len.div_ceil(SECTOR);
            self.dirty.split_off(&first_gone);
            self.given_up.split_off(&first_gone);
            if !len.is_multiple_of(SECTOR) {
                self.touch(len / SECTOR, len / SECTOR + 1);
            }
        }
    }

    /// Notes that sectors have new bytes.
    fn touch(&mut self, from: usize, until: usize) {
        for sector in from..until {
            let mut version = Box::new([0; SECTOR]);
            let bytes = self.sector(sector);
            version[..bytes.len()].copy_from_slice(bytes);
            // A page that is written again is dirty again as a whole.
            let before = self.given_up.remove(&sector).unwrap_or_default();
            let versions = self.dirty.entry(sector).or_insert(before);
            if versions.len() == VERSIONS_MAX {
                versions.remove(0);
            }
            versions.push(version);
        }
    }

    fn sector(&self, sector: usize) -> &[u8] {
        let from = (sector * SECTOR).min(self.live.len());
        &self.live[from..(from + SECTOR).min(self.live.len())]
    }

    pub fn sync(&mut self) {
        for len in std::mem::take(&mut self.lengths) {
            self.durable.resize(len, 0);
        }
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            let bytes = self.sector(sector).to_vec();
            put(&mut self.durable, sector, &bytes);
        }
    }

    /// A sync that reported an error: nothing of it is on the medium for sure, and nothing will be.
    pub fn fail_sync(&mut self) {
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            self.given_up.insert(sector, versions);
        }
    }

    /// As it may look after a power cut; `kept` percent of the unsynced sectors survive, in no order.
    pub fn crash(&self, random: &mut Random, kept: u64) -> Content {
        let mut content = self.durable.clone();
        // Changes of the length are of the file system's own making: they survive in order.
        let all = self.lengths.len();
        let lengths = if kept == 100 { all } else { random.below(all as u64 + 1) as usize };
        for &len in &self.lengths[..lengths] {
            content.resize(len, 0);
        }
        for (&sector, versions) in self.dirty.iter().chain(&self.given_up) {
            if !random.chance(kept) {
                continue;
            }
            let last = versions.len() - 1;
            let which =
                if kept == 100 || random.chance(70) { last } else { random.below(last as u64 + 1) as usize };
            put(&mut content, sector, &versions[which][..]);
        }
        Content { live: content.clone(), durable: content, ..Content::default() }
    }
}

/// Puts a sector's bytes in their place, as far as the file is long.
fn put(content: &mut [u8], sector: usize, bytes: &[u8]) {
    let from = (sector * SECTOR).min(content.len());
    let until = (from + bytes.len()).min(content.len());
    content[from..until].copy_from_slice(&bytes[..until - from]);
}
