//! Requests that are known and not served: each is answered with its name and the reason, never with silence.

use wire::code::{request as code, response};

use crate::exchange::Refusal;

const POP_ROCKSDB: &str =
    "the state of pops is in the revive log already, which is where this request would bring it";
const LITE: &str = "lite topics come later";
const ROCKSDB: &str = "there is no RocksDB here; topics, groups and queues are in files";
const REPLICATION: &str = "replication comes later; this broker is a master without slaves";
const CONTROLLER: &str = "there is no controller in this process";
const CONTAINER: &str = "there is no broker container; start another process";
const ACL: &str = "users and permissions come later; let a firewall protect this port";

const UNSERVED: [(i32, &str); 46] = [
    (code::SWITCH_TIMER_ENGINE, ROCKSDB),
    (code::POP_ROLLBACK, POP_ROCKSDB),
    (code::POP_LITE_MESSAGE, LITE),
    (code::LITE_SUBSCRIPTION_CTL, LITE),
    (code::ACK_LITE_MESSAGE, LITE),
    (code::GET_BROKER_LITE_INFO, LITE),
    (code::GET_PARENT_TOPIC_INFO, LITE),
    (code::GET_LITE_TOPIC_INFO, LITE),
    (code::GET_LITE_CLIENT_INFO, LITE),
    (code::GET_LITE_GROUP_INFO, LITE),
    (code::TRIGGER_LITE_DISPATCH, LITE),
    (code::CHECK_ROCKSDB_CQ_WRITE_PROGRESS, ROCKSDB),
    (code::EXPORT_ROCKSDB_CONFIG_TO_JSON, ROCKSDB),
    (code::NOTIFY_MIN_BROKER_ID_CHANGE, REPLICATION),
    (code::EXCHANGE_BROKER_HA_INFO, REPLICATION),
    (code::RESET_MASTER_FLUSH_OFFSET, REPLICATION),
    (code::GET_BROKER_EPOCH_CACHE, REPLICATION),
    (code::NOTIFY_BROKER_ROLE_CHANGED, REPLICATION),
    (code::ADD_BROKER, CONTAINER),
    (code::REMOVE_BROKER, CONTAINER),
    (code::CONTROLLER_ALTER_SYNC_STATE_SET, CONTROLLER),
    (code::CONTROLLER_ELECT_MASTER, CONTROLLER),
    (code::CONTROLLER_REGISTER_BROKER, CONTROLLER),
    (code::CONTROLLER_GET_REPLICA_INFO, CONTROLLER),
    (code::CONTROLLER_GET_METADATA_INFO, CONTROLLER),
    (code::CONTROLLER_GET_SYNC_STATE_DATA, CONTROLLER),
    (code::UPDATE_CONTROLLER_CONFIG, CONTROLLER),
    (code::GET_CONTROLLER_CONFIG, CONTROLLER),
    (code::CLEAN_BROKER_DATA, CONTROLLER),
    (code::CONTROLLER_GET_NEXT_BROKER_ID, CONTROLLER),
    (code::CONTROLLER_APPLY_BROKER_ID, CONTROLLER),
    (code::GET_BROKER_LIVE_INFO_REQUEST, CONTROLLER),
    (code::UPDATE_AND_CREATE_ACL_CONFIG, ACL),
    (code::DELETE_ACL_CONFIG, ACL),
    (code::GET_BROKER_CLUSTER_ACL_INFO, ACL),
    (code::UPDATE_GLOBAL_WHITE_ADDRS_CONFIG, ACL),
    (code::AUTH_CREATE_USER, ACL),
    (code::AUTH_UPDATE_USER, ACL),
    (code::AUTH_DELETE_USER, ACL),
    (code::AUTH_GET_USER, ACL),
    (code::AUTH_LIST_USER, ACL),
    (code::AUTH_CREATE_ACL, ACL),
    (code::AUTH_UPDATE_ACL, ACL),
    (code::AUTH_DELETE_ACL, ACL),
    (code::AUTH_GET_ACL, ACL),
    (code::AUTH_LIST_ACL, ACL),
];

/// The answer to a request that is known and not served.
pub(super) fn refusal(code: i32) -> Option<Refusal> {
    let (_, reason) = UNSERVED.iter().find(|(unserved, _)| *unserved == code)?;
    let name = code::name(code).unwrap_or_default();
    let remark = format!(" request type {code} not supported: {name} is not served yet; {reason}");
    Some(Refusal::new(response::REQUEST_CODE_NOT_SUPPORTED, remark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_named_once() {
        for (index, (unserved, _)) in UNSERVED.iter().enumerate() {
            assert!(code::name(*unserved).is_some(), "{unserved}");
            assert!(UNSERVED[..index].iter().all(|(other, _)| other != unserved), "{unserved} twice");
        }
        assert!(refusal(code::POP_ROLLBACK).is_some_and(|refusal| refusal.remark.contains("POP_ROLLBACK")));
        assert_eq!(refusal(code::SEND_MESSAGE), None);
    }
}
