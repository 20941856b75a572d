//! Requests under way on one connection, found again by the opaque number of the answer.

/// First opaque number: all have ten digits, so that they can be written over one another in a template.
pub const OPAQUE_BASE: i32 = 1_000_000_000;
/// Low bits of the opaque number that name the slot; the bits above count its uses.
const SLOT_BITS: u32 = 16;
const USE_MASK: u32 = (1 << 13) - 1;

/// A bounded set of requests under way, each with the time it counts from.
pub struct Slots {
    /// Opaque number and time of the request in each slot; opaque 0 marks a free one.
    used: Vec<(i32, u64)>,
    free: Vec<u16>,
    uses: u32,
}

impl Slots {
    pub fn new(count: usize) -> Slots {
        assert!(count <= 1 << SLOT_BITS);
        Slots { used: vec![(0, 0); count], free: (0..count).rev().map(|slot| slot as u16).collect(), uses: 0 }
    }

    /// Takes a slot for a request that counts from `since_ns`; gives its number and the opaque number to send.
    pub fn take(&mut self, since_ns: u64) -> Option<(usize, i32)> {
        let slot = self.free.pop()?;
        self.uses = self.uses.wrapping_add(1);
        let opaque = OPAQUE_BASE + (((self.uses & USE_MASK) << SLOT_BITS) | u32::from(slot)) as i32;
        self.used[usize::from(slot)] = (opaque, since_ns);
        Some((usize::from(slot), opaque))
    }

    /// The slot of an answer and the time its request counts from; `None` when nobody waits for it.
    pub fn release(&mut self, opaque: i32) -> Option<(usize, u64)> {
        let slot = (opaque.wrapping_sub(OPAQUE_BASE) as u32 & ((1 << SLOT_BITS) - 1)) as usize;
        let (expected, since_ns) = *self.used.get(slot)?;
        if expected != opaque || opaque == 0 {
            return None;
        }
        self.used[slot].0 = 0;
        self.free.push(slot as u16);
        Some((slot, since_ns))
    }

    /// As [`Slots::release`], for who has the answer in hand.
    pub fn answered(&mut self, opaque: i32) -> Result<(usize, u64), String> {
        self.release(opaque).ok_or_else(|| format!("an answer to request {opaque}, which is not under way"))
    }

    pub fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Requests under way.
    pub fn taken(&self) -> usize {
        self.used.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_any_order_find_their_request_once() {
        let mut slots = Slots::new(3);
        let sent: Vec<_> = (0..3).map(|time| slots.take(time).unwrap()).collect();
        assert!(slots.take(9).is_none() && !slots.has_free());
        assert_eq!(slots.release(sent[1].1), Some((sent[1].0, 1)));
        assert_eq!(slots.release(sent[1].1), None);
        assert_eq!(slots.release(0), None);
        assert_eq!(slots.release(OPAQUE_BASE + 77), None);
        assert_eq!(slots.taken(), 2);
        let again = slots.take(5).unwrap();
        assert_eq!(again.0, sent[1].0);
        assert_ne!(again.1, sent[1].1);
    }

    #[test]
    fn opaque_numbers_keep_ten_digits() {
        let mut slots = Slots::new(1 << SLOT_BITS);
        for _ in 0..1 << SLOT_BITS {
            let (_, opaque) = slots.take(0).unwrap();
            assert_eq!(opaque.to_string().len(), 10);
            if opaque % 3 == 0 {
                slots.release(opaque);
            }
        }
    }
}
