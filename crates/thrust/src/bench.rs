//! Load for any RocketMQ-compatible address.

use std::process::ExitCode;

use clap::Subcommand;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Bench {}

/// Runs one measurement.
pub fn run(bench: &Bench) -> ExitCode {
    match *bench {}
}
