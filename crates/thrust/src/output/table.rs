//! Columns that stand below each other.

use super::cells::{cells, cut, padded, to_the_right};
use super::terminal::columns;
use super::words::wrapped;

/// Cells of a text that are left when a table is made narrow.
const TEXT_MIN: usize = 12;

/// Rows of texts; numbers are put to the right of their column.
pub struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// A table with these headings; those that begin with `>` stand over numbers.
    pub fn new(headings: &[&str]) -> Table {
        let right = headings.iter().map(|heading| heading.starts_with('>')).collect();
        let first = headings.iter().map(|heading| heading.trim_start_matches('>').to_owned()).collect();
        Table { rows: vec![first], right }
    }

    /// Adds a row, one text for each heading. What would make more lines of it, or move a terminal, is not in it.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        let harmless = |cell: String| match cell.contains(char::is_control) {
            true => cell.replace(char::is_control, "."),
            false => cell,
        };
        self.rows.push(cells.map(harmless).into());
    }

    /// Prints it with an empty line behind, on a terminal so that it fits, or nothing if it has no rows.
    pub fn print(&self) {
        if self.rows.len() > 1 {
            tell!("{}", self.text_within(columns()));
        }
    }

    /// Whether there is nothing below the headings.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The lines, headings first, with the widest texts cut so that lines have `columns` if that can be; numbers stay
    /// whole. Where they cannot stand beside each other, each row is told line by line.
    pub fn text_within(&self, columns: usize) -> String {
        let widths = self.widths(columns);
        if !fits(&widths, columns) {
            return self.text_by_rows(columns);
        }
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&self.right) {
                let cell = cut(cell, *width);
                line += &if *right { to_the_right(&cell, *width) } else { padded(&cell, *width) };
                line += "  ";
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    /// Whether rows have room beside each other, with their widest texts cut.
    pub fn has_room(&self, columns: usize) -> bool {
        fits(&self.widths(columns), columns)
    }

    /// A block for each row, with each cell beside its heading.
    fn text_by_rows(&self, columns: usize) -> String {
        let Some((headings, rows)) = self.rows.split_first() else { return String::new() };
        let width = headings.iter().map(|heading| cells(heading)).max().unwrap_or(0);
        let line = |(heading, cell): (&String, &String)| {
            let line = format!("{}  {cell}", padded(heading, width));
            format!("{}\n", wrapped(line.trim_end(), columns, width + 2))
        };
        let block = |row: &Vec<String>| headings.iter().zip(row).map(line).collect::<String>();
        let blocks: Vec<String> = rows.iter().map(block).collect();
        blocks.join("\n")
    }

    fn widths(&self, columns: usize) -> Vec<usize> {
        let width_of = |column| {
            let texts = self.rows.iter().filter_map(|row: &Vec<String>| row.get(column));
            texts.map(|text: &String| cells(text)).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.right.len()).map(width_of).collect();
        while !fits(&widths, columns) {
            let texts = widths.iter_mut().zip(&self.right).filter(|(_, right)| !**right);
            match texts.map(|(width, _)| width).max() {
                Some(widest) if *widest > TEXT_MIN => *widest -= 1,
                _ => break,
            }
        }
        widths
    }
}

/// Whether columns of these widths, with two between, have room.
fn fits(widths: &[usize], columns: usize) -> bool {
    widths.iter().map(|width| width + 2).sum::<usize>() <= columns.saturating_add(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["TOPIC", ">MAX"]);
        table.row(["a-long-topic".into(), "7".into()]);
        table.row(["ä".into(), "12345".into()]);
        assert_eq!(
            table.text_within(usize::MAX),
            "TOPIC           MAX\na-long-topic      7\nä             12345\n"
        );
    }

    #[test]
    fn columns_stand_below_each_other_where_letters_are_wide() {
        let mut table = Table::new(&["TOPIC", "REMARK", ">MAX"]);
        table.row(["orders".into(), "订单".into(), "7".into()]);
        table.row(["prices".into(), "a price".into(), "12345".into()]);
        let text = "TOPIC   REMARK     MAX\norders  订单         7\nprices  a price  12345\n";
        assert_eq!(table.text_within(usize::MAX), text);
        table.row(["bookings".into(), "订单已经支付但是还没有发货".into(), "8".into()]);
        let narrow = table.text_within(30);
        assert_eq!(narrow.lines().last(), Some("bookings  订单已经支付…      8"));
        assert!(narrow.lines().all(|line| cells(line) <= 30), "{narrow}");
    }

    #[test]
    fn a_narrow_terminal_cuts_the_widest_texts_and_no_numbers() {
        let mut table = Table::new(&["TOPIC", "BROKER", ">MAX"]);
        table.row(["a-topic-with-a-very-long-name".into(), "broker-a".into(), "1234567".into()]);
        let text = table.text_within(40);
        assert_eq!(text.lines().nth(1), Some("a-topic-with-a-very-…  broker-a  1234567"));
        assert!(text.lines().all(|line| line.chars().count() <= 40));
        assert!(table.text_within(31).contains("a-topic-wit…"), "so much stays");
        assert_eq!(table.text_within(60), table.text_within(usize::MAX));
    }

    #[test]
    fn rows_that_do_not_fit_are_told_line_by_line() {
        let mut table = Table::new(&["TOPIC", ">MIN", ">MAX"]);
        table.row(["orders".into(), "1234567890".into(), "1234567899".into()]);
        table.row(["prices".into(), "1".into(), "2".into()]);
        let text =
            "TOPIC  orders\nMIN    1234567890\nMAX    1234567899\n\nTOPIC  prices\nMIN    1\nMAX    2\n";
        assert_eq!(table.text_within(25), text);
    }

    #[test]
    fn what_others_have_written_makes_no_lines_of_its_own() {
        let mut table = Table::new(&["KEYS"]);
        table.row(["a\n\x1b[2Jb".into()]);
        assert_eq!(table.text_within(80), "KEYS\na..[2Jb\n");
    }
}
