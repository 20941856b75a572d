//! Reading and changing settings while the broker runs (25, 26; broker.md §18).
//!
//! What may be changed is decided in `settings::update`. Changed values go into the file that the broker was started
//! with, as Java's do; where there is none, or it cannot be written, the answer says that they end with the process.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use settings::{Change, Changed, Remark, Update, properties};
use wire::body::DataVersion;
use wire::code::response;

use super::json::text;
use crate::exchange::{Exchange, Outcome, Refusal};
use crate::settings_file::SettingsFile;
use crate::{Broker, send, store_options};

/// What clients have made of the settings.
pub(crate) struct Configuration {
    state: Mutex<State>,
    file: OnceLock<SettingsFile>,
}

struct State {
    /// With the changes that wait for the next start.
    wanted: settings::Broker,
    version: DataVersion,
}

impl Configuration {
    pub fn new(settings: &settings::Broker, now_ms: i64) -> Configuration {
        let version = DataVersion { counter: 0, state_version: 0, timestamp: now_ms };
        Configuration {
            state: Mutex::new(State { wanted: settings.clone(), version }),
            file: OnceLock::new(),
        }
    }
}

impl Broker {
    pub(super) fn update_config(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let body = properties::decode(exchange.request.body);
        let mut state = self.configuration.state.lock();
        let update = settings::update(&state.wanted, &body).map_err(|refusal| {
            let code = if refusal.is_forbidden() { response::NO_PERMISSION } else { response::SYSTEM_ERROR };
            Refusal::new(code, refusal.to_string())
        })?;
        let mut in_force = (*self.settings.load_full()).clone();
        for changed in update.changed.iter().filter(|changed| acts_at_once(changed)) {
            in_force.set(changed.key, &changed.to).map_err(Refusal::system)?;
        }
        for Changed { key, from, to, .. } in &update.changed {
            tracing::info!(key, from, to, peer = %exchange.channel.peer(), "setting changed by a client");
        }
        if !update.changed.is_empty() {
            state.version.next(self.now_ms());
        }
        let permission_changed = in_force.broker_permission != self.settings.load().broker_permission;
        let kept = self.configuration.keep(&update.changed);
        self.take_over(in_force);
        let remark = in_words(&update, &kept);
        state.wanted = update.settings;
        drop(state);
        if permission_changed {
            let bumped = self.topics.bump_version(self.now_ms());
            // It acts already, whatever becomes of the file.
            self.registration.everything_changed();
            bumped?;
        }
        exchange.answer(response::SUCCESS, remark.as_deref(), |writer| writer.empty())
    }

    /// Lets settings act, also where somebody holds what was made of them.
    fn take_over(&self, settings: settings::Broker) {
        self.store.adjust(&store_options::of(&settings));
        self.stamp.store(Arc::new(send::stamp(&settings)));
        self.settings.store(Arc::new(settings));
    }

    /// Turns reading ahead on or off until the broker stops.
    pub(crate) fn change_read_ahead(&self, read_ahead: bool) {
        let mut state = self.configuration.state.lock();
        state.wanted.data_read_ahead_enable = read_ahead;
        let mut in_force = (*self.settings.load_full()).clone();
        in_force.data_read_ahead_enable = read_ahead;
        self.take_over(in_force);
    }

    pub(super) fn config(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let (body, version) = {
            let state = self.configuration.state.lock();
            (properties::format(state.wanted.entries()), text(&state.version)?)
        };
        exchange.answer(response::SUCCESS, None, |mut writer| {
            writer.field("version", &version);
            writer.body(body.as_bytes());
        })
    }
}

/// What became of the file.
enum Kept {
    /// The values are in it; these keys stand on the command line too.
    In { file: String, overridden: Vec<&'static str> },
    /// They are not, for this reason.
    Nowhere(String),
}

impl Configuration {
    /// Names the file that changed values are kept in. The first one counts.
    pub fn keep_in(&self, file: SettingsFile) {
        // The command line is read once.
        let _ = self.file.set(file);
    }

    fn keep(&self, changed: &[Changed]) -> Kept {
        let Some(file) = self.file.get() else {
            return Kept::Nowhere("the broker was started without -c".to_owned());
        };
        let values: Vec<_> = changed.iter().map(|changed| (changed.key, &*changed.to)).collect();
        if !values.is_empty()
            && let Err(error) = file.write(&values)
        {
            tracing::error!(file = %file.path.display(), "changed settings cannot be kept: {error}");
            return Kept::Nowhere(format!("{} cannot be written: {error}", file.name()));
        }
        let keys = changed.iter().map(|changed| changed.key);
        let overridden = keys.filter(|key| file.overridden.contains(key)).collect();
        Kept::In { file: file.name(), overridden }
    }
}

fn acts_at_once(changed: &Changed) -> bool {
    changed.change == Change::Live
}

/// What the answer tells a reader who looks further than the code.
fn in_words(update: &Update<settings::Broker>, kept: &Kept) -> Option<String> {
    let Update { changed, without_effect, remarks, .. } = update;
    let mut sentences = Vec::new();
    let (now, later): (Vec<&Changed>, Vec<_>) = changed.iter().partition(|changed| acts_at_once(changed));
    let keys =
        |changed: &[&Changed]| changed.iter().map(|changed| changed.key).collect::<Vec<_>>().join(", ");
    let (now, later) = (keys(&now), keys(&later));
    match kept {
        Kept::In { file, overridden } => {
            if !now.is_empty() {
                sentences.push(format!("{now} in force and kept in {file}"));
            }
            if !later.is_empty() {
                sentences.push(format!("{later} acts at a start only and is kept in {file}; restart"));
            }
            if !overridden.is_empty() {
                let keys = overridden.join(", ");
                sentences
                    .push(format!("{keys} is given on the command line too, which wins at the next start"));
            }
        }
        Kept::Nowhere(reason) => {
            if !now.is_empty() {
                sentences.push(format!(
                    "{now} in force until the broker stops ({reason}); write it into broker.conf to keep it"
                ));
            }
            if !later.is_empty() {
                sentences.push(format!(
                    "{later} acts at a start only and was not kept ({reason}); write it into broker.conf and restart"
                ));
            }
        }
    }
    sentences.extend(without_effect.iter().map(|(key, reason)| format!("{key} has no effect: {reason}")));
    sentences.extend(remarks.iter().map(|Remark { key, text }| format!("{key}: {text}")));
    (!sentences.is_empty()).then(|| sentences.join("; "))
}
