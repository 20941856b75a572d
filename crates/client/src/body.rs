//! Bodies that are compressed on the way (wire.md §13.5).

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use lz4_flex::frame::{FrameDecoder, FrameEncoder};
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use wire::sys_flag;

/// Level of zlib that the official clients use.
const ZLIB_LEVEL: u32 = 5;
/// Largest body after decompression, in bytes: a small one must not become all of our memory.
const BODY_MAX: u64 = 64 << 20;
/// What all bodies of one answer may have together after decompression, in bytes.
const ANSWER_MAX: u64 = 256 << 20;

/// How long bodies are compressed.
///
/// Consumers of Java and of this crate read all kinds from 4.9.4 on. Older ones and those of Go know nothing but
/// [`Zlib`](Compression::Zlib) and are given the compressed bytes of any other kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compression {
    /// A zlib stream.
    #[default]
    Zlib,
    /// An LZ4 frame: larger and much faster.
    Lz4,
    /// A Zstandard frame: about as small as zlib.
    Zstd,
}

impl Compression {
    /// Type bits of a message's `sysFlag`.
    fn flag(self) -> i32 {
        match self {
            Compression::Zlib => 0x300,
            Compression::Lz4 => 0x100,
            Compression::Zstd => 0x200,
        }
    }

    fn of_flags(flags: i32) -> Option<Compression> {
        match flags & sys_flag::COMPRESSION_MASK {
            // Producers before 4.9.4 knew one type and did not name it.
            0 | 0x300 => Some(Compression::Zlib),
            0x100 => Some(Compression::Lz4),
            0x200 => Some(Compression::Zstd),
            _ => None,
        }
    }

    fn pack(self, body: &[u8]) -> Option<Vec<u8>> {
        let half = Vec::with_capacity(body.len() / 2);
        match self {
            Compression::Zlib => {
                let mut encoder = ZlibEncoder::new(half, flate2::Compression::new(ZLIB_LEVEL));
                encoder.write_all(body).and_then(|()| encoder.finish()).ok()
            }
            Compression::Lz4 => {
                // Blocks are independent of each other, as Java's reader wants them.
                let mut encoder = FrameEncoder::new(half);
                encoder.write_all(body).ok()?;
                encoder.finish().ok()
            }
            Compression::Zstd => {
                let packed = compress_to_vec(body, CompressionLevel::Fastest);
                // The encoder is young, and one of its releases lost the end of very long repetitions. What does not
                // come back as it was is sent as it is.
                let back = self.unpack(&packed, body.len() as u64)?;
                (back == body).then_some(packed)
            }
        }
    }

    /// The body, unless it is longer than `max` bytes or no stream of this kind.
    fn unpack(self, packed: &[u8], max: u64) -> Option<Vec<u8>> {
        match self {
            Compression::Zlib => read_all(ZlibDecoder::new(packed), max),
            Compression::Lz4 => read_all(FrameDecoder::new(packed), max),
            Compression::Zstd => read_all(StreamingDecoder::new(packed).ok()?, max),
        }
    }
}

fn read_all(decoder: impl Read, max: u64) -> Option<Vec<u8>> {
    let mut unpacked = Vec::new();
    let length = decoder.take(max + 1).read_to_end(&mut unpacked).ok()?;
    (length as u64 <= max).then_some(unpacked)
}

/// The body as it travels and its flag bits: compressed from `threshold` bytes on, if that makes it shorter.
pub(crate) fn pack(body: &Bytes, threshold: usize, how: Compression) -> (Bytes, i32) {
    if body.len() < threshold {
        return (body.clone(), 0);
    }
    match how.pack(body) {
        Some(packed) if packed.len() < body.len() => (packed.into(), sys_flag::COMPRESSED | how.flag()),
        _ => (body.clone(), 0),
    }
}

/// How much more may be unpacked of one answer.
#[derive(Debug)]
pub(crate) struct Room(u64);

impl Room {
    /// Room for the bodies of one answer.
    pub fn of_answer() -> Room {
        Room(ANSWER_MAX)
    }

    /// The body as its producer made it; `None` when it cannot be unpacked, or becomes too large.
    pub fn unpack(&mut self, body: Bytes, flags: i32) -> Option<Bytes> {
        if flags & sys_flag::COMPRESSED == 0 {
            return Some(body);
        }
        let unpacked = Compression::of_flags(flags)?.unpack(&body, self.0.min(BODY_MAX))?;
        self.0 -= unpacked.len() as u64;
        Some(unpacked.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(Compression, i32); 3] =
        [(Compression::Zlib, 0x301), (Compression::Lz4, 0x101), (Compression::Zstd, 0x201)];

    fn unpack(body: Bytes, flags: i32) -> Option<Bytes> {
        Room::of_answer().unpack(body, flags)
    }

    #[test]
    fn long_bodies_are_packed_and_unpacked() {
        let long = Bytes::from("abc".repeat(2_000));
        for (how, expected) in ALL {
            let (packed, flags) = pack(&long, 4_096, how);
            assert!(packed.len() < 200 && flags == expected, "{how:?}: {} bytes, {flags:x}", packed.len());
            assert_eq!(unpack(packed.clone(), flags), Some(long.clone()), "{how:?}");
            assert_eq!(unpack(long.clone(), flags), None, "{how:?}: it is no such stream");
            assert_eq!(unpack(packed.slice(..packed.len() / 2), flags), None, "{how:?}: it is cut off");
            assert_eq!(pack(&long, 6_001, how), (long.clone(), 0));
        }
        let (packed, _) = pack(&long, 4_096, Compression::Zlib);
        assert_eq!(unpack(packed, sys_flag::COMPRESSED), Some(long), "the type of old producers");
        assert_eq!(unpack(Bytes::from_static(b"?"), 0x401), None, "nobody knows this type");
    }

    #[test]
    fn what_does_not_become_shorter_goes_as_it_is() {
        let noise = noise(10_000, 7);
        for (how, _) in ALL {
            assert_eq!(pack(&noise, 4_096, how), (noise.clone(), 0), "{how:?}");
        }
    }

    /// A repetition at a distance, longer than any length has a code of its own for.
    #[test]
    fn very_long_repetitions_come_back_whole() {
        let first = noise(128 << 10, 3);
        let twice = Bytes::from([&first[..], &first[8..], &first[..8]].concat());
        for (how, _) in ALL {
            let (packed, flags) = pack(&twice, 4_096, how);
            assert!(unpack(packed, flags) == Some(twice.clone()), "{how:?}");
        }
    }

    #[test]
    fn a_small_body_does_not_become_all_of_our_memory() {
        let zeros = Bytes::from(vec![0; 400_000]);
        for (how, _) in ALL {
            let (packed, flags) = pack(&zeros, 0, how);
            assert!(packed.len() < 10_000, "{how:?}: {}", packed.len());
            assert_eq!(Room(399_999).unpack(packed.clone(), flags), None, "{how:?}");
            // Several that are not too large each are too large together.
            let mut room = Room(1_000_000);
            let unpacked = (0..5).filter(|_| room.unpack(packed.clone(), flags).is_some()).count();
            assert_eq!(unpacked, 2, "{how:?}");
        }
        // One body has a limit of its own, however much room there is.
        let (packed, flags) = pack(&vec![0; BODY_MAX as usize + 1].into(), 0, Compression::Zlib);
        assert_eq!(Room::of_answer().unpack(packed, flags), None);
    }

    fn noise(length: usize, mut seed: u32) -> Bytes {
        let next = || {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            seed as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }
}
