//! Namespaces: applications that share brokers without seeing each other's topics and groups (client.md §2.10).
//!
//! The old kind is part of every name (`MQ_INST_a_b%orders`), the new one a field of every request that servers make
//! of it what they like. Names are complete on the way to servers and everywhere inside of this crate, and bare where
//! the application sees them.

use std::borrow::Cow;
use std::sync::Arc;

use wire::body::MessageQueue;
use wire::names::{DLQ_PREFIX, RETRY_PREFIX, SYSTEM_GROUP_PREFIX, is_system_topic};

use crate::received::Received;

/// Between a namespace and a name.
const SEPARATOR: char = '%';
/// What the names of instances begin with, in addresses of name servers too.
const INSTANCE: &str = "MQ_INST_";

/// The namespaces of a client, none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Namespace {
    /// The kind that is part of names.
    pub prefix: Option<String>,
    /// The kind that requests name.
    pub named: Option<String>,
}

impl Namespace {
    /// The complete name of a topic or group. Those of the system belong to nobody.
    pub fn wrap<'a>(&self, name: &'a str) -> Cow<'a, str> {
        let Some(prefix) = &self.prefix else { return Cow::Borrowed(name) };
        let (kind, bare) = split(name);
        if is_system(name) || inside(prefix, bare).is_some() {
            return Cow::Borrowed(name);
        }
        Cow::Owned(format!("{kind}{prefix}{SEPARATOR}{bare}"))
    }

    /// The name as the application has it. Names of other namespaces stay complete.
    pub fn unwrap<'a>(&self, name: &'a str) -> Cow<'a, str> {
        let Some(prefix) = &self.prefix else { return Cow::Borrowed(name) };
        let (kind, bare) = split(name);
        match inside(prefix, bare) {
            Some(bare) if kind.is_empty() => Cow::Borrowed(bare),
            Some(bare) => Cow::Owned(format!("{kind}{bare}")),
            None => Cow::Borrowed(name),
        }
    }

    /// A queue with its topic's complete name.
    pub fn wrap_queue(&self, queue: &MessageQueue) -> MessageQueue {
        MessageQueue { topic: self.wrap(&queue.topic).into_owned(), ..queue.clone() }
    }

    /// A queue as the application has it.
    pub fn unwrap_queue(&self, mut queue: MessageQueue) -> MessageQueue {
        if self.prefix.is_some() {
            queue.topic = self.unwrap(&queue.topic).into_owned();
        }
        queue
    }

    /// Messages as the application sees them.
    pub fn unwrap_messages(&self, messages: &mut [Received]) {
        if self.prefix.is_none() {
            return;
        }
        // Neighbours are of one queue.
        let mut last: Option<(Arc<MessageQueue>, Arc<MessageQueue>)> = None;
        for message in messages {
            let topic = self.unwrap(message.topic()).into_owned();
            let bare = match &last {
                Some((complete, bare)) if Arc::ptr_eq(complete, &message.queue) => Arc::clone(bare),
                _ => Arc::new(self.unwrap_queue(MessageQueue::clone(&message.queue))),
            };
            let complete = std::mem::replace(&mut message.queue, Arc::clone(&bare));
            last = Some((complete, bare));
            message.set_topic(&topic);
        }
    }
}

/// What marks a retry or dead letter topic, and the name behind it.
fn split(name: &str) -> (&'static str, &str) {
    let marked = |kind: &'static str| name.strip_prefix(kind).map(|bare| (kind, bare));
    marked(RETRY_PREFIX).or_else(|| marked(DLQ_PREFIX)).unwrap_or(("", name))
}

fn inside<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    name.strip_prefix(prefix)?.strip_prefix(SEPARATOR)
}

fn is_system(name: &str) -> bool {
    is_system_topic(name) || name.starts_with(SYSTEM_GROUP_PREFIX)
}

/// The namespace that addresses of name servers imply, as in `http://MQ_INST_a_b.example.com:80`.
pub(crate) fn of_endpoint(servers: &str) -> Option<&str> {
    let host = servers.split_once("://").map_or(servers, |(_, host)| host);
    let (instance, _) = host.split_once('.')?;
    let rest = instance.strip_prefix(INSTANCE)?;
    let word = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    // A `_` with something on both sides.
    let inner = rest.get(1..rest.len().checked_sub(1)?)?;
    (word && inner.contains('_')).then_some(instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_complete_outside_and_bare_inside() {
        let ours = Namespace { prefix: Some("MQ_INST_1_a".to_owned()), named: None };
        let pairs = [
            ("orders", "MQ_INST_1_a%orders"),
            ("%RETRY%service", "%RETRY%MQ_INST_1_a%service"),
            ("%DLQ%service", "%DLQ%MQ_INST_1_a%service"),
            ("a%b", "MQ_INST_1_a%a%b"),
            // Of the system, and so of nobody.
            ("RMQ_SYS_TRACE_TOPIC", "RMQ_SYS_TRACE_TOPIC"),
            ("rmq_sys_wheel_timer", "rmq_sys_wheel_timer"),
            ("CID_RMQ_SYS_x", "CID_RMQ_SYS_x"),
        ];
        for (bare, complete) in pairs {
            assert_eq!(ours.wrap(bare), complete);
            assert_eq!(ours.wrap(complete), complete, "once is enough");
            assert_eq!(ours.unwrap(complete), bare);
        }
        // That of somebody else.
        assert_eq!(ours.unwrap("MQ_INST_2_b%orders"), "MQ_INST_2_b%orders");
        assert_eq!(ours.unwrap("%RETRY%MQ_INST_2_b%g"), "%RETRY%MQ_INST_2_b%g");
        // Without a namespace nothing happens, whatever names look like.
        let none = Namespace::default();
        assert_eq!((none.wrap("a%b"), none.unwrap("a%b")), ("a%b".into(), "a%b".into()));
    }

    #[test]
    fn addresses_of_instances_imply_their_namespace() {
        for text in ["http://MQ_INST_1_a.example.com:80", "MQ_INST_1_a.example.com:80", "x://MQ_INST_1_a.b"] {
            assert_eq!(of_endpoint(text), Some("MQ_INST_1_a"), "{text}");
        }
        assert_eq!(of_endpoint("MQ_INST_1_2_3.x"), Some("MQ_INST_1_2_3"));
        for text in
            ["a:1;b:2", "127.0.0.1:9876", "http://MQ_INST_1.example.com", "MQ_INST__a.x", "MQ_INST_1_a:80"]
        {
            assert_eq!(of_endpoint(text), None, "{text}");
        }
    }
}
