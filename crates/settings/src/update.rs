//! What a client may change while the process runs (codes 25 and 318).
//!
//! The Java servers refuse a list of names and take the rest; CVE-2023-33246 and CVE-2023-37582 were keys that
//! the list forgot. Here each key says for itself whether it may be changed ([`Change`]), and a key that does
//! not act cannot be changed at all. The list of the user, `configBlackList`, is obeyed on top.

use crate::error::{Place, SettingError, shorten};
use crate::known;
use crate::load::{Remark, why_without_effect};
use crate::properties::{self, BrokenEscape};
use crate::table::{Change, Table};

/// Most keys that one request may change; there are not this many.
const MAX_CHANGES: usize = 1000;

/// Why a change is refused; nothing has been changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The key may only be changed in the file. NO_PERMISSION (16) on the wire.
    #[error("{key} cannot be changed by a client; change it in {file} and restart")]
    Locked {
        /// The key.
        key: String,
        /// The name of the file it belongs to.
        file: &'static str,
    },
    /// The user's black list names the key. NO_PERMISSION (16) on the wire.
    #[error("{key} cannot be changed by a client: configBlackList names it")]
    BlackListed {
        /// The key.
        key: String,
    },
    /// The value cannot be used. SYSTEM_ERROR (1) on the wire.
    #[error(transparent)]
    Value(#[from] SettingError),
    /// The body is no properties text. SYSTEM_ERROR (1) on the wire.
    #[error(transparent)]
    Text(#[from] BrokenEscape),
    /// More keys than exist. SYSTEM_ERROR (1) on the wire.
    #[error("{given} keys in one request; at most {MAX_CHANGES} are taken")]
    TooMany {
        /// How many were given.
        given: usize,
    },
}

impl Refusal {
    /// Whether the client lacks the right, rather than the value sense.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Refusal::Locked { .. } | Refusal::BlackListed { .. })
    }
}

/// What a request changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Update<S> {
    /// All settings after the change.
    pub settings: S,
    /// The keys whose value is now another one.
    pub changed: Vec<Changed>,
    /// Keys that do not act, with the reason. Java answers SUCCESS to these too.
    pub without_effect: Vec<(String, &'static str)>,
    /// What is to be said of the given values, such as another one in the place of one that is too large.
    pub remarks: Vec<Remark>,
}

/// One changed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The key.
    pub key: &'static str,
    /// The text before.
    pub from: String,
    /// The text after.
    pub to: String,
    /// Whether it acts at once or at the next start.
    pub change: Change,
}

/// Whether a client may change `key`, and when the change acts. `None` is a key that does not act.
pub fn updatable<S: Table>(current: &S, key: &str) -> Result<Option<Change>, Refusal> {
    if current.black_list().iter().any(|listed| listed == key) {
        return Err(Refusal::BlackListed { key: shorten(key) });
    }
    let change = S::ROWS.iter().find(|row| row.key == key).map(|row| row.change);
    if change == Some(Change::Locked) || known::is_locked(key) {
        return Err(Refusal::Locked { key: shorten(key), file: S::FILE });
    }
    Ok(change)
}

/// Applies the body of a request to a copy of `current`: all of it or nothing.
pub fn update<S: Table>(current: &S, body: &str) -> Result<Update<S>, Refusal> {
    let entries = properties::parse(body)?;
    if entries.len() > MAX_CHANGES {
        return Err(Refusal::TooMany { given: entries.len() });
    }
    let mut settings = current.clone();
    let mut touched: Vec<(&'static str, Change)> = Vec::new();
    let (mut without_effect, mut remarks) = (Vec::new(), Vec::new());
    for entry in &entries {
        match updatable(current, &entry.key)? {
            Some(change) => {
                let remark = settings.put(&entry.key, &entry.value);
                remarks.extend(remark.map_err(|error| error.at(Place::Client))?);
                let row = S::ROWS.iter().find(|row| row.key == entry.key);
                touched.extend(row.map(|row| (row.key, change)));
            }
            None => {
                let reason = why_without_effect::<S>(&entry.key).unwrap_or("no such key");
                without_effect.push((shorten(&entry.key), reason));
            }
        }
    }
    let settled = settings.settle(&|_| true)?;
    // The rest was said at the start.
    remarks.extend(settled.into_iter().filter(|remark| touched.iter().any(|(key, _)| *key == remark.key)));
    touched.sort_unstable_by_key(|(key, _)| *key);
    touched.dedup();
    let changed = touched.into_iter().filter_map(|(key, change)| {
        let (from, to) = (current.get(key)?, settings.get(key)?);
        (from != to).then_some(Changed { key, from, to, change })
    });
    Ok(Update { changed: changed.collect(), settings, without_effect, remarks })
}
