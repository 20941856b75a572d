//! Consumer groups and who is connected.

use serde_json::Value;
use thrustmq_client::{ConsumerConnection, Error, ProducerInfo, RequestMode, SubscriptionGroupConfig};
use wire::code::response;
use wire::names::{dlq_topic, retry_topic};

use super::call::{Call, Failure};
use super::command::Command;
use super::java;
use super::line::{flag, one_of, required};
use super::topic::{attributes, read_list};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "updateSubGroup",
        about: "Create a consumer group, or replace its settings.",
        flags: &[
            flag("b", "brokerAddr", "the broker that gets it"),
            flag("c", "clusterName", "the cluster whose masters get it"),
            required("g", "groupName", "name of the group"),
            flag("s", "consumeEnable", "whether it may consume: true or false"),
            flag("m", "consumeFromMinEnable", "whether it may begin at the oldest message: true or false"),
            flag("d", "consumeBroadcastEnable", "whether it may broadcast: true or false"),
            flag("o", "consumeMessageOrderly", "whether it consumes in order: true or false"),
            flag("q", "retryQueueNums", "queues of its retry topic [default: 1]"),
            flag("r", "retryMaxTimes", "failures before a dead letter [default: 16]"),
            flag("p", "groupRetryPolicy", "when failed messages come again, as JSON"),
            flag("i", "brokerId", "broker to read from"),
            flag("w", "whichBrokerWhenConsumeSlowly", "broker to read from when far behind"),
            flag("a", "notifyConsumerIdsChanged", "whether members hear of others: true or false"),
            flag("", "attributes", "attributes to add and remove: +a=b,+c=d,-e"),
        ],
        differs: "",
        run: |call| Box::pin(update(call)),
    },
    Command {
        name: "updateSubGroupList",
        about: "Create or replace consumer groups from a file.",
        flags: &[
            one_of("b", "brokerAddr", "the broker that gets them"),
            one_of("c", "clusterName", "the cluster whose masters get them"),
            required("f", "filename", "a JSON list of SubscriptionGroupConfig"),
        ],
        differs: "with `-c` the official tool prints its usage behind its success; this one does not",
        run: |call| Box::pin(update_list(call)),
    },
    Command {
        name: "setConsumeMode",
        about: "Say whether a group pulls or pops a topic.",
        flags: &[
            flag("b", "brokerAddr", "the broker to say it to"),
            flag("c", "clusterName", "the cluster to say it to"),
            required("t", "topicName", "name of the topic"),
            required("g", "groupName", "name of the group"),
            required("m", "mode", "PULL or POP"),
            flag("q", "popShareQueueNum", "further members that pop a queue; 0 for all [default: 0]"),
        ],
        differs: "",
        run: |call| Box::pin(mode(call)),
    },
    Command {
        name: "deleteSubGroup",
        about: "Delete a consumer group.",
        flags: &[
            flag("b", "brokerAddr", "the broker to delete it at"),
            flag("c", "clusterName", "the cluster to delete it in, with its retry and dead letter topics"),
            required("g", "groupName", "name of the group"),
            flag("r", "removeOffset", "whether its offsets go too: true or false [default: false]"),
        ],
        differs: "",
        run: |call| Box::pin(delete(call)),
    },
    Command {
        name: "getConsumerConfig",
        about: "Show settings of a consumer group.",
        flags: &[required("g", "groupName", "name of the group")],
        differs: "",
        run: |call| Box::pin(config(call)),
    },
    Command {
        name: "consumerConnection",
        about: "Show members of a consumer group and what they read.",
        flags: &[
            required("g", "consumerGroup", "name of the group"),
            flag("b", "brokerAddr", "the broker to ask"),
        ],
        differs: "members are sorted; the first broker of the group that has members answers, not any one",
        run: |call| Box::pin(consumers(call)),
    },
    Command {
        name: "producerConnection",
        about: "Show producers of a group.",
        flags: &[
            required("g", "producerGroup", "name of the group"),
            required("t", "topic", "a topic that they send to"),
        ],
        differs: "sorted, and of all brokers of the topic, not of any one",
        run: |call| Box::pin(producers(call)),
    },
    Command {
        name: "producer",
        about: "Show all producers of a broker.",
        flags: &[required("b", "broker", "address of the broker")],
        differs: "sorted by group",
        run: |call| Box::pin(all_producers(call)),
    },
];

async fn update(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    let mut config = SubscriptionGroupConfig::new(line.text("g"));
    config.consume_enable = line.truth("s").unwrap_or(true);
    config.consume_from_min_enable = line.truth("m").unwrap_or(false);
    config.consume_broadcast_enable = line.truth("d").unwrap_or(false);
    config.consume_message_orderly = line.truth("o").unwrap_or(false);
    config.retry_queue_nums = line.number("q")?.unwrap_or(1);
    config.retry_max_times = line.number("r")?.unwrap_or(16);
    config.broker_id = line.number("i")?.unwrap_or(0);
    config.which_broker_when_consume_slowly = line.number("w")?.unwrap_or(1);
    config.notify_consumer_ids_changed_enable = line.truth("a").unwrap_or(true);
    if let Some(policy) = line.value("p") {
        config.group_retry_policy = serde_json::from_str(policy)
            .map_err(|error| Failure::Usage(format!("-p wants JSON, and \"{policy}\" is none: {error}")))?;
    }
    let changes = attributes(line.value("attributes").unwrap_or_default())?;
    // Groups take changes of attributes with their signs, where topics take them as one text.
    config.attributes = changes.into_iter().collect();
    let addresses = call.masters().await?;
    let done = call
        .each(&addresses, |address| {
            let config = &config;
            async move {
                call.admin.update_group(&address, config).await?;
                call.say(&format!("create subscription group to {address} success.\n"))
            }
        })
        .await;
    match done {
        Ok(()) | Err(Failure::Partly { .. }) => call.say(&group_config(&config)).and(done),
        Err(failure) => Err(failure),
    }
}

/// Fields of a group in the order of Java's class, with their values as Java prints them.
fn group_fields(config: &SubscriptionGroupConfig) -> [(&'static str, String); 15] {
    let attributes = config.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let subscriptions = config.subscription_data_set.as_ref().map_or("null".to_owned(), Value::to_string);
    [
        ("groupName", config.group_name.clone()),
        ("consumeEnable", config.consume_enable.to_string()),
        ("consumeFromMinEnable", config.consume_from_min_enable.to_string()),
        ("consumeBroadcastEnable", config.consume_broadcast_enable.to_string()),
        ("consumeMessageOrderly", config.consume_message_orderly.to_string()),
        ("retryQueueNums", config.retry_queue_nums.to_string()),
        ("retryMaxTimes", config.retry_max_times.to_string()),
        ("groupRetryPolicy", retry_policy(&config.group_retry_policy)),
        ("brokerId", config.broker_id.to_string()),
        ("whichBrokerWhenConsumeSlowly", config.which_broker_when_consume_slowly.to_string()),
        ("notifyConsumerIdsChangedEnable", config.notify_consumer_ids_changed_enable.to_string()),
        ("groupSysFlag", config.group_sys_flag.to_string()),
        ("consumeTimeoutMinute", config.consume_timeout_minute.to_string()),
        ("subscriptionDataSet", subscriptions),
        ("attributes", java::map(attributes)),
    ]
}

fn group_config(config: &SubscriptionGroupConfig) -> String {
    let fields = group_fields(config).map(|(name, value)| format!("{name}={value}"));
    format!("SubscriptionGroupConfig{{{}}}", fields.join(", "))
}

/// `GroupRetryPolicy{type=…, exponentialRetryPolicy=…, customizedRetryPolicy=…}`.
fn retry_policy(policy: &Value) -> String {
    let part = |name: &str, class: &str, fields: &[&str]| match policy.get(name) {
        Some(Value::Object(own)) => {
            let told = fields.iter().filter_map(|field| Some((field, own.get(*field)?)));
            let told: Vec<String> = told.map(|(field, value)| format!("{field}={}", listed(value))).collect();
            format!("{class}{{{}}}", told.join(", "))
        }
        _ => "null".to_owned(),
    };
    format!(
        "GroupRetryPolicy{{type={}, exponentialRetryPolicy={}, customizedRetryPolicy={}}}",
        policy.get("type").and_then(Value::as_str).unwrap_or("CUSTOMIZED"),
        part("exponentialRetryPolicy", "ExponentialRetryPolicy", &["initial", "max", "multiplier"]),
        part("customizedRetryPolicy", "CustomizedRetryPolicy", &["next"]),
    )
}

fn listed(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(Value::to_string).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

async fn update_list(call: &Call) -> Result<(), Failure> {
    let path = call.line.text("f");
    let Some(configs) = read_list::<SubscriptionGroupConfig>(path, wire::loose_json::read)? else {
        return Ok(());
    };
    // The official tool says one word less for a single broker.
    let what = if call.line.has("b") { "group" } else { "subscription group" };
    let addresses = call.masters().await?;
    call.each(&addresses, |address| {
        let configs = &configs;
        async move {
            call.admin.update_groups(&address, configs).await?;
            call.say(&format!(
                "submit batch of {what} config to {address} success, please check the result later.\n"
            ))
        }
    })
    .await
}

async fn mode(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    let (topic, group, name) = (line.text("t"), line.text("g"), line.text("m"));
    let share: u32 = line.number("q")?.unwrap_or(0);
    let mode = match name {
        "PULL" => RequestMode::Pull,
        "POP" => RequestMode::Pop { share },
        _ => return Err(Failure::Usage(format!("-m wants PULL or POP, not \"{name}\""))),
    };
    let addresses = call.masters().await?;
    call.each(&addresses, |address| async move {
        call.admin.set_request_mode_at(&address, topic, group, mode).await?;
        call.say(&format!("set consume mode to {address} success.\n"))
    })
    .await?;
    call.say(&format!("topic[{topic}] group[{group}] consume mode[{name}] popShareQueueNum[{share}]"))
}

async fn delete(call: &Call) -> Result<(), Failure> {
    let group = call.line.text("g");
    let offsets = call.line.truth("r").unwrap_or(false);
    let cluster = call.line.value("c").filter(|_| !call.line.has("b"));
    let place = cluster.map(|cluster| format!(" in cluster [{cluster}]")).unwrap_or_default();
    let place = &place;
    let mut done = call
        .each(&call.masters().await?, |address| async move {
            call.admin.delete_group_at(&address, group, offsets).await?;
            call.say(&format!(
                "delete subscription group [{group}] from broker [{address}]{place} success.\n"
            ))
        })
        .await;
    if let (Some(cluster), Ok(()) | Err(Failure::Partly { .. })) = (cluster, &done) {
        let brokers = call.admin.brokers(cluster).await?;
        for topic in [retry_topic(group), dlq_topic(group)] {
            let [deleted, forgotten] = call.delete_topic(cluster, &topic, &brokers).await?;
            done = done.and(deleted).and(forgotten);
        }
    }
    done
}

async fn config(call: &Call) -> Result<(), Failure> {
    let cluster = call.cluster().await?;
    let mut found = false;
    for (broker, data) in &cluster.0.broker_addr_table {
        let Some(address) = data.broker_addrs.values().next() else { continue };
        let config = match call.admin.group_config(address, call.line.text("g")).await {
            Err(Error::Refused { code: response::SUBSCRIPTION_GROUP_NOT_EXIST, .. }) => continue,
            other => other?,
        };
        found = true;
        let rule = "=============================";
        let mut text = format!("{rule}{}:{broker}{rule}\n", cluster.of_broker(broker).unwrap_or("null"));
        for (name, value) in group_fields(&config) {
            let value = if value == "null" { "" } else { &value };
            text += &format!("{name:<40}=  {value}\n");
        }
        call.say(&text)?;
    }
    let absent = || Failure::NotThere(format!("no broker has group \"{}\"", call.line.text("g")));
    found.then_some(()).ok_or_else(absent)
}

/// Members of a group, from the broker that is named or the first of the group's that has any.
pub async fn members(call: &Call, group: &str, broker: Option<&str>) -> Result<ConsumerConnection, Failure> {
    let addresses = match broker {
        Some(address) => vec![address.to_owned()],
        None => {
            let route = call.admin.topic_route(&retry_topic(group)).await?;
            route.addresses().into_iter().map(str::to_owned).collect()
        }
    };
    let mut last = None;
    for address in addresses {
        match call.admin.consumers_at(&address, group).await {
            Ok(mut found) if !found.connection_set.is_empty() => {
                found.connection_set.sort_by(|a, b| a.client_id.cmp(&b.client_id));
                return Ok(found);
            }
            Ok(_) => (),
            Err(error) => last = Some(error),
        }
    }
    let nobody = || Failure::NotThere("CODE: 206  DESC: Not found the consumer group connection".to_owned());
    Err(last.map_or_else(nobody, Failure::Client))
}

async fn consumers(call: &Call) -> Result<(), Failure> {
    let found = members(call, call.line.text("g"), call.line.value("b")).await?;
    call.say(&connections(&found))
}

fn connections(found: &ConsumerConnection) -> String {
    let mut text = format!("{:<36} {:<22} {:<10} #Version\n", "#ClientId", "#ClientAddr", "#Language");
    for one in &found.connection_set {
        let version = java::version(one.version);
        text += &format!("{:<36} {:<22} {:<10} {version}\n", one.client_id, one.client_addr, one.language);
    }
    text += &format!("\nBelow is subscription:\n{:<20} #SubExpression\n", "#Topic");
    for data in found.subscription_table.values() {
        text += &format!("{:<20} {}\n", data.topic, data.sub_string);
    }
    text + &format!(
        "\nConsumeType: {}\nMessageModel: {}\nConsumeFromWhere: {}\n",
        found.consume_type, found.message_model, found.consume_from_where
    )
}

async fn producers(call: &Call) -> Result<(), Failure> {
    let (group, topic) = (call.line.text("g"), call.line.text("t"));
    let found = call.admin.producers(group, topic).await?;
    if found.connection_set.is_empty() {
        return Err(Failure::NotThere(format!("CODE: 1  DESC: the producer group[{group}] not exist")));
    }
    let rows = found.connection_set.iter().enumerate().map(|(at, one)| {
        let version = java::version(one.version);
        let (id, address, language) = (&one.client_id, &one.client_addr, &one.language);
        format!("{:04}  {id:<32} {address:<22} {language:<8} {version}\n", at + 1)
    });
    call.say(&rows.collect::<String>())
}

async fn all_producers(call: &Call) -> Result<(), Failure> {
    let groups = call.admin.all_producers(call.line.text("b")).await?;
    let mut text = String::new();
    for (group, members) in groups {
        if members.is_empty() {
            text += &format!("producer group ({group}) instances are empty\n");
        }
        for member in members {
            text += &format!("producer group ({group}) instance : {}\n", producer_info(&member));
        }
    }
    call.say(&text)
}

fn producer_info(info: &ProducerInfo) -> String {
    let ProducerInfo { client_id, remote_ip, language, version, last_update_timestamp, .. } = info;
    format!(
        "clientId={client_id},remoteIP={remote_ip}, language={language}, version={version}, \
         lastUpdateTimestamp={last_update_timestamp}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use thrustmq_client::{Connection, SubscriptionData};

    #[test]
    fn settings_of_a_group_stand_in_one_line() {
        let mut config = SubscriptionGroupConfig::new("readers");
        config.group_retry_policy = json!({
            "type": "EXPONENTIAL",
            "exponentialRetryPolicy": {"initial": 5000, "max": 7_200_000, "multiplier": 2},
        });
        assert_eq!(group_config(&config) + "\n", include_str!("layouts/updateSubGroup.txt"));
        let custom = json!({"type": "CUSTOMIZED", "customizedRetryPolicy": {"next": [1000, 5000]}});
        assert!(
            retry_policy(&custom)
                .ends_with("customizedRetryPolicy=CustomizedRetryPolicy{next=[1000, 5000]}}")
        );
    }

    #[test]
    fn members_stand_above_what_they_read() {
        let member = |id: &str| Connection {
            client_id: id.into(),
            client_addr: "10.0.0.7:40000".into(),
            language: "JAVA".into(),
            version: 513,
        };
        let data = SubscriptionData {
            topic: "orders".into(),
            sub_string: "*".into(),
            ..SubscriptionData::default()
        };
        let found = ConsumerConnection {
            connection_set: vec![member("10.0.0.7@1"), member("10.0.0.7@2")],
            consume_from_where: "CONSUME_FROM_LAST_OFFSET".into(),
            consume_type: "CONSUME_PASSIVELY".into(),
            message_model: "CLUSTERING".into(),
            subscription_table: [("orders".into(), data)].into(),
        };
        assert_eq!(connections(&found), include_str!("layouts/consumerConnection.txt"));
    }
}
