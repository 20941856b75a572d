//! Why a measurement could not be made.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// An error that ends the run.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("{0}")]
    Arguments(String),
    #[error("cannot resolve {addr}: {cause}; an address is host:port, as in 127.0.0.1:10911")]
    Resolve { addr: String, cause: io::Error },
    #[error(
        "cannot connect to {addr}: {cause}; is a broker listening there? `thrust serve` starts one, `thrust bench echo` a stand-in"
    )]
    Connect { addr: String, cause: io::Error },
    #[error("cannot listen on {addr}: {cause}; `--port` chooses another")]
    Listen { addr: String, cause: io::Error },
    #[error("{addr}: {doing}: {cause}")]
    Io { addr: String, doing: &'static str, cause: io::Error },
    #[error("{addr} closed the connection after {answers} answers; its log says why")]
    Closed { addr: String, answers: u64 },
    #[error(
        "{addr} accepted the connection but answered nothing for {seconds} s; is this a RocketMQ port, and not that of TLS or of the proxy's gRPC?"
    )]
    Silent { addr: String, seconds: u64 },
    #[error("{addr} sent what is no RocketMQ answer: {cause}")]
    Malformed { addr: String, cause: String },
    #[error("{addr} refuses to {doing}: {answer}")]
    Refused { addr: String, doing: String, answer: String },
    #[error("not one request to {addr} succeeded: {errors}")]
    NothingSucceeded { addr: String, errors: String },
    #[error(
        "topic \"{topic}\" on {addr} shows {found} of the {wanted} messages that were to be there; a smaller `--fill` or a look at the broker's log helps"
    )]
    Backlog { addr: String, topic: String, found: u64, wanted: u64 },
    #[error("nameserver {addr} knows no master broker; is one registered there?")]
    NoBroker { addr: String },
    #[error(
        "cannot read the CPU time and memory of process {pid}: {cause}; is it running, and is this Linux? Without --pid the rest is measured"
    )]
    Process { pid: u32, cause: io::Error },
    #[error("cannot write the latencies to {}: {cause}; `--histogram` names the file", path.display())]
    File { path: PathBuf, cause: io::Error },
    #[error("cannot draw what is in {}: {cause}; `scripts/curves` writes such a file", path.display())]
    Table { path: PathBuf, cause: String },
    #[error("cannot write {}: {cause}; `--dir` names another directory", path.display())]
    Picture { path: PathBuf, cause: io::Error },
    #[error("a consumer has ended: {0}")]
    Consumer(remoting::CallError),
    #[error("cannot start a thread of the generator: {0}")]
    Thread(io::Error),
}

impl BenchError {
    /// The same codes that all commands have.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            BenchError::Arguments(_) | BenchError::Resolve { .. } => 2,
            BenchError::Connect { .. }
            | BenchError::Closed { .. }
            | BenchError::Silent { .. }
            | BenchError::NoBroker { .. } => 4,
            _ => 1,
        })
    }
}
