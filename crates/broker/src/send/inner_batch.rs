//! A batch request to a topic with `queue.type=BatchCQ`: its body becomes one record as it is, which has as many
//! queue offsets as it holds messages, and which clients unwrap (broker.md §5.7).

use std::sync::Arc;

use store::{INNER_MESSAGES_MAX, Queue};
use wire::hash;
use wire::properties as props;
use wire::record::Message;
use wire::sys_flag;

use super::answer::Answer;
use super::{BROKER_PROPERTIES, Outgoing, Sent, illegal};
use crate::Broker;
use crate::exchange::{Outcome, Refusal};
use crate::topics::Topic;

impl Broker {
    /// Takes an inner batch into the batch of this turn. `unique_key` is the one that its sender gave all of it: what
    /// tells it from batches of older clients, which are stored message by message here too.
    pub(super) fn prepare_inner_batch(
        &self,
        sent: &Sent<'_>,
        topic: &Topic,
        queue: &Arc<Queue>,
        unique_key: &str,
        outgoing: &mut Outgoing,
    ) -> Outcome {
        let Sent { exchange, header, seen } = sent;
        let request = exchange.request;
        let count = count_messages(request.body)?;
        let properties = &mut outgoing.properties;
        properties.clear();
        props::copy_without(header.properties.as_bytes(), &BROKER_PROPERTIES, properties);
        properties.extend_from_slice(&self.stamp.load());
        props::push(properties, props::INNER_NUM, itoa::Buffer::new().format(count));
        let message = self.message(sent, topic, queue.id(), request.body, properties);
        let sys_flag = message.sys_flag | sys_flag::NEED_UNWRAP | sys_flag::INNER_BATCH;
        let message = Message { sys_flag, ..message };
        let tags_code = hash::tags_code(seen.tags);
        let first = outgoing.batch.push_inner_batch(queue, &message, tags_code, count)?;
        let held = self.place(exchange.channel, sent.waits_for_disk())?;
        let key = outgoing.keep_key(unique_key);
        outgoing.waits |= sent.waits_for_disk();
        let answer = Answer::new(request.reply_to(), first, 1, queue.id());
        let logical = header.logical.clone();
        outgoing.answers.push(Answer { key, inner_batch: true, logical, held, ..answer });
        Ok(())
    }
}

/// Messages of a batch body, each of which must be whole: nobody could read what follows one that is not.
fn count_messages(body: &[u8]) -> Result<u16, Refusal> {
    let mut count = 0usize;
    for entry in wire::batch::entries(body) {
        entry.map_err(|error| illegal(error.to_string()))?;
        count += 1;
    }
    match u16::try_from(count) {
        Ok(0) => Err(illegal("the batch holds no message")),
        Ok(number) if count <= INNER_MESSAGES_MAX => Ok(number),
        _ => {
            let remark = format!("the batch holds {count} messages, {INNER_MESSAGES_MAX} are possible");
            Err(illegal(remark))
        }
    }
}
