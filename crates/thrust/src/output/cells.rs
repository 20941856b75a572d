//! How much room letters take on a terminal: Chinese, Japanese and Korean ones and most pictures take two cells, marks
//! that stand on the letter before them take none.
//!
//! This is by the blocks of Unicode 14 (`EastAsianWidth.txt`). Of marks those of the Latin, Greek, Cyrillic and Thai
//! scripts are known; others count as letters, and a picture that several letters make counts as all of them.

/// Letters that take two cells.
const WIDE: [(u32, u32); 81] = [
    (0x1100, 0x115f),
    (0x231a, 0x231b),
    (0x2329, 0x232a),
    (0x23e9, 0x23ec),
    (0x23f0, 0x23f0),
    (0x23f3, 0x23f3),
    (0x25fd, 0x25fe),
    (0x2614, 0x2615),
    (0x2648, 0x2653),
    (0x267f, 0x267f),
    (0x2693, 0x2693),
    (0x26a1, 0x26a1),
    (0x26aa, 0x26ab),
    (0x26bd, 0x26be),
    (0x26c4, 0x26c5),
    (0x26ce, 0x26ce),
    (0x26d4, 0x26d4),
    (0x26ea, 0x26ea),
    (0x26f2, 0x26f3),
    (0x26f5, 0x26f5),
    (0x26fa, 0x26fa),
    (0x26fd, 0x26fd),
    (0x2705, 0x2705),
    (0x270a, 0x270b),
    (0x2728, 0x2728),
    (0x274c, 0x274c),
    (0x274e, 0x274e),
    (0x2753, 0x2755),
    (0x2757, 0x2757),
    (0x2795, 0x2797),
    (0x27b0, 0x27b0),
    (0x27bf, 0x27bf),
    (0x2b1b, 0x2b1c),
    (0x2b50, 0x2b50),
    (0x2b55, 0x2b55),
    (0x2e80, 0x303e),
    (0x3041, 0x3247),
    (0x3250, 0x4dbf),
    (0x4e00, 0xa4c6),
    (0xa960, 0xa97c),
    (0xac00, 0xd7a3),
    (0xf900, 0xfad9),
    (0xfe10, 0xfe19),
    (0xfe30, 0xfe6b),
    (0xff01, 0xff60),
    (0xffe0, 0xffe6),
    (0x16fe0, 0x1b2fb),
    (0x1f004, 0x1f004),
    (0x1f0cf, 0x1f0cf),
    (0x1f18e, 0x1f18e),
    (0x1f191, 0x1f19a),
    (0x1f200, 0x1f320),
    (0x1f32d, 0x1f335),
    (0x1f337, 0x1f37c),
    (0x1f37e, 0x1f393),
    (0x1f3a0, 0x1f3ca),
    (0x1f3cf, 0x1f3d3),
    (0x1f3e0, 0x1f3f0),
    (0x1f3f4, 0x1f3f4),
    (0x1f3f8, 0x1f43e),
    (0x1f440, 0x1f440),
    (0x1f442, 0x1f4fc),
    (0x1f4ff, 0x1f53d),
    (0x1f54b, 0x1f54e),
    (0x1f550, 0x1f567),
    (0x1f57a, 0x1f57a),
    (0x1f595, 0x1f596),
    (0x1f5a4, 0x1f5a4),
    (0x1f5fb, 0x1f64f),
    (0x1f680, 0x1f6c5),
    (0x1f6cc, 0x1f6cc),
    (0x1f6d0, 0x1f6d2),
    (0x1f6d5, 0x1f6df),
    (0x1f6eb, 0x1f6ec),
    (0x1f6f4, 0x1f6fc),
    (0x1f7e0, 0x1f7f0),
    (0x1f90c, 0x1f93a),
    (0x1f93c, 0x1f945),
    (0x1f947, 0x1f9ff),
    (0x1fa70, 0x1faf6),
    (0x20000, 0x3fffd),
];

/// Marks and letters that take none.
const NONE: [(u32, u32); 12] = [
    (0x0300, 0x036f),
    (0x0483, 0x0489),
    (0x0e31, 0x0e31),
    (0x0e34, 0x0e3a),
    (0x0e47, 0x0e4e),
    (0x1160, 0x11ff),
    (0x1ab0, 0x1aff),
    (0x1dc0, 0x1dff),
    (0x200b, 0x200f),
    (0x20d0, 0x20ff),
    (0xfe00, 0xfe0f),
    (0xfe20, 0xfe2f),
];

/// Cells that a text takes.
pub fn cells(text: &str) -> usize {
    text.chars().map(of_letter).sum()
}

/// A text with spaces behind it up to so many cells.
pub fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", room(text, width))
}

/// A text with spaces before it up to so many cells.
pub fn to_the_right(text: &str, width: usize) -> String {
    format!("{}{text}", room(text, width))
}

/// A text of at most so many cells; a mark says that there was more.
pub fn cut(text: &str, width: usize) -> String {
    if cells(text) <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |letter: &char| {
        let rest = left.checked_sub(of_letter(*letter));
        left = rest.unwrap_or(left);
        rest.is_some()
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

fn room(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(cells(text)))
}

fn of_letter(letter: char) -> usize {
    match u32::from(letter) {
        ..0x0300 => 1,
        code if is_in(&NONE, code) => 0,
        code if is_in(&WIDE, code) => 2,
        _ => 1,
    }
}

fn is_in(blocks: &[(u32, u32)], code: u32) -> bool {
    let at = blocks.partition_point(|(_, last)| *last < code);
    blocks.get(at).is_some_and(|(first, _)| *first <= code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_letters_take_two_cells_and_marks_none() {
        let told = ["orders", "größe", "订单", "ｱﾞ", "한국", "e\u{301}", "🚀 ok", "…"].map(cells);
        assert_eq!(told, [6, 5, 4, 2, 4, 1, 5, 1]);
        for blocks in [&WIDE[..], &NONE] {
            assert!(blocks.is_sorted_by(|one, next| one.1 < next.0), "each is found by where it ends");
        }
    }

    #[test]
    fn what_is_cut_or_padded_has_its_cells() {
        assert_eq!([padded("订单", 6), to_the_right("订单", 6)], ["订单  ", "  订单"]);
        assert_eq!(padded("订单", 3), "订单");
        assert_eq!(
            ["订单主题", "a订单主题", "orders"].map(|text| cut(text, 6)),
            ["订单…", "a订单…", "orders"]
        );
        assert_eq!(cells(&cut("订单主题", 6)), 5, "half a letter cannot be shown");
    }
}
