//! What a consumed message costs in allocations: in steady state, with all that broker and client do about it, on
//! whatever thread. A program of its own, since all allocations of the process are counted.

mod support;

use std::alloc::System;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::{PATIENCE, World, eventually};
use thrustmq_client::{Filter, Message, StartFrom};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MESSAGES: usize = 16_000;
/// Buffers have their size by then, and every thread has done once what it does once.
const WARM_UP: usize = 4_000;
/// A pull of 32 takes about 25, at both ends together.
const OF_A_MESSAGE: usize = 2;

/// Allocations of the process so far; a buffer that grows in its place counts too.
fn allocations() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_messages_and_handing_them_over_allocates_by_the_pull_and_not_by_the_message() {
    let world = World::start().await;
    world.create_topic("T", 4).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    for _ in 0..MESSAGES / 1_000 {
        let message = || Message::new("T", vec![b'x'; 256]).tag("tag").key("key").property("number", "7");
        producer.send_all((0..1_000).map(|_| message()).collect()).await.unwrap();
    }
    let (came, counts) =
        (Arc::new(AtomicUsize::new(0)), Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]));
    let (counted, noted) = (Arc::clone(&came), Arc::clone(&counts));
    let consumer = client.consumer("G").subscribe("T", Filter::all()).start_from(StartFrom::Earliest);
    let serving = consumer
        .serve(move |message| {
            assert_eq!((message.tag(), message.property("number")), (Some("tag"), Some("7")));
            match counted.fetch_add(1, Ordering::SeqCst) + 1 {
                WARM_UP => noted[0].store(allocations(), Ordering::SeqCst),
                MESSAGES => noted[1].store(allocations(), Ordering::SeqCst),
                _ => (),
            }
            async { Ok::<(), String>(()) }
        })
        .await
        .unwrap();
    eventually("all came", async || counts[1].load(Ordering::SeqCst) > 0).await;
    serving.close(PATIENCE).await;
    assert_eq!(came.load(Ordering::SeqCst), MESSAGES);
    let [before, after] = [0, 1].map(|at: usize| counts[at].load(Ordering::SeqCst));
    let (spent, messages) = (after - before, MESSAGES - WARM_UP);
    println!("{:.2} allocations a message", spent as f64 / messages as f64);
    assert!(spent <= OF_A_MESSAGE * messages, "{spent} allocations for {messages} messages");
}
