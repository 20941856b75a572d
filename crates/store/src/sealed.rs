//! Fields that only this program writes: a magic, big-endian numbers, and behind them a CRC-32 of everything before it.
//!
//! In the files that Java writes too, the CRC covers Java's fields in front of the magic as well. So it tells who wrote
//! last, and no byte of either part can change unnoticed.

/// Bytes of the CRC at the end.
const CRC_BYTES: usize = 4;

/// Closes `bytes` with their CRC.
pub(crate) fn seal(bytes: &mut Vec<u8>) {
    let crc = crc32fast::hash(bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
}

/// Adds numbers to what will be sealed.
pub(crate) fn put(bytes: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
}

/// Bytes that are being decoded, from the front.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Plain fields, sealed or not.
    pub fn of(bytes: &'a [u8]) -> Fields<'a> {
        Fields(bytes)
    }

    /// The fields behind `magic`, which stands at `at`; `None` if it does not, or if the CRC that ends `bytes` is not
    /// theirs.
    pub fn unseal(bytes: &'a [u8], at: usize, magic: &[u8; 8]) -> Option<Fields<'a>> {
        let (content, crc) = bytes.split_at_checked(bytes.len().checked_sub(CRC_BYTES)?)?;
        let fields = content.get(at..)?.strip_prefix(magic)?;
        (crc == crc32fast::hash(content).to_be_bytes()).then_some(Fields(fields))
    }

    /// The next bytes; `None` if there are fewer.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// As many as the result has room for.
    pub fn array<const COUNT: usize>(&mut self) -> Option<[u8; COUNT]> {
        self.bytes(COUNT)?.first_chunk().copied()
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// All that has not been decoded yet.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Whether all has been decoded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &[u8; 8] = b"ThrustX1";

    #[test]
    fn what_was_sealed_is_read_back_and_no_byte_of_it_may_change_or_miss() {
        let mut bytes = b"of Java".to_vec();
        let at = bytes.len();
        bytes.extend_from_slice(MAGIC);
        put(&mut bytes, &[3, u64::MAX]);
        seal(&mut bytes);
        let mut fields = Fields::unseal(&bytes, at, MAGIC).unwrap();
        assert_eq!((fields.u32(), fields.u32(), fields.i64()), (Some(0), Some(3), Some(-1)));
        assert!(fields.is_empty() && fields.u32().is_none());
        for i in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[i] ^= 1;
            assert!(Fields::unseal(&changed, at, MAGIC).is_none(), "byte {i}");
            assert!(Fields::unseal(&bytes[..i], at, MAGIC).is_none(), "{i} bytes");
        }
    }
}
