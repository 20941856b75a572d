//! Command lines of the servers. Names and options are relied upon by scripts.

use std::path::PathBuf;

use clap::Args;

/// `thrust serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// A broker.conf, as the Java broker reads it.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of all data [default: ./thrust-data, or what the file says].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Interface to listen on [default: bindAddress of the file or of --set, or else 127.0.0.1].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Address that clients are told [default: brokerIP1 of the file, or the interface].
    #[arg(long, value_name = "ADDR")]
    pub advertise: Option<String>,
    /// Port of the nameserver; 0 takes any free one.
    #[arg(long, value_name = "N", default_value_t = 9876)]
    pub nameserver_port: u16,
    /// Port of the broker [default: listenPort of the file, or 10911]; 0 takes any free one.
    #[arg(long, value_name = "N")]
    pub broker_port: Option<u16>,
    /// A key of broker.conf, over what the file says; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `thrust nameserver`.
#[derive(Debug, Args)]
pub struct NameserverArgs {
    /// A namesrv.conf, as the Java nameserver reads it.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Interface to listen on [default: bindAddress of the file or of --set, or else 0.0.0.0 with a file and 127.0.0.1
    /// without].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Port [default: listenPort of the file, or 9876]; 0 takes any free one.
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// Directory of the key-value table [default: ./thrust-data, or kvConfigPath of the file].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A key of namesrv.conf, over what the file says; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Without a file too, all interfaces are listened on, Java's directories are used, and readiness is told in
    /// Java's words.
    #[arg(skip)]
    pub as_java: bool,
}

/// `thrust broker`.
#[derive(Debug, Args)]
pub struct BrokerArgs {
    /// A broker.conf, as the Java broker reads it.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Nameservers, host:port;host:port [default: namesrvAddr of the file, or NAMESRV_ADDR].
    #[arg(short = 'n', long = "nameserver", value_name = "ADDRS")]
    pub nameservers: Option<String>,
    /// Directory of all data [default: storePathRootDir of the file, or ./thrust-data without a file].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address that clients are told [default: brokerIP1 of the file, or the interface].
    #[arg(long, value_name = "ADDR")]
    pub advertise: Option<String>,
    /// A key of broker.conf, over what the file says; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// As for the nameserver.
    #[arg(skip)]
    pub as_java: bool,
}

/// The keys and values of all `--set`, or what is wrong with one.
pub fn key_values(set: &[String]) -> Result<Vec<(String, String)>, String> {
    let key_value = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err(format!(
            "{text:?} is not KEY=VALUE; name a key of the configuration file and its value, as in \
             --set flushDiskType=SYNC_FLUSH"
        )),
    };
    set.iter().map(key_value).collect()
}
