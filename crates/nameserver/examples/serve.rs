//! A nameserver alone, to point real brokers and tools at:
//! `cargo run -p nameserver --example serve -- PORT [key=value]...`

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use nameserver::Nameserver;
use remoting::{Limits, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().ok_or("usage: serve PORT [key=value]...")?.parse()?;
    let folder = std::env::temp_dir().join(format!("nameserver-{port}"));
    let mut overrides = vec![
        ("kvConfigPath".to_owned(), folder.join("kvConfig.json").display().to_string()),
        ("configStorePath".to_owned(), folder.join("namesrv.properties").display().to_string()),
    ];
    for argument in arguments {
        let (key, value) = argument.split_once('=').ok_or("settings are of the form key=value")?;
        overrides.push((key.to_owned(), value.to_owned()));
    }
    let settings = settings::load_nameserver("", &overrides)?.settings;
    let kv_path = settings.kv_config_path.clone();
    let nameserver = Nameserver::new(settings, kv_path)?;
    nameserver.spawn_expiry();
    let server = Server::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Limits::default(), nameserver)?;
    println!("serving on {}", server.address());
    std::future::pending().await
}
