//! How connections to a cluster are encrypted: named by files, which are read anew by every command so that renewed
//! certificates count at once.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use thrustmq_client::{Tls, TlsError};

use crate::failure::Failure;

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
    /// When a part is there without the one that it needs: who has set any of it wants no connection in the clear.
    pub fn of_environment() -> Result<Option<Encryption>, Failure> {
        Encryption::of_variables(|name| std::env::var_os(name))
    }

    fn of_variables(get: impl Fn(&str) -> Option<OsString>) -> Result<Option<Encryption>, Failure> {
        let get = |name: &str| get(name).filter(|value| !value.to_string_lossy().trim().is_empty());
        let (server_name, certificate, key) = (get(SERVER_NAME), get(CERTIFICATE), get(KEY));
        let needs =
            |name: &str, other: &str| Err(Failure::Arguments(format!("{name} is set without {other}")));
        let Some(authorities) = get(AUTHORITIES) else {
            let others = [(SERVER_NAME, &server_name), (CERTIFICATE, &certificate), (KEY, &key)];
            return match others.iter().find(|(_, value)| value.is_some()) {
                Some((name, _)) => needs(name, AUTHORITIES),
                None => Ok(None),
            };
        };
        match (&certificate, &key) {
            (Some(_), None) => return needs(CERTIFICATE, KEY),
            (None, Some(_)) => return needs(KEY, CERTIFICATE),
            _ => (),
        }
        Ok(Some(Encryption {
            authorities: authorities.into(),
            // What is no text is no name either, and is refused as such.
            server_name: server_name.map(|name| name.to_string_lossy().into_owned()),
            certificate: certificate.map(Into::into),
            key: key.map(Into::into),
        }))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Encryption>, Failure> {
        let value = |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| *value);
        Encryption::of_variables(|name| value(name).map(Into::into))
    }

    #[test]
    fn whoever_has_set_half_of_what_it_takes_is_told_and_does_not_speak_in_the_clear() {
        for (set, told) in [
            (&[SERVER_NAME][..], "THRUST_TLS_SERVER_NAME is set without THRUST_TLS_CA"),
            (&[CERTIFICATE, KEY], "THRUST_TLS_CERTIFICATE is set without THRUST_TLS_CA"),
            (&[KEY], "THRUST_TLS_KEY is set without THRUST_TLS_CA"),
            (&[AUTHORITIES, CERTIFICATE], "THRUST_TLS_CERTIFICATE is set without THRUST_TLS_KEY"),
            (&[AUTHORITIES, KEY], "THRUST_TLS_KEY is set without THRUST_TLS_CERTIFICATE"),
        ] {
            let variables: Vec<_> = set.iter().map(|name| (*name, "something")).collect();
            assert_eq!(of(&variables).unwrap_err().to_string(), told);
        }
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&[(AUTHORITIES, ""), (SERVER_NAME, " ")]).unwrap(), None);
        let all = [AUTHORITIES, SERVER_NAME, CERTIFICATE, KEY].map(|name| (name, name));
        let told = of(&all).unwrap().unwrap().told();
        assert_eq!(
            told,
            "trusts THRUST_TLS_CA, servers are THRUST_TLS_SERVER_NAME, shows THRUST_TLS_CERTIFICATE"
        );
    }

    #[cfg(unix)]
    #[test]
    fn names_of_files_need_not_be_text() {
        use std::os::unix::ffi::OsStringExt;
        let path = OsString::from_vec(b"ca-\xFF.pem".to_vec());
        let get = |name: &str| (name == AUTHORITIES).then(|| path.clone());
        let trusts = Encryption::of_variables(get).unwrap().map(|encryption| encryption.authorities);
        assert_eq!(trusts, Some(PathBuf::from(&path)));
    }
}
