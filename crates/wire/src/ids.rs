//! Message identifiers (wire.md §14).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where a message is stored: what an offset message id says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetId {
    /// Address of the broker that stored it.
    pub store_host: SocketAddr,
    /// Physical offset in that broker's commit log.
    pub offset: u64,
}

impl OffsetId {
    /// Appends the id as upper-case hex: 32 characters for IPv4, 56 for IPv6.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self.store_host.ip() {
            IpAddr::V4(ip) => hex(&ip.octets(), out),
            IpAddr::V6(ip) => hex(&ip.octets(), out),
        }
        hex(&u32::from(self.store_host.port()).to_be_bytes(), out);
        hex(&self.offset.to_be_bytes(), out);
    }

    /// Reads an id in either case; `None` when it is no offset id.
    pub fn parse(text: &str) -> Option<OffsetId> {
        // Longer ones are none, and are not decoded to find that out.
        let bytes = Some(text).filter(|text| text.len() <= 56).and_then(unhex)?;
        let (ip, rest) = match bytes.len() {
            16 => (IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[..4]).ok()?)), &bytes[4..]),
            28 => (IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..16]).ok()?)), &bytes[16..]),
            _ => return None,
        };
        let port = u32::from_be_bytes(rest[..4].try_into().ok()?);
        let offset = u64::from_be_bytes(rest[4..12].try_into().ok()?);
        Some(OffsetId { store_host: SocketAddr::new(ip, u16::try_from(port).ok()?), offset })
    }
}

impl std::fmt::Display for OffsetId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::with_capacity(56);
        self.write(&mut text);
        formatter.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Appends a unique key of the form clients make (wire.md §14.2): address, process id, a constant, milliseconds
/// since the start of the month, counter.
pub fn write_unique_key(ip: Ipv4Addr, process: u16, millis_of_month: u32, counter: u16, out: &mut Vec<u8>) {
    hex(&ip.octets(), out);
    hex(&process.to_be_bytes(), out);
    hex(&0x7468_7273u32.to_be_bytes(), out);
    hex(&millis_of_month.to_be_bytes(), out);
    hex(&counter.to_be_bytes(), out);
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// The bytes that pairs of hexadecimal digits in either case stand for; `None` if there is anything else.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| {
            let high = (pair[0] as char).to_digit(16)?;
            let low = (pair[1] as char).to_digit(16)?;
            Some((high * 16 + low) as u8)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_the_round_trip_in_both_widths_and_cases() {
        for host in ["10.0.0.2:10911", "[fe80::1]:10911"] {
            let id = OffsetId { store_host: host.parse().unwrap(), offset: 0x1234_5678_9ABC };
            let text = id.to_string();
            assert_eq!(OffsetId::parse(&text), Some(id));
            assert_eq!(OffsetId::parse(&text.to_lowercase()), Some(id));
        }
        assert_eq!(
            OffsetId { store_host: "10.0.0.2:10911".parse().unwrap(), offset: 4096 }.to_string(),
            "0A00000200002A9F0000000000001000"
        );
        for bad in ["", "0A", "zz", &"0".repeat(30), &"0".repeat(31), "日本日本日本日本日本日"] {
            assert_eq!(OffsetId::parse(bad), None, "{bad}");
        }
    }
}
