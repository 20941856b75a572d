//! Popping: brokers choose the messages, and give each to somebody else unless it is acknowledged in time
//! (client.md §3.9).
//!
//! A member keeps one pop under way for each of its queues ([`queue`]); what it brings has a receipt for each message
//! ([`receipt`]), which acknowledges it, hides it for longer or gives it back. Acknowledgements of one queue go
//! together ([`acknowledge`]).

mod acknowledge;
mod builder;
mod consumer;
mod message;
mod queue;
mod receipt;

pub use builder::PopConsumerBuilder;
pub use consumer::PopConsumer;
pub use message::Popped;
pub(super) use queue::PopQueue;
pub(super) use receipt::Receipt;
