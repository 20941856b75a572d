//! Consumers: members of a group, which divide the queues of their topics among themselves (client.md §3).

mod assignment;
mod builder;
mod delivery;
mod hands;
mod intake;
mod lifecycle;
mod lite_pull;
mod local;
mod lock;
mod member;
mod offsets;
mod options;
mod pop;
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
pub use delivery::{ConsumeOrderlyStatus, Consumer, Delivered, Unfinished};
pub use lite_pull::{ByHand, LitePullConsumer, LitePullConsumerBuilder};
pub use options::StartFrom;
pub use pop::{PopConsumer, PopConsumerBuilder, Popped};
pub use serving::Serving;
pub use strategy::{Rooms, Strategy};
