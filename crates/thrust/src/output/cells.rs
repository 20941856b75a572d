//! How much room texts take on a terminal: Chinese, Japanese and Korean letters and most pictures take two cells, marks
//! that stand on the letter before them take none.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Cells that a text takes.
pub fn cells(text: &str) -> usize {
    text.width()
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
        let rest = left.checked_sub(letter.width().unwrap_or(0));
        left = rest.unwrap_or(left);
        rest.is_some()
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

fn room(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(cells(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_letters_take_two_cells_and_marks_none() {
        let told = ["orders", "größe", "订单", "ｱﾞ", "한국", "e\u{301}", "🚀 ok", "…"].map(cells);
        assert_eq!(told, [6, 5, 4, 2, 4, 1, 5, 1]);
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
