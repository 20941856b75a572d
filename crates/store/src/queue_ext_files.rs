//! The files of queue extensions: `consumequeue_ext/<topic>/<queueId>/<twenty digits>`, one extension after the other.
//!
//! Extensions are written before the entries that point to them and synced with them, so every entry that counts after
//! a crash has its extension. What stands behind that of the last entry is cleared before more is written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::disk::{Disk, Entry, File};
use crate::queue::Queue;
use crate::queue_entry::QueueEntry;
use crate::queue_ext::{self, Decoded, Extension};
use crate::queue_files::OpenFiles;
use crate::records::Reach;
use crate::segment;

/// Files open at most: far fewer readers filter than read.
const OPEN_MAX: usize = 128;
/// Where a segment is made, among the directories of topics.
const BEGINNING: &str = "segment.new";

/// What the extensions of all queues share.
pub(crate) struct ExtFiles {
    disk: Arc<dyn Disk>,
    pub root: PathBuf,
    pub segment_bytes: u64,
    /// Whether new entries get extensions. Those that are there are read in any case.
    pub enabled: bool,
    /// Whether there may be files.
    present: AtomicBool,
    open: Mutex<OpenFiles>,
}

impl ExtFiles {
    /// Looks once whether the directory is there, also if new entries get no extensions: those of an earlier life are
    /// read, expire and go with their topics as before. A store that never had any does nothing else for them.
    pub fn new(
        disk: Arc<dyn Disk>,
        root: PathBuf,
        segment_bytes: u64,
        enabled: bool,
    ) -> io::Result<ExtFiles> {
        let present = enabled || disk.stat(&root)?.is_some();
        let (present, open) = (AtomicBool::new(present), Mutex::new(OpenFiles::new(OPEN_MAX)));
        Ok(ExtFiles { disk, root, segment_bytes: segment_bytes.max(1), enabled, present, open })
    }

    /// Whether any queue may have extensions.
    pub fn are_present(&self) -> bool {
        self.present.load(Ordering::Relaxed)
    }

    pub fn dir_of(&self, topic: &str, id: u32) -> PathBuf {
        self.root.join(topic).join(id.to_string())
    }

    fn dir(&self, queue: &Queue) -> PathBuf {
        self.dir_of(queue.topic(), queue.id())
    }

    fn start_of(&self, position: u64) -> u64 {
        position / self.segment_bytes * self.segment_bytes
    }

    /// Reads what is in the segment from `position` on into the beginning of `out`; 0 if there is no file, `None` if it
    /// is on disk and `reach` is not so far.
    pub fn read(
        &self,
        reach: Reach,
        queue: &Queue,
        position: u64,
        out: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let start = self.start_of(position);
        let Some(file) = self.file(queue, start)? else { return Ok(Some(0)) };
        let len = (out.len() as u64).min(file.len()?.saturating_sub(position - start)) as usize;
        let (out, at) = (&mut out[..len], position - start);
        Ok(reach.read(&*file, out, at)?.then_some(len))
    }

    /// Writes extensions from `position` on, creating segments as they begin. `note` is told of every file, and whether
    /// it is new.
    pub fn write(
        &self,
        queue: &Queue,
        position: u64,
        bytes: &[u8],
        note: &dyn Fn(PathBuf, bool),
    ) -> io::Result<()> {
        let (mut at, mut rest) = (position, bytes);
        while !rest.is_empty() {
            let start = self.start_of(at);
            let room = (start + self.segment_bytes - at).min(rest.len() as u64) as usize;
            let (now, later) = rest.split_at(room);
            let path = segment::path_of(&self.dir(queue), start);
            match self.file(queue, start)? {
                Some(file) => {
                    file.write_at(now, at - start)?;
                    note(path, false);
                }
                None => {
                    self.create(queue, start, at, now, &path)?;
                    note(path, true);
                }
            }
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// Creates a segment with its first extensions. As with the entries, it gets its name when it is whole.
    fn create(&self, queue: &Queue, start: u64, at: u64, bytes: &[u8], path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(&self.dir(queue))?;
        let beginning = self.root.join(BEGINNING);
        self.disk.remove(&beginning)?;
        let file = self.disk.create(&beginning, self.segment_bytes)?;
        file.write_at(bytes, at - start)?;
        self.disk.rename(&beginning, path)?;
        self.open.lock().insert((queue.serial, start), file);
        Ok(())
    }

    fn file(&self, queue: &Queue, start: u64) -> io::Result<Option<Arc<dyn File>>> {
        let open = || self.disk.open(&segment::path_of(&self.dir(queue), start));
        OpenFiles::find(&self.open, (queue.serial, start), open)
    }

    /// First bytes of the segments of a queue, in order. An error if they are of another size than the options say:
    /// nothing may be written there.
    ///
    /// A power cut may have kept the name of a new segment and not its length, and brought back some of those that had
    /// expired. So there may be short ones and gaps, but not where extensions of entries that count are, which are
    /// synced.
    fn segments(&self, queue: &Queue) -> io::Result<Vec<u64>> {
        let dir = self.dir(queue);
        let files = self.disk.list(&dir)?.into_iter().filter(|entry| !entry.is_dir);
        let base_of = |entry: Entry| {
            let base = segment::base_of(&entry.name)
                .filter(|base| base % self.segment_bytes == 0 && entry.len <= self.segment_bytes);
            base.ok_or_else(|| {
                let path = dir.join(&entry.name);
                let what = format!(
                    "{} is no file of {} bytes (mappedFileSizeConsumeQueueExt)",
                    path.display(),
                    self.segment_bytes
                );
                io::Error::new(io::ErrorKind::InvalidData, what)
            })
        };
        files.map(base_of).collect()
    }

    /// Finds where the next extension goes and clears what stands there and behind.
    ///
    /// That is behind the extension of `last`, the queue's last entry. If this has none, or it cannot be read, what is
    /// in the files stays: entries that come to life again in a crash must not find the extensions of others. For the
    /// same reason a queue whose files are gone goes on at `unused_from`, a position that none of its entries has.
    pub fn prepare_end(
        &self,
        queue: &Queue,
        last: Option<QueueEntry>,
        unused_from: u64,
        note: &dyn Fn(PathBuf, bool),
    ) -> io::Result<u64> {
        let segments = self.segments(queue)?;
        let begin = unused_from.div_ceil(self.segment_bytes) * self.segment_bytes;
        let Some(&newest) = segments.last() else { return Ok(begin) };
        let position = last.and_then(|last| last.extension_position());
        let end = match position {
            Some(position) => self.end_of_unit(queue, position)?,
            None => None,
        };
        let end = match end {
            Some(end) => end,
            None => self.end_of_segment(queue, newest)?,
        };
        if position.is_some_and(|position| position >= end) {
            // These are not the files that the entries speak of.
            for start in segments {
                self.remove(queue, start)?;
            }
            return Ok(begin);
        }
        self.clear_from(queue, &segments, end, note)?;
        Ok(end)
    }

    fn end_of_unit(&self, queue: &Queue, position: u64) -> io::Result<Option<u64>> {
        let mut bytes = vec![0; i16::MAX as usize];
        let read = self.read(Reach::Disk, queue, position, &mut bytes)?.unwrap_or(0);
        Ok(match Extension::decode(&bytes[..read]) {
            Decoded::Unit(unit) => Some(position + unit.size() as u64),
            _ => None,
        })
    }

    fn end_of_segment(&self, queue: &Queue, start: u64) -> io::Result<u64> {
        let Some(file) = self.whole_file(queue, start)? else { return Ok(start) };
        let read = |at: u64, out: &mut [u8]| file.read_at(out, at);
        Ok(start + queue_ext::end_in_segment(self.segment_bytes, &read)?)
    }

    /// The file of a segment, at its full length.
    fn whole_file(&self, queue: &Queue, start: u64) -> io::Result<Option<Arc<dyn File>>> {
        let file = self.file(queue, start)?;
        if let Some(file) = &file
            && file.len()? < self.segment_bytes
        {
            file.set_len(self.segment_bytes)?;
        }
        Ok(file)
    }

    fn clear_from(
        &self,
        queue: &Queue,
        segments: &[u64],
        end: u64,
        note: &dyn Fn(PathBuf, bool),
    ) -> io::Result<()> {
        for &start in segments.iter().rev().take_while(|start| **start + self.segment_bytes > end) {
            // An empty one that extensions end before stays: without it they would end in the one before, at the next
            // start, and be other ones than those that entries of before a crash may speak of.
            if start > end {
                self.remove(queue, start)?;
            } else if let Some(file) = self.whole_file(queue, start)? {
                file.zero(end.max(start) - start, self.segment_bytes)?;
                note(segment::path_of(&self.dir(queue), start), false);
            }
        }
        Ok(())
    }

    fn remove(&self, queue: &Queue, start: u64) -> io::Result<()> {
        self.open.lock().remove((queue.serial, start));
        self.disk.remove(&segment::path_of(&self.dir(queue), start))
    }

    /// Removes the segments that end before `position`; the last one of a queue stays.
    pub fn remove_before(&self, queue: &Queue, position: u64) -> io::Result<()> {
        let segments = self.segments(queue)?;
        let Some((_, others)) = segments.split_last() else { return Ok(()) };
        for &start in others.iter().take_while(|start| **start + self.segment_bytes <= position) {
            self.remove(queue, start)?;
        }
        Ok(())
    }

    /// Topics and numbers of the queues that have a directory.
    pub fn queues(&self) -> io::Result<Vec<(String, u32)>> {
        let mut queues = Vec::new();
        for topic in self.disk.list(&self.root)?.into_iter().filter(|entry| entry.is_dir) {
            for queue in self.disk.list(&self.root.join(&topic.name))? {
                if let (true, Ok(id)) = (queue.is_dir, queue.name.parse::<u32>()) {
                    queues.push((topic.name.clone(), id));
                }
            }
        }
        Ok(queues)
    }

    /// Removes all extensions of a queue, durably: a queue of this name that is made later begins at 0 again.
    pub fn remove_queue(&self, topic: &str, id: u32) -> io::Result<()> {
        let dir = self.dir_of(topic, id);
        let files = self.disk.list(&dir)?;
        if self.disk.stat(&dir)?.is_none() {
            return Ok(());
        }
        for entry in files.iter().filter(|entry| !entry.is_dir) {
            self.disk.remove(&dir.join(&entry.name))?;
        }
        self.disk.sync_dir(&dir)?;
        // What is left of a directory that others have put something in is theirs.
        if files.iter().all(|entry| !entry.is_dir) {
            self.disk.remove_dir(&dir)?;
            let topic_dir = self.root.join(topic);
            self.disk.sync_dir(&topic_dir)?;
            if self.disk.list(&topic_dir)?.is_empty() {
                self.disk.remove_dir(&topic_dir)?;
                self.disk.sync_dir(&self.root)?;
            }
        }
        Ok(())
    }

    /// Closes the files of a queue that is deleted.
    pub fn close(&self, queue: &Queue) {
        self.open.lock().remove_all_of(queue.serial);
    }
}
