//! The keys of `namesrv.conf` that act.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::shorten;
use crate::form::{Bytes, Form, List, Millis, Seconds};
use crate::table::{Change, Row, Table, bounds, form, outside, settings};
use crate::{Place, Remark, SettingError, Surroundings};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(86_400);

settings! {
    /// What `namesrv.conf` may say, as far as it acts.
    Nameserver in "namesrv.conf";

    "Addresses and files" {
        /// Interface to listen on.
        bind_address: String = "0.0.0.0".to_owned(), "bindAddress", locked,
            shown "`127.0.0.1` for `thrust nameserver` without a file; else `0.0.0.0`";
        /// Port that brokers and clients connect to. 0 takes any free port.
        listen_port: u16 = 9876, "listenPort", locked;
        /// File of the key-value table, which holds the queues of ordered topics.
        kv_config_path: PathBuf = PathBuf::from("${user.home}/namesrv/kvConfig.json"), "kvConfigPath", locked,
            shown "`./thrust-data/namesrv/kvConfig.json` for `thrust nameserver` without a file; else \
                `${user.home}/namesrv/kvConfig.json`";
        /// File that what clients change (code 318) is written into. With `-c` it is that file; any other is read by no
        /// start.
        config_store_path: PathBuf = PathBuf::from("${user.home}/namesrv/namesrv.properties"),
            "configStorePath", locked;
        /// Keys that no client may change, beside those that are locked anyway.
        config_black_list: Vec<String> as List = black_list(), "configBlackList", locked;
    }

    "Routes" {
        /// Add the queues of ordered topics to routes.
        order_message_enable: bool = false, "orderMessageEnable", live;
        /// Tell a broker the queues of ordered topics when it registers.
        return_order_topic_config_to_broker: bool = true, "returnOrderTopicConfigToBroker", live;
        /// Let the slave of the lowest id stand in for a lost master.
        support_acting_master: bool = false, "supportActingMaster", live;
        /// Tell the brokers of a name when their lowest id changes.
        notify_min_broker_id_changed: bool = false, "notifyMinBrokerIdChanged", live;
        /// Drop the routes of topics that a full registration does not name.
        delete_topic_with_broker_registration: bool = false, "deleteTopicWithBrokerRegistration", live;
        /// Refuse routes after the start until brokers had the time to register.
        need_wait_for_service: bool = false, "needWaitForService", live;
        /// How long.
        wait_seconds_for_service: Duration as Seconds = Duration::from_secs(45),
            "waitSecondsForService", live, within Duration::ZERO, DAY;
        /// Answer the list of all topics (code 206).
        enable_all_topic_list: bool = true, "enableAllTopicList", live;
        /// Answer the lists of topics by cluster and by unit.
        enable_topic_list: bool = true, "enableTopicList", live;
    }

    "Brokers and clients" {
        /// Time between two looks for brokers that fell silent.
        scan_not_active_broker_interval: Duration as Millis = Duration::from_millis(5000),
            "scanNotActiveBrokerInterval", restart, within Duration::from_millis(10), DAY;
        /// Silence after which a connection is closed.
        server_channel_max_idle_time_seconds: Duration as Seconds = Duration::from_secs(120),
            "serverChannelMaxIdleTimeSeconds", restart, within Duration::from_secs(1), DAY;
    }

    "Limits that Java has not" {
        /// Most connections of one port at a time (the broker's, its fast port and the name server's count for
        /// themselves), and on all ports together never more than three quarters of the open files that the system
        /// grants; the next one is closed at once.
        max_connections: usize = 20_000, "thrust.maxConnections", locked, within 1, 10_000_000;
        /// Most requests of one connection that wait for their answer; a further one that would have to wait is
        /// refused (SYSTEM_BUSY).
        max_in_flight_per_connection: usize = 4096,
            "thrust.maxInFlightPerConnection", locked, within 1, 1_000_000;
        /// Most bytes of one frame; a longer one closes its connection.
        max_frame_bytes: u64 as Bytes = 16 * MIB,
            "thrust.maxFrameBytes", locked, within 64 * KIB, i32::MAX as u64;
        /// Most bytes of requests that have not arrived completely, of all connections of one port; a connection that
        /// would add to them is closed.
        max_inbound_bytes: u64 as Bytes = 512 * MIB,
            "thrust.maxInboundBytes", locked, within 64 * KIB, u64::MAX;
        /// Most bytes of answers that wait for one client to read them; then it is not read from.
        max_outbound_bytes_per_connection: u64 as Bytes = 64 * MIB,
            "thrust.maxOutboundBytesPerConnection", locked, within 64 * KIB, u64::MAX;
        /// Most bytes of answers that wait for all clients of one port to read them; then those that have some
        /// waiting are not read from.
        max_outbound_bytes: u64 as Bytes = 512 * MIB,
            "thrust.maxOutboundBytes", locked, within 64 * KIB, u64::MAX;
    }
}

fn black_list() -> Vec<String> {
    ["configBlackList", "configStorePath", "kvConfigPath"].map(String::from).to_vec()
}

impl Nameserver {
    fn place(&mut self, _: &Surroundings, _: &dyn Fn(&str) -> bool) -> Result<(), SettingError> {
        Ok(())
    }

    fn settle(&mut self, _: &dyn Fn(&str) -> bool) -> Result<Vec<Remark>, SettingError> {
        Ok(Vec::new())
    }
}
