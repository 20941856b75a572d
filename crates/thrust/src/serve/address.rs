//! Which interface to listen on, and which address to tell clients.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use settings::{Loaded, Table};

use super::error::ServeError;

/// The interface: what was asked for, else what the file says if it says anything (0.0.0.0 too), else all of them where
/// Java's habits rule, else loopback.
pub fn listen_ip<S: Table>(
    asked: Option<&str>,
    loaded: &Loaded<S>,
    open_by_default: bool,
) -> Result<IpAddr, ServeError> {
    const KEY: &str = "bindAddress";
    if let Some(text) = asked {
        return ip_of(text, "--listen");
    }
    match loaded.place_of(KEY).and_then(|_| loaded.settings.get(KEY)) {
        Some(configured) => ip_of(&configured, KEY),
        None if open_by_default => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        None => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    }
}

/// The address clients are told: what was asked for, else the interface, else the one this machine reaches others by.
pub fn advertised_ip(asked: Option<&str>, listen: IpAddr) -> Result<IpAddr, ServeError> {
    match asked {
        Some(text) => ip_of(text, "the advertised address"),
        None if !listen.is_unspecified() => Ok(listen),
        None => Ok(outgoing_ip().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))),
    }
}

/// An address at which this process reaches a server of its own. Not every machine reaches itself by the address that
/// it tells others.
pub fn from_here(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

/// Names are allowed; records carry the number.
fn ip_of(text: &str, what: &str) -> Result<IpAddr, ServeError> {
    if let Ok(ip) = text.parse() {
        return Ok(ip);
    }
    let found = (text, 0u16).to_socket_addrs().ok().and_then(|mut found| found.next());
    found.map(|address| address.ip()).ok_or_else(|| {
        ServeError::Address(format!(
            "{what} is \"{text}\", which is neither an IP address nor a name that resolves"
        ))
    })
}

/// The local address of a route to the outside. Connecting a datagram socket sends nothing.
fn outgoing_ip() -> Option<IpAddr> {
    let route = |local: IpAddr, remote: IpAddr| {
        let socket = UdpSocket::bind((local, 0)).ok()?;
        socket.connect((remote, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    // Addresses reserved for documentation: any route will do.
    let v4 = route(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into());
    v4.or_else(|| route(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()))
}

#[cfg(test)]
mod tests {
    use super::from_here;

    #[test]
    fn a_server_of_this_process_is_reached_without_the_network() {
        for (bound, expected) in [
            ("0.0.0.0:9876", "127.0.0.1:9876"),
            ("[::]:9876", "[::1]:9876"),
            ("192.0.2.1:9876", "192.0.2.1:9876"),
        ] {
            assert_eq!(from_here(bound.parse().unwrap()).to_string(), expected);
        }
    }
}
