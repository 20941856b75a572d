//! One static topic as requests need it: its logical queues, and which generation an offset belongs to.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::body::{LogicQueueMappingItem, TopicQueueMappingDetail};
use wire::code::response;

use crate::exchange::Refusal;

/// The logical queues of one topic, as this broker knows them. A change makes a new `Mapping`.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// As it came and as it is kept.
    pub detail: TopicQueueMappingDetail,
    queues: BTreeMap<i32, Arc<LogicalQueue>>,
}

/// One logical queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LogicalQueue {
    /// Its number.
    pub id: i32,
    /// The last generation.
    pub leader: LogicQueueMappingItem,
    /// All generations, oldest first, the leader among them.
    items: Vec<LogicQueueMappingItem>,
    /// This broker.
    here: String,
}

impl Mapping {
    pub fn new(detail: TopicQueueMappingDetail) -> Mapping {
        let queue = |(id, items): (&i32, &Vec<LogicQueueMappingItem>)| {
            let leader = items.last()?.clone();
            Some((*id, Arc::new(LogicalQueue::new(*id, leader, items.clone(), detail.bname.clone()))))
        };
        let queues = detail.hosted_queues.iter().filter_map(queue).collect();
        Mapping { detail, queues }
    }

    /// A logical queue that this broker leads; everybody else must be asked elsewhere.
    pub fn led(&self, id: i32) -> Result<Arc<LogicalQueue>, Refusal> {
        let queue = self.queues.get(&id).filter(|queue| queue.is_led_here());
        queue.map(Arc::clone).ok_or_else(|| self.not_leader(id))
    }

    /// Any queue that this broker leads, for a sender that leaves the choice to us.
    pub fn any_led(&self) -> Result<Arc<LogicalQueue>, Refusal> {
        let queue = self.queues.values().find(|queue| queue.is_led_here());
        queue.map(Arc::clone).ok_or_else(|| self.not_leader(-1))
    }

    /// The logical queue whose messages go to a physical one.
    pub fn led_into(&self, physical: u32) -> Option<Arc<LogicalQueue>> {
        let is_into = |queue: &&Arc<LogicalQueue>| i64::from(queue.leader.queue_id) == i64::from(physical);
        self.queues.values().filter(|queue| queue.is_led_here()).find(is_into).map(Arc::clone)
    }

    fn not_leader(&self, id: i32) -> Refusal {
        let TopicQueueMappingDetail { bname, topic, .. } = &self.detail;
        let remark = format!(
            "logical queue {id} of the static topic {topic} is not led by broker {bname}; the route from the \
             nameserver says where it is"
        );
        Refusal::new(response::NOT_LEADER_FOR_QUEUE, remark)
    }
}

impl LogicalQueue {
    fn new(
        id: i32,
        leader: LogicQueueMappingItem,
        items: Vec<LogicQueueMappingItem>,
        here: String,
    ) -> LogicalQueue {
        LogicalQueue { id, leader, items, here }
    }

    /// Whether its offsets are those of its one physical queue.
    pub fn is_plain(&self) -> bool {
        self.items.len() == 1 && self.leader.logic_offset == 0
    }

    fn is_led_here(&self) -> bool {
        self.is_here(&self.leader)
    }

    /// Whether this broker holds a generation.
    pub fn is_here(&self, item: &LogicQueueMappingItem) -> bool {
        item.bname == self.here
    }

    /// All generations whose begin is known, oldest first.
    pub fn begun(&self) -> impl DoubleEndedIterator<Item = &LogicQueueMappingItem> {
        self.items.iter().filter(|item| item.has_begun())
    }

    /// The generation that a logical offset belongs to; the oldest for offsets before all.
    pub fn item_at(&self, logical: i64) -> Result<&LogicQueueMappingItem, Refusal> {
        let at = self.begun().rev().find(|item| item.logic_offset <= logical);
        at.or_else(|| self.begun().next()).ok_or_else(|| {
            let remark = format!("it is not decided yet where logical queue {} begins; try again", self.id);
            Refusal::system(remark)
        })
    }

    /// The oldest generation.
    pub fn oldest(&self) -> Result<&LogicQueueMappingItem, Refusal> {
        self.item_at(0)
    }

    /// The newest generation whose begin is known.
    pub fn newest(&self) -> Result<&LogicQueueMappingItem, Refusal> {
        self.item_at(i64::MAX)
    }

    /// The generation after another, if its begin is known.
    pub fn after(&self, item: &LogicQueueMappingItem) -> Option<&LogicQueueMappingItem> {
        let at = self.items.iter().position(|other| other.r#gen == item.r#gen)?;
        self.items.get(at + 1).filter(|next| next.has_begun())
    }

    /// Messages of a generation from a logical offset on, up to where it ends or the next begins.
    pub fn room(&self, item: &LogicQueueMappingItem, logical: i64) -> Option<i64> {
        let end = item.has_end().then(|| item.logical_end());
        let next = self.after(item).map(|next| next.logic_offset);
        end.into_iter().chain(next).min().map(|end| end.saturating_sub(logical).max(0))
    }
}
