//! Creating, changing, deleting and listing consumer groups (200, 225, 201, 352, 207, 353).

use serde::Deserialize;
use serde_json::json;
use wire::body::SubscriptionGroupConfig;
use wire::code::response;
use wire::names;

use crate::Broker;
use crate::attributes;
use crate::broadcast;
use crate::exchange::{Exchange, Outcome, Refusal};
use crate::offset_requests::check_not_own;
use crate::pull::no_group;
use crate::topics::QUEUES_MAX;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupConfigList {
    group_config_list: Vec<SubscriptionGroupConfig>,
}

impl Broker {
    pub(crate) fn update_group(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let config: SubscriptionGroupConfig = exchange.body()?;
        self.store_groups(exchange, vec![config])
    }

    pub(crate) fn update_groups(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let list: GroupConfigList = exchange.body()?;
        self.store_groups(exchange, list.group_config_list)
    }

    fn store_groups(
        &self,
        exchange: &mut Exchange<'_, '_>,
        mut configs: Vec<SubscriptionGroupConfig>,
    ) -> Outcome {
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
        self.groups.update(configs, self.now_ms())?;
        exchange.ok()
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

    pub(crate) fn group_config(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let name = exchange.text("group")?;
        let group = self.groups.find_or_create(name, &self.settings.load(), self.now_ms())?;
        exchange.ok_json(&*group.ok_or_else(|| no_group(name))?)
    }

    pub(crate) fn delete_group(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let name = exchange.text("groupName")?;
        check_not_own(name)?;
        self.groups.remove(name, self.now_ms())?;
        self.pop.orders.remove_group(name);
        self.stats.forget_group(name);
        // 4.9 tools say removeOffset, 5.x cleanOffset (wire.md §16).
        if !exchange.flag("cleanOffset") && !exchange.flag("removeOffset") {
            return exchange.ok();
        }
        // First what may become an offset.
        self.broadcast.remove_group(name);
        self.offsets.remove_group(name);
        self.offsets.remove_group(&broadcast::committed_group(name));
        self.answer_from_disk(exchange, |broker, reply| {
            // Else a group of this name could come back after a kill with offsets of the one before.
            broker.save_offsets()?;
            reply.ok()
        })
    }

    pub(crate) fn group_forbidden(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let (group, topic) = (exchange.text("group")?, exchange.text("topic")?);
        let wanted = exchange.request.header.fields.flag("readable");
        let readable = self.groups.set_readable(group, topic, wanted, self.now_ms())?;
        let body = json!({"group": group, "readable": readable, "topic": topic});
        exchange.ok_json(&body)
    }
}
