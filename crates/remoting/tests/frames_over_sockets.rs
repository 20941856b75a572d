//! How frames arrive does not matter; frames that cannot be cost their own connection and nothing else.

mod peer;

use peer::*;
use remoting::Limits;
use wire::header::{Dialect, Head};

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_in_one_write_are_served_in_one_turn() {
    let (server, lab) = start(Limits::default());
    let mut peer = Peer::connect(&server).await;
    assert!(peer.works().await);
    let mut burst = Vec::new();
    for opaque in 0..200 {
        burst.extend_from_slice(&frame_of(ECHO, opaque, &[], &opaque.to_be_bytes()));
    }
    peer.send(&burst).await;
    for opaque in 0..200 {
        let answer = peer.answer().await;
        assert_eq!((answer.opaque, answer.flag, answer.code), (opaque, 1, 0));
        assert_eq!(answer.body, opaque.to_be_bytes());
    }
    // The kernel may split a burst of 22 KiB once or twice, but not into 200.
    let turns = lab.turns.lock().clone();
    assert_eq!(turns.iter().sum::<usize>(), 201);
    assert!(turns.len() <= 6, "{turns:?}");
}

/// Everything runs on one thread: nothing is served before both have written.
#[tokio::test]
async fn others_are_served_between_the_requests_of_one_who_sends_without_pause() {
    let (server, lab) = start(Limits::default());
    let mut busy = Peer::connect(&server).await;
    let mut other = Peer::connect(&server).await;
    assert!(busy.works().await && other.works().await);
    lab.turns.lock().clear();
    let burst: Vec<u8> = (0..20_000).flat_map(|opaque| oneway_of(ECHO, opaque)).collect();
    let mut written = 0;
    while let Ok(count) = busy.stream.try_write(&burst[written..]) {
        written += count;
        if written == burst.len() {
            break;
        }
    }
    assert!(written > 300 << 10, "the sockets hold {written} bytes only");
    other.send(&frame_of(ECHO, 1, &[], b"one")).await;
    assert_eq!(other.answer().await.body, b"one");
    let turns = lab.turns.lock().clone();
    let place = turns.iter().position(|requests| *requests == 1).unwrap();
    assert!(place <= 2, "the other one comes in the first round, or the second: {turns:?}");
    busy.send(&burst[written..]).await;
    assert!(busy.works().await);
    assert_eq!(lab.turns.lock().iter().sum::<usize>(), 20_000 + 1 + 1);
}

/// On one thread as above. A peer of which much came before may have megabytes under way: so it goes in rounds.
#[tokio::test]
async fn others_are_served_while_a_large_frame_is_read_that_is_there_as_a_whole() {
    let (server, lab) = start(Limits::default());
    let mut busy = Peer::connect(&server).await;
    let mut other = Peer::connect(&server).await;
    let large = written(&Head::oneway(Dialect::Json, ECHO, 1), &[], &vec![7; 3 << 20]);
    for round in 0..8 {
        // From its beginning the frame is known to be large.
        busy.send(&large[..100]).await;
        assert!(other.works().await);
        lab.turns.lock().clear();
        let mut written = 100;
        while written < large.len()
            && let Ok(count) = busy.stream.try_write(&large[written..])
        {
            written += count;
        }
        other.send(&[frame_of(ECHO, 2, &[], b"two"), frame_of(ECHO, 3, &[], b"three")].concat()).await;
        assert_eq!((other.answer().await.opaque, other.answer().await.opaque), (2, 3));
        assert_eq!(lab.turns.lock()[..], [2], "it comes before the large frame is complete; round {round}");
        busy.send(&large[written..]).await;
        assert!(busy.works().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_in_many_pieces_is_one_frame() {
    let (server, _) = start(Limits::default());
    let mut peer = Peer::connect(&server).await;
    peer.stream.set_nodelay(true).unwrap();
    let whole = [frame_of(ECHO, 1, &[("k", "v")], b"in pieces"), frame_of(ECHO, 2, &[], b"")].concat();
    for piece in whole.chunks(3) {
        peer.send(piece).await;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert_eq!(peer.answer().await.body, b"in pieces");
    assert_eq!(peer.answer().await.opaque, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_of_the_largest_size_is_served_and_one_byte_more_ends_the_connection() {
    let (server, lab) = start(Limits::default());
    let mut other = Peer::connect(&server).await;
    assert!(other.works().await);

    let mut peer = Peer::connect(&server).await;
    let room = wire::frame::FRAME_MAX - frame_of(ECHO, 1, &[], b"").len();
    let body: Vec<u8> = (0..room).map(|at| at as u8).collect();
    let largest = frame_of(ECHO, 1, &[], &body);
    assert_eq!(largest.len(), wire::frame::FRAME_MAX);
    peer.send(&largest).await;
    assert!(peer.answer().await.body == body, "16 MiB come back as they went");
    // Behind it the connection goes on as usual.
    assert!(peer.works().await);

    let served = lab.served();
    let mut larger = frame_of(ECHO, 2, &[], b"");
    let announced = (wire::frame::FRAME_MAX - 4 + 1) as u32;
    larger[..4].copy_from_slice(&announced.to_be_bytes());
    peer.send(&larger).await;
    assert_eq!(peer.receive().await, None, "closed as soon as the length is known");
    assert_eq!(lab.served(), served);
    assert!(other.works().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_bytes_end_their_connection_after_what_came_before_is_answered() {
    let (server, _) = start(Limits::default());
    let mut other = Peer::connect(&server).await;
    let broken: [(&str, &[u8]); 7] = [
        ("length below 4", &[0, 0, 0, 1, 0]),
        ("negative length", &[0xFF, 0xFF, 0xFF, 0xFF, 0]),
        ("unknown dialect", &[0, 0, 0, 8, 9, 0, 0, 0, 0, 0, 0, 0]),
        ("header longer than the frame", &[0, 0, 0, 8, 0, 0, 0, 77, 0, 0, 0, 0]),
        ("JSON header that is none", &[0, 0, 0, 6, 0, 0, 0, 2, b'[', b']']),
        ("binary header cut short", &[0, 0, 0, 6, 1, 0, 0, 2, 0, 1]),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ];
    for (what, bytes) in broken {
        let mut peer = Peer::connect(&server).await;
        peer.send(&[&frame_of(ECHO, 5, &[], b"before"), bytes].concat()).await;
        assert_eq!(peer.answer().await.body, b"before", "{what}");
        assert_eq!(peer.receive().await, None, "{what}");
        assert!(other.works().await, "{what}");
    }
    until("only one connection is left", || server.connections() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_before_a_malformed_frame_still_arrive() {
    let (server, _) = start(Limits::default());
    let mut peer = Peer::connect_small(&server).await;
    let mut burst = Vec::new();
    for opaque in 0..12 {
        burst.extend_from_slice(&frame_of(PRODUCE, opaque, &[("bytes", "900000")], b""));
    }
    burst.extend_from_slice(&[0, 0, 0, 0]);
    peer.send(&burst).await;
    for opaque in 0..12 {
        let answer = peer.answer().await;
        assert_eq!((answer.opaque, answer.body.len()), (opaque, 900_000));
    }
    assert_eq!(peer.receive().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn oneway_requests_are_served_and_never_answered() {
    let (server, lab) = start(Limits::default());
    let mut peer = Peer::connect(&server).await;
    for code in [ECHO, PRODUCE, 999] {
        peer.send(&oneway_of(code, 1)).await;
    }
    until("three requests are served", || lab.served() == 3).await;
    peer.hears_nothing().await;
    assert!(peer.works().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_the_dialect_that_asked_and_unknown_codes_as_java_says_them() {
    let (server, _) = start(Limits::default());
    let mut peer = Peer::connect(&server).await;
    for dialect in [Dialect::Json, Dialect::Binary] {
        peer.send(&written(&Head::request(dialect, 3442, 9), &[], b"")).await;
        let mut first = [0; 5];
        while peer.stream.peek(&mut first).await.unwrap() < 5 {
            tokio::task::yield_now().await;
        }
        assert_eq!(first[4], dialect.byte());
        let answer = peer.answer().await;
        assert_eq!((answer.code, answer.opaque), (3, 9));
        assert_eq!(answer.remark.unwrap(), " request type 3442 not supported");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_waits_for_are_dropped() {
    let (server, lab) = start(Limits::default());
    let mut peer = Peer::connect(&server).await;
    for opaque in [0, 1, -1, i32::MAX] {
        peer.send(&written(&Head::response(Dialect::Json, 0, opaque), &[], b"unasked")).await;
    }
    assert!(peer.works().await);
    assert_eq!(lab.served(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_panics_costs_one_connection() {
    let (server, lab) = start(Limits::default());
    let mut other = Peer::connect(&server).await;
    assert!(other.works().await);
    for _ in 0..4 {
        let mut peer = Peer::connect(&server).await;
        peer.send(&frame_of(PANIC, 1, &[], b"")).await;
        assert_eq!(peer.receive().await, None);
    }
    until("their places are free again", || server.connections() == 1 && lab.closed() == 4).await;
    // Nothing of the half-written answers reaches anybody else.
    for _ in 0..32 {
        assert!(Peer::connect(&server).await.works().await);
        assert!(other.works().await);
    }
}
