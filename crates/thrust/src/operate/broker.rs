//! `thrust broker config` and `thrust broker status`: running brokers, asked and changed.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use thrustmq_client::Admin;

use super::cluster::{Member, members};
use super::each::Each;
use crate::failure::{Failure, did_you_mean};
use crate::output::screen::{print_json, print_table, say};
use crate::output::table::Table;
use crate::output::words::{count, list};
use crate::serve::BrokerArgs;
use crate::target::{Target, pair};

/// `thrust broker` runs one; with a word behind it, it asks those that run.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BrokerRunOrAsk {
    #[command(flatten)]
    pub run: BrokerArgs,
    #[command(subcommand)]
    pub ask: Option<BrokerCommand>,
}

/// Work on running brokers.
#[derive(Debug, Subcommand)]
pub enum BrokerCommand {
    /// Look at settings of running brokers and change them.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show what a running broker tells of its state.
    #[command(after_help = "Examples:\n  thrust broker status")]
    Status(StatusArgs),
}

/// Work on settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show settings.
    #[command(after_help = "Examples:\n  thrust broker config get flushDiskType disk")]
    Get(GetArgs),
    /// Change settings; prints what changes.
    #[command(after_help = "Examples:\n  thrust broker config set fileReservedTime=48")]
    Set(SetArgs),
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Name or address of the broker [default: all].
    #[arg(short, long)]
    broker: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// Keys, or parts of them [default: all].
    key: Vec<String>,
    /// Name or address of the broker [default: all].
    #[arg(short, long)]
    broker: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct SetArgs {
    /// Settings with their new values.
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = pair)]
    change: Vec<(String, String)>,
    /// Name or address of the broker [default: all].
    #[arg(short, long)]
    broker: Option<String>,
    /// Do not ask whether several brokers are meant.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

pub async fn run(command: &BrokerCommand) -> Result<(), Failure> {
    match command {
        BrokerCommand::Config(ConfigCommand::Get(args)) => get(args).await,
        BrokerCommand::Config(ConfigCommand::Set(args)) => set(args).await,
        BrokerCommand::Status(args) => status(args).await,
    }
}

/// The members that a name or an address means; all without one.
async fn chosen(admin: &Admin, wanted: Option<&str>) -> Result<Vec<Member>, Failure> {
    let mut all = members(admin).await?;
    let Some(wanted) = wanted else { return Ok(all) };
    let hint = did_you_mean(wanted, all.iter().map(|member| member.broker.as_str()));
    all.retain(|member| member.broker == wanted || member.address == wanted);
    if all.is_empty() {
        return Err(Failure::NotFound(format!(
            "no broker \"{wanted}\" is registered{hint}; `thrust cluster list` shows all"
        )));
    }
    Ok(all)
}

async fn get(args: &GetArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let (mut found, mut known) = (Vec::new(), BTreeSet::new());
    for member in chosen(&admin, args.broker.as_deref()).await? {
        let mut config = admin.broker_config(&member.address).await?;
        known.extend(config.keys().cloned());
        config.retain(|key, _| is_wanted(key, &args.key));
        found.push((member, config));
    }
    if found.iter().all(|(_, config)| config.is_empty()) {
        let hint = args.key.iter().map(|key| did_you_mean(key, known.iter().map(String::as_str)));
        let hint = hint.collect::<String>();
        let wanted = args.key.join(" ");
        return Err(Failure::NotFound(format!(
            "no broker has a setting like \"{wanted}\"{hint}; `thrust broker config get` shows all"
        )));
    }
    print_settings(found, args.target.json, ["SETTING", "VALUE"])
}

fn is_wanted(key: &str, wanted: &[String]) -> bool {
    let key = key.to_lowercase();
    wanted.is_empty() || wanted.iter().any(|part| key.contains(&part.to_lowercase()))
}

fn print_settings(
    found: Vec<(Member, BTreeMap<String, String>)>,
    as_json: bool,
    [name, value]: [&str; 2],
) -> Result<(), Failure> {
    if as_json {
        let brokers = found.iter().map(|(member, values)| {
            json!({
                "broker": member.broker,
                "brokerId": member.id,
                "address": member.address,
                "values": values,
            })
        });
        return print_json(&brokers.collect());
    }
    let mut table = Table::new(&["BROKER", name, value]);
    for (member, values) in found {
        for (key, value) in values {
            table.row([format!("{}/{}", member.broker, member.id), key, value]);
        }
    }
    print_table(&table, "no broker is registered")
}

async fn set(args: &SetArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let changes: Vec<(&str, &str)> =
        args.change.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let mut asked = Vec::new();
    // All of them before one is changed: a cluster whose brokers differ must not be left half changed.
    for member in chosen(&admin, args.broker.as_deref()).await? {
        let old = admin.broker_config(&member.address).await?;
        if let Some((unknown, _)) = changes.iter().find(|(key, _)| !old.contains_key(*key)) {
            let hint = did_you_mean(unknown, old.keys().map(String::as_str));
            let broker = &member.broker;
            return Err(Failure::Arguments(format!("broker {broker} has no setting \"{unknown}\"{hint}")));
        }
        asked.push((member, old));
    }
    let brokers: BTreeSet<&str> = asked.iter().map(|(member, _)| member.broker.as_str()).collect();
    if brokers.len() > 1 {
        let (all, names) = (count(brokers.len(), "broker"), list(&Vec::from_iter(&brokers)));
        args.target.consent(&format!("settings of {all} change: {names}; --broker names one"), args.yes)?;
    }
    let name = |(member, _): &(Member, _)| format!("{}/{}", member.broker, member.id);
    let change = async |(member, old): (Member, BTreeMap<String, String>)| {
        let mut remark = None;
        if let Some(words) = admin.update_broker_config(&member.address, &changes).await? {
            // Beside the table, which shows what was asked for whether or not it is in force.
            say(&format!("{}/{}: {words}", member.broker, member.id));
            remark = Some(json!({ "broker": member.broker, "brokerId": member.id, "remark": words }));
        }
        // What the broker has now, which need not be what it was told.
        let new = admin.broker_config(&member.address).await?;
        let new = new.into_iter().filter(|(key, value)| old.get(key) != Some(value));
        let changed = new.map(|(key, value)| (member.broker.clone(), old.get(&key).cloned(), key, value));
        Ok((remark, changed.collect::<Vec<_>>()))
    };
    let (done, end) = Each::of(asked, name, change).await?.split();
    let (remarks, changed): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    print_changes(args, remarks.into_iter().flatten().collect(), changed.concat())?;
    end
}

/// A broker, a value before, the name of its setting, and the value now.
type Changed = (String, Option<String>, String, String);

fn print_changes(args: &SetArgs, remarks: Vec<Value>, changed: Vec<Changed>) -> Result<(), Failure> {
    if args.target.json {
        let all = changed.iter().map(|(broker, from, setting, to)| {
            json!({ "broker": broker, "setting": setting, "from": from, "to": to })
        });
        return print_json(&json!({ "changes": all.collect::<Vec<_>>(), "remarks": remarks }));
    }
    let mut table = Table::new(&["BROKER", "SETTING", "FROM", "TO"]);
    for (broker, from, key, to) in changed {
        table.row([broker, key, from.unwrap_or("-".to_owned()), to]);
    }
    print_table(&table, "nothing changes: the brokers have these settings already")
}

async fn status(args: &StatusArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let mut found = Vec::new();
    for member in chosen(&admin, args.broker.as_deref()).await? {
        let stats = admin.runtime_stats(&member.address).await?;
        found.push((member, stats));
    }
    print_settings(found, args.target.json, ["WHAT", "VALUE"])
}
