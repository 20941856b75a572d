//! Where the load goes, and the few ordinary calls before a measurement: topic, offsets, route.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use wire::body::{ClusterInfo, PERM_READ, PERM_WRITE, TopicConfig, TopicRoute};
use wire::code::{request, response};
use wire::header::{Dialect, FrameWriter, Head};
use wire::loose_json;

use super::answer::{self, Inbox};
use super::args::DEFAULT_TOPIC;
use super::error::BenchError;
use super::template;
use crate::output::screen::say;
use crate::target::destination;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const MASTER_ID: i64 = 0;

/// The brokers that take the load.
#[derive(Debug, Clone)]
pub struct Target {
    brokers: Vec<String>,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.brokers.join(","))
    }
}

impl Target {
    /// One broker by its address.
    pub fn broker(addr: &str) -> Target {
        Target { brokers: vec![addr.to_owned()] }
    }

    /// The first of them alone.
    pub fn first(mut self) -> Target {
        self.brokers.truncate(1);
        self
    }

    /// The brokers that name servers know, those that are named or those that the surroundings name. The surroundings
    /// may name a cluster that others work with, which nobody meant to flood: they count for this machine alone, unless
    /// `yes` is said.
    pub fn found(nameservers: Option<&str>, topic: &str, yes: bool) -> Result<Target, BenchError> {
        let target = Target::through(&name_servers(nameservers)?, topic)?;
        if nameservers.is_some() || yes || target.brokers.iter().all(|broker| is_of_this_machine(broker)) {
            return Ok(target);
        }
        Err(BenchError::Arguments(format!(
            "the load would go to {target}, which only the environment or the chosen context names; nothing was sent: \
             name a broker, or name servers with -n, or add --yes"
        )))
    }

    /// The masters that hold `topic`, or all masters while nobody holds it, as the first of the name servers
    /// (`host:port;host:port`) says that answers.
    fn through(nameservers: &str, topic: &str) -> Result<Target, BenchError> {
        let mut last = BenchError::Arguments("no name server is named".to_owned());
        for server in nameservers.split([';', ',']).map(str::trim).filter(|server| !server.is_empty()) {
            match Target::known_at(server, topic) {
                Ok(target) => return Ok(target),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn known_at(nameserver: &str, topic: &str) -> Result<Target, BenchError> {
        let mut client = Client::connect(nameserver, Dialect::Json)?;
        // Standard JSON is asked for, but the reader takes either form.
        let route = client
            .call(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic), ("acceptStandardJsonOnly", "true")])?;
        let masters: Vec<String> = if route.code == response::SUCCESS {
            let route: TopicRoute =
                loose_json::read(&route.body).map_err(|error| client.malformed(&error))?;
            route
                .broker_datas
                .into_iter()
                .filter_map(|mut data| data.broker_addrs.remove(&MASTER_ID))
                .collect()
        } else {
            let cluster = client.call(request::GET_BROKER_CLUSTER_INFO, &[])?;
            if cluster.code != response::SUCCESS {
                return Err(client.refused("list its brokers", &cluster));
            }
            let cluster: ClusterInfo =
                loose_json::read(&cluster.body).map_err(|error| client.malformed(&error))?;
            let brokers = cluster.broker_addr_table.into_values();
            brokers.filter_map(|mut data| data.broker_addrs.remove(&MASTER_ID)).collect()
        };
        if masters.is_empty() {
            return Err(BenchError::NoBroker { addr: nameserver.to_owned() });
        }
        Ok(Target { brokers: masters })
    }

    /// The broker that connection number `conn` goes to.
    pub fn broker_of(&self, conn: usize) -> &str {
        &self.brokers[conn % self.brokers.len()]
    }

    /// The broker, where the load is one that is measured on one.
    pub fn only_broker(&self, topic: &str) -> Result<&str, BenchError> {
        match &self.brokers[..] {
            [broker] => Ok(broker),
            _ => Err(BenchError::Arguments(format!(
                "topic {topic} is on several brokers ({self}); what consumes is measured on one: name its address \
                 instead of --nameserver"
            ))),
        }
    }

    /// Makes sure that the topic has `queues` everywhere; gives the number of queues to use.
    ///
    /// A topic that is not the bench's own is created when missing and otherwise left as it is.
    pub fn prepare_topic(&self, topic: &str, queues: u32, dialect: Dialect) -> Result<u32, BenchError> {
        let mut usable = queues;
        for broker in &self.brokers {
            let mut client = Client::connect(broker, dialect)?;
            usable = usable.min(client.prepare_topic(topic, queues)?);
        }
        Ok(usable)
    }

    /// Makes sure that all of `topics` numbered topics are there with `queues` each, unless the last of them is.
    pub fn prepare_topics(
        &self,
        topic: &str,
        topics: u32,
        queues: u32,
        dialect: Dialect,
    ) -> Result<u32, BenchError> {
        for broker in &self.brokers {
            let mut client = Client::connect(broker, dialect)?;
            if client.topic(&template::topic_name(topic, topics, topics - 1))?.is_some() {
                continue;
            }
            for first in (0..topics).step_by(TOPICS_AT_ONCE as usize) {
                let until = topics.min(first + TOPICS_AT_ONCE);
                let names = (first..until).map(|number| template::topic_name(topic, topics, number));
                client.create_topics(names, queues)?;
            }
        }
        Ok(queues)
    }
}

/// Topics that one request creates: each such request makes a broker write its whole table.
const TOPICS_AT_ONCE: u32 = 10_000;

/// Opens a connection as the load uses it.
pub fn connect(addr: &str) -> Result<TcpStream, BenchError> {
    let resolved =
        addr.to_socket_addrs().map_err(|cause| BenchError::Resolve { addr: addr.to_owned(), cause })?;
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for socket_addr in resolved {
        match TcpStream::connect_timeout(&socket_addr, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(|cause| BenchError::Io {
                    addr: addr.to_owned(),
                    doing: "cannot set TCP_NODELAY",
                    cause,
                })?;
                return Ok(stream);
            }
            Err(cause) => last = cause,
        }
    }
    Err(BenchError::Connect { addr: addr.to_owned(), cause: last })
}

/// A connection for one call after the other.
pub struct Client {
    addr: String,
    stream: TcpStream,
    inbox: Inbox,
    dialect: Dialect,
    opaque: i32,
}

/// What came back.
struct Answer {
    code: i32,
    remark: String,
    fields: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "code {} {}: {}", self.code, response::name(self.code).unwrap_or(""), self.remark)
    }
}

impl Client {
    pub fn connect(addr: &str, dialect: Dialect) -> Result<Client, BenchError> {
        let stream = connect(addr)?;
        let client = Client { addr: addr.to_owned(), stream, inbox: Inbox::new(), dialect, opaque: 0 };
        client
            .stream
            .set_read_timeout(Some(CALL_TIMEOUT))
            .map_err(|cause| client.io("cannot set a timeout", cause))?;
        client
            .stream
            .set_write_timeout(Some(CALL_TIMEOUT))
            .map_err(|cause| client.io("cannot set a timeout", cause))?;
        Ok(client)
    }

    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// The name of the broker, which receipt handles carry.
    pub fn broker_name(&mut self) -> Result<String, BenchError> {
        let answer = self.call(request::GET_BROKER_CONFIG, &[])?;
        let text = String::from_utf8_lossy(&answer.body);
        let name = text.lines().find_map(|line| line.strip_prefix("brokerName="));
        name.map(|name| name.trim().to_owned()).ok_or_else(|| self.refused("tell its name", &answer))
    }

    /// Lowest and highest offset of a queue.
    pub fn queue_range(&mut self, topic: &str, queue: u32) -> Result<(u64, u64), BenchError> {
        let queue = queue.to_string();
        let fields = [("topic", topic), ("queueId", queue.as_str()), ("committed", "true")];
        let min = self.call(request::GET_MIN_OFFSET, &fields)?;
        let max = self.call(request::GET_MAX_OFFSET, &fields)?;
        Ok((self.offset(min)?, self.offset(max)?))
    }

    fn offset(&self, answer: Answer) -> Result<u64, BenchError> {
        match answer.fields.get("offset").and_then(|text| text.parse::<i64>().ok()) {
            // Java says -1 for a queue that has never been written.
            Some(offset) if answer.code == response::SUCCESS => Ok(offset.max(0) as u64),
            None if answer.code == response::SUCCESS => {
                Err(self.malformed(&"its answer names no offset (`thrust bench echo` serves sends only)"))
            }
            _ => Err(self.refused("tell the offsets of the topic", &answer)),
        }
    }

    /// The topic as the broker has it, if it does.
    fn topic(&mut self, topic: &str) -> Result<Option<TopicConfig>, BenchError> {
        let existing = self.call(request::GET_TOPIC_CONFIG, &[("topic", topic)])?;
        Ok(match existing.code {
            response::SUCCESS => loose_json::read(&existing.body).ok(),
            _ => None,
        })
    }

    fn create_topics(&mut self, names: impl Iterator<Item = String>, queues: u32) -> Result<(), BenchError> {
        let configs: Vec<_> =
            names.map(|name| TopicConfig::new(&name, queues as i32, PERM_READ | PERM_WRITE)).collect();
        let body = serde_json::json!({ "topicConfigList": configs });
        let body = serde_json::to_vec(&body).map_err(|error| self.malformed(&error))?;
        let answer = self.call_with(request::UPDATE_AND_CREATE_TOPIC_LIST, &[], &body)?;
        if answer.code == response::SUCCESS { Ok(()) } else { Err(self.refused("create topics", &answer)) }
    }

    fn prepare_topic(&mut self, topic: &str, queues: u32) -> Result<u32, BenchError> {
        let config = self.topic(topic)?;
        let has =
            config.map_or(0, |config| config.write_queue_nums.min(config.read_queue_nums).max(0) as u32);
        if has >= queues {
            return Ok(queues);
        }
        if has > 0 && topic != DEFAULT_TOPIC {
            eprintln!("note: topic {topic} on {} has {has} queues, and only those are used", self.addr);
            return Ok(has);
        }
        let count = queues.to_string();
        let created = self.call(
            request::UPDATE_AND_CREATE_TOPIC,
            &[
                ("topic", topic),
                ("defaultTopic", "TBW102"),
                ("readQueueNums", &count),
                ("writeQueueNums", &count),
                ("perm", "6"),
                ("topicFilterType", "SINGLE_TAG"),
                ("topicSysFlag", "0"),
                ("order", "false"),
            ],
        )?;
        if created.code != response::SUCCESS {
            // The topic may be there all the same, where only administrators may change topics; sending tells.
            eprintln!("note: {} does not create topic {topic}: {created}", self.addr);
        }
        Ok(queues)
    }

    fn call(&mut self, code: i32, fields: &[(&str, &str)]) -> Result<Answer, BenchError> {
        self.call_with(code, fields, &[])
    }

    fn call_with(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Result<Answer, BenchError> {
        self.opaque += 1;
        let mut out = Vec::new();
        let mut writer = FrameWriter::new(&mut out, &Head::request(self.dialect, code, self.opaque));
        for (name, value) in fields {
            writer.field(name, value);
        }
        writer.body(body);
        self.stream.write_all(&out).map_err(|cause| self.io("cannot send", cause))?;
        loop {
            self.read_some()?;
            if let Some(answer) = self.take_answer()? {
                return Ok(answer);
            }
        }
    }

    /// Waits for more bytes of the answer.
    fn read_some(&mut self) -> Result<(), BenchError> {
        let addr = self.addr.clone();
        match self.inbox.read(&self.stream) {
            Ok(0) => Err(BenchError::Closed { addr, answers: self.opaque as u64 - 1 }),
            Ok(_) => Ok(()),
            Err(cause) if is_timeout(&cause) => {
                Err(BenchError::Silent { addr, seconds: CALL_TIMEOUT.as_secs() })
            }
            Err(cause) => Err(self.io("cannot receive", cause)),
        }
    }

    /// The answer to the last request, if all of it is there.
    fn take_answer(&mut self) -> Result<Option<Answer>, BenchError> {
        let (opaque, mut answer) = (self.opaque, None);
        let taken = self.inbox.frames(|frame| {
            let header = answer::parse(frame).map_err(|error| Nonsense(error.to_string()))?;
            if header.is_response() && header.opaque == opaque {
                let fields = header.fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                answer = Some(Answer {
                    code: header.code,
                    fields: fields.collect(),
                    remark: header.remark.unwrap_or_default().into_owned(),
                    body: frame.body.to_vec(),
                });
            }
            Ok::<_, Nonsense>(())
        });
        taken.map_err(|Nonsense(cause)| BenchError::Malformed { addr: self.addr.clone(), cause })?;
        Ok(answer)
    }

    fn malformed(&self, cause: &dyn fmt::Display) -> BenchError {
        BenchError::Malformed { addr: self.addr.clone(), cause: cause.to_string() }
    }

    fn refused(&self, doing: &str, answer: &Answer) -> BenchError {
        BenchError::Refused { addr: self.addr.clone(), doing: doing.to_owned(), answer: answer.to_string() }
    }

    fn io(&self, doing: &'static str, cause: std::io::Error) -> BenchError {
        BenchError::Io { addr: self.addr.clone(), doing, cause }
    }
}

struct Nonsense(String);

impl From<wire::frame::FrameError> for Nonsense {
    fn from(error: wire::frame::FrameError) -> Nonsense {
        Nonsense(error.to_string())
    }
}

/// Whether an address is one of the loopback interface.
fn is_of_this_machine(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The name servers, found as all commands find theirs.
fn name_servers(named: Option<&str>) -> Result<String, BenchError> {
    let found = destination(named);
    let found = found.map_err(|failure| BenchError::Arguments(failure.to_string()))?;
    if found.tls.is_some() {
        let why = "the bench does not encrypt, as the context or THRUST_TLS_CA asks for; name the address of a broker \
                   that takes plain connections";
        return Err(BenchError::Arguments(why.to_owned()));
    }
    if found.keys.is_some() {
        say("note: the bench signs nothing; brokers that ask for it refuse its requests");
    }
    Ok(found.servers)
}

fn is_timeout(cause: &std::io::Error) -> bool {
    matches!(cause.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
