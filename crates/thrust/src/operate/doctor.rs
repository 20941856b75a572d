//! `thrust doctor`: looks at a cluster as its clients see it, and at this machine, and says what to do about what it
//! finds. It changes nothing but for a small file of its own, for a moment, beside the data of a broker that runs here.

mod groups;
mod machine;
mod report;
mod routes;
mod servers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::failure::Failure;
use crate::output::progress::Bar;
use crate::output::screen::{print, print_json};
use crate::target::Target;
use report::Report;

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Look at the disk below this data directory and at the limits of this machine [default: where brokers that run on
    /// this machine keep their data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Look only at what can be seen from any machine, not at disks and limits of this one.
    #[arg(long, conflicts_with = "data")]
    remote: bool,
    /// Messages that a group may be behind without a warning.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(i64).range(0..))]
    max_behind: i64,
    #[command(flatten)]
    target: Target,
}

pub async fn run(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let admin = args.target.client().await?.admin();
    let mut report = Report::default();
    let mut bar = Bar::new("looking");
    let brokers = servers::look(&admin, &mut report).await;
    bar.step();
    if !brokers.is_empty() {
        routes::look(&admin, &brokers, &mut bar, &mut report).await;
        groups::look(&admin, args.max_behind, &mut bar, &mut report).await;
    }
    match &args.data {
        Some(data) => machine::look(data, &mut report),
        None if args.remote => (),
        None => {
            let stores = machine::stores_here(&brokers);
            stores.iter().for_each(|data| machine::look(data, &mut report));
            if stores.is_empty() && !brokers.is_empty() {
                let what = "no disk was looked at: no broker that is registered has its store here, as far as can be \
                            seen; `thrust doctor --data DIR` looks at one";
                report.ok("disk", what);
            }
        }
    }
    bar.end();
    match args.target.json {
        true => print_json(&report.json())?,
        false => print(&report.text())?,
    }
    Ok(ExitCode::from(report.level() as u8))
}
