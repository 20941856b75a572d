//! Configuration files that are in use today: those of the official distribution and of the tutorials.

use settings::{BrokerRole, FlushDiskType, Loaded, Surroundings, load_in};

const LICENSE: &str = "\
# Licensed to the Apache Software Foundation (ASF) under one or more
# contributor license agreements.  See the NOTICE file distributed with
#  limitations under the License.

";

fn load<S: settings::Table>(text: &str) -> Loaded<S> {
    let machine = Surroundings { home: Some("/home/mq".into()), ..Surroundings::default() };
    load_in(&machine, text, &[]).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_plain_broker_conf() {
    let text = format!(
        "{LICENSE}brokerClusterName = DefaultCluster\nbrokerName = broker-a\nbrokerId = 0\ndeleteWhen = 04\n\
         fileReservedTime = 48\nbrokerRole = ASYNC_MASTER\nflushDiskType = ASYNC_FLUSH\n"
    );
    let loaded = load::<settings::Broker>(&text);
    assert_eq!(loaded.warnings(), [""; 0]);
    assert_eq!(loaded.settings.broker_name, "broker-a");
    assert_eq!(loaded.settings.delete_when, [4]);
    assert_eq!(loaded.settings.file_reserved_time.as_secs(), 48 * 3600);
    assert_eq!(loaded.settings.commit_log_directory().to_str(), Some("/home/mq/store/commitlog"));
}

#[test]
fn two_masters_and_two_synchronous_slaves() {
    let master = "brokerClusterName=DefaultCluster\r\nbrokerName=broker-a\r\nbrokerId=0\r\ndeleteWhen=04\r\n\
                  fileReservedTime=48\r\nbrokerRole=SYNC_MASTER\r\nflushDiskType=ASYNC_FLUSH\r\n";
    let loaded = load::<settings::Broker>(master);
    assert_eq!(loaded.warnings(), [""; 0]);
    assert_eq!(loaded.settings.broker_role, BrokerRole::SyncMaster);
    let slave = master.replace("brokerId=0", "brokerId=1").replace("SYNC_MASTER", "SLAVE");
    let loaded = load::<settings::Broker>(&slave);
    assert_eq!(loaded.warnings(), [""; 0]);
    assert_eq!((loaded.settings.broker_role, loaded.settings.broker_id), (BrokerRole::Slave, 1));
}

#[test]
fn the_broker_of_a_trace_topic() {
    let text = "brokerClusterName=DefaultCluster\nbrokerName=broker-trace\nbrokerId=0\ndeleteWhen=04\n\
                fileReservedTime=48\nbrokerRole=ASYNC_MASTER\nflushDiskType=ASYNC_FLUSH\ntraceTopicEnable=true\n";
    let loaded = load::<settings::Broker>(text);
    assert_eq!(loaded.warnings(), [""; 0]);
    assert!(loaded.settings.trace_topic_enable);
}

#[test]
fn a_dledger_node_hears_that_its_messages_are_on_one_machine() {
    let text = "brokerClusterName = RaftCluster\nbrokerName=RaftNode00\nlistenPort=30911\n\
                namesrvAddr=127.0.0.1:9876\nstorePathRootDir=/tmp/rmqstore/node00\n\
                storePathCommitLog=/tmp/rmqstore/node00/commitlog\nenableDLegerCommitLog=true\n\
                dLegerGroup=RaftNode00\n\
                dLegerPeers=n0-127.0.0.1:40911;n1-127.0.0.1:40912;n2-127.0.0.1:40913\n\
                ## must be unique\ndLegerSelfId=n0\nsendMessageThreadPoolNums=16\n";
    let loaded = load::<settings::Broker>(text);
    assert_eq!(loaded.unknown, []);
    assert_eq!(loaded.settings.ha_listen_port, 30912);
    assert_eq!(loaded.settings.fast_listen_port(), Some(30909));
    assert_eq!(
        loaded.warnings(),
        [
            "enableDLegerCommitLog: replication is asked for and not served yet: messages are on this broker alone",
            "no effect here: enableDLegerCommitLog, dLegerGroup, dLegerPeers, dLegerSelfId: \
             DLedger mode is not served yet",
            "no effect here: sendMessageThreadPoolNums: the server has no thread pools or request queues to size",
        ]
    );
}

#[test]
fn a_name_server_file_whose_licence_is_an_xml_comment() {
    let text = "<!--\n  Licensed to the Apache Software Foundation (ASF) under one or more\n  \
                contributor license agreements.  See the NOTICE file distributed with\n      \
                http://www.apache.org/licenses/LICENSE-2.0\n  limitations under the License.\n-->\n\
                #Namesrv config\nlistenPort = 9876\nenableControllerInNamesrv = true\n\
                #controller config\ncontrollerDLegerGroup = group1\n\
                controllerDLegerPeers = n0-127.0.0.1:9878;n1-127.0.0.1:9868;n2-127.0.0.1:9858\n\
                controllerDLegerSelfId = n0\nkvConfigPth = /tmp/kv\n";
    let loaded = load::<settings::Nameserver>(text);
    let unknown: Vec<_> = loaded.unknown.iter().map(|unknown| (&*unknown.key, unknown.nearest)).collect();
    assert_eq!(unknown, [("kvConfigPth", Some("kvConfigPath"))]);
    assert_eq!(loaded.ignored.len(), 4);
    assert_eq!(loaded.settings.kv_config_path.to_str(), Some("/home/mq/namesrv/kvConfig.json"));
}

#[test]
fn the_long_file_of_the_tutorials() {
    // apache/rocketmq#2945 and #6368; the trailing blanks and the trailing ; are theirs.
    let text = "brokerClusterName=rocketmq-cluster\nbrokerName=broker-a\nbrokerId=0\n\
                namesrvAddr=rocketmq-nameserver1:9876;rocketmq-nameserver2:9876;\ndefaultTopicQueueNums=4\n\
                autoCreateTopicEnable=true\nautoCreateSubscriptionGroup=true\nlistenPort=10911\n\
                deleteWhen=04\nfileReservedTime=120 \nmapedFileSizeCommitLog=1073741824\n\
                mapedFileSizeConsumeQueue=300000\ndiskMaxUsedSpaceRatio=88\n\
                storePathRootDir=/usr/local/rocketmq/store\nstorePathCommitLog=/usr/local/rocketmq/store/commitlog\n\
                storePathConsumeQueue=/usr/local/rocketmq/store/consumequeue\n\
                storePathIndex=/usr/local/rocketmq/store/index\nstoreCheckpoint=/usr/local/rocketmq/store/checkpoint\n\
                abortFile=/usr/local/rocketmq/store/abort\nmaxMessageSize=65536\n\
                #flushCommitLogLeastPages=4\nbrokerRole=ASYNC_MASTER\nflushDiskType=SYNC_FLUSH\n\
                #checkTransactionMessageEnable=false\n";
    let loaded = load::<settings::Broker>(text);
    assert_eq!(loaded.unknown, []);
    assert_eq!(loaded.remarks, []);
    let ignored: Vec<_> = loaded.ignored.iter().map(|ignored| &*ignored.key).collect();
    assert_eq!(
        ignored,
        [
            "mapedFileSizeCommitLog",
            "mapedFileSizeConsumeQueue",
            "storePathConsumeQueue",
            "storePathIndex",
            "storeCheckpoint",
            "abortFile"
        ]
    );
    let broker = loaded.settings;
    assert_eq!(broker.namesrv_addr, ["rocketmq-nameserver1:9876", "rocketmq-nameserver2:9876"]);
    assert_eq!(broker.file_reserved_time.as_secs(), 120 * 3600);
    assert_eq!((broker.max_message_size, broker.disk_max_used_space_ratio), (65536, 88));
    assert_eq!(broker.flush_disk_type, FlushDiskType::Sync);
    assert_eq!(broker.mapped_file_size_consume_queue, 6_000_000);
}
