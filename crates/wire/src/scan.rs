//! Looking for single bytes in short texts, eight bytes at a time.
//!
//! Headers and properties are made of some twenty names and values of 1 to 50 bytes. For these a byte at a time is
//! slow, and a call of a search made for long texts takes longer than the search. A JSON header is all strings of no
//! two equal lengths, whose ends a processor cannot foresee, so [`Stops`] looks for those of 64 bytes at once and then
//! finds one after the other without a loop.

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);

/// Where the first byte of this value stands.
pub(crate) fn byte(text: &[u8], wanted: u8) -> Option<usize> {
    find(text, |word| equal(word, wanted), |byte| byte == wanted)
}

/// Bytes that [`Stops`] looks at in one go.
const BLOCK: usize = 64;

/// Where quotes and backslashes stand in a JSON text.
pub(crate) struct Stops {
    /// Number of the block that was looked at last.
    block: usize,
    /// A bit for each of its bytes, the first in the lowest.
    found: u64,
}

impl Stops {
    /// None are known yet.
    pub fn new() -> Stops {
        Stops { block: usize::MAX, found: 0 }
    }

    /// The place of the first one at `at` or behind. The text must be the same in every call.
    pub fn next(&mut self, text: &[u8], mut at: usize) -> Option<usize> {
        loop {
            let block = at / BLOCK;
            if block != self.block {
                *self = Stops { block, found: stops(text.get(block * BLOCK..)?) };
            }
            let behind = self.found >> (at % BLOCK);
            if behind != 0 {
                return Some(at + behind.trailing_zeros() as usize);
            }
            at = (block + 1) * BLOCK;
        }
    }
}

/// A bit for each quote or backslash of the first 64 bytes.
fn stops(text: &[u8]) -> u64 {
    let mut last = [0; BLOCK];
    let block = text.first_chunk().unwrap_or_else(|| {
        last[..text.len()].copy_from_slice(text);
        &last
    });
    let mut found = 0;
    for (number, word) in block.as_chunks::<8>().0.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let high = exactly(word, b'"') | exactly(word, b'\\');
        // Moves the high bit of each byte to its place in the topmost one.
        found |= ((high >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (number * 8);
    }
    found
}

/// The high bit of each byte that is `byte`, and no other bit.
fn exactly(word: u64, byte: u8) -> u64 {
    let other = word ^ (ONES * u64::from(byte));
    let carried = (other & !HIGH_BITS) + !HIGH_BITS;
    !(carried | other) & HIGH_BITS
}

/// Where the first of two bytes stands.
pub(crate) fn either(text: &[u8], one: u8, other: u8) -> Option<usize> {
    find(text, |word| equal(word, one) | equal(word, other), |byte| byte == one || byte == other)
}

/// Where the first byte stands that JSON wants escaped: a control character, a quote or a backslash.
pub(crate) fn escaped_in_json(text: &[u8]) -> Option<usize> {
    find(
        text,
        |word| below(word, 0x20) | equal(word, b'"') | equal(word, b'\\'),
        |byte| byte < 0x20 || byte == b'"' || byte == b'\\',
    )
}

/// `in_word` sets the high bit of each byte that is looked for. It may set those of bytes behind the first too,
/// whatever they are: borrows run that way.
fn find(text: &[u8], in_word: impl Fn(u64) -> u64, is_meant: impl Fn(u8) -> bool) -> Option<usize> {
    let (words, rest) = text.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let found = in_word(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(number * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let at = rest.iter().position(|&byte| is_meant(byte))?;
    Some(words.len() * 8 + at)
}

/// Bytes of the word that are `byte`.
fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

/// Bytes of the word that are less than `limit`, which is 128 at most.
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EDGES: [u8; 14] = [0, 1, 2, 3, 0x1F, 0x20, 0x21, b'"', b'#', b'\\', b']', 0x7F, 0x80, 0xFF];

    proptest! {
        /// From each place of a text of one to three blocks.
        #[test]
        fn quotes_and_backslashes_are_found_where_they_stand(
            text in proptest::collection::vec(
                prop_oneof![
                    4 => any::<u8>(),
                    1 => proptest::sample::select(EDGES.to_vec())
                ],
                0..150,
            )
        ) {
            let mut stops = Stops::new();
            for at in (0..=text.len()).chain((0..=text.len()).rev()) {
                let behind = text[at..].iter().position(|byte| matches!(byte, b'"' | b'\\'));
                let expected = behind.map(|distance| at + distance);
                prop_assert_eq!(stops.next(&text, at), expected);
            }
        }

        /// Bytes near those that are looked for, and near the edges where a borrow would show.
        #[test]
        fn what_is_found_is_what_a_look_at_each_byte_finds(
            text in proptest::collection::vec(
                prop_oneof![
                    any::<u8>(),
                    proptest::sample::select(EDGES.to_vec())
                ],
                0..40,
            )
        ) {
            let first = |is_meant: fn(u8) -> bool| text.iter().position(|&byte| is_meant(byte));
            prop_assert_eq!(either(&text, b'"', b'\\'), first(|byte| byte == b'"' || byte == b'\\'));
            prop_assert_eq!(either(&text, 1, 2), first(|byte| byte == 1 || byte == 2));
            prop_assert_eq!(byte(&text, 2), first(|byte| byte == 2));
            prop_assert_eq!(
                escaped_in_json(&text),
                first(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')
            );
        }
    }
}
