//! A client that stops reading, or reads slowly, costs a bounded amount of memory and nobody else's time.

mod peer;

use std::sync::Arc;
use std::time::Duration;

use peer::*;
use remoting::{Client, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wire::frame;
use wire::header::{self, Dialect, Head};

const ANSWER: usize = 256 << 10;

fn large_requests(count: i32) -> Vec<u8> {
    let bytes = ANSWER.to_string();
    (0..count).flat_map(|opaque| frame_of(PRODUCE, opaque, &[("bytes", &bytes)], b"")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_is_not_read_from_and_is_served_again_when_it_reads() {
    let limit = 4 << 20;
    let (server, lab) = start(Limits { outbound_bytes_max: limit, ..Limits::default() });
    let mut other = Peer::connect(&server).await;
    assert!(other.works().await);
    let mut peer = Peer::connect_small(&server).await;
    // Answers of 512 MiB, were they all made.
    let requests = 2048;
    peer.send(&large_requests(requests)).await;
    let stalled = stalled(&lab).await;
    let channel = lab.channels.lock()[1].clone();
    assert!(channel.unread() > limit, "it is the limit that stops it: {}", channel.unread());
    // Beyond the limit there is at most one turn: a megabyte of answers and the one that went over it.
    assert!(channel.unread() <= limit + (1 << 20) + 2 * ANSWER, "{}", channel.unread());
    assert!(stalled < requests as usize / 4, "{stalled} requests were served to nobody");
    assert!(other.works().await);
    for opaque in 0..requests {
        let answer = peer.answer().await;
        assert_eq!((answer.opaque, answer.body.len()), (opaque, ANSWER));
    }
    assert!(peer.works().await);
    until("nothing is left unread", || channel.unread() == 0).await;
}

/// Waits until no further request is served; returns how many were.
async fn stalled(lab: &Lab) -> usize {
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let served = lab.served();
        if served == before && served > 1 {
            return served;
        }
        before = served;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_over_all_connections_stops_only_those_that_do_not_read() {
    let (server, lab) = start(Limits {
        outbound_bytes_max: 64 << 20,
        outbound_bytes_total_max: 4 << 20,
        ..Limits::default()
    });
    let mut deaf = Vec::new();
    for _ in 0..4 {
        let mut peer = Peer::connect_small(&server).await;
        peer.send(&large_requests(256)).await;
        deaf.push(peer);
    }
    stalled(&lab).await;
    let unread: usize = lab.channels.lock().iter().map(|channel| channel.unread()).sum();
    assert!(unread > 4 << 20 && unread < 16 << 20, "{unread}");
    assert!(Peer::connect(&server).await.works().await);
    for mut peer in deaf {
        for _ in 0..256 {
            peer.answer().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_that_never_catches_up_does_not_grow_the_server() {
    let (server, _) = start(Limits { outbound_bytes_max: 8 << 20, ..Limits::default() });
    let mut peer = Peer::connect_small(&server).await;
    peer.send(&large_requests(64)).await;
    let mut before = 0;
    // 16 MiB are always asked for and not yet read, so the server always has more to send.
    for round in 0..1024 {
        peer.send(&frame_of(PRODUCE, round, &[("bytes", &ANSWER.to_string())], b"")).await;
        assert_eq!(peer.answer().await.body.len(), ANSWER);
        if round == 64 {
            before = resident_bytes();
        }
    }
    let grown = resident_bytes().saturating_sub(before);
    // 240 MiB went through meanwhile.
    assert!(grown < 64 << 20, "grew by {} MiB", grown >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_queued_by_others_do_not_wait_for_a_moment_of_silence() {
    let (server, lab) = start(Limits { outbound_bytes_max: 8 << 20, ..Limits::default() });
    let mut peer = Peer::connect_small(&server).await;
    peer.send(&frame_of(HOLD, -7, &[], b"")).await;
    until("it is held", || !lab.held.lock().is_empty()).await;
    peer.send(&large_requests(64)).await;
    stalled(&lab).await;
    lab.answer_held();
    for round in 0..512 {
        peer.send(&frame_of(PRODUCE, round, &[("bytes", &ANSWER.to_string())], b"")).await;
        if peer.answer().await.opaque == -7 {
            return;
        }
    }
    panic!("the answer that was held back is still not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_to_a_peer_that_never_reads_end_its_connection() {
    let (server, lab) = start(Limits { outbound_bytes_max: 1 << 20, ..Limits::default() });
    let mut peer = Peer::connect_small(&server).await;
    assert!(peer.works().await);
    let channel = lab.channels.lock()[0].clone();
    let push = vec![0; 64 << 10];
    for _ in 0..4096 {
        if !channel.is_open() {
            break;
        }
        channel.oneway(40, &[], &push);
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    until("it ends", || server.connections() == 0).await;
    channel.oneway(40, &[], &push);
    assert_eq!(channel.unread(), 0, "nothing is counted on a closed connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_frames_of_all_connections_are_bounded() {
    let total = 8 << 20;
    let (server, _) = start(Limits { inbound_bytes_total_max: total, ..Limits::default() });
    let mut other = Peer::connect(&server).await;
    assert!(other.works().await);
    let mut half = frame_of(ECHO, 1, &[], &vec![0; 2 << 20]);
    half.truncate(1 << 20);
    let mut loris = Vec::new();
    for _ in 0..32 {
        let mut peer = Peer::connect(&server).await;
        // The server may close it in the middle.
        let _ = peer.stream.write_all(&half).await;
        loris.push(peer);
    }
    until("all but eight or so are closed", || server.connections() <= 1 + 8).await;
    assert!(server.connections() > 1 + 4, "some are kept: {}", server.connections());
    assert!(other.works().await);
    drop(loris);
    until("they are gone", || server.connections() == 1).await;
    // What they held is free again for a frame that needs nearly all of it.
    let body = vec![1; total - (64 << 10)];
    other.send(&frame_of(ECHO, 2, &[], &body)).await;
    assert!(other.answer().await.body == body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_the_answers_of_a_server_that_does_not_read_yet() {
    let limit = 4 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let limits = Limits { outbound_bytes_max: limit, ..Limits::default() };
    let client = Client::new(limits, Arc::new(Lab::default()));
    let (channel, accepted) = tokio::join!(client.channel(&address, PATIENCE), listener.accept());
    let (channel, (mut server, _)) = (channel.unwrap(), accepted.unwrap());
    let asking = {
        let channel = Arc::clone(&channel);
        tokio::spawn(async move { channel.call(ECHO, &[], b"", PATIENCE).await })
    };
    let opaque = opaque_of_request(&mut server).await;
    let told = vec![0; 256 << 10];
    // The kernel takes some megabytes of it.
    while channel.unread() <= limit {
        while channel.unread() <= limit {
            channel.oneway(40, &[], &told);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    server.write_all(&written(&Head::response(Dialect::Json, 0, opaque), &[], b"heard")).await.unwrap();
    assert_eq!(asking.await.unwrap().expect("an answer").body, b"heard");
}

/// Reads one frame, and nothing behind it.
async fn opaque_of_request(stream: &mut TcpStream) -> i32 {
    let size = stream.read_u32().await.unwrap();
    let mut bytes = size.to_be_bytes().to_vec();
    bytes.resize(4 + size as usize, 0);
    stream.read_exact(&mut bytes[4..]).await.unwrap();
    let frame = frame::split(&bytes, 1 << 20).unwrap().expect("a whole frame");
    header::parse(frame.dialect, frame.header).unwrap().opaque
}
