//! Membership: heartbeats, leaving, member lists, queue locks (34, 35, 38, 41, 42, 46; broker.md §13).

use std::io;
use std::sync::Arc;

use remoting::Channel;
use serde::Deserialize;
use wire::body::{ConsumerData, ConsumerIdList, HeartbeatData, LockBatch, LockedQueues, SubscriptionData};
use wire::code::response;
use wire::names;

use crate::Broker;
use crate::clients::{self, Member};
use crate::exchange::{Exchange, Outcome, Refusal, Reply, answer_later};
use crate::filter::is_tag_type;
use crate::topics::SYS_FLAG_UNIT_SUB;

/// Body of 46; the names of client and group do not matter.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CheckClientBody {
    subscription_data: Option<SubscriptionData>,
}

fn answer_heartbeat(reply: &mut Reply<'_>, subscription_changed: bool) -> Outcome {
    reply.answer(response::SUCCESS, None, |mut writer| {
        writer.field("IS_SUB_CHANGE", if subscription_changed { "true" } else { "false" });
        writer.field("IS_SUPPORT_HEART_BEAT_V2", "true");
        writer.empty();
    })
}

impl Broker {
    pub(crate) fn heartbeat(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let data: HeartbeatData = exchange.body()?;
        let header = &exchange.request.header;
        let member = Member {
            channel: exchange.channel.clone(),
            client_id: data.client_id.clone(),
            language: header.language,
            version: header.version,
            last_heartbeat_ms: self.now_ms(),
            heard: self.clock.monotonic(),
        };
        if !data.consumer_data_set.iter().any(|consumer| self.is_new(consumer)) {
            let subscription_changed = self.hear(&member, &data)?;
            return answer_heartbeat(&mut exchange.reply(), subscription_changed);
        }
        let broker = Arc::clone(self);
        answer_later(exchange, async move {
            let subscription_changed = broker.aside(move |broker| {
                let heard = broker.hear(&member, &data);
                if !member.channel.is_open() {
                    // It may have been taken off the lists before it came onto them.
                    broker.channel_closed(&member.channel);
                }
                heard
            });
            let subscription_changed = subscription_changed.await?;
            Ok(move |mut reply: Reply<'_>| answer_heartbeat(&mut reply, subscription_changed))
        })
    }

    /// Whether a group or its retry topic has to be created, which takes the disk its time.
    fn is_new(&self, consumer: &ConsumerData) -> bool {
        let name = &consumer.group_name;
        match self.groups.get(name) {
            Some(_) => !self.topics.has(&names::retry_topic(name)),
            None => self.groups.may_create(name, &self.settings.load()),
        }
    }

    /// Registers a client in all of its groups; true if it has to send its subscriptions, or has changed them.
    fn hear(&self, member: &Member, data: &HeartbeatData) -> Result<bool, Refusal> {
        let mut subscription_changed = data.heartbeat_fingerprint == 0;
        let mut failed = None;
        for consumer in &data.consumer_data_set {
            match self.hear_of_consumer(member, consumer, data) {
                Ok(changed) => subscription_changed |= changed,
                // The client is alive all the same, and stays in its other groups only if they hear of it.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        for producer in &data.producer_data_set {
            self.clients.register_producer(&producer.group_name, member.clone());
        }
        self.registration.clients_changed.notify_one();
        failed.map_or(Ok(subscription_changed), |error| Err(error.into()))
    }

    /// Registers a client as a member of one of its groups, which is created if need be; true if the client has to send
    /// its subscriptions, or has changed them.
    fn hear_of_consumer(
        &self,
        member: &Member,
        consumer: &ConsumerData,
        data: &HeartbeatData,
    ) -> io::Result<bool> {
        let settings = self.settings.load();
        if settings.reject_pull_consumer_enable && consumer.consume_type == clients::PULLED {
            return Ok(false);
        }
        let group = self.groups.find_or_create(&consumer.group_name, &settings, self.now_ms())?;
        let Some(group) = group else { return Ok(false) };
        let sys_flag = if consumer.unit_mode { SYS_FLAG_UNIT_SUB } else { 0 };
        let retry = names::retry_topic(&consumer.group_name);
        self.topics.ensure(&retry, group.retry_queue_nums, sys_flag, self.now_ms())?;
        let light = data.without_sub && data.heartbeat_fingerprint != 0;
        let registered =
            self.clients.register_consumer(member.clone(), consumer, data.heartbeat_fingerprint, light);
        if !light {
            let now = || self.now_ms().max(self.store.last_timestamp());
            self.filters.register(&consumer.group_name, &consumer.subscription_data_set, now);
        }
        let told = settings.notify_consumer_ids_changed_enable && group.notify_consumer_ids_changed_enable;
        if registered.changed && told {
            self.clients.notify_members(&consumer.group_name);
        }
        Ok(registered.subscription_changed)
    }

    pub(crate) fn unregister_client(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let channel = exchange.channel.id();
        if let Some(group) = exchange.request.field("producerGroup").filter(|group| !group.is_empty()) {
            self.clients.unregister_producer(group, channel);
        }
        if let Some(group) = exchange.request.field("consumerGroup").filter(|group| !group.is_empty())
            && self.clients.unregister_consumer(group, channel)
        {
            self.member_left(group);
        }
        exchange.ok()
    }

    /// The connection is gone, and with it the client.
    pub(crate) fn channel_closed(&self, channel: &Channel) {
        self.hold.channel_closed();
        for group in self.clients.channel_closed(channel.id()) {
            self.member_left(&group);
        }
    }

    fn member_left(&self, group: &str) {
        if self.clients.with_consumer_group(group, |group| group.is_none()) {
            self.filters.unregister(group, self.now_ms());
        }
        self.tell_members(group);
    }

    fn tell_members(&self, group: &str) {
        let wanted = self.groups.get(group).is_none_or(|group| group.notify_consumer_ids_changed_enable);
        if wanted && self.settings.load().notify_consumer_ids_changed_enable {
            self.clients.notify_members(group);
        }
    }

    pub(crate) fn consumer_list(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let group = exchange.text("consumerGroup")?;
        let consumer_id_list = self.clients.consumer_ids(group);
        if consumer_id_list.is_empty() {
            return Err(Refusal::system(format!("no consumer for this group, {group}")));
        }
        exchange.ok_json(&ConsumerIdList { consumer_id_list })
    }

    pub(crate) fn lock_queues(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let wanted: LockBatch = exchange.body()?;
        let now = self.clock.monotonic();
        let locked = self.locks.lock(&wanted.consumer_group, &wanted.client_id, wanted.mq_set, now);
        exchange.ok_json(&LockedQueues { locked })
    }

    pub(crate) fn unlock_queues(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let unwanted: LockBatch = exchange.body()?;
        self.locks.unlock(&unwanted.consumer_group, &unwanted.client_id, &unwanted.mq_set);
        exchange.ok()
    }

    /// Asked by consumers with filters other than tags before they start.
    pub(crate) fn check_client_config(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        if exchange.request.body.is_empty() {
            return exchange.ok();
        }
        let body: CheckClientBody = exchange.body()?;
        let Some(data) = body.subscription_data.filter(|data| !is_tag_type(&data.expression_type)) else {
            return exchange.ok();
        };
        self.check_property_filter(&data.expression_type)?;
        self.filters
            .of_request(Some(&data.sub_string), Some(&data.expression_type))
            .map_err(|error| Refusal::new(response::SUBSCRIPTION_PARSE_FAILED, error.to_string()))?;
        exchange.ok()
    }
}
