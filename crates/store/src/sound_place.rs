//! Where a segment goes on behind bytes that are no record.

use std::io;

use wire::record::{MAGIC_BLANK, MAGIC_V1, MAGIC_V2, Record};

use crate::commit_log::{Look, Window, look_in};
use crate::segment::Segment;

/// Bytes that are searched at a time.
const PIECE: u64 = 1 << 20;

/// The first place from `from` on where a record begins that `is_sound`, or a blank behind which the log `goes_on`.
pub(crate) fn next_in(
    segment: &Segment,
    from: u64,
    is_sound: &dyn Fn(&Record<'_>) -> bool,
    goes_on: &dyn Fn(u64) -> bool,
) -> io::Result<Option<u64>> {
    let (mut pieces, mut window) = (Window::new(0), Window::new(u64::MAX));
    let mut start = from;
    while start + 8 <= segment.until() {
        // Pieces overlap by what a size and a magic take.
        let len = (segment.until() - start).min(PIECE + 7) as usize;
        let bytes = pieces.bytes(segment, start, len)?;
        for place in places_of_magic(bytes) {
            let at = start + place as u64;
            match look_in(segment, at, &mut window)? {
                Look::Record(record) if is_sound(&record) => return Ok(Some(at)),
                // Eight bytes may look like a blank by chance; one behind which nothing follows proves nothing.
                Look::Blank { next } if goes_on(next) => return Ok(Some(at)),
                _ => {}
            }
        }
        start += PIECE;
    }
    Ok(None)
}

/// Where in `bytes` a size and one of the magics may stand.
fn places_of_magic(bytes: &[u8]) -> impl Iterator<Item = usize> {
    const MAGICS: [[u8; 4]; 3] = [MAGIC_V1.to_be_bytes(), MAGIC_V2.to_be_bytes(), MAGIC_BLANK.to_be_bytes()];
    let mut at = 0;
    std::iter::from_fn(move || {
        while at + 8 <= bytes.len() {
            // Most of what is searched are the zeros behind the end.
            if let Some(block) = bytes.get(at + 4..at + 4 + 64)
                && block.iter().all(|&byte| byte == 0)
            {
                at += 61;
                continue;
            }
            let place = at;
            at += 1;
            if MAGICS.iter().any(|magic| bytes[place + 4..place + 8] == *magic) {
                return Some(place);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magics_are_found_at_every_distance_from_zeros() {
        for place in 0..200 {
            for magic in [MAGIC_V1, MAGIC_V2, MAGIC_BLANK] {
                let mut bytes = vec![0; 300];
                bytes[place + 4..place + 8].copy_from_slice(&magic.to_be_bytes());
                assert_eq!(places_of_magic(&bytes).collect::<Vec<_>>(), [place]);
            }
        }
        assert_eq!(places_of_magic(&[]).count(), 0);
    }
}
