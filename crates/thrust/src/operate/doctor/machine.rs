//! The machine that a broker runs on, or is to run on: space and speed of its disk, files that it may open.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::store::{Disk, RealDisk};
use rustix::process::{Resource, getrlimit};

use super::report::Report;
use super::servers::Broker;
use crate::output::words::{bytes, count};

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

/// The file in the directory of a store that says that a broker works on it, and which process that is.
const RUNNING: &str = "abort";

/// Looks at the disk below a directory, and at the limits of the broker that works there, or else of this process.
pub fn look(data: &Path, report: &mut Report) {
    look_at_space(data, report);
    look_at_flush(data, report);
    look_at_files(data, report);
}

/// Directories of the brokers that run on this machine, as far as they can be seen from here.
pub fn stores_here(brokers: &[Broker]) -> Vec<PathBuf> {
    let here = brokers.iter().filter(|broker| is_of_this_machine(&broker.address));
    let named = here.filter_map(|broker| broker.config.get("storePathRootDir"));
    let mut stores: Vec<PathBuf> = named.map(PathBuf::from).filter(|dir| is_in_use(dir)).collect();
    stores.sort();
    stores.dedup();
    stores
}

/// Whether an address is this machine's: only then can something listen at it.
fn is_of_this_machine(address: &str) -> bool {
    let ip = address.parse::<SocketAddr>().map(|address| address.ip());
    ip.is_ok_and(|ip| TcpListener::bind((ip, 0)).is_ok())
}

/// Whether a broker works on a store. A path that its broker has from another place may name something else here.
fn is_in_use(dir: &Path) -> bool {
    dir.join(RUNNING).is_file()
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
        Err(error) if error.kind() == ErrorKind::PermissionDenied && is_in_use(data) => {
            let what = format!(
                "what a flush below {} takes is known to the user of its broker alone",
                data.display()
            );
            return report.ok("disk", what);
        }
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

fn look_at_files(data: &Path, report: &mut Report) {
    // A server raises its limit as far as it may, and so would one that were started here.
    let running = std::fs::read_to_string(data.join(RUNNING)).ok().and_then(|text| Open::of(text.trim()));
    let Open { who, most, files } = running.unwrap_or_else(|| Open {
        who: "a process".to_owned(),
        most: getrlimit(Resource::Nofile).maximum,
        files: None,
    });
    let has = files.map(|files| format!(" and has {files}")).unwrap_or_default();
    let Some(most) = most else {
        return report.ok("files", format!("{who} may open any number of files{has}"));
    };
    let what = format!("{who} may open {}{has}", count(most, "file"));
    let remedy = "set LimitNOFILE=1048576 in its unit, or raise `ulimit -Hn`";
    if files.is_some_and(|files| files >= most / 10 * 9) {
        report.error(
            "files",
            format!("{what}: new connections and files of the store are refused soon"),
            remedy,
        );
    } else if most < FILES_MIN {
        report.warning("files", format!("{what}; connections and files of the store both take them"), remedy);
    } else {
        report.ok("files", what);
    }
}

/// Files that a process may open, and those that it has open, where that may be known.
struct Open {
    who: String,
    /// `None` for any number.
    most: Option<u64>,
    files: Option<u64>,
}

impl Open {
    /// What Linux tells of the process with this id; nothing where it does not run, or on other systems.
    fn of(process: &str) -> Option<Open> {
        let directory = Path::new("/proc").join(process.parse::<u32>().ok()?.to_string());
        let limits = std::fs::read_to_string(directory.join("limits")).ok()?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        // Only the process's own user may see which.
        let files = std::fs::read_dir(directory.join("fd")).ok().map(|files| files.count() as u64);
        let most = line.split_whitespace().next()?.parse().ok();
        Some(Open { who: format!("the broker, process {process},"), most, files })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::doctor::report::Level;

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
    fn the_limits_of_the_broker_that_runs_there_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::process::id().to_string();
        std::fs::write(dir.path().join(RUNNING), &own).unwrap();
        let mut report = Report::default();
        look_at_files(dir.path(), &mut report);
        let told = report.findings[0].what.contains(&format!("process {own},"));
        assert_eq!(told, cfg!(target_os = "linux"), "{}", report.findings[0].what);
        assert!(Open::of("no number").is_none() && Open::of("").is_none());
    }

    #[test]
    fn stores_of_brokers_elsewhere_are_not_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap().to_owned();
        let at = |address: &str| Broker {
            name: "a".to_owned(),
            id: 0,
            address: address.to_owned(),
            config: [("storePathRootDir".to_owned(), root.clone())].into(),
        };
        assert!(stores_here(&[at("127.0.0.1:10911")]).is_empty(), "no broker works there");
        std::fs::write(dir.path().join(RUNNING), "").unwrap();
        assert_eq!(stores_here(&[at("127.0.0.1:10911"), at("127.0.0.1:10921")]), [dir.path()]);
        // An address of documents, which no machine has.
        assert!(stores_here(&[at("192.0.2.1:10911"), at("broker:10911")]).is_empty());
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let mut report = Report::default();
        look(Path::new("/nowhere/at/all"), &mut report);
        assert_eq!(report.findings.iter().filter(|finding| finding.level == Level::Error).count(), 2);
    }
}
