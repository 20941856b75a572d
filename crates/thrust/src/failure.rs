//! Why a command failed: one line with the cause and what to do, and an exit code.

use std::process::ExitCode;

use thrustmq_client::Error;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Client(#[from] Error),
    /// Something that was named is not there.
    #[error("{0}")]
    NotFound(String),
    /// The command line makes no sense, or consent is missing.
    #[error("{0}")]
    Arguments(String),
    /// Part of the work is done, part of it is not.
    #[error("{0}")]
    Partly(String),
    #[error("cannot {what}: {cause}")]
    File { what: String, cause: std::io::Error },
    /// Who read our output has gone: nothing is wrong.
    #[error("the reader of the output is gone")]
    PipeClosed,
}

impl Failure {
    /// What scripts can tell failures apart by.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::PipeClosed => 0,
            Failure::Arguments(_) | Failure::Client(Error::Illegal(_)) => 2,
            Failure::NotFound(_) | Failure::Client(Error::NoRoute { .. }) => 3,
            Failure::Client(error) if is_silence(error) => 4,
            Failure::Client(_) | Failure::Partly(_) | Failure::File { .. } => 1,
        })
    }

    /// What is said: the cause, and what to do about it where the error itself does not say.
    pub fn told(&self) -> String {
        let what = self.to_string();
        let between = if what.ends_with('?') { " " } else { "; " };
        match self {
            Failure::Client(Error::NoNameServer { .. }) => {
                format!("{what}{between}start one with `thrust serve`, or name another with -n host:port")
            }
            Failure::Client(Error::NoBroker { name }) if name.is_empty() => {
                "no broker is registered with the name servers; start one with `thrust broker`, or name other servers \
                 with -n host:port"
                    .to_owned()
            }
            Failure::Client(Error::NoBroker { .. }) => {
                format!("{what}{between}start a broker that registers there")
            }
            _ => what,
        }
    }

    /// A failed write to stdout: a closed pipe is no error.
    pub fn of_output(cause: std::io::Error) -> Failure {
        match cause.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::PipeClosed,
            _ => Failure::File { what: "write to stdout".to_owned(), cause },
        }
    }
}

fn is_silence(error: &Error) -> bool {
    matches!(
        error,
        Error::NoNameServer { .. }
            | Error::NoBroker { .. }
            | Error::Connect { .. }
            | Error::Closed { .. }
            | Error::Timeout { .. }
            | Error::TooLate { .. }
    )
}

/// ` (did you mean "orders"?)`, or nothing when no name is near.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = known.into_iter().map(|one| (distance(name, one), one));
    let near = near.filter(|(steps, one)| *steps <= (one.chars().count() / 3).max(1));
    near.min().map(|(_, one)| format!(" (did you mean \"{one}\"?)")).unwrap_or_default()
}

/// Letters to add, remove or replace to get from one name to the other, whatever their case.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.to_lowercase().chars().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, other) in to.iter().enumerate() {
            let replaced = before + usize::from(letter != *other);
            before = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(before + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        let known = ["orders", "payments", "order-events"];
        assert_eq!(did_you_mean("ordres", known), " (did you mean \"orders\"?)");
        assert_eq!(did_you_mean("Payment", known), " (did you mean \"payments\"?)");
        assert_eq!(did_you_mean("invoices", known), "");
        assert_eq!((distance("", "abc"), distance("abc", "abc")), (3, 0));
    }

    #[test]
    fn exit_codes_tell_what_kind_of_failure_it_was() {
        let code = |failure: Failure| format!("{:?}", failure.exit_code());
        let of = |number: u8| format!("{:?}", ExitCode::from(number));
        assert_eq!(code(Failure::Client(Error::Illegal("x".into()))), of(2));
        assert_eq!(code(Failure::Client(Error::NoRoute { topic: "x".into() })), of(3));
        assert_eq!(code(Failure::Client(Error::NoNameServer { tried: 1, last: "x".into() })), of(4));
        assert_eq!(code(Failure::Partly("x".into())), of(1));
        assert_eq!(code(Failure::PipeClosed), of(0));
    }
}
