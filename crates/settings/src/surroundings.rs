//! What settings take from the machine: a few variables and the host's name.

use std::env;

/// The values that stand for `${user.home}` and the like, and the defaults that depend on the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// `$HOME`: what `${user.home}` stands for. Without it the working directory takes its place.
    pub home: Option<String>,
    /// `$ROCKETMQ_HOME`: what `${ROCKETMQ_HOME}` and `${rocketmq.home.dir}` stand for.
    pub rocketmq_home: Option<String>,
    /// `$NAMESRV_ADDR`: the name servers when the file names none.
    pub namesrv_addr: Option<String>,
    /// The default of `brokerName`.
    pub host_name: Option<String>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_this_process() -> Surroundings {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        Surroundings {
            home: variable("HOME"),
            rocketmq_home: variable("ROCKETMQ_HOME"),
            namesrv_addr: variable("NAMESRV_ADDR"),
            host_name: host_name().or_else(|| variable("HOSTNAME")),
        }
    }

    /// `path` with its variables replaced; the error is the name of one that has no value.
    ///
    /// Known are `${user.home}`, `$HOME`, `${ROCKETMQ_HOME}`, `${rocketmq.home.dir}` and a `~/` in front. The
    /// Java broker expands none of these in a file; they come from defaults and scripts that people copy. A
    /// `$` before any other word stays what it is.
    pub(crate) fn expand(&self, path: &str) -> Result<String, String> {
        let path = path.trim();
        let home = self.home.as_deref().unwrap_or(".");
        let mut expanded = String::new();
        let mut rest = path;
        if let Some(below) = path.strip_prefix("~/") {
            expanded.push_str(home);
            rest = &path[path.len() - below.len() - 1..];
        }
        while let Some(at) = rest.find('$') {
            expanded.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            let (name, end) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                Some((name, end)) => (name, end),
                None => after.split_at(after.find(|c: char| !is_name(c)).unwrap_or(after.len())),
            };
            match (name, &self.rocketmq_home) {
                ("user.home" | "HOME", _) => expanded.push_str(home),
                ("rocketmq.home.dir" | "ROCKETMQ_HOME", Some(home)) => expanded.push_str(home),
                ("rocketmq.home.dir" | "ROCKETMQ_HOME", None) => return Err(name.to_owned()),
                _ if after.starts_with('{') => return Err(name.to_owned()),
                _ => {
                    expanded.push('$');
                    expanded.push_str(name);
                }
            }
            rest = end;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Linux answers without a system call that needs a library; elsewhere `$HOSTNAME` has to do.
fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}
