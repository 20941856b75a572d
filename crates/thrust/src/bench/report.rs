//! What a measurement says: a block for people, one JSON object, or a row of a table.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use wire::code::response;

use super::admin::Target;
use super::args::Load;
use super::error::BenchError;
use super::run::Outcome;
use super::tally::{Failures, Tally};
use super::words::{thousands, time};
use crate::output::terminal::{columns, fitted};
use crate::output::words::{count, wrapped};

const MIB: f64 = (1u64 << 20) as f64;

/// What was really used, after the topic was looked at.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub topics: u32,
    /// Of each topic.
    pub queues: u32,
    pub inflight: u32,
    pub batch: u32,
    pub rate: Option<u64>,
    /// Connections that receive, on top of those that send.
    pub consumers: u32,
}

/// The numbers of one round, or the medians of several.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    messages: f64,
    messages_per_second: f64,
    bytes_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    server_cpu_us: Option<f64>,
    server_resident_bytes: Option<f64>,
    server_anonymous_bytes: Option<f64>,
    generator_cpu_us: f64,
}

/// One round.
#[derive(Debug, Clone)]
pub struct Report {
    setting: Setting,
    figures: Figures,
    failures: Vec<(i32, Failures)>,
    unanswered: u64,
    /// Nanoseconds.
    latency: Histogram<u64>,
}

/// One server with its rounds.
pub struct Side {
    pub target: Target,
    pub pids: Vec<u32>,
    pub rounds: Vec<Report>,
}

impl Side {
    pub fn new(target: Target, pids: Vec<u32>) -> Side {
        Side { target, pids, rounds: Vec::new() }
    }

    /// Latencies of all rounds, in nanoseconds.
    pub fn latency(&self) -> Histogram<u64> {
        let mut sum = Tally::histogram();
        for round in &self.rounds {
            sum.add(&round.latency).expect("all histograms have the same bounds");
        }
        sum
    }

    fn median(&self) -> Figures {
        let rounds: Vec<Figures> = self.rounds.iter().map(|round| round.figures).collect();
        Figures::median(&rounds)
    }
}

impl Report {
    /// Fails when not one request of the window succeeded: there is nothing to report then.
    pub fn new(target: &Target, setting: Setting, outcome: &Outcome) -> Result<Report, BenchError> {
        let tally = &outcome.tally;
        let failures: Vec<(i32, Failures)> =
            tally.failures.iter().map(|(code, failures)| (*code, failures.clone())).collect();
        let report = Report {
            setting,
            figures: figures(outcome),
            failures,
            unanswered: tally.unanswered,
            latency: tally.latency.clone(),
        };
        if tally.messages == 0 && report.has_errors() {
            return Err(BenchError::NothingSucceeded {
                addr: target.to_string(),
                errors: report.errors().join("; "),
            });
        }
        Ok(report)
    }

    /// The round in one line, for progress.
    pub fn line(&self) -> String {
        let figures = &self.figures;
        let mut text = format!(
            "{} msg/s  p50 {}  p99.9 {}",
            thousands(figures.messages_per_second),
            time(figures.p50_us),
            time(figures.p999_us)
        );
        if let Some(cpu) = figures.server_cpu_us {
            let _ = write!(text, "  {} CPU per message", time(cpu));
        }
        if self.has_errors() {
            let _ = write!(text, "  {}", self.errors().join("; "));
        }
        text
    }

    fn has_errors(&self) -> bool {
        !self.failures.is_empty() || self.unanswered > 0
    }

    fn errors(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.failures.iter().map(|(code, failures)| failure(*code, failures)).collect();
        if self.unanswered > 0 {
            lines.push(format!(
                "{} requests were not answered, were due and could not be sent, or sent what nobody received",
                thousands(self.unanswered as f64)
            ));
        }
        lines
    }

    fn json(&self) -> Value {
        let errors: Vec<Value> = self
            .failures
            .iter()
            .map(|(code, failures)| {
                json!({
                    "code": code,
                    "name": response::name(*code),
                    "count": failures.count,
                    "first_remark": failures.first_remark,
                })
            })
            .collect();
        let mut object = self.figures.json();
        object["errors"] = Value::Array(errors);
        object["unanswered"] = json!(self.unanswered);
        object
    }
}

fn failure(code: i32, failures: &Failures) -> String {
    let name = response::name(code).unwrap_or("unknown code");
    let first = if failures.count > 1 { "first: " } else { "" };
    format!("code {code} {name} x {}  {first}{}", thousands(failures.count as f64), failures.first_remark)
}

fn figures(outcome: &Outcome) -> Figures {
    let Tally { messages, bytes, latency, .. } = &outcome.tally;
    let seconds = outcome.length.as_secs_f64();
    let quantile = |q| latency.value_at_quantile(q) as f64 / 1e3;
    let per_message = |cpu_us: u64| if *messages == 0 { 0.0 } else { cpu_us as f64 / *messages as f64 };
    Figures {
        messages: *messages as f64,
        messages_per_second: *messages as f64 / seconds,
        bytes_per_second: *bytes as f64 / seconds,
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        p999_us: quantile(0.999),
        max_us: latency.max() as f64 / 1e3,
        server_cpu_us: outcome.server.map(|server| per_message(server.cpu_us)),
        server_resident_bytes: outcome.server.map(|server| server.resident_bytes as f64),
        server_anonymous_bytes: outcome.server.map(|server| server.anonymous_bytes as f64),
        generator_cpu_us: per_message(outcome.generator.cpu_us),
    }
}

impl Figures {
    /// Each number's own median.
    fn median(rounds: &[Figures]) -> Figures {
        let of = |number: fn(&Figures) -> f64| median(rounds.iter().map(number).collect()).unwrap_or(0.0);
        let maybe = |number: fn(&Figures) -> Option<f64>| median(rounds.iter().filter_map(number).collect());
        Figures {
            messages: of(|figures| figures.messages),
            messages_per_second: of(|figures| figures.messages_per_second),
            bytes_per_second: of(|figures| figures.bytes_per_second),
            p50_us: of(|figures| figures.p50_us),
            p99_us: of(|figures| figures.p99_us),
            p999_us: of(|figures| figures.p999_us),
            max_us: of(|figures| figures.max_us),
            server_cpu_us: maybe(|figures| figures.server_cpu_us),
            server_resident_bytes: maybe(|figures| figures.server_resident_bytes),
            server_anonymous_bytes: maybe(|figures| figures.server_anonymous_bytes),
            generator_cpu_us: of(|figures| figures.generator_cpu_us),
        }
    }

    fn json(&self) -> Value {
        json!({
            "messages": self.messages as u64,
            "messages_per_second": rounded(self.messages_per_second),
            "bytes_per_second": rounded(self.bytes_per_second),
            "latency_p50_us": rounded(self.p50_us),
            "latency_p99_us": rounded(self.p99_us),
            "latency_p999_us": rounded(self.p999_us),
            "latency_max_us": rounded(self.max_us),
            "server_cpu_us_per_message": self.server_cpu_us.map(rounded),
            "server_resident_bytes": self.server_resident_bytes.map(|bytes| bytes as u64),
            "server_anonymous_bytes": self.server_anonymous_bytes.map(|bytes| bytes as u64),
            "generator_cpu_us_per_message": rounded(self.generator_cpu_us),
        })
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        even if even % 2 == 0 => Some((values[middle - 1] + values[middle]) / 2.0),
        _ => Some(values[middle]),
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Prints everything in the form that was asked for.
pub fn print(sides: &[Side], work: &'static str, load: &Load) {
    if load.json {
        tell!("{}", as_json(sides, work, load));
    } else if let (Some(name), [first, second]) = (&load.row, sides) {
        tell!("{}", row(name, &first.median(), &second.median()));
    } else {
        for side in sides {
            tell_part!("{}", block(side, work, load));
        }
        if let [first, second] = sides {
            tell_part!("{}", ratios(first, second));
        }
    }
}

fn as_json(sides: &[Side], work: &'static str, load: &Load) -> Value {
    let setting = sides[0].rounds[0].setting;
    let mut object = json!({
        "work": work,
        "topic": load.topic,
        "topics": setting.topics,
        "queues": setting.queues,
        "size_bytes": load.size,
        "connections": load.conns,
        "consumers": setting.consumers,
        "in_flight": setting.inflight,
        "batch": setting.batch,
        "rate_asked": setting.rate,
        "seconds": load.secs,
        "warmup_seconds": load.warmup,
    });
    let servers: Vec<Value> = sides
        .iter()
        .map(|side| {
            json!({
                "address": side.target.to_string(),
                "pids": side.pids,
                "median": side.median().json(),
                "rounds": side.rounds.iter().map(Report::json).collect::<Vec<_>>(),
            })
        })
        .collect();
    object["servers"] = Value::Array(servers);
    if let [first, second] = sides {
        let (first, second) = (first.median(), second.median());
        object["ratio"] = json!({
            "messages_per_second": ratio(first.messages_per_second, second.messages_per_second).map(rounded),
            "latency_p50": ratio(first.p50_us, second.p50_us).map(rounded),
            "latency_p99": ratio(first.p99_us, second.p99_us).map(rounded),
            "latency_p999": ratio(first.p999_us, second.p999_us).map(rounded),
            "server_cpu_per_message": maybe_ratio(first.server_cpu_us, second.server_cpu_us).map(rounded),
            "server_resident": maybe_ratio(first.server_resident_bytes, second.server_resident_bytes).map(rounded),
        });
    }
    object
}

fn ratio(first: f64, second: f64) -> Option<f64> {
    (second > 0.0).then(|| first / second)
}

fn maybe_ratio(first: Option<f64>, second: Option<f64>) -> Option<f64> {
    ratio(first?, second?)
}

/// Columns before the figures of a block.
const INDENT: usize = 13;

/// What was measured, and under which load.
fn headline(side: &Side, work: &'static str, load: &Load) -> String {
    let setting = side.rounds[0].setting;
    let mut text = format!(
        "{work}  {}  topic {}, {}, {} bytes, {} x {} in flight",
        side.target,
        load.topic,
        count(setting.queues, "queue"),
        load.size,
        count(load.conns, "connection"),
        setting.inflight
    );
    if setting.consumers > 0 {
        let _ = write!(text, ", {}", count(setting.consumers, "consumer"));
    }
    if setting.topics > 1 {
        let _ = write!(text, ", {} such topics", setting.topics);
    }
    if setting.batch > 1 {
        let _ = write!(text, ", {} messages a request", setting.batch);
    }
    if let Some(rate) = setting.rate {
        let _ = write!(text, ", {} msg/s asked", thousands(rate as f64));
    }
    let _ = write!(text, ", {} s after {} s", load.secs, load.warmup);
    if side.rounds.len() > 1 {
        let _ = write!(text, ", median of {}", side.rounds.len());
    }
    text
}

fn block(side: &Side, work: &'static str, load: &Load) -> String {
    let figures = side.median();
    let mut text = fitted(&headline(side, work, load));
    text.push('\n');
    let of = if matches!(work, "pull" | "mixed" | "roundtrip") { "records" } else { "bodies" };
    let _ = writeln!(
        text,
        "  rate       {} msg/s   {:.1} MiB/s of {of}   {} messages",
        thousands(figures.messages_per_second),
        figures.bytes_per_second / MIB,
        thousands(figures.messages)
    );
    let _ = writeln!(
        text,
        "  latency    p50 {}   p99 {}   p99.9 {}   max {}",
        time(figures.p50_us),
        time(figures.p99_us),
        time(figures.p999_us),
        time(figures.max_us)
    );
    if let (Some(cpu), Some(resident), Some(anonymous)) =
        (figures.server_cpu_us, figures.server_resident_bytes, figures.server_anonymous_bytes)
    {
        let line = format!(
            "  server     {} CPU per message   {:.1} MiB resident, {:.1} MiB of it not files",
            time(cpu),
            resident / MIB,
            anonymous / MIB
        );
        text += &wrapped(&line, columns(), INDENT);
        text.push('\n');
    }
    let _ = writeln!(text, "  generator  {} CPU per message", time(figures.generator_cpu_us));
    let errors: Vec<String> = side.rounds.iter().flat_map(Report::errors).collect();
    for error in errors.iter().take(10) {
        let line = format!("  error      {error}");
        text += &wrapped(&line, columns(), INDENT);
        text.push('\n');
    }
    if errors.is_empty() {
        let _ = writeln!(text, "  errors     none");
    }
    text
}

fn ratios(first: &Side, second: &Side) -> String {
    let (one, two) = (first.median(), second.median());
    let show = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
    format!(
        "{} / {}\n  rate {}   p50 {}   p99 {}   p99.9 {}   CPU per message {}   resident {}\n",
        first.target,
        second.target,
        show(ratio(one.messages_per_second, two.messages_per_second)),
        show(ratio(one.p50_us, two.p50_us)),
        show(ratio(one.p99_us, two.p99_us)),
        show(ratio(one.p999_us, two.p999_us)),
        show(maybe_ratio(one.server_cpu_us, two.server_cpu_us)),
        show(maybe_ratio(one.server_resident_bytes, two.server_resident_bytes)),
    )
}

/// The columns of the tables in docs/benchmarks.md.
fn row(name: &str, one: &Figures, two: &Figures) -> String {
    let maybe = |value: Option<f64>, form: fn(f64) -> String| value.map_or("-".to_owned(), form);
    let times = |ratio: Option<f64>| {
        maybe(ratio, |ratio| if ratio < 1.0 { format!("{ratio:.2}x") } else { format!("{ratio:.1}x") })
    };
    let mib = |bytes: f64| thousands(bytes / MIB);
    format!(
        "| {name} | {} | {} | {} | {} / {} | {} / {} | {} / {} | {} | {} / {} |",
        thousands(one.messages_per_second),
        thousands(two.messages_per_second),
        times(ratio(one.messages_per_second, two.messages_per_second)),
        time(one.p50_us),
        time(two.p50_us),
        time(one.p999_us),
        time(two.p999_us),
        maybe(one.server_cpu_us, time),
        maybe(two.server_cpu_us, time),
        times(maybe_ratio(two.server_cpu_us, one.server_cpu_us)),
        maybe(one.server_resident_bytes, mib),
        maybe(two.server_resident_bytes, mib),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn a_row_has_as_many_cells_as_the_head_of_the_table() {
        let one = Figures { messages_per_second: 500_000.0, server_cpu_us: Some(1.5), ..Figures::default() };
        let two = Figures { messages_per_second: 50_000.0, server_cpu_us: Some(30.0), ..Figures::default() };
        let text = row("send", &one, &two);
        assert_eq!(text.matches('|').count(), 10, "{text}");
        assert!(text.contains("| 500,000 | 50,000 | 10.0x |") && text.contains("| 20.0x |"), "{text}");
    }
}
