//! What becomes of each request code, read from the sources that decide it: `docs/requests.md`.
//!
//! Who serves a code stands in the dispatching `match`es, why one is refused in `admin/unserved.rs`. Only what tests
//! it, and what belongs to nobody, is said here.
#![allow(dead_code, reason = "the example uses a part of this")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use wire::code::request::{self, *};

/// Directory of integration tests of the broker.
const BROKER: &str = "crates/broker/tests/";
const NAMESERVER: &str = "crates/nameserver/tests/over_sockets.rs";
const JAVA: &str = "interop/java/src/main/java/interop/cases/";
const MQADMIN: &str = "interop/java/src/5.5.0/interop/mqadmin/";

/// What tests the codes of a family: files below the repository's root.
type Family = (&'static [i32], &'static [(&'static str, &'static str)]);

const TESTED: &[Family] = &[
    (
        &[SEND_MESSAGE, SEND_MESSAGE_V2, SEND_BATCH_MESSAGE],
        &[
            (BROKER, "clients_that_ask_in_other_ways.rs"),
            (BROKER, "bad_input_is_refused.rs"),
            (BROKER, "disk_full_while_sending.rs"),
            (JAVA, "SyncAsyncAndOneWaySend.java"),
        ],
    ),
    (
        &[PULL_MESSAGE, LITE_PULL_MESSAGE],
        &[
            (BROKER, "long_poll_wakes_only_its_queue.rs"),
            (BROKER, "broadcast_readers_move_between_proxy_and_broker.rs"),
            (BROKER, "clients_that_ask_in_other_ways.rs"),
            (BROKER, "consumers_filter_by_properties.rs"),
            (JAVA, "PullByQueueOffset.java"),
            (JAVA, "LitePullSubscribe.java"),
        ],
    ),
    (
        &[CONSUMER_SEND_MSG_BACK],
        &[(BROKER, "failed_consumption_is_retried_then_dead.rs"), (JAVA, "RetryThenDeadLetter.java")],
    ),
    (
        &[END_TRANSACTION, RESUME_CHECK_HALF_MESSAGE],
        &[(BROKER, "transactions_end.rs"), (BROKER, "killed_broker_forgets_no_decision.rs")],
    ),
    (
        &[SEND_REPLY_MESSAGE, SEND_REPLY_MESSAGE_V2],
        &[(BROKER, "replies_reach_who_asked.rs"), (BROKER, "clients_that_ask_in_other_ways.rs")],
    ),
    (
        &[HEART_BEAT, UNREGISTER_CLIENT, GET_CONSUMER_LIST_BY_GROUP, LOCK_BATCH_MQ, UNLOCK_BATCH_MQ],
        &[(BROKER, "members_hear_of_changes.rs"), (JAVA, "GroupGrowsToThreeAndShrinksToTwo.java")],
    ),
    (&[CHECK_CLIENT_CONFIG], &[(BROKER, "consumers_filter_by_properties.rs"), (JAVA, "SqlFilter.java")]),
    (
        &[QUERY_ASSIGNMENT, SET_MESSAGE_REQUEST_MODE, GET_ALL_MESSAGE_REQUEST_MODE],
        &[(BROKER, "queues_of_all_brokers_are_assigned.rs"), (MQADMIN, "Groups.java")],
    ),
    (
        &[QUERY_CONSUMER_OFFSET, UPDATE_CONSUMER_OFFSET, GET_ALL_CONSUMER_OFFSET],
        &[(BROKER, "commit_offsets.rs"), (JAVA, "OffsetsKeptOverBrokerRestart.java")],
    ),
    (
        &[GET_MAX_OFFSET, GET_MIN_OFFSET, SEARCH_OFFSET_BY_TIMESTAMP, GET_EARLIEST_MSG_STORETIME],
        &[(BROKER, "administrators_ask_how_much_there_is.rs"), (JAVA, "OffsetsByTime.java")],
    ),
    (
        &[QUERY_MESSAGE, VIEW_MESSAGE_BY_ID],
        &[
            (BROKER, "clients_that_ask_in_other_ways.rs"),
            (JAVA, "QueryByKeyAndById.java"),
            (MQADMIN, "Messages.java"),
        ],
    ),
    (
        &[
            UPDATE_AND_CREATE_TOPIC,
            UPDATE_AND_CREATE_TOPIC_LIST,
            DELETE_TOPIC_IN_BROKER,
            GET_ALL_TOPIC_CONFIG,
            GET_TOPIC_CONFIG,
            GET_SYSTEM_TOPIC_LIST_FROM_BROKER,
        ],
        &[
            (BROKER, "topics_and_groups_are_listed_and_deleted.rs"),
            (JAVA, "AdminBasics.java"),
            (MQADMIN, "Topics.java"),
        ],
    ),
    (
        &[UPDATE_AND_CREATE_STATIC_TOPIC],
        &[
            (BROKER, "queues_of_a_static_topic_move_between_brokers.rs"),
            (MQADMIN, "Topics.java"),
            (MQADMIN, "StaticTopicMoves.java"),
        ],
    ),
    (
        &[
            UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
            UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
            GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
            GET_SUBSCRIPTIONGROUP_CONFIG,
            DELETE_SUBSCRIPTIONGROUP,
            UPDATE_AND_GET_GROUP_FORBIDDEN,
        ],
        &[
            (BROKER, "topics_and_groups_are_listed_and_deleted.rs"),
            (JAVA, "AdminBasics.java"),
            (MQADMIN, "Groups.java"),
        ],
    ),
    (
        &[
            UPDATE_BROKER_CONFIG,
            GET_BROKER_CONFIG,
            CLEAN_EXPIRED_CONSUMEQUEUE,
            CLEAN_UNUSED_TOPIC,
            DELETE_EXPIRED_COMMITLOG,
        ],
        &[(BROKER, "settings_change_while_the_broker_runs.rs"), (MQADMIN, "Brokers.java")],
    ),
    (
        &[
            GET_BROKER_RUNTIME_INFO,
            GET_TOPIC_STATS_INFO,
            GET_CONSUME_STATS,
            GET_BROKER_CONSUME_STATS,
            QUERY_CONSUME_TIME_SPAN,
            VIEW_BROKER_STATS_DATA,
            GET_BROKER_HA_STATUS,
            QUERY_CONSUME_QUEUE,
        ],
        &[
            (BROKER, "administrators_ask_how_much_there_is.rs"),
            (BROKER, "lag_is_told_in_messages_and_in_time.rs"),
            (MQADMIN, "Brokers.java"),
            (MQADMIN, "Groups.java"),
        ],
    ),
    (
        &[QUERY_TOPIC_CONSUME_BY_WHO, QUERY_TOPICS_BY_CONSUMER, QUERY_SUBSCRIPTION_BY_CONSUMER],
        &[(BROKER, "administrators_ask_how_much_there_is.rs"), (MQADMIN, "Groups.java")],
    ),
    (
        &[
            GET_ALL_DELAY_OFFSET,
            QUERY_CORRECTION_OFFSET,
            INVOKE_BROKER_TO_RESET_OFFSET,
            INVOKE_BROKER_TO_GET_CONSUMER_STATUS,
            CLONE_GROUP_OFFSET,
        ],
        &[(BROKER, "offsets_are_moved_by_administrators.rs"), (MQADMIN, "Groups.java")],
    ),
    (
        &[
            GET_CONSUMER_CONNECTION_LIST,
            GET_PRODUCER_CONNECTION_LIST,
            GET_ALL_PRODUCER_INFO,
            GET_CONSUMER_RUNNING_INFO,
            CONSUME_MESSAGE_DIRECTLY,
        ],
        &[(BROKER, "questions_are_passed_on_to_consumers.rs"), (MQADMIN, "Groups.java")],
    ),
    (
        &[
            POP_MESSAGE,
            ACK_MESSAGE,
            BATCH_ACK_MESSAGE,
            CHANGE_MESSAGE_INVISIBLETIME,
            PEEK_MESSAGE,
            NOTIFICATION,
            POLLING_INFO,
            POP_ROLLBACK,
        ],
        &[(BROKER, "popped_messages_come_back.rs")],
    ),
    (
        &[
            UPDATE_COLD_DATA_FLOW_CTR_CONFIG,
            REMOVE_COLD_DATA_FLOW_CTR_CONFIG,
            GET_COLD_DATA_FLOW_CTR_INFO,
            SET_COMMITLOG_READ_MODE,
        ],
        &[(BROKER, "groups_that_read_from_disk_have_a_limit.rs"), (MQADMIN, "Brokers.java")],
    ),
    (
        &[GET_MESSAGE_STORY],
        &[
            (BROKER, "a_broker_tells_the_story_of_a_message.rs"),
            ("crates/thrust/tests/command_line/", "doctor_and_explanations.rs"),
        ],
    ),
    (
        &[RECALL_MESSAGE, GET_TIMER_CHECK_POINT, GET_TIMER_METRICS, SWITCH_TIMER_ENGINE],
        &[(BROKER, "timer_messages_come_at_their_time.rs")],
    ),
    (
        &[
            GET_ROUTEINFO_BY_TOPIC,
            REGISTER_BROKER,
            UNREGISTER_BROKER,
            BROKER_HEARTBEAT,
            QUERY_DATA_VERSION,
            GET_BROKER_MEMBER_GROUP,
            GET_BROKER_CLUSTER_INFO,
            WIPE_WRITE_PERM_OF_BROKER,
            ADD_WRITE_PERM_OF_BROKER,
            GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
            GET_SYSTEM_TOPIC_LIST_FROM_NS,
            GET_TOPICS_BY_CLUSTER,
            GET_UNIT_TOPIC_LIST,
            GET_HAS_UNIT_SUB_TOPIC_LIST,
            GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST,
            DELETE_TOPIC_IN_NAMESRV,
            REGISTER_TOPIC_IN_NAMESRV,
            PUT_KV_CONFIG,
            GET_KV_CONFIG,
            DELETE_KV_CONFIG,
            GET_KVLIST_BY_NAMESPACE,
            UPDATE_NAMESRV_CONFIG,
            GET_NAMESRV_CONFIG,
        ],
        &[(NAMESERVER, ""), (MQADMIN, "Topics.java")],
    ),
];

/// Codes that no request to this server has.
const NOBODYS: &[(&[i32], &str)] = &[
    (
        &[
            CHECK_TRANSACTION_STATE,
            NOTIFY_CONSUMER_IDS_CHANGED,
            RESET_CONSUMER_CLIENT_OFFSET,
            GET_CONSUMER_STATUS_FROM_CLIENT,
            PUSH_REPLY_MESSAGE_TO_CLIENT,
            NOTIFY_UNSUBSCRIBE_LITE,
        ],
        "sent by brokers to clients",
    ),
    (
        &[
            QUERY_BROKER_OFFSET,
            GET_TOPIC_CONFIG_LIST,
            GET_TOPIC_NAME_LIST,
            TRIGGER_DELETE_FILES,
            GET_CLIENT_CONFIG,
            SUSPEND_CONSUMER,
            RESUME_CONSUMER,
            RESET_CONSUMER_OFFSET_IN_CONSUMER,
            RESET_CONSUMER_OFFSET_IN_BROKER,
            ADJUST_CONSUMER_THREAD_POOL,
            WHO_CONSUME_THE_MESSAGE,
            REGISTER_FILTER_SERVER,
            REGISTER_MESSAGE_FILTER_CLASS,
            GET_SYNC_STATE_DATA_REQUEST,
        ],
        "declared by RocketMQ and served by none of its programs",
    ),
    (
        &[
            BROKER_CLOSE_CHANNEL_REQUEST,
            CHECK_NOT_ACTIVE_BROKER_REQUEST,
            RAFT_BROKER_HEART_BEAT_EVENT_REQUEST,
        ],
        "within the replicated log of controllers, never on a connection",
    ),
];

/// What becomes of a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Served by this function.
    Served(String),
    /// Refused with this reason.
    Refused(String),
    /// Nobody sends it here.
    Nobodys(&'static str),
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn source(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every fate that a code has; a catalogue in order has one for each.
pub fn fates() -> BTreeMap<i32, Vec<Fate>> {
    let mut fates: BTreeMap<i32, Vec<Fate>> =
        request::ALL.iter().map(|(code, _)| (*code, Vec::new())).collect();
    let mut add = |code: i32, fate: Fate| fates.entry(code).or_default().push(fate);
    for (file, server) in [
        ("crates/broker/src/service.rs", "broker"),
        ("crates/broker/src/admin.rs", "broker"),
        ("crates/nameserver/src/lib.rs", "nameserver"),
    ] {
        for (code, function) in dispatched(&source(file)) {
            add(code, Fate::Served(format!("{server}: `{function}`")));
        }
    }
    let unserved = source("crates/broker/src/admin/unserved.rs");
    for (code, reason) in refused(&unserved) {
        add(code, Fate::Refused(reason));
    }
    for (codes, why) in NOBODYS {
        codes.iter().for_each(|code| add(*code, Fate::Nobodys(why)));
    }
    fates
}

/// Arms `A | B => self.function(…)`, and conditions on the code with the call that stands in their block.
fn dispatched(source: &str) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    let mut pending: Vec<i32> = Vec::new();
    for line in source.lines() {
        let line = line.trim();
        let codes = || {
            let words =
                line.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
            words
                .filter_map(|word| request::ALL.iter().find(|(_, name)| *name == word))
                .map(|(code, _)| *code)
        };
        // What the fast port leaves out decides about ports only.
        let is_port_list = line.starts_with("| ") && line.ends_with("_INFO");
        pending.extend(codes().filter(|_| !is_port_list));
        if let Some(at) = line.find("self.")
            && !pending.is_empty()
        {
            let call = &line[at + "self.".len()..];
            let name: String = call
                .chars()
                .take_while(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '.'))
                .collect();
            // `self.read(Tables::cluster_info)` is named by what is read.
            let name = call
                .rsplit_once("Tables::")
                .map_or(name, |(_, last)| last.trim_end_matches([')', ',']).to_owned());
            found.extend(pending.drain(..).map(|code| (code, name.clone())));
        } else if line.is_empty() || line.starts_with('}') || line.starts_with("fn ") {
            pending.clear();
        }
    }
    found
}

/// Rows `(code::NAME, REASON)` with the texts of their reasons.
fn refused(source: &str) -> Vec<(i32, String)> {
    let reasons: BTreeMap<&str, String> = source
        .split("const ")
        .skip(1)
        .filter_map(|constant| {
            let (name, rest) = constant.split_once(": &str =")?;
            let text = rest.split_once('"')?.1.split_once("\";")?.0;
            Some((name, text.to_owned()))
        })
        .collect();
    source
        .lines()
        .filter_map(|line| {
            let row = line.trim().strip_prefix("(code::")?.strip_suffix("),")?;
            let (name, reason) = row.split_once(", ")?;
            let (code, _) = request::ALL.iter().find(|(_, known)| *known == name)?;
            Some((*code, reasons.get(reason)?.clone()))
        })
        .collect()
}

/// Files that test a code.
pub fn tests_of(code: i32) -> Vec<String> {
    let families = TESTED.iter().filter(|(codes, _)| codes.contains(&code));
    families
        .flat_map(|(_, files)| files.iter().map(|(directory, file)| format!("{directory}{file}")))
        .collect()
}

/// The text of `docs/requests.md`.
pub fn page() -> String {
    let mut page = String::from(
        "# Requests\n\n\
         <!-- Written by `cargo run -p broker --example requests_page > docs/requests.md`; a test compares. -->\n\n\
         Every request code of RocketMQ 5.5, and what becomes of it here; \
         codes from 810000 on are [ours](#requests-of-our-own). \
         Refused ones get code 3 with the text of the reason.\n\n\
         | code | name | served by, or why not | tested by |\n|---|---|---|---|\n",
    );
    for (code, fates) in fates() {
        let name = request::name(code).unwrap_or_default();
        let Some(fate) = fates.first() else { continue };
        let (text, tests) = match fate {
            Fate::Served(function) => (function.clone(), tests_of(code)),
            Fate::Refused(reason) => (format!("refused: {reason}"), vec![format!("{MQADMIN}Later.java")]),
            Fate::Nobodys(why) => (format!("*{why}*"), Vec::new()),
        };
        let names: Vec<String> = tests
            .iter()
            .map(|path| {
                format!(
                    "[{}](../{path})",
                    path.rsplit('/').next().unwrap_or_default().split('.').next().unwrap_or_default()
                )
            })
            .collect();
        let _ = writeln!(page, "| {code} | `{name}` | {text} | {} |", names.join(", "));
    }
    page += include_str!("ours.md");
    page
}
