//! Java's string hash, which tag codes and index keys are made of (wire.md §13.6).

/// Hash of one string over its UTF-16 units, `h = 31·h + unit` in wrapping 32 bits.
pub fn java_hash(text: &str) -> i32 {
    JavaHash::default().update(text).0
}

/// A Java hash being built from parts: hashing `a` then `b` equals hashing `ab`.
#[derive(Debug, Clone, Copy, Default)]
pub struct JavaHash(pub i32);

/// From the seventh down to the zeroth, wrapping.
const POWERS_OF_31: [i32; 8] = {
    let mut powers = [1i32; 8];
    let mut at = 7;
    while at > 0 {
        powers[at - 1] = powers[at].wrapping_mul(31);
        at -= 1;
    }
    powers
};

impl JavaHash {
    /// Continues with `text`.
    #[must_use]
    pub fn update(self, text: &str) -> JavaHash {
        let mut hash = self.0;
        if text.is_ascii() {
            // Eight at a time, so that one multiplication need not wait for the one before it.
            let (eights, rest) = text.as_bytes().as_chunks::<8>();
            for eight in eights {
                let powers = POWERS_OF_31.iter().zip(eight);
                let sum = powers
                    .fold(0i32, |sum, (power, &byte)| sum.wrapping_add(power.wrapping_mul(i32::from(byte))));
                hash = hash.wrapping_mul(POWERS_OF_31[0].wrapping_mul(31)).wrapping_add(sum);
            }
            for &byte in rest {
                hash = hash.wrapping_mul(31).wrapping_add(i32::from(byte));
            }
        } else {
            for unit in text.encode_utf16() {
                hash = hash.wrapping_mul(31).wrapping_add(i32::from(unit));
            }
        }
        JavaHash(hash)
    }
}

/// The 64-bit code of a tag in a consume queue; 0 for no tag.
pub fn tags_code(tags: Option<&str>) -> i64 {
    match tags {
        Some(tags) if !tags.is_empty() => i64::from(java_hash(tags)),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes_are_those_of_java() {
        assert_eq!(java_hash("TagA"), 2_598_919);
        assert_eq!(java_hash("TopicTest#K1"), 2_745_032);
        assert_eq!(java_hash("%RETRY%please_rename_unique_group_name_4"), -1_595_449_568);
        assert_eq!(java_hash(""), 0);
        // A surrogate pair counts as two units.
        assert_eq!(java_hash("\u{1F600}"), 31 * 0xD83D + 0xDE00);
        assert_eq!(JavaHash::default().update("Topic").update("Test#K1").0, 2_745_032);
    }
}
