//! Where a topic lives: which queues can be written and read, and which broker holds them (client.md §1.5).

use std::collections::BTreeMap;

use wire::body::{
    BrokerData, MessageQueue, PERM_READ, PERM_WRITE, TopicQueueMappingInfo, TopicRoute, is_logical_broker,
};

/// Number of a master within its broker group.
pub(crate) const MASTER_ID: i64 = 0;
/// Queues that a topic gets which is created by sending to it.
pub(crate) const DEFAULT_TOPIC_QUEUES: i32 = 4;

/// A route as a name server gave it, with the questions that clients have.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    topic: String,
    raw: TopicRoute,
    /// It is that of the topic which new topics are created from.
    template: bool,
    /// Queues that producers may write.
    writable: Vec<MessageQueue>,
}

impl Route {
    pub(crate) fn new(topic: &str, raw: TopicRoute) -> Route {
        Route::made(topic, raw, false)
    }

    /// The route of a topic that nobody has yet, from that of the topic new ones are created from.
    pub(crate) fn of_template(topic: &str, mut raw: TopicRoute) -> Route {
        for queues in &mut raw.queue_datas {
            let count = queues.read_queue_nums.clamp(0, DEFAULT_TOPIC_QUEUES);
            queues.read_queue_nums = count;
            queues.write_queue_nums = count;
        }
        Route::made(topic, raw, true)
    }

    fn made(topic: &str, raw: TopicRoute, template: bool) -> Route {
        let mut route = Route { topic: topic.to_owned(), raw, template, writable: Vec::new() };
        route.writable = route.found_writable();
        route
    }

    pub(crate) fn is_template(&self) -> bool {
        self.template
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What the name server said.
    pub fn raw(&self) -> &TopicRoute {
        &self.raw
    }

    /// Brokers that have the topic.
    pub fn brokers(&self) -> &[BrokerData] {
        &self.raw.broker_datas
    }

    /// Queues that producers may write, in order of broker and number. A broker without a master has none.
    pub fn queues_to_write(&self) -> Vec<MessageQueue> {
        self.writable.clone()
    }

    /// The same, to look at.
    pub(crate) fn writable(&self) -> &[MessageQueue] {
        &self.writable
    }

    fn found_writable(&self) -> Vec<MessageQueue> {
        if let Some(order) = self.raw.order_topic_conf.as_deref().filter(|order| !order.trim().is_empty()) {
            return self.ordered(order);
        }
        self.queues(PERM_WRITE, |data| {
            let has_master = self.master(&data.broker_name).is_some();
            if has_master { data.write_queue_nums } else { 0 }
        })
    }

    /// Queues that consumers may read, in order of broker and number. Those of a static topic are logical ones, each at
    /// the broker that leads it now.
    pub fn queues_to_read(&self) -> Vec<MessageQueue> {
        self.queues(PERM_READ, |data| data.read_queue_nums)
    }

    /// A queue at the broker that leads it, if it is a logical one that brokers have assigned, whose broker's name is
    /// none of a broker; `None` if nobody leads it.
    pub(crate) fn at_leader(&self, queue: MessageQueue) -> Option<MessageQueue> {
        if !is_logical_broker(&queue.broker_name) {
            return Some(queue);
        }
        let leader = *leaders(self.raw.topic_queue_mapping_by_broker.as_ref()?).get(&queue.queue_id)?;
        Some(self.queue(leader, queue.queue_id))
    }

    /// Address of the master of a broker group.
    pub fn master(&self, broker_name: &str) -> Option<&str> {
        let broker = self.raw.broker_datas.iter().find(|broker| broker.broker_name == broker_name)?;
        broker.broker_addrs.get(&MASTER_ID).map(String::as_str)
    }

    /// Addresses of all masters.
    pub fn masters(&self) -> Vec<&str> {
        let brokers = self.raw.broker_datas.iter();
        brokers.filter_map(|broker| broker.broker_addrs.get(&MASTER_ID)).map(String::as_str).collect()
    }

    /// One address of every broker group, the master's where there is one.
    pub fn addresses(&self) -> Vec<&str> {
        let brokers = self.raw.broker_datas.iter();
        brokers.filter_map(|broker| broker.broker_addrs.values().next()).map(String::as_str).collect()
    }

    /// `broker:queues;broker:queues` of an order topic.
    fn ordered(&self, order: &str) -> Vec<MessageQueue> {
        let parts = order.split(';').filter_map(|part| part.split_once(':'));
        parts.flat_map(|(broker, count)| self.numbered(broker, count.trim().parse().unwrap_or(0))).collect()
    }

    fn queues(&self, perm: i32, count: impl Fn(&wire::body::QueueData) -> i32) -> Vec<MessageQueue> {
        let mut datas: Vec<_> = self.raw.queue_datas.iter().filter(|data| data.perm & perm != 0).collect();
        datas.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        if let Some(mappings) = &self.raw.topic_queue_mapping_by_broker {
            let leaders = leaders(mappings);
            let usable = datas.into_iter().filter(|data| count(data) > 0);
            return usable.flat_map(|data| self.led_by(&data.broker_name, &leaders)).collect();
        }
        datas.into_iter().flat_map(|data| self.numbered(&data.broker_name, count(data))).collect()
    }

    /// The logical queues that a broker leads, in order.
    fn led_by(&self, broker_name: &str, leaders: &BTreeMap<i32, &str>) -> Vec<MessageQueue> {
        let led = leaders.iter().filter(|(_, leader)| **leader == broker_name);
        led.map(|(id, _)| self.queue(broker_name, *id)).collect()
    }

    fn numbered(&self, broker_name: &str, count: i32) -> Vec<MessageQueue> {
        (0..count).map(|id| self.queue(broker_name, id)).collect()
    }

    fn queue(&self, broker_name: &str, queue_id: i32) -> MessageQueue {
        MessageQueue { topic: self.topic.clone(), broker_name: broker_name.to_owned(), queue_id }
    }
}

/// Who leads each logical queue of a static topic. Of two brokers that claim one the later epoch is right.
fn leaders(mappings: &BTreeMap<String, TopicQueueMappingInfo>) -> BTreeMap<i32, &str> {
    let mut infos: Vec<_> = mappings.values().collect();
    infos.sort_by_key(|info| info.epoch);
    let led = infos.into_iter().flat_map(|info| info.curr_id_map.keys().map(|id| (*id, info.bname.as_str())));
    led.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::body::QueueData;

    fn broker(name: &str, ids: &[i64]) -> BrokerData {
        let broker_addrs = ids.iter().map(|id| (*id, format!("{name}-{id}:1"))).collect();
        BrokerData { broker_name: name.into(), broker_addrs, cluster: "c".into(), ..BrokerData::default() }
    }

    fn queues(name: &str, perm: i32, read: i32, write: i32) -> QueueData {
        let broker_name = name.into();
        QueueData { broker_name, perm, read_queue_nums: read, write_queue_nums: write, topic_sys_flag: 0 }
    }

    fn names(queues: &[MessageQueue]) -> Vec<String> {
        queues.iter().map(|queue| format!("{}{}", queue.broker_name, queue.queue_id)).collect()
    }

    #[test]
    fn queues_are_those_that_permissions_and_masters_allow() {
        let raw = TopicRoute {
            broker_datas: vec![broker("b", &[0, 1]), broker("a", &[0]), broker("slave", &[1])],
            queue_datas: vec![queues("b", 6, 1, 2), queues("a", 4, 2, 2), queues("slave", 6, 1, 1)],
            ..TopicRoute::default()
        };
        let route = Route::new("T", raw.clone());
        assert_eq!(names(&route.queues_to_write()), ["b0", "b1"]);
        assert_eq!(names(&route.queues_to_read()), ["a0", "a1", "b0", "slave0"]);
        assert_eq!(route.masters(), ["b-0:1", "a-0:1"]);
        assert_eq!(route.addresses(), ["b-0:1", "a-0:1", "slave-1:1"]);
        let ordered = TopicRoute { order_topic_conf: Some("a:1;b:2".into()), ..raw };
        assert_eq!(names(&Route::new("T", ordered).queues_to_write()), ["a0", "b0", "b1"]);
    }

    #[test]
    fn queues_of_a_static_topic_are_where_the_latest_epoch_has_them() {
        let info = |bname: &str, epoch, ids: &[i32]| TopicQueueMappingInfo {
            bname: bname.into(),
            epoch,
            curr_id_map: ids.iter().map(|id| (*id, 7)).collect(),
            ..TopicQueueMappingInfo::default()
        };
        let mappings = [info("a", 2, &[0, 3]), info("b", 1, &[0, 1, 2]), info("none", 2, &[4])];
        let raw = TopicRoute {
            broker_datas: vec![broker("a", &[0]), broker("b", &[0]), broker("none", &[0])],
            queue_datas: vec![queues("b", 6, 8, 8), queues("a", 6, 8, 8), queues("none", 6, 0, 0)],
            topic_queue_mapping_by_broker: Some(
                mappings.into_iter().map(|info| (info.bname.clone(), info)).collect(),
            ),
            ..TopicRoute::default()
        };
        let route = Route::new("T", raw);
        assert_eq!(names(&route.queues_to_write()), ["a0", "a3", "b1", "b2"]);
        assert_eq!(names(&route.queues_to_read()), ["a0", "a3", "b1", "b2"]);
    }

    #[test]
    fn a_topic_made_by_sending_gets_no_more_queues_than_the_default() {
        let raw = TopicRoute {
            broker_datas: vec![broker("a", &[0])],
            queue_datas: vec![queues("a", 7, 8, 8)],
            ..TopicRoute::default()
        };
        let route = Route::of_template("T", raw);
        assert_eq!(names(&route.queues_to_write()), ["a0", "a1", "a2", "a3"]);
        assert_eq!(route.queues_to_write()[0].topic, "T");
    }
}
