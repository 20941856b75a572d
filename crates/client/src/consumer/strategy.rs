//! Which member of a group reads which queue: every member computes the same, from the same lists (client.md §3.8).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use md5::{Digest, Md5};
use wire::body::MessageQueue;

/// Places on the ring that Java gives each member.
const PLACES: usize = 10;

/// How queues are divided. All members of a group must use the same; the results are those of the Java classes of the
/// same names.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Strategy {
    /// Neighbouring queues to one member (`AVG`).
    #[default]
    Averagely,
    /// One queue each in turn (`AVG_BY_CIRCLE`).
    Circle,
    /// By places on a ring: few queues move when a member joins or leaves (`CONSISTENT_HASH`).
    ConsistentHash,
    /// Of brokers called `room@name` only those of these rooms (`MACHINE_ROOM`).
    MachineRoom(BTreeSet<String>),
    /// Queues to members in the same room, and those of rooms where no member is to all; within each of these as
    /// another strategy says (`MACHINE_ROOM_NEARBY-…`).
    MachineRoomNearby {
        /// Who is where.
        rooms: Arc<dyn Rooms>,
        /// How queues of one room are divided.
        within: Box<Strategy>,
    },
    /// These queues, whatever others have (`CONFIG`).
    Config(Vec<MessageQueue>),
}

impl std::fmt::Debug for Strategy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Strategy").field(&self.name()).finish()
    }
}

/// Where brokers and members of a group are, for [`Strategy::MachineRoomNearby`]. All members must know the same.
///
/// ```
/// use std::sync::Arc;
/// use thrustmq_client::{MessageQueue, Rooms, Strategy};
///
/// /// Brokers are called `room@name`, and clients have an instance name of the same form.
/// struct ByName;
///
/// impl Rooms for ByName {
///     fn of_broker(&self, queue: &MessageQueue) -> String {
///         queue.broker_name.split('@').next().unwrap_or_default().to_owned()
///     }
///
///     fn of_member(&self, client_id: &str) -> String {
///         client_id.split('@').nth(1).unwrap_or_default().to_owned()
///     }
/// }
///
/// let strategy = Strategy::MachineRoomNearby { rooms: Arc::new(ByName), within: Box::default() };
/// assert_eq!(strategy.name(), "MACHINE_ROOM_NEARBY-AVG");
/// ```
pub trait Rooms: Send + Sync {
    /// Room of the broker that holds a queue.
    fn of_broker(&self, queue: &MessageQueue) -> String;

    /// Room of the member with this id.
    fn of_member(&self, client_id: &str) -> String;
}

impl Strategy {
    /// The protocol's name.
    pub fn name(&self) -> Cow<'static, str> {
        match self {
            Strategy::Averagely => "AVG".into(),
            Strategy::Circle => "AVG_BY_CIRCLE".into(),
            Strategy::ConsistentHash => "CONSISTENT_HASH".into(),
            Strategy::MachineRoom(_) => "MACHINE_ROOM".into(),
            Strategy::MachineRoomNearby { within, .. } => {
                format!("MACHINE_ROOM_NEARBY-{}", within.name()).into()
            }
            Strategy::Config(_) => "CONFIG".into(),
        }
    }

    /// The queues of member `me`. `queues` and `members` are sorted; who is no member gets nothing.
    pub fn allocate(&self, me: &str, queues: &[MessageQueue], members: &[String]) -> Vec<MessageQueue> {
        let Some(index) = members.iter().position(|member| member == me) else { return Vec::new() };
        match self {
            Strategy::Averagely => averagely(index, queues, members.len()),
            Strategy::Circle => queues.iter().skip(index).step_by(members.len()).cloned().collect(),
            Strategy::ConsistentHash => on_ring(me, queues, members),
            Strategy::MachineRoom(rooms) => in_rooms(rooms, index, queues, members.len()),
            Strategy::MachineRoomNearby { rooms, within } => {
                nearby(rooms.as_ref(), within, me, queues, members)
            }
            Strategy::Config(own) => own.clone(),
        }
    }
}

fn averagely(index: usize, queues: &[MessageQueue], members: usize) -> Vec<MessageQueue> {
    let (least, rest) = (queues.len() / members, queues.len() % members);
    let start = index * least + index.min(rest);
    let count = least + usize::from(index < rest);
    queues.iter().skip(start).take(count).cloned().collect()
}

fn on_ring(me: &str, queues: &[MessageQueue], members: &[String]) -> Vec<MessageQueue> {
    let places = members
        .iter()
        .flat_map(|member| (0..PLACES).map(move |place| (place_of(&format!("{member}-{place}")), member)));
    let ring: BTreeMap<u32, &String> = places.collect();
    let owner = |queue: &MessageQueue| {
        let MessageQueue { topic, broker_name, queue_id } = queue;
        let text = format!("MessageQueue [topic={topic}, brokerName={broker_name}, queueId={queue_id}]");
        let next = ring.range(place_of(&text)..).next().or_else(|| ring.iter().next());
        next.map(|(_, member)| member.as_str())
    };
    queues.iter().filter(|queue| owner(queue) == Some(me)).cloned().collect()
}

fn place_of(text: &str) -> u32 {
    let [a, b, c, d, ..] = <[u8; 16]>::from(Md5::digest(text.as_bytes()));
    u32::from_be_bytes([a, b, c, d])
}

fn in_rooms(
    rooms: &BTreeSet<String>,
    index: usize,
    queues: &[MessageQueue],
    members: usize,
) -> Vec<MessageQueue> {
    let in_room = |queue: &&MessageQueue| {
        let mut parts = queue.broker_name.split('@');
        let room = parts.next().unwrap_or_default();
        // Exactly one `@`, with something behind it.
        matches!((parts.next(), parts.next()), (Some(name), None) if !name.is_empty()) && rooms.contains(room)
    };
    let own: Vec<&MessageQueue> = queues.iter().filter(in_room).collect();
    let (each, rest) = (own.len() / members, own.len() % members);
    let extra = (index < rest).then(|| own[index + each * members]);
    own.iter().skip(index * each).take(each).copied().chain(extra).cloned().collect()
}

fn nearby(
    rooms: &dyn Rooms,
    within: &Strategy,
    me: &str,
    queues: &[MessageQueue],
    members: &[String],
) -> Vec<MessageQueue> {
    let mut by_room: BTreeMap<String, Vec<MessageQueue>> = BTreeMap::new();
    for queue in queues {
        by_room.entry(rooms.of_broker(queue)).or_default().push(queue.clone());
    }
    let mut present: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for member in members {
        present.entry(rooms.of_member(member)).or_default().push(member.clone());
    }
    let here = rooms.of_member(me);
    let near = by_room.remove(&here).unwrap_or_default();
    let neighbours = present.get(&here).map_or(&[][..], Vec::as_slice);
    let mut own = within.allocate(me, &near, neighbours);
    for (_, far) in by_room.into_iter().filter(|(room, _)| !present.contains_key(room)) {
        own.extend(within.allocate(me, &far, members));
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by the classes of Java 5.5.0; see `interop/allocation`.
    const TABLE: &str = include_str!("../../tests/golden/allocations_java550.tsv");

    fn queues(text: &str) -> Vec<MessageQueue> {
        let parts = text.split(',').filter(|part| !part.is_empty());
        let queue = |part: &str| {
            let (broker_name, queue_id) = part.rsplit_once(':').unwrap();
            let queue_id = queue_id.parse().unwrap();
            MessageQueue { topic: "T".to_owned(), broker_name: broker_name.to_owned(), queue_id }
        };
        parts.map(queue).collect()
    }

    /// As `AllocationVectors.java` has it.
    struct Marked;

    impl Rooms for Marked {
        fn of_broker(&self, queue: &MessageQueue) -> String {
            queue.broker_name.split('@').next().unwrap().to_owned()
        }

        fn of_member(&self, client_id: &str) -> String {
            format!("r{}", 1 + client_id.bytes().map(u32::from).sum::<u32>() % 4)
        }
    }

    fn near(within: Strategy) -> Strategy {
        Strategy::MachineRoomNearby { rooms: Arc::new(Marked), within: Box::new(within) }
    }

    #[test]
    fn every_member_gets_what_java_gives_it() {
        let mut lines = 0;
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let [name, me, all, members, expected] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("not five columns: {line}");
            };
            let strategy = match name {
                "AVG" => Strategy::Averagely,
                "AVG_BY_CIRCLE" => Strategy::Circle,
                "CONSISTENT_HASH" => Strategy::ConsistentHash,
                "MACHINE_ROOM" => Strategy::MachineRoom(["r1", "r2"].map(str::to_owned).into()),
                "MACHINE_ROOM_NEARBY-AVG" => near(Strategy::Averagely),
                "MACHINE_ROOM_NEARBY-AVG_BY_CIRCLE" => near(Strategy::Circle),
                other => panic!("unknown strategy {other}"),
            };
            let members: Vec<String> = members.split(',').map(str::to_owned).collect();
            assert_eq!(strategy.allocate(me, &queues(all), &members), queues(expected), "{line}");
            assert_eq!(strategy.name(), name);
            lines += 1;
        }
        assert!(lines > 500, "only {lines} lines");
    }

    #[test]
    fn who_is_no_member_gets_nothing() {
        let all = queues("a:0,a:1");
        for strategy in [Strategy::Averagely, Strategy::Circle, Strategy::ConsistentHash] {
            assert!(strategy.allocate("me", &all, &["other".to_owned()]).is_empty());
            assert!(strategy.allocate("me", &all, &[]).is_empty());
        }
    }
}
