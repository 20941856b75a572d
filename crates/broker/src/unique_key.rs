//! Unique keys for messages whose producer made none (wire.md §14.2).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};

/// Milliseconds of the longest month.
const MONTH_MS: i64 = 31 * 86_400_000;

/// A maker of keys, unique within the address and process.
#[derive(Debug)]
pub(crate) struct UniqueKeys {
    ip: Ipv4Addr,
    process: u16,
    counter: AtomicU64,
}

impl UniqueKeys {
    pub fn new(ip: IpAddr) -> UniqueKeys {
        let ip = match ip {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(ip) => {
                let [.., a, b, c, d] = ip.octets();
                Ipv4Addr::new(a, b, c, d)
            }
        };
        UniqueKeys { ip, process: std::process::id() as u16, counter: AtomicU64::new(0) }
    }

    /// Appends a new key to `out`. The counter's upper part is added to the time, so that more than 65,536 keys in
    /// one millisecond still differ.
    pub fn write(&self, now_ms: i64, out: &mut Vec<u8>) {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let millis = now_ms.rem_euclid(MONTH_MS) as u32;
        let millis = millis.wrapping_add((count >> 16) as u32);
        wire::ids::write_unique_key(self.ip, self.process, millis, count as u16, out);
    }
}
