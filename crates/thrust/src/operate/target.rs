//! Which servers a command speaks to.

use clap::Args;
use thrustmq_client::{Admin, Client, Error};

use super::failure::{Failure, did_you_mean};

/// Where a command goes when nothing says otherwise.
const USUAL: &str = "127.0.0.1:9876";

/// Arguments that all commands have.
#[derive(Debug, Args)]
pub struct Target {
    /// Name servers [default: NAMESRV_ADDR of the environment, or 127.0.0.1:9876].
    #[arg(short = 'n', long, value_name = "HOST:PORT;HOST:PORT")]
    pub nameserver: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl Target {
    /// A client of the servers.
    pub async fn client(&self) -> Result<Client, Failure> {
        let from_environment =
            || std::env::var("NAMESRV_ADDR").ok().filter(|servers| !servers.trim().is_empty());
        let servers = self.nameserver.clone().or_else(from_environment);
        Ok(Client::connect(servers.as_deref().unwrap_or(USUAL)).await?)
    }
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
