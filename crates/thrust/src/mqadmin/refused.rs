//! Commands of the official tool that are not offered, and why. Those of them that are still wanted move to a family's
//! file once the server does what they ask.

const CONTROLLER: &str = "there is no controller yet";
const CONTAINER: &str = "brokers are not kept in containers here; start a broker of its own with `mqbroker`";
const LITE: &str = "there are no lite topics yet";
const ROCKSDB: &str = "stores are files here, and no RocksDB";

/// Names with the reason.
pub const REFUSED: &[(&str, &str)] = &[
    ("addBroker", CONTAINER),
    ("removeBroker", CONTAINER),
    ("startMonitoring", "it never ends and prints nothing; `consumerProgress` shows what is behind"),
    ("getBrokerEpoch", CONTROLLER),
    ("getSyncStateSet", CONTROLLER),
    ("getControllerMetaData", CONTROLLER),
    ("getControllerConfig", CONTROLLER),
    ("updateControllerConfig", CONTROLLER),
    ("electMaster", CONTROLLER),
    ("cleanBrokerMetadata", CONTROLLER),
    ("exportMetadataInRocksDB", ROCKSDB),
    ("rocksDBConfigToJson", ROCKSDB),
    ("checkRocksdbCqWriteProgress", ROCKSDB),
    ("getBrokerLiteInfo", LITE),
    ("getParentTopicInfo", LITE),
    ("getLiteTopicInfo", LITE),
    ("getLiteClientInfo", LITE),
    ("getLiteGroupInfo", LITE),
    ("triggerLiteDispatch", LITE),
];
