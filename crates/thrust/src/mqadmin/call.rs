//! One run of a command: its line, the servers, what is printed, how it ends.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use thrustmq_client::{Admin, BrokerData, Client, ClusterInfo, Credentials, Error, Route};
use wire::code::response;

use super::java::Times;
use super::line::Line;

/// Number of a master within its broker group.
pub const MASTER: i64 = 0;
/// What stands for the address of a master where there is none.
pub const NO_MASTER: &str = "NO_MASTER";
/// Time for one request, as the official tool has it.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{}", told(.0))]
    Client(#[from] Error),
    /// A value on the line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The line does not say what to do; the usage is printed.
    #[error("the line does not say what to do")]
    Incomplete,
    /// What was named is not there.
    #[error("{0}")]
    NotThere(String),
    /// Something else went wrong.
    #[error("{0}")]
    Other(String),
    /// Some servers have done it and some have not, or not everything could be learned; stderr was told of each.
    #[error("{failed} of {all} failed, as told above")]
    Partly { failed: usize, all: usize },
    #[error("cannot {what} {path}: {cause}")]
    File { what: &'static str, path: String, cause: std::io::Error },
    /// Who read the output has gone.
    #[error("the reader of the output is gone")]
    PipeClosed,
}

impl Failure {
    /// What scripts can tell failures apart by.
    pub fn code(&self) -> u8 {
        match self {
            Failure::PipeClosed => 0,
            Failure::Usage(_) | Failure::Incomplete | Failure::Client(Error::Illegal(_)) => 1,
            Failure::Partly { .. } => 2,
            Failure::NotThere(_) | Failure::Client(Error::NoRoute { .. }) => 4,
            Failure::Client(error) if error.broker_code().is_some_and(is_absence) => 4,
            Failure::Client(_) | Failure::Other(_) | Failure::File { .. } => 3,
        }
    }
}

impl From<String> for Failure {
    fn from(what: String) -> Failure {
        Failure::Usage(what)
    }
}

fn is_absence(code: i32) -> bool {
    [
        response::TOPIC_NOT_EXIST,
        response::QUERY_NOT_FOUND,
        response::SUBSCRIPTION_GROUP_NOT_EXIST,
        response::CONSUMER_NOT_ONLINE,
    ]
    .contains(&code)
}

/// An error in the words that runbooks look for.
pub fn told(error: &Error) -> String {
    match error {
        Error::Refused { address, code, remark } => format!("CODE: {code}  DESC: {remark} BROKER: {address}"),
        Error::NoRoute { topic } => {
            format!("CODE: 17  DESC: No topic route info in name server for the topic: {topic}")
        }
        other => other.to_string(),
    }
}

/// What a command works with.
pub struct Call {
    pub line: Line,
    pub client: Client,
    pub admin: Admin,
    pub times: Times,
}

impl Call {
    /// A run against the servers that the line names.
    ///
    /// # Errors
    /// When the line or the files of keys make no sense, or no server answers.
    pub async fn new(line: Line) -> Result<Call, Failure> {
        let client = connect(&line, CALL_TIMEOUT).await?;
        Ok(Call { admin: client.admin(), client, line, times: Times::new() })
    }

    /// The same servers with another time for one request.
    pub async fn patient(&self, timeout: Duration) -> Result<Admin, Failure> {
        Ok(connect(&self.line, timeout).await?.admin())
    }

    /// Prints text as it is.
    pub fn say(&self, text: &str) -> Result<(), Failure> {
        crate::output::screen::print(text).map_err(|failure| match failure {
            crate::failure::Failure::PipeClosed => Failure::PipeClosed,
            other => Failure::Other(other.to_string()),
        })
    }

    /// A moment on the line: Unix milliseconds or `yyyy-MM-dd#HH:mm:ss:SSS`.
    pub fn moment(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.line.value(name) else { return Ok(None) };
        let wrong = || format!("-{name} wants Unix milliseconds or yyyy-MM-dd#HH:mm:ss:SSS, not \"{text}\"");
        self.times.parse(text).map(Some).ok_or_else(|| Failure::Usage(wrong()))
    }

    /// Clusters and brokers.
    pub async fn cluster(&self) -> Result<Cluster, Failure> {
        Ok(Cluster(self.admin.cluster().await?))
    }

    /// Masters of the cluster of `-c`, or the broker of `-b`; the usage when neither is there.
    pub async fn masters(&self) -> Result<Vec<String>, Failure> {
        match (self.line.value("b"), self.line.value("c")) {
            (Some(address), _) => Ok(vec![address.to_owned()]),
            (None, Some(cluster)) => self.cluster().await?.masters(cluster),
            (None, None) => Err(Failure::Incomplete),
        }
    }

    /// Does something at each of several servers; those that fail do not keep it from the others.
    pub async fn each<F: Future<Output = Result<(), Failure>>>(
        &self,
        addresses: &[String],
        work: impl Fn(String) -> F,
    ) -> Result<(), Failure> {
        let mut failed = 0;
        let mut last = None;
        for address in addresses {
            match work(address.clone()).await {
                Ok(()) => (),
                Err(Failure::PipeClosed) => return Err(Failure::PipeClosed),
                Err(failure) => {
                    failed += 1;
                    if addresses.len() > 1 {
                        eprintln!("mqadmin: {address}: {failure}");
                    }
                    last = Some(failure);
                }
            }
        }
        match last {
            None => Ok(()),
            Some(failure) if failed == addresses.len() => Err(failure),
            Some(_) => Err(Failure::Partly { failed, all: addresses.len() }),
        }
    }

    /// Does something at each name server.
    pub async fn each_name_server<F: Future<Output = Result<(), Error>>>(
        &self,
        work: impl Fn(String) -> F,
    ) -> Result<(), Failure> {
        self.each(&self.admin.name_servers(), |server| {
            let done = work(server);
            async { Ok(done.await?) }
        })
        .await
    }

    /// Sets a value of the table of keys and values at every name server.
    pub async fn put_kv(&self, namespace: &str, key: &str, value: &str) -> Result<(), Failure> {
        self.each_name_server(
            |server| async move { self.admin.put_kv_at(&server, namespace, key, value).await },
        )
        .await
    }

    /// Deletes a topic at these brokers of a cluster, and then has the name servers forget it, unless no broker has
    /// deleted it: brokers that still have it register it again. What became of either.
    pub async fn delete_topic(
        &self,
        cluster: &str,
        topic: &str,
        brokers: &[String],
    ) -> Result<[Result<(), Failure>; 2], Failure> {
        let delete = |address: String| async move { Ok(self.admin.delete_topic_at(&address, topic).await?) };
        let deleted = match self.each(brokers, delete).await {
            Err(Failure::Partly { failed, all }) => Err(Failure::Partly { failed, all }),
            done => Ok(done?),
        };
        let forget =
            |server: String| async move { self.admin.forget_topic_at(&server, cluster, topic).await };
        Ok([deleted, self.each_name_server(forget).await])
    }

    /// The route to follow: that of a topic, or of the parent that `flag` names for a light queue.
    pub async fn route(&self, topic: &str, flag: &str) -> Result<Route, Failure> {
        let parent = self
            .line
            .value(flag)
            .filter(|_| wire::names::is_light(topic) || topic == wire::names::TIMER_TOPIC);
        Ok(self.admin.topic_route(parent.unwrap_or(topic)).await?)
    }
}

/// A client of the servers that other commands find too.
async fn connect(line: &Line, timeout: Duration) -> Result<Client, Failure> {
    let wrong = |failure: crate::failure::Failure| Failure::Usage(failure.to_string());
    let found = crate::target::destination(line.value("n")).map_err(wrong)?;
    // Java's lists may end with a separator.
    let mut builder = Client::builder(found.servers.trim().trim_end_matches(';')).call_timeout(timeout);
    if let Some(credentials) = credentials()?.or_else(|| found.keys.map(|keys| keys.credentials())) {
        builder = builder.credentials(credentials);
    }
    if let Some(tls) = found.tls {
        builder = builder.tls(tls.tls().map_err(wrong)?);
    }
    Ok(builder.connect().await?)
}

/// What could not be learned for a list that is printed all the same; stderr is told of each once.
#[derive(Default)]
pub struct Missed(RefCell<BTreeSet<String>>);

impl Missed {
    /// Notes why something in the list is not to be relied upon. What is not there is no failure.
    pub fn note(&self, what: &str, failure: &Failure) {
        if failure.code() != 4 && self.0.borrow_mut().insert(what.to_owned()) {
            eprintln!("mqadmin: {what}: {failure}");
        }
    }

    /// The end of a command that has printed a list of so many.
    pub fn end(self, all: usize) -> Result<(), Failure> {
        match self.0.into_inner().len() {
            0 => Ok(()),
            failed => Err(Failure::Partly { failed, all }),
        }
    }
}

/// Clusters and brokers, with the questions that commands have.
pub struct Cluster(pub ClusterInfo);

impl Cluster {
    /// Names of the brokers of a cluster.
    pub fn brokers(&self, cluster: &str) -> Result<&BTreeSet<String>, Failure> {
        self.0.cluster_addr_table.get(cluster).ok_or_else(|| {
            Failure::NotThere(format!(
                "[error] Make sure the specified clusterName exists or the name server connected to is correct. \
                 There is no cluster \"{cluster}\"."
            ))
        })
    }

    fn datas(&self, cluster: &str) -> Result<Vec<&BrokerData>, Failure> {
        let names = self.brokers(cluster)?.iter();
        Ok(names.filter_map(|name| self.0.broker_addr_table.get(name)).collect())
    }

    /// Addresses of the masters of a cluster.
    pub fn masters(&self, cluster: &str) -> Result<Vec<String>, Failure> {
        let datas = self.datas(cluster)?.into_iter();
        let all: Vec<String> = datas.filter_map(|data| data.broker_addrs.get(&MASTER)).cloned().collect();
        // To do nothing at nobody is no success.
        let absent = || Failure::NotThere(format!("no broker of cluster \"{cluster}\" has a master"));
        if all.is_empty() { Err(absent()) } else { Ok(all) }
    }

    /// Addresses of all members of a cluster.
    pub fn members(&self, cluster: &str) -> Result<Vec<String>, Failure> {
        Ok(self.datas(cluster)?.into_iter().flat_map(|data| data.broker_addrs.values()).cloned().collect())
    }

    /// Masters of a cluster with their slaves.
    pub fn with_slaves(&self, cluster: &str) -> Result<BTreeMap<String, Vec<String>>, Failure> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for data in self.datas(cluster)? {
            let master = data.broker_addrs.get(&MASTER).cloned();
            let slaves = data.broker_addrs.iter().filter(|(id, _)| **id != MASTER);
            let slaves: Vec<String> = slaves.map(|(_, address)| address.clone()).collect();
            // Brokers without a master are one in this table.
            all.entry(master.unwrap_or_else(|| NO_MASTER.to_owned())).or_default().extend(slaves);
        }
        Ok(all)
    }

    /// The cluster that a broker belongs to.
    pub fn of_broker(&self, broker: &str) -> Option<&str> {
        let mut all = self.0.cluster_addr_table.iter();
        all.find(|(_, brokers)| brokers.contains(broker)).map(|(name, _)| name.as_str())
    }

    /// Name of the broker at an address.
    pub fn name_at(&self, address: &str) -> Option<&str> {
        let mut all = self.0.broker_addr_table.iter();
        all.find(|(_, data)| data.broker_addrs.values().any(|own| own == address))
            .map(|(name, _)| name.as_str())
    }
}

/// Who asks, from `conf/tools.yml` of ROCKETMQ_HOME where that is.
fn credentials() -> Result<Option<Credentials>, Failure> {
    let Some(home) = std::env::var_os("ROCKETMQ_HOME").filter(|home| !home.is_empty()) else {
        return Ok(None);
    };
    let path = std::path::Path::new(&home).join("conf/tools.yml");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(keys_of(&text).map(|(access, secret)| Credentials::new(access, secret))),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Failure::File { what: "read", path: path.display().to_string(), cause }),
    }
}

/// The access key and the secret of a `tools.yml`.
fn keys_of(text: &str) -> Option<(String, String)> {
    let value = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(key, _)| key.trim() == name).map(|(_, value)| value);
        let value = values.next()?.split(" #").next()?.trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    };
    Some((value("accessKey")?, value("secretKey")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_the_file_of_the_official_tool() {
        let keys = keys_of("# comment\naccessKey: rocketmq2\nsecretKey: \"12345678\" # ours\n");
        assert_eq!(keys, Some(("rocketmq2".into(), "12345678".into())));
        assert_eq!(keys_of("accessKey: a\n"), None);
        assert_eq!(keys_of(""), None);
    }

    #[test]
    fn errors_carry_the_code_that_runbooks_look_for() {
        let refused = Error::Refused { address: "a:1".into(), code: 1, remark: "no".into() };
        assert_eq!(told(&refused), "CODE: 1  DESC: no BROKER: a:1");
        assert!(told(&Error::NoRoute { topic: "T".into() }).starts_with("CODE: 17  DESC: "));
        let code = |failure: Failure| failure.code();
        assert_eq!(code(Failure::Client(Error::NoRoute { topic: "T".into() })), 4);
        assert_eq!(code(Failure::Client(refused)), 3);
        assert_eq!(code(Failure::Partly { failed: 1, all: 2 }), 2);
        assert_eq!(code(Failure::Usage("x".into())), 1);
    }
}
