//! `thrust cluster`: which brokers there are, and what they are doing.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use thrustmq_client::{Admin, Error};

use crate::failure::{Failure, did_you_mean};
use crate::output::screen::{print_json, print_table};
use crate::output::table::Table;
use crate::target::Target;

/// Look at clusters.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// List brokers with their addresses.
    #[command(after_help = "Examples:\n  thrust cluster list")]
    List(ClusterArgs),
    /// Show what goes in and out of every broker.
    #[command(after_help = "Examples:\n  thrust cluster stats")]
    Stats(ClusterArgs),
}

#[derive(Debug, Args)]
pub struct ClusterArgs {
    #[command(flatten)]
    target: Target,
}

/// A member of a broker group.
pub struct Member {
    pub cluster: String,
    pub broker: String,
    /// 0 is the master.
    pub id: i64,
    pub address: String,
}

/// All brokers, masters and slaves.
pub async fn members(admin: &Admin) -> Result<Vec<Member>, Failure> {
    let info = admin.cluster().await?;
    let mut members = Vec::new();
    for (broker, data) in &info.broker_addr_table {
        let member = |(id, address): (&i64, &String)| Member {
            cluster: data.cluster.clone(),
            broker: broker.clone(),
            id: *id,
            address: address.clone(),
        };
        members.extend(data.broker_addrs.iter().map(member));
    }
    Ok(members)
}

/// Addresses of the masters of a cluster that must be there; of all clusters for an empty name.
pub async fn masters(admin: &Admin, cluster: &str) -> Result<Vec<String>, Failure> {
    match admin.masters(cluster).await {
        Err(Error::NoBroker { .. }) if !cluster.is_empty() => {
            let known = admin.cluster().await?.cluster_addr_table;
            let hint = did_you_mean(cluster, known.keys().map(String::as_str));
            Err(Failure::NotFound(format!(
                "there is no cluster \"{cluster}\"{hint}; `thrust cluster list` shows all"
            )))
        }
        other => Ok(other?),
    }
}

/// Masters of the clusters of these masters, which are not among them.
pub async fn masters_beside(admin: &Admin, these: &[&str]) -> Result<Vec<Member>, Failure> {
    let all = members(admin).await?;
    let is_of_these = |member: &&Member| these.contains(&member.address.as_str());
    let clusters: BTreeSet<String> =
        all.iter().filter(is_of_these).map(|member| member.cluster.clone()).collect();
    let beside = all.into_iter().filter(|member| member.id == 0 && !is_of_these(&member));
    Ok(beside.filter(|member| clusters.contains(&member.cluster)).collect())
}

pub async fn run(command: &ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::List(args) => list(args).await,
        ClusterCommand::Stats(args) => stats(args).await,
    }
}

async fn list(args: &ClusterArgs) -> Result<(), Failure> {
    let members = members(&args.target.client().await?.admin()).await?;
    if args.target.json {
        return print_json(&members.iter().map(member_json).collect());
    }
    let mut table = Table::new(&["CLUSTER", "BROKER", ">ID", "ROLE", "ADDRESS"]);
    for Member { cluster, broker, id, address } in members {
        table.row([cluster, broker, id.to_string(), role(id).to_owned(), address]);
    }
    print_table(&table, "no broker is registered")
}

async fn stats(args: &ClusterArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let (mut all, mut silent) = (Vec::new(), Vec::new());
    for member in members(&admin).await? {
        // One that is down is no reason to tell nothing of the others.
        let stats = admin.runtime_stats(&member.address).await;
        let error = stats.as_ref().err().map(ToString::to_string);
        silent.extend(error.iter().map(|error| format!("{}/{}: {error}", member.broker, member.id)));
        all.push((member, stats.unwrap_or_default(), error));
    }
    print_stats(all, args.target.json)?;
    match silent.is_empty() {
        true => Ok(()),
        false => Err(Failure::Partly(format!("{}; `thrust doctor` says more", silent.join("; ")))),
    }
}

/// Members with their figures, or why these cannot be had.
type Told = (Member, BTreeMap<String, String>, Option<String>);

fn print_stats(all: Vec<Told>, as_json: bool) -> Result<(), Failure> {
    if as_json {
        let brokers = all.iter().map(|(member, stats, error)| {
            let mut value = member_json(member);
            value["version"] = json!(stats.get("brokerVersionDesc"));
            value["inPerSecond"] = json!(per_second(stats, "putTps"));
            value["outPerSecond"] = json!(per_second(stats, "getTransferredTps"));
            value["stats"] = json!(stats);
            value["error"] = json!(error);
            value
        });
        return print_json(&brokers.collect());
    }
    let mut table = Table::new(&["BROKER", ">ID", "VERSION", ">IN/S", ">OUT/S", "ADDRESS"]);
    for (member, stats, _) in all {
        let rate = |name| per_second(&stats, name).map_or("-".to_owned(), |rate: f64| format!("{rate:.1}"));
        let version = stats.get("brokerVersionDesc").cloned().unwrap_or_else(|| "-".to_owned());
        let (id, put, got) = (member.id.to_string(), rate("putTps"), rate("getTransferredTps"));
        table.row([member.broker, id, version, put, got, member.address]);
    }
    print_table(&table, "no broker is registered")
}

/// The first of the rates that brokers write side by side: that of the last 10 s.
fn per_second(stats: &BTreeMap<String, String>, name: &str) -> Option<f64> {
    stats.get(name)?.split_whitespace().next()?.parse().ok()
}

fn member_json(member: &Member) -> Value {
    json!({
        "cluster": member.cluster,
        "broker": member.broker,
        "brokerId": member.id,
        "role": role(member.id),
        "address": member.address,
    })
}

fn role(id: i64) -> &'static str {
    if id == 0 { "master" } else { "slave" }
}
