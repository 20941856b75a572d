//! Arguments that all commands on a store have.

use std::path::PathBuf;

use clap::Args;

/// Which store, and how large its files are.
#[derive(Debug, Args)]
pub struct Place {
    /// Directory of the store, storePathRootDir of its broker.
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The broker.conf of the store, for its directories and the sizes of its files.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the commit log, if it is not below that of the store.
    #[arg(long, value_name = "DIR")]
    pub commitlog: Option<PathBuf>,
    /// A key of broker.conf, over what the file says; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
