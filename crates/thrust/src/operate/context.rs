//! `thrust context`: names for clusters, so that commands need no addresses, keys and certificates.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use thrustmq_client::Client;

use crate::failure::Failure;
use crate::output::screen::{consent, print_facts, print_json, print_line, print_table};
use crate::output::table::Table;
use crate::target::contexts::{Context, Contexts, Keys};
use crate::target::encryption::{Encryption, TlsArgs};
use crate::target::{Destination, Source, Target};

/// Work on contexts.
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// Add a context, or change it; the first one is chosen at once.
    #[command(after_help = "\
Examples:
  thrust context add local --nameserver 127.0.0.1:9876
  thrust context add prod --nameserver 'ns1:9876;ns2:9876' --access-key-file keys.yml
  thrust context add guarded --nameserver ns1:9876 --tls-ca ca.pem
  thrust context add mutual --nameserver ns1:9876 --tls-ca ca.pem --tls-certificate client.pem --tls-key client.key

The file of keys has the lines \"accessKey: …\" and \"secretKey: …\", like conf/tools.yml of the Java tools. Keys are
copied into contexts.json below $XDG_CONFIG_HOME/thrust or ~/.config/thrust, which nobody else may read. Certificates
and their key stay where they are, and are read by every command.")]
    Add(AddArgs),
    /// Choose the context that commands use when nothing else is said.
    #[command(after_help = "Examples:\n  thrust context use local")]
    Use(NameArgs),
    /// List contexts.
    #[command(after_help = "Examples:\n  thrust context list")]
    List(PlainArgs),
    /// Show where commands go, or a context.
    #[command(after_help = "Examples:\n  thrust context show\n  thrust context show local")]
    Show(ShowArgs),
    /// Remove a context with its keys.
    #[command(after_help = "Examples:\n  thrust context remove old")]
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
pub struct AddArgs {
    /// Name of the context.
    #[arg(value_parser = name)]
    context: String,
    /// Name servers.
    #[arg(short = 'n', long, value_name = "HOST:PORT;HOST:PORT")]
    nameserver: String,
    /// A file with the keys that requests are signed with.
    #[arg(long, value_name = "FILE")]
    access_key_file: Option<PathBuf>,
    /// Take the keys from THRUST_ACCESS_KEY, THRUST_SECRET_KEY and perhaps THRUST_SECURITY_TOKEN of the environment.
    #[arg(long, conflicts_with = "access_key_file")]
    access_key_from_env: bool,
    #[command(flatten)]
    tls: TlsArgs,
    /// Do not ask whether other keys of a context of this name may be lost.
    #[arg(short, long)]
    yes: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct NameArgs {
    /// Name of the context.
    context: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Name of the context.
    context: String,
    /// Do not ask whether its keys may be lost.
    #[arg(short, long)]
    yes: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Name of the context [default: where commands go now].
    context: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct PlainArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub async fn run(command: &ContextCommand) -> Result<(), Failure> {
    match command {
        ContextCommand::Add(args) => add(args).await,
        ContextCommand::Use(args) => choose(args),
        ContextCommand::List(args) => list(args),
        ContextCommand::Show(args) => show(args),
        ContextCommand::Remove(args) => remove(args),
    }
}

/// A name that needs no quotes anywhere.
fn name(text: &str) -> Result<String, String> {
    let legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    match !text.is_empty() && text.chars().all(legal) {
        true => Ok(text.to_owned()),
        false => Err("use letters, digits, '-', '_' and '.'".to_owned()),
    }
}

async fn add(args: &AddArgs) -> Result<(), Failure> {
    // A list of addresses that cannot be understood is refused here, and not with every later command.
    Client::connect(&args.nameserver).await?.close();
    let keys = match &args.access_key_file {
        Some(path) => Some(Keys::of_file(path)?),
        None if args.access_key_from_env => Some(Keys::of_environment()?.ok_or_else(|| {
            Failure::Arguments("THRUST_ACCESS_KEY and THRUST_SECRET_KEY are not set".to_owned())
        })?),
        None => None,
    };
    let mut contexts = Contexts::load()?;
    let context = Context { nameserver: args.nameserver.clone(), keys, tls: args.tls.encryption()? };
    let before = contexts.contexts.get(&args.context).and_then(|before| before.keys.as_ref());
    if let Some(before) = before.filter(|before| context.keys.as_ref() != Some(before)) {
        let lost =
            format!("context \"{}\" loses its copy of the keys of {}", args.context, before.access_key);
        consent(&lost, args.yes)?;
    }
    let changed = contexts.contexts.insert(args.context.clone(), context.clone()).is_some();
    if contexts.chosen().is_none() {
        contexts.chosen = Some(args.context.clone());
    }
    let chosen = contexts.chosen.as_deref() == Some(&args.context);
    let path = contexts.save()?;
    if args.json {
        let mut value = context_json(&args.context, &context, chosen);
        value["file"] = json!(path);
        return print_json(&value);
    }
    let what = if changed { "changed" } else { "added" };
    let now = if chosen { ", which commands use from now on" } else { "" };
    let told = format!("{what} context {}{now}; it is kept in {}", args.context, path.display());
    print_line(&told)
}

fn choose(args: &NameArgs) -> Result<(), Failure> {
    let mut contexts = Contexts::load()?;
    let context = contexts.named(&args.context)?.clone();
    contexts.chosen = Some(args.context.clone());
    contexts.save()?;
    if args.json {
        return print_json(&context_json(&args.context, &context, true));
    }
    print_line(&format!("commands go to context {}, {}", args.context, context.nameserver))
}

fn list(args: &PlainArgs) -> Result<(), Failure> {
    let contexts = Contexts::load()?;
    let chosen = contexts.chosen().map(|(name, _)| name);
    if args.json {
        let all = contexts.contexts.iter();
        return print_json(&all.map(|(name, one)| context_json(name, one, chosen == Some(name))).collect());
    }
    let mut table = Table::new(&["CONTEXT", "CHOSEN", "NAME SERVERS", "ACCESS KEY", "ENCRYPTED"]);
    for (name, context) in &contexts.contexts {
        let is_chosen = if chosen == Some(name) { "yes" } else { "" };
        table.row([
            name.clone(),
            is_chosen.to_owned(),
            context.nameserver.clone(),
            access_key(&context.keys),
            if context.tls.is_some() { "yes" } else { "no" }.to_owned(),
        ]);
    }
    print_table(&table, "there are no contexts; `thrust context add NAME --nameserver HOST:PORT` makes one")
}

fn show(args: &ShowArgs) -> Result<(), Failure> {
    let destination =
        Target { nameserver: None, context: args.context.clone(), json: args.json }.destination()?;
    let Destination { servers, keys, tls, source } = destination;
    if args.json {
        let context = match &source {
            Source::Context(name) => Some(name),
            _ => None,
        };
        return print_json(&json!({
            "context": context,
            "source": source.name(),
            "nameserver": servers,
            "accessKey": keys.map(|keys| keys.access_key),
            "tls": tls,
        }));
    }
    let from = match &source {
        Source::Context(name) => format!("context {name}"),
        other => other.name().to_owned(),
    };
    print_facts(&[
        ("name servers", servers),
        ("from", from),
        ("access key", access_key(&keys)),
        ("encryption", tls.as_ref().map_or("none".to_owned(), Encryption::told)),
    ])
}

fn remove(args: &RemoveArgs) -> Result<(), Failure> {
    let mut contexts = Contexts::load()?;
    let context = contexts.named(&args.context)?.clone();
    if let Some(keys) = &context.keys {
        let lost =
            format!("context \"{}\" goes with its copy of the keys of {}", args.context, keys.access_key);
        consent(&lost, args.yes)?;
    }
    let was_chosen = contexts.chosen.as_deref() == Some(&args.context);
    contexts.contexts.remove(&args.context);
    contexts.chosen = contexts.chosen.filter(|_| !was_chosen);
    contexts.save()?;
    if args.json {
        return print_json(&context_json(&args.context, &context, false));
    }
    let now = if was_chosen { "; no context is chosen now" } else { "" };
    print_line(&format!("removed context {}{now}", args.context))
}

fn access_key(keys: &Option<Keys>) -> String {
    keys.as_ref().map_or("-", |keys| keys.access_key.as_str()).to_owned()
}

fn context_json(name: &str, context: &Context, chosen: bool) -> serde_json::Value {
    json!({
        "context": name,
        "chosen": chosen,
        "nameserver": context.nameserver,
        "accessKey": context.keys.as_ref().map(|keys| &keys.access_key),
        "tls": context.tls,
    })
}
