//! Pops, and what is said of what was popped, as the Java client does both.

use remoting::Answer;
use wire::code::{request, response};

use super::{Got, Peer, World, records};

/// Group of whoever pops, unless it says another.
const GROUP: &str = "readers";

/// How to pop; the rest is as the Java client asks.
#[derive(Clone, Copy)]
pub struct Pop<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub queue: &'a str,
    pub count: &'a str,
    pub invisible: &'a str,
    pub poll: &'a str,
    pub expression: &'a str,
    pub order: &'a str,
    pub attempt: &'a str,
}

pub const POP: Pop<'_> = Pop {
    group: GROUP,
    topic: "orders",
    queue: "-1",
    count: "32",
    invisible: "60000",
    poll: "0",
    expression: "*",
    order: "false",
    attempt: "",
};

impl<'a> Pop<'a> {
    /// Header of code 200050.
    pub fn fields(&self) -> [(&'static str, &'a str); 12] {
        [
            ("consumerGroup", self.group),
            ("topic", self.topic),
            ("queueId", self.queue),
            ("maxMsgNums", self.count),
            ("invisibleTime", self.invisible),
            ("pollTime", self.poll),
            ("bornTime", "0"),
            ("initMode", "0"),
            ("expType", "TAG"),
            ("exp", self.expression),
            ("order", self.order),
            ("attemptId", self.attempt),
        ]
    }

    pub async fn of(&self, peer: &Peer) -> Answer {
        peer.ask(request::POP_MESSAGE, &self.fields()).await
    }

    /// Bodies of what comes; none if nothing does.
    pub async fn bodies(&self, world: &World) -> Vec<String> {
        let answer = self.of(&world.me).await;
        match answer.code {
            response::SUCCESS => records(&answer.body).into_iter().map(|got| got.body).collect(),
            response::POLLING_TIMEOUT => Vec::new(),
            _ => panic!("{answer:?}"),
        }
    }
}

/// A delivery as a client sees it.
pub struct Delivery {
    pub got: Got,
    pub handle: String,
    pub queue: String,
}

/// Makes handles as the Java client does.
pub fn deliveries(answer: &Answer) -> Vec<Delivery> {
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let starts = answer.field("startOffsetInfo").unwrap();
    let offsets = answer.field("msgOffsetInfo").unwrap();
    let got = records(&answer.body);
    let mut got = got.into_iter();
    let mut all = Vec::new();
    for (start, offsets) in starts.split(';').zip(offsets.split(';')) {
        let start: Vec<&str> = start.split(' ').collect();
        let of: Vec<&str> = offsets.split(' ').collect();
        assert_eq!(start[..2], of[..2]);
        for offset in of[2].split(',') {
            let got = got.next().expect("as many records as offsets");
            let made = format!(
                "{} {} {} {} {} broker-a {} {offset}",
                start[2],
                answer.field("popTime").unwrap(),
                answer.field("invisibleTime").unwrap(),
                answer.field("reviveQid").unwrap(),
                start[0],
                start[1],
            );
            assert_eq!(got.queue_offset.to_string(), offset);
            assert_eq!(got.property("POP_CK").unwrap_or(&made), made);
            all.push(Delivery { got, handle: made, queue: start[1].to_owned() });
        }
    }
    assert!(got.next().is_none());
    all
}

/// The topic that a request about a delivery names: the real one.
fn real_topic(delivery: &Delivery) -> String {
    match delivery.handle.split(' ').nth(4) {
        Some("1") => format!("%RETRY%{GROUP}_{}", delivery.got.topic),
        Some("2") => format!("%RETRY%{GROUP}+{}", delivery.got.topic),
        _ => delivery.got.topic.clone(),
    }
}

/// A request about a delivery, with what it says besides.
pub async fn about(world: &World, code: i32, delivery: &Delivery, further: &[(&str, &str)]) -> Answer {
    let (topic, offset) = (real_topic(delivery), delivery.got.queue_offset.to_string());
    let mut fields = vec![
        ("consumerGroup", GROUP),
        ("topic", topic.as_str()),
        ("queueId", delivery.queue.as_str()),
        ("extraInfo", delivery.handle.as_str()),
        ("offset", offset.as_str()),
    ];
    fields.extend_from_slice(further);
    world.me.ask(code, &fields).await
}

/// An acknowledgement.
pub async fn ack(world: &World, delivery: &Delivery) -> Answer {
    about(world, request::ACK_MESSAGE, delivery, &[]).await
}

/// A request to hide it for so many milliseconds from now on.
pub async fn hide(world: &World, delivery: &Delivery, invisible: &str) -> Answer {
    about(world, request::CHANGE_MESSAGE_INVISIBLETIME, delivery, &[("invisibleTime", invisible)]).await
}
