//! Who is connected (203, 204, 328; broker.md §18).

use std::collections::BTreeMap;

use serde::Serialize;
use wire::body::SubscriptionData;
use wire::code::response;

use crate::Broker;
use crate::clients::{ConsumerGroup, Member};
use crate::exchange::{Exchange, Outcome, Refusal};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connection<'a> {
    client_addr: String,
    client_id: &'a str,
    language: &'static str,
    version: i32,
}

impl<'a> Connection<'a> {
    fn of(member: &'a Member) -> Connection<'a> {
        Connection {
            client_addr: member.channel.peer().to_string(),
            client_id: &member.client_id,
            language: member.language.name(),
            version: member.version,
        }
    }

    fn all(members: impl IntoIterator<Item = &'a Member>) -> Vec<Connection<'a>> {
        let mut connections: Vec<_> = members.into_iter().map(Connection::of).collect();
        connections.sort_by(|a, b| (a.client_id, &a.client_addr).cmp(&(b.client_id, &b.client_addr)));
        connections
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConsumerConnection<'a> {
    connection_set: Vec<Connection<'a>>,
    consume_from_where: &'a str,
    consume_type: &'a str,
    message_model: &'a str,
    subscription_table: BTreeMap<&'a str, &'a SubscriptionData>,
}

impl<'a> ConsumerConnection<'a> {
    fn of(group: &'a ConsumerGroup) -> ConsumerConnection<'a> {
        let subscriptions = group.subscriptions.iter();
        ConsumerConnection {
            connection_set: Connection::all(group.members.values()),
            consume_from_where: &group.consume_from_where,
            consume_type: &group.consume_type,
            message_model: &group.message_model,
            subscription_table: subscriptions.map(|(topic, one)| (topic.as_str(), &one.data)).collect(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProducerConnection<'a> {
    connection_set: Vec<Connection<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProducerInfo {
    client_id: String,
    language: &'static str,
    last_update_timestamp: i64,
    #[serde(rename = "remoteIP")]
    remote_ip: String,
    version: i32,
}

#[derive(Serialize)]
struct ProducerTable {
    data: BTreeMap<String, Vec<ProducerInfo>>,
}

impl Broker {
    pub(super) fn consumer_connections(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let name = exchange.text("consumerGroup")?;
        let Some(group) = self.clients.consumer_group(name) else {
            let remark = format!("the consumer group[{name}] not online");
            return Err(Refusal::new(response::CONSUMER_NOT_ONLINE, remark));
        };
        exchange.ok_json(&ConsumerConnection::of(&group))
    }

    pub(super) fn producer_connections(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let name = exchange.text("producerGroup")?;
        let members = self.clients.producers(name);
        if members.is_empty() {
            return Err(Refusal::system(format!("the producer group[{name}] not exist")));
        }
        exchange.ok_json(&ProducerConnection { connection_set: Connection::all(&members) })
    }

    pub(super) fn all_producers(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let info = |member: Member| ProducerInfo {
            // Java's text of a socket address begins with a slash.
            remote_ip: format!("/{}", member.channel.peer()),
            client_id: member.client_id,
            language: member.language.name(),
            last_update_timestamp: member.last_heartbeat_ms,
            version: member.version,
        };
        let groups = self.clients.all_producers().into_iter();
        let data = groups.map(|(name, members)| (name, members.into_iter().map(info).collect())).collect();
        exchange.ok_json(&ProducerTable { data })
    }
}
