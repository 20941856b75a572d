//! Consumers: members of a group, which divide the queues of their topics among themselves (client.md §3).

mod builder;
mod delivery;
mod lifecycle;
mod local;
mod lock;
mod member;
mod offsets;
mod pull;
mod questions;
mod rebalance;
mod strategy;
mod window;

pub use builder::{ConsumerBuilder, StartFrom, Subscribed, Unsubscribed};
pub use delivery::{Consumer, Delivered, Serving};
pub(crate) use member::Member;
pub use strategy::Strategy;
