//! `thrust store verify`.

use std::time::Duration;

use ::store::examine::Verified;
use clap::Args;
use serde_json::{Value, json};

use super::findings::{Verdict, findings_json, print_findings, tell_line};
use super::place::{CommandError, Place, open_to_look};
use crate::output::progress::Bar;
use crate::output::words::grouped;

/// `thrust store verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub place: Place,
}

pub fn run(args: &VerifyArgs) -> Result<Verdict, CommandError> {
    let files = open_to_look(&args.place)?;
    let mut bar = Bar::of_bytes("verify");
    let verified = files.verify(&mut |progress| bar.set(progress.done, progress.total))?;
    let took = bar.end();
    if args.place.json {
        tell!("{:#}", summary(&verified, took));
    } else {
        print(&verified, took, &files.options().root);
    }
    Ok(if verified.findings.is_empty() { Verdict::Sound } else { Verdict::Findings })
}

fn print(verified: &Verified, took: Duration, root: &std::path::Path) {
    print_findings(&verified.findings, root);
    for note in &verified.notes {
        tell_line(&format!("{:<10} {note}", "note"));
    }
    let how = if verified.clean { "stopped cleanly" } else { "not stopped cleanly" };
    let bytes = verified.log_end - verified.log_min;
    tell_line(&format!("{}: {how}", root.display()));
    tell_line(&format!(
        "{} records from {} to {} of the log, {} queues, {} entries compared, {} index files, {} entries compared",
        grouped(verified.records),
        verified.log_min,
        verified.log_end,
        grouped(verified.queues as u64),
        grouped(verified.queue_entries),
        verified.index_files,
        grouped(verified.index_entries),
    ));
    if verified.extensions > 0 {
        tell_line(&format!("{} extensions of queue entries compared", grouped(verified.extensions)));
    }
    tell_line(&format!(
        "{} bytes in {:.2} s, {} MB/s",
        grouped(bytes),
        took.as_secs_f64(),
        rate(bytes, took)
    ));
    match verified.findings.counts().values().sum::<u64>() {
        0 => tell!("nothing is wrong"),
        count => tell!("{} findings", grouped(count)),
    }
}

fn rate(bytes: u64, took: Duration) -> u64 {
    (bytes as f64 / 1e6 / took.as_secs_f64().max(1e-3)) as u64
}

fn summary(verified: &Verified, took: Duration) -> Value {
    let damage =
        verified.damage.iter().map(|stretch| json!({ "from": stretch.from, "until": stretch.until }));
    let mut summary = findings_json(&verified.findings);
    summary["sound"] = json!(verified.findings.is_empty());
    summary["clean"] = json!(verified.clean);
    summary["notes"] = json!(verified.notes);
    summary["damage"] = damage.collect();
    summary["logMin"] = json!(verified.log_min);
    summary["logEnd"] = json!(verified.log_end);
    summary["records"] = json!(verified.records);
    summary["queues"] = json!(verified.queues);
    summary["queueEntries"] = json!(verified.queue_entries);
    summary["compactionLogs"] = json!(verified.compacted);
    summary["compactedMessages"] = json!(verified.compacted_messages);
    summary["extensions"] = json!(verified.extensions);
    summary["indexFiles"] = json!(verified.index_files);
    summary["indexEntries"] = json!(verified.index_entries);
    summary["seconds"] = json!(took.as_secs_f64());
    summary
}
