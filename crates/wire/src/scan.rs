//! Looking for single bytes in short texts, eight bytes at a time.
//!
//! Headers and properties are made of some twenty names and values of 1 to 50 bytes. For these a byte at a time is
//! slow, and a call of a search made for long texts takes longer than the search.

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);

/// Where the first byte of this value stands.
pub(crate) fn byte(text: &[u8], wanted: u8) -> Option<usize> {
    find(text, |word| equal(word, wanted), |byte| byte == wanted)
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
