//! What an administrator may say of a static topic: nothing that changes what was true of a generation before.

use std::collections::BTreeMap;

use wire::body::{LogicQueueMappingItem, TopicQueueMappingDetail};

use crate::topics::QUEUES_MAX;

/// Generations of one logical queue; each is a move from broker to broker.
const GENERATIONS_MAX: usize = 10_000;

/// Why a mapping is refused. The text is the remark, in the words of Java's where tools show it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Illegal {
    #[error("Can't accept data with small epoch {new} < {known}")]
    Epoch { new: i64, known: i64 },
    #[error("Can't accept data with unmatched scope {new} != {known}")]
    Scope { new: String, known: String },
    #[error("Cannot accept equal epoch with null data: logical queue {id} is missing")]
    Missing { id: i32 },
    #[error("The new item list is null or empty: logical queue {id}")]
    Empty { id: i32 },
    #[error("The new leader is different but epoch equal: logical queue {id}")]
    Leader { id: i32 },
    #[error("generation {generation} of logical queue {id} is not what it was: {what}")]
    Changed { id: i32, generation: i32, what: &'static str },
    #[error("logical queue {id} is illegal: {what}")]
    Items { id: i32, what: &'static str },
}

/// The mapping that holds after `new` was said of a topic. Queues that it does not speak of stay as they are.
pub(super) fn merge(
    known: Option<&TopicQueueMappingDetail>,
    mut new: TopicQueueMappingDetail,
    force: bool,
) -> Result<TopicQueueMappingDetail, Illegal> {
    for (id, items) in &new.hosted_queues {
        check_items(*id, items)?;
    }
    let Some(known) = known else { return Ok(new) };
    if !force {
        if new.epoch < known.epoch {
            return Err(Illegal::Epoch { new: new.epoch, known: known.epoch });
        }
        if new.scope != known.scope {
            return Err(Illegal::Scope { new: new.scope, known: known.scope.clone() });
        }
        let same_epoch = new.epoch == known.epoch;
        for (id, items) in &known.hosted_queues {
            match new.hosted_queues.get(id) {
                None if same_epoch => return Err(Illegal::Missing { id: *id }),
                None => (),
                Some(now) => check_same(*id, items, now, same_epoch)?,
            }
        }
    }
    keep_others(&mut new.hosted_queues, &known.hosted_queues);
    Ok(new)
}

type Hosted = BTreeMap<i32, Vec<LogicQueueMappingItem>>;

fn keep_others(new: &mut Hosted, known: &Hosted) {
    for (id, items) in known {
        new.entry(*id).or_insert_with(|| items.clone());
    }
}

/// Generations rise, and so do their offsets; only of the last one the begin may be open.
fn check_items(id: i32, items: &[LogicQueueMappingItem]) -> Result<(), Illegal> {
    let illegal = |what| Err(Illegal::Items { id, what });
    if !(0..QUEUES_MAX).contains(&id) || items.len() > GENERATIONS_MAX {
        return illegal("too large a number, or too many generations");
    }
    let last = items.len().saturating_sub(1);
    for (at, item) in items.iter().enumerate() {
        if item.start_offset < 0 || item.r#gen < 0 || item.queue_id < 0 || item.queue_id >= QUEUES_MAX {
            return illegal("The field is illegal, should not be negative");
        }
        if at < last && !item.has_begun() {
            return illegal("The non-latest item has negative logic offset");
        }
        if item.end_offset != -1 && item.end_offset < item.start_offset {
            return illegal("The endOffset is smaller than the start offset");
        }
    }
    for (before, item) in items.iter().zip(items.iter().skip(1)) {
        if before.r#gen >= item.r#gen {
            return illegal("The gen does not increase monotonically");
        }
        if item.logic_offset != -1 && before.logic_offset >= item.logic_offset {
            return illegal("The base logic offset does not increase monotonically");
        }
        if item.logic_offset != -1 && before.logical_end() >= item.logic_offset {
            return illegal("The max logic offset does not increase monotonically");
        }
    }
    Ok(())
}

/// Old generations may be gone from either list, new ones may have come; those in both are the same.
fn check_same(
    id: i32,
    known: &[LogicQueueMappingItem],
    new: &[LogicQueueMappingItem],
    same_epoch: bool,
) -> Result<(), Illegal> {
    let Some(known_leader) = known.last() else { return Ok(()) };
    let Some(leader) = new.last() else { return Err(Illegal::Empty { id }) };
    for item in known {
        let Some(now) = new.iter().find(|now| now.r#gen == item.r#gen) else { continue };
        let changed = |what| Err(Illegal::Changed { id, generation: item.r#gen, what });
        if (&now.bname, now.queue_id, now.start_offset) != (&item.bname, item.queue_id, item.start_offset) {
            return changed("its broker, queue or start");
        }
        if item.logic_offset != -1 && now.logic_offset != item.logic_offset {
            return changed("its logical offset, which was decided");
        }
    }
    let place =
        |item: &LogicQueueMappingItem| (item.r#gen, item.bname.clone(), item.queue_id, item.start_offset);
    if same_epoch && place(leader) != place(known_leader) {
        return Err(Illegal::Leader { id });
    }
    Ok(())
}
