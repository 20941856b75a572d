//! The keys of `broker.conf` that act.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::shorten;
use crate::form::{
    Addresses, BrokerRole, Bytes, DelayLevels, FlushDiskType, Form, Hours, HoursOfDay, List,
    MessageRequestMode, Millis, Seconds,
};
use crate::table::{Change, Row, Table, bounds, clamp, form, outside, settings};
use crate::{Place, Remark, SettingError, Surroundings};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Java holds the sizes of files and messages in an `int`.
const INT_MAX: u64 = i32::MAX as u64;
/// What a frame holds beside the body of its message: header fields, properties, lengths.
const FRAME_OVERHEAD_BYTES: u64 = 64 * KIB;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const DAY: Duration = secs(86_400);

settings! {
    /// What `broker.conf` may say, as far as it acts.
    Broker in "broker.conf";

    "Who this broker is" {
        /// Name that a master shares with its slaves; clients route by it.
        broker_name: String = "DEFAULT_BROKER".to_owned(),
            "brokerName", locked, shown "host name, else DEFAULT_BROKER";
        /// Cluster that the broker registers under.
        broker_cluster_name: String = "DefaultCluster".to_owned(), "brokerClusterName", locked;
        /// 0 for a master, above 0 for a slave. A master is 0 whatever is written.
        broker_id: i64 = 0, "brokerId", locked, within -1, i64::MAX;
        /// ASYNC_MASTER, SYNC_MASTER or SLAVE.
        broker_role: BrokerRole = BrokerRole::AsyncMaster, "brokerRole", locked;
        /// What the whole broker allows: 2 write, 4 read, 6 both. 4 drains a broker before maintenance.
        broker_permission: i32 = 6, "brokerPermission", live, within 0, 15;
        /// Region that answers and traces carry.
        region_id: String = "DefaultRegion".to_owned(), "regionId", live;
    }

    "Addresses" {
        /// Interface to listen on.
        bind_address: String = "0.0.0.0".to_owned(), "bindAddress", locked,
            shown "`127.0.0.1` for `thrust serve`, and for `thrust broker` without a file; else `0.0.0.0`";
        /// Port that clients connect to; the fast port is two below it. 0 takes any free port.
        listen_port: u16 = 10911, "listenPort", locked;
        /// Address that clients are told; to be set behind NAT, in containers, with several interfaces.
        broker_ip1: Option<String> = None, "brokerIP1", locked, shown "the address of this machine";
        /// Address that slaves are told.
        broker_ip2: Option<String> = None, "brokerIP2", locked, shown "the address of this machine";
        /// Replication port, told to name servers. Not positive means `listenPort` + 1.
        ha_listen_port: i32 = 10912, "haListenPort", locked, within i32::MIN, 65535, shown "listenPort + 1";
        /// Name servers.
        namesrv_addr: Vec<String> as Addresses = Vec::new(), "namesrvAddr", locked, shown "$NAMESRV_ADDR";
    }

    "Name servers" {
        /// Time between two registrations.
        register_name_server_period: Duration as Millis = ms(30_000),
            "registerNameServerPeriod", live, clamped ms(10_000), ms(60_000);
        /// Longest wait for the answer to one registration.
        register_broker_timeout_mills: Duration as Millis = ms(24_000),
            "registerBrokerTimeoutMills", live, within ms(1), DAY;
        /// Time between two questions for the queues that topics have on other brokers, which are assigned to clients
        /// that leave it to brokers.
        load_balance_poll_name_server_interval: Duration as Millis = ms(30_000),
            "loadBalancePollNameServerInterval", live, clamped ms(1000), DAY;
        /// How long another broker may take to answer for a logical queue of a static topic that it held before.
        forward_timeout: Duration as Millis = ms(3_000), "forwardTimeout", live, within ms(1), DAY;
    }

    "Where the data is" {
        /// Root of all data. A relative path begins at the working directory.
        store_path_root_dir: PathBuf = PathBuf::from("${user.home}/store"), "storePathRootDir", locked,
            shown "`./thrust-data` for `thrust serve`, and for `thrust broker` without a file; else `${user.home}/store`";
        /// Directory of the commit log.
        store_path_commit_log: Option<PathBuf> = None,
            "storePathCommitLog", locked, shown "storePathRootDir/commitlog";
        /// Bytes of one commit log file.
        mapped_file_size_commit_log: u64 = 1 << 30, "mappedFileSizeCommitLog", locked, within 4096, INT_MAX;
        /// Bytes of one consume queue file, rounded up to a multiple of 20.
        mapped_file_size_consume_queue: u64 = 6_000_000,
            "mappedFileSizeConsumeQueue", locked, within 20, INT_MAX;
        /// Bytes of one file of a queue of a BatchCQ topic, rounded up to a multiple of 46.
        mapper_file_size_batch_consume_queue: u64 = 13_800_000,
            "mapperFileSizeBatchConsumeQueue", locked, within 46, INT_MAX;
        /// Keep with each message of a consume queue what filters want to know, beside the queue's own files.
        enable_consume_queue_ext: bool = false, "enableConsumeQueueExt", restart;
        /// Bytes of one file of these extensions.
        mapped_file_size_consume_queue_ext: u64 = 48 << 20,
            "mappedFileSizeConsumeQueueExt", locked, within 1024, INT_MAX;
        /// Build the index that finds messages by key.
        message_index_enable: bool = true, "messageIndexEnable", restart;
        /// Hash slots of one index file.
        max_hash_slot_num: u32 = 5_000_000, "maxHashSlotNum", locked, within 1, 100_000_000;
        /// Entries of one index file.
        max_index_num: u32 = 20_000_000, "maxIndexNum", locked, within 2, 100_000_000;
    }

    "When data is safe" {
        /// ASYNC_FLUSH answers before the disk has the message, SYNC_FLUSH after.
        flush_disk_type: FlushDiskType = FlushDiskType::Async, "flushDiskType", restart;
        /// Time between two flushes of the commit log with ASYNC_FLUSH: what a power cut can take.
        flush_interval_commit_log: Duration as Millis = ms(500),
            "flushIntervalCommitLog", live, within ms(1), DAY;
        /// Longest wait of a send for SYNC_FLUSH before it is answered FLUSH_DISK_TIMEOUT.
        sync_flush_timeout: Duration as Millis = ms(5000), "syncFlushTimeout", live, within ms(1), DAY;
        /// Time between two flushes of the consume queues.
        flush_interval_consume_queue: Duration as Millis = ms(1000),
            "flushIntervalConsumeQueue", live, within ms(1), DAY;
        /// Time after which a consume queue is flushed however little is new.
        flush_consume_queue_thorough_interval: Duration as Millis = ms(60_000),
            "flushConsumeQueueThoroughInterval", live, within ms(1), DAY;
        /// Time between two saves of consumer offsets.
        flush_consumer_offset_interval: Duration as Millis = ms(5000),
            "flushConsumerOffsetInterval", live, within ms(1), DAY;
        /// Time between two saves of the progress of the delay levels.
        flush_delay_offset_interval: Duration as Millis = ms(10_000),
            "flushDelayOffsetInterval", live, within ms(1), DAY;
        /// Offset commits after which the version of the offset table moves on.
        consumer_offset_update_version_step: u64 = 500,
            "consumerOffsetUpdateVersionStep", live, within 1, u64::MAX;
        /// Verify the checksums of messages when recovering.
        check_crc_on_recover: bool = true, "checkCRCOnRecover", restart;
        /// Store a CRC over the whole record with each message, twenty bytes as its last property.
        enabled_append_prop_crc: bool = false, "enabledAppendPropCRC", restart;
        /// Take a message without that CRC, or with a wrong one, for damaged, when recovering and when reading.
        force_verify_prop_crc: bool = false, "forceVerifyPropCRC", restart;
    }

    "How long data is kept" {
        /// Hours that a commit log file is kept after its last message.
        file_reserved_time: Duration as Hours = secs(72 * 3600), "fileReservedTime", live;
        /// Hours of the day, local time, at which expired files are deleted.
        delete_when: Vec<u8> as HoursOfDay = vec![4], "deleteWhen", live;
        /// Percent of the disk in use from which expired files are deleted at any hour.
        disk_max_used_space_ratio: u32 = 75, "diskMaxUsedSpaceRatio", live, clamped 10, 95;
        /// Percent of the disk in use from which the oldest files are deleted even if not expired.
        disk_space_clean_forcibly_ratio: u32 = 85, "diskSpaceCleanForciblyRatio", live, clamped 30, 85;
        /// Percent of the disk in use from which sends are refused.
        disk_space_warning_level_ratio: u32 = 90, "diskSpaceWarningLevelRatio", live, clamped 35, 90;
        /// Allow that deletion of files that are not expired.
        clean_file_forcibly_enable: bool = true, "cleanFileForciblyEnable", live;
        /// Time between two looks for files to delete.
        clean_resource_interval: Duration as Millis = ms(10_000),
            "cleanResourceInterval", live, within ms(100), DAY;
        /// Most files deleted in one look.
        delete_file_batch_max: usize = 10, "deleteFileBatchMax", live, within 1, 100_000;
    }

    "Topics and groups" {
        /// Create an unknown topic on its first send. To be turned off in production.
        auto_create_topic_enable: bool = true, "autoCreateTopicEnable", live;
        /// Create an unknown consumer group on first contact. To be turned off in production.
        auto_create_subscription_group: bool = true, "autoCreateSubscriptionGroup", live;
        /// Queues of a topic that is created by a send.
        default_topic_queue_nums: i32 = 8, "defaultTopicQueueNums", restart, within 1, 65535;
        /// Have a topic named after the cluster.
        cluster_topic_enable: bool = true, "clusterTopicEnable", restart;
        /// Have a topic named after the broker.
        broker_topic_enable: bool = true, "brokerTopicEnable", restart;
        /// Allow topics of the type MIXED, which take messages of all kinds.
        enable_mixed_message_type: bool = false, "enableMixedMessageType", live;
        /// Refuse to create or change a topic that has the name of a system topic.
        validate_system_topic_when_update_topic: bool = true, "validateSystemTopicWhenUpdateTopic", live;
    }

    "Light queues" {
        /// Serve light queues: topics and groups whose names begin with `%LMQ%` need no configuration, and their
        /// offsets are kept in `lmqConsumerOffset.json`, with those of all others.
        enable_lmq: bool = false, "enableLmq", restart;
        /// Put messages into the light queues that their property INNER_MULTI_DISPATCH names. Acts with `enableLmq`.
        enable_multi_dispatch: bool = false, "enableMultiDispatch", restart;
        /// Light queues that there may be; a message for a further one is refused.
        max_lmq_consume_queue_num: usize = 20_000, "maxLmqConsumeQueueNum", live, within 1, 10_000_000;
    }

    "Sending" {
        /// Most bytes of one message. The limits of clients and proxies are to be raised with it.
        max_message_size: usize = 4 << 20, "maxMessageSize", live, within 1, INT_MAX as usize;
        /// Refuse sends until this time, in milliseconds since 1970.
        start_accept_send_request_time_stamp: i64 = 0, "startAcceptSendRequestTimeStamp", live;
        /// Delays of the levels 1, 2, 3 … of delayed and retried messages.
        message_delay_level: DelayLevels = DelayLevels::default(), "messageDelayLevel", restart;
    }

    "Transactions" {
        /// Refuse half messages.
        reject_transaction_message: bool = false, "rejectTransactionMessage", live;
        /// Time after which a producer is asked how its transaction ended.
        transaction_time_out: Duration as Millis = ms(6000), "transactionTimeOut", live, within ms(0), DAY;
        /// Time between two rounds of asking.
        transaction_check_interval: Duration as Millis = ms(30_000),
            "transactionCheckInterval", live, within ms(1), DAY;
        /// How often a producer is asked before its half message goes to TRANS_CHECK_MAX_TIME_TOPIC.
        transaction_check_max: u32 = 15, "transactionCheckMax", live, within 1, 1_000_000;
        /// Characters of one record of decided half messages.
        transaction_op_msg_max_size: usize = 4096, "transactionOpMsgMaxSize", live, within 1, 1 << 20;
        /// Time between two saves of the numbers of open half messages.
        transaction_metric_flush_interval: Duration as Millis = ms(10_000),
            "transactionMetricFlushInterval", live, within ms(1), DAY;
    }

    "Timer messages" {
        /// Serve messages with a time of delivery (`setDeliverTimeMs`, `setDelayTimeMs`, `setDelayTimeSec`).
        timer_wheel_enable: bool = true, "timerWheelEnable", restart;
        /// Longest delay, in seconds; a message that is due later is refused.
        timer_max_delay_sec: Duration as Seconds = secs(259_200),
            "timerMaxDelaySec", live, within secs(1), secs(INT_MAX);
        /// Milliseconds of a slot of the timer wheel, rounded down to 1000, 500, 200 or 100. Messages are delivered at
        /// their own millisecond whatever it is.
        timer_precision_ms: u32 = 1000, "timerPrecisionMs", restart, within 1, INT_MAX as u32;
        /// A message due later than this many slots is put into the timer topic again on the way.
        timer_roll_window_slot: u32 = 172_800, "timerRollWindowSlot", restart, within 0, INT_MAX as u32;
        /// Bytes of one timer log file.
        mapped_file_size_timer_log: u64 = 104_857_600,
            "mappedFileSizeTimerLog", restart, within 4096, INT_MAX;
        /// Time between two checkpoints of the timer.
        timer_flush_interval_ms: Duration as Millis = ms(1000),
            "timerFlushIntervalMs", restart, within ms(1), DAY;
        /// Messages in one slot from which further ones for it are refused now and then, from twice as many on always.
        timer_congest_num_each_slot: i32 = i32::MAX, "timerCongestNumEachSlot", live, within 1, i32::MAX;
        /// Let producers take back timer messages that are not due yet (code 370).
        recall_message_enable: bool = false, "recallMessageEnable", live;
        /// Let them do so also while `brokerPermission` forbids writing.
        allow_recall_when_broker_not_writeable: bool = true, "allowRecallWhenBrokerNotWriteable", live;
        /// Name a message that is taken back by topic and id, as brokers before 5.4 do; both are understood here.
        append_topic_for_timer_delete_key: bool = false, "appendTopicForTimerDeleteKey", live;
    }

    "Compacted topics" {
        /// Keep the last message of each key of topics with `cleanup.policy=COMPACTION`. Without it they are served as
        /// others, and what is kept of them is left alone.
        enable_compaction: bool = true, "enableCompaction", restart;
        /// Bytes of one file of their records, rounded to a multiple of the next, five of them at least.
        compaction_mapped_file_size: u64 = 100 << 20,
            "compactionMappedFileSize", restart, within 1, INT_MAX;
        /// Bytes of one file of their queue entries, rounded down to a multiple of 46.
        compaction_cq_mapped_file_size: u64 = 10 << 20,
            "compactionCqMappedFileSize", restart, within 92, INT_MAX;
        /// Time between two compactions of a queue; up to twice as long, so that not all come at once.
        compaction_schedule_internal: Duration as Millis = ms(900_000),
            "compactionScheduleInternal", restart, within ms(1), DAY;
        /// Bytes of keys that one compaction holds in memory; what it has no room for waits for the next.
        max_offset_map_size: u64 = 100 << 20, "maxOffsetMapSize", restart, within 1, INT_MAX;
    }

    "Pulling" {
        /// Hold a pull that finds nothing until a message comes or the client's time is over.
        long_polling_enable: bool = true, "longPollingEnable", live;
        /// How long such a pull is held when `longPollingEnable` is false.
        short_polling_time_mills: Duration as Millis = ms(1000),
            "shortPollingTimeMills", live, within ms(1), DAY;
        /// Most bytes that one pull takes from memory.
        max_transfer_bytes_on_message_in_memory: usize = 256 << 10,
            "maxTransferBytesOnMessageInMemory", live, within 1, INT_MAX as usize;
        /// Most messages that one pull takes from memory.
        max_transfer_count_on_message_in_memory: usize = 32,
            "maxTransferCountOnMessageInMemory", live, within 1, 65536;
        /// Most bytes that one pull takes from the disk.
        max_transfer_bytes_on_message_in_disk: usize = 64 << 10,
            "maxTransferBytesOnMessageInDisk", live, within 1, INT_MAX as usize;
        /// Most messages that one pull takes from the disk.
        max_transfer_count_on_message_in_disk: usize = 8,
            "maxTransferCountOnMessageInDisk", live, within 1, 65536;
        /// Limit how much groups read that is not in memory.
        cold_data_flow_control_enable: bool = false, "coldDataFlowControlEnable", live;
        /// Bytes from the disk that one group gets in 5 s, unless an administrator gives it a limit of its own.
        cg_cold_read_threshold: u64 = 3 * MIB, "cgColdReadThreshold", live;
        /// Bytes from the disk that all groups get in 5 s, together.
        global_cold_read_threshold: u64 = 100 * MIB, "globalColdReadThreshold", live;
        /// Have the disk read more than was asked for, for readers that pass over the log.
        data_read_ahead_enable: bool = true, "dataReadAheadEnable", live;
        /// Percent of the machine's memory that the newest messages are taken to be in.
        access_message_in_memory_max_ratio: u32 = 40, "accessMessageInMemoryMaxRatio", live, within 0, 100;
        /// Most bytes of a consume queue, 20 for each message, that one pull with a filter passes over.
        max_filter_message_size: usize = 16_000, "maxFilterMessageSize", live, within 1, INT_MAX as usize;
        /// Let consumers filter by properties, with SQL92 expressions.
        enable_property_filter: bool = false, "enablePropertyFilter", live;
        /// How long the filter of a consumer group that has left is remembered.
        filter_data_clean_time_span: Duration as Millis = ms(86_400_000),
            "filterDataCleanTimeSpan", live, within ms(1), secs(365 * 86_400);
        /// Ask the filters of all groups about a message when it is stored, and pass over it unread where a group's
        /// filter said no. Needs enableConsumeQueueExt.
        enable_calc_filter_bit_map: bool = false, "enableCalcFilterBitMap", restart;
        /// Consumers with filters by properties that the Bloom filter of these answers is made for.
        expect_consumer_num_use_filter: u32 = 32, "expectConsumerNumUseFilter", restart, within 1, 10_000;
        /// Percent of messages that this Bloom filter may let through in vain, to be read after all.
        max_error_rate_of_bloom_filter: u32 = 20, "maxErrorRateOfBloomFilter", restart, within 1, 99;
        /// Refuse pulls of consumers that are not in their group by heartbeat.
        reject_pull_consumer_enable: bool = false, "rejectPullConsumerEnable", live;
        /// Answer the pulls of lite pull consumers (code 361).
        lite_pull_message_enable: bool = true, "litePullMessageEnable", live;
        /// Keep the offsets of broadcast consumers that move between the broker and a proxy.
        enable_broadcast_offset_store: bool = true, "enableBroadcastOffsetStore", live;
        /// How long those of a consumer are kept that pulls no more and is not connected.
        broadcast_offset_expire_second: Duration as Seconds = secs(120),
            "broadcastOffsetExpireSecond", live, within secs(1), DAY;
        /// How long those of a consumer are kept that pulls no more and is connected.
        broadcast_offset_expire_max_second: Duration as Seconds = secs(300),
            "broadcastOffsetExpireMaxSecond", live, within secs(1), DAY;
        /// Messages that a query by unique key answers.
        default_query_max_num: usize = 32, "defaultQueryMaxNum", live, within 1, 65536;
        /// Most messages that any query by key answers.
        max_msgs_num_batch: usize = 64, "maxMsgsNumBatch", live, within 1, 65536;
    }

    "Request-reply" {
        /// Store replies beside pushing them to the client that asked.
        store_reply_message_enable: bool = true, "storeReplyMessageEnable", live;
    }

    "Popping" {
        /// Whether groups without a mode of their own, whose clients ask for it, consume by PULL or by POP.
        default_message_request_mode: MessageRequestMode = MessageRequestMode::Pull,
            "defaultMessageRequestMode", live;
        /// With POP as that mode, how many other members share the queues of one; below 1 all share all.
        default_pop_share_queue_num: i32 = -1, "defaultPopShareQueueNum", live;
        /// Share queues out among the members that ask. When false each gets all.
        server_load_balancer_enable: bool = true, "serverLoadBalancerEnable", live;
        /// Queues of the log of deliveries and acknowledgements.
        revive_queue_num: u32 = 8, "reviveQueueNum", restart, within 1, 256;
        /// Deliveries without acknowledgement that are held in memory; more wait in their log until there is room.
        pop_ck_max_buffer_size: usize = 200_000, "popCkMaxBufferSize", restart, within 1, 100_000_000;
        /// Percent of the pops that look for failed messages before new ones.
        pop_from_retry_probability: u32 = 20, "popFromRetryProbability", live, within 0, 100;
        /// The same for pops that take messages by their priority.
        pop_from_retry_probability_for_priority: u32 = 0,
            "popFromRetryProbabilityForPriority", live, within 0, 100;
        /// Take the highest queue for the most urgent one. False: queue 0 is.
        priority_order_asc: bool = true, "priorityOrderAsc", live;
        /// Put failed messages into topics called %RETRY%group+topic instead of %RETRY%group_topic.
        enable_retry_topic_v2: bool = false, "enableRetryTopicV2", live;
        /// With that, still deliver what is in the topics of the older name.
        retrieve_message_from_pop_retry_topic_v1: bool = true, "retrieveMessageFromPopRetryTopicV1", live;
        /// Show failed messages with their retry topic instead of the topic they were sent to.
        pop_response_return_actual_retry_topic: bool = false, "popResponseReturnActualRetryTopic", live;
        /// Start a new group of a young topic at its first message even if it asked for the last.
        init_pop_offset_by_check_msg_in_mem: bool = true, "initPopOffsetByCheckMsgInMem", live;
        /// Most pops, and most notifications, that wait for messages.
        max_pop_polling_size: usize = 100_000, "maxPopPollingSize", live, within 0, 10_000_000;
        /// Most of them for one group, topic and queue.
        pop_polling_size: usize = 1024, "popPollingSize", live, within 0, 1_000_000;
        /// Deliver nothing from a queue of which a group has more than `popInflightMessageThreshold` unacknowledged.
        enable_pop_message_threshold: bool = false, "enablePopMessageThreshold", live;
        /// How many that may be.
        pop_inflight_message_threshold: i64 = 10_000, "popInflightMessageThreshold", live, within 0, i64::MAX;
    }

    "Clients" {
        /// Tell the members of a group at once when one comes or goes.
        notify_consumer_ids_changed_enable: bool = true, "notifyConsumerIdsChangedEnable", live;
        /// Reset offsets here instead of asking the clients to do it.
        use_server_side_reset_offset: bool = true, "useServerSideResetOffset", live;
        /// Silence after which a client is taken for gone.
        channel_expired_timeout: Duration as Millis = ms(120_000),
            "channelExpiredTimeout", live, within ms(1), DAY;
        /// Silence after which a connection is closed.
        server_channel_max_idle_time_seconds: Duration as Seconds = secs(120),
            "serverChannelMaxIdleTimeSeconds", restart, within secs(1), DAY;
        /// Tell clients on stop to go elsewhere before connections are closed.
        enable_shutdown_gracefully: bool = false, "enableShutdownGracefully", live;
        /// Tell clients that traces are wanted.
        trace_on: bool = true, "traceOn", live;
        /// Have the topic for traces on this broker.
        trace_topic_enable: bool = false, "traceTopicEnable", restart;
        /// Name of that topic.
        msg_trace_topic_name: String = "RMQ_SYS_TRACE_TOPIC".to_owned(), "msgTraceTopicName", restart;
        /// Keys that no client may change, beside those that are locked anyway.
        config_black_list: Vec<String> as List = black_list(), "configBlackList", locked;
    }

    "Limits that Java has not" {
        /// Most connections of one port at a time (the broker's, its fast port and the name server's count for
        /// themselves), and on all ports together never more than three quarters of the open files that the system
        /// grants; the next one is closed at once.
        max_connections: usize = 20_000, "thrust.maxConnections", locked, within 1, 10_000_000;
        /// Most requests of one connection that wait for their answer; a further one that would have to wait is
        /// refused (SYSTEM_BUSY, and POLLING_FULL for pops).
        max_in_flight_per_connection: usize = 4096,
            "thrust.maxInFlightPerConnection", locked, within 1, 1_000_000;
        /// Most unique keys known per topic with the attribute `dedup.window.ms`; older ones are forgotten.
        dedup_entries_max: usize = 1_000_000, "thrust.dedupEntriesMax", live, within 1, 100_000_000;
        /// Threads that read from disk for consumers that are far behind, and for queries.
        disk_read_threads: usize = 4, "thrust.diskReadThreads", restart, within 1, 256;
        /// Most bytes of one frame; a longer one closes its connection.
        max_frame_bytes: u64 as Bytes = 16 * MIB, "thrust.maxFrameBytes", locked, within 64 * KIB, INT_MAX;
        /// Most bytes of requests that have not arrived completely, of all connections of one port; a connection that
        /// would add to them is closed.
        max_inbound_bytes: u64 as Bytes = 512 * MIB,
            "thrust.maxInboundBytes", locked, within 64 * KIB, u64::MAX;
        /// Most bytes of answers that wait for one client to read them; then it is not read from.
        max_outbound_bytes_per_connection: u64 as Bytes = 64 * MIB,
            "thrust.maxOutboundBytesPerConnection", locked, within 64 * KIB, u64::MAX;
        /// Most transactions that are neither committed nor rolled back; then half messages are refused.
        max_open_transactions: u64 = 1_000_000, "thrust.maxOpenTransactions", live, within 1, 100_000_000;
        /// Most bytes of answers that wait for all clients of one port to read them; then those that have some
        /// waiting are not read from.
        max_outbound_bytes: u64 as Bytes = 512 * MIB,
            "thrust.maxOutboundBytes", locked, within 64 * KIB, u64::MAX;
    }
}

fn black_list() -> Vec<String> {
    ["configBlackList", "brokerConfigPath"].map(String::from).to_vec()
}

impl Broker {
    /// Directory of the commit log.
    pub fn commit_log_directory(&self) -> PathBuf {
        self.store_path_commit_log.clone().unwrap_or_else(|| self.store_path_root_dir.join("commitlog"))
    }

    /// Bytes of one consume queue file: whole entries of 20 bytes.
    pub fn consume_queue_file_bytes(&self) -> u64 {
        self.mapped_file_size_consume_queue.next_multiple_of(20)
    }

    /// Bytes of one file of a batch consume queue: whole entries of 46 bytes.
    pub fn batch_consume_queue_file_bytes(&self) -> u64 {
        self.mapper_file_size_batch_consume_queue.next_multiple_of(46)
    }

    /// The port for sends of clients with `sendMessageWithVIPChannel`, two below the main one.
    pub fn fast_listen_port(&self) -> Option<u16> {
        self.listen_port.checked_sub(2).filter(|port| *port != 0)
    }

    /// Whether the broker is a master.
    pub fn is_master(&self) -> bool {
        self.broker_role != BrokerRole::Slave
    }

    fn place(
        &mut self,
        surroundings: &Surroundings,
        given: &dyn Fn(&str) -> bool,
    ) -> Result<(), SettingError> {
        if let Some(host) = surroundings.host_name.as_deref().and_then(String::read)
            && !given("brokerName")
        {
            self.broker_name = host;
        }
        if let Some(addresses) = &surroundings.namesrv_addr
            && !given("namesrvAddr")
        {
            // An endpoint, as Java takes it too (cluster.md §1.11).
            let endpoint = addresses.strip_prefix("http://").and_then(|rest| rest.rsplit('/').next());
            let addresses = endpoint.unwrap_or(addresses);
            self.set("namesrvAddr", addresses).map_err(|error| error.at(Place::Environment))?;
        }
        Ok(())
    }

    fn settle(&mut self, given: &dyn Fn(&str) -> bool) -> Result<Vec<Remark>, SettingError> {
        let mut remarks = Vec::new();
        if !given("haListenPort") || self.ha_listen_port <= 0 {
            self.ha_listen_port = i32::from(self.listen_port) + 1;
        }
        if self.is_master() {
            if self.broker_id != 0 {
                let text = format!("{} is for slaves; a master has 0, as in the Java broker", self.broker_id);
                remarks.push(Remark { key: "brokerId", text });
                self.broker_id = 0;
            }
        } else if self.broker_id <= 0 {
            return Err(SettingError::Conflict {
                keys: "brokerRole, brokerId",
                text: format!("a SLAVE needs a brokerId above 0, and it is {}", self.broker_id),
                remedy: "set brokerId=1, or brokerRole=ASYNC_MASTER",
            });
        }
        if let Some(path) = self.store_path_commit_log.as_deref().filter(|path| has_comma(path)) {
            return Err(SettingError::Conflict {
                keys: "storePathCommitLog",
                text: format!("\"{}\" names several directories; one is served", path.display()),
                remedy: "move the files into one directory and name that",
            });
        }
        if self.max_message_size as u64 + FRAME_OVERHEAD_BYTES > self.max_frame_bytes {
            let text = format!(
                "messages of {} bytes do not fit a frame of at most {}; raise thrust.maxFrameBytes",
                self.max_message_size, self.max_frame_bytes
            );
            remarks.push(Remark { key: "maxMessageSize", text });
        }
        Ok(remarks)
    }
}

fn has_comma(path: &std::path::Path) -> bool {
    path.to_string_lossy().contains(',')
}
