//! Which request goes where.

use std::sync::Arc;

use remoting::{Channel, Pause, Request, Service, Turn};
use wire::body::TopicConfig;
use wire::code::{request as code, response};

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal};

/// Clients above this version go elsewhere when told so (wire.md §7.4).
const VERSION_GO_AWAY: i32 = 475;

/// Everything, on `listenPort`.
pub struct MainPort(pub Arc<Broker>);

/// Everything but reading, on the port two below: sends never wait behind pulls (wire.md §1).
pub struct FastPort(pub Arc<Broker>);

impl Service for MainPort {
    fn serve(&self, channel: &Arc<Channel>, turn: &mut Turn<'_>) {
        self.0.serve(channel, turn, |_| true);
    }

    fn closed(&self, channel: &Arc<Channel>) {
        self.0.channel_closed(channel);
    }
}

impl Service for FastPort {
    fn serve(&self, channel: &Arc<Channel>, turn: &mut Turn<'_>) {
        self.0.serve(channel, turn, is_on_fast_port);
    }

    fn closed(&self, channel: &Arc<Channel>) {
        self.0.channel_closed(channel);
    }
}

fn is_on_fast_port(code: i32) -> bool {
    !matches!(
        code,
        code::PULL_MESSAGE
            | code::LITE_PULL_MESSAGE
            | code::POP_MESSAGE
            | code::PEEK_MESSAGE
            | code::NOTIFICATION
            | code::POLLING_INFO
    )
}

impl Broker {
    fn serve(self: &Arc<Self>, channel: &Arc<Channel>, turn: &mut Turn<'_>, served: fn(i32) -> bool) {
        let _gathered = Gathered(self);
        let leaving = *self.stopping.borrow() && self.settings.load().enable_shutdown_gracefully;
        while let Some(request) = turn.next_request() {
            if leaving && request.header.version > VERSION_GO_AWAY {
                request.reply_to().write(turn.out, response::GO_AWAY, Some("the broker is shutting down"));
                continue;
            }
            let again = turn.is_again();
            let mut exchange = Exchange { channel, request: &request, out: turn.out };
            if matches!(
                request.header.code,
                code::SEND_MESSAGE | code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE
            ) {
                match self.send(&mut exchange, again) {
                    Some(topic) => self.create_meanwhile(topic, turn.put_back()),
                    None => continue,
                }
                break;
            }
            if request.header.code == code::END_TRANSACTION {
                self.end_transaction(&mut exchange);
                continue;
            }
            if matches!(request.header.code, code::ACK_MESSAGE | code::BATCH_ACK_MESSAGE) {
                self.ack(&mut exchange);
                continue;
            }
            // What was sent and acknowledged before is stored before anything else is looked at.
            self.flush_sends(channel, exchange.out);
            self.flush_acks(channel, exchange.out);
            let outcome = if served(request.header.code) {
                self.dispatch(&mut exchange)
            } else {
                Err(unsupported(&request))
            };
            if let Err(refusal) = outcome {
                exchange.refuse(&refusal);
            }
        }
        self.flush_sends(channel, turn.out);
        self.flush_acks(channel, turn.out);
    }

    /// Creates a topic on a thread that may wait for the disk. The connection whose next request needs it stands still
    /// meanwhile, and no other.
    fn create_meanwhile(self: &Arc<Self>, topic: TopicConfig, pause: Pause) {
        let broker = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            if let Err(refusal) = broker.create_wanted(topic) {
                // Who sent to it is told so when it fails once more.
                tracing::debug!(remark = %refusal.remark, "a topic could not be created");
            }
            drop(pause);
        });
    }

    fn dispatch(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        match exchange.request.header.code {
            code::PULL_MESSAGE | code::LITE_PULL_MESSAGE => self.pull(exchange),
            code::CONSUMER_SEND_MSG_BACK => self.send_back(exchange),
            code::HEART_BEAT => self.heartbeat(exchange),
            code::UNREGISTER_CLIENT => self.unregister_client(exchange),
            code::CHECK_CLIENT_CONFIG => self.check_client_config(exchange),
            code::GET_CONSUMER_LIST_BY_GROUP => self.consumer_list(exchange),
            code::LOCK_BATCH_MQ => self.lock_queues(exchange),
            code::UNLOCK_BATCH_MQ => self.unlock_queues(exchange),
            code::QUERY_ASSIGNMENT => self.query_assignment(exchange),
            code::SET_MESSAGE_REQUEST_MODE => self.set_request_mode(exchange),
            code::GET_ALL_MESSAGE_REQUEST_MODE => self.all_request_modes(exchange),
            code::POP_MESSAGE => self.pop_message(exchange),
            code::CHANGE_MESSAGE_INVISIBLETIME => self.change_invisible_time(exchange),
            code::PEEK_MESSAGE => self.peek_message(exchange),
            code::NOTIFICATION => self.notification(exchange),
            code::POLLING_INFO => self.polling_info(exchange),
            code::QUERY_CONSUMER_OFFSET => self.query_consumer_offset(exchange),
            code::UPDATE_CONSUMER_OFFSET => self.update_consumer_offset(exchange),
            code::GET_MAX_OFFSET => self.max_offset(exchange),
            code::GET_MIN_OFFSET => self.min_offset(exchange),
            code::SEARCH_OFFSET_BY_TIMESTAMP => self.search_offset(exchange),
            code::GET_EARLIEST_MSG_STORETIME => self.earliest_store_time(exchange),
            code::SEND_REPLY_MESSAGE | code::SEND_REPLY_MESSAGE_V2 => self.reply(exchange),
            code::RECALL_MESSAGE => self.recall_message(exchange),
            code::QUERY_MESSAGE => self.query_message(exchange),
            code::VIEW_MESSAGE_BY_ID => self.view_message(exchange),
            _ => self.administer(exchange).unwrap_or_else(|| Err(unsupported(exchange.request))),
        }
    }
}

/// What the turns of this thread gather. If a handler panics it is forgotten: the next connection that the thread
/// serves must neither store what another one sent, nor be given its answers.
pub(crate) struct Gathered<'b>(pub &'b Broker);

impl Drop for Gathered<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.forget_sends();
            self.0.forget_acks();
        }
    }
}

fn unsupported(request: &Request<'_>) -> Refusal {
    let code = request.header.code;
    Refusal::new(response::REQUEST_CODE_NOT_SUPPORTED, format!(" request type {code} not supported"))
}
