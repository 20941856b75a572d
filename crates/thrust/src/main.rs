//! The `thrust` binary: every part of the system under one name.

mod bench;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// ThrustMQ: an Apache RocketMQ compatible messaging system.
#[derive(Debug, Parser)]
#[command(name = "thrust", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure a RocketMQ-compatible broker with raw pipelined frames.
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Bench(bench) => bench::run(&bench),
    }
}
