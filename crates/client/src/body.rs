//! Bodies that are compressed on the way (wire.md §13.5).

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use wire::sys_flag;

/// Type bits of a zlib body.
const ZLIB: i32 = 0x300;
/// Level that the official clients use.
const LEVEL: u32 = 5;
/// Largest body after decompression, in bytes: a small one must not become all of our memory.
const UNPACKED_MAX: u64 = 256 << 20;

/// The body as it travels and its flag bits: compressed from `threshold` bytes on, if that makes it shorter.
pub(crate) fn pack(body: &Bytes, threshold: usize) -> (Bytes, i32) {
    if body.len() < threshold {
        return (body.clone(), 0);
    }
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(body.len() / 2), Compression::new(LEVEL));
    let packed = encoder.write_all(body).and_then(|()| encoder.finish());
    match packed {
        Ok(packed) if packed.len() < body.len() => (packed.into(), sys_flag::COMPRESSED | ZLIB),
        _ => (body.clone(), 0),
    }
}

/// The body as its producer made it; `None` when it cannot be unpacked.
pub(crate) fn unpack(body: Bytes, flags: i32) -> Option<Bytes> {
    if flags & sys_flag::COMPRESSED == 0 {
        return Some(body);
    }
    match flags & sys_flag::COMPRESSION_MASK {
        // Producers before 5.0 knew one type and did not name it.
        0 | ZLIB => read_all(ZlibDecoder::new(&body[..])),
        _ => None,
    }
}

fn read_all(decoder: impl Read) -> Option<Bytes> {
    let mut unpacked = Vec::new();
    let length = decoder.take(UNPACKED_MAX + 1).read_to_end(&mut unpacked).ok()?;
    (length as u64 <= UNPACKED_MAX).then(|| unpacked.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_bodies_are_packed_and_unpacked() {
        let long = Bytes::from("abc".repeat(2_000));
        let (packed, flags) = pack(&long, 4_096);
        assert!(packed.len() < 100 && flags == 0x301);
        assert_eq!(unpack(packed.clone(), flags), Some(long.clone()));
        assert_eq!(unpack(packed, sys_flag::COMPRESSED), Some(long.clone()));
        assert_eq!(unpack(long.clone(), flags), None, "it is no zlib stream");
        assert_eq!(pack(&long, 6_001), (long, 0));
    }
}
