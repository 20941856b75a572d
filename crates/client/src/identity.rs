//! Who this client is: its address, its id, and the keys of its messages (wire.md §14).

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// A number nobody can guess, from the seeds of the standard library's maps.
pub(crate) fn random() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

/// The address of this machine on the way to `server`; no packet is sent to find out.
pub(crate) fn address_towards(server: &str) -> IpAddr {
    let found = || -> std::io::Result<IpAddr> {
        let any = if server.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        socket.local_addr().map(|address: SocketAddr| address.ip())
    };
    found().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The id under which servers know a client: `address@process#random`.
pub(crate) fn client_id(ip: IpAddr, instance: Option<&str>) -> String {
    match instance {
        Some(instance) => format!("{ip}@{instance}"),
        None => format!("{ip}@{}#{}", std::process::id(), random() >> 16),
    }
}

/// Maker of unique keys: address, process id, a random constant, milliseconds since the first of the month, counter.
#[derive(Debug)]
pub(crate) struct UniqueKeys {
    prefix: String,
    counter: AtomicU32,
}

impl UniqueKeys {
    pub fn new(ip: IpAddr) -> UniqueKeys {
        let address: String = match ip {
            IpAddr::V4(ip) => ip.octets().iter().map(|byte| format!("{byte:02X}")).collect(),
            IpAddr::V6(ip) => ip.octets().iter().map(|byte| format!("{byte:02X}")).collect(),
        };
        // Java has the hash of a class loader there, which containers with equal addresses and process ids share.
        let constant = random() as u32;
        let process = std::process::id() as u16;
        UniqueKeys { prefix: format!("{address}{process:04X}{constant:08X}"), counter: AtomicU32::new(0) }
    }

    /// The key of a message made at `now_ms`. What the counter has beyond its 16 bits goes to the milliseconds, so that
    /// 65,536 keys within one of them are not repeated.
    pub fn next(&self, now_ms: i64) -> String {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let millis = (millis_of_month(now_ms) as u32).wrapping_add(count >> 16);
        format!("{}{millis:08X}{:04X}", self.prefix, count as u16)
    }
}

/// Milliseconds since the first of the month, in UTC.
fn millis_of_month(now_ms: i64) -> i64 {
    const DAY_MS: i64 = 86_400_000;
    let day_of_month = day_of_month(now_ms.div_euclid(DAY_MS));
    (day_of_month - 1) * DAY_MS + now_ms.rem_euclid(DAY_MS)
}

/// Day of the month, from 1, of a day counted from 1970-01-01 (the method of Howard Hinnant's `civil_from_days`).
fn day_of_month(days: i64) -> i64 {
    let shifted = days + 719_468;
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    day_of_year - (153 * month + 2) / 5 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_months_are_those_of_the_calendar() {
        // 1970-01-01, 2000-02-29, 2024-03-01, 2026-11-21
        for (days, expected) in [(0, 1), (11_016, 29), (19_783, 1), (20_778, 21)] {
            assert_eq!(day_of_month(days), expected, "day {days}");
        }
    }

    #[test]
    fn keys_have_the_official_length_and_never_repeat() {
        let keys = UniqueKeys::new("10.0.0.2".parse().unwrap());
        let made: std::collections::BTreeSet<_> = (0..200_000).map(|_| keys.next(1_000)).collect();
        assert_eq!(made.len(), 200_000);
        assert!(made.iter().all(|key| key.len() == 32 && key.starts_with("0A000002")));
        assert_eq!(UniqueKeys::new("::1".parse().unwrap()).next(0).len(), 56);
    }
}
