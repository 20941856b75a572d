//! Generations that nobody needs any more: the oldest of a queue led here once its broker has deleted its messages, and
//! all of a queue that has moved on from whoever it moved to.
//!
//! Looked at in the hours of `deleteWhen`, as Java's broker does; it asks other brokers, and changes nothing that
//! they do not confirm.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use store::LocalTime;
use wire::body::{
    LogicQueueMappingItem, TopicConfigAndQueueMapping, TopicOffset, TopicQueueMappingDetail,
    TopicQueueMappingInfo, TopicStatsTable,
};
use wire::code::{request, response};
use wire::loose_json;

use crate::Broker;
use crate::exchange::Refusal;

const PERIOD: Duration = Duration::from_secs(5 * 60);

/// Whether a physical queue holds nothing any more.
fn is_empty(offset: &TopicOffset) -> bool {
    offset.min_offset == offset.max_offset || offset.max_offset == 0
}

/// The oldest generations of the queues led here, where there are younger ones.
fn oldest_of_led(detail: &TopicQueueMappingDetail) -> BTreeMap<i32, &LogicQueueMappingItem> {
    let led = detail.hosted_queues.iter().filter(|(_, items)| {
        items.len() > 1 && items.last().is_some_and(|leader| leader.bname == detail.bname)
    });
    led.filter_map(|(id, items)| Some((*id, items.first()?))).collect()
}

/// The mapping without the oldest generations of queues led here whose physical queues are empty; `None` if that is
/// the same. `offset_of` tells of a physical queue by broker and number, if anything is known.
fn without_expired(
    detail: &TopicQueueMappingDetail,
    offset_of: impl Fn(&str, i32) -> Option<TopicOffset>,
) -> Option<TopicQueueMappingDetail> {
    let expired: Vec<i32> = oldest_of_led(detail)
        .into_iter()
        .filter(|(_, oldest)| {
            offset_of(&oldest.bname, oldest.queue_id).is_some_and(|offset| is_empty(&offset))
        })
        .map(|(id, _)| id)
        .collect();
    let mut without = detail.clone();
    for id in &expired {
        if let Some(items) = without.hosted_queues.get_mut(id) {
            items.remove(0);
        }
    }
    (!expired.is_empty()).then_some(without)
}

/// Queues led elsewhere, with the broker that they moved to as far as is known here.
fn moved_away(detail: &TopicQueueMappingDetail) -> BTreeMap<i32, &str> {
    let leaders = detail.hosted_queues.iter().filter_map(|(id, items)| Some((*id, items.last()?)));
    let away = leaders.filter(|(_, leader)| leader.bname != detail.bname);
    away.map(|(id, leader)| (id, leader.bname.as_str())).collect()
}

/// Which broker leads each logical queue, as clients find it: the latest epoch is right.
fn leaders_by(route: &BTreeMap<String, TopicQueueMappingInfo>) -> BTreeMap<i32, &str> {
    let mut infos: Vec<_> = route.values().collect();
    infos.sort_by_key(|info| info.epoch);
    let led = infos.iter().flat_map(|info| info.curr_id_map.keys().map(|id| (*id, info.bname.as_str())));
    led.collect()
}

/// The mapping without queues that have moved on from whoever they moved to, which that leader itself confirms in the
/// mapping of the same epoch; `None` if that is the same.
fn without_outlived(
    detail: &TopicQueueMappingDetail,
    leaders: &BTreeMap<i32, &str>,
    mapping_of: impl Fn(&str) -> Option<TopicQueueMappingDetail>,
) -> Option<TopicQueueMappingDetail> {
    let confirmed = |id: i32, leader: &str| {
        mapping_of(leader).is_some_and(|theirs| {
            let items = theirs.hosted_queues.get(&id);
            theirs.bname == leader
                && (theirs.total_queues, theirs.epoch) == (detail.total_queues, detail.epoch)
                && items.and_then(|items| items.last()).is_some_and(|last| last.bname == leader)
        })
    };
    let outlived: Vec<i32> = moved_away(detail)
        .into_iter()
        .filter(|(id, known)| leaders.get(id).is_some_and(|leader| leader != known && confirmed(*id, leader)))
        .map(|(id, _)| id)
        .collect();
    let mut without = detail.clone();
    without.hosted_queues.retain(|id, _| !outlived.contains(id));
    (!outlived.is_empty()).then_some(without)
}

impl Broker {
    /// Looks for such generations for ever.
    pub(crate) async fn run_static_topic_expiry(&self) {
        loop {
            tokio::time::sleep(PERIOD).await;
            let now_ms = self.now_ms();
            let hour = LocalTime::of(now_ms, self.clock.utc_offset_seconds(now_ms)).hour as u8;
            if self.static_topics.any() && self.settings.load().delete_when.contains(&hour) {
                self.expire_static_topics().await;
            }
        }
    }

    async fn expire_static_topics(&self) {
        for (name, detail) in self.static_topics.all().1 {
            let offsets = self.offsets_of_oldest(&name, &detail).await;
            let offset_of = |bname: &str, queue_id| offsets.get(&(bname.to_owned(), queue_id)).copied();
            self.replace_mapping(&detail, without_expired(&detail, offset_of));
        }
        for (name, detail) in self.static_topics.all().1 {
            if moved_away(&detail).is_empty() {
                continue;
            }
            match self.without_outlived_of(&name, &detail).await {
                Ok(without) => self.replace_mapping(&detail, without),
                Err(refusal) => {
                    tracing::info!(topic = name, "logical queues stay as they are: {}", refusal.remark)
                }
            }
        }
    }

    fn replace_mapping(&self, was: &TopicQueueMappingDetail, without: Option<TopicQueueMappingDetail>) {
        let Some(without) = without else { return };
        let _one_at_a_time = self.static_topics.changing.lock();
        match self.static_topics.thin_out(was, without, self.now_ms()) {
            Ok(Some(mapping)) => {
                tracing::info!(topic = was.topic, "generations of logical queues are gone");
                self.topics.set_mapping(&was.topic, mapping);
            }
            Ok(None) => (),
            Err(error) => tracing::error!("{error}"),
        }
    }

    /// Begin and end of the physical queues of the oldest generations, by broker and number.
    async fn offsets_of_oldest(
        &self,
        topic: &str,
        detail: &TopicQueueMappingDetail,
    ) -> BTreeMap<(String, i32), TopicOffset> {
        let oldest = oldest_of_led(detail);
        let mut offsets = BTreeMap::new();
        for item in oldest.values().filter(|item| item.bname == detail.bname) {
            let queue = u32::try_from(item.queue_id).ok().and_then(|id| self.store.find_queue(topic, id));
            let (min, max) = queue.map_or((0, 0), |queue| (queue.min_offset(), queue.max_offset()));
            let offset =
                TopicOffset { min_offset: min as i64, max_offset: max as i64, last_update_timestamp: 0 };
            offsets.insert((item.bname.clone(), item.queue_id), offset);
        }
        let others = oldest.values().filter(|item| item.bname != detail.bname);
        for broker in others.map(|item| item.bname.as_str()).collect::<BTreeSet<_>>() {
            match self.stats_of(broker, topic).await {
                Ok(stats) => offsets.extend(
                    stats
                        .offset_table
                        .into_iter()
                        .map(|(queue, offset)| ((queue.broker_name, queue.queue_id), offset)),
                ),
                Err(refusal) => {
                    tracing::info!(topic, broker, "logical queues stay as they are: {}", refusal.remark)
                }
            }
        }
        offsets
    }

    async fn stats_of(&self, broker: &str, topic: &str) -> Result<TopicStatsTable, Refusal> {
        let fields = [("topic", topic), ("lo", "false"), ("bname", broker)];
        let expected = [response::SUCCESS];
        let answer = self.ask_neighbour(broker, request::GET_TOPIC_STATS_INFO, &fields, &expected).await?;
        loose_json::read(&answer.body).map_err(Refusal::system)
    }

    async fn without_outlived_of(
        &self,
        topic: &str,
        detail: &TopicQueueMappingDetail,
    ) -> Result<Option<TopicQueueMappingDetail>, Refusal> {
        let limit = self.settings.load().forward_timeout;
        let route = self.route_of(topic, limit).await.ok().flatten();
        let route = route.ok_or_else(|| Refusal::system("no nameserver tells where the topic is"))?;
        let route = route.topic_queue_mapping_by_broker.unwrap_or_default();
        let leaders = leaders_by(&route);
        let away = moved_away(detail);
        let wanted = away.iter().filter_map(|(id, known)| leaders.get(id).filter(|leader| *leader != known));
        let mut mappings = BTreeMap::new();
        for leader in wanted.collect::<BTreeSet<_>>() {
            if let Some(mapping) = self.mapping_at(leader, topic).await? {
                mappings.insert((*leader).to_owned(), mapping);
            }
        }
        Ok(without_outlived(detail, &leaders, |leader| mappings.get(leader).cloned()))
    }

    async fn mapping_at(
        &self,
        broker: &str,
        topic: &str,
    ) -> Result<Option<TopicQueueMappingDetail>, Refusal> {
        if broker == self.settings.load().broker_name {
            return Ok(None);
        }
        let fields = [("topic", topic), ("lo", "true"), ("bname", broker)];
        let expected = [response::SUCCESS];
        let answer = self.ask_neighbour(broker, request::GET_TOPIC_CONFIG, &fields, &expected).await?;
        let config: TopicConfigAndQueueMapping = loose_json::read(&answer.body).map_err(Refusal::system)?;
        Ok(config.mapping_detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(r#gen: i32, bname: &str, logic_offset: i64) -> LogicQueueMappingItem {
        LogicQueueMappingItem {
            r#gen,
            bname: bname.to_owned(),
            logic_offset,
            ..LogicQueueMappingItem::default()
        }
    }

    fn detail(bname: &str, queues: &[(i32, Vec<LogicQueueMappingItem>)]) -> TopicQueueMappingDetail {
        TopicQueueMappingDetail {
            bname: bname.to_owned(),
            epoch: 5,
            hosted_queues: queues.iter().cloned().collect(),
            topic: "T".to_owned(),
            total_queues: 2,
            ..TopicQueueMappingDetail::default()
        }
    }

    fn offset(min_offset: i64, max_offset: i64) -> TopicOffset {
        TopicOffset { min_offset, max_offset, last_update_timestamp: 0 }
    }

    #[test]
    fn the_oldest_generation_goes_when_its_queue_is_empty() {
        let moved_here = vec![item(0, "b", 0), item(1, "a", 10_000)];
        let here = detail("a", &[(0, moved_here.clone()), (1, vec![item(0, "a", 0)])]);
        assert_eq!(without_expired(&here, |_, _| Some(offset(3, 8))), None, "it holds messages");
        assert_eq!(without_expired(&here, |_, _| None), None, "its broker does not answer");
        let without = without_expired(&here, |bname, queue| {
            assert_eq!((bname, queue), ("b", 0), "a lone generation is never asked about");
            Some(offset(8, 8))
        });
        assert_eq!(without.unwrap().hosted_queues[&0], moved_here[1..]);
        let there = detail("b", &[(0, moved_here)]);
        assert_eq!(without_expired(&there, |_, _| Some(offset(8, 8))), None, "only its leader may say so");
    }

    #[test]
    fn a_queue_that_moved_twice_is_forgotten_where_it_was_first() {
        let twice = vec![item(0, "a", 0), item(1, "b", 10_000), item(2, "c", 20_000)];
        let first = detail("a", &[(0, twice[..2].to_vec()), (1, vec![item(0, "a", 0)])]);
        let at_c = detail("c", &[(0, twice)]);
        let leaders = BTreeMap::from([(0, "c"), (1, "a")]);
        let without = without_outlived(&first, &leaders, |leader| (leader == "c").then(|| at_c.clone()));
        assert_eq!(without.unwrap().hosted_queues.keys().collect::<Vec<_>>(), [&1]);
        assert_eq!(without_outlived(&first, &leaders, |_| None), None, "the leader does not answer");
        let later = TopicQueueMappingDetail { epoch: 6, ..at_c };
        assert_eq!(
            without_outlived(&first, &leaders, |_| Some(later.clone())),
            None,
            "a change is under way"
        );
        let once = BTreeMap::from([(0, "b"), (1, "a")]);
        assert_eq!(without_outlived(&first, &once, |_| panic!("nobody is asked")), None);
    }

    #[test]
    fn of_two_brokers_that_claim_a_queue_the_later_epoch_leads() {
        let info = |bname: &str, epoch, ids: &[i32]| TopicQueueMappingInfo {
            bname: bname.to_owned(),
            curr_id_map: ids.iter().map(|id| (*id, 0)).collect(),
            epoch,
            ..TopicQueueMappingInfo::default()
        };
        let route =
            BTreeMap::from([("a".to_owned(), info("a", 9, &[0])), ("b".to_owned(), info("b", 7, &[0, 1]))]);
        assert_eq!(leaders_by(&route), BTreeMap::from([(0, "a"), (1, "b")]));
    }
}
