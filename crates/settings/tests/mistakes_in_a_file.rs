//! What a user is told about a file that cannot be meant as it is.

use settings::{Broker, Loaded, Nameserver, Place, SettingError, Surroundings, load_in};

fn load(text: &str, overrides: &[(&str, &str)]) -> Result<Loaded<Broker>, SettingError> {
    let overrides: Vec<_> =
        overrides.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    load_in(&Surroundings::default(), text, &overrides)
}

fn refused(text: &str) -> String {
    load(text, &[]).map(|_| ()).expect_err(text).to_string()
}

#[test]
fn a_value_of_the_wrong_form_names_line_key_and_remedy() {
    assert_eq!(
        refused("# days\n\nfileReservedTime=3 days\n"),
        "line 3: fileReservedTime = \"3 days\" is not accepted; it takes a whole number of hours; \
         correct it, or leave it out for the default (72)"
    );
    assert_eq!(
        refused("listenPort=70000"),
        "line 1: listenPort = \"70000\" is not accepted; it takes a port from 0 to 65535; \
         correct it, or leave it out for the default (10911)"
    );
    assert_eq!(
        refused("brokerPermission=99"),
        "line 1: brokerPermission = \"99\" is not accepted; it takes a whole number, from 0 to 15; \
         correct it, or leave it out for the default (6)"
    );
    assert_eq!(
        refused("\nnamesrvAddr=10.0.0.1:9876,10.0.0.2:9876"),
        "line 2: namesrvAddr = \"10.0.0.1:9876,10.0.0.2:9876\" is not accepted; it takes host:port, several \
         separated by ;; correct it, or leave it out for the default ($NAMESRV_ADDR)"
    );
}

#[test]
fn words_that_java_takes_for_false_or_for_nothing() {
    for line in [
        "autoCreateTopicEnable=yes",
        "flushDiskType=SYNC",
        "brokerRole=MASTER",
        "deleteWhen=24",
        "deleteWhen=",
        "messageDelayLevel=1s 5x",
        "messageDelayLevel=",
        "messageDelayLevel=1é",
        "messageDelayLevel=99999999999999999999s",
        "brokerName=",
        "maxMessageSize=4MiB",
        "maxMessageSize=-1",
        "fileReservedTime=18446744073709551615",
        "namesrvAddr=nameserver",
        "namesrvAddr=:9876",
        "thrust.maxOutboundBytes=99999999999GiB",
        "bindAddress=",
    ] {
        assert!(refused(line).starts_with("line 1: "), "{line}");
    }
}

#[test]
fn unknown_keys_are_reported_with_the_name_that_was_meant() {
    let text = "brokerIp=1\nautoCreateTopicEnabled=true\nflushdisktype=SYNC_FLUSH\nfavouriteColour=blue\n";
    let loaded = load(text, &[]).unwrap();
    let nearest: Vec<_> = loaded.unknown.iter().map(|unknown| (unknown.place, unknown.nearest)).collect();
    assert_eq!(
        nearest,
        [
            (Place::Line(1), Some("brokerIP1")),
            (Place::Line(2), Some("autoCreateTopicEnable")),
            (Place::Line(3), Some("flushDiskType")),
            (Place::Line(4), None),
        ]
    );
    assert_eq!(
        loaded.warnings()[1],
        "line 2: unknown key autoCreateTopicEnabled has no effect; did you mean autoCreateTopicEnable?"
    );
}

#[test]
fn an_unknown_key_on_the_command_line_is_an_error() {
    let error = load("", &[("brokerNam", "a")]).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "--set: there is no key brokerNam; did you mean brokerName?");
}

#[test]
fn the_last_line_of_a_key_counts_and_the_command_line_more() {
    let text = "listenPort=nonsense\nlistenPort=1000\nbrokerName=a\n";
    let loaded = load(text, &[("brokerName", "b"), ("brokerName", " c ")]).unwrap();
    assert_eq!((loaded.settings.listen_port, &*loaded.settings.broker_name), (1000, "c"));
    assert_eq!(loaded.warnings(), ["line 1: listenPort is given again on line 2"]);
    assert_eq!(loaded.place_of("listenPort"), Some(Place::Line(2)));
    assert_eq!(loaded.place_of("brokerName"), Some(Place::Override));
    assert_eq!(loaded.place_of("brokerId"), None);
}

#[test]
fn ratios_and_periods_outside_javas_limits_are_moved_and_reported() {
    let text = "diskMaxUsedSpaceRatio=100\ndiskSpaceWarningLevelRatio=99\nregisterNameServerPeriod=1000\n";
    let loaded = load(text, &[]).unwrap();
    assert_eq!(loaded.settings.disk_max_used_space_ratio, 95);
    assert_eq!(loaded.settings.disk_space_warning_level_ratio, 90);
    assert_eq!(loaded.settings.register_name_server_period.as_secs(), 10);
    assert_eq!(
        loaded.warnings()[2],
        "registerNameServerPeriod: 1000 is outside 10000 to 60000; 10000 is used, as in the Java broker"
    );
}

#[test]
fn roles_and_ids_that_do_not_go_together() {
    let error = refused("brokerRole=SLAVE\n");
    assert_eq!(
        error,
        "brokerRole, brokerId: a SLAVE needs a brokerId above 0, and it is 0; \
         set brokerId=1, or brokerRole=ASYNC_MASTER"
    );
    let loaded = load("brokerId=3\n", &[]).unwrap();
    assert_eq!(loaded.settings.broker_id, 0);
    assert_eq!(loaded.remarks.len(), 1);
}

#[test]
fn access_control_that_is_asked_for_and_not_there_is_said_aloud() {
    let loaded = load("authenticationEnabled = true\nauthorizationEnabled=false\n", &[]).unwrap();
    let remarks: Vec<_> = loaded.remarks.iter().map(|remark| remark.key).collect();
    assert_eq!(remarks, ["authenticationEnabled"]);
    assert_eq!(loaded.ignored.len(), 2);
}

#[test]
fn a_commit_log_over_several_disks_is_refused() {
    assert!(refused("storePathCommitLog=/a/commitlog,/b/commitlog").contains("one is served"));
}

#[test]
fn paths_as_people_copy_them() {
    let machine = Surroundings { home: Some("/home/mq".into()), ..Surroundings::default() };
    for (written, meant) in [
        ("${user.home}/store", "/home/mq/store"),
        ("$HOME/store", "/home/mq/store"),
        ("${HOME}", "/home/mq"),
        ("~/store ", "/home/mq/store"),
        ("/data/$x/~/$", "/data/$x/~/$"),
        ("/data/日本", "/data/日本"),
    ] {
        let text = settings::properties::format([("storePathRootDir", written)]);
        let loaded: Loaded<Broker> = load_in(&machine, &text, &[]).unwrap();
        assert_eq!(loaded.settings.store_path_root_dir.to_str(), Some(meant));
    }
    for template in ["${STORE_DIR}/store", "$ROCKETMQ_HOME/store", "${rocketmq.home.dir}/x"] {
        let error = load_in::<Broker>(&machine, &format!("storePathRootDir={template}"), &[]).unwrap_err();
        assert!(error.to_string().starts_with("line 1: storePathRootDir names ${"), "{error}");
    }
}

#[test]
fn what_the_machine_brings_when_the_file_is_silent() {
    let machine = Surroundings {
        host_name: Some("box-7".into()),
        namesrv_addr: Some("10.0.0.1:9876".into()),
        ..Surroundings::default()
    };
    let broker: Broker = load_in(&machine, "", &[]).unwrap().settings;
    assert_eq!(broker.broker_name, "box-7");
    assert_eq!(broker.namesrv_addr, ["10.0.0.1:9876"]);
    // Without $HOME the working directory stands for it.
    assert_eq!(broker.store_path_root_dir.to_str(), Some("./store"));
    let said: Broker = load_in(&machine, "namesrvAddr=\nbrokerName=a", &[]).unwrap().settings;
    assert_eq!((&*said.broker_name, said.namesrv_addr.len()), ("a", 0));
    let machine =
        |address: &str| Surroundings { namesrv_addr: Some(address.into()), ..Surroundings::default() };
    let endpoint = machine("http://MQ_INST_1.example/10.0.0.1:9876");
    assert_eq!(load_in::<Broker>(&endpoint, "", &[]).unwrap().settings.namesrv_addr, ["10.0.0.1:9876"]);
    let machine = machine("nowhere");
    let error = load_in::<Broker>(&machine, "", &[]).unwrap_err();
    assert!(error.to_string().starts_with("environment: namesrvAddr = \"nowhere\""), "{error}");
    // What the file says makes the variable void, and with it the mistake in there.
    let said: Broker = load_in(&machine, "namesrvAddr=127.0.0.1:9876", &[]).unwrap().settings;
    assert_eq!(said.namesrv_addr, ["127.0.0.1:9876"]);
    let given = [("namesrvAddr".to_owned(), String::new())];
    assert!(load_in::<Broker>(&machine, "", &given).unwrap().settings.namesrv_addr.is_empty());
}

#[test]
fn the_file_of_the_other_server() {
    let nameserver: Loaded<Nameserver> = load_in(&Surroundings::default(), "maxMessageSize=1", &[]).unwrap();
    assert_eq!(nameserver.ignored[0].reason, "a key of broker.conf, which has no effect in a name server");
    let broker = load("kvConfigPath=/x", &[]).unwrap();
    assert_eq!(broker.ignored[0].reason, "a key of namesrv.conf, which has no effect in a broker");
}

#[test]
fn a_message_larger_than_any_frame_is_reported() {
    let loaded = load("maxMessageSize=16777216", &[]).unwrap();
    assert_eq!(loaded.remarks.len(), 1);
    let raised = load("maxMessageSize=16777216\nthrust.maxFrameBytes=32MiB", &[]).unwrap();
    assert_eq!(raised.remarks, []);
}

#[test]
fn delay_levels_count_from_one() {
    let levels = load("messageDelayLevel=1s  90s 2m 3h 1d", &[]).unwrap().settings.message_delay_level;
    assert_eq!(levels.max_level(), 5);
    assert_eq!(levels.delay(0), None);
    assert_eq!(levels.delay(2).map(|delay| delay.as_secs()), Some(90));
    assert_eq!(levels.delay(5).map(|delay| delay.as_secs()), Some(86_400));
    assert_eq!(levels.delay(6), None);
    let default = Broker::default().message_delay_level;
    let mut read = Broker::default();
    read.set("messageDelayLevel", default.text()).unwrap();
    assert_eq!(read.message_delay_level, default);
}
