//! Frames: a length, a header in one of two dialects, a body (wire.md §2).

use crate::header::Dialect;

/// Largest frame that official peers accept, length field included.
pub const FRAME_MAX: usize = 16_777_216;

/// One frame, borrowed from the bytes it arrived in.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// How the header is written.
    pub dialect: Dialect,
    /// The header's bytes.
    pub header: &'a [u8],
    /// The body's bytes; an absent body is empty.
    pub body: &'a [u8],
    /// Bytes of the whole frame, length field included.
    pub size: usize,
}

/// Why bytes can never become a frame. The connection they came over is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length field announces more than the limit.
    #[error("frame announces {announced} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes of the frame with its length field.
        announced: u64,
        /// The limit in force.
        limit: usize,
    },
    /// The frame cannot even hold its header length.
    #[error("frame length {0} is below the 4 bytes that the header length needs")]
    TooSmall(u32),
    /// The header does not fit in the frame.
    #[error("header of {header} bytes in a frame with room for {room}")]
    HeaderLength {
        /// Announced header length.
        header: usize,
        /// Bytes behind the header length field.
        room: usize,
    },
    /// A header dialect nobody defined.
    #[error("header serialization {0} is neither 0 (JSON) nor 1 (ROCKETMQ)")]
    Dialect(u8),
}

/// Takes one frame from the front of `bytes`; `None` while it is not complete.
pub fn split(bytes: &[u8], limit: usize) -> Result<Option<Frame<'_>>, FrameError> {
    let Some(prefix) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*prefix);
    let size = u64::from(length) + 4;
    if size > limit as u64 {
        return Err(FrameError::TooLarge { announced: size, limit });
    }
    if length < 4 {
        return Err(FrameError::TooSmall(length));
    }
    let size = size as usize;
    let Some(&[dialect, h0, h1, h2]) = bytes.get(4..).and_then(|rest| rest.first_chunk::<4>()) else {
        return Ok(None);
    };
    let dialect = Dialect::from_byte(dialect).ok_or(FrameError::Dialect(dialect))?;
    let header_length = u32::from_be_bytes([0, h0, h1, h2]) as usize;
    let room = size - 8;
    if header_length > room {
        return Err(FrameError::HeaderLength { header: header_length, room });
    }
    let Some(rest) = bytes.get(8..size) else { return Ok(None) };
    let (header, body) = rest.split_at(header_length);
    Ok(Some(Frame { dialect, header, body, size }))
}

/// Bytes that the frame at the front of `bytes` will take, once its length field is there.
pub fn announced(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk::<4>().map(|prefix| u32::from_be_bytes(*prefix) as usize + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_frame_is_no_frame_yet() {
        let whole = [0, 0, 0, 7, 0, 0, 0, 2, b'{', b'}', 9];
        for end in 0..whole.len() {
            assert!(split(&whole[..end], FRAME_MAX).unwrap().is_none(), "{end}");
        }
        let frame = split(&whole, FRAME_MAX).unwrap().unwrap();
        assert_eq!((frame.header, frame.body, frame.size), (&b"{}"[..], &[9u8][..], 11));
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_before_anything_is_awaited() {
        assert_eq!(split(&[0, 0, 0, 3], FRAME_MAX).unwrap_err(), FrameError::TooSmall(3));
        assert!(matches!(split(&[0xFF; 4], FRAME_MAX), Err(FrameError::TooLarge { .. })));
        assert_eq!(split(&[0, 0, 0, 9, 2, 0, 0, 0], FRAME_MAX).unwrap_err(), FrameError::Dialect(2));
        assert_eq!(
            split(&[0, 0, 0, 9, 0, 0, 0, 6], FRAME_MAX).unwrap_err(),
            FrameError::HeaderLength { header: 6, room: 5 }
        );
    }
}
