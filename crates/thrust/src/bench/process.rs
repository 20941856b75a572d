//! CPU time and memory of processes, from /proc.

use std::io;

use super::error::BenchError;

/// What processes have used until now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time.
    pub cpu_us: u64,
    /// Resident memory, mapped files included.
    pub resident_bytes: u64,
    /// The part of it that is no file.
    pub anonymous_bytes: u64,
}

/// Usage of all `pids` together.
pub fn usage(pids: &[u32]) -> Result<Usage, BenchError> {
    let mut sum = Usage::default();
    for &pid in pids {
        let one = read(&pid.to_string()).map_err(|cause| BenchError::Process { pid, cause })?;
        sum.cpu_us += one.cpu_us;
        sum.resident_bytes += one.resident_bytes;
        sum.anonymous_bytes += one.anonymous_bytes;
    }
    Ok(sum)
}

/// Usage of this process; zero where there is no /proc.
pub fn own_usage() -> Usage {
    read("self").unwrap_or_default()
}

fn read(pid: &str) -> io::Result<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "its form is unknown");
    let ticks = cpu_ticks(&stat).ok_or_else(malformed)?;
    Ok(Usage {
        cpu_us: ticks * 1_000_000 / rustix::param::clock_ticks_per_second().max(1),
        resident_bytes: kibibytes(&status, "VmRSS:").ok_or_else(malformed)? * 1024,
        anonymous_bytes: kibibytes(&status, "RssAnon:").unwrap_or(0) * 1024,
    })
}

/// utime and stime: fields 14 and 15, counted behind the process name, which may hold spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let stat = "77 (a b) c) S 1 2 3 4 5 6 7 8 9 10 1200 34 0 0 20 0 5 0 99 1000 200";
        assert_eq!(cpu_ticks(stat), Some(1234));
        assert_eq!(cpu_ticks("77 (x) S 1"), None);
    }

    #[test]
    fn memory_lines_are_found_by_name() {
        let status = "Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t   15872 kB\nRssAnon:\t    1000 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(15_872));
        assert_eq!(kibibytes(status, "RssAnon:"), Some(1000));
        assert_eq!(kibibytes(status, "VmSwap:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_a_missing_one_is_named() {
        assert!(own_usage().resident_bytes > 100_000);
        let error = usage(&[u32::MAX]).unwrap_err().to_string();
        assert!(error.contains("4294967295"), "{error}");
    }
}
