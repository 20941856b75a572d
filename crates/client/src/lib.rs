//! The client of ThrustMQ and Apache RocketMQ: producers, consumers and administration over the remoting protocol.
//!
//! A [`Client`] has connections, routes and an identity; everything else is made from it. It speaks to servers of 4.9
//! and 5.x alike.
//!
//! ```no_run
//! use thrustmq_client::{Client, Message};
//!
//! # async fn example() -> Result<(), thrustmq_client::Error> {
//! let client = Client::connect("127.0.0.1:9876").await?;
//! let producer = client.producer("order-service").build()?;
//! producer.send(Message::new("orders", "order 7 is paid").key("7")).await?;
//! # Ok(()) }
//! ```
//!
//! # What there is
//! - [`Producer`]: [`send`](Producer::send) and wait, [`enqueue`](Producer::enqueue) and go on,
//!   [one-way](Producer::send_oneway), [many at a time](Producer::send_all), in order
//!   ([`Message::order_by`]), later ([`Message::delay`], [`Message::delay_level`]), as a
//!   [transaction](ProducerBuilder::transactional), as a [request](Producer::request) that is replied to.
//! - [`Consumer`] and [`Serving`]: a member of a group, as a stream or with a handler; concurrent,
//!   [orderly](ConsumerBuilder::orderly) or [broadcast](ConsumerBuilder::broadcast).
//! - [`PopConsumer`]: brokers choose what each member gets, message by message.
//! - [`LitePullConsumer`]: asked for messages, subscribed or with queues of one's own choice.
//! - [`QueueReader`]: reads by offset, without a group.
//! - [`Admin`]: what administrators see and change.
//! - [Name servers](Client::connect) from a list or [a page](Client::discover), [encryption](ClientBuilder::tls),
//!   [signatures](ClientBuilder::credentials), [traces](ClientBuilder::trace) and hooks ([`SendHook`], [`ConsumeHook`],
//!   [`RpcHook`]).
//!
//! # What failed, and what that means
//! Errors say whether something may have happened all the same: [`Error::maybe_done`], [`SendError::maybe_stored`].
//! Where the answer is no, the call can be repeated without a second copy.
//!
//! Invariants: nothing here is global, no thread is started, and no configuration is read from the environment; tasks
//! run on the caller's tokio runtime and end with the client.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod admin;
mod at_once;
mod body;
mod client;
mod consumer;
mod credentials;
mod decision;
mod discovery;
mod error;
mod fields;
mod filter;
mod greetings;
mod heartbeat;
mod hooks;
mod identity;
mod inbound;
mod lookup;
mod message;
mod names;
mod namespace;
mod outlet;
#[cfg(test)]
mod pretended;
mod producer;
mod reader;
mod receipt;
mod received;
mod registry;
mod reply;
mod route;
mod routes;
mod shared;
mod trace;
mod watch;

pub use admin::{
    Admin, ConsumeResult, HaMaster, HaSlave, HaStatus, Index, Moment, ProducerInfo, QueueEntries, QueueEntry,
    RequestMode, Search,
};
pub use body::Compression;
pub use client::{Client, ClientBuilder};
pub use consumer::{
    ByHand, ConsumeOrderlyStatus, Consumer, ConsumerBuilder, Delivered, LitePullConsumer,
    LitePullConsumerBuilder, PopConsumer, PopConsumerBuilder, Popped, Rooms, Serving, StartFrom, Strategy,
    Subscribed, Unfinished, Unsubscribed,
};
pub use credentials::Credentials;
pub use decision::Decision;
pub use error::Error;
pub use filter::Filter;
pub use hooks::{
    ConsumeHook, ConsumeOutcome, Consumed, Consuming, Ended, RpcHook, RpcRequest, RpcResponse, SendHook,
    SendKind, SendOutcome, Sending, Sent,
};
pub use message::{Delivery, Later, Message, Now, Ordered};
pub use producer::{
    AutoBatch, BatchError, Pending, Producer, ProducerBuilder, RequestError, SendFailed, Transaction,
    TransactionProducer,
};
pub use reader::{Pulled, QueueReader};
pub use receipt::{Receipt, SendError, SendStatus};
pub use received::Received;
#[cfg(feature = "tls")]
pub use remoting::{Tls, TlsError};
pub use reply::Reply;
pub use route::Route;
pub use trace::Trace;
pub use watch::QueueWatch;

/// Bodies of requests and answers, as the protocol has them.
pub use wire::body::{
    AclInfo, BrokerData, BrokerStatsData, BrokerStatsItem, ClusterInfo, Connection, ConsumeStats,
    ConsumeStatsList, ConsumerConnection, LogicQueueMappingItem, MessageQueue, MessageStory, OffsetWrapper,
    PolicyEntryInfo, PolicyInfo, ProducerConnection, QueueData, QueueTimeSpan, StoryGroup, StoryPop,
    StoryPosition, StoryRecord, StoryRole, StoryTransaction, StoryTransactionState, SubscriptionData,
    SubscriptionGroupConfig, TopicConfig, TopicConfigAndQueueMapping, TopicOffset, TopicQueueMappingDetail,
    TopicRoute, TopicStatsTable, UserInfo,
};
