//! Consumers: members of a group, which divide the queues of their topics among themselves (client.md §3).

mod assignment;
mod at_once;
mod builder;
mod delivery;
mod giving_up;
mod handlers;
mod hands;
mod intake;
mod lifecycle;
mod lite_pull;
mod local;
mod lock;
mod member;
mod offsets;
mod options;
mod pop_builder;
mod pop_consumer;
#[cfg(test)]
mod pretended;
mod pull;
mod questions;
mod rebalance;
mod send_back;
mod serving;
mod status;
mod strategy;
mod stream;
mod subscriptions;
mod window;

pub use builder::{ConsumerBuilder, Subscribed, Unsubscribed};
pub use delivery::{ConsumeOrderlyStatus, Delivered};
pub use handlers::Unfinished;
pub use lite_pull::{ByHand, LitePullConsumer, LitePullConsumerBuilder};
pub use member::Popped;
pub use options::StartFrom;
pub use pop_builder::PopConsumerBuilder;
pub use pop_consumer::PopConsumer;
pub use serving::Serving;
pub use strategy::{Rooms, Strategy};
pub use stream::Consumer;
