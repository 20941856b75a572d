//! Putting compacted files into the place of those that they were made of, so that a crash at any point leaves the
//! ones or the others.
//!
//! New files are made in the directories `compacting` and synced. Then a plan is written beside them, which names what
//! goes and what comes: from the moment it is on the disk the new files count, and whoever finds it carries it out to
//! its end. A plan whose checksum does not fit was never completed; the files it stands beside are dropped.

use std::io;
use std::path::PathBuf;

use super::part::Dirs;
use crate::disk::{self, Disk};

/// Java's name of the directories where new files are made.
pub(crate) const COMPACTING: &str = "compacting";
/// Java's name of the directories where a slave puts what it gets from its master.
const REPLICATING: &str = "replicating";
/// How Java calls files that are to be deleted.
const DELETED: &str = ".delete";
/// The plan's file in `compacting` of the records, where Java sees nothing that it did not make itself.
const PLAN: &str = "plan";
const HEAD: &str = "compaction plan 1";

/// Which files go and which come, by the names that records and entries share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub removed: Vec<String>,
    pub placed: Vec<String>,
}

impl Plan {
    fn encode(&self) -> Vec<u8> {
        let mut text = format!("{HEAD}\n");
        for (verb, names) in [("remove", &self.removed), ("place", &self.placed)] {
            for name in names {
                text.push_str(&format!("{verb} {name}\n"));
            }
        }
        let crc = crc32fast::hash(text.as_bytes());
        text.push_str(&format!("crc32 {crc:08x}\n"));
        text.into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Plan> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (content, crc) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let content = format!("{content}\n");
        if crc != format!("crc32 {:08x}", crc32fast::hash(content.as_bytes())) {
            return None;
        }
        let mut plan = Plan { removed: Vec::new(), placed: Vec::new() };
        let mut lines = content.lines();
        lines.next().filter(|head| *head == HEAD)?;
        for line in lines {
            match line.split_once(' ')? {
                ("remove", name) => plan.removed.push(name.to_owned()),
                ("place", name) => plan.placed.push(name.to_owned()),
                _ => return None,
            }
        }
        Some(plan)
    }
}

fn plan_path(dirs: &Dirs) -> PathBuf {
    dirs.below(COMPACTING).log.join(PLAN)
}

/// Empties the directories in which new files are made, the plan first: without it the others mean nothing.
pub(crate) fn clear(disk: &dyn Disk, dirs: &Dirs) -> io::Result<()> {
    let compacting = dirs.below(COMPACTING).log;
    if disk.stat(&compacting)?.is_some() {
        disk.remove(&plan_path(dirs))?;
        // Also if there was no plan to see: an earlier try may have removed it and failed here. A power cut could bring
        // it back then, beside files that are gone or made anew, and whoever finds it removes the old ones for them.
        disk.sync_dir(&compacting)?;
    }
    for name in [COMPACTING, REPLICATING] {
        let below = dirs.below(name);
        below.both().into_iter().try_for_each(|dir| remove_files(disk, dir))?;
    }
    Ok(())
}

/// Removes a directory with the files in it, if it is there.
fn remove_files(disk: &dyn Disk, dir: &std::path::Path) -> io::Result<()> {
    if disk.stat(dir)?.is_none() {
        return Ok(());
    }
    for entry in disk.list(dir)?.into_iter().filter(|entry| !entry.is_dir) {
        disk.remove(&dir.join(entry.name))?;
    }
    disk.sync_dir(dir)?;
    disk.remove_dir(dir)?;
    dir.parent().map_or(Ok(()), |parent| disk.sync_dir(parent))
}

/// Decides that the new files count, durably.
pub(crate) fn decide(disk: &dyn Disk, dirs: &Dirs, plan: &Plan) -> io::Result<()> {
    let compacting = dirs.below(COMPACTING);
    compacting.both().into_iter().try_for_each(|dir| disk::create_dirs(disk, dir))?;
    let file = disk.create(&plan_path(dirs), 0)?;
    file.write_at(&plan.encode(), 0)?;
    file.sync_data()?;
    disk.sync_dir(&compacting.log)
}

/// Decides again what a plan that was found says. It can be there to read and not be durable, if the broker was killed
/// before it was or the sync has failed: carried out in part and then lost with the power, it would leave old files
/// mixed with new ones. Its bytes are written once more, since no sync includes what one before it has failed to write.
fn confirm(disk: &dyn Disk, dirs: &Dirs, plan: &Plan) -> io::Result<()> {
    let compacting = dirs.below(COMPACTING);
    compacting.both().into_iter().try_for_each(|dir| disk::create_dirs(disk, dir))?;
    let file = disk.open(&plan_path(dirs))?;
    file.write_at(&plan.encode(), 0)?;
    file.sync_data()?;
    disk.sync_dir(&compacting.log)
}

/// Carries a plan out. Doing so twice, or again after a crash, changes nothing.
pub(crate) fn carry_out(disk: &dyn Disk, dirs: &Dirs, plan: &Plan) -> io::Result<()> {
    let compacting = dirs.below(COMPACTING);
    for (place, made) in dirs.both().into_iter().zip(compacting.both()) {
        for name in &plan.placed {
            if disk.stat(&made.join(name))?.is_some() {
                disk.rename(&made.join(name), &place.join(name))?;
            }
        }
        for name in plan.removed.iter().filter(|name| !plan.placed.contains(name)) {
            disk.remove(&place.join(name))?;
        }
        disk.sync_dir(place)?;
    }
    clear(disk, dirs)
}

/// Ends what a crash has interrupted. Tells whether Java's broker was interrupted while it moved files, so that no
/// entry can be taken for one of the record where it leads to. While new records wait and no old one is set aside
/// nothing was moved yet: then they were still being made, by whomever.
pub(crate) fn resume(disk: &dyn Disk, dirs: &Dirs) -> io::Result<bool> {
    let plan = disk::read_all(disk, &plan_path(dirs))?;
    if let Some(plan) = plan.as_deref().and_then(Plan::decode) {
        confirm(disk, dirs, &plan)?;
        carry_out(disk, dirs, &plan)?;
        return Ok(false);
    }
    let interrupted = undo(disk, dirs)?;
    let compacting = dirs.below(COMPACTING);
    let waits = |dir| disk.list(dir).map(|entries| entries.iter().any(|entry| !entry.is_dir));
    let only_entries_wait = !waits(&compacting.log)? && waits(&compacting.units)?;
    clear(disk, dirs)?;
    Ok(interrupted || only_entries_wait)
}

/// What Java leaves of a replacement that was interrupted. It renames the old records to `*.delete`, moves the new ones
/// up, deletes the old ones, and then does the same with the entries. As long as new records wait to be moved no old
/// one is deleted, and they come back; later the new ones count, and the entries are made anew of them.
fn undo(disk: &dyn Disk, dirs: &Dirs) -> io::Result<bool> {
    let waiting = disk.list(&dirs.below(COMPACTING).log)?.iter().any(|entry| !entry.is_dir);
    let mut found = false;
    for (dir, back) in [(&dirs.log, waiting), (&dirs.units, false)] {
        for entry in disk.list(dir)? {
            let Some(name) = entry.name.strip_suffix(DELETED) else { continue };
            let path = dir.join(&entry.name);
            if back {
                disk.rename(&path, &dir.join(name))?
            } else {
                disk.remove(&path)?
            }
            found = true;
        }
        if found {
            disk.sync_dir(dir)?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_with_a_flipped_bit_is_none() {
        let plan = Plan { removed: vec!["00".into(), "20".into()], placed: vec!["00".into()] };
        let bytes = plan.encode();
        assert_eq!(Plan::decode(&bytes).as_ref(), Some(&plan));
        for at in 0..bytes.len() {
            assert_eq!(Plan::decode(&bytes[..at]), None, "cut at {at}");
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(Plan::decode(&changed), None, "byte {at}, bit {bit}");
            }
        }
    }
}
