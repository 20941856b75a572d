//! How connections to a cluster are encrypted: named by files, which are read anew by every command so that renewed
//! certificates count at once.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use thrustmq_client::{Tls, TlsError};

use super::failure::Failure;

/// The environment's names of files, and of the name in servers' certificates.
pub const AUTHORITIES: &str = "THRUST_TLS_CA";
const SERVER_NAME: &str = "THRUST_TLS_SERVER_NAME";
const CERTIFICATE: &str = "THRUST_TLS_CERTIFICATE";
const KEY: &str = "THRUST_TLS_KEY";

/// What to trust and what to show, as arguments.
#[derive(Debug, Args)]
pub struct TlsArgs {
    /// Encrypt, and trust servers whose certificates come from an authority in this PEM file.
    #[arg(long = "tls-ca", value_name = "FILE")]
    authorities: Option<PathBuf>,
    /// Name that certificates of all servers are for [default: the address that is connected to].
    #[arg(long = "tls-server-name", value_name = "NAME", requires = "authorities")]
    server_name: Option<String>,
    /// Certificate to show to servers that ask for one, a PEM file with its chain.
    #[arg(long = "tls-certificate", value_name = "FILE", requires_all = ["authorities", "key"])]
    certificate: Option<PathBuf>,
    /// Key of that certificate, a PEM file.
    #[arg(long = "tls-key", value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

impl TlsArgs {
    /// What the arguments say, if they say anything.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub fn encryption(&self) -> Result<Option<Encryption>, Failure> {
        let Some(authorities) = &self.authorities else { return Ok(None) };
        let encryption = Encryption {
            authorities: whole(authorities)?,
            server_name: self.server_name.clone(),
            certificate: self.certificate.as_deref().map(whole).transpose()?,
            key: self.key.as_deref().map(whole).transpose()?,
        };
        encryption.tls()?;
        Ok(Some(encryption))
    }
}

/// What to trust and what to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Encryption {
    /// PEM file of the authorities that certificates of servers come from.
    #[serde(rename = "ca")]
    authorities: PathBuf,
    /// Name that certificates of all servers are for.
    #[serde(default)]
    server_name: Option<String>,
    /// PEM file of the client's chain.
    #[serde(default)]
    certificate: Option<PathBuf>,
    /// PEM file of its key.
    #[serde(default)]
    key: Option<PathBuf>,
}

impl Encryption {
    /// What the environment says, if it says anything.
    ///
    /// # Errors
    /// When a part is there without the one that it needs.
    pub fn of_environment() -> Result<Option<Encryption>, Failure> {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let (certificate, key) = (get(CERTIFICATE), get(KEY));
        let needs =
            |name: &str, other: &str| Err(Failure::Arguments(format!("{name} is set without {other}")));
        match (get(AUTHORITIES), certificate, key) {
            (None, Some(_), _) => needs(CERTIFICATE, AUTHORITIES),
            (None, None, Some(_)) => needs(KEY, AUTHORITIES),
            (Some(_), Some(_), None) => needs(CERTIFICATE, KEY),
            (Some(_), None, Some(_)) => needs(KEY, CERTIFICATE),
            (None, None, None) => Ok(None),
            (Some(authorities), certificate, key) => Ok(Some(Encryption {
                authorities: authorities.into(),
                server_name: get(SERVER_NAME),
                certificate: certificate.map(Into::into),
                key: key.map(Into::into),
            })),
        }
    }

    /// What a client encrypts with.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub fn tls(&self) -> Result<Tls, Failure> {
        let refused = |error: TlsError| Failure::Arguments(error.to_string());
        let tls = Tls::trusting(&self.authorities).map_err(refused)?;
        let tls = match &self.server_name {
            Some(name) => tls.server_name(name).map_err(refused)?,
            None => tls,
        };
        match self.certificate.as_ref().zip(self.key.as_ref()) {
            Some((certificate, key)) => tls.client_certificate(certificate, key).map_err(refused),
            None => Ok(tls),
        }
    }

    /// What is told of it.
    pub fn told(&self) -> String {
        let mut text = format!("trusts {}", self.authorities.display());
        if let Some(name) = &self.server_name {
            text += &format!(", servers are {name}");
        }
        if let Some(certificate) = &self.certificate {
            text += &format!(", shows {}", certificate.display());
        }
        text
    }
}

/// A path that means the same from everywhere. Links stay: what renews certificates often moves them.
fn whole(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|cause| Failure::File { what: format!("find {}", path.display()), cause })
}
