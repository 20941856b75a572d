//! `thrust store repair`.

use std::sync::Arc;

use ::store::RealClock;
use ::store::examine::{LogChoice, Repaired};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::findings::{Verdict, findings_json, print_findings, tell_line};
use super::place::{CommandError, Place, open};
use crate::output::progress::Bar;
use crate::output::words::grouped;

/// `thrust store repair`.
#[derive(Debug, Args)]
pub struct RepairArgs {
    #[command(flatten)]
    pub place: Place,
    /// Do it. Without this nothing is changed.
    #[arg(long)]
    pub yes: bool,
    /// What becomes of a damaged log.
    #[arg(long, value_enum, value_name = "CHOICE")]
    pub log: Option<Choice>,
    /// Rebuild queues and index even if nothing is wrong with them.
    #[arg(long)]
    pub rebuild: bool,
}

/// What becomes of a damaged log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// Give up the messages in the damaged bytes; the others stay.
    Skip,
    /// End the log where the first damage begins.
    Cut,
}

pub fn run(args: &RepairArgs) -> Result<Verdict, CommandError> {
    let files = open(&args.place)?;
    let root = files.options().root.clone();
    let mut bar = Bar::of_bytes("verify");
    let verified = files.verify(&mut |progress| bar.set(progress.done, progress.total))?;
    bar.end();
    if !args.place.json {
        print_findings(&verified.findings, &root);
    }
    let choice = args.log.map(|choice| match choice {
        Choice::Skip => LogChoice::Skip,
        Choice::Cut => LogChoice::Cut,
    });
    let plan = files.plan(&verified, choice, args.rebuild)?;
    let steps = plan.steps.clone();
    if !steps.is_empty()
        && args.place.config.is_none()
        && let Some(error) = verified.guessed(files.options())
    {
        return Err(error.into());
    }
    let mut repaired = None;
    if args.yes && !steps.is_empty() {
        let mut bar = Bar::of_bytes("rebuild");
        let clock = Arc::new(RealClock::default());
        repaired = Some(files.repair(&plan, clock, &mut |progress| bar.set(progress.done, progress.total))?);
        bar.end();
    }
    if args.place.json {
        let mut summary = findings_json(&verified.findings);
        summary["steps"] = json!(steps);
        summary["done"] = json!(repaired.is_some());
        summary["kept"] = json!(repaired.as_ref().and_then(|repaired| repaired.kept.clone()));
        tell!("{summary:#}");
    } else if steps.is_empty() {
        tell_line(&format!("{}: nothing to repair", root.display()));
    } else {
        tell_steps(&steps, repaired.as_ref());
    }
    Ok(if steps.is_empty() || repaired.is_some() { Verdict::Sound } else { Verdict::Findings })
}

/// Says what was done, or would be.
fn tell_steps(steps: &[String], repaired: Option<&Repaired>) {
    tell!("{}", if repaired.is_some() { "done:" } else { "would:" });
    for step in steps {
        tell_line(&format!("  {step}"));
    }
    let Some(repaired) = repaired else {
        tell!("nothing was changed; --yes does it");
        return;
    };
    tell!("the queues have {} entries now", grouped(repaired.queue_entries));
    if let Some(kept) = &repaired.kept {
        tell_line(&format!(
            "what was taken out of the log is in {}, with a text on how to put it back",
            kept.display()
        ));
    }
}
