//! Named clusters, kept in a file of the user's own: `contexts.json` below `$XDG_CONFIG_HOME/thrust`, or
//! `~/.config/thrust`.
//!
//! Keys are in it, so nobody but its owner may read it: it is written with mode 0600, and one that others can read is
//! refused as soon as it holds a secret.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thrustmq_client::Credentials;

use super::encryption::Encryption;
use crate::failure::{Failure, did_you_mean};

/// Who may do what with the file: its owner alone.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Rights of anybody else.
const OTHERS: u32 = 0o077;

/// The environment's names of keys.
pub const ACCESS_KEY: &str = "THRUST_ACCESS_KEY";
pub const SECRET_KEY: &str = "THRUST_SECRET_KEY";
pub const SECURITY_TOKEN: &str = "THRUST_SECURITY_TOKEN";

/// All contexts of a user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Contexts {
    /// The one that commands use when nothing else is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    pub contexts: BTreeMap<String, Context>,
}

/// A cluster: where it is, who asks it, and how nobody else can listen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    pub nameserver: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Encryption>,
}

/// Keys of a user of the brokers. `Debug` never shows the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    pub access_key: String,
    secret_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    security_token: Option<String>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keys").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

impl Keys {
    /// What requests are signed with.
    pub fn credentials(&self) -> Credentials {
        let credentials = Credentials::new(&self.access_key, &self.secret_key);
        match &self.security_token {
            Some(token) => credentials.with_security_token(token),
            None => credentials,
        }
    }

    /// Keys of the environment, if there are any.
    ///
    /// # Errors
    /// When one is there without the other.
    pub fn of_environment() -> Result<Option<Keys>, Failure> {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        match (get(ACCESS_KEY), get(SECRET_KEY)) {
            (None, None) => Ok(None),
            (Some(access_key), Some(secret_key)) => {
                Ok(Some(Keys { access_key, secret_key, security_token: get(SECURITY_TOKEN) }))
            }
            (Some(_), None) => Err(Failure::Arguments(format!("{ACCESS_KEY} is set without {SECRET_KEY}"))),
            (None, Some(_)) => Err(Failure::Arguments(format!("{SECRET_KEY} is set without {ACCESS_KEY}"))),
        }
    }

    /// Keys of a file of lines `accessKey: …` and `secretKey: …`, which is what Java's `conf/tools.yml` has; `=` does
    /// as well as `:`.
    ///
    /// # Errors
    /// When the file cannot be read, or has not both.
    pub fn of_file(path: &Path) -> Result<Keys, Failure> {
        let text = std::fs::read_to_string(path).map_err(|cause| cannot("read", path, cause))?;
        Keys::parse(&text).ok_or_else(|| {
            let path = path.display();
            Failure::Arguments(format!(
                "{path} must have a line \"accessKey: …\" and a line \"secretKey: …\""
            ))
        })
    }

    fn parse(text: &str) -> Option<Keys> {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once([':', '=']));
        let mut found: BTreeMap<&str, String> = BTreeMap::new();
        for (name, value) in pairs {
            let value = value.trim().trim_matches(['"', '\'']);
            if !value.is_empty() {
                found.insert(name.trim(), value.to_owned());
            }
        }
        Some(Keys {
            access_key: found.remove("accessKey")?,
            secret_key: found.remove("secretKey")?,
            security_token: found.remove("securityToken"),
        })
    }
}

impl Contexts {
    /// Reads the file; nothing is there when it is not.
    ///
    /// # Errors
    /// When it cannot be read or understood, or when others can read a secret in it.
    pub fn load() -> Result<Contexts, Failure> {
        path().map_or(Ok(Contexts::default()), |path| Contexts::load_from(&path))
    }

    fn load_from(path: &Path) -> Result<Contexts, Failure> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Contexts::default()),
            Err(cause) => return Err(cannot("read", path, cause)),
        };
        let contexts: Contexts = serde_json::from_str(&text).map_err(|error| {
            let path = path.display();
            Failure::Arguments(format!("{path} cannot be understood: {error}; mend or remove it"))
        })?;
        let mode = std::fs::metadata(path).map_err(|cause| cannot("read", path, cause))?.permissions().mode();
        if mode & OTHERS != 0 && contexts.contexts.values().any(|context| context.keys.is_some()) {
            let path = path.display();
            return Err(Failure::Arguments(format!(
                "others can read the keys in {path}; `chmod 600 {path}` ends that"
            )));
        }
        Ok(contexts)
    }

    /// Writes the file: all of it or nothing.
    ///
    /// # Errors
    /// When there is no place for it, or it cannot be written.
    pub fn save(&self) -> Result<PathBuf, Failure> {
        let path = path().ok_or_else(|| {
            Failure::Arguments("there is no place for contexts; set HOME or XDG_CONFIG_HOME".to_owned())
        })?;
        self.save_to(&path).map_err(|cause| cannot("write", &path, cause))?;
        Ok(path)
    }

    fn save_to(&self, path: &Path) -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        }
        let draft = path.with_extension(format!("json.{}", std::process::id()));
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&draft)?;
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other)?;
        let written = file
            .write_all(format!("{text}\n").as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&draft, path));
        if written.is_err() {
            // The cause is told; a draft that stays would only be in the way.
            let _ = std::fs::remove_file(&draft);
        }
        written
    }

    /// A context that must be there.
    ///
    /// # Errors
    /// When it is not, with the name that may have been meant.
    pub fn named(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let hint = did_you_mean(name, self.contexts.keys().map(String::as_str));
            Failure::NotFound(format!(
                "there is no context \"{name}\"{hint}; `thrust context list` shows all"
            ))
        })
    }

    /// The chosen context with its name.
    pub fn chosen(&self) -> Option<(&str, &Context)> {
        let (name, context) = self.contexts.get_key_value(self.chosen.as_deref()?)?;
        Some((name.as_str(), context))
    }
}

/// Where the file is; nowhere when the environment names no home.
fn path() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(folder.join("thrust").join("contexts.json"))
}

fn cannot(what: &str, path: &Path, cause: std::io::Error) -> Failure {
    Failure::File { what: format!("{what} {}", path.display()), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys { access_key: "me".into(), secret_key: "deep secret".into(), security_token: None }
    }

    fn one() -> Contexts {
        let context = Context { nameserver: "a:1".into(), keys: Some(keys()), tls: None };
        Contexts { chosen: Some("prod".into()), contexts: [("prod".to_owned(), context)].into() }
    }

    #[test]
    fn what_is_written_is_read_again_and_is_the_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/thrust/contexts.json");
        assert_eq!(Contexts::load_from(&path).unwrap(), Contexts::default());
        one().save_to(&path).unwrap();
        assert_eq!(Contexts::load_from(&path).unwrap(), one());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, FILE_MODE);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft stays");

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = Contexts::load_from(&path).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
        std::fs::write(&path, "{").unwrap();
        assert!(Contexts::load_from(&path).unwrap_err().to_string().contains("cannot be understood"));
    }

    #[test]
    fn keys_are_read_as_java_tools_write_them_and_never_shown() {
        let yaml = "# keys\naccessKey: \"me\"\nsecretKey: deep secret\n";
        assert_eq!(Keys::parse(yaml), Some(keys()));
        assert_eq!(Keys::parse("accessKey=me\nsecretKey=deep secret"), Some(keys()));
        assert_eq!(Keys::parse("accessKey: me\nsecretKey:\n"), None);
        assert!(!format!("{:?} {:?}", one(), keys().credentials()).contains("deep"));
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_right_one() {
        let wrong = one().named("prot").unwrap_err().to_string();
        assert!(wrong.contains("(did you mean \"prod\"?)"), "{wrong}");
        assert_eq!(one().chosen().map(|(name, _)| name.to_owned()), Some("prod".to_owned()));
        assert!(Contexts { chosen: Some("gone".into()), ..one() }.chosen().is_none());
    }
}
