//! Transactions: a message that is seen only after its sender said so (client.md §2.9).

use std::sync::Arc;

use bytes::Bytes;
use remoting::{Channel, Request};
use wire::code::request;
use wire::ids::OffsetId;
use wire::properties as props;
use wire::sys_flag;

use super::send::Target;
use super::{Inner, Producer};
use crate::decision::Decision;
use crate::error::Error;
use crate::fields::Fields;
use crate::hooks::Ended;
use crate::message::{Message, Now};
use crate::receipt::{Receipt, SendError, SendStatus};
use crate::received::read_all;
use crate::shared::Shared;

/// A producer whose group answers for open transactions; see
/// [`ProducerBuilder::transactional`](crate::ProducerBuilder::transactional). It is a [`Producer`] too.
#[derive(Debug, Clone)]
pub struct TransactionProducer {
    pub(super) producer: Producer,
}

impl std::ops::Deref for TransactionProducer {
    type Target = Producer;

    fn deref(&self) -> &Producer {
        &self.producer
    }
}

impl TransactionProducer {
    /// Stores a message that nobody sees until [`Transaction::commit`].
    ///
    /// # Errors
    /// As [`Producer::send`]. A message that is stored but not as safely as the broker promises is rolled back, and the
    /// error is the broker's word for it.
    pub async fn begin(&self, message: Message<Now>) -> Result<Transaction, SendError> {
        let inner = &self.producer.inner;
        let topic = inner.shared.namespace.wrap(&message.topic).into_owned();
        let route = match inner.route_in_time(&topic).await {
            Ok(route) => route,
            // The send would only ask for it once more.
            Err(error) => return Err(SendError::new(error, message, String::new(), 0, false)),
        };
        // Who asks how a transaction ended looks for members of the group that it knows.
        inner.shared.greet(&route.masters(), inner.options.timeout / 4).await;
        let returned = message.clone();
        let more = [(props::TRAN_MSG, "true"), (props::PGROUP, inner.wire_group.as_str())];
        let receipt = inner.send(message, Target::Any, sys_flag::TRANSACTION_PREPARED, &more).await?;
        let [tag, keys] = [props::TAGS, props::KEYS].map(|name| returned.get(name).map(str::to_owned));
        let transaction = Transaction { producer: self.producer.clone(), topic, tag, keys, receipt };
        let status = transaction.receipt.status;
        if status == SendStatus::Stored {
            return Ok(transaction);
        }
        let message_id = transaction.receipt.message_id.clone();
        let attempts = transaction.receipt.attempts;
        // If the broker does not hear of it, it asks, and nobody knows the transaction then.
        let _ = transaction.rollback().await;
        let what = format!("the half message is stored, but {status:?}");
        Err(SendError::new(Error::Illegal(what), returned, message_id, attempts, false))
    }
}

/// An open transaction: its message is stored and nobody sees it.
///
/// One that is dropped says nothing to the broker, which asks the group's checker later.
#[derive(Debug)]
#[must_use = "a transaction that is neither committed nor rolled back is decided by the checker later"]
pub struct Transaction {
    producer: Producer,
    /// Its complete name.
    topic: String,
    tag: Option<String>,
    keys: Option<String>,
    receipt: Receipt,
}

impl Transaction {
    /// Id of the message, which the checker sees too.
    pub fn message_id(&self) -> &str {
        &self.receipt.message_id
    }

    /// Lets consumers see the message.
    ///
    /// # Errors
    /// When the broker did not confirm; it will ask the checker then.
    pub async fn commit(self) -> Result<Receipt, Error> {
        self.end(Decision::Commit).await?;
        Ok(self.receipt)
    }

    /// Takes the message back.
    ///
    /// # Errors
    /// When the broker did not confirm; it will ask the checker then.
    pub async fn rollback(self) -> Result<(), Error> {
        self.end(Decision::Rollback).await
    }

    async fn end(&self, decision: Decision) -> Result<(), Error> {
        let inner: &Inner = &self.producer.inner;
        let address = inner.shared.master_of(&self.receipt.queue).await?;
        let place = OffsetId::parse(&self.receipt.offset_id)
            .ok_or_else(|| Error::malformed(&address, "its offset id is none"))?;
        let fields = Fields::new()
            .text("topic", self.topic.as_str())
            .text("producerGroup", inner.wire_group.as_str())
            .number("tranStateTableOffset", self.receipt.offset)
            .number("commitLogOffset", i64::try_from(place.offset).unwrap_or(i64::MAX))
            .number("commitOrRollback", decision.code())
            .flag("fromTransactionCheck", false)
            .text("msgId", self.receipt.message_id.as_str())
            .text("transactionId", self.receipt.message_id.as_str())
            .text("bname", self.receipt.queue.broker_name.as_str());
        inner.shared.ask(&address, request::END_TRANSACTION, &fields, &[]).await?;
        inner.shared.hooks.ended(&Ended {
            group: self.producer.group(),
            topic: &inner.shared.namespace.unwrap(&self.topic),
            message_id: &self.receipt.message_id,
            tag: self.tag.as_deref(),
            keys: self.keys.as_deref(),
            transaction_id: &self.receipt.message_id,
            decision,
            asked: false,
            broker: &address,
        });
        Ok(())
    }
}

/// The broker asks how a transaction ended; the group's checker is asked and answers over the same connection.
pub(crate) fn check_transaction(shared: &Arc<Shared>, channel: &Arc<Channel>, asked: &Request<'_>) {
    let address = channel.peer().to_string();
    let broker_name = asked.field("bname").unwrap_or_default().to_owned();
    let half = read_all(&Bytes::copy_from_slice(asked.body), &broker_name, &address);
    let Some(mut half) = half.ok().and_then(|messages| messages.into_iter().next()) else {
        tracing::warn!(address, "a broker asks about a transaction whose message cannot be read");
        return;
    };
    let Some(group) = half.property(props::PGROUP).map(str::to_owned) else { return };
    let Some(checker) = shared.registry.checker(&group) else { return };
    // A broker that asks about more than may wait asks again later.
    let Some(held) = channel.hold() else { return };
    let number = |name| asked.header.fields.number::<i64>(name).unwrap_or(0);
    let (table_offset, log_offset) = (number("tranStateTableOffset"), number("commitLogOffset"));
    let transaction_id =
        asked.field("transactionId").map_or_else(|| half.message_id().into_owned(), str::to_owned);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let (message_id, topic) = (half.message_id().into_owned(), half.topic().to_owned());
        shared.namespace.unwrap_messages(std::slice::from_mut(&mut half));
        let [tag, keys] = [props::TAGS, props::KEYS].map(|name| half.property(name).map(str::to_owned));
        let decision = checker(half).await;
        shared.hooks.ended(&Ended {
            group: &shared.namespace.unwrap(&group),
            topic: &shared.namespace.unwrap(&topic),
            message_id: &message_id,
            tag: tag.as_deref(),
            keys: keys.as_deref(),
            transaction_id: &transaction_id,
            decision,
            asked: true,
            broker: &address,
        });
        let fields = Fields::new()
            .text("topic", topic)
            .text("producerGroup", group)
            .number("tranStateTableOffset", table_offset)
            .number("commitLogOffset", log_offset)
            .number("commitOrRollback", decision.code())
            .flag("fromTransactionCheck", true)
            .text("msgId", message_id)
            .text("transactionId", transaction_id)
            .text("bname", broker_name);
        shared.tell_over(held.channel(), request::END_TRANSACTION, &fields, &[]);
    });
}
