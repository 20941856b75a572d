//! One line on stdout when it is ready; an end in order when it is told to.

mod process;

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use process::socket::{pull_frame, send_frame};
use process::{Socket, Thrust, eventually};
use rustix::process::Signal;
use wire::code::request as code;

/// What the README promises.
const STOP_MAX: Duration = Duration::from_secs(2);

fn arrives(address: std::net::SocketAddr) -> bool {
    let mut socket = Socket::connect(address);
    socket.call(9_999, &[], &[]).code == 3
}

#[test]
fn the_line_names_addresses_data_and_flush_mode_and_stands_alone() {
    for (key, words) in [
        ("flushDiskType=ASYNC_FLUSH", "asynchronous flush"),
        ("flushDiskType=SYNC_FLUSH", "synchronous flush"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut thrust = Thrust::serve(dir.path(), &["--set", key]);
        let line = thrust.ready.line.clone();
        assert!(line.starts_with("thrust is ready: nameserver 127.0.0.1:"), "{line}");
        assert!(line.contains(&format!("data {}", dir.path().display())), "{line}");
        assert!(line.contains(&format!(", {words} (")), "{line}");
        assert!(arrives(thrust.nameserver()) && arrives(thrust.broker()), "{line}");
        if let Some(fast) = thrust.ready.fast {
            assert_eq!(fast.port() + 2, thrust.broker().port());
            assert!(arrives(fast));
        }
        assert!(dir.path().join("abort").exists());
        thrust.signal(Signal::HUP);
        thrust.err.hears(&["SIGHUP does nothing"]);
        assert!(arrives(thrust.broker()));

        let took = thrust.stop();
        assert!(took < STOP_MAX, "{took:?}");
        assert_eq!(thrust.out.text(), line, "one line and no more");
        assert!(!dir.path().join("abort").exists(), "a clean stop leaves no such file");
    }
}

#[test]
fn the_port_of_the_file_counts_where_the_line_names_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broker.conf");
    std::fs::write(&file, "listenPort=0\n").unwrap();
    let (file, data) = (file.to_str().unwrap(), dir.path().join("data"));
    let line = ["serve", "-c", file, "--data", data.to_str().unwrap(), "--nameserver-port", "0"];
    let thrust = Thrust::start(&line);
    assert_ne!(thrust.broker().port(), 10911, "{}", thrust.ready.line);
    assert!(arrives(thrust.broker()));
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    std::fs::write(file, format!("listenPort={}\n", busy.local_addr().unwrap().port())).unwrap();
    let other = dir.path().join("other");
    let line = ["serve", "-c", file, "--data", other.to_str().unwrap(), "--nameserver-port", "0"];
    let thrust = Thrust::start(&[&line[..], &["--broker-port", "0"]].concat());
    assert!(arrives(thrust.broker()), "what the line names goes before the file");
}

/// It takes connections, as the system does for whoever listens, and never answers.
#[test]
fn a_nameserver_that_does_not_answer_does_not_delay_the_line() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let nameserver = mute.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    // As long as no test takes: only a line that does not wait for it comes.
    let keys = ["--set", "listenPort=0", "--set", "registerBrokerTimeoutMills=600000"];
    let data = ["-n", &nameserver, "--data", dir.path().to_str().unwrap()];
    let mut thrust = Thrust::start(&[&["broker"], &data[..], &keys[..]].concat());
    thrust.err.hears(&["WARN", "nameservers", "registration goes on"]);
    assert!(arrives(thrust.broker()));
    let took = thrust.stop();
    assert!(took < STOP_MAX, "{took:?}");
}

#[test]
fn a_variable_that_names_other_name_servers_does_no_harm_here() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let mut command =
        process::command(&["serve", "--data", data, "--nameserver-port", "0", "--broker-port", "0"]);
    command.env("NAMESRV_ADDR", "not an address");
    let mut thrust = Thrust::start_with(command);
    assert!(arrives(thrust.broker()));
    thrust.stop();
}

#[test]
fn sigint_stops_it_too_and_the_next_start_finds_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut thrust = Thrust::serve(dir.path(), &[]);
    let mut socket = Socket::connect(thrust.broker());
    assert_eq!(socket.send("orders", "1", "kept", "").code, 0);
    thrust.signal(Signal::INT);
    assert!(thrust.exit().success());
    let mut thrust = Thrust::serve(dir.path(), &[]);
    let messages = Socket::connect(thrust.broker()).read_all("orders", 1);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].body, "kept");
    thrust.stop();
}

#[test]
fn pulls_that_wait_are_answered_and_idle_connections_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut thrust = Thrust::serve(dir.path(), &[]);
    let addresses = [Some(thrust.broker()), thrust.ready.fast, Some(thrust.nameserver())];
    let mut idle: Vec<Socket> =
        addresses.into_iter().flatten().flat_map(|address| [address; 20]).map(Socket::connect).collect();
    let mut waiting = Socket::connect(thrust.broker());
    assert_eq!(waiting.send("orders", "0", "x", "").code, 0);
    for (opaque, queue) in [(1, 1), (2, 2), (3, 3)] {
        waiting.write(&pull_frame(opaque, "orders", queue, 0, 30_000));
    }
    // Answered before them: now they wait.
    assert_eq!(waiting.call(9_999, &[], &[]).code, 3);
    let took = thrust.stop();
    assert!(took < STOP_MAX, "{took:?}");
    let mut answers: Vec<_> =
        std::iter::from_fn(|| waiting.next()).map(|answer| (answer.opaque, answer.code)).collect();
    answers.sort();
    assert_eq!(answers, [(1, 19), (2, 19), (3, 19)]);
    assert!(idle.iter_mut().all(|socket| socket.next().is_none()));
}

/// The worst that clients can do: they ask for more than the kernel holds and read nothing of it, on every port.
#[test]
fn clients_that_do_not_read_do_not_delay_the_stop() {
    // Such a stop waits for them as long as it may. On a machine busy with other things the rest can take long.
    let took = (0..3).map(|_| stop_with_clients_that_do_not_read()).find(|took| *took < STOP_MAX);
    assert!(took.is_some(), "three times longer than {STOP_MAX:?}");
}

fn stop_with_clients_that_do_not_read() -> Duration {
    let dir = tempfile::tempdir().unwrap();
    // More than the kernel takes, and not much more, so that the test is over soon.
    let limit = ["--set", "thrust.maxOutboundBytesPerConnection=1048576"];
    let mut thrust = Thrust::serve(dir.path(), &limit);
    let mut socket = Socket::connect(thrust.broker());
    let body = "x".repeat(200_000);
    for _ in 0..10 {
        assert_eq!(socket.send("orders", "0", &body, "").code, 0);
    }
    let mut deaf = Vec::new();
    let mut stuck = Socket::connect(thrust.broker());
    for opaque in 0..100 {
        stuck.write(&pull_frame(opaque, "orders", 0, 0, 0));
    }
    deaf.push(stuck);
    for address in [thrust.ready.fast, Some(thrust.nameserver())].into_iter().flatten() {
        let mut stuck = Socket::connect(address);
        stuck.stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        let unknown = process::socket::frame(9_999, 1, &[], &[]).repeat(1_000);
        // Until nothing more is taken.
        while stuck.write(&unknown) {}
        deaf.push(stuck);
    }
    thrust.stop()
}

/// With synchronous flush an answer comes later than its message is in the log; a stop waits for it.
#[test]
fn what_was_accepted_is_answered() {
    const WINDOW: i32 = 64;
    for flush in ["flushDiskType=SYNC_FLUSH", "flushDiskType=ASYNC_FLUSH"] {
        let dir = tempfile::tempdir().unwrap();
        let mut thrust = Thrust::serve(dir.path(), &["--set", flush]);
        let address = thrust.broker();
        let (started, has_started) = std::sync::mpsc::channel();
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let started = started.clone();
                std::thread::spawn(move || {
                    let mut socket = Socket::connect(address);
                    let mut sent = 0;
                    let mut acknowledged = Vec::new();
                    loop {
                        while sent < acknowledged.len() as i32 + WINDOW {
                            let body = format!("{sender}/{sent}");
                            if !socket.write(&send_frame(sent, "orders", "0", body.as_bytes(), "")) {
                                break;
                            }
                            sent += 1;
                        }
                        let Some(answer) = socket.next() else { return acknowledged };
                        assert_eq!(answer.code, 0, "{answer:?}");
                        acknowledged.push(format!("{sender}/{}", answer.opaque));
                        if acknowledged.len() == 200 {
                            started.send(()).unwrap();
                        }
                    }
                })
            })
            .collect();
        for _ in &senders {
            has_started.recv_timeout(process::PATIENCE).unwrap();
        }
        let took = thrust.stop();
        assert!(took < STOP_MAX, "{took:?}");
        let mut acknowledged: Vec<String> =
            senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
        let mut thrust = Thrust::serve(dir.path(), &[]);
        let messages = Socket::connect(thrust.broker()).read_all("orders", 0);
        let mut stored: Vec<String> = messages.into_iter().map(|message| message.body).collect();
        acknowledged.sort();
        stored.sort();
        assert_eq!(stored.len(), acknowledged.len(), "{flush}: stored and acknowledged");
        assert_eq!(stored, acknowledged);
        thrust.stop();
    }
}

#[test]
fn nameserver_and_broker_as_two_processes_find_each_other() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = |dir: &Path| dir.to_str().unwrap().to_owned();
    let mut nameserver = Thrust::start(&["nameserver", "--port", "0", "--data", &path(first.path())]);
    assert!(nameserver.ready.broker.is_none(), "{:?}", nameserver.ready);
    let address = nameserver.nameserver().to_string();
    // The second nameserver is not there: that delays nothing and is said.
    let both = format!("{address};127.0.0.1:1");
    let mut broker =
        Thrust::start(&["broker", "-n", &both, "--data", &path(second.path()), "--set", "listenPort=0"]);
    broker.err.hears(&["127.0.0.1:1"]);
    let mut socket = Socket::connect(nameserver.nameserver());
    let mut route = |topic: &str| socket.call(code::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)], &[]);
    let found = route("TBW102");
    assert_eq!(found.code, 0, "{found:?}");
    let body = String::from_utf8(found.body).unwrap();
    assert!(body.contains(&broker.broker().to_string()), "{body}");
    assert_eq!(route("orders").code, 17);
    assert_eq!(Socket::connect(broker.broker()).send("orders", "0", "x", "").code, 0);
    eventually("the new topic has a route", || route("orders").code == 0);

    let took = broker.stop();
    assert!(took < STOP_MAX, "{took:?}");
    assert_eq!(route("orders").code, 17, "it left before it ended");
    // A broker whose nameserver is gone ends in time too.
    let mut broker =
        Thrust::start(&["broker", "-n", &address, "--data", &path(second.path()), "--set", "listenPort=0"]);
    assert!(nameserver.stop() < STOP_MAX);
    assert!(broker.stop() < STOP_MAX);
}
