//! Which servers a command speaks to, and who asks them.

pub mod contexts;
pub mod encryption;

use clap::Args;
use thrustmq_client::{Admin, Client, Error};

use crate::failure::{Failure, did_you_mean};
use crate::output::screen::consent;
use contexts::{Contexts, Keys};
use encryption::Encryption;

/// Where a command goes when nothing says otherwise.
const USUAL: &str = "127.0.0.1:9876";
/// The environment's list of name servers, which all official clients read too.
const NAMESRV_ADDR: &str = "NAMESRV_ADDR";

/// Arguments that all commands have.
#[derive(Debug, Args)]
pub struct Target {
    /// Name servers [default: NAMESRV_ADDR of the environment, or those of the chosen context, or 127.0.0.1:9876].
    #[arg(short = 'n', long, value_name = "HOST:PORT;HOST:PORT")]
    pub nameserver: Option<String>,
    /// The context to use; `thrust context list` shows all [default: the chosen one].
    #[arg(long, value_name = "NAME", conflicts_with = "nameserver")]
    pub context: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Where a command goes.
pub struct Destination {
    /// Name servers, `host:port;host:port`.
    pub servers: String,
    /// What requests are signed with.
    pub keys: Option<Keys>,
    /// How connections are encrypted; not at all without it.
    pub tls: Option<Encryption>,
    /// What said so.
    pub source: Source,
}

/// What says where a command goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Argument,
    Environment,
    Context(String),
    Default,
}

impl Source {
    pub fn name(&self) -> &'static str {
        match self {
            Source::Argument => "argument",
            Source::Environment => NAMESRV_ADDR,
            Source::Context(_) => "context",
            Source::Default => "default",
        }
    }
}

impl Target {
    /// Where to: what arguments say goes before the environment, and that before the chosen context. Keys and
    /// encryption are those of the context that is used, or else those of the environment.
    pub fn destination(&self) -> Result<Destination, Failure> {
        if let Some(name) = &self.context {
            return of_context(&Contexts::load()?, name);
        }
        if let Some(servers) = &self.nameserver {
            return plain(servers, Source::Argument);
        }
        let named = std::env::var(NAMESRV_ADDR).ok().filter(|servers| !servers.trim().is_empty());
        if let Some(servers) = named {
            return plain(&servers, Source::Environment);
        }
        let contexts = Contexts::load()?;
        match contexts.chosen() {
            Some((name, _)) => of_context(&contexts, name),
            None => plain(USUAL, Source::Default),
        }
    }

    /// Goes on only with consent to what happens to these servers, which are named: they may not be those that were
    /// meant.
    pub fn consent(&self, what: &str, yes: bool) -> Result<(), Failure> {
        let Destination { servers, source, .. } = self.destination()?;
        let place = match source {
            Source::Context(name) => format!("context {name}, {servers}"),
            _ => servers,
        };
        consent(&format!("{what} (at {place})"), yes)
    }

    /// A client of the servers.
    pub async fn client(&self) -> Result<Client, Failure> {
        let Destination { servers, keys, tls, .. } = self.destination()?;
        crate::output::progress::asks(&servers);
        let mut builder = Client::builder(servers);
        if let Some(keys) = keys {
            builder = builder.credentials(keys.credentials());
        }
        if let Some(tls) = tls {
            builder = builder.tls(tls.tls()?);
        }
        Ok(builder.connect().await?)
    }
}

/// Servers that no context is of.
fn plain(servers: &str, source: Source) -> Result<Destination, Failure> {
    let (keys, tls) = (Keys::of_environment()?, Encryption::of_environment()?);
    Ok(Destination { servers: servers.to_owned(), keys, tls, source })
}

fn of_context(contexts: &Contexts, name: &str) -> Result<Destination, Failure> {
    let context = contexts.named(name)?;
    let keys = match &context.keys {
        Some(keys) => Some(keys.clone()),
        None => Keys::of_environment()?,
    };
    let tls = match &context.tls {
        Some(tls) => Some(tls.clone()),
        None => Encryption::of_environment()?,
    };
    let source = Source::Context(name.to_owned());
    Ok(Destination { servers: context.nameserver.clone(), keys, tls, source })
}

/// Where a command goes that has no [`Target`] of its own.
pub fn destination(nameserver: Option<&str>) -> Result<Destination, Failure> {
    let nameserver = nameserver.map(str::to_owned);
    Target { nameserver, context: None, json: false }.destination()
}

/// The route of a topic that must be there; if it is not, says which name may have been meant.
pub async fn route(admin: &Admin, topic: &str) -> Result<thrustmq_client::Route, Failure> {
    match admin.topic_route(topic).await {
        Err(Error::NoRoute { .. }) => {
            let known = admin.topics().await?;
            let hint = did_you_mean(topic, known.iter().map(String::as_str));
            Err(Failure::NotFound(format!(
                "no broker has topic \"{topic}\"{hint}; `thrust topic create {topic}` makes it"
            )))
        }
        other => Ok(other?),
    }
}

/// Reads `NAME=VALUE`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}
