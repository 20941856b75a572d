//! What keeps it from starting is said in one line, with a remedy; what does not is a warning.

mod process;

use std::net::TcpListener;
use std::path::Path;

use process::{Socket, Thrust, said, thrust};

/// Runs into a refusal: exit code 1, nothing on stdout, one line of ours on stderr, which has all of `words`.
fn refuses(args: &[&str], words: &[&str]) {
    let done = thrust(args).assert().code(1).stdout("");
    let err: Vec<String> = said(&done).lines().map(str::to_owned).collect();
    let ours: Vec<_> = err.iter().filter(|line| line.starts_with("thrust: ")).collect();
    assert_eq!(ours.len(), 1, "{args:?}: {err:?}");
    assert_eq!(err.last(), Some(ours[0]), "the reason comes last: {err:?}");
    // What is not ours is the log, each line with its time.
    let logged = err.iter().filter(|line| line.starts_with("20")).count();
    assert_eq!(logged + 1, err.len(), "{err:?}");
    for word in words {
        assert!(ours[0].contains(word), "\"{word}\" is not in {}", ours[0]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_port_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let words = [port.as_str(), "in use", "choose another port"];
    let data = ["--data", text(dir.path())];
    refuses(&[&["serve", "--nameserver-port", &port, "--broker-port", "0"], &data[..]].concat(), &words);
    refuses(&[&["serve", "--nameserver-port", "0", "--broker-port", &port], &data[..]].concat(), &words);
    refuses(&[&["nameserver", "--port", &port], &data[..]].concat(), &words);
    let key = format!("listenPort={port}");
    refuses(&[&["broker", "-n", "127.0.0.1:1", "--set", &key], &data[..]].concat(), &words);
    assert!(!dir.path().join("commitlog").exists(), "no data is touched before the ports are taken");
}

#[test]
fn a_data_directory_that_another_process_works_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Thrust::serve(dir.path(), &[]);
    assert_eq!(Socket::connect(first.broker()).send("orders", "0", "x", "").code, 0);
    refuses(&serve_on(text(dir.path())), &[text(dir.path()), "in use by another broker", "choose another"]);
    // The one that has it goes on.
    assert_eq!(Socket::connect(first.broker()).read_all("orders", 0).len(), 1);
    first.stop();
}

#[test]
fn a_data_directory_that_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let below = file.join("below");
    for data in [text(&file), text(&below), "/proc/nothing"] {
        refuses(&serve_on(data), &[data, "cannot be written", "--data"]);
        refuses(&["nameserver", "--port", "0", "--data", data], &[data, "cannot be written", "--data"]);
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"not a directory");
}

#[test]
fn values_that_keys_cannot_take() {
    let dir = tempfile::tempdir().unwrap();
    let set = |key: &str, words: &[&str]| {
        let mut args = serve_on(text(dir.path()));
        args.extend(["--set", key]);
        refuses(&args, words);
    };
    set("flushDiskType=SOMETIMES", &["--set", "flushDiskType", "SOMETIMES", "ASYNC_FLUSH"]);
    set("maxMessageSize=-1", &["maxMessageSize", "\"-1\"", "default"]);
    set("listenPort=99999", &["listenPort", "99999"]);
    set("flushDiskTyp=SYNC_FLUSH", &["there is no key flushDiskTyp", "flushDiskType"]);
    set("brokerRole=SLAVE", &["SLAVE", "brokerRole=ASYNC_MASTER"]);
    set("brokerRole=SYNC_MASTER", &["brokerRole=SYNC_MASTER", "ASYNC_MASTER"]);
    for key in ["flushDiskType", "=SYNC_FLUSH", ""] {
        set(key, &["--set", key, "KEY=VALUE", "flushDiskType=SYNC_FLUSH"]);
    }
    refuses(&["broker", "--set", "flushDiskType"], &["--set", "flushDiskType", "KEY=VALUE"]);
    let mut args = serve_on(text(dir.path()));
    args.extend(["--listen", "no.such.host.invalid"]);
    refuses(&args, &["--listen", "no.such.host.invalid"]);
}

#[test]
fn files_that_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("broker.conf");
    let data = dir.path().join("data");
    let mut args = serve_on(text(&data));
    args.extend(["-c", text(&conf)]);
    refuses(&args, &[text(&conf), "cannot read", "-c"]);
    refuses(&["nameserver", "--port", "0", "-c", text(&conf)], &[text(&conf), "cannot read", "-c"]);
    std::fs::write(&conf, "brokerName=a\n\nfileReservedTime=long\n").unwrap();
    refuses(&args, &["line 3", "fileReservedTime", "long"]);
    assert!(!data.exists(), "nothing is made before the settings are known to be right");
}

#[test]
fn keys_that_do_nothing_are_warnings() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("broker.conf");
    let keys = "brokerNmae=a\nsendMessageThreadPoolNums=8\nbrokerName=named-by-file\nnobodyKnowsThis=1\n";
    std::fs::write(&conf, keys).unwrap();
    let mut thrust = Thrust::serve(&dir.path().join("data"), &["-c", text(&conf)]);
    thrust.err.hears(&["WARN", "brokerNmae", "brokerName"]);
    thrust.err.hears(&["WARN", "sendMessageThreadPoolNums"]);
    thrust.err.hears(&["WARN", "nobodyKnowsThis"]);
    let mut socket = Socket::connect(thrust.nameserver());
    let answer = socket.call(wire::code::request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "TBW102")], &[]);
    assert!(String::from_utf8(answer.body).unwrap().contains("named-by-file"));
    thrust.stop();
}

fn serve_on(data: &str) -> Vec<&str> {
    vec!["serve", "--nameserver-port", "0", "--broker-port", "0", "--data", data]
}
