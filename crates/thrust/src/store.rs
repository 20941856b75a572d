//! `thrust store`: looking at the files of a store that no broker works on, and making them sound again.
//!
//! Tables for people, `--json` for machines. Exit code 0: nothing is wrong. 1: something is. 2: it could not be told.

mod findings;
mod inspect;
mod place;
mod repair;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;

use crate::output::screen::say;
use findings::Verdict;

/// Look at the files of a store, check them, repair them.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Show what is in a store: segments, queues, index, checkpoint; or one record, or the entries of a queue.
    #[command(after_help = "\
Examples:
  thrust store inspect thrust-data
  thrust store inspect thrust-data --topic orders --queue 0 --json
  thrust store inspect thrust-data --offset 0")]
    Inspect(inspect::InspectArgs),
    /// Read everything and compare it: records, queues, index, checkpoint, configuration.
    #[command(
        after_help = "Examples:\n  thrust store verify thrust-data\n  thrust store verify thrust-data --json"
    )]
    Verify(verify::VerifyArgs),
    /// Say what would make the store sound again; with --yes, do it.
    #[command(
        after_help = "Examples:\n  thrust store repair thrust-data\n  thrust store repair thrust-data --rebuild --yes"
    )]
    Repair(repair::RepairArgs),
}

/// Runs a command to its exit code.
pub fn run(command: &StoreCommand) -> ExitCode {
    let verdict = match command {
        StoreCommand::Inspect(args) => inspect::run(args),
        StoreCommand::Verify(args) => verify::run(args),
        StoreCommand::Repair(args) => repair::run(args),
    };
    match verdict {
        Ok(Verdict::Sound) => ExitCode::SUCCESS,
        Ok(Verdict::Findings) => ExitCode::from(1),
        Err(error) => {
            say(&format!("thrust: {error}"));
            ExitCode::from(2)
        }
    }
}
