//! `thrust mqadmin`, and links to the binary that are named as Java's scripts are.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::{Server, cells, run};
use crate::process::{Thrust, run_program, run_to_end_with};

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
        page.trim_end() == run(&["mqadmin", "page"]).out.trim_end(),
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
fn a_static_topic_is_made_and_made_larger() {
    let server = Server::start_with(&["brokerName=broker-a"]);
    let temporary = server.dir.path().to_str().unwrap();
    let mqadmin = |line: &str| {
        let words: Vec<&str> = ["mqadmin"].into_iter().chain(line.split(' ')).collect();
        let surroundings = [("TMPDIR", temporary), ("NAMESRV_ADDR", server.names.as_str())];
        run_to_end_with(&words, &surroundings)
    };
    let (code, told, err) = mqadmin("updateStaticTopic -b broker-a -t fixed -qn 2");
    assert_eq!((code, told.lines().count()), (Some(0), 2), "{told}{err:?}");
    // What was and what shall be is in the files that are named.
    let path = told.lines().last().unwrap().strip_prefix("The new mapping data is written to file ").unwrap();
    let file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(path.starts_with(temporary) && path.ends_with(".after"), "{path}");
    assert_eq!(file["brokerConfigMap"]["broker-a"]["mappingDetail"]["totalQueues"], 2);
    let (code, told, err) = mqadmin("updateStaticTopic -c DefaultCluster -t fixed -qn 12");
    assert_eq!(code, Some(0), "{told}{err:?}");
    let (_, route, _) = mqadmin("topicRoute -t fixed");
    assert!(route.contains("\"totalQueues\":12") && route.contains("\t\t9:9,\n\t\t\t\t10:10"), "{route}");
    let (code, told, err) = mqadmin("remappingStaticTopic -b broker-a -t fixed");
    assert_eq!(code, Some(0), "{told}{err:?}");
    server.prints(&["produce", "-t", "fixed", "a", "b"]);

    let (code, _, err) = mqadmin("updateStaticTopic -b broker-a -t fixed -qn 3");
    assert!(code == Some(3) && err[0].contains("Cannot decrease the queue num"), "{code:?} {err:?}");
    let (code, _, err) = mqadmin("remappingStaticTopic -b broker-b -t fixed");
    assert!(code == Some(4) && err[0].contains("Can't find addr for broker broker-b"), "{code:?} {err:?}");
    server.prints(&["topic", "create", "plain"]);
    let (code, _, err) = mqadmin("remappingStaticTopic -b broker-a -t plain");
    assert!(code == Some(3) && err[0].contains("plain is no static topic"), "{code:?} {err:?}");
}

#[test]
fn what_fails_says_so_with_its_exit_code() {
    let server = Server::start();
    let absent = server.run(&["mqadmin", "topicRoute", "-t", "nowhere"]);
    assert_eq!((absent.code, absent.err.lines().count()), (Some(4), 1), "{absent:?}");
    assert!(absent.err.contains("CODE: 17  DESC: No topic route info in name server for the topic: nowhere"));
    let cluster = server.run(&["mqadmin", "brokerStatus", "-c", "nowhere"]);
    assert_eq!(cluster.code, Some(4), "{cluster:?}");
    let wrong = run(&["mqadmin", "updateTopic", "-t", "x"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.starts_with("Missing required option: [-b "), "{}", wrong.err);
    assert!(wrong.out.starts_with("usage: mqadmin updateTopic "), "{}", wrong.out);
    let refused = run(&["mqadmin", "createUser", "-u", "u"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.err.contains("createUser is not offered: "), "{}", refused.err);
    let unknown = run(&["mqadmin", "topicRoutes"]);
    assert_eq!(unknown.code, Some(3));
    assert!(unknown.err.contains("The sub command topicRoutes not exist."), "{}", unknown.err);
    assert!(unknown.err.contains("did you mean \"topicRoute\""), "{}", unknown.err);
}

#[test]
fn a_link_named_mqadmin_is_the_tool() {
    let directory = tempfile::tempdir().unwrap();
    let mqadmin = link(&directory, "mqadmin");
    let (code, list, _) = run_program(&mqadmin, &[]);
    assert_eq!(code, Some(0));
    assert!(list.starts_with("The most commonly used mqadmin commands are:\n   updateTopic "), "{list}");
    assert!(list.contains("\nNot offered, and why:\n   addBroker "), "{list}");
    let (code, usage, _) = run_program(&mqadmin, &["help", "topicroute"]);
    assert_eq!(code, Some(0));
    assert!(usage.starts_with("usage: mqadmin topicRoute [-h] [-l] [-n <arg>] -t <arg>\n"), "{usage}");
    let (code, same, _) = run_program(&mqadmin, &["topicRoute", "-h"]);
    assert_eq!((code, same), (Some(0), usage));
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
    let list = run(&["mqadmin", "clusterList", "-n", address]).out;
    assert!(list.contains(" broker-x "), "{list}");
    broker.stop();
    nameserver.stop();
}

#[test]
fn the_servers_print_their_settings_and_refuse_what_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let mqbroker = link(&directory, "mqbroker");
    let (code, all, _) = run_program(&mqbroker, &["-p", "fileReservedTime=12"]);
    assert_eq!(code, Some(0));
    assert!(all.lines().any(|line| line == "fileReservedTime=12") && all.lines().count() > 50, "{all}");
    let (code, given, _) = run_program(&mqbroker, &["-m", "fileReservedTime=12"]);
    assert_eq!((code, given.trim_end()), (Some(0), "fileReservedTime=12"));
    let (code, _, err) = run_program(&mqbroker, &["--enable-proxy"]);
    assert!(code == Some(1) && err.join("").contains("there is no proxy"), "{err:?}");
    let (code, _, err) = run_program(&mqbroker, &["nonsense"]);
    assert!(code == Some(1) && err.join("").contains("\"nonsense\" is not KEY=VALUE"), "{err:?}");
    let (code, usage, _) = run_program(&link(&directory, "mqnamesrv"), &["-h"]);
    assert_eq!(code, Some(0));
    assert!(usage.starts_with("usage: mqnamesrv [-c <arg>] [-h] [-n <arg>] [-p]\n"), "{usage}");
}
