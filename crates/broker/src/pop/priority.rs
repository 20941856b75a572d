//! In which order a pop looks into the queues of a topic (since-5.3.md §3). Of a topic with priorities each queue is
//! one level, and a pop of all of them takes from the most urgent one first.

use settings::Broker as Settings;

use super::PopRequest;
use crate::Broker;
use crate::attributes;

impl Broker {
    /// Whether a pop takes messages by their priority. `roll` is even below 100.
    pub(super) fn pops_by_priority(&self, request: &PopRequest, roll: u32) -> bool {
        if request.is_orderly
            || request.queue_id >= 0
            || !attributes::has_priorities(&request.topic.config.attributes)
        {
            return false;
        }
        let group = self.groups.get(&request.group);
        roll < group.map_or(100, |group| attributes::priority_factor(&group.attributes))
    }
}

/// Percent of the pops that look for failed messages before new ones.
pub(super) fn retry_probability(settings: &Settings, by_priority: bool) -> u32 {
    if by_priority {
        settings.pop_from_retry_probability_for_priority
    } else {
        settings.pop_from_retry_probability
    }
}

/// The queues from the most urgent one on, all of them `turned` by so many places.
pub(super) fn order(queues: u32, turned: u32, highest_first: bool) -> impl Iterator<Item = u32> {
    (0..queues).map(move |index| {
        let place = if highest_first { queues - 1 - index } else { index };
        (place + turned % queues) % queues
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_comes_once_whatever_the_turn() {
        assert_eq!(order(4, 0, true).collect::<Vec<_>>(), [3, 2, 1, 0]);
        assert_eq!(order(4, 0, false).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(order(4, 6, true).collect::<Vec<_>>(), [1, 0, 3, 2]);
        assert_eq!(order(3, 99, false).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(order(0, 5, true).count(), 0);
    }
}
