//! What was found, for people and for machines.

use std::path::Path;

use ::store::examine::{Finding, Findings};
use serde_json::{Value, json};

use crate::output::terminal::{columns, fitted};
use crate::output::words::wrapped;

/// What a command has found, for its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Sound,
    Findings,
}

/// Columns before a remedy, and before what follows the first line of a finding.
const REMEDY_INDENT: usize = 13;

/// Where a finding is, as one text.
fn place_of(finding: &Finding, root: &Path) -> String {
    let path = finding.path.strip_prefix(root).unwrap_or(&finding.path).display();
    match finding.offset {
        Some(offset) => format!("{path} at {offset}"),
        None => path.to_string(),
    }
}

/// Prints a line, on a terminal so that it fits.
pub fn tell_line(line: &str) {
    tell!("{}", fitted(line));
}

/// Prints findings with their remedies, and says how many there are that it does not print.
pub fn print_findings(findings: &Findings, root: &Path) {
    for finding in findings.kept() {
        let line = |start: String| wrapped(&start, columns(), REMEDY_INDENT);
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

/// Findings and how many there are in each area.
pub fn findings_json(findings: &Findings) -> Value {
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
