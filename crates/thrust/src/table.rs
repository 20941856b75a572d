//! Columns that stand below each other.

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

    /// Adds a row, one text for each heading.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Prints it with an empty line behind, or nothing if it has no rows.
    pub fn print(&self) {
        if self.rows.len() > 1 {
            println!("{}", self.text());
        }
    }

    /// Whether there is nothing below the headings.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The lines, headings first.
    pub fn text(&self) -> String {
        let width_of = |column| {
            let cells = self.rows.iter().filter_map(|row: &Vec<String>| row.get(column));
            cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.right.len()).map(width_of).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&self.right) {
                line += &if *right { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["TOPIC", ">MAX"]);
        table.row(["a-long-topic".into(), "7".into()]);
        table.row(["ä".into(), "12345".into()]);
        assert_eq!(table.text(), "TOPIC           MAX\na-long-topic      7\nä             12345\n");
    }
}
