//! Messages that failed go back to their broker, which delivers them again later (client.md §3.6).

use wire::code::request;

use super::member::Member;
use crate::error::Error;
use crate::fields::Fields;
use crate::producer::{self, SentBack};
use crate::received::Received;

impl Member {
    /// Gives a message back, to be delivered again later or to be a dead letter. `topic` is where it lay. If its broker
    /// does not take it, it goes as a new message to whichever does: it is not lost with its broker's connection.
    pub(super) async fn send_back(&self, message: &Received, topic: &str, level: i32) -> Result<(), Error> {
        let Err(error) = self.ask_to_take_back(message, topic, level).await else { return Ok(()) };
        let (group, id) = (&self.group, message.message_id());
        tracing::info!(group, %id, "a message is not taken back and is sent anew: {error}");
        let origin = self.shared.namespace.wrap(message.topic());
        let retries_max = self.retries_max();
        let back = SentBack { message, group, topic: &origin, level, retries_max };
        producer::send_back(&self.shared, &back).await
    }

    async fn ask_to_take_back(&self, message: &Received, topic: &str, level: i32) -> Result<(), Error> {
        let namespace = &self.shared.namespace;
        // What a queue held before it moved to another broker is still where it was stored.
        let stored = Some(message.store_host.to_string());
        let stored = stored.filter(|address| self.shared.routes.name_of(address).is_some());
        let address = match stored {
            Some(address) => address,
            None => self.shared.master_of(&namespace.wrap_queue(&message.queue)).await?,
        };
        let fields = Fields::new()
            .text("group", self.group.as_str())
            .text("originTopic", namespace.wrap(topic))
            .number("offset", message.commit_log_offset)
            .number("delayLevel", level)
            .text("originMsgId", message.message_id())
            .flag("unitMode", false)
            .number("maxReconsumeTimes", self.retries_max())
            .text("bname", message.queue.broker_name.as_str());
        self.shared.ask(&address, request::CONSUMER_SEND_MSG_BACK, &fields, &[]).await?;
        Ok(())
    }
}
