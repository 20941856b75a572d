//! A deterministic world for tests: a disk that crashes and fails on demand, a clock that is set by hand.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod clock;
mod disk;
mod random;

pub use clock::SimClock;
pub use disk::{Fault, Operation, SimDisk};
pub use random::Random;
