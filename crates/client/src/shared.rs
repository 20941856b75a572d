//! What a client, its producers and its consumers have in common: connections, name servers, routes, settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use remoting::{Answer, Channel, Limits, Patience, Service};
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use wire::code::response;
use wire::header::FrameWriter;
use wire::loose_json;

use crate::credentials::Credentials;
use crate::discovery::Page;
use crate::error::Error;
use crate::fields::Fields;
use crate::hooks::{Hooks, RpcRequest};
use crate::identity::UniqueKeys;
use crate::names::NameServers;
use crate::namespace::Namespace;
use crate::registry::Registry;
use crate::routes::Routes;
use crate::trace::Tracer;

/// Field of a request with its signature.
const SIGNATURE: &str = "Signature";
/// Whether a request names a namespace, and which.
const NAMESPACED: &str = "nsd";
const NAMESPACE: &str = "ns";

/// Memory that a connection keeps for what it writes.
const BUFFER_KEPT_BYTES: usize = 1 << 20;

/// Shorter silence says nothing about a connection.
const DOUBT: Duration = Duration::from_secs(1);

/// Times that hold for a whole client.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    /// For calls that do not say otherwise.
    pub call: Duration,
    pub route_refresh: Duration,
    pub heartbeat: Duration,
    pub look_again: Duration,
}

/// The common part.
pub(crate) struct Shared {
    pub client_id: String,
    pub remoting: remoting::Client,
    pub names: NameServers,
    pub routes: Routes,
    pub registry: Registry,
    pub keys: UniqueKeys,
    pub credentials: Option<Credentials>,
    pub namespace: Namespace,
    pub hooks: Hooks,
    pub tracer: Option<Arc<Tracer>>,
    pub times: Times,
    closed: AtomicBool,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// What [`Shared::new`] needs.
pub(crate) struct Parts {
    pub client_id: String,
    pub names: NameServers,
    pub keys: UniqueKeys,
    pub credentials: Option<Credentials>,
    pub namespace: Namespace,
    pub hooks: Hooks,
    pub tracer: Option<Arc<Tracer>>,
    pub times: Times,
    /// Answers what brokers ask.
    pub inbound: Arc<dyn Service>,
    #[cfg(feature = "tls")]
    pub tls: Option<remoting::Tls>,
}

impl Shared {
    pub fn new(parts: Parts) -> Result<Arc<Shared>, Error> {
        // There are few connections, and what is busy should not ask for its memory again and again.
        let limits = Limits { buffer_kept_bytes: BUFFER_KEPT_BYTES, ..Limits::default() };
        let remoting = remoting::Client::new(limits, parts.inbound);
        #[cfg(feature = "tls")]
        let remoting = match &parts.tls {
            Some(tls) => remoting.encrypted(tls)?,
            None => remoting,
        };
        Ok(Arc::new(Shared {
            client_id: parts.client_id,
            remoting,
            names: parts.names,
            routes: Routes::default(),
            registry: Registry::default(),
            keys: parts.keys,
            credentials: parts.credentials,
            namespace: parts.namespace,
            hooks: parts.hooks,
            tracer: parts.tracer,
            times: parts.times,
            closed: AtomicBool::new(false),
            tasks: Mutex::default(),
        }))
    }

    /// What the header of a request has besides its own fields: what hooks have added, the namespace, and the
    /// signature, which covers everything else and so is made last.
    fn besides(&self, request: &RpcRequest<'_>) -> Vec<(String, String)> {
        let RpcRequest { fields, body, .. } = *request;
        let mut besides = request.added.clone();
        if let Some(namespace) = &self.namespace.named {
            besides.push((NAMESPACED.to_owned(), "true".to_owned()));
            besides.push((NAMESPACE.to_owned(), namespace.clone()));
        }
        let Some(credentials) = &self.credentials else { return besides };
        let texts = fields.texts();
        let own = texts.iter().map(|(name, value)| (*name, &**value));
        let named = besides.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut pairs: Vec<(&str, &str)> = own.chain(named).collect();
        let signature = credentials.sign(&mut pairs, body);
        let mut besides: Vec<(String, String)> = pairs[texts.len()..]
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        besides.push((SIGNATURE.to_owned(), signature));
        besides
    }

    /// Waits until what is known of messages so far is sent to the topic of traces.
    pub async fn flush_traces(&self) {
        if let Some(tracer) = &self.tracer {
            tracer.flush().await;
        }
    }

    /// Sends a request and waits for whatever is answered.
    pub async fn call(
        &self,
        address: &str,
        code: i32,
        fields: &Fields<'_>,
        body: &[u8],
        patience: impl Into<Patience>,
    ) -> Result<Answer, Error> {
        if self.is_closed() {
            return Err(Error::Stopped("the client"));
        }
        let mut request = RpcRequest { address, code, body, oneway: false, fields, added: Vec::new() };
        self.hooks.asking(&mut request);
        let answer = self.exchange(&request, patience.into()).await;
        self.hooks.asked(&request, &answer);
        answer
    }

    async fn exchange(&self, request: &RpcRequest<'_>, patience: Patience) -> Result<Answer, Error> {
        let RpcRequest { address, code, body, fields, .. } = *request;
        let begun = Instant::now();
        let besides = self.besides(request);
        let write = |writer: &mut FrameWriter<'_>| write(writer, fields, &besides);
        let mut rest = patience;
        let channel = self.remoting.channel_for(address, &mut rest).await?;
        let answer = channel.call_with(code, write, body, rest).await?;
        if answer.code != response::GO_AWAY {
            return Ok(answer);
        }
        // The server is about to stop, or wants its connections elsewhere: it has not looked at the request. Who was
        // told so before may be speaking over the next connection already. Boxed, since it is rare and would make the
        // future of every call large.
        self.remoting.abandon_channel(address, &channel);
        let left = patience.timeout.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Ok(answer);
        }
        let patience = Patience { timeout: left, ..patience };
        Ok(Box::pin(self.remoting.call_with(address, code, write, body, patience)).await?)
    }

    /// Sends a request that must succeed, within the client's usual time.
    pub async fn ask(
        &self,
        address: &str,
        code: i32,
        fields: &Fields<'_>,
        body: &[u8],
    ) -> Result<Answer, Error> {
        let answer = self.call(address, code, fields, body, self.times.call).await?;
        success(address, answer)
    }

    /// Sends a request that wants no answer. Whether it arrived is never known.
    pub async fn tell(
        &self,
        address: &str,
        code: i32,
        fields: &Fields<'_>,
        body: &[u8],
    ) -> Result<(), Error> {
        if self.is_closed() {
            return Err(Error::Stopped("the client"));
        }
        let channel = self.remoting.channel(address, self.times.call).await?;
        self.tell_over(&channel, code, fields, body);
        Ok(())
    }

    /// Sends a request that wants no answer over a connection that is there.
    pub fn tell_over(&self, channel: &Channel, code: i32, fields: &Fields<'_>, body: &[u8]) {
        let address = channel.peer().to_string();
        let mut request =
            RpcRequest { address: &address, code, body, oneway: true, fields, added: Vec::new() };
        self.hooks.asking(&mut request);
        let besides = self.besides(&request);
        channel.oneway_with(code, |writer| write(writer, fields, &besides), body);
    }

    /// After a call that is answered soon or never: ends its connection if that was silent all the time, less what was
    /// on its way when the call began. A device on the way may have forgotten it, and then everything that is sent over
    /// it is lost until TCP gives up.
    pub fn doubt(&self, address: &str, error: &Error) {
        match error {
            Error::Timeout { after, .. } if *after >= DOUBT => {
                self.remoting.close_if_silent(address, after.saturating_sub(DOUBT).max(DOUBT));
            }
            _ => (),
        }
    }

    /// Asks one name server after the other until one answers, all within the client's usual time for a call. One that
    /// knows no route for a topic may have been started just now: the others are asked too before it is believed.
    pub async fn ask_names(
        &self,
        code: i32,
        fields: &Fields<'_>,
        body: &[u8],
    ) -> Result<(String, Answer), Error> {
        let servers = self.names.in_order();
        let mut deadline = Instant::now() + self.times.call;
        let (mut last, mut unknown) = ("there are none".to_owned(), None);
        for (at, server) in servers.iter().enumerate() {
            // Those that come later get their part of the time.
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = left / u32::try_from(servers.len() - at).unwrap_or(1);
            match self.call(server, code, fields, body, timeout).await {
                Ok(answer) if answer.code == response::TOPIC_NOT_EXIST && unknown.is_none() => {
                    self.names.answered(server);
                    unknown = Some(Error::refused(server, &answer));
                    // Nearly always it is right, and then a server that is silent should not cost much.
                    deadline = deadline.min(Instant::now() + self.times.call / 4);
                }
                Ok(answer) if answer.code == response::TOPIC_NOT_EXIST => (),
                Ok(answer) => {
                    self.names.answered(server);
                    return Ok((server.clone(), success(server, answer)?));
                }
                Err(Error::Stopped(what)) => return Err(Error::Stopped(what)),
                Err(error) => {
                    self.doubt(server, &error);
                    last = error.to_string();
                }
            }
        }
        Err(unknown.unwrap_or(Error::NoNameServer { tried: servers.len(), last }))
    }

    /// Looks whether the page lists other name servers by now.
    pub async fn look_for_names(&self, page: &Page) {
        match page.look().await {
            Ok(servers) => {
                for gone in self.names.replace(servers).into_iter().flatten() {
                    tracing::info!(server = gone, "a name server is not on {page} any more");
                    self.remoting.abandon(&gone);
                }
            }
            // What was known stays in use.
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// A task that ends with the client.
    pub fn keep_task(&self, task: AbortHandle) {
        self.tasks.lock().push(task);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends all connections; calls fail from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.remoting.close();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.get_mut().iter().for_each(AbortHandle::abort);
        self.remoting.close();
    }
}

fn write(writer: &mut FrameWriter<'_>, fields: &Fields<'_>, besides: &[(String, String)]) {
    fields.write(writer);
    for (name, value) in besides {
        writer.field(name, value);
    }
}

/// The answer, if it says so.
pub(crate) fn success(address: &str, answer: Answer) -> Result<Answer, Error> {
    if answer.code == response::SUCCESS { Ok(answer) } else { Err(Error::refused(address, &answer)) }
}

/// Reads the JSON body of an answer.
pub(crate) fn decode<T: DeserializeOwned>(address: &str, answer: &Answer) -> Result<T, Error> {
    loose_json::read(&answer.body).map_err(|error| Error::malformed(address, error))
}

/// Reads a number among the fields of an answer.
pub(crate) fn number<T: std::str::FromStr>(
    address: &str,
    answer: &Answer,
    name: &'static str,
) -> Result<T, Error> {
    let text = answer.field(name).ok_or_else(|| Error::malformed(address, format!("it has no {name}")))?;
    text.parse().map_err(|_| Error::malformed(address, format!("its {name} is \"{text}\"")))
}
