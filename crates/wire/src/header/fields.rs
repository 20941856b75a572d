//! The ext fields of a header.
//!
//! Names and values are places in the header, or in a text beside it where they had to be unescaped. Both buffers are
//! those of the thread's header before this one: on the way of a message nothing is allocated for its header.

use std::cell::Cell;
use std::ops::Range;

use super::HeaderError;

/// Ext fields of one header beyond which it is refused. The longest request has 18; without a limit one frame of
/// 16 MiB would become two million fields, ten times its size in memory.
pub const FIELDS_MAX: usize = 1024;

/// Larger buffers than these are not kept for the next header.
const PAIRS_KEPT: usize = 64;
const BYTES_KEPT: usize = 64 << 10;

thread_local! {
    static SPARE: Cell<Option<Buffers>> = const { Cell::new(None) };
}

/// Where a name or value is. The length of a header has 24 bits, and unescaping makes it no longer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    from: u32,
    /// Twice the end, and one more in the text beside the header.
    until: u32,
}

impl Span {
    /// A part of the header.
    pub fn of_header(range: Range<usize>) -> Span {
        Span { from: range.start as u32, until: (range.end as u32) << 1 }
    }

    /// A part of the text beside it.
    pub fn unescaped(range: Range<usize>) -> Span {
        Span { from: range.start as u32, until: (range.end as u32) << 1 | 1 }
    }

    fn is_unescaped(self) -> bool {
        self.until & 1 == 1
    }

    fn range(self) -> Range<usize> {
        self.from as usize..(self.until >> 1) as usize
    }
}

#[derive(Debug, Clone, Default)]
struct Buffers {
    pairs: Vec<(Span, Span)>,
    unescaped: String,
}

/// Buffers that go back to the thread when they are dropped.
#[derive(Debug, Clone, Default)]
struct Lent(Buffers);

impl Lent {
    fn new() -> Lent {
        // Without the thread's own, while it ends, there are others.
        Lent(SPARE.try_with(Cell::take).ok().flatten().unwrap_or_default())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Buffers { mut pairs, mut unescaped } = std::mem::take(&mut self.0);
        if (1..=PAIRS_KEPT).contains(&pairs.capacity()) && unescaped.capacity() <= BYTES_KEPT {
            pairs.clear();
            unescaped.clear();
            let _ = SPARE.try_with(|spare| spare.set(Some(Buffers { pairs, unescaped })));
        }
    }
}

/// Ext fields in the order they came.
#[derive(Debug, Clone, Default)]
pub struct Fields<'a> {
    header: &'a str,
    lent: Lent,
}

impl<'a> Fields<'a> {
    /// None yet, of a header that is this text.
    pub(super) fn of(header: &'a str) -> Fields<'a> {
        Fields { header, lent: Lent::new() }
    }

    /// Value of `name`; the last of equal names wins (wire.md §4).
    pub fn get(&self, name: &str) -> Option<&str> {
        let pairs = self.lent.0.pairs.iter();
        pairs.rev().find(|(key, _)| self.text(*key) == name).map(|(_, value)| self.text(*value))
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lent.0.pairs.iter().map(|(key, value)| (self.text(*key), self.text(*value)))
    }

    /// How many fields came.
    pub fn len(&self) -> usize {
        self.lent.0.pairs.len()
    }

    /// Whether no field came.
    pub fn is_empty(&self) -> bool {
        self.lent.0.pairs.is_empty()
    }

    /// A number; a missing or malformed one is `None`, which Java treats as the default of the type (§6.1).
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name).and_then(|text| text.parse().ok())
    }

    /// A boolean: `true` in any case is true, all else false.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|text| text.eq_ignore_ascii_case("true"))
    }

    fn text(&self, span: Span) -> &str {
        let all = if span.is_unescaped() { self.lent.0.unescaped.as_str() } else { self.header };
        // The parser made it of positions in this very text.
        &all[span.range()]
    }

    /// Where a text goes that has to be unescaped.
    pub(super) fn unescaped(&mut self) -> &mut String {
        &mut self.lent.0.unescaped
    }

    /// Adds a field that is there already.
    pub(super) fn push(&mut self, name: Span, value: Span) -> Result<(), HeaderError> {
        let pairs = &mut self.lent.0.pairs;
        if pairs.len() == FIELDS_MAX {
            return Err(HeaderError::Fields);
        }
        pairs.push((name, value));
        Ok(())
    }

    /// Adds a field by a copy.
    pub(super) fn push_copy(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        let (name, value) = (self.copy(name), self.copy(value));
        self.push(name, value)
    }

    fn copy(&mut self, text: &str) -> Span {
        let unescaped = self.unescaped();
        let from = unescaped.len();
        unescaped.push_str(text);
        Span::unescaped(from..unescaped.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_live_at_once_do_not_share_their_texts() {
        let mut one = Fields::of("ab");
        one.push(Span::of_header(0..1), Span::of_header(1..2)).unwrap();
        one.push_copy("c", "d").unwrap();
        let mut two = Fields::of("xy");
        two.push_copy("c", "e").unwrap();
        let three = one.clone();
        drop(one);
        let mut four = Fields::of("zz");
        four.push_copy("c", "f").unwrap();
        let of = |fields: &Fields<'_>| fields.get("c").map(str::to_owned);
        assert_eq!(
            (of(&two).as_deref(), of(&three).as_deref(), of(&four).as_deref()),
            (Some("e"), Some("d"), Some("f"))
        );
        assert_eq!((three.get("a"), four.get("a"), four.len()), (Some("b"), None, 1));
    }
}
