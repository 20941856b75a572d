//! A server of which a test says what it answers, and a client of it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use remoting::{Channel, Limits, Listener, Request, Server, Service, Turn};
use wire::code::response;
use wire::header::FrameWriter;

use crate::hooks::Hooks;
use crate::identity::UniqueKeys;
use crate::inbound::Inbound;
use crate::names::NameServers;
use crate::namespace::Namespace;
use crate::shared::{Parts, Shared, Times};

/// An answer.
pub struct Said {
    code: i32,
    offset: Option<i64>,
    body: String,
}

impl Said {
    /// Nothing but a code.
    pub fn code(code: i32) -> Said {
        Said { code, offset: None, body: String::new() }
    }

    /// An offset.
    pub fn offset(offset: i64) -> Said {
        Said { offset: Some(offset), ..Said::code(response::SUCCESS) }
    }

    /// A body.
    pub fn body(text: &str) -> Said {
        Said { body: text.to_owned(), ..Said::code(response::SUCCESS) }
    }

    /// All the locks that were asked for.
    pub fn locked(asked: &Request<'_>) -> Said {
        let batch: serde_json::Value = serde_json::from_slice(asked.body).unwrap();
        let body = serde_json::json!({ "lockOKMQSet": batch["mqSet"] }).to_string();
        Said { body, ..Said::code(response::SUCCESS) }
    }
}

struct Pretended<A>(A);

impl<A: Fn(&Request<'_>) -> Option<Said> + Send + Sync + 'static> Service for Pretended<A> {
    fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(asked) = turn.next_request() {
            let Some(said) = self.0(&asked) else { continue };
            let head = asked.reply_to();
            let mut answer = FrameWriter::new(turn.out, &head.head(said.code, None));
            if let Some(offset) = said.offset {
                answer.field("offset", &offset.to_string());
            }
            answer.body(said.body.as_bytes());
        }
    }

    fn closed(&self, _: &Arc<Channel>) {}
}

/// A server that answers so, or not at all, and its address.
pub fn pretend(answers: impl Fn(&Request<'_>) -> Option<Said> + Send + Sync + 'static) -> (String, Server) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address().to_string();
    (address, listener.serve(Limits::default(), Arc::new(Pretended(answers))))
}

/// What a client of these name servers has whose calls take 1 s at most.
pub fn client_of(names: Vec<String>) -> Arc<Shared> {
    let second = Duration::from_secs(1);
    let times = Times { call: second, route_refresh: second, heartbeat: second, look_again: second };
    Shared::new(Parts {
        client_id: "c".to_owned(),
        names: NameServers::new(names),
        keys: UniqueKeys::new(IpAddr::from(Ipv4Addr::LOCALHOST)),
        credentials: None,
        namespace: Namespace::default(),
        hooks: Hooks::default(),
        tracer: None,
        times,
        inbound: Arc::new(Inbound::default()),
        #[cfg(feature = "tls")]
        tls: None,
    })
    .unwrap()
}
