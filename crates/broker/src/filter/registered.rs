//! SQL92 filters that consumer groups have registered by heartbeat (broker.md §11.2), kept in
//! `config/consumerFilter.json` as Java keeps them.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use store::Bitmaps;
use wire::body::SubscriptionData;
use wire::record;

use super::bloom::{Bloom, BloomFilterData};
use super::prefilter::{Bits, Edition};
use super::sql::{Expression, SqlError};
use super::{Filter, FilterError, SQL92, TagFilter, is_tag_type};
use crate::state_file::{StateFile, Unsaved};

/// Most filters that are kept, dead ones included; a group that comes when there are so many is not registered.
const FILTERS_MAX: usize = 20_000;
/// Expressions of pulls that stay compiled.
const COMPILED_MAX: usize = 256;
/// After a restart all consumers count as dead for this long, as in Java.
const DEAD_AT_LOAD: i64 = 30_000;

/// `config/consumerFilter.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FilterTable {
    /// Filters by topic.
    pub filter_data_by_topic: BTreeMap<String, TopicFilters>,
}

/// Filters of one topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicFilters {
    /// Filters by consumer group.
    pub group_filter_data: BTreeMap<String, ConsumerFilterData>,
    /// The topic.
    pub topic: String,
}

/// The filter of a group on a topic. All times are Unix milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerFilterData {
    /// Bits of the group in the bitmaps of queue extensions.
    pub bloom_filter_data: Option<BloomFilterData>,
    /// When this expression was registered.
    pub born_time: i64,
    /// Version of the subscription.
    pub client_version: i64,
    /// The group.
    pub consumer_group: String,
    /// Written for Java's sake, which derives it from the times.
    pub dead: bool,
    /// When the group left, 0 while it is there.
    pub dead_time: i64,
    /// The expression as it came.
    pub expression: String,
    /// `SQL92`.
    pub expression_type: String,
    /// The topic.
    pub topic: String,
    #[serde(skip)]
    compiled: Option<Arc<Expression>>,
    /// What readers may pass over; nothing before [`ConsumerFilters::begin_bits`].
    #[serde(skip)]
    bits: SharedBits,
}

/// Two of them are the same for who compares what is stored: they follow from it.
#[derive(Debug, Clone, Default)]
struct SharedBits(Option<Arc<Bits>>);

impl PartialEq for SharedBits {
    fn eq(&self, _: &SharedBits) -> bool {
        true
    }
}

impl ConsumerFilterData {
    /// What is stored of a subscription that begins now.
    fn new(group: &str, data: &SubscriptionData, bits: BloomFilterData, now_ms: i64) -> ConsumerFilterData {
        ConsumerFilterData {
            bloom_filter_data: Some(bits),
            born_time: now_ms,
            client_version: data.sub_version,
            consumer_group: group.to_owned(),
            expression: data.sub_string.clone(),
            expression_type: data.expression_type.clone(),
            topic: data.topic.clone(),
            ..ConsumerFilterData::default()
        }
    }

    /// Takes over what a member says where it is no new filter, and says whether that changed anything; `None` for a
    /// new filter.
    fn renewed_by(&mut self, data: &SubscriptionData, bits: &BloomFilterData) -> Option<bool> {
        let is_same_filter = self.expression == data.sub_string
            && self.expression_type == data.expression_type
            && self.bloom_filter_data.as_ref() == Some(bits);
        let is_same_version = data.sub_version == self.client_version;
        if data.sub_version < self.client_version || (is_same_version && !self.is_dead()) {
            return Some(false);
        }
        if is_same_filter || is_same_version {
            self.client_version = data.sub_version;
            self.dead_time = 0;
            return Some(true);
        }
        None
    }

    fn is_dead(&self) -> bool {
        self.dead_time >= self.born_time
    }
}

/// What a group has registered for a topic.
pub struct Registered {
    /// Which messages it wants.
    pub expression: Arc<Expression>,
    /// What is known of them without looking.
    pub bits: Option<Arc<Bits>>,
    /// Version of the subscription it came with.
    pub version: i64,
}

impl From<Registered> for Filter {
    fn from(registered: Registered) -> Filter {
        Filter::Sql(registered.expression, registered.bits)
    }
}

/// All registered filters.
pub struct ConsumerFilters {
    table: RwLock<FilterTable>,
    /// Expressions that pulls bring along, by their text.
    compiled: Mutex<HashMap<String, Arc<Expression>>>,
    bloom: Bloom,
    edition: Edition,
    /// Whether messages are asked about when they are stored.
    with_bits: AtomicBool,
    /// What the file does not have yet.
    pub unsaved: Unsaved,
    file: StateFile,
}

impl ConsumerFilters {
    /// Reads the file. What was made for a Bloom filter of another shape is dropped, all of it, as in Java.
    pub fn load(file: StateFile, settings: &settings::Broker, now_ms: i64) -> io::Result<ConsumerFilters> {
        let bloom =
            Bloom::new(settings.max_error_rate_of_bloom_filter, settings.expect_consumer_num_use_filter);
        let mut table: FilterTable = file.load()?;
        let mut all =
            table.filter_data_by_topic.values_mut().flat_map(|topic| topic.group_filter_data.values_mut());
        let is_ours = all.all(|data| {
            data.compiled = compile(&data.expression_type, &data.expression).ok();
            if data.dead_time == 0 {
                data.dead_time = (now_ms - DEAD_AT_LOAD).max(data.born_time);
            }
            data.bloom_filter_data.as_ref().is_some_and(|data| bloom.has_made(data))
        });
        if !is_ours {
            table = FilterTable::default();
        }
        Ok(ConsumerFilters {
            table: RwLock::new(table),
            compiled: Mutex::default(),
            bloom,
            edition: Edition::default(),
            with_bits: AtomicBool::new(false),
            unsaved: Unsaved::default(),
            file,
        })
    }

    /// The filter that a request brings along. Absent type means tags.
    pub fn of_request(&self, expression: Option<&str>, kind: Option<&str>) -> Result<Filter, FilterError> {
        let kind = kind.unwrap_or_default();
        if is_tag_type(kind) {
            return TagFilter::parse(expression).map(Filter::from);
        }
        let text = expression.filter(|text| !text.is_empty()).ok_or(FilterError::Empty)?;
        if kind != SQL92 {
            return Err(FilterError::Type(kind.to_owned()));
        }
        Ok(Filter::Sql(self.compiled(text)?, None))
    }

    /// Adds to the filter of a pull what is known of it if its group has registered the same expression.
    pub fn with_known_bits(&self, filter: Filter, topic: &str, group: &str) -> Filter {
        match filter {
            Filter::Sql(expression, None) if self.with_bits.load(Ordering::Acquire) => {
                let known = self.find(topic, group).filter(|known| *known.expression == *expression);
                Filter::Sql(expression, known.and_then(|known| known.bits))
            }
            filter => filter,
        }
    }

    /// From now on messages are asked about when they are stored. What was known of them before holds if the broker was
    /// stopped cleanly; otherwise filters may have been registered that the file does not tell. `newest` is the store
    /// time of the last message.
    pub fn begin_bits(&self, was_stopped_cleanly: bool, newest: i64) {
        let mut table = self.table.write();
        let all =
            table.filter_data_by_topic.values_mut().flat_map(|topic| topic.group_filter_data.values_mut());
        for data in all {
            let born = if was_stopped_cleanly { data.born_time } else { newest.max(data.born_time) };
            data.bits.0 = data.bloom_filter_data.clone().map(|bits| Bits::new(bits, born));
        }
        self.with_bits.store(true, Ordering::Release);
    }

    /// Pull consumers send their expression with every pull; the few that are in use stay compiled.
    fn compiled(&self, text: &str) -> Result<Arc<Expression>, SqlError> {
        if let Some(expression) = self.compiled.lock().get(text) {
            return Ok(Arc::clone(expression));
        }
        let expression = Arc::new(Expression::compile(text)?);
        let mut compiled = self.compiled.lock();
        if compiled.len() >= COMPILED_MAX {
            compiled.clear();
        }
        compiled.insert(text.to_owned(), Arc::clone(&expression));
        Ok(expression)
    }

    /// The filter of a group on a topic.
    pub fn find(&self, topic: &str, group: &str) -> Option<Registered> {
        let table = self.table.read();
        let data = table.filter_data_by_topic.get(topic)?.group_filter_data.get(group)?;
        Some(Registered {
            expression: Arc::clone(data.compiled.as_ref()?),
            bits: data.bits.0.clone(),
            version: data.client_version,
        })
    }

    /// Takes over the subscriptions of a heartbeat: new expressions, newer versions, and what is no longer named is
    /// dead. An expression that cannot be compiled leaves its topic without a filter, which the pulls then tell.
    ///
    /// `now` is asked once, for Unix milliseconds that are not before the store time of any message that is stored.
    pub fn register(&self, group: &str, subscriptions: &[SubscriptionData], now: impl FnOnce() -> i64) {
        if !self.is_touched_by(group, subscriptions) {
            return;
        }
        let mut table = self.table.write();
        self.edition.next();
        let now_ms = now();
        let mut changed = false;
        for data in subscriptions.iter().filter(|data| !is_tag_type(&data.expression_type)) {
            if !data.sub_string.is_empty() {
                changed |= self.register_one(&mut table, group, data, now_ms);
            }
        }
        for (topic, filters) in &mut table.filter_data_by_topic {
            if let Some(data) = filters.group_filter_data.get_mut(group)
                && !data.is_dead()
                && !subscriptions.iter().any(|subscription| subscription.topic == *topic)
            {
                data.dead_time = now_ms;
                changed = true;
            }
        }
        drop(table);
        if changed {
            self.unsaved.note();
        }
    }

    /// Most groups filter by tags; their heartbeats change nothing here.
    fn is_touched_by(&self, group: &str, subscriptions: &[SubscriptionData]) -> bool {
        subscriptions.iter().any(|data| !is_tag_type(&data.expression_type)) || self.has(group)
    }

    fn has(&self, group: &str) -> bool {
        let table = self.table.read();
        table.filter_data_by_topic.values().any(|filters| filters.group_filter_data.contains_key(group))
    }

    fn register_one(
        &self,
        table: &mut FilterTable,
        group: &str,
        data: &SubscriptionData,
        now_ms: i64,
    ) -> bool {
        let bits = self.bloom.of(group, &data.topic);
        let count: usize =
            table.filter_data_by_topic.values().map(|filters| filters.group_filter_data.len()).sum();
        let filters = table.filter_data_by_topic.entry(data.topic.clone()).or_default();
        filters.topic.clone_from(&data.topic);
        match filters.group_filter_data.get_mut(group) {
            Some(old) => {
                if let Some(changed) = old.renewed_by(data, &bits) {
                    return changed;
                }
                if let Some(old) = &old.bits.0 {
                    old.void();
                }
            }
            None if count >= FILTERS_MAX => {
                tracing::warn!(
                    group,
                    topic = data.topic,
                    "there are {count} filters; this one is not registered"
                );
                // The save that follows makes room, if any of them are dead for long enough.
                return true;
            }
            None => (),
        }
        match compile(&data.expression_type, &data.sub_string) {
            Ok(compiled) => {
                let with_bits = self.with_bits.load(Ordering::Acquire);
                let known = SharedBits(with_bits.then(|| Bits::new(bits.clone(), now_ms)));
                let new = ConsumerFilterData {
                    bits: known,
                    compiled: Some(compiled),
                    ..ConsumerFilterData::new(group, data, bits, now_ms)
                };
                filters.group_filter_data.insert(group.to_owned(), new);
                true
            }
            Err(error) => {
                tracing::warn!(group, topic = data.topic, "a filter cannot be used: {error}");
                let removed = filters.group_filter_data.remove(group).is_some();
                table.filter_data_by_topic.retain(|_, filters| !filters.group_filter_data.is_empty());
                removed
            }
        }
    }

    /// The group has no members any more.
    pub fn unregister(&self, group: &str, now_ms: i64) {
        if !self.has(group) {
            return;
        }
        let mut table = self.table.write();
        for filters in table.filter_data_by_topic.values_mut() {
            if let Some(data) = filters.group_filter_data.get_mut(group).filter(|data| !data.is_dead()) {
                data.dead_time = now_ms;
            }
        }
        drop(table);
        self.unsaved.note();
    }

    /// Forgets filters that have been dead for longer than `kept`, and writes the file if anything has changed.
    pub fn save(&self, kept: Duration, now_ms: i64) -> io::Result<()> {
        self.unsaved.save(|| self.file.save(&self.kept(kept, now_ms)))
    }

    fn kept(&self, kept: Duration, now_ms: i64) -> FilterTable {
        let mut table = self.table.write();
        let kept_ms = kept.as_millis() as i64;
        for filters in table.filter_data_by_topic.values_mut() {
            filters.group_filter_data.retain(|_, data| {
                let keeps = !data.is_dead() || now_ms - data.dead_time < kept_ms;
                if let (false, Some(bits)) = (keeps, &data.bits.0) {
                    bits.void();
                }
                keeps
            });
            for data in filters.group_filter_data.values_mut() {
                data.dead = data.is_dead();
            }
        }
        table.filter_data_by_topic.retain(|_, filters| !filters.group_filter_data.is_empty());
        table.clone()
    }
}

impl Bitmaps for ConsumerFilters {
    fn edition(&self) -> u64 {
        self.edition.now()
    }

    fn push(&self, topic: &str, record: &[u8], out: &mut Vec<u8>) {
        let table = self.table.read();
        let Some(filters) = table.filter_data_by_topic.get(topic) else { return };
        let Some(properties) = record::properties_of(record) else { return };
        let from = out.len();
        out.resize(from + self.bloom.bitmap_bytes(), 0);
        // Also for groups that are gone: when they come back, what was stored meanwhile is theirs.
        for filter in filters.group_filter_data.values() {
            if let (Some(expression), Some(bits)) = (&filter.compiled, &filter.bloom_filter_data)
                && expression.matches(properties)
            {
                bits.set_in(&mut out[from..]);
            }
        }
    }
}

fn compile(kind: &str, text: &str) -> Result<Arc<Expression>, FilterError> {
    if kind != SQL92 {
        return Err(FilterError::Type(kind.to_owned()));
    }
    Ok(Arc::new(Expression::compile(text)?))
}

#[cfg(test)]
mod tests;
