//! The end of a segment (store.md §3.7).

use crate::support::{World, bodies, letter, send, small_options};
use store::{AppendError, Batch, Options};

const SEGMENT: u64 = 16 * 1024;

#[test]
fn a_blank_of_exact_size_ends_a_segment_and_the_next_begins_with_a_record() {
    let world = World::new(small_options());
    let store = world.open();
    let mut last = send(&store, &letter("t", 0, &"x".repeat(1000))).unwrap();
    loop {
        let next = send(&store, &letter("t", 0, &"x".repeat(1000))).unwrap();
        if next.offset >= SEGMENT {
            assert_eq!(next.offset, SEGMENT);
            break;
        }
        last = next;
    }
    let file = &world.disk.files()[&world.path("commitlog/00000000000000000000")];
    let blank = last.until as usize;
    let remaining = (SEGMENT - last.until) as u32;
    assert_eq!(file[blank..blank + 4], remaining.to_be_bytes());
    assert_eq!(file[blank + 4..blank + 8], [0xCB, 0xD4, 0x31, 0x94]);
    let count = bodies(&store, "t", 0).len();
    drop(store);
    assert_eq!(bodies(&world.open(), "t", 0).len(), count);
}

#[test]
fn a_record_fits_with_eight_bytes_to_spare_and_not_with_seven() {
    for spare in [8, 7] {
        let world = World::new(small_options());
        let store = world.open();
        let empty = send(&store, &letter("t", 0, "")).unwrap();
        let overhead = empty.until - empty.offset;
        let body = "x".repeat((SEGMENT - empty.until - overhead - spare) as usize);
        let filling = send(&store, &letter("t", 0, &body)).unwrap();
        assert_eq!(filling.offset, if spare == 8 { empty.until } else { SEGMENT }, "{spare}");
        let next = send(&store, &letter("t", 0, "next")).unwrap();
        assert!(next.offset >= SEGMENT);
        drop(store);
        assert_eq!(bodies(&world.open(), "t", 0).len(), 3);
    }
}

#[test]
fn a_group_is_never_split_even_in_a_batch_larger_than_a_segment() {
    let world = World::new(small_options());
    let store = world.open();
    let mut batch = Batch::default();
    for group in 0..10 {
        batch.begin_group();
        for i in 0..5 {
            letter("t", 0, &format!("{group}-{i}-{}", "x".repeat(800))).push_to(&store, &mut batch);
        }
        batch.end_group();
        letter("t", 1, &"y".repeat(300)).push_to(&store, &mut batch);
    }
    assert!(batch.bytes_len() as u64 > 2 * SEGMENT);
    store.append(&mut batch).unwrap();
    for group in 0..10 {
        let segments: Vec<u64> = (0..5).map(|i| batch.appended(group * 6 + i).offset / SEGMENT).collect();
        assert!(segments.iter().all(|segment| *segment == segments[0]), "{group}: {segments:?}");
    }
    assert_eq!(batch.until(), store.log_end());
    drop(store);
    let store = world.open();
    assert_eq!((bodies(&store, "t", 0).len(), bodies(&store, "t", 1).len()), (50, 10));
}

#[test]
fn what_cannot_fit_is_refused_before_anything_is_written() {
    let world = World::new(small_options());
    let store = world.open();
    let mut batch = Batch::default();
    letter("t", 0, "small").push_to(&store, &mut batch);
    letter("t", 0, &"x".repeat(SEGMENT as usize)).push_to(&store, &mut batch);
    assert!(matches!(store.append(&mut batch), Err(AppendError::TooLarge { segment_bytes: SEGMENT, .. })));
    assert_eq!((store.log_end(), store.queue("t", 0).max_offset()), (0, 0));
}

#[test]
fn the_next_segment_is_ready_before_it_is_needed_and_goes_if_it_is_not() {
    let world = World::new(small_options());
    let store = world.open();
    let second = world.path("commitlog/00000000000000016384");
    send(&store, &letter("t", 0, "x")).unwrap();
    store.allocate_step().unwrap();
    assert!(!world.disk.files().contains_key(&second));
    send(&store, &letter("t", 0, &"x".repeat(9000))).unwrap();
    store.allocate_step().unwrap();
    assert!(world.disk.files().contains_key(&second));
    store.stop().unwrap();
    drop(store);
    assert!(!world.disk.files().contains_key(&second));
    // After a kill it stays, and the next life tidies up.
    let store = world.open();
    store.allocate_step().unwrap();
    assert!(world.disk.files().contains_key(&second));
    drop(store);
    let store = world.open();
    assert!(!world.disk.files().contains_key(&second));
    assert_eq!(bodies(&store, "t", 0).len(), 2);
}

#[test]
fn nothing_is_read_in_advance_in_the_segment_that_is_written() {
    let world = World::new(small_options());
    let store = world.open();
    let segment = |number: u64| world.path(&format!("commitlog/{:020}", number * SEGMENT));
    let fill = |until: u64| while send(&store, &letter("t", 0, &"x".repeat(1000))).unwrap().until <= until {};
    let in_advance_but_in = |number| {
        let at_random = world.disk.read_at_random();
        at_random.len() == 1 && at_random.contains(&segment(number))
    };
    fill(SEGMENT);
    assert!(in_advance_but_in(1));
    store.adjust(&Options { read_ahead: false, ..small_options() });
    fill(2 * SEGMENT);
    assert_eq!(world.disk.read_at_random().len(), 3);
    store.adjust(&small_options());
    assert!(in_advance_but_in(2));
    drop(store);
    drop(world.open());
    assert!(in_advance_but_in(2));
}
