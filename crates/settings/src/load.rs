//! From the text of a file to settings, and a report of everything in it that does not act.

use std::collections::HashMap;

use crate::broker::Broker;
use crate::error::{Place, SettingError, did_you_mean, shorten};
use crate::known;
use crate::nameserver::Nameserver;
use crate::properties::{self, Entry};
use crate::surroundings::Surroundings;
use crate::table::{Row, Table, keys};

/// Settings, and what the user should hear about how they came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded<S> {
    /// The settings that are used.
    pub settings: S,
    /// Keys that the Java broker knows and that have no effect here.
    pub ignored: Vec<Ignored>,
    /// Keys that nobody knows.
    pub unknown: Vec<Unknown>,
    /// Lines that a later line of the same key makes void.
    pub superseded: Vec<Superseded>,
    /// Values that are used otherwise than given, and protection that is asked for and not there.
    pub remarks: Vec<Remark>,
    /// Where each acting key was given, in the order of the file.
    given: Vec<(&'static str, Place)>,
}

/// A key without effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// The key.
    pub key: String,
    /// Where it was given.
    pub place: Place,
    /// Why it has no effect.
    pub reason: &'static str,
}

/// A key that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The key, shortened when very long.
    pub key: String,
    /// Where it was given.
    pub place: Place,
    /// The known name that resembles it most.
    pub nearest: Option<&'static str>,
}

/// A line that has no effect because the key comes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superseded {
    /// The key, shortened when very long.
    pub key: String,
    /// The line without effect.
    pub line: usize,
    /// Where the value stands that is used.
    pub by: Place,
}

/// What the user should know about a value that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The key.
    pub key: &'static str,
    /// The remark.
    pub text: String,
}

/// Reads a `broker.conf`. `overrides` are key and value pairs that win over the file.
pub fn load_broker(text: &str, overrides: &[(String, String)]) -> Result<Loaded<Broker>, SettingError> {
    load_in(&Surroundings::of_this_process(), text, overrides)
}

/// Reads a `namesrv.conf`. `overrides` are key and value pairs that win over the file.
pub fn load_nameserver(
    text: &str,
    overrides: &[(String, String)],
) -> Result<Loaded<Nameserver>, SettingError> {
    load_in(&Surroundings::of_this_process(), text, overrides)
}

/// Reads a file as if the process ran in `surroundings`.
///
/// Order of precedence: default, environment, file (a later line over an earlier one), overrides. An unknown
/// key in the file is reported, in the overrides it is an error: those are typed for this program.
pub fn load_in<S: Table>(
    surroundings: &Surroundings,
    text: &str,
    overrides: &[(String, String)],
) -> Result<Loaded<S>, SettingError> {
    let entries = properties::parse(text)?;
    let in_markup = lines_of_markup(&entries);
    let mut loaded = Loaded {
        settings: S::default(),
        ignored: Vec::new(),
        unknown: Vec::new(),
        superseded: Vec::new(),
        remarks: Vec::new(),
        given: Vec::new(),
    };

    let from_file = entries.iter().map(|entry| (&*entry.key, &*entry.value, Place::Line(entry.line)));
    let from_overrides = overrides.iter().map(|(key, value)| (key.trim(), &**value, Place::Override));
    let all: Vec<(&str, &str, Place)> = from_file.chain(from_overrides).collect();
    let last_of: HashMap<&str, usize> = all.iter().enumerate().map(|(at, (key, ..))| (*key, at)).collect();

    for (at, &(key, value, place)) in all.iter().enumerate() {
        let last = last_of.get(key).copied().unwrap_or(at);
        if last != at {
            // That the command line wins over the file is what it is for.
            if let (Place::Line(line), by @ Place::Line(_)) = (place, all[last].2) {
                loaded.superseded.push(Superseded { key: shorten(key), line, by });
            }
            continue;
        }
        let marked_up = in_markup.get(at).copied().unwrap_or(false);
        loaded.take(surroundings, key, value, place, marked_up)?;
    }

    loaded.expand_defaults(surroundings)?;
    let given = &loaded.given;
    loaded.settings.place(surroundings, &|key| given.iter().any(|(name, _)| *name == key))?;
    let remarks = loaded.settings.settle(&|key| given.iter().any(|(name, _)| *name == key))?;
    loaded.remarks.extend(remarks);
    Ok(loaded)
}

impl<S: Table> Loaded<S> {
    /// Where a key was given; `None` when its default is used.
    pub fn place_of(&self, key: &str) -> Option<Place> {
        self.given.iter().find(|(name, _)| *name == key).map(|(_, place)| *place)
    }

    /// Everything the user should hear at the start, one line each: first what looks like a mistake.
    pub fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for Unknown { key, place, nearest } in &self.unknown {
            lines.push(format!("{place}unknown key {key} has no effect{}", did_you_mean(*nearest)));
        }
        for Superseded { key, line, by } in &self.superseded {
            let by = by.to_string();
            lines.push(format!("line {line}: {key} is given again on {}", by.trim_end_matches(": ")));
        }
        for Remark { key, text } in &self.remarks {
            lines.push(format!("{key}: {text}"));
        }
        let mut reasons: Vec<&str> = Vec::new();
        for ignored in &self.ignored {
            if !reasons.contains(&ignored.reason) {
                reasons.push(ignored.reason);
            }
        }
        for reason in reasons {
            let same = self.ignored.iter().filter(|ignored| ignored.reason == reason);
            let keys: Vec<&str> = same.map(|ignored| &*ignored.key).collect();
            lines.push(format!("no effect here: {}: {reason}", keys.join(", ")));
        }
        lines
    }

    fn take(
        &mut self,
        surroundings: &Surroundings,
        key: &str,
        value: &str,
        place: Place,
        marked_up: bool,
    ) -> Result<(), SettingError> {
        if let Some(row) = S::ROWS.iter().find(|row| row.key == key) {
            let expanded =
                if row.is_path { Some(expand(surroundings, row.key, value, place)?) } else { None };
            let text = expanded.as_deref().unwrap_or(value);
            let remark = self.settings.put(key, text).map_err(|error| error.at(place))?;
            self.remarks.extend(remark);
            self.given.push((row.key, place));
        } else if let Some(reason) = why_without_effect::<S>(key) {
            let asked_for = value.trim().eq_ignore_ascii_case("true");
            let missing = known::missing_promise(key).filter(|_| asked_for);
            self.remarks.extend(missing.map(|(key, text)| Remark { key, text: text.to_owned() }));
            self.ignored.push(Ignored { key: key.to_owned(), place, reason });
        } else if place == Place::Override {
            return Err(SettingError::unknown(place, key, keys(S::ROWS)));
        } else if !marked_up {
            let nearest = known::nearest(key, keys(S::ROWS));
            self.unknown.push(Unknown { key: shorten(key), place, nearest });
        }
        Ok(())
    }

    fn expand_defaults(&mut self, surroundings: &Surroundings) -> Result<(), SettingError> {
        for row in S::ROWS.iter().filter(|row| row.is_path) {
            let text = self.settings.get(row.key).unwrap_or_default();
            if self.place_of(row.key).is_none() && text.contains('$') {
                let path = expand(surroundings, row.key, &text, Place::Unknown)?;
                self.settings.put(row.key, &path)?;
            }
        }
        Ok(())
    }
}

fn expand(
    surroundings: &Surroundings,
    key: &'static str,
    path: &str,
    place: Place,
) -> Result<String, SettingError> {
    surroundings.expand(path).map_err(|variable| SettingError::Variable { place, key, variable })
}

/// Why `key` has no effect in the file of `S`; `None` when it acts or nobody knows it.
pub(crate) fn why_without_effect<S: Table>(key: &str) -> Option<&'static str> {
    let is_row_of = |rows: &[Row]| rows.iter().any(|row| row.key == key);
    if let Some(reason) = known::reason(key) {
        Some(reason)
    } else if is_row_of(S::ROWS) {
        None
    } else if is_row_of(Broker::ROWS) {
        Some("a key of broker.conf, which has no effect in a name server")
    } else if is_row_of(Nameserver::ROWS) {
        Some("a key of namesrv.conf, which has no effect in a broker")
    } else {
        None
    }
}

/// For each entry, whether it stands in an XML comment. Files of the official distribution carry their licence
/// in one, which Java reads as keys (operations.md §2); nobody wants to be warned of "Licensed".
fn lines_of_markup(entries: &[Entry]) -> Vec<bool> {
    let mut inside = false;
    let mut marked = Vec::with_capacity(entries.len());
    for entry in entries {
        inside |= entry.key.starts_with("<!--");
        marked.push(inside);
        let ends = |text: &str| text.trim_end().ends_with("-->");
        if ends(&entry.value) || (entry.value.is_empty() && ends(&entry.key)) {
            inside = false;
        }
    }
    marked
}
