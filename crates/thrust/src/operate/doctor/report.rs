//! What was found, and what to do about it.

use serde_json::{Value, json};

use crate::output::terminal::{Colour, columns, painted};
use crate::output::words::{count, wrapped};

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
    pub fn level(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    fn number_of(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// For people: findings as they were made, each with its remedy, and how many there are of which level.
    pub fn text(&self) -> String {
        // Below the words of the findings.
        const INDENT: usize = 21;
        let room = columns();
        let mut text = String::new();
        for Finding { level, check, what, remedy } in &self.findings {
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
        let (errors, warnings) = (self.number_of(Level::Error), self.number_of(Level::Warning));
        let looked = count(self.findings.len(), "finding");
        text += &format!("\n{looked}: {}, {}\n", count(errors, "error"), count(warnings, "warning"));
        text
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "level": finding.level.name(),
                "check": finding.check,
                "what": finding.what,
                "remedy": finding.remedy,
            })
        });
        json!({
            "level": self.level().name(),
            "errors": self.number_of(Level::Error),
            "warnings": self.number_of(Level::Warning),
            "findings": findings.collect::<Vec<_>>(),
        })
    }
}
