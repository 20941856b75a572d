//! Names of topics and groups: what is allowed, what is reserved (wire.md §15).

/// Prefix of a group's retry topic.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of a group's dead letter topic.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// Prefix of light message queues.
pub const LMQ_PREFIX: &str = "%LMQ%";
/// Prefix of system topics.
pub const SYSTEM_PREFIX: &str = "rmq_sys_";
/// Prefix of system groups.
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";

/// Template of auto-created topics; its route serves topics nobody knows yet.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Parking place of messages with a delay level; queue id = level − 1.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Parking place of half messages.
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Decisions about half messages.
pub const OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages that were checked too often.
pub const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Built-in test topic.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// Built-in, never written.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
/// Built-in benchmark topic.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Where clients send their traces.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// Parking place of timer messages.
pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// Position of RocksDB queues in Java's store.
pub const CHECKPOINT_TOPIC: &str = "CHECKPOINT_TOPIC";

const TOPIC_MAX: usize = 127;
const RETRY_OR_DLQ_TOPIC_MAX: usize = 255;
const GROUP_MAX: usize = 120;

/// Why a name is refused. The text is the remark of the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing but white space.
    #[error("the specified {what} is blank")]
    Blank {
        /// `topic` or `group`.
        what: &'static str,
    },
    /// A character outside the allowed set.
    #[error(
        "the specified {what}[{name}] contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$; \
         rename it with letters, digits, '_', '-', '|' or '%'"
    )]
    Characters {
        /// `topic` or `group`.
        what: &'static str,
        /// The name as it came.
        name: String,
    },
    /// Longer than every client and broker accepts.
    #[error("the specified {what} is longer than {what} max length {max}: {length} bytes")]
    TooLong {
        /// `topic` or `group`.
        what: &'static str,
        /// Bytes of the name.
        length: usize,
        /// Longest allowed.
        max: usize,
    },
}

/// Checks a topic name as brokers do (wire.md §15.1, current column).
pub fn check_topic(name: &str) -> Result<(), NameError> {
    let long = name.starts_with(RETRY_PREFIX) || name.starts_with(DLQ_PREFIX);
    check("topic", name, if long { RETRY_OR_DLQ_TOPIC_MAX } else { TOPIC_MAX })
}

/// Checks a group name.
pub fn check_group(name: &str) -> Result<(), NameError> {
    check("group", name, GROUP_MAX)
}

fn check(what: &'static str, name: &str, max: usize) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank { what });
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'-' | b'_');
    if !name.bytes().all(legal) {
        return Err(NameError::Characters { what, name: name.chars().take(255).collect() });
    }
    if name.len() > max {
        return Err(NameError::TooLong { what, length: name.len(), max });
    }
    Ok(())
}

/// Whether a name is that of a light queue, or of a group of its own for such.
pub fn is_light(name: &str) -> bool {
    name.starts_with(LMQ_PREFIX)
}

/// Whether messages of this topic may be put into light queues besides their own (store.md §3.10): not what waits,
/// nor what comes back.
pub fn may_name_light_queues(topic: &str) -> bool {
    ![RETRY_PREFIX, DLQ_PREFIX, SYSTEM_PREFIX].iter().any(|prefix| topic.starts_with(prefix))
        && !matches!(topic, SCHEDULE_TOPIC | HALF_TOPIC | OP_HALF_TOPIC)
}

/// Whether clients may not send to this topic (wire.md §15.2), and nothing that waits may be for it.
///
/// The timer topic is one here, though Java takes sends to it: what waits there for that topic itself would come back
/// to it each time that it is delivered, for ever.
pub fn is_send_forbidden(topic: &str) -> bool {
    matches!(
        topic,
        SCHEDULE_TOPIC
            | TIMER_TOPIC
            | HALF_TOPIC
            | OP_HALF_TOPIC
            | TRANS_CHECK_MAX_TIME_TOPIC
            | SELF_TEST_TOPIC
            | OFFSET_MOVED_EVENT
            | "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC"
            | "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC"
    )
}

/// Whether a topic belongs to the system whatever the cluster is called: it is neither created nor deleted by
/// administrators.
pub fn is_system_topic(topic: &str) -> bool {
    is_send_forbidden(topic)
        || topic.starts_with(SYSTEM_PREFIX)
        || matches!(topic, AUTO_CREATE_TOPIC | BENCHMARK_TOPIC | TRACE_TOPIC | CHECKPOINT_TOPIC)
}

/// Whether a group belongs to the system.
pub fn is_system_group(group: &str) -> bool {
    group.starts_with(SYSTEM_GROUP_PREFIX) || BUILT_IN_GROUPS.contains(&group)
}

/// Group whose offsets say up to where the revive log of pops is done with. Like Java it names the last record, not the
/// next.
pub const REVIVE_GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";

/// Group under which the positions in the half queue and the op queue of transactions are kept.
pub const TRANSACTION_GROUP: &str = "CID_RMQ_SYS_TRANS";

/// Whether a broker keeps places in queues of its own under this name: a start reads from there.
pub fn is_own_group(group: &str) -> bool {
    [REVIVE_GROUP, TRANSACTION_GROUP].contains(&group)
}

/// Groups that every broker knows from the start.
pub const BUILT_IN_GROUPS: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    TRANSACTION_GROUP,
];

/// Retry topic of a group.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// Dead letter topic of a group.
pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_or_comes_back_names_no_light_queues() {
        assert!(may_name_light_queues("orders"));
        for topic in ["%RETRY%g", "%DLQ%g", "rmq_sys_wheel_timer", SCHEDULE_TOPIC, HALF_TOPIC] {
            assert!(!may_name_light_queues(topic), "{topic}");
        }
    }

    #[test]
    fn names_are_checked_as_brokers_do() {
        assert!(check_topic("a|B-9_%").is_ok());
        assert!(matches!(check_topic("  "), Err(NameError::Blank { .. })));
        assert!(matches!(check_topic("a b"), Err(NameError::Characters { .. })));
        assert!(matches!(check_topic("bücher"), Err(NameError::Characters { .. })));
        assert!(check_topic(&"t".repeat(127)).is_ok());
        assert!(matches!(check_topic(&"t".repeat(128)), Err(NameError::TooLong { .. })));
        assert!(check_topic(&retry_topic(&"g".repeat(120))).is_ok());
        assert!(matches!(check_group(&"g".repeat(121)), Err(NameError::TooLong { .. })));
    }
}
