//! The machine that a broker is to run on: space and speed of its disk, files that it may open.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::store::{Disk, RealDisk};
use rustix::process::{Resource, getrlimit};

use super::Report;
use crate::operate::words::bytes;

/// Writes whose time is taken.
const ROUNDS: usize = 16;
/// Bytes of each.
const WRITE_BYTES: usize = 4096;
/// No measurement takes longer than this.
const TIME_MAX: Duration = Duration::from_secs(5);
/// From here on a synchronous flush is told to be slow.
const FLUSH_SLOW: Duration = Duration::from_millis(20);
/// Space below which the next files of a store may not fit: a segment is 1 GiB by default, and the next is made ahead.
const FREE_MIN: u64 = 3 << 30;
/// Percent in use, as brokers have their limits.
const USED_EARLY: u32 = 75;
const USED_FULL: u32 = 90;
/// Open files below which a broker of some size gets into trouble.
const FILES_MIN: u64 = 65_536;

/// Looks at the disk below a directory, and at the limits of this process.
pub fn look(data: &Path, report: &mut Report) {
    look_at_space(data, report);
    look_at_flush(data, report);
    look_at_files(report);
}

fn look_at_space(data: &Path, report: &mut Report) {
    let shown = data.display();
    // As brokers look at it, so that both say the same.
    let space = match RealDisk.space(data) {
        Ok(space) => space,
        Err(error) => {
            report.error(
                "disk",
                format!("{shown} cannot be looked at: {error}"),
                "make the directory, or name the right one with --data",
            );
            return;
        }
    };
    let (free, used) = (space.available, space.used_percent());
    let what = format!("{} free below {shown}, {used} % in use", bytes(free));
    let remedy = "free space, or move the store to a larger disk";
    match used {
        USED_FULL.. => report.error("disk", format!("{what}: brokers refuse messages"), remedy),
        USED_EARLY.. => {
            report.warning("disk", format!("{what}: brokers delete expired messages at any hour"), remedy);
        }
        _ if free < FREE_MIN => {
            report.warning("disk", format!("{what}: little for files of 1 GiB"), remedy);
        }
        _ => report.ok("disk", what),
    }
}

/// A file that is gone when this is.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // Nothing depends on it; at worst a file of a few KiB stays.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn look_at_flush(data: &Path, report: &mut Report) {
    let draft = Draft(data.join(format!(".thrust-doctor-{}", std::process::id())));
    let mut times = match flush_times(&draft.0) {
        Ok(times) => times,
        Err(error) => {
            report.error(
                "disk",
                format!("{} cannot be written: {error}", data.display()),
                "let the user that the broker runs as own the directory",
            );
            return;
        }
    };
    times.sort();
    let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) else { return };
    let ms = |time: &Duration| time.as_secs_f64() * 1_000.0;
    let what =
        format!("a flush takes {:.2} ms, the longest of {} {:.2} ms", ms(median), times.len(), ms(longest));
    match *median >= FLUSH_SLOW {
        true => report.warning(
            "disk",
            format!("{what}: with SYNC_FLUSH producers wait for it"),
            "use a disk with a write cache that survives power loss, or ASYNC_FLUSH",
        ),
        false => report.ok("disk", what),
    }
}

/// How long writes took until they were on the disk.
fn flush_times(path: &Path) -> std::io::Result<Vec<Duration>> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    let (block, begun) = ([7; WRITE_BYTES], Instant::now());
    let mut times = Vec::with_capacity(ROUNDS);
    while times.len() < ROUNDS && begun.elapsed() < TIME_MAX {
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    Ok(times)
}

fn look_at_files(report: &mut Report) {
    // A server raises its limit as far as it may.
    match getrlimit(Resource::Nofile).maximum {
        Some(most) if most < FILES_MIN => report.warning(
            "files",
            format!("a process may open {most} files; connections and files of the store both take them"),
            "set LimitNOFILE=1048576 in its unit, or raise `ulimit -Hn`",
        ),
        Some(most) => report.ok("files", format!("a process may open {most} files")),
        None => report.ok("files", "a process may open any number of files"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_directory_is_measured_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut report = Report::default();
        look(dir.path(), &mut report);
        let checks: Vec<_> = report.findings.iter().map(|finding| finding.check).collect();
        assert_eq!(checks, ["disk", "disk", "files"]);
        assert!(report.findings[1].what.starts_with("a flush takes "), "{}", report.findings[1].what);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let mut report = Report::default();
        look(Path::new("/nowhere/at/all"), &mut report);
        assert_eq!(report.findings.iter().filter(|finding| finding.level == Level::Error).count(), 2);
    }
}
