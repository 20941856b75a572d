//! Whether a record that seems whole lacks a part that never came to the disk.
//!
//! The CRC of a record covers its body only. Behind the body stand topic and properties, and a sector of these that a
//! power cut lost, or the end of a write that was cut short, reads as zeros. A zero alone proves nothing: producers may
//! put one into a property, and such a record must end no log. So what could be taken for a lost part is not accepted
//! ([`could_seem_torn`]), and where a store has it none the less, from Java or an older version of this one, whoever
//! knows that no power was lost looks for [`ends_in_zeros`] and for whole pages that the kernel gave up
//! ([`lacks_a_page`]).

use wire::record::Record;

/// What a disk writes as a whole, bytes. Larger sectors, and pages of the kernel, are whole numbers of these.
const SECTOR: usize = 512;
/// What the kernel loses as a whole when writing it to the disk fails, bytes.
const PAGE: usize = 4096;

/// So many zeros in a row fill a sector, together with the length before them if that ends with a zero.
const ZEROS_MAX: usize = SECTOR - 2;

/// Whether a record with these properties would, at some place in its file, be one that [`is_torn`].
pub(crate) fn could_seem_torn(properties: &[u8]) -> bool {
    let has_run = || properties.split(|&byte| byte != 0).any(|zeros| zeros.len() > ZEROS_MAX);
    properties.last() == Some(&0) || (properties.len() > ZEROS_MAX && has_run())
}

/// Whether topic or properties end with a zero, as those of a record do whose write was cut short behind its body.
pub(crate) fn ends_in_zeros(record: &Record<'_>) -> bool {
    record.topic.ends_with('\0') || record.properties.last() == Some(&0)
}

/// Whether a record, which stands at `at` in its file, is evidently torn behind its body: topic or properties end with
/// a zero, or all that a sector with a part of them has of the record is zeros.
pub(crate) fn is_torn(record: &Record<'_>, at: u64) -> bool {
    ends_in_zeros(record) || lacks(record, at, SECTOR)
}

/// Whether a page with a part of topic or properties has nothing but zeros of the record, which stands at `at` in its
/// file.
pub(crate) fn lacks_a_page(record: &Record<'_>, at: u64) -> bool {
    lacks(record, at, PAGE)
}

/// Whether all that a unit of so many bytes of the file has of the record is zeros, if it has a part of topic or
/// properties.
fn lacks(record: &Record<'_>, at: u64, unit: usize) -> bool {
    let Record { bytes, topic, properties, .. } = *record;
    // Without properties the record ends with their length, two zeros that are none the less whole.
    let until = bytes.len() - if properties.is_empty() { 2 } else { 0 };
    let from = bytes.len() - properties.len() - 2 - topic.len();
    let in_unit = (at % unit as u64) as usize;
    let units = (in_unit + from) / unit..(in_unit + until).div_ceil(unit);
    units.into_iter().any(|number| {
        let begins = (number * unit).saturating_sub(in_unit);
        let ends = ((number + 1) * unit - in_unit).min(bytes.len());
        bytes[begins..ends].iter().all(|&byte| byte == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::properties;
    use wire::record::{self, Message};

    fn encoded(body: &[u8], values: &[&str]) -> Vec<u8> {
        let mut text = Vec::new();
        for (i, value) in values.iter().enumerate() {
            properties::push(&mut text, &format!("name{i}"), value);
        }
        encoded_with(body, &text)
    }

    fn encoded_with(body: &[u8], properties: &[u8]) -> Vec<u8> {
        let message = Message {
            topic: "orders",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: "127.0.0.1:1000".parse().unwrap(),
            store_host: "127.0.0.1:10911".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties,
        };
        let mut bytes = Vec::new();
        record::encode(&message, &mut bytes).unwrap();
        record::patch(&mut bytes, 1, 1, 1);
        bytes
    }

    /// Whether a record is found torn that its lengths and the CRC of its body call whole.
    fn is_noticed(bytes: &[u8], at: u64) -> Option<bool> {
        let record = Record::parse(bytes).ok().filter(|record| record.verify_crc().is_ok())?;
        Some(is_torn(&record, at))
    }

    #[test]
    fn no_record_is_torn_at_any_place_because_of_the_zeros_that_belong_into_it() {
        let with_zero = ["v", "\0", "a\0b", "\0\0\0\0c"];
        for bytes in [encoded(b"", &[]), encoded(&[0; 2000], &[]), encoded(&[0; 2000], &with_zero)] {
            for at in 0..1024 {
                assert_eq!(is_noticed(&bytes, at), Some(false), "at {at}");
            }
        }
    }

    #[test]
    fn no_properties_that_are_accepted_seem_torn_at_any_place() {
        for zeros in [1, 509, 510, 511, 512, 1023] {
            let zeros = "\0".repeat(zeros);
            // 1,280 bytes: the last byte of this length, which stands before the zeros, is one too.
            let begins = format!("{zeros}{}", "x".repeat(1280 - zeros.len()));
            let seems = |text: &str| {
                let bytes = encoded_with(b"body", text.as_bytes());
                (0..512).any(|at| is_noticed(&bytes, at) == Some(true))
            };
            assert_eq!(could_seem_torn(begins.as_bytes()), seems(&begins), "{} zeros", zeros.len());
            for text in [format!("KEYS\x01{zeros}x\x02"), format!("KEYS\x01{zeros}")] {
                assert!(could_seem_torn(text.as_bytes()) || !seems(&text), "{text:?}");
            }
        }
    }

    #[test]
    fn every_lost_sector_is_noticed() {
        let long = "x".repeat(1300);
        for whole in [encoded(b"body", &["v"]), encoded(b"", &[&long, "v"]), encoded(&[7; 450], &["v", "w"])]
        {
            for at in 0..1024 {
                let ends: Vec<usize> = (0..whole.len())
                    .filter(|byte| (at + byte + 1) % 512 == 0)
                    .chain([whole.len() - 1])
                    .collect();
                let mut begins = 0;
                for end in ends {
                    let mut bytes = whole.clone();
                    bytes[begins..=end].fill(0);
                    let changed = bytes != whole;
                    assert!(
                        !changed || is_noticed(&bytes, at as u64) != Some(false),
                        "{begins}..={end} at {at}"
                    );
                    begins = end + 1;
                }
            }
        }
    }

    #[test]
    fn every_write_that_was_cut_short_is_noticed() {
        for whole in [encoded(b"body", &["v", &"x".repeat(700)]), encoded(b"body", &[])] {
            for len in 1..whole.len() {
                let mut bytes = whole.clone();
                bytes[len..].fill(0);
                assert!(bytes == whole || is_noticed(&bytes, 100) != Some(false), "{len} bytes were written");
            }
        }
    }
}
