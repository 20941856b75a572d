//! Consumer groups: who is behind, who is paused.

use thrustmq_client::Admin;
use wire::names::is_system_group;

use super::report::Report;
use crate::failure::Failure;
use crate::operate::group::lookup;
use crate::output::progress::Bar;
use crate::output::words::count;

/// Looks at every group that is not the system's own.
pub async fn look(admin: &Admin, max_behind: i64, bar: &mut Bar, report: &mut Report) {
    if let Err(failure) = look_at_all(admin, max_behind, bar, report).await {
        report.warning(
            "group",
            format!("groups cannot be looked at: {failure}"),
            "ask again when all brokers answer, with the keys of an administrator",
        );
    }
}

async fn look_at_all(
    admin: &Admin,
    max_behind: i64,
    bar: &mut Bar,
    report: &mut Report,
) -> Result<(), Failure> {
    let all = lookup::groups(admin).await?;
    let (before, mut looked) = (report.findings.len(), 0);
    for (name, brokers) in all.iter().filter(|(name, _)| !is_system_group(name)) {
        bar.step();
        looked += 1;
        if brokers.values().any(|config| !config.consume_enable) {
            report.warning(
                "group",
                format!("{name} may not consume"),
                format!("`thrust group update {name} --consume allow` lets it go on"),
            );
        }
        let behind = lookup::stats(admin, name, None).await?.behind();
        if behind <= max_behind {
            continue;
        }
        let members = admin.consumers(name).await?.map_or(0, |members| members.connection_set.len());
        let (far, online) = (count(behind, "message"), count(members, "member"));
        report.warning(
            "group",
            format!("{name} is {far} behind with {online} online"),
            match members {
                0 => format!("start its consumers; `thrust group delete {name}` if nobody needs it any more"),
                _ => format!("`thrust explain group {name}` says which queues, and why"),
            },
        );
    }
    if report.findings.len() == before {
        let groups = count(looked, "group");
        report.ok(
            "group",
            format!("{groups}: none is paused or more than {} behind", count(max_behind, "message")),
        );
    }
    Ok(())
}
