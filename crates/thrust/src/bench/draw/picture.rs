//! A curve as SVG: rate, latency and CPU time side by side, each over the same logarithmic axis.

use std::fmt::Write;
use std::ops::RangeInclusive;

use super::points::{Point, Servers};

const PANEL_WIDTH: f64 = 360.0;
const HEIGHT: f64 = 340.0;
/// Room around the lines of a panel: left for numbers, below for what was varied, above for titles.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = 48.0;

/// Told apart by people who do not see red and green apart too.
const COLOURS: [&str; 4] = ["#1f6fb4", "#d1622b", "#6b6b6b", "#7d4fa0"];
const INK: &str = "#222222";
const FAINT: &str = "#dddddd";

/// One line of a panel.
struct Line<'a> {
    value: fn(&Point) -> Option<f64>,
    dashes: &'a str,
}

struct Panel<'a> {
    title: &'a str,
    lines: &'a [Line<'a>],
    label: fn(f64) -> String,
}

const PANELS: [Panel<'static>; 3] = [
    Panel {
        title: "messages per second",
        lines: &[Line { value: |point| Some(point.messages_per_second), dashes: "" }],
        label: quantity,
    },
    Panel {
        title: "latency: p50, and p99 dashed",
        lines: &[
            Line { value: |point| Some(point.p50_us), dashes: "" },
            Line { value: |point| Some(point.p99_us), dashes: "5 4" },
        ],
        label: time,
    },
    Panel {
        title: "CPU time of the server per message",
        lines: &[Line { value: |point| point.cpu_us, dashes: "" }],
        label: time,
    },
];

/// The whole picture.
pub fn draw(curve: &str, servers: &Servers) -> String {
    let width = PANEL_WIDTH * PANELS.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" width=\"{width}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"{INK}\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, (LEFT, 26.0), "start", "font-size=\"16\" font-weight=\"bold\"", &title(curve));
    let mut x = width - RIGHT;
    for (number, (server, _)) in servers.iter().enumerate().rev() {
        text(
            &mut svg,
            (x, 26.0),
            "end",
            &format!("fill=\"{}\" font-weight=\"bold\"", colour(number)),
            server,
        );
        x -= 24.0 + 8.0 * server.chars().count() as f64;
    }
    let mut across: Vec<f64> = servers.iter().flat_map(|(_, points)| points).map(|point| point.x).collect();
    across.sort_by(f64::total_cmp);
    across.dedup();
    for (number, panel) in PANELS.iter().enumerate() {
        panel.draw(&mut svg, PANEL_WIDTH * number as f64, curve, &across, servers);
    }
    svg.push_str("</svg>\n");
    svg
}

impl Panel<'_> {
    fn draw(&self, svg: &mut String, left: f64, curve: &str, across: &[f64], servers: &Servers) {
        let (from, to) = (left + LEFT, left + PANEL_WIDTH - RIGHT);
        let (bottom, top) = (HEIGHT - BOTTOM, TOP);
        text(svg, (from, TOP - 16.0), "start", "", self.title);
        let points = || servers.iter().flat_map(|(_, points)| points);
        let values = self.lines.iter().flat_map(|line| points().filter_map(line.value));
        let Some(decades) = decades(values) else { return };
        let horizontal = Scale::of(across.first().copied(), across.last().copied(), (from, to));
        let (low, high) = (power(*decades.start()), power(*decades.end()));
        let vertical = Scale::of(Some(low), Some(high), (bottom, top));
        for decade in decades.map(power) {
            let y = vertical.place(decade);
            let _ = writeln!(svg, "<path d=\"M{from:.1} {y:.1}H{to:.1}\" stroke=\"{FAINT}\"/>");
            text(svg, (from - 6.0, y + 4.0), "end", "", &(self.label)(decade));
        }
        for x in across {
            text(svg, (horizontal.place(*x), bottom + 18.0), "middle", "", &quantity(*x));
        }
        text(svg, ((from + to) / 2.0, bottom + 36.0), "middle", "", axis(curve));
        for (number, (_, points)) in servers.iter().enumerate() {
            for line in self.lines {
                let places = points.iter().filter_map(|point| {
                    Some((horizontal.place(point.x), vertical.place((line.value)(point)?)))
                });
                draw_line(svg, &places.collect::<Vec<_>>(), colour(number), line.dashes);
            }
        }
    }
}

fn draw_line(svg: &mut String, places: &[(f64, f64)], colour: &str, dashes: &str) {
    if places.is_empty() {
        return;
    }
    let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>",
        path.join(" ")
    );
    for (x, y) in places {
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
    }
}

/// From a number to a place on paper, by its logarithm.
struct Scale {
    from: f64,
    to: f64,
    paper: (f64, f64),
}

impl Scale {
    fn of(from: Option<f64>, to: Option<f64>, paper: (f64, f64)) -> Scale {
        Scale { from: from.unwrap_or(1.0).ln(), to: to.unwrap_or(1.0).ln(), paper }
    }

    fn place(&self, value: f64) -> f64 {
        let (begin, end) = self.paper;
        // A single number has the middle to itself.
        let share = if self.to > self.from { (value.ln() - self.from) / (self.to - self.from) } else { 0.5 };
        begin + (end - begin) * share
    }
}

/// Exponents of the powers of ten from one below all values to one above them.
fn decades(values: impl Iterator<Item = f64>) -> Option<RangeInclusive<i32>> {
    let (low, high) =
        values.fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if high == 0.0 {
        return None;
    }
    let (low, high) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    Some(low..=high.max(low + 1))
}

fn power(exponent: i32) -> f64 {
    10_f64.powi(exponent)
}

fn colour(server: usize) -> &'static str {
    COLOURS[server % COLOURS.len()]
}

fn title(curve: &str) -> String {
    let what = match curve {
        "in-flight" => "more requests under way: 1 KiB, 4 connections",
        "synchronous-flush" => "more requests under way, synchronous flush: 1 KiB, 4 connections",
        "size" => "larger messages: 4 connections x 64",
        "topics" => "more topics: 1 KiB, 4 connections x 64",
        "connections" => "more connections: 1 KiB, 16 under way on each",
        other => other,
    };
    format!("Sending, {what}")
}

/// What was varied.
fn axis(curve: &str) -> &str {
    match curve {
        "in-flight" | "synchronous-flush" => "requests under way",
        "size" => "bytes in a body",
        other => other,
    }
}

/// A number with as few digits as tell it apart.
fn quantity(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e4 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let digits = if value >= 10.0 || value.fract() == 0.0 { 0 } else { 1 };
    format!("{value:.digits$}{unit}")
}

/// Microseconds in the unit that suits them.
fn time(micros: f64) -> String {
    match micros {
        micros if micros >= 1e6 => format!("{} s", micros / 1e6),
        micros if micros >= 1e3 => format!("{} ms", micros / 1e3),
        micros => format!("{micros} us"),
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, style: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {style}>{text}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(x: f64, value: f64) -> Point {
        Point { x, messages_per_second: value, p50_us: value, p99_us: 2.0 * value, cpu_us: None }
    }

    #[test]
    fn every_server_has_a_line_for_each_figure_that_was_measured() {
        let servers = vec![
            ("thrust".to_owned(), vec![point(1.0, 10.0), point(64.0, 900.0)]),
            ("<Java>".to_owned(), vec![point(1.0, 7.0)]),
        ];
        let svg = draw("in-flight", &servers);
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (6, 9));
        assert!(svg.contains("&lt;Java&gt;") && !svg.contains("<Java>") && !svg.contains("NaN"), "{svg}");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn decades_hold_all_values_and_are_never_one_point() {
        assert_eq!(decades([30.0, 2_000.0].into_iter()), Some(1..=4));
        assert_eq!(decades([100.0].into_iter()), Some(2..=3));
        assert_eq!(decades([0.5].into_iter()), Some(-1..=0));
        assert_eq!(decades(std::iter::empty()), None);
    }

    #[test]
    fn numbers_are_short() {
        let texts: Vec<_> = [1.0, 4_096.0, 65_536.0, 1e6, 2.5].into_iter().map(quantity).collect();
        assert_eq!(texts, ["1", "4096", "66k", "1M", "2.5"]);
        assert_eq!([10.0, 1e4, 1e6].map(time), ["10 us", "10 ms", "1 s"]);
    }
}
