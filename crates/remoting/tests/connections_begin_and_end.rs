//! Who may connect, who is sent away, and what is still done for a peer that leaves.

mod peer;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use peer::*;
use remoting::{CallError, Client, Limits, Patience, Places, Server};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use wire::header::{Dialect, Head};

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_expire_and_busy_ones_stay() {
    let (server, lab) = start(Limits { idle: Duration::from_millis(400), ..Limits::default() });
    let mut busy = Peer::connect(&server).await;
    let mut silent = Peer::connect(&server).await;
    let mut half = Peer::connect(&server).await;
    half.send(&frame_of(ECHO, 1, &[], b"never complete")[..20]).await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1500) {
        assert!(busy.works().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(silent.receive().await, None);
    assert_eq!(half.receive().await, None);
    assert_eq!((server.connections(), lab.closed()), (1, 2));
    until("the busy one expires once it is silent", || server.connections() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_reads_its_answers_expires_too() {
    let (server, _) =
        start(Limits { idle: Duration::from_millis(400), outbound_bytes_max: 1 << 20, ..Limits::default() });
    let mut peer = Peer::connect_small(&server).await;
    for opaque in 0..64 {
        peer.send(&frame_of(PRODUCE, opaque, &[("bytes", "500000")], b"")).await;
    }
    until("it expires", || server.connections() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_closed_at_once_and_places_come_back() {
    let (server, _) = start(Limits { connections_max: 3, ..Limits::default() });
    let mut peers = Vec::new();
    for _ in 0..3 {
        let mut peer = Peer::connect(&server).await;
        assert!(peer.works().await);
        peers.push(peer);
    }
    assert_eq!(Peer::connect(&server).await.receive().await, None);
    for peer in &mut peers {
        assert!(peer.works().await);
    }
    drop(peers.pop());
    until("a place is free", || server.connections() == 2).await;
    assert!(Peer::connect(&server).await.works().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_one_process_share_the_places_that_they_have_together() {
    let limits = Limits { connections_max: 3, places: Some(Places::new(4)), ..Limits::default() };
    let [(first, _), (second, _)] = [start(limits.clone()), start(limits)];
    let mut peers = Vec::new();
    for server in [&first, &first, &first, &second] {
        let mut peer = Peer::connect(server).await;
        assert!(peer.works().await);
        peers.push(peer);
    }
    assert_eq!(Peer::connect(&first).await.receive().await, None, "it has its three");
    assert_eq!(Peer::connect(&second).await.receive().await, None, "together they have four");
    drop(peers.remove(0));
    until("a place is free", || first.connections() == 2).await;
    assert!(Peer::connect(&second).await.works().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_are_limited_per_connection() {
    let (server, lab) = start(Limits { held_max: 5, ..Limits::default() });
    let mut peer = Peer::connect(&server).await;
    for opaque in 0..7 {
        peer.send(&frame_of(HOLD, opaque, &[], b"")).await;
    }
    for opaque in [5, 6] {
        let refused = peer.answer().await;
        assert_eq!((refused.opaque, refused.code), (opaque, 2));
    }
    // Another connection has places of its own.
    let mut other = Peer::connect(&server).await;
    other.send(&frame_of(HOLD, 9, &[], b"")).await;
    until("six are held", || lab.held.lock().len() == 6).await;
    lab.answer_held();
    for opaque in 0..5 {
        let answer = peer.answer().await;
        assert_eq!((answer.opaque, answer.remark.as_deref()), (opaque, Some("held")));
    }
    assert_eq!(other.answer().await.opaque, 9);
    peer.send(&frame_of(HOLD, 10, &[], b"")).await;
    until("places are free again", || lab.held.lock().len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_asks_its_client_and_waits_no_longer_than_it_said() {
    let (server, lab) = start(Limits::default());
    let mut peer = Peer::connect(&server).await;
    assert!(peer.works().await);
    let channel = lab.channels.lock()[0].clone();

    let caller = Arc::clone(&channel);
    let call = tokio::spawn(async move { caller.call(220, &[("group", "g")], b"reset", PATIENCE).await });
    let asked = peer.answer().await;
    assert_eq!((asked.code, asked.flag, &asked.body[..]), (220, 0, &b"reset"[..]));
    // An answer to something else does not disturb it.
    peer.send(&written(&Head::response(Dialect::Json, 9, asked.opaque + 1), &[], b"")).await;
    peer.send(&written(&Head::response(Dialect::Binary, 0, asked.opaque), &[("a", "b")], b"done")).await;
    let answer = call.await.unwrap().unwrap();
    assert_eq!((answer.code, answer.field("a"), &answer.body[..]), (0, Some("b"), &b"done"[..]));

    let started = Instant::now();
    let error = channel.call(221, &[], b"", Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout { .. }), "{error}");
    assert!(started.elapsed() >= Duration::from_millis(100) && started.elapsed() < PATIENCE);
    // An answer that comes too late is dropped.
    let late = peer.answer().await;
    peer.send(&written(&Head::response(Dialect::Json, 0, late.opaque), &[], b"")).await;
    assert!(peer.works().await);

    // Nor is it waited for any longer by a caller that stays awake at first, and the next answer is its own.
    let awake = Patience { timeout: Duration::from_millis(50), awake: Duration::from_millis(20) };
    let started = Instant::now();
    let error = channel.call_with(224, |_| (), b"", awake).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout { .. }) && started.elapsed() >= awake.timeout, "{error}");
    peer.answer().await;
    let caller = Arc::clone(&channel);
    let awake = Patience { timeout: PATIENCE, awake: PATIENCE };
    let call = tokio::spawn(async move { caller.call_with(225, |_| (), b"", awake).await });
    let asked = peer.answer().await;
    peer.send(&written(&Head::response(Dialect::Json, 0, asked.opaque), &[], b"soon")).await;
    assert_eq!(call.await.unwrap().unwrap().body, b"soon");

    let caller = Arc::clone(&channel);
    let call = tokio::spawn(async move { caller.call(222, &[], b"", PATIENCE).await });
    assert_eq!(peer.answer().await.code, 222);
    drop(peer);
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Closed { .. }), "{error}");
    assert!(!channel.is_open());
    assert!(matches!(channel.call(223, &[], b"", PATIENCE).await, Err(CallError::Closed { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_writes_what_is_queued_first() {
    let (server, lab) = start(Limits::default());
    let mut peer = Peer::connect_small(&server).await;
    assert!(peer.works().await);
    let channel = lab.channels.lock()[0].clone();
    let body = vec![3; 4 << 20];
    for _ in 0..3 {
        channel.oneway(40, &[], &body);
    }
    channel.close("");
    for _ in 0..3 {
        assert!(peer.answer().await.body == body);
    }
    assert_eq!(peer.receive().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_answers_what_it_accepted_and_lets_nobody_in() {
    let (server, _) = start(Limits::default());
    let mut peer = Peer::connect_small(&server).await;
    for opaque in 0..8 {
        peer.send(&frame_of(PRODUCE, opaque, &[("bytes", "700000")], b"")).await;
    }
    assert_eq!(peer.answer().await.opaque, 0);
    let address = server.address();
    let closing = tokio::spawn(async move {
        let started = Instant::now();
        server.close(Duration::from_secs(5)).await;
        (server.connections(), started.elapsed())
    });
    let mut last = 0;
    while let Some(answer) = peer.receive().await {
        assert_eq!((answer.opaque, answer.body.len()), (last + 1, 700_000), "whole and in order");
        last = answer.opaque;
    }
    let (left, took) = closing.await.unwrap();
    assert_eq!(left, 0);
    assert!(took < Duration::from_secs(5), "{took:?}");
    let refused = TcpStream::connect(address).await;
    assert!(refused.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_closes_its_side_right_after_asking_is_served_and_answered() {
    let (server, lab) = start(Limits::default());
    let mut peer = Peer::connect_small(&server).await;
    for opaque in 0..16 {
        peer.send(&frame_of(PRODUCE, opaque, &[("bytes", "400000")], b"")).await;
    }
    peer.stream.shutdown().await.unwrap();
    for opaque in 0..16 {
        let answer = peer.answer().await;
        assert_eq!((answer.opaque, answer.body.len()), (opaque, 400_000));
    }
    assert_eq!(peer.receive().await, None);
    assert_eq!(lab.served(), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_peer_that_resets_the_connection_right_after_them_are_served() {
    let (server, lab) = start(Limits { outbound_bytes_max: 256 << 10, ..Limits::default() });
    for round in 1..=20 {
        let mut peer = Peer::connect_small(&server).await;
        // So large that the server stops reading, and then learns that nobody will ever read them. In one write: what
        // is still in the peer's own kernel when it resets is lost.
        let large = |opaque| frame_of(PRODUCE, opaque, &[("bytes", "800000")], b"");
        let small = |opaque| frame_of(ECHO, opaque, &[], b"commit");
        let burst: Vec<u8> = (0..10).flat_map(large).chain((10..20).flat_map(small)).collect();
        peer.send(&burst).await;
        if round % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Answers lie unread, so this is a reset and no orderly end.
        drop(peer);
        until("all its requests are served", || lab.served() == round * 20).await;
    }
    until("all are gone", || server.connections() == 0 && lab.closed() == 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_shares_one_connection_and_connects_again_after_a_loss() {
    let (server, lab) = start(Limits::default());
    let client = Arc::new(Client::new(Limits::default(), Arc::new(Lab::default())));
    let address = server.address().to_string();
    let mut calls = Vec::new();
    for number in 0..50u32 {
        let (client, address) = (Arc::clone(&client), address.clone());
        calls.push(tokio::spawn(async move {
            client.call(&address, ECHO, &[], &number.to_be_bytes(), PATIENCE).await.unwrap().body
        }));
    }
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), (number as u32).to_be_bytes());
    }
    until("one connection is left of those that began together", || server.connections() == 1).await;

    for channel in lab.channels.lock().iter() {
        channel.close("the test says so");
    }
    until("it is gone", || server.connections() == 0).await;
    let deadline = Instant::now() + PATIENCE;
    // The client may learn of the loss a moment later.
    while client.call(&address, ECHO, &[], b"again", PATIENCE).await.is_err() {
        assert!(Instant::now() < deadline);
    }
    drop(server);
    let nobody = unused_address().await;
    let error = client.call(&nobody, ECHO, &[], b"", PATIENCE).await.unwrap_err();
    assert!(matches!(error, CallError::Connect { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_leaves_a_peer_that_takes_everything_and_says_nothing() {
    let (server, _lab) = start(Limits::default());
    let limits = Limits { idle: Duration::from_millis(400), ..Limits::default() };
    let client = Arc::new(Client::new(limits, Arc::new(Lab::default())));
    let address = server.address().to_string();
    let asking = tokio::spawn(async move {
        let mut calls = tokio::task::JoinSet::new();
        // More than a few under way are written by the connection's own task.
        loop {
            let (client, address) = (Arc::clone(&client), address.clone());
            calls.spawn(async move { client.call(&address, HOLD, &[], b"", PATIENCE).await });
            tokio::select! {
                ended = calls.join_next() => return ended.unwrap().unwrap(),
                () = tokio::time::sleep(Duration::from_millis(20)) => (),
            }
        }
    });
    let error = asking.await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Closed { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_is_closed_on_demand_and_one_that_was_heard_is_not() {
    let (server, lab) = start(Limits::default());
    let client = Arc::new(Client::new(Limits::default(), Arc::new(Lab::default())));
    let address = server.address().to_string();
    client.call(&address, ECHO, &[], b"", PATIENCE).await.unwrap();
    client.close_if_silent(&address, PATIENCE);
    let held = {
        let (client, address) = (Arc::clone(&client), address.clone());
        tokio::spawn(async move { client.call(&address, HOLD, &[], b"", PATIENCE).await })
    };
    until("it waits", || lab.held.lock().len() == 1).await;
    assert_eq!(lab.channels.lock().len(), 1, "over the same connection");
    tokio::time::sleep(Duration::from_millis(10)).await;
    client.close_if_silent(&address, Duration::from_millis(10));
    let error = held.await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Closed { .. }), "{error}");
    client.call(&address, ECHO, &[], b"", PATIENCE).await.unwrap();
    assert_eq!(lab.channels.lock().len(), 2);
}

/// The first look at what is awaited; it goes on only when it is awaited again.
async fn begin<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = std::future::ready(()) => None,
    }
}

#[tokio::test]
async fn callers_that_begin_together_share_one_connect() {
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = door.local_addr().unwrap().to_string();
    let client = Arc::new(Client::new(Limits::default(), Arc::new(Lab::default())));
    let mut calls = Vec::new();
    for _ in 0..50 {
        let mut call = Box::pin(client.channel(&address, PATIENCE));
        assert!(begin(&mut call).await.is_none(), "nothing is connected yet");
        calls.push(call);
    }
    // One that gives up leaves the others what it began.
    drop(calls.remove(0));
    let mut ids = HashSet::new();
    for call in calls {
        ids.insert(call.await.unwrap().id());
    }
    assert_eq!(ids.len(), 1);
    let last = TcpStream::connect(&address).await.unwrap().local_addr().unwrap();
    let mut accepted = 0;
    while door.accept().await.unwrap().1 != last {
        accepted += 1;
    }
    assert_eq!(accepted, 1, "connections that were made in all");
}

#[tokio::test]
async fn callers_that_begin_together_hear_one_failure() {
    let nobody = unused_address().await;
    let client = Arc::new(Client::new(Limits::default(), Arc::new(Lab::default())));
    let mut calls: Vec<_> = (0..50).map(|_| Box::pin(client.channel(&nobody, PATIENCE))).collect();
    for call in &mut calls {
        assert!(begin(call).await.is_none(), "nothing is refused yet");
    }
    for call in calls {
        let error = call.await.unwrap_err();
        assert!(matches!(error, CallError::Connect { .. }), "{error}");
    }
    let error = client.channel(&nobody, PATIENCE).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "the next one tries again: {error}");
}

#[tokio::test]
async fn a_client_that_is_closed_while_it_connects_leaves_no_connection() {
    let (server, _lab) = start(Limits::default());
    let address = server.address().to_string();
    for rounds in 0..20 {
        let client = Client::new(Limits::default(), Arc::new(Lab::default()));
        let mut call = Box::pin(client.channel(&address, PATIENCE));
        let mut made = begin(&mut call).await;
        for _ in 0..rounds {
            if made.is_none() {
                tokio::task::yield_now().await;
                made = begin(&mut call).await;
            }
        }
        client.close();
        if made.is_none() {
            // It may have been made just before.
            drop(call.await);
        }
        assert_eq!(client.connection(&address), None, "after {rounds} rounds");
        let error = client.channel(&address, PATIENCE).await.unwrap_err();
        assert!(error.to_string().contains("has been closed"), "{error}");
    }
    until("nobody is connected", || server.connections() == 0).await;
}

#[tokio::test]
async fn a_client_that_is_dropped_while_it_connects_leaves_no_connection() {
    let (server, _lab) = start(Limits::default());
    let address = server.address().to_string();
    let client = Client::new(Limits::default(), Arc::new(Lab::default()));
    let mut call = Box::pin(client.channel(&address, PATIENCE));
    assert!(begin(&mut call).await.is_none());
    drop(call);
    drop(client);
    // What it had begun would be there before this one.
    let mut later = Peer::connect(&server).await;
    assert!(later.works().await);
    drop(later);
    until("nobody is connected", || server.connections() == 0).await;
}

#[tokio::test]
async fn only_the_connection_that_is_meant_is_abandoned() {
    let (server, lab) = start(Limits::default());
    let address = server.address().to_string();
    let client = Client::new(Limits::default(), Arc::new(Lab::default()));
    let first = client.channel(&address, PATIENCE).await.unwrap();
    client.abandon_channel(&address, &first);
    let second = client.channel(&address, PATIENCE).await.unwrap();
    assert_ne!(first.id(), second.id());
    // Another caller hears the same over the first one, later.
    client.abandon_channel(&address, &first);
    assert_eq!(client.connection(&address), Some(second.id()));
    for channel in [first, second] {
        channel.call(ECHO, &[], b"", PATIENCE).await.unwrap();
    }
    assert_eq!(lab.channels.lock().len(), 2);
}

async fn unused_address() -> String {
    let (server, _) = start(Limits::default());
    let address = server.address().to_string();
    server.close(PATIENCE).await;
    while TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let (server, _) = start(Limits::default());
    let lab = Arc::new(Lab::default());
    let error = Server::start(server.address(), Limits::default(), lab).unwrap_err().to_string();
    assert!(error.contains(&format!("port {} on 127.0.0.1 is in use", server.address().port())), "{error}");
}
