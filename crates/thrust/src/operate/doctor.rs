//! `thrust doctor`: looks at a cluster as its clients see it, and at this machine, and says what to do about what it
//! finds. It changes nothing but for a small file of its own, for a moment, beside the data of a broker that runs here.

mod groups;
mod machine;
mod routes;
mod servers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::failure::Failure;
use super::screen::{Colour, columns, painted, print, print_json};
use super::target::Target;
use super::words::{count, wrapped};
use crate::progress::Bar;

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Look at the disk below this data directory and at the limits of this machine [default: where brokers that run on
    /// this machine keep their data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Look only at what can be seen from any machine, not at disks and limits of this one.
    #[arg(long, conflicts_with = "data")]
    remote: bool,
    /// Messages that a group may be behind without a warning.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(i64).range(0..))]
    max_behind: i64,
    #[command(flatten)]
    target: Target,
}

/// How bad it is; also the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok = 0,
    Warning = 1,
    Error = 2,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }

    fn colour(self) -> Colour {
        match self {
            Level::Ok => Colour::Green,
            Level::Warning => Colour::Yellow,
            Level::Error => Colour::Red,
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    /// What was looked at: `nameserver`, `broker`, `clock`, `store`, `route`, `group`, `disk`, `files`.
    pub check: &'static str,
    pub what: String,
    /// Empty when nothing is to be done.
    pub remedy: String,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn ok(&mut self, check: &'static str, what: impl Into<String>) {
        self.add(Level::Ok, check, what.into(), "");
    }

    pub fn warning(&mut self, check: &'static str, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Warning, check, what.into(), remedy);
    }

    pub fn error(&mut self, check: &'static str, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Error, check, what.into(), remedy);
    }

    fn add(&mut self, level: Level, check: &'static str, what: String, remedy: impl Into<String>) {
        self.findings.push(Finding { level, check, what, remedy: remedy.into() });
    }

    /// The worst of all.
    fn level(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    fn number_of(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

pub async fn run(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let admin = args.target.client().await?.admin();
    let mut report = Report::default();
    let mut bar = Bar::new("looking");
    let brokers = servers::look(&admin, &mut report).await;
    bar.step();
    if !brokers.is_empty() {
        routes::look(&admin, &brokers, &mut bar, &mut report).await;
        groups::look(&admin, args.max_behind, &mut bar, &mut report).await;
    }
    match &args.data {
        Some(data) => machine::look(data, &mut report),
        None if args.remote => (),
        None => {
            let stores = machine::stores_here(&brokers);
            stores.iter().for_each(|data| machine::look(data, &mut report));
            if stores.is_empty() && !brokers.is_empty() {
                let what = "no disk was looked at: no broker that is registered has its store here, as far as can be \
                            seen; `thrust doctor --data DIR` looks at one";
                report.ok("disk", what);
            }
        }
    }
    bar.end();
    match args.target.json {
        true => print_json(&report_json(&report))?,
        false => print_report(&report)?,
    }
    Ok(ExitCode::from(report.level() as u8))
}

fn print_report(report: &Report) -> Result<(), Failure> {
    // Below the words of the findings.
    const INDENT: usize = 21;
    let room = columns();
    let mut text = String::new();
    for Finding { level, check, what, remedy } in &report.findings {
        let head = format!("{:<7}  {check:<10}  ", level.name());
        let line = wrapped(&format!("{head}{what}"), room, INDENT);
        // The level comes first and is never wrapped.
        let (name, rest) = line.split_at(level.name().len());
        text += &format!("{}{rest}\n", painted(name, level.colour()));
        if !remedy.is_empty() {
            text += &wrapped(&format!("{:INDENT$}do: {remedy}", ""), room, INDENT + 4);
            text.push('\n');
        }
    }
    let (errors, warnings) = (report.number_of(Level::Error), report.number_of(Level::Warning));
    let looked = count(report.findings.len(), "finding");
    text += &format!("\n{looked}: {}, {}\n", count(errors, "error"), count(warnings, "warning"));
    print(&text)
}

fn report_json(report: &Report) -> Value {
    let findings = report.findings.iter().map(|finding| {
        json!({
            "level": finding.level.name(),
            "check": finding.check,
            "what": finding.what,
            "remedy": finding.remedy,
        })
    });
    json!({
        "level": report.level().name(),
        "errors": report.number_of(Level::Error),
        "warnings": report.number_of(Level::Warning),
        "findings": findings.collect::<Vec<_>>(),
    })
}
