//! What is wrong with a file, said so that it can be mended.

use std::fmt;

use crate::known;
use crate::properties::BrokenEscape;

/// Where a value was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On this line of the file, counted from 1.
    Line(usize),
    /// On the command line.
    Override,
    /// In the environment.
    Environment,
    /// By a client (codes 25 and 318).
    Client,
    /// By a program.
    Unknown,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(line) => write!(f, "line {line}: "),
            Place::Override => f.write_str("--set: "),
            Place::Environment => f.write_str("environment: "),
            Place::Client | Place::Unknown => Ok(()),
        }
    }
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// A key that acts was given a value it cannot take.
    #[error(
        "{place}{key} = \"{given}\" is not accepted; it takes {accepted}; \
         correct it, or leave it out for the default ({default})"
    )]
    Value {
        /// Where it was given.
        place: Place,
        /// The key.
        key: &'static str,
        /// The text that was given, shortened when very long.
        given: String,
        /// What the key takes.
        accepted: String,
        /// The default, as text.
        default: String,
    },
    /// A key that must act was given, and there is none of this name.
    #[error("{place}there is no key {key}{}", did_you_mean(*nearest))]
    Unknown {
        /// Where it was given.
        place: Place,
        /// The name that was given, shortened when very long.
        key: String,
        /// The known name that resembles it most.
        nearest: Option<&'static str>,
    },
    /// A path names a variable that has no value.
    #[error(
        "{place}{key} names ${{{variable}}}, which has no value here; write the path in full, \
         or use ${{user.home}} or ${{ROCKETMQ_HOME}} and set it"
    )]
    Variable {
        /// Where it was given.
        place: Place,
        /// The key.
        key: &'static str,
        /// The variable.
        variable: String,
    },
    /// Values that do not go together.
    #[error("{keys}: {text}; {remedy}")]
    Conflict {
        /// The keys concerned.
        keys: &'static str,
        /// What is wrong.
        text: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The text is no properties text.
    #[error(transparent)]
    Text(#[from] BrokenEscape),
}

impl SettingError {
    /// The same error, now that the place is known.
    #[must_use]
    pub(crate) fn at(mut self, known: Place) -> SettingError {
        match &mut self {
            SettingError::Value { place, .. }
            | SettingError::Unknown { place, .. }
            | SettingError::Variable { place, .. } => *place = known,
            SettingError::Conflict { .. } | SettingError::Text(_) => {}
        }
        self
    }

    /// There is no such key among those that are `acting`.
    pub(crate) fn unknown(
        place: Place,
        key: &str,
        acting: impl Iterator<Item = &'static str>,
    ) -> SettingError {
        SettingError::Unknown { place, key: shorten(key), nearest: known::nearest(key, acting) }
    }
}

/// Texts of a user go into messages and logs only so far.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `; did you mean x?`, or nothing.
pub(crate) fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}
