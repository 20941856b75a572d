//! Reading and changing settings while running (318, 319).

use std::sync::Arc;

use remoting::Request;
use settings::{Remark, properties};
use wire::code::response::{NO_PERMISSION, SYSTEM_ERROR};

use crate::reply::Reply;
use crate::{Nameserver, file};

impl Nameserver {
    pub(crate) fn get_config(&self) -> Reply {
        Reply::success().with_body(properties::format(self.settings.load().entries()).into_bytes())
    }

    /// Changes all given settings or none, in the file first.
    pub(crate) fn update_config(&self, request: &Request<'_>) -> Reply {
        let _writing = self.settings_writing.lock();
        let current = self.settings.load_full();
        let update = match settings::update(&*current, &properties::decode(request.body)) {
            Ok(update) => update,
            Err(refusal) => {
                tracing::warn!("change of settings refused: {refusal}");
                let code = if refusal.is_forbidden() { NO_PERMISSION } else { SYSTEM_ERROR };
                return Reply::failure(code, refusal);
            }
        };
        for (key, reason) in &update.without_effect {
            tracing::warn!(key, "changed setting has no effect: {reason}");
        }
        for Remark { key, text } in &update.remarks {
            tracing::warn!(key, "{text}");
        }
        if update.changed.is_empty() {
            return Reply::success();
        }
        let changes: Vec<_> = update.changed.iter().map(|change| (change.key, &*change.to)).collect();
        if let Err(remark) = save(&current, &changes) {
            tracing::error!("{remark}");
            return Reply::failure(SYSTEM_ERROR, remark);
        }
        for change in &update.changed {
            let acts =
                if change.change == settings::Change::Live { "at once" } else { "from the next start" };
            tracing::info!(key = change.key, from = change.from, to = change.to, acts, "setting changed");
        }
        self.settings.store(Arc::new(update.settings));
        Reply::success()
    }
}

/// Writes changed values into the file; its comments and other lines stay.
fn save(settings: &settings::Nameserver, changes: &[(&str, &str)]) -> Result<(), String> {
    let path = &settings.config_store_path;
    let failed = |cause: String| format!("nothing changed: cannot write {}: {cause}", path.display());
    let content = file::read(path).map_err(|error| failed(error.to_string()))?.unwrap_or_default();
    let revised = properties::revise(&properties::decode(&content), changes)
        .map_err(|error| failed(error.to_string()))?;
    file::rewrite(path, revised.as_bytes()).map_err(|error| failed(error.to_string()))
}
