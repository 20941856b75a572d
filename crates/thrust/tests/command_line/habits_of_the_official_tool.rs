//! `thrust mqadmin`, and links to the binary that are named as Java's scripts are.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};

use super::{Server, cells, run};
use crate::process::{Thrust, printed, program, thrust};

/// A link to the binary with this name.
fn link(directory: &tempfile::TempDir, name: &str) -> PathBuf {
    let path = directory.path().join(name);
    symlink(env!("CARGO_BIN_EXE_thrust"), &path).unwrap();
    path
}

#[test]
fn the_page_of_mqadmin_is_what_the_table_gives() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/mqadmin.md");
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page.trim_end() == printed(&run(&["mqadmin", "page"])),
        "docs/mqadmin.md is not up to date; run `cargo run -p thrust -- mqadmin page > docs/mqadmin.md`"
    );
}

#[test]
fn lines_of_a_runbook_run_as_they_are() {
    let server = Server::start();
    let create = ["mqadmin", "updateTopic", "-c", "DefaultCluster", "-t", "orders", "-r", "4", "-w4"];
    let created = server.prints(&create);
    let lines: Vec<&str> = created.lines().collect();
    assert!(
        lines[0].starts_with("create topic to 127.0.0.1:") && lines[0].ends_with(" success."),
        "{created}"
    );
    assert_eq!(
        lines[1],
        "TopicConfig [topicName=orders, readQueueNums=4, writeQueueNums=4, perm=RW-, topicFilterType=SINGLE_TAG, \
         topicSysFlag=0, order=false, attributes={}]"
    );
    let sent = server.prints(&["mqadmin", "sendMessage", "-t", "orders", "-p", "paid", "-k", "7", "-c", "a"]);
    assert_eq!(cells(sent.lines().nth(1).unwrap())[2], "SEND_OK");
    let found = server.prints(&["mqadmin", "queryMsgByKey", "--topic", "orders", "-k=7"]);
    assert_eq!(found.lines().count(), 2, "{found}");
    let printed = server.prints(&["mqadmin", "printMsg", "-t", "orders"]);
    assert!(printed.contains(" BODY: paid\n") && printed.contains("KEYS=7"), "{printed}");
    let deleted = server.prints(&["mqadmin", "deleteTopic", "-t", "orders", "-c", "DefaultCluster"]);
    assert_eq!(deleted.lines().count(), 2, "nobody is asked: {deleted}");
}

#[test]
fn a_group_that_cannot_be_moved_there_stays_where_it_was() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    server.prints(&["produce", "-t", "orders", "a", "b", "c"]);
    server.prints(&["consume", "-t", "orders", "-g", "billing", "--count", "2"]);
    let progress = || {
        let told = server.prints(&["mqadmin", "consumerProgress", "-g", "billing", "-t", "orders"]);
        let rows: Vec<Vec<String>> =
            told.lines().map(|line| cells(line).into_iter().map(str::to_owned).collect()).collect();
        rows.into_iter().find(|row| row.first().is_some_and(|topic| topic == "orders")).unwrap()[3..6]
            .to_vec()
    };
    let reset = |to: &str| {
        let line = ["mqadmin", "resetOffsetByTime", "-g", "billing", "-t", "orders", "-s", "now"];
        server.run(&[&line[..], &["-b", &server.broker, "-q", "0", "-o", to]].concat())
    };
    assert_eq!(progress(), ["3", "2", "1"]);
    reset("99999999").code(3).stderr(contains("not in consume queue range [0-3]"));
    assert_eq!(progress(), ["3", "2", "1"]);
    reset("-1").code(1);
    assert_eq!(progress(), ["3", "2", "1"]);
    reset("1").success();
    assert_eq!(progress(), ["3", "1", "2"]);
}

#[test]
fn a_static_topic_is_made_and_made_larger() {
    let server = Server::start_with(&["brokerName=broker-a"]);
    let temporary = server.dir.path().to_str().unwrap();
    let mqadmin = |line: &str| {
        let words: Vec<&str> = ["mqadmin"].into_iter().chain(line.split(' ')).collect();
        thrust(&words).env("TMPDIR", temporary).env("NAMESRV_ADDR", &server.names).assert()
    };
    let told = printed(&mqadmin("updateStaticTopic -b broker-a -t fixed -qn 2").success());
    assert_eq!(told.lines().count(), 2, "{told}");
    // What was and what shall be is in the files that are named.
    let path = told.lines().last().unwrap().strip_prefix("The new mapping data is written to file ").unwrap();
    let file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(path.starts_with(temporary) && path.ends_with(".after"), "{path}");
    assert_eq!(file["brokerConfigMap"]["broker-a"]["mappingDetail"]["totalQueues"], 2);
    mqadmin("updateStaticTopic -c DefaultCluster -t fixed -qn 12").success();
    let whole = contains("\"totalQueues\":12").and(contains("\t\t9:9,\n\t\t\t\t10:10"));
    mqadmin("topicRoute -t fixed").stdout(whole);
    mqadmin("remappingStaticTopic -b broker-a -t fixed").success();
    server.prints(&["produce", "-t", "fixed", "a", "b"]);
    server.prints(&["consume", "-t", "fixed", "-g", "readers", "--count", "1"]);
    // Physical queues and logical ones, which have the name of no broker.
    let status = printed(&mqadmin("topicStatus -t fixed").success());
    assert_eq!(status.lines().filter(|line| line.starts_with("__syslo__global__ ")).count(), 12, "{status}");
    assert_eq!(status.lines().filter(|line| line.starts_with("broker-a ")).count(), 12, "{status}");
    let progress = printed(&mqadmin("consumerProgress -g readers -t fixed").success());
    let rows: Vec<Vec<&str>> =
        progress.lines().map(cells).filter(|row| row.first() == Some(&"fixed")).collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row[1] == "__syslo__global__"), "{progress}");
    assert!(progress.contains("Consume Diff Total: "), "{progress}");

    let fewer = mqadmin("updateStaticTopic -b broker-a -t fixed -qn 3");
    fewer.code(3).stderr(contains("Cannot decrease the queue num"));
    let nowhere = mqadmin("remappingStaticTopic -b broker-b -t fixed");
    nowhere.code(4).stderr(contains("Can't find addr for broker broker-b"));
    server.prints(&["topic", "create", "plain"]);
    let plain = mqadmin("remappingStaticTopic -b broker-a -t plain");
    plain.code(3).stderr(contains("plain is no static topic"));
}

#[test]
fn users_are_refused_by_a_broker_that_has_none() {
    let server = Server::start();
    let broker = server.broker.as_str();
    for line in [
        &["createUser", "-b", broker, "-u", "reader", "-p", "deep"][..],
        &["listUser", "-c", "DefaultCluster"],
        &["createAcl", "-b", broker, "-s", "User:reader", "-r", "Topic:*", "-a", "Pub", "-d", "Allow"],
        &["copyAcl", "-f", broker, "-t", broker],
    ] {
        let refused = server.run(&[&["mqadmin"], line].concat()).code(3);
        refused.stdout("").stderr(contains("is not served yet").and(contains("deep").not()));
    }
    run(&["mqadmin", "updateUser", "-b", broker, "-u", "reader"]).code(1);
}

#[test]
fn what_fails_says_so_with_its_exit_code() {
    let server = Server::start();
    let absent = server.run(&["mqadmin", "topicRoute", "-t", "nowhere"]).code(4);
    absent
        .stderr(contains("CODE: 17  DESC: No topic route info in name server for the topic: nowhere"))
        .stderr(contains("\n").count(1));
    server.run(&["mqadmin", "brokerStatus", "-c", "nowhere"]).code(4);
    let wrong = run(&["mqadmin", "updateTopic", "-t", "x"]).code(1);
    wrong
        .stderr(starts_with("Missing required option: [-b "))
        .stdout(starts_with("usage: mqadmin updateTopic "));
    let refused = run(&["mqadmin", "electMaster", "-a", "a:1"]);
    refused.code(3).stderr(contains("electMaster is not offered: "));
    let unknown = run(&["mqadmin", "topicRoutes"]).code(3);
    unknown
        .stderr(contains("The sub command topicRoutes not exist."))
        .stderr(contains("did you mean \"topicRoute\""));
}

#[test]
fn a_link_named_mqadmin_is_the_tool() {
    let directory = tempfile::tempdir().unwrap();
    let mqadmin = link(&directory, "mqadmin");
    let list = program(&mqadmin, &[]).assert().success();
    list.stdout(starts_with("The most commonly used mqadmin commands are:\n   updateTopic "))
        .stdout(contains("\nNot offered, and why:\n   addBroker "));
    let usage = program(&mqadmin, &["help", "topicroute"]).assert().success();
    let usage = usage.stdout(starts_with("usage: mqadmin topicRoute [-h] [-l] [-n <arg>] -t <arg>\n"));
    let same = usage.get_output().stdout.clone();
    program(&mqadmin, &["topicRoute", "-h"]).assert().success().stdout(same);
}

#[test]
fn links_named_as_the_servers_run_them() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let data = directory.path().display();
    let names =
        file("namesrv.conf", format!("listenPort=0\nbindAddress=127.0.0.1\nkvConfigPath={data}/kv.json\n"));
    let mut nameserver = Thrust::start_program(&link(&directory, "mqnamesrv"), &["-c", &names]);
    let ready = nameserver.ready.line.clone();
    let address =
        ready.strip_prefix("The Name Server boot success. serializeType=JSON, address ").expect(&ready);

    let broker = file(
        "broker.conf",
        format!(
            "listenPort=0\nbindAddress=127.0.0.1\nstorePathRootDir={data}/store\nmappedFileSizeCommitLog=1048576\n"
        ),
    );
    let mqbroker = link(&directory, "mqbroker");
    let mut broker = Thrust::start_program(&mqbroker, &["-n", address, "-c", &broker, "brokerName=broker-x"]);
    let ready = broker.ready.line.clone();
    assert!(ready.starts_with("The broker[broker-x, 127.0.0.1:"), "{ready}");
    assert!(
        ready.ends_with(&format!("] boot success. serializeType=JSON and name server is {address}")),
        "{ready}"
    );
    run(&["mqadmin", "clusterList", "-n", address]).stdout(contains(" broker-x "));
    broker.stop();
    nameserver.stop();
}

#[test]
fn the_servers_print_their_settings_and_refuse_what_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let mqbroker = link(&directory, "mqbroker");
    let mqbroker = |args: &[&str]| program(&mqbroker, args).assert();
    let all = printed(&mqbroker(&["-p", "fileReservedTime=12"]).success());
    assert!(all.lines().any(|line| line == "fileReservedTime=12") && all.lines().count() > 50, "{all}");
    let given = printed(&mqbroker(&["-m", "fileReservedTime=12"]).success());
    assert_eq!(given.trim_end(), "fileReservedTime=12");
    mqbroker(&["--enable-proxy"]).code(1).stderr(contains("there is no proxy"));
    mqbroker(&["nonsense"]).code(1).stderr(contains("\"nonsense\" is not KEY=VALUE"));
    let usage = program(&link(&directory, "mqnamesrv"), &["-h"]).assert().success();
    usage.stdout(starts_with("usage: mqnamesrv [-c <arg>] [-h] [-n <arg>] [-p]\n"));
}

#[test]
fn the_surroundings_of_the_official_scripts_count() {
    let (server, home) = (Server::start(), tempfile::tempdir().unwrap());
    let conf = home.path().join("broker.conf");
    std::fs::write(&conf, "storePathRootDir=${ROCKETMQ_HOME}/store\n").unwrap();
    let mut mqbroker = program(&link(&home, "mqbroker"), &["-p", "-c", conf.to_str().unwrap()]);
    let all = mqbroker.env("ROCKETMQ_HOME", home.path()).env("NAMESRV_ADDR", "ns1:9876").assert();
    let all = printed(&all.success());
    for line in
        [format!("storePathRootDir={}/store", home.path().display()), "namesrvAddr=ns1:9876".to_owned()]
    {
        assert!(all.lines().any(|one| one == line), "{line} is not in\n{all}");
    }
    let mqadmin = || {
        let mut mqadmin = program(&home.path().join("mqadmin"), &["topicList"]);
        mqadmin.env("ROCKETMQ_HOME", home.path()).env("NAMESRV_ADDR", &server.names);
        mqadmin.assert()
    };
    link(&home, "mqadmin");
    mqadmin().success().stdout(contains("TBW102"));
    // Keys are looked for there; this is no file of keys.
    std::fs::create_dir_all(home.path().join("conf/tools.yml")).unwrap();
    mqadmin().code(3).stderr(contains("conf/tools.yml"));
}
