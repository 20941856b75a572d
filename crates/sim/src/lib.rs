//! A deterministic world for tests: a disk that crashes and fails on demand, a clock that is set by hand.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod clock;
mod content;
mod disk;
mod fault;
mod layered;
mod names;
mod random;
pub mod reader;

pub use clock::SimClock;
pub use disk::SimDisk;
pub use fault::{Fault, Operation, Trace};
pub use layered::{Layer, Layered};
pub use random::Random;
