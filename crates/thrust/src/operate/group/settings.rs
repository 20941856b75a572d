//! `thrust group create` and `thrust group update`.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use thrustmq_client::SubscriptionGroupConfig;
use wire::names;

use super::lookup::known;
use crate::failure::Failure;
use crate::operate::cluster::masters;
use crate::operate::each::Each;
use crate::output::screen::{print_json, print_line, print_table};
use crate::output::table::Table;
use crate::output::words::list;
use crate::target::Target;

/// What members may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Allowed {
    Allow,
    Forbid,
}

/// Settings that `create` and `update` have in common.
#[derive(Debug, Args)]
struct Changes {
    /// Whether members get messages; forbid pauses the group.
    #[arg(long, value_enum)]
    consume: Option<Allowed>,
    /// Whether members may read in broadcast, every member all messages.
    #[arg(long, value_enum)]
    broadcast: Option<Allowed>,
    /// Failures of a message before it goes to the dead letter topic; consumers of remoting may say otherwise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=65_535))]
    retries: Option<i32>,
    /// Queues of the retry topic.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=65_535))]
    retry_queues: Option<i32>,
    /// Whether clients of gRPC get the messages of a shard in order.
    #[arg(long, value_name = "true|false")]
    orderly: Option<bool>,
}

impl Changes {
    fn apply(&self, config: &mut SubscriptionGroupConfig) {
        let is_allowed =
            |choice: Option<Allowed>, before| choice.map_or(before, |choice| choice == Allowed::Allow);
        config.consume_enable = is_allowed(self.consume, config.consume_enable);
        config.consume_broadcast_enable = is_allowed(self.broadcast, config.consume_broadcast_enable);
        config.retry_max_times = self.retries.unwrap_or(config.retry_max_times);
        config.retry_queue_nums = self.retry_queues.unwrap_or(config.retry_queue_nums);
        config.consume_message_orderly = self.orderly.unwrap_or(config.consume_message_orderly);
    }
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Name of the group.
    group: String,
    #[command(flatten)]
    changes: Changes,
    /// The cluster that gets it [default: all].
    #[arg(long, default_value = "", hide_default_value = true)]
    cluster: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Name of the group.
    group: String,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    target: Target,
}

pub async fn create(args: &CreateArgs) -> Result<(), Failure> {
    names::check_group(&args.group).map_err(|error| Failure::Arguments(error.to_string()))?;
    let admin = args.target.client().await?.admin();
    let masters = masters(&admin, &args.cluster).await?;
    let mut missing = Vec::new();
    for address in &masters {
        if !admin.groups(address).await?.contains_key(&args.group) {
            missing.push(address.clone());
        }
    }
    if missing.is_empty() {
        return Err(Failure::Arguments(format!(
            "group \"{0}\" is there already; `thrust group update {0}` changes it",
            args.group
        )));
    }
    let mut config = SubscriptionGroupConfig::new(&args.group);
    args.changes.apply(&mut config);
    let create = async |address: String| {
        admin.update_group(&address, &config).await?;
        Ok(address)
    };
    let (brokers, end) = Each::of(missing, String::clone, create).await?.split();
    if args.target.json {
        print_json(&json!({ "created": true, "brokers": brokers, "group": config_json(&config) }))?;
        return end;
    }
    print_line(&format!("created group {} at {}", args.group, list(&brokers)))?;
    end
}

pub async fn update(args: &UpdateArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let brokers = known(&admin, &args.group).await?;
    let change = async |(address, old): (String, SubscriptionGroupConfig)| {
        let mut new = old.clone();
        args.changes.apply(&mut new);
        let (from, to) = (texts(&old), texts(&new));
        if from != to {
            // What is sent are changes of attributes, of which there are none.
            new.attributes.clear();
            admin.update_group(&address, &new).await?;
        }
        let differences = from.into_iter().zip(to).filter(|(from, to)| from != to);
        let changed = differences.map(|((setting, from), (_, to))| (address.clone(), setting, from, to));
        Ok(changed.collect::<Vec<_>>())
    };
    let (changed, end) = Each::of(brokers, |(address, _)| address.clone(), change).await?.split();
    print_changes(args, changed.concat())?;
    end
}

/// A broker, the name of a setting, and the values before and now.
type Changed = (String, &'static str, String, String);

fn print_changes(args: &UpdateArgs, changed: Vec<Changed>) -> Result<(), Failure> {
    if args.target.json {
        let all = changed.iter().map(|(broker, setting, from, to)| {
            json!({ "broker": broker, "setting": setting, "from": from, "to": to })
        });
        return print_json(&json!({ "group": args.group, "changes": all.collect::<Vec<_>>() }));
    }
    let mut table = Table::new(&["BROKER", "SETTING", "FROM", "TO"]);
    for (broker, setting, from, to) in changed {
        table.row([broker, setting.to_owned(), from, to]);
    }
    print_table(&table, "nothing changes: the group has these settings already")
}

/// Settings as people read them, by name.
pub fn texts(config: &SubscriptionGroupConfig) -> BTreeMap<&'static str, String> {
    let allowed = |is: bool| if is { "allowed" } else { "forbidden" }.to_owned();
    BTreeMap::from([
        ("consume", allowed(config.consume_enable)),
        ("broadcast", allowed(config.consume_broadcast_enable)),
        ("retries", config.retry_max_times.to_string()),
        ("retryQueues", config.retry_queue_nums.to_string()),
        ("orderly", config.consume_message_orderly.to_string()),
    ])
}

fn config_json(config: &SubscriptionGroupConfig) -> Value {
    json!({
        "group": config.group_name,
        "consume": config.consume_enable,
        "broadcast": config.consume_broadcast_enable,
        "retries": config.retry_max_times,
        "retryQueues": config.retry_queue_nums,
        "orderly": config.consume_message_orderly,
    })
}
