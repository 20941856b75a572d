//! The table of points that `scripts/curves` writes.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Columns that a file must have, in any order among others.
const COLUMNS: [&str; 7] = ["curve", "x", "server", "messages_per_second", "p50_us", "p99_us", "cpu_us"];

/// What anybody can have measured, with room on both sides; an axis shows each of its powers of ten.
const MEASURABLE: RangeInclusive<f64> = 1e-6..=1e15;

/// One measured point of a curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub x: f64,
    pub messages_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// CPU time of the server for each message, if it was measured.
    pub cpu_us: Option<f64>,
}

/// Points of each server, by rising x, in the order in which the servers first come.
pub type Servers = Vec<(String, Vec<Point>)>;

/// Curves by name; an error says what is wrong and where. Lines that begin with `#` are remarks.
pub fn read(text: &str) -> Result<BTreeMap<String, Servers>, String> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let (_, head) = lines.next().ok_or("it is empty")?;
    let head: Vec<&str> = head.split(',').collect();
    let place = |name: &str| {
        head.iter().position(|column| *column == name).ok_or_else(|| format!("it has no column {name}"))
    };
    let places: Vec<usize> = COLUMNS.iter().map(|name| place(name)).collect::<Result<_, _>>()?;
    let mut curves: BTreeMap<String, Servers> = BTreeMap::new();
    for (at, line) in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let wrong = |what: String| format!("line {}: {what}", at + 1);
        let row = Row { cells: places.iter().map(|place| cells.get(*place).copied()).collect() };
        let (curve, server) = (row.text(0).map_err(wrong)?, row.text(2).map_err(wrong)?);
        if curve.contains(['/', '\\']) {
            return Err(wrong(format!("{curve} cannot be the name of a file")));
        }
        let point = row.point().map_err(wrong)?;
        let servers = curves.entry(curve.to_owned()).or_default();
        match servers.iter_mut().find(|(name, _)| name == server) {
            Some((_, points)) => points.push(point),
            None => servers.push((server.to_owned(), vec![point])),
        }
    }
    for (_, points) in curves.values_mut().flatten() {
        points.sort_by(|one, other| one.x.total_cmp(&other.x));
    }
    Ok(curves)
}

/// The cells of a line, in the order of [`COLUMNS`].
struct Row<'a> {
    cells: Vec<Option<&'a str>>,
}

impl<'a> Row<'a> {
    fn text(&self, column: usize) -> Result<&'a str, String> {
        self.cells[column].filter(|text| !text.is_empty()).ok_or_else(|| format!("no {}", COLUMNS[column]))
    }

    /// A number that a logarithmic axis has a place for.
    fn number(&self, column: usize) -> Result<f64, String> {
        let text = self.text(column)?;
        let number = text.parse().ok().filter(|number: &f64| MEASURABLE.contains(number));
        number.ok_or_else(|| {
            let (least, most) = (MEASURABLE.start(), MEASURABLE.end());
            format!("{} is {text}, which is no number from {least} to {most}", COLUMNS[column])
        })
    }

    fn point(&self) -> Result<Point, String> {
        let has_cpu = self.text(6).is_ok();
        Ok(Point {
            x: self.number(1)?,
            messages_per_second: self.number(3)?,
            p50_us: self.number(4)?,
            p99_us: self.number(5)?,
            cpu_us: has_cpu.then(|| self.number(6)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_by_the_names_of_columns_and_sorted() {
        let text = "# two cores\nserver,x,curve,messages_per_second,p50_us,p99_us,more,cpu_us\n\
                    thrust,16,size,200000,90.5,300,x,4.5\nJava,16,size,40000,800,9000,x,\nthrust,4,size,100,1,2,x,3\n";
        let curves = read(text).unwrap();
        let servers = &curves["size"];
        assert_eq!(servers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["thrust", "Java"]);
        assert_eq!(servers[0].1.iter().map(|point| point.x).collect::<Vec<_>>(), [4.0, 16.0]);
        assert_eq!((servers[0].1[1].cpu_us, servers[1].1[0].cpu_us), (Some(4.5), None));
    }

    #[test]
    fn what_is_no_table_of_points_is_told_with_its_line() {
        let head = "curve,x,server,messages_per_second,p50_us,p99_us,cpu_us\n";
        for (text, told) in [
            (String::new(), "it is empty"),
            ("curve,x\n".to_owned(), "no column server"),
            (format!("{head}size,1,thrust,0,1,1,1\n"), "line 2: messages_per_second is 0, which"),
            (format!("{head}size,1,thrust,NaN,1,1,1\n"), "line 2: messages_per_second is NaN"),
            (format!("{head}size,1,thrust,1,1,1e300,1\n"), "line 2: p99_us is 1e300"),
            (format!("{head}size,1,thrust,1,1\n"), "line 2: no p99_us"),
            (format!("{head}../size,1,thrust,1,1,1,1\n"), "line 2: ../size cannot be"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
