//! Reading and changing settings while the broker runs (25, 26; broker.md §18).
//!
//! What may be changed is decided in `settings::update`. A change lives in memory: the file stays the user's, and the
//! answer says so.

use std::sync::Arc;

use parking_lot::Mutex;
use settings::{Change, Changed, properties};
use wire::body::DataVersion;
use wire::code::response;

use super::json::text;
use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal};

/// Keys that the store has taken over when it was opened; a change of them waits for the next start, though their
/// table calls them live.
const TAKEN_BY_STORE: [&str; 13] = [
    "accessMessageInMemoryMaxRatio",
    "cleanFileForciblyEnable",
    "deleteFileBatchMax",
    "deleteWhen",
    "diskMaxUsedSpaceRatio",
    "diskSpaceCleanForciblyRatio",
    "diskSpaceWarningLevelRatio",
    "fileReservedTime",
    "maxFilterMessageSize",
    "maxTransferBytesOnMessageInDisk",
    "maxTransferBytesOnMessageInMemory",
    "maxTransferCountOnMessageInDisk",
    "maxTransferCountOnMessageInMemory",
];

/// What clients have made of the settings.
pub(crate) struct Configuration {
    state: Mutex<State>,
}

struct State {
    /// With the changes that wait for the next start.
    wanted: settings::Broker,
    version: DataVersion,
}

impl Configuration {
    pub fn new(settings: &settings::Broker, now_ms: i64) -> Configuration {
        let version = DataVersion { counter: 0, state_version: 0, timestamp: now_ms };
        Configuration { state: Mutex::new(State { wanted: settings.clone(), version }) }
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
        self.settings.store(Arc::new(in_force));
        let remark = in_words(&update.changed, &update.without_effect);
        state.wanted = update.settings;
        drop(state);
        if permission_changed {
            self.tell_new_permission()?;
        }
        exchange.answer(response::SUCCESS, remark.as_deref(), |writer| writer.empty())
    }

    /// Nameservers compare versions, so the topics get a new one, and then hear of what is allowed now.
    fn tell_new_permission(self: &Arc<Self>) -> Outcome {
        self.topics.bump_version(self.now_ms())?;
        let broker = Arc::clone(self);
        tokio::spawn(async move { broker.register_all().await });
        Ok(())
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

fn acts_at_once(changed: &Changed) -> bool {
    changed.change == Change::Live && !TAKEN_BY_STORE.contains(&changed.key)
}

/// What the answer tells a reader who looks further than the code.
fn in_words(changed: &[Changed], without_effect: &[(String, &'static str)]) -> Option<String> {
    let mut sentences = Vec::new();
    let (now, later): (Vec<&Changed>, Vec<_>) = changed.iter().partition(|changed| acts_at_once(changed));
    let keys =
        |changed: &[&Changed]| changed.iter().map(|changed| changed.key).collect::<Vec<_>>().join(", ");
    if !now.is_empty() {
        sentences.push(format!(
            "{} in force until the broker stops; write it into broker.conf to keep it",
            keys(&now)
        ));
    }
    if !later.is_empty() {
        sentences
            .push(format!("{} acts at a start only; write it into broker.conf and restart", keys(&later)));
    }
    sentences.extend(without_effect.iter().map(|(key, reason)| format!("{key} has no effect: {reason}")));
    (!sentences.is_empty()).then(|| sentences.join("; "))
}
