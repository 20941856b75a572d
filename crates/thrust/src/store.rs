//! `thrust store`: looking at the files of a store that no broker works on, and making them sound again.
//!
//! Tables for people, `--json` for machines. Exit code 0: nothing is wrong. 1: something is. 2: it could not be told.

mod args;
mod inspect;
mod repair;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use ::store::examine::{self, Finding, Findings, StoreFiles};
use ::store::{LocalTime, Options, RealDisk, StoreError};
use clap::Subcommand;
use serde_json::{Value, json};
use settings::SettingError;

use crate::serve::key_values;
use args::Place;

/// Look at the files of a store, check them, repair them.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Show what is in a store: segments, queues, index, checkpoint; or one record, or the entries of a queue.
    #[command(after_help = "\
Examples:
  thrust store inspect thrust-data
  thrust store inspect thrust-data --topic orders --queue 0 --json
  thrust store inspect thrust-data --offset 0")]
    Inspect(inspect::InspectArgs),
    /// Read everything and compare it: records, queues, index, checkpoint, configuration.
    #[command(
        after_help = "Examples:\n  thrust store verify thrust-data\n  thrust store verify thrust-data --json"
    )]
    Verify(verify::VerifyArgs),
    /// Say what would make the store sound again; with --yes, do it.
    #[command(
        after_help = "Examples:\n  thrust store repair thrust-data\n  thrust store repair thrust-data --rebuild --yes"
    )]
    Repair(repair::RepairArgs),
}

/// Why a command cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error("cannot read {}: {cause}; check the path given with -c", path.display())]
    ConfigFile { path: PathBuf, cause: std::io::Error },
    #[error("no store is named; give its directory, or a broker.conf with -c")]
    NoDirectory,
    #[error("{0}")]
    Arguments(String),
}

/// What a command has found, for its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Sound,
    Findings,
}

/// Columns before a remedy, and before what follows the first line of a finding.
const REMEDY_INDENT: usize = 13;

/// Runs a command to its exit code.
pub fn run(command: &StoreCommand) -> ExitCode {
    let verdict = match command {
        StoreCommand::Inspect(args) => inspect::run(args),
        StoreCommand::Verify(args) => verify::run(args),
        StoreCommand::Repair(args) => repair::run(args),
    };
    match verdict {
        Ok(Verdict::Sound) => ExitCode::SUCCESS,
        Ok(Verdict::Findings) => ExitCode::from(1),
        Err(error) => {
            crate::output::screen::say(&format!("thrust: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Opens the store that the arguments name, with the sizes that they give or that the files have.
fn open(place: &Place) -> Result<StoreFiles, CommandError> {
    Ok(StoreFiles::open(Arc::new(RealDisk), options(place)?)?)
}

fn options(place: &Place) -> Result<Options, CommandError> {
    let text = match &place.config {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|cause| CommandError::ConfigFile { path: path.clone(), cause })?,
        None => String::new(),
    };
    let mut overrides = key_values(&place.set).map_err(CommandError::Arguments)?;
    let mut add = |key: &str, path: &Option<PathBuf>| {
        if let Some(path) = path {
            overrides.push((key.to_owned(), path.display().to_string()));
        }
    };
    add("storePathRootDir", &place.dir);
    add("storePathCommitLog", &place.commitlog);
    let loaded = settings::load_broker(&text, &overrides)?;
    if place.dir.is_none() && loaded.place_of("storePathRootDir").is_none() {
        return Err(CommandError::NoDirectory);
    }
    let mut options = broker::store_options(&loaded.settings);
    // No file says how large files are; what is not told is taken from those that are there.
    let sizes = examine::sizes(&RealDisk, &options.root, &options.commit_log_dir)?;
    if let (None, Some(bytes)) = (loaded.place_of("mappedFileSizeCommitLog"), sizes.segment_bytes) {
        options.segment_bytes = bytes;
    }
    if let (None, Some(entries)) =
        (loaded.place_of("mappedFileSizeConsumeQueue"), sizes.queue_segment_entries)
    {
        options.queue_segment_entries = entries;
    }
    if let (None, Some(entries)) =
        (loaded.place_of("mapperFileSizeBatchConsumeQueue"), sizes.batch_queue_segment_entries)
    {
        options.batch_queue_segment_entries = entries;
    }
    if let (None, Some(bytes)) =
        (loaded.place_of("mappedFileSizeConsumeQueueExt"), sizes.queue_ext_segment_bytes)
    {
        options.queue_ext_segment_bytes = bytes;
    }
    Ok(options)
}

/// A time in UTC, for machines that want a text.
fn utc(millis: i64) -> String {
    let LocalTime { year, month, day, hour, minute, second, millis } = LocalTime::of(millis, 0);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Where a finding is, as one text.
fn place_of(finding: &Finding, root: &Path) -> String {
    let path = finding.path.strip_prefix(root).unwrap_or(&finding.path).display();
    match finding.offset {
        Some(offset) => format!("{path} at {offset}"),
        None => path.to_string(),
    }
}

/// Prints a line, on a terminal so that it fits.
fn tell_line(line: &str) {
    tell!("{}", crate::output::terminal::fitted(line));
}

/// Prints findings with their remedies, and says how many there are that it does not print.
fn print_findings(findings: &Findings, root: &Path) {
    for finding in findings.kept() {
        let line = |start: String| {
            crate::output::words::wrapped(&start, crate::output::terminal::columns(), REMEDY_INDENT)
        };
        let (area, place) = (finding.area.name(), place_of(finding, root));
        tell!("{}", line(format!("{area:<10} {place}: {}", finding.what)));
        tell!("{}", line(format!("{:REMEDY_INDENT$}{}", "", finding.remedy)));
    }
    for (area, count) in findings.counts() {
        let printed = findings.kept().iter().filter(|finding| finding.area == *area).count() as u64;
        if *count > printed {
            tell!("{:<10} and {} more", area.name(), count - printed);
        }
    }
}

fn findings_json(findings: &Findings) -> Value {
    let all = findings.kept().iter().map(|finding| {
        json!({
            "area": finding.area.name(),
            "path": finding.path,
            "offset": finding.offset,
            "what": finding.what,
            "remedy": finding.remedy,
        })
    });
    let counts = findings.counts().iter().map(|(area, count)| (area.name().to_owned(), json!(count)));
    json!({ "counts": Value::Object(counts.collect()), "findings": all.collect::<Vec<_>>() })
}

/// A number with separators.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
