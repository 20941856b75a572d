//! Creating, changing, deleting and listing consumer groups (200, 225, 201, 352, 207, 353).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use wire::body::SubscriptionGroupConfig;
use wire::code::response;
use wire::names;

use crate::Broker;
use crate::attributes;
use crate::broadcast;
use crate::exchange::{Exchange, Outcome, Refusal, Reply, answer_later};
use crate::offset_requests::check_not_own;
use crate::pull::no_group;
use crate::topics::QUEUES_MAX;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupConfigList {
    group_config_list: Vec<SubscriptionGroupConfig>,
}

impl Broker {
    pub(crate) fn update_group(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let config: SubscriptionGroupConfig = exchange.body()?;
        self.ok_when_done(exchange, |broker| broker.store_groups(vec![config]))
    }

    pub(crate) fn update_groups(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let list: GroupConfigList = exchange.body()?;
        self.ok_when_done(exchange, |broker| broker.store_groups(list.group_config_list))
    }

    fn store_groups(&self, mut configs: Vec<SubscriptionGroupConfig>) -> Outcome {
        let _claim = self.groups.claims.take(configs.iter().map(|config| config.group_name.clone()));
        for config in &mut configs {
            names::check_group(&config.group_name)
                .map_err(|error| Refusal::new(response::INVALID_PARAMETER, error.to_string()))?;
            // So many queues gets the group's retry topic.
            let queues = config.retry_queue_nums;
            if !(0..=QUEUES_MAX).contains(&queues) {
                let remark = format!("retryQueueNums is {queues}, it must be 0 to {QUEUES_MAX}");
                return Err(Refusal::new(response::INVALID_PARAMETER, remark));
            }
            let edits = std::mem::take(&mut config.attributes);
            let edits = edits.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            let old = self.groups.get(&config.group_name);
            let old = old.as_ref().map(|group| &group.attributes);
            config.attributes = attributes::edit(attributes::OF_GROUPS, old, edits)?;
        }
        Ok(self.groups.update(configs, self.now_ms())?)
    }

    pub(crate) fn all_groups(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let mut body = self.groups.body();
        let total = body.subscription_group_table.len();
        if let Some(first) = exchange.request.header.fields.number::<usize>("groupSeq") {
            let count = exchange.number_or("maxGroupNum", usize::MAX).min(2000);
            let table = std::mem::take(&mut body.subscription_group_table);
            body.subscription_group_table = table.into_iter().skip(first).take(count).collect();
        }
        let body = serde_json::to_vec(&body).map_err(Refusal::system)?;
        exchange.answer(response::SUCCESS, None, |mut writer| {
            writer.number("totalGroupNum", total);
            writer.body(&body);
        })
    }

    pub(crate) fn group_config(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let name = exchange.text("group")?;
        if let Some(group) = self.groups.get(name) {
            return exchange.ok_json(&*group);
        }
        let (broker, name) = (Arc::clone(self), name.to_owned());
        answer_later(exchange, async move {
            let group = broker.aside(move |broker| {
                let made = broker.groups.find_or_create(&name, &broker.settings.load(), broker.now_ms())?;
                made.ok_or_else(|| no_group(&name))
            });
            let group = group.await?;
            Ok(move |mut reply: Reply<'_>| reply.ok_json(&*group))
        })
    }

    pub(crate) fn delete_group(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let name = exchange.text("groupName")?.to_owned();
        check_not_own(&name)?;
        // 4.9 tools say removeOffset, 5.x cleanOffset (wire.md §16).
        let with_offsets = exchange.flag("cleanOffset") || exchange.flag("removeOffset");
        self.ok_when_done(exchange, move |broker| {
            let _claim = broker.groups.claims.take([name.clone()]);
            broker.groups.remove(&name, broker.now_ms())?;
            broker.pop.orders.remove_group(&name);
            broker.stats.forget_group(&name);
            if !with_offsets {
                return Ok(());
            }
            // First what may become an offset.
            broker.broadcast.remove_group(&name);
            broker.offsets.remove_group(&name);
            broker.offsets.remove_group(&broadcast::committed_group(&name));
            // Else a group of this name could come back after a kill with offsets of the one before.
            Ok(broker.save_offsets()?)
        })
    }

    pub(crate) fn group_forbidden(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let (group, topic) = (exchange.text("group")?.to_owned(), exchange.text("topic")?.to_owned());
        let wanted = exchange.request.header.fields.flag("readable");
        let broker = Arc::clone(self);
        answer_later(exchange, async move {
            let body = broker.aside(move |broker| {
                let readable = broker.groups.set_readable(&group, &topic, wanted, broker.now_ms())?;
                Ok(json!({"group": group, "readable": readable, "topic": topic}))
            });
            let body = body.await?;
            Ok(move |mut reply: Reply<'_>| reply.ok_json(&body))
        })
    }
}
