//! Receipt handles (`extraInfo`, `POP_CK`): what a consumer gives back to say which delivery it speaks of
//! (broker.md §15.1).

use super::origin::Origin;

/// The place of the revive queue in the handle of an orderly pop, which has no checkpoint.
pub const ORDER_QUEUE: i32 = 999;

/// One delivery of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle<'a> {
    /// Where the pop that delivered it began in its queue.
    pub start: i64,
    /// When that was, Unix milliseconds of the broker.
    pub pop_time: i64,
    /// For how many milliseconds nobody else gets it.
    pub invisible_ms: i64,
    /// Queue of the revive log that has the checkpoint, or [`ORDER_QUEUE`].
    pub revive_queue: i32,
    /// Kind of topic it was popped from.
    pub origin: Origin,
    /// Broker that delivered it.
    pub broker: &'a str,
    /// Queue within the topic.
    pub queue: i32,
    /// Offset in that queue.
    pub offset: i64,
}

impl<'a> Handle<'a> {
    /// Reads the text of a handle. The last two parts may be missing: requests name queue and offset themselves.
    pub fn parse(text: &'a str) -> Option<Handle<'a>> {
        let mut parts = text.split(' ');
        Some(Handle {
            start: parts.next()?.parse().ok()?,
            pop_time: parts.next()?.parse().ok()?,
            invisible_ms: parts.next()?.parse().ok()?,
            revive_queue: parts.next()?.parse().ok()?,
            origin: Origin::from_mark(parts.next()?)?,
            broker: parts.next()?,
            queue: parts.next().and_then(|part| part.parse().ok()).unwrap_or(-1),
            offset: parts.next().and_then(|part| part.parse().ok()).unwrap_or(-1),
        })
    }

    /// Whether it is of an orderly pop.
    pub fn is_orderly(&self) -> bool {
        self.revive_queue == ORDER_QUEUE
    }
}

impl std::fmt::Display for Handle<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Handle { start, pop_time, invisible_ms, revive_queue, origin, broker, queue, offset } = self;
        let mark = origin.mark();
        write!(formatter, "{start} {pop_time} {invisible_ms} {revive_queue} {mark} {broker} {queue} {offset}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_read_as_it_is_written() {
        let text = "100 1700000000000 60000 3 1 broker-a 2 117";
        let handle = Handle::parse(text).unwrap();
        assert_eq!(handle.to_string(), text);
        assert_eq!((handle.start, handle.offset, handle.origin), (100, 117, Origin::RetryV1));
        // The proxy's handles go on with the place in the commit log.
        assert_eq!(Handle::parse(&format!("{text} 4096")), Some(handle));
        assert_eq!(Handle::parse("1 2 3 999 0 b").map(|handle| handle.is_orderly()), Some(true));
        for bad in ["", "1", "1 2 3 4 5 b 6 7", "a 2 3 4 0 b 6 7", "1 2 3 4 0"] {
            assert_eq!(Handle::parse(bad), None, "{bad}");
        }
    }
}
