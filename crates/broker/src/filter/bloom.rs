//! The Bloom filter of Java's broker: which bits a consumer of a topic has in the bitmaps of queue extensions
//! (broker.md §11.5). Kept in `consumerFilter.json`, where Java compares shape and positions with its own.

use serde::{Deserialize, Serialize};

/// Shape of the filter, from the settings `maxErrorRateOfBloomFilter` and `expectConsumerNumUseFilter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bloom {
    /// Bits of one text.
    hashes: u32,
    /// Bits of a bitmap.
    bits: u32,
}

/// Bits of one consumer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BloomFilterData {
    /// Bits of a bitmap.
    pub bit_num: u32,
    /// Those that are this consumer's.
    pub bit_pos: Vec<u32>,
}

impl BloomFilterData {
    /// Sets this consumer's bits in a bitmap.
    pub fn set_in(&self, bitmap: &mut [u8]) {
        for position in &self.bit_pos {
            if let Some(byte) = bitmap.get_mut(*position as usize / 8) {
                *byte |= 1 << (position % 8);
            }
        }
    }

    /// Whether all of this consumer's bits are set in a bitmap; also if it is none of this filter's.
    pub fn are_in(&self, bitmap: &[u8]) -> bool {
        bitmap.len() as u64 * 8 != u64::from(self.bit_num)
            || self.bit_pos.iter().all(|position| {
                bitmap.get(*position as usize / 8).is_none_or(|byte| byte & 1 << (position % 8) != 0)
            })
    }
}

impl Bloom {
    /// `error_percent` from 1 to 99, `expected` from 1 on.
    pub fn new(error_percent: u32, expected: u32) -> Bloom {
        let log = |base: f64, number: f64| number.ln() / base.ln();
        let error_rate = f64::from(error_percent.clamp(1, 99)) / 100.0;
        let bits = f64::from(expected.max(1)) * log(2.0, 1.0 / error_rate) * log(2.0, std::f64::consts::E);
        Bloom {
            hashes: log(0.5, error_rate).ceil() as u32,
            bits: (bits.ceil() as u32).checked_next_multiple_of(8).unwrap_or(u32::MAX / 8 * 8),
        }
    }

    /// The bits of a consumer group on a topic.
    pub fn of(&self, group: &str, topic: &str) -> BloomFilterData {
        BloomFilterData { bit_num: self.bits, bit_pos: self.positions(&format!("{group}#{topic}")) }
    }

    /// Bytes of a bitmap.
    pub fn bitmap_bytes(&self) -> usize {
        self.bits as usize / 8
    }

    /// Whether the bits belong to a filter of this shape.
    pub fn has_made(&self, data: &BloomFilterData) -> bool {
        data.bit_num == self.bits && data.bit_pos.len() == self.hashes as usize
    }

    fn positions(&self, text: &str) -> Vec<u32> {
        let hash = murmur3_low(text.as_bytes());
        let (low, high) = (hash as u32 as i32, (hash >> 32) as u32 as i32);
        (1..=self.hashes as i32)
            .map(|index| {
                let combined = low.wrapping_add(index.wrapping_mul(high));
                let positive = if combined < 0 { !combined } else { combined };
                positive as u32 % self.bits
            })
            .collect()
    }
}

const C1: u64 = 0x87C3_7B91_1142_53D5;
const C2: u64 = 0x4CF5_AD43_2745_937F;

/// First half of the 128-bit MurmurHash3 for 64-bit machines, seed 0.
fn murmur3_low(bytes: &[u8]) -> u64 {
    let (mut first, mut second) = (0u64, 0u64);
    let mut blocks = bytes.chunks_exact(16);
    for block in &mut blocks {
        first ^= mix_first(word(&block[..8]));
        first = first.rotate_left(27).wrapping_add(second).wrapping_mul(5).wrapping_add(0x52DC_E729);
        second ^= mix_second(word(&block[8..]));
        second = second.rotate_left(31).wrapping_add(first).wrapping_mul(5).wrapping_add(0x3849_5AB5);
    }
    let rest = blocks.remainder();
    let (head, tail) = rest.split_at(rest.len().min(8));
    first ^= mix_first(word(head));
    second ^= mix_second(word(tail));
    let length = bytes.len() as u64;
    first ^= length;
    second ^= length;
    first = first.wrapping_add(second);
    second = second.wrapping_add(first);
    finish(first).wrapping_add(finish(second))
}

/// At most eight bytes, the first one lowest.
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

fn mix_first(word: u64) -> u64 {
    word.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix_second(word: u64) -> u64 {
    word.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish(mut word: u64) -> u64 {
    word = (word ^ word >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    word = (word ^ word >> 33).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    word ^ word >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_finds_its_bits_and_trusts_no_other_bitmap() {
        let bloom = Bloom::new(20, 32);
        let (ours, other) = (bloom.of("g", "T"), bloom.of("h", "T"));
        let mut bitmap = vec![0; bloom.bitmap_bytes()];
        assert_eq!(bitmap.len(), 14);
        assert!(!ours.are_in(&bitmap));
        other.set_in(&mut bitmap);
        assert!(other.are_in(&bitmap) && !ours.are_in(&bitmap));
        ours.set_in(&mut bitmap);
        assert!(other.are_in(&bitmap) && ours.are_in(&bitmap));
        assert!(ours.are_in(&[0; 13]) && ours.are_in(&[]));
    }

    #[test]
    fn shapes_and_positions_are_those_of_java() {
        let mut seen = 0;
        for line in include_str!("../../tests/golden/bloom_positions.tsv")
            .lines()
            .filter(|line| !line.starts_with('#'))
        {
            let [error, expected, hashes, bits, text, positions] = line.split('\t').collect::<Vec<_>>()[..]
            else {
                panic!("{line}")
            };
            let bloom = Bloom::new(error.parse().unwrap(), expected.parse().unwrap());
            assert_eq!(
                (bloom.hashes.to_string(), bloom.bits.to_string()),
                (hashes.to_owned(), bits.to_owned()),
                "{line}"
            );
            assert_eq!(format!("{:?}", bloom.positions(text)), positions, "{line}");
            seen += 1;
        }
        assert!(seen > 40);
    }
}
