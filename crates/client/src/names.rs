//! The list of name servers, and which of them is asked next.

use parking_lot::Mutex;

use crate::error::Error;
use crate::identity::random;

/// Name servers, one of which is asked for as long as it answers.
#[derive(Debug)]
pub(crate) struct NameServers {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    servers: Vec<String>,
    /// The one that answered last.
    current: usize,
}

impl NameServers {
    /// From a list as users write it; see [`parse`].
    pub fn new(servers: Vec<String>) -> NameServers {
        // Clients that start together should not all ask the same one.
        let current = if servers.is_empty() { 0 } else { random() as usize % servers.len() };
        NameServers { state: Mutex::new(State { servers, current }) }
    }

    /// All of them in the order in which they are asked.
    pub fn in_order(&self) -> Vec<String> {
        let state = self.state.lock();
        let mut servers = state.servers.clone();
        if !servers.is_empty() {
            servers.rotate_left(state.current % state.servers.len());
        }
        servers
    }

    /// Takes another list, if its servers are others, and gives those that are not in it any more. Who was asked so far
    /// is asked further if it is still there.
    pub fn replace(&self, mut servers: Vec<String>) -> Option<Vec<String>> {
        let mut state = self.state.lock();
        let same = servers.len() == state.servers.len()
            && servers.iter().all(|server| state.servers.contains(server));
        if same || servers.is_empty() {
            return None;
        }
        // Clients of one list should not all go to its first server.
        shuffle(&mut servers);
        let current = state.servers.get(state.current).cloned();
        let old = std::mem::replace(&mut state.servers, servers);
        let still = current.and_then(|current| state.servers.iter().position(|server| *server == current));
        state.current = still.unwrap_or(0);
        Some(old.into_iter().filter(|server| !state.servers.contains(server)).collect())
    }

    /// This one answered, and is asked first from now on.
    pub fn answered(&self, server: &str) {
        let mut state = self.state.lock();
        if let Some(at) = state.servers.iter().position(|known| known == server) {
            state.current = at;
        }
    }
}

fn shuffle(servers: &mut [String]) {
    for at in (1..servers.len()).rev() {
        servers.swap(at, random() as usize % (at + 1));
    }
}

/// Reads `host:port` several times, between semicolons or commas, each with or without `rmq://` or `http://`.
pub(crate) fn parse(text: &str) -> Result<Vec<String>, Error> {
    let mut servers = Vec::new();
    for part in text.split([';', ',']).map(str::trim).filter(|part| !part.is_empty()) {
        let address = part.rsplit('/').next().unwrap_or_default();
        let port = address.rsplit_once(':').and_then(|(host, port)| {
            let port: u16 = port.parse().ok()?;
            (!host.is_empty() && port != 0).then_some(port)
        });
        if port.is_none() {
            let example = "127.0.0.1:9876;127.0.0.2:9876";
            return Err(Error::Illegal(format!(
                "\"{part}\" is no address of a name server, as in {example}"
            )));
        }
        if !servers.iter().any(|known| known == address) {
            servers.push(address.to_owned());
        }
    }
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_users_write_them() {
        let expected = ["a:1", "[::1]:2"].map(str::to_owned);
        assert_eq!(parse("a:1;[::1]:2").unwrap(), expected);
        assert_eq!(parse(" rmq://a:1 , http://[::1]:2 ;a:1;").unwrap(), expected);
        for wrong in ["a", "a:", ":1", "a:70000", "a:0", "a:1;b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_one_that_answered_is_asked_first_also_after_the_list_changes() {
        let names = NameServers::new(parse("a:1;b:1;c:1").unwrap());
        names.answered("b:1");
        assert_eq!(names.in_order(), ["b:1", "c:1", "a:1"]);
        assert_eq!(names.replace(parse("c:1;b:1;a:1").unwrap()), None, "the same in another order");
        assert_eq!(names.replace(Vec::new()), None, "nothing is no list");
        assert_eq!(names.replace(parse("d:1;b:1").unwrap()).unwrap(), ["a:1", "c:1"]);
        assert_eq!(names.in_order(), ["b:1", "d:1"]);
        assert_eq!(names.replace(parse("e:1").unwrap()).unwrap().len(), 2);
        assert_eq!(names.in_order(), ["e:1"]);
    }
}
