//! Consumer groups and their configuration.

use std::io;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use settings::Broker as Settings;
use wire::body::{DataVersion, SubscriptionGroupConfig};
use wire::names;

use crate::state_file::StateFile;

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

/// All consumer groups, kept in `config/subscriptionGroup.json`.
pub struct Groups {
    table: RwLock<HashMap<String, Arc<SubscriptionGroupConfig>>>,
    forbidden: RwLock<BTreeMap<String, BTreeMap<String, i32>>>,
    version: Mutex<DataVersion>,
    saved: Mutex<i64>,
    file: StateFile,
}

impl Groups {
    /// Reads the file over the built-in groups (broker.md §3.1).
    pub fn load(file: StateFile) -> Result<Groups, io::Error> {
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
            saved: Mutex::new(stored.data_version.counter),
            version: Mutex::new(stored.data_version),
            file,
        })
    }

    /// The group of that name.
    pub fn get(&self, name: &str) -> Option<Arc<SubscriptionGroupConfig>> {
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
        let allowed =
            settings.auto_create_subscription_group || name.starts_with(names::SYSTEM_GROUP_PREFIX);
        if !allowed || names::check_group(name).is_err() {
            return Ok(None);
        }
        self.update(vec![SubscriptionGroupConfig::new(name)], now_ms)?;
        Ok(self.get(name))
    }

    /// Creates or replaces groups; they are in the file when this returns.
    pub fn update(&self, configs: Vec<SubscriptionGroupConfig>, now_ms: i64) -> Result<(), io::Error> {
        let mut changed = false;
        {
            let mut table = self.table.write();
            for config in configs {
                if table.get(&config.group_name).is_some_and(|old| **old == config) {
                    continue;
                }
                changed = true;
                table.insert(config.group_name.clone(), Arc::new(config));
            }
        }
        if !changed {
            return Ok(());
        }
        self.version.lock().next(now_ms);
        self.save()
    }

    /// Removes a group; false when there was none.
    pub fn remove(&self, name: &str, now_ms: i64) -> Result<bool, io::Error> {
        if self.table.write().remove(name).is_none() {
            return Ok(false);
        }
        self.forbidden.write().remove(name);
        self.version.lock().next(now_ms);
        self.save()?;
        Ok(true)
    }

    /// Whether `group` is forbidden to read `topic` (broker.md §3.3).
    pub fn is_read_forbidden(&self, group: &str, topic: &str) -> bool {
        let forbidden = self.forbidden.read();
        forbidden.get(group).and_then(|topics| topics.get(topic)).is_some_and(|bits| bits & FORBIDDEN_READ != 0)
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
        {
            let mut forbidden = self.forbidden.write();
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
        }
        self.version.lock().next(now_ms);
        self.save()?;
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

    fn save(&self) -> Result<(), io::Error> {
        let wanted = self.version.lock().counter;
        let mut saved = self.saved.lock();
        if *saved >= wanted {
            return Ok(());
        }
        let body = self.body();
        self.file.save(&body)?;
        *saved = body.data_version.counter;
        Ok(())
    }
}
