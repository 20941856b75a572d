//! How far groups have come, and moving them.

use std::collections::BTreeMap;

use wire::body::{
    ConsumeStats, ConsumeStatsList, MessageQueue, QueueTimeSpan, QueueTimeSpans, ResetOffsetBody,
};
use wire::code::{request, response};

use super::Admin;
use crate::error::Error;
use crate::fields::Fields;

/// Where a group is moved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// To the first message stored at this time or later, Unix milliseconds.
    AtMs(i64),
    /// Behind everything that is there.
    Latest,
    /// To everything that is there.
    Earliest,
}

impl Moment {
    fn timestamp(self) -> i64 {
        match self {
            Moment::AtMs(at) => at.max(0),
            Moment::Latest => -1,
            Moment::Earliest => 0,
        }
    }
}

impl Admin {
    /// How far a group has come in one topic or in all, over all brokers. Of a static topic it tells of logical queues,
    /// as consumers know them.
    ///
    /// # Errors
    /// When a broker does not answer or refuses, or none knows the group.
    pub async fn consume_stats(&self, group: &str, topic: Option<&str>) -> Result<ConsumeStats, Error> {
        let mut all = ConsumeStats::default();
        let (mut is_known, mut unknown) = (false, None);
        for address in self.brokers_of_group(group).await? {
            let one = match self.consume_stats_at(&address, group, topic).await {
                // A group need not have been at every broker.
                Err(error) if is_of_no_group(&error) => {
                    unknown = Some(error);
                    continue;
                }
                one => one?,
            };
            is_known = true;
            all.offset_table.extend(one.offset_table);
            all.consume_tps += one.consume_tps;
        }
        if let (false, Some(error)) = (is_known, unknown) {
            return Err(error);
        }
        self.logical_progress(&mut all).await?;
        Ok(all)
    }

    /// The same at one broker, with the numbers and offsets that its queues have there.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn consume_stats_at(
        &self,
        address: &str,
        group: &str,
        topic: Option<&str>,
    ) -> Result<ConsumeStats, Error> {
        let fields = Fields::new().text("consumerGroup", group).maybe("topic", topic);
        self.get(address, request::GET_CONSUME_STATS, fields).await
    }

    /// How far all groups of one broker have come; `ordered` for order topics alone.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn broker_consume_stats(
        &self,
        address: &str,
        ordered: bool,
    ) -> Result<ConsumeStatsList, Error> {
        self.get(address, request::GET_BROKER_CONSUME_STATS, Fields::new().flag("isOrder", ordered)).await
    }

    /// When a group reads what was written to a topic, queue by queue.
    ///
    /// # Errors
    /// When a broker does not answer or refuses.
    pub async fn consume_time_span(&self, topic: &str, group: &str) -> Result<Vec<QueueTimeSpan>, Error> {
        let mut spans = Vec::new();
        for address in self.fresh_route(topic).await?.addresses() {
            let fields = Fields::new().text("topic", topic).text("group", group);
            let one: QueueTimeSpans = self.get(address, request::QUERY_CONSUME_TIME_SPAN, fields).await?;
            spans.extend(one.consume_time_span_set);
        }
        Ok(spans)
    }

    /// Moves a group in a topic, at every broker; gives the new offsets.
    ///
    /// Brokers of 5.x move it themselves. Those of 4.9 tell the members, which must be online then; where nobody is,
    /// the offsets are written one by one. There, a group is moved forward only if `force` says so.
    ///
    /// # Errors
    /// When a broker of the topic has no master, and the group is moved nowhere. When a broker does not answer or
    /// refuses; brokers before it have moved the group.
    pub async fn reset_offsets(
        &self,
        group: &str,
        topic: &str,
        to: Moment,
        force: bool,
    ) -> Result<BTreeMap<MessageQueue, i64>, Error> {
        let mut moved = BTreeMap::new();
        for broker in self.brokers_to_move(topic).await? {
            moved.extend(self.reset_offsets_at(&broker, group, topic, to, force).await?);
        }
        Ok(moved)
    }

    /// Names of the brokers at which a group is moved in a topic, all of them with a master.
    ///
    /// # Errors
    /// When a broker of the topic has no master.
    pub async fn brokers_to_move(&self, topic: &str) -> Result<Vec<String>, Error> {
        let route = self.fresh_route(topic).await?;
        let names = route.brokers().iter().map(|broker| broker.broker_name.clone());
        let with_master = |name: String| match route.master(&name) {
            Some(_) => Ok(name),
            None => Err(Error::NoBroker { name }),
        };
        names.map(with_master).collect()
    }

    /// Moves a group in a topic at one broker, by its name; gives the new offsets.
    ///
    /// # Errors
    /// When the broker has no master, does not answer or refuses.
    pub async fn reset_offsets_at(
        &self,
        broker: &str,
        group: &str,
        topic: &str,
        to: Moment,
        force: bool,
    ) -> Result<BTreeMap<MessageQueue, i64>, Error> {
        let route = self.fresh_route(topic).await?;
        let address = route.master(broker).ok_or_else(|| Error::NoBroker { name: broker.to_owned() })?;
        let fields = Fields::new()
            .text("group", group)
            .text("topic", topic)
            .number("timestamp", to.timestamp())
            .flag("isForce", force);
        let code = request::INVOKE_BROKER_TO_RESET_OFFSET;
        match self.get::<ResetOffsetBody>(address, code, fields).await {
            Ok(body) => return Ok(body.offset_table.into_iter().collect()),
            Err(Error::Refused { code: response::CONSUMER_NOT_ONLINE, .. }) => (),
            Err(error) => return Err(error),
        }
        let mut moved = BTreeMap::new();
        for queue in route.queues_to_read().into_iter().filter(|queue| queue.broker_name == broker) {
            if let Some(offset) = self.reset_offline(group, &queue, to, force).await? {
                moved.insert(queue, offset);
            }
        }
        Ok(moved)
    }

    async fn reset_offline(
        &self,
        group: &str,
        queue: &MessageQueue,
        to: Moment,
        force: bool,
    ) -> Result<Option<i64>, Error> {
        let target = match to {
            Moment::Latest => self.max_offset(queue).await?,
            Moment::Earliest => self.min_offset(queue).await?,
            Moment::AtMs(at) => self.offset_at(queue, at).await?,
        };
        let present = self.shared.committed(group, queue).await?;
        if !force && present.is_some_and(|present| present <= target) {
            return Ok(None);
        }
        self.shared.commit(group, queue, target).await?;
        Ok(Some(target))
    }

    /// Moves a group in one queue of one broker, whose members hear of it if the broker is of 5.x.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn reset_queue_offset(
        &self,
        address: &str,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), Error> {
        let fields = Fields::new()
            .text("group", group)
            .text("topic", queue.topic.as_str())
            .number("queueId", queue.queue_id)
            .number("offset", offset)
            .number("timestamp", 0)
            .flag("isForce", false);
        // The request that is checked goes first: what it is refused for must not have been done by the other one.
        match self.ask(address, request::INVOKE_BROKER_TO_RESET_OFFSET, fields).await {
            Err(Error::Refused { code, .. }) if moves_no_queue(code) => (),
            done => return done,
        }
        let fields = Fields::new()
            .text("consumerGroup", group)
            .text("topic", queue.topic.as_str())
            .number("queueId", queue.queue_id)
            .number("commitOffset", offset);
        self.ask(address, request::UPDATE_CONSUMER_OFFSET, fields).await
    }

    /// The first message of a queue of one broker that was stored at a time or later, Unix milliseconds.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn offset_at_broker(
        &self,
        address: &str,
        queue: &MessageQueue,
        at_ms: i64,
    ) -> Result<i64, Error> {
        let fields = Fields::new()
            .text("topic", queue.topic.as_str())
            .number("queueId", queue.queue_id)
            .number("timestamp", at_ms);
        let answer = self.shared.ask(address, request::SEARCH_OFFSET_BY_TIMESTAMP, &fields, &[]).await?;
        crate::shared::number(address, &answer, "offset")
    }

    /// Where a group is in one queue, if it has been there.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn committed(&self, group: &str, queue: &MessageQueue) -> Result<Option<i64>, Error> {
        self.shared.committed(group, queue).await
    }

    /// Moves a group in one queue. Members that are online do not hear of it, and write down their own offsets later.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn commit(&self, group: &str, queue: &MessageQueue, offset: i64) -> Result<(), Error> {
        self.shared.commit(group, queue, offset).await
    }

    /// Gives one group the offsets of another, in one topic or in all.
    ///
    /// # Errors
    /// When a broker does not answer or refuses.
    pub async fn clone_offsets(&self, from: &str, to: &str, topic: Option<&str>) -> Result<(), Error> {
        for address in self.brokers_of_group(from).await? {
            let fields = Fields::new()
                .text("srcGroup", from)
                .text("destGroup", to)
                .maybe("topic", topic)
                .flag("offline", false);
            self.ask(&address, request::CLONE_GROUP_OFFSET, fields).await?;
        }
        Ok(())
    }

    /// The oldest message of a queue.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, Error> {
        self.shared.offset(queue, request::GET_MIN_OFFSET, |fields| fields).await
    }

    /// One behind the newest message of a queue.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, Error> {
        self.shared.offset(queue, request::GET_MAX_OFFSET, |fields| fields).await
    }

    /// The first message of a queue stored at a time or later, Unix milliseconds.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn offset_at(&self, queue: &MessageQueue, at_ms: i64) -> Result<i64, Error> {
        let at = |fields: Fields<'static>| fields.number("timestamp", at_ms);
        self.shared.offset(queue, request::SEARCH_OFFSET_BY_TIMESTAMP, at).await
    }
}

/// Whether a broker says that it knows no such group, or nothing of it.
fn is_of_no_group(error: &Error) -> bool {
    let absences = [response::SUBSCRIPTION_GROUP_NOT_EXIST, response::CONSUMER_NOT_ONLINE];
    error.broker_code().is_some_and(|code| absences.contains(&code))
}

/// Whether a broker says that it moves no single queue, as those do that know no such request or leave it to members.
fn moves_no_queue(code: i32) -> bool {
    [response::REQUEST_CODE_NOT_SUPPORTED, response::CONSUMER_NOT_ONLINE].contains(&code)
}
