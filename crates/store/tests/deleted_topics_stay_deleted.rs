//! A topic whose deletion was answered does not come back, whatever happens to the machine.

use crate::support::{World, bodies, letter, send, small_options};
use sim::Random;

#[test]
fn after_a_power_cut() {
    let mut world = World::new(small_options());
    let store = world.open();
    for i in 0..100 {
        send(&store, &letter(["gone", "kept"][i % 2], (i % 4) as u32, "x")).unwrap();
    }
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
    let kept = bodies(&store, "kept", 1);
    store.delete_topic("gone").unwrap();
    drop(store);
    let cut = world.disk.copy();
    for seed in 0..40 {
        world.disk = cut.crash(&mut Random::new(seed));
        let store = world.open();
        assert!(store.topics().iter().all(|topic| &**topic != "gone"), "seed {seed}");
        assert_eq!(bodies(&store, "kept", 1), kept);
        assert_eq!(send(&store, &letter("gone", 0, "anew")).unwrap().queue_offset, 0);
    }
}
