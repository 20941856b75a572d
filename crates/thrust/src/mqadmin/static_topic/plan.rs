//! What brokers shall have of a static topic: worked out from what they have now, without asking anybody.
//!
//! Invariant: a plan is made only of what is whole, and what it gives is whole: every logical queue has one leader, and
//! no physical queue stands for two.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use thrustmq_client::{
    LogicQueueMappingItem, TopicConfig, TopicConfigAndQueueMapping, TopicQueueMappingDetail,
};

/// Each change of a topic is so much later than the one before, whatever clocks say.
const EPOCH_STEP: i64 = 1_000;
/// Logical offsets of a generation begin at a multiple of this.
const BLOCK: i64 = 10_000;
const READ_WRITE: i32 = 6;
/// Most logical queues: brokers take no more, and each is made here before one is asked.
const QUEUES_MAX: i32 = 65_536;

/// What each broker has of the topic, by name.
pub type Holdings = BTreeMap<String, TopicConfigAndQueueMapping>;

/// What there is, or shall be, in the form of the files that the official tool writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    #[serde(rename = "brokerConfigMap")]
    pub brokers: Holdings,
    /// Brokers that get queues.
    #[serde(rename = "brokerToMapIn")]
    pub into: BTreeSet<String>,
    /// Brokers that queues leave.
    #[serde(rename = "brokerToMapOut")]
    pub out: BTreeSet<String>,
    pub epoch: i64,
    pub topic: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// Generations of each logical queue, as its leader has them.
type Queues = BTreeMap<i32, Vec<LogicQueueMappingItem>>;

/// Why there is no plan.
type Why = String;

impl Plan {
    /// What there is before anything is changed.
    ///
    /// # Errors
    /// When brokers do not agree on the topic.
    pub fn before(topic: &str, brokers: &Holdings, now_ms: i64) -> Result<Plan, Why> {
        let epoch = agreed(topic, brokers)?.map_or(now_ms, |(epoch, _)| epoch);
        let none = BTreeSet::new();
        let brokers = brokers.clone();
        let kind = "CREATE_OR_UPDATE";
        Ok(Plan { brokers, into: none.clone(), out: none, epoch, topic: topic.to_owned(), kind })
    }

    /// The topic with `total` logical queues: those that are missing go to the brokers of `targets` with the fewest.
    ///
    /// # Errors
    /// When there are as many or more already, when no topic can have so many, or when brokers do not agree on the
    /// topic.
    pub fn grown(
        topic: &str,
        mut brokers: Holdings,
        targets: &BTreeSet<String>,
        total: i32,
        now_ms: i64,
    ) -> Result<Plan, Why> {
        let agreed = agreed(topic, &brokers)?;
        let queues = queues(&brokers)?;
        let there = i32::try_from(queues.len()).unwrap_or(i32::MAX);
        if total < there {
            return Err(format!("Cannot decrease the queue num for static topic {total} < {there}"));
        }
        if total > QUEUES_MAX {
            return Err(format!("{total} queues are more than a topic can have, which is {QUEUES_MAX}"));
        }
        if total == there {
            return Err("The topic queue num is equal the existed queue num, do nothing".to_owned());
        }
        let epoch = agreed.map_or(now_ms, |(epoch, _)| now_ms.max(epoch.saturating_add(EPOCH_STEP)));
        let mut load: BTreeMap<String, u32> = targets.iter().map(|name| (name.clone(), 0)).collect();
        for leader in queues.values().filter_map(|items| items.last()) {
            if let Some(led) = load.get_mut(&leader.bname) {
                *led += 1;
            }
        }
        for id in there..total {
            let broker = least(&load, |_| 0).ok_or("Find none brokers, do nothing")?;
            *load.entry(broker.clone()).or_default() += 1;
            let holding = brokers.entry(broker.clone()).or_insert_with(|| empty(topic, &broker));
            let queue_id = add_queue(&mut holding.config);
            let first = LogicQueueMappingItem { bname: broker, queue_id, ..LogicQueueMappingItem::default() };
            hosted(holding).insert(id, vec![first]);
        }
        let none = BTreeSet::new();
        Plan {
            brokers,
            into: none.clone(),
            out: none,
            epoch,
            topic: topic.to_owned(),
            kind: "CREATE_OR_UPDATE",
        }
        .of(total)
    }

    /// The topic on the brokers of `targets` alone, with as few moves as there can be. A broker gets queues or gives
    /// them away, never both.
    ///
    /// # Errors
    /// When brokers do not agree on the topic.
    pub fn moved(
        topic: &str,
        mut brokers: Holdings,
        targets: &BTreeSet<String>,
        now_ms: i64,
    ) -> Result<Plan, Why> {
        let (epoch, total) = agreed(topic, &brokers)?.ok_or("No topic route to do the remapping")?;
        let queues = queues(&brokers)?;
        let goals = goals(&queues, targets)?;
        let epoch = now_ms.max(epoch.saturating_add(EPOCH_STEP));
        let (mut into, mut out) = (BTreeSet::new(), BTreeSet::new());
        for (id, broker) in goals {
            let Some(items @ [.., last]) = queues.get(&id).map(Vec::as_slice) else { continue };
            if last.bname == broker {
                continue;
            }
            let holding = brokers.entry(broker.clone()).or_insert_with(|| empty(topic, &broker));
            let next = LogicQueueMappingItem {
                bname: broker.clone(),
                r#gen: last.r#gen.saturating_add(1),
                queue_id: add_queue(&mut holding.config),
                // Until the old leader takes no more, nobody knows where the new one begins.
                logic_offset: -1,
                ..LogicQueueMappingItem::default()
            };
            let items = [items, &[next]].concat();
            hosted(holding).insert(id, items.clone());
            if let Some(old) = brokers.get_mut(&last.bname) {
                hosted(old).insert(id, items);
            }
            into.insert(broker);
            out.insert(last.bname.clone());
        }
        Plan { brokers, into, out, epoch, topic: topic.to_owned(), kind: "REMAPPING" }.of(total)
    }

    /// Sets what all brokers agree on, and looks once more whether everything is whole.
    fn of(mut self, total: i32) -> Result<Plan, Why> {
        for (name, holding) in &mut self.brokers {
            let detail = holding.mapping_detail.get_or_insert_with(|| detail(&self.topic, name));
            (detail.epoch, detail.total_queues) = (self.epoch, total);
        }
        queues(&self.brokers)?;
        Ok(self)
    }

    /// Adds brokers that have nothing of the topic, so that they know of it.
    pub fn add_others(&mut self, names: impl IntoIterator<Item = String>) {
        let total = self.brokers.values().filter_map(|holding| holding.mapping_detail.as_ref());
        let total = total.map(|detail| detail.total_queues).max().unwrap_or(0);
        for name in names {
            self.brokers.entry(name.clone()).or_insert_with(|| {
                let detail = TopicQueueMappingDetail {
                    epoch: self.epoch,
                    total_queues: total,
                    ..detail(&self.topic, &name)
                };
                TopicConfigAndQueueMapping { mapping_detail: Some(detail), ..empty(&self.topic, &name) }
            });
        }
    }

    /// Decides where the generations begin that follow those of a broker which gives queues away. `ends` tells the end
    /// of its physical queues, which take nothing more. What follows those of another broker is left as it is.
    ///
    /// # Errors
    /// When the end of a queue is not known.
    pub fn decide(&mut self, broker: &str, ends: impl Fn(i32) -> Option<i64>) -> Result<(), Why> {
        let Some(hosted_there) = self.brokers.get(broker).and_then(|holding| holding.mapping_detail.as_ref())
        else {
            return Ok(());
        };
        let mut decided = Queues::new();
        for (id, items) in &hosted_there.hosted_queues {
            let [.., old, new] = &items[..] else { continue };
            if new.has_begun() || old.bname != broker {
                continue;
            }
            let end = ends(old.queue_id).filter(|end| *end >= old.start_offset).ok_or_else(|| {
                format!("Cannot get the max offset for old leader {} of queue {id}", old.bname)
            })?;
            let mut items = items.clone();
            if let Some(last) = items.last_mut() {
                last.logic_offset = next_block(old.logical_within(end));
            }
            decided.insert(*id, items);
        }
        for (id, items) in decided {
            let new_leader = items.last().map(|last| last.bname.clone()).unwrap_or_default();
            for name in [broker, new_leader.as_str()] {
                if let Some(holding) = self.brokers.get_mut(name) {
                    hosted(holding).insert(id, items.clone());
                }
            }
        }
        Ok(())
    }
}

/// The next multiple that leaves room for what the old leader may have taken meanwhile.
fn next_block(offset: i64) -> i64 {
    let blocks = if offset % BLOCK < BLOCK / 2 { 1 } else { 2 };
    (offset / BLOCK + blocks).saturating_mul(BLOCK)
}

fn empty(topic: &str, broker: &str) -> TopicConfigAndQueueMapping {
    TopicConfigAndQueueMapping {
        config: TopicConfig::new(topic, 0, READ_WRITE),
        mapping_detail: Some(detail(topic, broker)),
    }
}

fn detail(topic: &str, broker: &str) -> TopicQueueMappingDetail {
    TopicQueueMappingDetail { bname: broker.to_owned(), topic: topic.to_owned(), ..Default::default() }
}

fn hosted(holding: &mut TopicConfigAndQueueMapping) -> &mut Queues {
    let topic = holding.config.topic_name.clone();
    &mut holding.mapping_detail.get_or_insert_with(|| detail(&topic, "")).hosted_queues
}

/// One more physical queue; gives its number.
fn add_queue(config: &mut TopicConfig) -> i32 {
    config.write_queue_nums = config.write_queue_nums.saturating_add(1);
    config.read_queue_nums = config.read_queue_nums.saturating_add(1);
    config.write_queue_nums - 1
}

/// The broker with the fewest queues; of several the one that `preferred` gives most for, and then the first by name.
fn least(load: &BTreeMap<String, u32>, preferred: impl Fn(&str) -> u32) -> Option<String> {
    let order =
        |(name, queues): &(&String, &u32)| (**queues, std::cmp::Reverse(preferred(name)), (*name).clone());
    load.iter().min_by_key(order).map(|(name, _)| name.clone())
}

/// Epoch and number of queues, on which all brokers must agree; `None` when no broker has the topic.
fn agreed(topic: &str, brokers: &Holdings) -> Result<Option<(i64, i32)>, Why> {
    let mut first: Option<&TopicQueueMappingDetail> = None;
    for (name, holding) in brokers {
        let Some(detail) = &holding.mapping_detail else {
            return Err(format!(
                "Mapping info should not be null in broker {name}: {topic} is no static topic there"
            ));
        };
        if detail.bname != *name {
            return Err(format!("The broker name is not equal {name} != {} ", detail.bname));
        }
        if detail.dirty {
            return Err(format!("The mapping info is dirty in broker  {name}"));
        }
        if detail.topic != topic || holding.config.topic_name != topic {
            return Err(format!("The topic name is not match for broker  {name}"));
        }
        if holding.config.read_queue_nums < holding.config.write_queue_nums {
            return Err("Read queues is smaller than write queues".to_owned());
        }
        let first = *first.get_or_insert(detail);
        if first.scope != detail.scope {
            return Err(format!("scope does not match {} != {} in {name}", detail.scope, first.scope));
        }
        if first.epoch != detail.epoch {
            return Err(format!("epoch does not match {} != {} in {name}", first.epoch, detail.epoch));
        }
        if first.total_queues != detail.total_queues {
            let (one, other) = (first.total_queues, detail.total_queues);
            return Err(format!("total queue number does not match {one} != {other} in {name}"));
        }
    }
    Ok(first.map(|detail| (detail.epoch, detail.total_queues)))
}

/// All logical queues, each from its leader, checked to be whole.
fn queues(brokers: &Holdings) -> Result<Queues, Why> {
    let mut queues = Queues::new();
    let details = brokers.values().filter_map(|holding| holding.mapping_detail.as_ref());
    let total = details.clone().map(|detail| detail.total_queues).max().unwrap_or(0);
    for detail in details {
        let led = detail.hosted_queues.iter();
        for (id, items) in
            led.filter(|(_, items)| items.last().is_some_and(|last| last.bname == detail.bname))
        {
            if queues.insert(*id, items.clone()).is_some() {
                return Err(format!("The queue id is duplicated in broker {}: {id}", detail.bname));
            }
        }
    }
    if !queues.keys().copied().eq(0..total) {
        let real = queues.len();
        return Err(format!(
            "The total queue number in config does not match the real hosted queues {total} != {real}"
        ));
    }
    let is_open =
        |items: &Vec<LogicQueueMappingItem>| items.iter().rev().skip(1).any(|item| !item.has_begun());
    if let Some((id, _)) = queues.iter().find(|(_, items)| is_open(items)) {
        return Err(format!(
            "The non-latest item has negative logic offset: an earlier move of queue {id} was not finished"
        ));
    }
    let mut physical = BTreeMap::new();
    for (id, item) in queues.iter().flat_map(|(id, items)| items.iter().map(move |item| (id, item))) {
        if let Some(other) = physical.insert((&item.bname, item.queue_id), id) {
            let (broker, queue) = (&item.bname, item.queue_id);
            return Err(format!(
                "global queue id {other} and {id} shared the same physical queue {broker}-{queue}"
            ));
        }
        if let Some(holding) = brokers.get(&item.bname)
            && !(0..holding.config.write_queue_nums).contains(&item.queue_id)
        {
            return Err("The physical queue id is overflow the write queues".to_owned());
        }
    }
    Ok(queues)
}

/// Which broker shall lead which queue.
fn goals(queues: &Queues, targets: &BTreeSet<String>) -> Result<BTreeMap<i32, String>, Why> {
    let leaders: BTreeMap<i32, &str> =
        queues.iter().filter_map(|(id, items)| Some((*id, items.last()?.bname.as_str()))).collect();
    let mut before: BTreeMap<&str, u32> = BTreeMap::new();
    for leader in leaders.values() {
        *before.entry(leader).or_default() += 1;
    }
    let mut rooms: BTreeMap<String, u32> = targets.iter().map(|name| (name.clone(), 0)).collect();
    for _ in queues {
        let broker = least(&rooms, |name| before.get(name).copied().unwrap_or(0));
        *rooms.entry(broker.ok_or("Find none brokers, do nothing")?).or_default() += 1;
    }
    let mut goals = BTreeMap::new();
    let mut waiting = Vec::new();
    for (id, leader) in &leaders {
        match rooms.get_mut(*leader).filter(|room| **room > 0) {
            Some(room) => {
                *room -= 1;
                goals.insert(*id, (*leader).to_owned());
            }
            None => waiting.push(*id),
        }
    }
    let free = rooms.into_iter().flat_map(|(broker, room)| std::iter::repeat_n(broker, room as usize));
    goals.extend(waiting.into_iter().zip(free));
    Ok(goals)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn created(total: i32, targets: &[&str]) -> Plan {
        Plan::grown("T", Holdings::new(), &names(targets), total, NOW).unwrap()
    }

    /// Leader, physical queue and logical begin of each queue.
    fn leaders(plan: &Plan) -> Vec<(String, i32, i64)> {
        let last = |items: &Vec<LogicQueueMappingItem>| items.last().cloned().unwrap();
        let queues = queues(&plan.brokers).unwrap();
        queues.values().map(last).map(|item| (item.bname, item.queue_id, item.logic_offset)).collect()
    }

    #[test]
    fn queues_of_a_new_topic_are_spread_evenly() {
        let plan = created(5, &["a", "b"]);
        let at = |broker: &str, queue| (broker.to_owned(), queue, 0);
        assert_eq!(leaders(&plan), [at("a", 0), at("b", 0), at("a", 1), at("b", 1), at("a", 2)]);
        assert_eq!((plan.epoch, plan.brokers["a"].config.write_queue_nums), (NOW, 3));
        let detail = plan.brokers["b"].mapping_detail.as_ref().unwrap();
        assert_eq!((detail.total_queues, detail.epoch, detail.hosted_queues.len()), (5, NOW, 2));
    }

    #[test]
    fn a_topic_grows_and_what_is_there_stays() {
        let plan = created(2, &["a"]);
        let grown = Plan::grown("T", plan.brokers.clone(), &names(&["a", "b"]), 4, NOW).unwrap();
        assert_eq!(grown.epoch, NOW + EPOCH_STEP, "later than before, although no time has passed");
        assert_eq!(leaders(&grown)[..2], leaders(&plan)[..]);
        assert!(leaders(&grown)[2..].iter().all(|(broker, ..)| broker == "b"), "{:?}", leaders(&grown));
        let fewer = Plan::grown("T", grown.brokers.clone(), &names(&["a"]), 3, NOW).unwrap_err();
        assert_eq!(fewer, "Cannot decrease the queue num for static topic 3 < 4");
        assert!(
            Plan::grown("T", grown.brokers.clone(), &names(&["a"]), 4, NOW)
                .unwrap_err()
                .contains("do nothing")
        );
        let many = Plan::grown("T", grown.brokers, &names(&["a"]), i32::MAX, NOW).unwrap_err();
        assert!(many.starts_with("2147483647 queues are more than"), "{many}");
        // A leader that shall get none gets none, although it has the fewest.
        let apart = Plan::grown("T", plan.brokers, &names(&["b"]), 9, NOW).unwrap();
        assert_eq!(apart.brokers["a"].config.write_queue_nums, 2);
    }

    #[test]
    fn a_move_takes_as_few_queues_as_it_can_and_begins_where_the_old_leader_ended() {
        let plan = created(5, &["a"]);
        let mut moved = Plan::moved("T", plan.brokers, &names(&["a", "b"]), NOW).unwrap();
        assert_eq!((moved.into.clone(), moved.out.clone()), (names(&["b"]), names(&["a"])));
        let on_b: Vec<_> = leaders(&moved).into_iter().filter(|(broker, ..)| broker == "b").collect();
        assert_eq!(
            on_b,
            [("b".to_owned(), 0, -1), ("b".to_owned(), 1, -1)],
            "the old one keeps the odd queue"
        );
        let held = moved.brokers["a"].mapping_detail.as_ref().unwrap().hosted_queues.len();
        assert_eq!(held, 5, "what it led before it still knows");

        moved.decide("a", |queue| Some(if queue == 3 { 4_999 } else { 25_000 })).unwrap();
        let begins: Vec<i64> = leaders(&moved)
            .into_iter()
            .filter(|(broker, ..)| broker == "b")
            .map(|(.., begin)| begin)
            .collect();
        assert_eq!(begins, [10_000, 40_000]);
        assert_eq!(
            moved.brokers["a"].mapping_detail.as_ref().unwrap().hosted_queues[&3],
            moved.brokers["b"].mapping_detail.as_ref().unwrap().hosted_queues[&3]
        );
        let back = Plan::moved("T", moved.brokers, &names(&["a"]), NOW).unwrap();
        assert_eq!(leaders(&back)[3], ("a".to_owned(), 5, -1), "a new physical queue");
        let unknown = back.clone().decide("b", |_| None).unwrap_err();
        assert!(unknown.starts_with("Cannot get the max offset for old leader b"), "{unknown}");
    }

    #[test]
    fn a_queue_whose_last_move_was_not_finished_is_not_moved_again() {
        let plan = created(1, &["a"]);
        let half = Plan::moved("T", plan.brokers, &names(&["b"]), NOW).unwrap();
        let again = Plan::moved("T", half.brokers, &names(&["c"]), NOW).unwrap_err();
        assert!(again.ends_with("an earlier move of queue 0 was not finished"), "{again}");
    }

    #[test]
    fn where_an_unfinished_move_begins_is_not_decided_by_another_brokers_end() {
        let plan = created(2, &["a", "b"]);
        let half = Plan::moved("T", plan.brokers, &names(&["b"]), NOW).unwrap();
        assert_eq!(leaders(&half)[0], ("b".to_owned(), 1, -1));
        let mut moved = Plan::moved("T", half.brokers, &names(&["b", "c"]), NOW).unwrap();
        assert_eq!((moved.into.clone(), moved.out.clone()), (names(&["c"]), names(&["b"])));
        // Queue 0 of broker b is not the queue 0 of broker a that nobody has asked for its end.
        moved.decide("b", |_| Some(25_000)).unwrap();
        let begins: Vec<i64> = leaders(&moved).into_iter().map(|(.., begin)| begin).collect();
        assert_eq!(begins, [-1, 40_000]);
    }

    #[test]
    fn where_a_generation_begins_leaves_half_a_block_at_least() {
        assert_eq!([0, 4_999, 5_000, 10_000].map(next_block), [10_000, 10_000, 20_000, 20_000]);
        assert_eq!(next_block(i64::MAX), i64::MAX);
    }

    #[test]
    fn nothing_moves_where_everything_is_in_its_place() {
        let plan = created(4, &["a", "b"]);
        let same = Plan::moved("T", plan.brokers.clone(), &names(&["a", "b"]), NOW).unwrap();
        assert!(same.into.is_empty() && same.out.is_empty());
        assert_eq!(leaders(&same), leaders(&plan));
        assert!(Plan::moved("T", Holdings::new(), &names(&["a"]), NOW).is_err());
    }

    #[test]
    fn what_is_not_whole_is_left_alone() {
        let whole = created(2, &["a", "b"]);
        let broken = |change: fn(&mut Holdings)| {
            let mut brokers = whole.brokers.clone();
            change(&mut brokers);
            Plan::moved("T", brokers, &names(&["a"]), NOW).unwrap_err()
        };
        let ordinary = broken(|brokers| brokers.get_mut("a").unwrap().mapping_detail = None);
        assert!(ordinary.contains("T is no static topic there"), "{ordinary}");
        let old = broken(|brokers| hosting(brokers, "a").epoch = 1);
        assert!(old.starts_with("epoch does not match 1 != "), "{old}");
        let lost = broken(|brokers| hosting(brokers, "b").hosted_queues.clear());
        assert!(lost.ends_with("2 != 1"), "{lost}");
        let nowhere =
            broken(|brokers| hosting(brokers, "a").hosted_queues.get_mut(&0).unwrap()[0].queue_id = -1);
        assert_eq!(nowhere, "The physical queue id is overflow the write queues");
        let shared = broken(|brokers| {
            let items = hosting(brokers, "a").hosted_queues[&0].clone();
            hosting(brokers, "a").hosted_queues.insert(1, items);
            hosting(brokers, "b").hosted_queues.clear();
        });
        assert!(shared.contains("shared the same physical queue a-0"), "{shared}");
    }

    fn hosting<'a>(brokers: &'a mut Holdings, name: &str) -> &'a mut TopicQueueMappingDetail {
        brokers.get_mut(name).unwrap().mapping_detail.as_mut().unwrap()
    }

    #[test]
    fn brokers_without_queues_hear_of_the_topic_too() {
        let mut plan = created(1, &["a"]);
        plan.add_others(["a".to_owned(), "c".to_owned()]);
        let other = plan.brokers["c"].mapping_detail.as_ref().unwrap();
        assert_eq!((other.total_queues, other.epoch, other.bname.as_str()), (1, NOW, "c"));
        assert_eq!(plan.brokers["c"].config.write_queue_nums, 0);
        let text = serde_json::to_string(&plan).unwrap();
        assert!(
            text.starts_with("{\"brokerConfigMap\":{\"a\":{")
                && text.ends_with("\"type\":\"CREATE_OR_UPDATE\"}")
        );
    }
}
