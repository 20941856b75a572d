//! What clients and brokers say about pops: receipt handles, and where a popped message lay (broker.md §15.1).

mod handle;
mod origin;

pub use handle::{Handle, ORDER_QUEUE};
pub use origin::{Origin, normal_topic};
