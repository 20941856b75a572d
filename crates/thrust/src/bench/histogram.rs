//! Latencies as a percentile distribution in the text form that HdrHistogram's tools write and plot.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use hdrhistogram::Histogram;

use super::error::BenchError;

/// Steps to each halving of the distance to 100 %.
const STEPS_PER_HALF: u32 = 5;
const NANOS_PER_UNIT: f64 = 1e3;

/// Writes latencies in nanoseconds to a file, as microseconds.
pub fn write(path: &Path, latency: &Histogram<u64>) -> Result<(), BenchError> {
    std::fs::write(path, text(latency)).map_err(|cause| BenchError::File { path: path.to_owned(), cause })
}

/// Makes the file, as it will have to be there in the end; what is in it stays.
pub fn try_to_write(path: &Path) -> Result<(), BenchError> {
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
    opened.map(drop).map_err(|cause| BenchError::File { path: path.to_owned(), cause })
}

/// The file of the second of two servers: `latency.hgrm` becomes `latency-2.hgrm`.
pub fn second(path: &Path) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push("-2");
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

fn text(latency: &Histogram<u64>) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0;
    for step in latency.iter_quantiles(STEPS_PER_HALF) {
        total += step.count_since_last_iteration();
        let (value, quantile) =
            (step.value_iterated_to() as f64 / NANOS_PER_UNIT, step.quantile_iterated_to());
        let _ = write!(text, "{value:>12.3} {quantile:>2.12} {total:>10}");
        if quantile < 1.0 {
            let _ = write!(text, " {:>14.2}", 1.0 / (1.0 - quantile));
        }
        text.push('\n');
    }
    let of = |nanos: f64| nanos / NANOS_PER_UNIT;
    let _ = writeln!(
        text,
        "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]",
        of(latency.mean()),
        of(latency.stdev())
    );
    let _ = writeln!(
        text,
        "#[Max     = {:>12.3}, Total count    = {:>12}]",
        of(latency.max() as f64),
        latency.len()
    );
    let _ = writeln!(
        text,
        "#[Buckets = {:>12}, SubBuckets     = {:>12}]",
        latency.buckets(),
        latency.distinct_values()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tally::Tally;

    #[test]
    fn each_line_has_a_value_its_percentile_and_how_many_are_below() {
        let mut latency = Tally::histogram();
        latency.record_n(100_000, 99).unwrap();
        latency.record(5_000_000).unwrap();
        let text = text(&latency);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .skip(2)
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().collect())
            .collect();
        let (first, last) = (&lines[0], &lines[lines.len() - 1]);
        assert!(first[0].starts_with("100.") && first[1] == "0.000000000000" && first[3] == "1.00", "{text}");
        assert!(last[0].starts_with("500") && last[1..] == ["1.000000000000", "100"], "{text}");
        assert!(text.contains("Total count    =          100]"), "{text}");
    }

    #[test]
    fn the_second_server_has_a_file_beside_the_first_ones() {
        assert_eq!(second(Path::new("a/latency.hgrm")), Path::new("a/latency-2.hgrm"));
        assert_eq!(second(Path::new("latency")), Path::new("latency-2"));
    }
}
