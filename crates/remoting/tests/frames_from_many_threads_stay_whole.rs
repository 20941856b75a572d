//! Threads that write to a socket by themselves, threads that leave it to the connection's task, and the task with
//! answers of its own: whatever their turns, the peer gets whole frames, and those of one thread in their order.

mod peer;

use std::sync::Arc;

use peer::*;
use remoting::{Channel, Limits};

const FRAMES: i32 = 400;
const THREADS: i32 = 3;

/// A frame that names its thread, and its number in the opaque; the sizes go from far below to far above what the
/// kernel takes at once for a peer with a small buffer.
fn frame(thread: i32, number: i32) -> Vec<u8> {
    let size = (number * 7919 % 97 * 700) as usize;
    frame_of(PRODUCE, thread * FRAMES + number, &[], &vec![thread as u8; size])
}

fn channel_of(lab: &Lab) -> Arc<Channel> {
    lab.channels.lock()[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_frames_arrive_whole_and_in_the_order_of_their_senders() {
    let (server, lab) = start(Limits { outbound_bytes_max: 256 << 20, ..Limits::default() });
    let mut peer = Peer::connect_small(&server).await;
    assert!(peer.works().await);
    let channel = channel_of(&lab);
    let senders: Vec<_> = (0..THREADS)
        .map(|thread| {
            let channel = Arc::clone(&channel);
            std::thread::spawn(move || {
                for number in 0..FRAMES {
                    match thread {
                        0 => channel.send(&frame(thread, number)),
                        _ => channel.send_directly(&frame(thread, number)),
                    }
                }
            })
        })
        .collect();
    // Answers of the connection's own task, in between.
    let requests: Vec<u8> = (0..FRAMES)
        .flat_map(|number| frame_of(ECHO, THREADS * FRAMES + number, &[], &[THREADS as u8; 100]))
        .collect();
    peer.send(&requests).await;
    let mut next = [0; THREADS as usize + 1];
    for _ in 0..(THREADS + 1) * FRAMES {
        let received = peer.answer().await;
        let (thread, number) = (received.opaque / FRAMES, received.opaque % FRAMES);
        assert_eq!(number, next[thread as usize], "of thread {thread}");
        next[thread as usize] += 1;
        assert!(received.body.iter().all(|byte| i32::from(*byte) == thread));
        if thread < THREADS {
            assert_eq!(received.body.len(), (number * 7919 % 97 * 700) as usize);
        }
    }
    for sender in senders {
        sender.join().unwrap();
    }
    assert!(peer.works().await);
    until("nothing is left unread", || channel.unread() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_thread_can_write_while_the_threads_of_the_runtime_are_busy() {
    let (server, lab) = start(Limits::default());
    let mut peer = Peer::connect(&server).await;
    assert!(peer.works().await);
    let (channel, busy) = (channel_of(&lab), Arc::new(std::sync::Barrier::new(2)));
    let until = Arc::clone(&busy);
    tokio::spawn(async move {
        until.wait();
    });
    let stream = peer.stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let frame = frame(1, 5);
    // On the test's own thread, which is none of the runtime's.
    channel.send_directly(&frame);
    let mut got = vec![0; frame.len()];
    std::io::Read::read_exact(&mut &stream, &mut got).unwrap();
    assert!(got == frame, "it came as it was sent");
    busy.wait();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_after_the_end_goes_nowhere_and_is_not_counted() {
    let (server, lab) = start(Limits::default());
    let mut peer = Peer::connect(&server).await;
    assert!(peer.works().await);
    let channel = channel_of(&lab);
    drop(peer);
    until("the connection ended", || !channel.is_open()).await;
    channel.send_directly(&frame(1, 5));
    assert_eq!(channel.unread(), 0);
}
