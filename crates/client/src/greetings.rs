//! Which brokers have heard of everybody who is here, as those must that push something to this client.

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Brokers that know this client, by address.
#[derive(Debug, Default)]
pub(crate) struct Greetings(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    brokers: HashMap<String, Greeting>,
    /// Rises whenever somebody has come of whom no broker has heard.
    version: u64,
}

#[derive(Debug)]
enum Greeting {
    UnderWay {
        since: Instant,
        ended: Ended,
    },
    /// It was told over the connection with this number, and forgets it when that ends.
    Heard(u64),
}

/// Who waits for the end of a greeting.
pub(crate) type Ended = watch::Receiver<()>;

/// What is to be done about a broker.
pub(crate) enum Step {
    /// It knows everybody.
    Nothing,
    /// Somebody is telling it.
    Wait { since: Instant, ended: Ended },
    /// Who asked must tell it, and drop the first of these when that is over.
    Tell(watch::Sender<()>, Ended),
}

impl Greetings {
    /// Somebody has come: all brokers must be told.
    pub fn begin_again(&self) {
        let mut state = self.0.lock();
        state.brokers.clear();
        state.version += 1;
    }

    /// Goes up with everybody who comes.
    pub fn version(&self) -> u64 {
        self.0.lock().version
    }

    /// What is to be done about a broker to which there is this open connection.
    pub fn step(&self, address: &str, connection: Option<u64>) -> Step {
        let mut state = self.0.lock();
        match state.brokers.get(address) {
            Some(Greeting::Heard(over)) if Some(*over) == connection => return Step::Nothing,
            Some(Greeting::UnderWay { since, ended }) => {
                return Step::Wait { since: *since, ended: ended.clone() };
            }
            _ => (),
        }
        let (end, ended) = watch::channel(());
        let under_way = Greeting::UnderWay { since: Instant::now(), ended: ended.clone() };
        state.brokers.insert(address.to_owned(), under_way);
        Step::Tell(end, ended)
    }

    /// A broker was told of everybody who was here at `version`, over the connection with this number, or could not be.
    pub fn told(&self, address: &str, version: u64, over: Option<u64>) {
        let mut state = self.0.lock();
        match over.filter(|_| state.version == version) {
            Some(connection) => state.brokers.insert(address.to_owned(), Greeting::Heard(connection)),
            None => state.brokers.remove(address),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_known(greetings: &Greetings, connection: Option<u64>) -> bool {
        matches!(greetings.step("a:1", connection), Step::Nothing)
    }

    #[test]
    fn a_broker_knows_a_client_for_as_long_as_its_connection_lasts() {
        let greetings = Greetings::default();
        assert!(matches!(greetings.step("a:1", None), Step::Tell(..)));
        assert!(matches!(greetings.step("a:1", Some(7)), Step::Wait { .. }));
        greetings.told("a:1", 0, Some(7));
        assert!(is_known(&greetings, Some(7)));
        assert!(!is_known(&greetings, Some(8)), "it was started again");
        greetings.told("a:1", 0, None);
        assert!(matches!(greetings.step("a:1", Some(8)), Step::Tell(..)), "it was not reached");
    }

    #[test]
    fn a_heartbeat_does_not_speak_for_who_came_after_it_was_written() {
        let greetings = Greetings::default();
        let version = greetings.version();
        greetings.begin_again();
        greetings.told("a:1", version, Some(7));
        assert!(!is_known(&greetings, Some(7)));
        greetings.told("a:1", greetings.version(), Some(7));
        assert!(is_known(&greetings, Some(7)));
    }
}
