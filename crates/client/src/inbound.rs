//! Requests that brokers send to us.

use std::sync::{Arc, OnceLock, Weak};

use remoting::{Channel, Service, Turn};
use wire::code::response;

use crate::shared::Shared;

/// Serves the other direction of every connection.
#[derive(Default)]
pub(crate) struct Inbound {
    shared: OnceLock<Weak<Shared>>,
}

impl Inbound {
    /// Names the client that requests are for.
    pub fn belongs_to(&self, shared: &Arc<Shared>) {
        let _ = self.shared.set(Arc::downgrade(shared));
    }
}

impl Service for Inbound {
    fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(request) = turn.next_request() {
            let remark = format!(" request type {} not supported", request.header.code);
            request.reply_to().write(turn.out, response::REQUEST_CODE_NOT_SUPPORTED, Some(&remark));
        }
    }

    fn closed(&self, _: &Arc<Channel>) {}
}
