//! Consumer groups and their configuration.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use settings::Broker as Settings;
use wire::body::{DataVersion, SubscriptionGroupConfig};
use wire::names;

use crate::claims::Claims;
use crate::state_file::StateFile;
use crate::together::Together;

/// `config/subscriptionGroup.json`, and the answer to 201.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupsBody {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Topics that a group may not read, as bit masks.
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// Groups by name.
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

/// Bit of the forbidden mask that forbids reading.
const FORBIDDEN_READ: i32 = 1 << 2;

/// First client version whose `maxReconsumeTimes` counts (wire.md §5.2).
const VERSION_MAX_RECONSUME: i32 = 121;

/// How often consumption may fail: what the client says, if it is new enough to, else what the group is set to.
pub(crate) fn max_reconsume(asked: Option<i32>, version: i32, group: &SubscriptionGroupConfig) -> i32 {
    asked.filter(|_| version >= VERSION_MAX_RECONSUME).unwrap_or(group.retry_max_times)
}

/// All consumer groups, kept in `config/subscriptionGroup.json`.
pub struct Groups {
    table: RwLock<HashMap<String, Arc<SubscriptionGroupConfig>>>,
    forbidden: RwLock<BTreeMap<String, BTreeMap<String, i32>>>,
    version: Mutex<DataVersion>,
    /// Held by who changes anything: first the file, then memory, so that nobody sees what a restart would forget.
    together: Together<Change>,
    /// Held for its names by who looks at a group before changing it.
    pub(crate) claims: Claims,
    /// Light queues are served: groups named like them need no configuration.
    light: bool,
    file: StateFile,
}

impl Groups {
    /// Reads the file over the built-in groups (broker.md §3.1).
    pub fn load(file: StateFile, settings: &Settings) -> Result<Groups, io::Error> {
        let stored: GroupsBody = file.load()?;
        let built_in = names::BUILT_IN_GROUPS.iter().map(|name| {
            let config = SubscriptionGroupConfig {
                // Administrators' tools read in broadcast with these (broker.md §3.1).
                consume_broadcast_enable: true,
                ..SubscriptionGroupConfig::new(name)
            };
            ((*name).to_owned(), Arc::new(config))
        });
        let mut table: HashMap<_, _> = built_in.collect();
        for (name, config) in stored.subscription_group_table {
            table.insert(name, Arc::new(config));
        }
        Ok(Groups {
            table: RwLock::new(table),
            forbidden: RwLock::new(stored.forbidden_table),
            together: Together::default(),
            claims: Claims::default(),
            version: Mutex::new(stored.data_version),
            light: settings.enable_lmq,
            file,
        })
    }

    /// The group of that name.
    pub fn get(&self, name: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        if self.light && names::is_light(name) {
            return names::check_group(name).is_ok().then(|| Arc::new(SubscriptionGroupConfig::new(name)));
        }
        self.table.read().get(name).cloned()
    }

    /// The group of that name, created when that is allowed (broker.md §3.2). `None` is SUBSCRIPTION_GROUP_NOT_EXIST.
    pub fn find_or_create(
        &self,
        name: &str,
        settings: &Settings,
        now_ms: i64,
    ) -> Result<Option<Arc<SubscriptionGroupConfig>>, io::Error> {
        if let Some(group) = self.get(name) {
            return Ok(Some(group));
        }
        if !self.may_create(name, settings) {
            return Ok(None);
        }
        self.create(SubscriptionGroupConfig::new(name), now_ms)?;
        Ok(self.get(name))
    }

    /// Whether a group that there is not is created for who names it.
    pub fn may_create(&self, name: &str, settings: &Settings) -> bool {
        let allowed = settings.auto_create_subscription_group || name.starts_with(names::SYSTEM_GROUP_PREFIX);
        let light = self.light && names::is_light(name);
        allowed && !light && names::check_group(name).is_ok()
    }

    /// Creates a group unless there is one by now: an administrator may have made it since the caller looked.
    fn create(&self, config: SubscriptionGroupConfig, now_ms: i64) -> Result<(), io::Error> {
        self.change_together(vec![Change::Create(config)], now_ms)
    }

    /// Creates or replaces groups; they are in the file when this returns.
    pub fn update(&self, configs: Vec<SubscriptionGroupConfig>, now_ms: i64) -> Result<(), io::Error> {
        self.change_together(configs.into_iter().map(Change::Put).collect(), now_ms)
    }

    /// Makes changes with those of others in one write of the file.
    fn change_together(&self, changes: Vec<Change>, now_ms: i64) -> Result<(), io::Error> {
        self.together.change(changes, |changes| self.change(changes, now_ms))
    }

    /// Makes changes in their order with one write of the file, for who is alone.
    fn change(&self, changes: Vec<Change>, now_ms: i64) -> Result<(), io::Error> {
        let mut changed = BTreeMap::new();
        for change in changes {
            let known = |name: &str| changed.get(name).cloned().or_else(|| self.get(name));
            let config = match change {
                Change::Create(config) if known(&config.group_name).is_some() => continue,
                Change::Put(config) | Change::Create(config) => config,
            };
            let light = self.light && names::is_light(&config.group_name);
            if !light && known(&config.group_name).is_none_or(|old| *old != config) {
                changed.insert(config.group_name.clone(), Arc::new(config));
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        let version = self.write(now_ms, |body| {
            let named = changed.iter().map(|(name, config)| (name.clone(), (**config).clone()));
            body.subscription_group_table.extend(named);
        })?;
        self.table.write().extend(changed);
        *self.version.lock() = version;
        Ok(())
    }

    /// Removes a group; false when there was none.
    pub fn remove(&self, name: &str, now_ms: i64) -> Result<bool, io::Error> {
        let _one_at_a_time = self.together.alone();
        if self.get(name).is_none() {
            return Ok(false);
        }
        let version = self.write(now_ms, |body| {
            body.subscription_group_table.remove(name);
            body.forbidden_table.remove(name);
        })?;
        self.table.write().remove(name);
        self.forbidden.write().remove(name);
        *self.version.lock() = version;
        Ok(true)
    }

    /// Whether `group` is forbidden to read `topic` (broker.md §3.3).
    pub fn is_read_forbidden(&self, group: &str, topic: &str) -> bool {
        let forbidden = self.forbidden.read();
        forbidden
            .get(group)
            .and_then(|topics| topics.get(topic))
            .is_some_and(|bits| bits & FORBIDDEN_READ != 0)
    }

    /// Forbids or allows `group` to read `topic`; answers whether it may read now.
    pub fn set_readable(
        &self,
        group: &str,
        topic: &str,
        readable: Option<bool>,
        now_ms: i64,
    ) -> Result<bool, io::Error> {
        let Some(readable) = readable else { return Ok(!self.is_read_forbidden(group, topic)) };
        let _one_at_a_time = self.together.alone();
        let mut forbidden = self.forbidden.read().clone();
        let topics = forbidden.entry(group.to_owned()).or_default();
        let bits = topics.get(topic).copied().unwrap_or(0);
        let bits = if readable { bits & !FORBIDDEN_READ } else { bits | FORBIDDEN_READ };
        if bits == 0 {
            topics.remove(topic);
        } else {
            topics.insert(topic.to_owned(), bits);
        }
        if topics.is_empty() {
            forbidden.remove(group);
        }
        let version = self.write(now_ms, |body| body.forbidden_table.clone_from(&forbidden))?;
        *self.forbidden.write() = forbidden;
        *self.version.lock() = version;
        Ok(readable)
    }

    /// The whole table with its version.
    pub fn body(&self) -> GroupsBody {
        GroupsBody {
            data_version: *self.version.lock(),
            forbidden_table: self.forbidden.read().clone(),
            subscription_group_table: self
                .table
                .read()
                .iter()
                .map(|(name, config)| (name.clone(), (**config).clone()))
                .collect(),
        }
    }

    /// Writes the file as it will be after `change`; gives the version it has then. For who is alone.
    fn write(&self, now_ms: i64, change: impl FnOnce(&mut GroupsBody)) -> Result<DataVersion, io::Error> {
        let mut body = self.body();
        body.data_version.next(now_ms);
        change(&mut body);
        self.file.save(&body)?;
        Ok(body.data_version)
    }
}

/// A change of the table that is to be written.
enum Change {
    /// Creates a group or replaces it.
    Put(SubscriptionGroupConfig),
    /// Creates a group unless there is one.
    Create(SubscriptionGroupConfig),
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sim::{SimClock, SimDisk};

    use super::*;

    #[test]
    fn a_group_that_an_administrator_makes_meanwhile_stays_as_it_is() {
        let disk = Arc::new(SimDisk::new(SimClock::default()));
        let file = StateFile::new(disk, Path::new("/store/config"), "subscriptionGroup.json");
        let settings = settings::load_broker("", &[]).unwrap().settings;
        let groups = Groups::load(file, &settings).unwrap();
        let config =
            SubscriptionGroupConfig { retry_max_times: 3, ..SubscriptionGroupConfig::new("readers") };
        groups.update(vec![config.clone()], 0).unwrap();
        // A consumer's heartbeat had looked before that, and found nothing.
        groups.create(SubscriptionGroupConfig::new("readers"), 0).unwrap();
        assert_eq!(*groups.get("readers").unwrap(), config);
    }
}
