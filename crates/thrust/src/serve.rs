//! `serve`, `nameserver`, `broker`: from the command line to a running process, and back to exit 0.
//!
//! The order of a start: settings, ports, data directory, recovery, registration (for which dead nameservers are
//! waited for a second at most), and only then the one line on stdout that says it is ready. The order of a stop:
//! leave the nameservers, answer who waits, close the sockets, flush.

mod address;
mod args;
mod error;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, FastPort, MainPort, SettingsFile};
use nameserver::Nameserver;
use remoting::{Limits, Listener, Places, Server};
use settings::{Loaded, Place, Surroundings};
use store::{RealClock, RealDisk};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

pub use args::{BrokerArgs, NameserverArgs, ServeArgs, key_values};
pub use error::ServeError;

/// How long connections may take to end once their answers are written.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);
/// File below the data directory for the nameserver's key-value table.
const KV_FILE: &str = "namesrv/kvConfig.json";

/// Limits of a server, which brokers and nameservers have under the same keys.
macro_rules! limits_of {
    ($settings:expr) => {
        Limits {
            frame_bytes_max: $settings.max_frame_bytes as usize,
            connections_max: $settings.max_connections,
            held_max: $settings.max_in_flight_per_connection as u32,
            outbound_bytes_max: $settings.max_outbound_bytes_per_connection as usize,
            outbound_bytes_total_max: $settings.max_outbound_bytes as usize,
            inbound_bytes_total_max: $settings.max_inbound_bytes as usize,
            idle: $settings.server_channel_max_idle_time_seconds,
            ..Limits::default()
        }
    };
}

/// What to run, with all settings known and checked.
pub struct Plan {
    nameserver: Option<NameserverPlan>,
    broker: Option<BrokerPlan>,
    /// Readiness is told in Java's words, which scripts look for.
    as_java: bool,
}

struct NameserverPlan {
    loaded: Loaded<settings::Nameserver>,
    listen: SocketAddr,
    kv_path: PathBuf,
}

struct BrokerPlan {
    loaded: Loaded<settings::Broker>,
    listen: SocketAddr,
    /// Where clients are told to connect; the port follows once the socket has one.
    advertised: std::net::IpAddr,
    /// The file of `-c`, which keeps what clients change.
    file: Option<SettingsFile>,
}

impl Plan {
    /// For `thrust serve`.
    pub fn serve(args: &ServeArgs) -> Result<Plan, ServeError> {
        let broker = BrokerPlan::of_serve(args)?;
        let nameserver = NameserverPlan {
            loaded: settings::load_nameserver("", &[])?,
            listen: SocketAddr::new(broker.listen.ip(), args.nameserver_port),
            kv_path: broker.loaded.settings.store_path_root_dir.join(KV_FILE),
        };
        Ok(Plan { nameserver: Some(nameserver), broker: Some(broker), as_java: false })
    }

    /// For `thrust nameserver`.
    pub fn nameserver(args: &NameserverArgs) -> Result<Plan, ServeError> {
        Ok(Plan { nameserver: Some(NameserverPlan::of(args)?), broker: None, as_java: args.as_java })
    }

    /// For `thrust broker`.
    pub fn broker(args: &BrokerArgs) -> Result<Plan, ServeError> {
        Ok(Plan { nameserver: None, broker: Some(BrokerPlan::of(args)?), as_java: args.as_java })
    }

    /// All settings as `key=value` lines, or those that were given.
    pub fn settings(&self, given: bool) -> String {
        let mut rows = Vec::new();
        if let Some(plan) = &self.nameserver {
            let all = plan.loaded.settings.entries().into_iter();
            rows.extend(all.filter(|(key, _)| !given || plan.loaded.place_of(key).is_some()));
        }
        if let Some(plan) = &self.broker {
            let all = plan.loaded.settings.entries().into_iter();
            rows.extend(all.filter(|(key, _)| !given || plan.loaded.place_of(key).is_some()));
        }
        rows.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
    }

    /// Runs until SIGTERM or SIGINT.
    pub fn run(self) -> Result<(), ServeError> {
        raise_open_file_limit();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("thrust")
            .build()
            .map_err(|cause| ServeError::System { what: "start the runtime's threads", cause })?;
        let result = runtime.block_on(self.serve_until_told());
        // Whatever still runs has been told to stop; nothing durable waits for it.
        runtime.shutdown_timeout(Duration::from_millis(100));
        result
    }

    async fn serve_until_told(self) -> Result<(), ServeError> {
        let mut signals =
            Signals::new().map_err(|cause| ServeError::System { what: "listen to signals", cause })?;
        let as_java = self.as_java;
        let (nameserver, broker) = tokio::select! {
            started = self.start() => started?,
            // Recovery may take its time, and may be ended at any moment: nothing has been promised yet.
            () = signals.told_to_stop() => return Ok(()),
        };
        match as_java {
            true => announce_as_java(nameserver.as_ref(), broker.as_ref()),
            false => announce(nameserver.as_ref(), broker.as_ref()),
        }
        signals.told_to_stop().await;
        stop(nameserver, broker).await
    }

    /// Most connections that the settings of any server let a port have.
    fn connections_asked(&self) -> usize {
        let nameserver = self.nameserver.as_ref().map(|plan| plan.loaded.settings.max_connections);
        let broker = self.broker.as_ref().map(|plan| plan.loaded.settings.max_connections);
        nameserver.max(broker).unwrap_or_default()
    }

    async fn start(self) -> Result<(Option<Server>, Option<RunningBroker>), ServeError> {
        let places = Places::new(places_within(granted_files()));
        warn_of_few(&places, self.connections_asked());
        let nameserver = self.nameserver.map(|plan| plan.start(&places)).transpose()?;
        let broker = match self.broker {
            Some(plan) => Some(plan.start(nameserver.as_ref(), &places).await?),
            None => None,
        };
        Ok((nameserver, broker))
    }
}

/// Leaves the nameservers, answers who waits, ends all connections at once, then flushes.
async fn stop(nameserver: Option<Server>, broker: Option<RunningBroker>) -> Result<(), ServeError> {
    let mut servers = Vec::from_iter(nameserver);
    let Some(RunningBroker { broker, servers: own, .. }) = broker else {
        close(servers).await;
        return Ok(());
    };
    for server in &own {
        server.stop_accepting();
    }
    broker.retire().await;
    servers.extend(own);
    close(servers).await;
    let finished = tokio::task::spawn_blocking(move || broker.finish()).await;
    finished
        .map_err(|cause| ServeError::System { what: "flush the store", cause: std::io::Error::other(cause) })?
        .map_err(ServeError::from)
}

async fn close(servers: Vec<Server>) {
    let mut closing = JoinSet::new();
    for server in servers {
        closing.spawn(async move { server.close(CLOSE_LIMIT).await });
    }
    closing.join_all().await;
}

impl NameserverPlan {
    fn of(args: &NameserverArgs) -> Result<NameserverPlan, ServeError> {
        let text = read_config(args.config.as_deref())?;
        let mut overrides = Vec::new();
        if let Some(port) = args.port {
            overrides.push(("listenPort".to_owned(), port.to_string()));
        }
        overrides.extend(key_values(&args.set).map_err(ServeError::Argument)?);
        let mut loaded = settings::load_nameserver(&text, &overrides)?;
        if let Some(file) = &args.config {
            // What tools change at run time goes into the file that the next start reads.
            loaded.settings.config_store_path.clone_from(file);
        }
        let settings = &loaded.settings;
        let data = args.data.clone().unwrap_or_else(|| PathBuf::from("thrust-data"));
        let kv_given = loaded.place_of("kvConfigPath").is_some();
        // With Java's file comes Java's place for the table; on its own a nameserver keeps to its data directory.
        let own = args.data.is_some() || (args.config.is_none() && !kv_given && !args.as_java);
        let kv_path = if own { data.join(KV_FILE) } else { settings.kv_config_path.clone() };
        let open = args.config.is_some() || args.as_java;
        let ip = address::listen_ip(args.listen.as_deref(), &loaded, open)?;
        Ok(NameserverPlan { listen: SocketAddr::new(ip, settings.listen_port), kv_path, loaded })
    }

    fn start(self, places: &Arc<Places>) -> Result<Server, ServeError> {
        warn_all(&self.loaded.warnings());
        let listener = Listener::bind(self.listen)?;
        if let Some(dir) = self.kv_path.parent() {
            make_writable(dir)?;
        }
        let settings = self.loaded.settings;
        let limits = within(places, limits_of!(settings));
        let nameserver = Nameserver::new(settings, self.kv_path)?;
        nameserver.spawn_expiry();
        Ok(listener.serve(limits, nameserver))
    }
}

impl BrokerPlan {
    fn of_serve(args: &ServeArgs) -> Result<BrokerPlan, ServeError> {
        let mut overrides = Vec::new();
        if let Some(port) = args.broker_port {
            overrides.push(("listenPort".to_owned(), port.to_string()));
        }
        overrides.extend(key_values(&args.set).map_err(ServeError::Argument)?);
        let asked = Asked {
            config: args.config.as_deref(),
            data: args.data.as_deref(),
            own_data_by_default: true,
            listen: args.listen.as_deref(),
            open_by_default: false,
            advertise: args.advertise.as_deref(),
        };
        // NAMESRV_ADDR is for clients and single brokers: a server of its own must not join that cluster unasked.
        asked.plan(&Surroundings { namesrv_addr: None, ..Surroundings::of_this_process() }, overrides)
    }

    fn of(args: &BrokerArgs) -> Result<BrokerPlan, ServeError> {
        let mut overrides = Vec::new();
        if let Some(nameservers) = &args.nameservers {
            overrides.push(("namesrvAddr".to_owned(), nameservers.clone()));
        }
        overrides.extend(key_values(&args.set).map_err(ServeError::Argument)?);
        let asked = Asked {
            config: args.config.as_deref(),
            data: args.data.as_deref(),
            own_data_by_default: args.config.is_none() && !args.as_java,
            listen: None,
            open_by_default: args.config.is_some() || args.as_java,
            advertise: args.advertise.as_deref(),
        };
        asked.plan(&Surroundings::of_this_process(), overrides)
    }

    async fn start(
        mut self,
        nameserver: Option<&Server>,
        places: &Arc<Places>,
    ) -> Result<RunningBroker, ServeError> {
        if let Some(nameserver) = nameserver {
            let own = address::from_here(nameserver.address()).to_string();
            let settings = &mut self.loaded.settings;
            if !settings.namesrv_addr.contains(&own) {
                settings.namesrv_addr.insert(0, own);
            }
        }
        warn_all(&self.loaded.warnings());
        let settings = self.loaded.settings;
        let limits = within(places, limits_of!(settings));
        let main = Listener::bind(self.listen)?;
        let fast = fast_listener(main.address(), self.listen.port())?;
        make_writable(&settings.store_path_root_dir)?;
        let address = SocketAddr::new(self.advertised, main.address().port());
        let data = settings.store_path_root_dir.clone();
        let name = settings.broker_name.clone();
        let name_servers = settings.namesrv_addr.join(";");
        let opened = tokio::task::spawn_blocking(move || {
            Broker::open(settings, address, Arc::new(RealDisk), Arc::new(RealClock::default()))
        });
        let broker = opened.await.map_err(|cause| ServeError::System {
            what: "open the store",
            cause: std::io::Error::other(cause),
        })??;
        if let Some(file) = self.file {
            broker.keep_settings_in(file);
        }
        let mut servers = vec![main.serve(limits.clone(), Arc::new(MainPort(Arc::clone(&broker))))];
        if let Some(fast) = fast {
            servers.push(fast.serve(limits, Arc::new(FastPort(Arc::clone(&broker)))));
        }
        broker.start().await;
        Ok(RunningBroker { broker, servers, address, data, name, name_servers })
    }
}

/// What a command line asks of a broker.
struct Asked<'a> {
    config: Option<&'a Path>,
    data: Option<&'a Path>,
    /// Without any word about it, data goes to `./thrust-data` and not to Java's `~/store`.
    own_data_by_default: bool,
    listen: Option<&'a str>,
    /// Without any word about it, all interfaces are listened on, as Java does.
    open_by_default: bool,
    advertise: Option<&'a str>,
}

impl Asked<'_> {
    fn plan(
        &self,
        surroundings: &Surroundings,
        mut overrides: Vec<(String, String)>,
    ) -> Result<BrokerPlan, ServeError> {
        let text = read_config(self.config)?;
        let own_data = Path::new("thrust-data");
        if let Some(data) = self.data {
            push_path(&mut overrides, "storePathRootDir", data);
            // The log moves along: --data names the place of everything.
            push_path(&mut overrides, "storePathCommitLog", &data.join("commitlog"));
        }
        let mut loaded: Loaded<settings::Broker> = settings::load_in(surroundings, &text, &overrides)?;
        if self.own_data_by_default && loaded.place_of("storePathRootDir").is_none() {
            loaded.settings.store_path_root_dir = own_data.to_path_buf();
        }
        let ip = address::listen_ip(self.listen, &loaded, self.open_by_default)?;
        let settings = &loaded.settings;
        let advertised = self.advertise.or(settings.broker_ip1.as_deref());
        let advertised = address::advertised_ip(advertised, ip)?;
        let listen = SocketAddr::new(ip, settings.listen_port);
        let keys = settings.entries().into_iter().map(|(key, _)| key);
        let overridden = keys.filter(|key| loaded.place_of(key) == Some(Place::Override)).collect();
        let file = self.config.map(|path| SettingsFile { path: path.to_owned(), overridden });
        Ok(BrokerPlan { loaded, listen, advertised, file })
    }
}

fn push_path(overrides: &mut Vec<(String, String)>, key: &str, path: &Path) {
    overrides.retain(|(name, _)| name != key);
    overrides.push((key.to_owned(), path.to_string_lossy().into_owned()));
}

struct RunningBroker {
    broker: Arc<Broker>,
    servers: Vec<Server>,
    address: SocketAddr,
    data: PathBuf,
    name: String,
    name_servers: String,
}

/// The port two below, for clients that keep sends away from pulls. Without one of our choosing it may be taken.
fn fast_listener(main: SocketAddr, asked: u16) -> Result<Option<Listener>, ServeError> {
    let Some(port) = main.port().checked_sub(2).filter(|port| *port > 0) else { return Ok(None) };
    match Listener::bind(SocketAddr::new(main.ip(), port)) {
        Ok(listener) => Ok(Some(listener)),
        Err(_) if asked == 0 => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_config(path: Option<&Path>) -> Result<String, ServeError> {
    let Some(path) = path else { return Ok(String::new()) };
    let bytes =
        std::fs::read(path).map_err(|cause| ServeError::ConfigFile { path: path.to_owned(), cause })?;
    Ok(settings::properties::decode(&bytes).into_owned())
}

/// Makes the directory and proves that a file can be written in it, so that the cause is named before anything starts.
fn make_writable(dir: &Path) -> Result<(), ServeError> {
    let probe = dir.join(".thrust-probe");
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&probe, b""))
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|cause| ServeError::Data { path: dir.to_owned(), cause })
}

fn warn_all(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// The one line on stdout. A caller that has closed it is no reason to stop.
fn announce(nameserver: Option<&Server>, broker: Option<&RunningBroker>) {
    let mut parts = Vec::new();
    if let Some(nameserver) = nameserver {
        parts.push(format!("nameserver {}", nameserver.address()));
    }
    if let Some(running) = broker {
        let fast = running.servers.get(1).map(|fast| format!(" (fast {})", fast.address().port()));
        parts.push(format!("broker {}{}", running.address, fast.unwrap_or_default()));
        parts.push(format!("data {}", running.data.display()));
        parts.push(running.broker.flush_in_words());
    }
    let _ = writeln!(std::io::stdout(), "thrust is ready: {}", parts.join(", "));
}

/// The same in the words of Java's servers, one line for each.
fn announce_as_java(nameserver: Option<&Server>, broker: Option<&RunningBroker>) {
    let mut out = std::io::stdout();
    if let Some(nameserver) = nameserver {
        let address = nameserver.address();
        let _ = writeln!(out, "The Name Server boot success. serializeType=JSON, address {address}");
    }
    if let Some(RunningBroker { address, name, name_servers, .. }) = broker {
        let whose = if name_servers.is_empty() {
            String::new()
        } else {
            format!(" and name server is {name_servers}")
        };
        let _ = writeln!(out, "The broker[{name}, {address}] boot success. serializeType=JSON{whose}");
    }
}

/// As many open files as the system grants: connections and segments both take them.
pub fn raise_open_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!("cannot raise the open-file limit: {error}");
    }
}

fn granted_files() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// The same limits, with the places that all servers of this process have together.
fn within(places: &Arc<Places>, limits: Limits) -> Limits {
    Limits { places: Some(Arc::clone(places)), ..limits }
}

/// Says it if all servers together cannot have as many connections as the settings of one port ask for.
fn warn_of_few(places: &Places, asked: usize) {
    if places.max() < asked {
        tracing::warn!(
            granted = granted_files(),
            asked,
            "no more than {} connections are taken on all ports together, which leaves a quarter of the open files to \
             other uses; raise the open-file limit (LimitNOFILE, ulimit -Hn) to have as many as thrust.maxConnections \
             says",
            places.max()
        );
    }
}

/// Connections that leave a quarter of the files that are granted: a broker whose clients have all of them cannot make
/// the next segment of its log. Any number if there is no limit.
fn places_within(granted: Option<u64>) -> usize {
    let most = granted.map_or(u64::MAX, |granted| (granted - granted / 4).max(1));
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Signals that end the process, and the one that must not.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn told_to_stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return tracing::info!("SIGTERM: stopping"),
                _ = self.interrupt.recv() => return tracing::info!("SIGINT: stopping"),
                _ = self.hangup.recv() => tracing::info!("SIGHUP does nothing yet"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_do_not_get_all_files_that_the_system_grants() {
        assert_eq!(places_within(Some(4096)), 3072);
        assert_eq!(places_within(None), usize::MAX);
        assert_eq!(places_within(Some(0)), 1, "the system will say what is wrong");
    }

    #[test]
    fn all_interfaces_are_listened_on_where_the_settings_say_so() {
        let serve = |more: &[&str]| {
            let args = ServeArgs {
                config: None,
                data: None,
                listen: None,
                advertise: None,
                nameserver_port: 0,
                broker_port: Some(0),
                set: more.iter().map(|&pair| pair.to_owned()).collect(),
            };
            let plan = Plan::serve(&args).unwrap();
            [plan.nameserver.unwrap().listen, plan.broker.unwrap().listen]
                .map(|address| address.ip().to_string())
        };
        assert_eq!(serve(&[]), ["127.0.0.1"; 2], "unless they say anything");
        assert_eq!(serve(&["bindAddress=127.0.0.2"]), ["127.0.0.2"; 2]);
        assert_eq!(
            serve(&["bindAddress=0.0.0.0"]),
            ["0.0.0.0"; 2],
            "which is Java's default, but was asked for"
        );
    }
}
