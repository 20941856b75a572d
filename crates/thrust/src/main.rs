//! The `thrust` binary: every part of the system under one name.

#[macro_use]
mod output;

mod bench;
mod failure;
mod help;
mod logging;
mod moment;
mod mqadmin;
mod operate;
mod serve;
mod store;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use logging::LogFormat;

/// ThrustMQ: an Apache RocketMQ compatible messaging system.
#[derive(Debug, Parser)]
#[command(name = "thrust", version, about, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    /// Form of the log on stderr.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong arguments or no consent (--yes gives it), 3 what was named is not there, \
4 nobody answered. `thrust doctor` and `thrust store` have codes of their own, which their pages tell.";

/// The same for a line that begins with a command of [`ServerCommand`]: what is to run for months, and to be there at
/// once, does not begin with the definitions of all other commands, which take more memory than the server.
#[derive(Debug, Parser)]
#[command(name = "thrust", version, propagate_version = true)]
struct ServerCli {
    /// Form of the log on stderr.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: ServerCommand,
}

#[derive(Debug, Subcommand)]
enum ServerCommand {
    /// Run a nameserver and a broker in one process: all that clients need.
    #[command(after_help = "\
Examples:
  thrust serve
  thrust serve --data ./thrust-data --set flushDiskType=SYNC_FLUSH
  thrust serve -c broker.conf

It prints one line when it is ready, and ends cleanly on SIGTERM or Ctrl-C.")]
    Serve(serve::ServeArgs),
    /// Run a nameserver.
    #[command(after_help = "Examples:\n  thrust nameserver --port 9876")]
    Nameserver(serve::NameserverArgs),
    /// Run a broker; with config or status, ask those that run.
    #[command(after_help = "\
Examples:
  thrust broker --nameserver 127.0.0.1:9876
  thrust broker -c broker.conf --nameserver 127.0.0.1:9876")]
    Broker(operate::broker::BrokerRunOrAsk),
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Server(ServerCommand),
    /// Measure a RocketMQ-compatible broker with raw pipelined frames.
    #[command(
        subcommand,
        after_help = "\
Examples:
  thrust bench send --secs 5
  thrust bench mixed --rate 2000 --secs 5

The bench speaks plain connections and signs nothing. With a context or an environment that says to encrypt, it refuses
to start unless the address of a broker is given."
    )]
    Bench(bench::Bench),
    /// Look at the files of a store that no broker works on, check them, repair them.
    #[command(
        subcommand,
        after_help = "Examples:\n  thrust store inspect thrust-data\n  thrust store verify thrust-data"
    )]
    Store(store::StoreCommand),
    /// Print completions of commands for a shell, such as `thrust completions bash > ~/.bash_completion`.
    #[command(after_help = "Examples:\n  thrust completions bash")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write those of all commands, such as `thrust man --dir /usr/local/share/man/man1`.
    #[command(after_help = "Examples:\n  thrust man\n  thrust man --dir pages")]
    Man {
        /// Write a page for every command into this directory instead.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Take the lines of the official administration tool as they are; without a line, list what there is.
    #[command(
        disable_help_flag = true,
        after_help = "Examples:\n  thrust mqadmin\n  thrust mqadmin help topicRoute\n  thrust mqadmin clusterList"
    )]
    Mqadmin {
        /// A command of mqadmin with its flags, such as topicRoute -n localhost:9876 -t orders.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "LINE")]
        line: Vec<String>,
    },
    /// Print docs/commands.md.
    #[command(hide = true)]
    Commands,
    #[command(flatten)]
    Operate(operate::OperateCommand),
}

fn main() -> ExitCode {
    if let Some(run) = called_as() {
        let words: Vec<String> =
            std::env::args_os().skip(1).map(|word| word.to_string_lossy().into()).collect();
        return run(&words);
    }
    let first = std::env::args_os().nth(1);
    if first.is_some_and(|word| word == "serve" || word == "nameserver" || word == "broker") {
        let ServerCli { log_format, command } = ServerCli::parse();
        return serve(log_format, &command);
    }
    let read = Cli::from_arg_matches(&help::grouped(Cli::command()).get_matches());
    let cli = read.unwrap_or_else(|error| error.exit());
    match &cli.command {
        Command::Server(command) => serve(cli.log_format, command),
        Command::Bench(bench) => bench::run(bench),
        Command::Store(command) => store::run(command),
        Command::Operate(command) => operate::run(command),
        Command::Completions { shell } => help::print_completions(*shell, Cli::command()),
        Command::Man { dir } => help::print_manual(dir.as_deref(), Cli::command()),
        Command::Mqadmin { line } => mqadmin::run(line),
        Command::Commands => help::print_page(Cli::command()),
    }
}

/// Runs a server, or asks one.
fn serve(log_format: LogFormat, command: &ServerCommand) -> ExitCode {
    let plan = match command {
        ServerCommand::Serve(args) => serve::Plan::serve(args),
        ServerCommand::Nameserver(args) => serve::Plan::nameserver(args),
        ServerCommand::Broker(args) => match &args.ask {
            Some(ask) => return operate::ask_brokers(ask),
            None => serve::Plan::broker(&args.run),
        },
    };
    logging::start(log_format);
    match plan.and_then(serve::Plan::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::screen::say(&format!("thrust: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// What a link to the binary makes it, by its name.
fn called_as() -> Option<fn(&[String]) -> ExitCode> {
    let program = std::env::args_os().next()?;
    mqadmin::servers::by_name(std::path::Path::new(&program).file_name()?.to_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn check(command: &clap::Command, name: &str) {
        let takes_json = command.get_arguments().any(|arg| arg.get_id() == "json");
        let listed = |name: &str| !help::fields::of(name).is_empty();
        // Works of the bench share a list.
        let family = name.split(' ').next().unwrap_or_default();
        assert!(!takes_json || listed(name) || listed(family), "what `{name} --json` prints is not listed");
        for inner in command.get_subcommands() {
            check(inner, format!("{name} {}", inner.get_name()).trim_start());
        }
    }

    /// Files with these names' ends below a directory, but for what builds have made.
    fn files(dir: &Path, ends: &[&str], found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                files(&path, ends, found);
            } else if ends.iter().any(|end| name.ends_with(end)) {
                found.push(path);
            }
        }
    }

    /// Commands between backticks, and in pages lines that are commands.
    fn named(text: &str, is_page: bool) -> Vec<String> {
        const TICKED: &str = concat!("`", "thrust ");
        // Texts of the program go on behind a backslash at the end of a line.
        let mut parts = text.split("\\\n");
        let mut joined = parts.next().unwrap_or_default().to_owned();
        parts.for_each(|part| joined.push_str(part.trim_start()));
        let told = joined.split(TICKED).skip(1).filter_map(|rest| Some(rest.split_once('`')?.0));
        let lines = if is_page { joined.lines() } else { "".lines() };
        let lines = lines.filter_map(|line| line.trim().strip_prefix("thrust "));
        let all = told.filter(|told| !told.contains('\n')).chain(lines);
        all.filter(|line| !line.starts_with(' ') && !line.starts_with("is ready"))
            .map(str::to_owned)
            .collect()
    }

    /// The words of a command as a shell takes them, up to where it goes elsewhere, with something for each `{place}`
    /// and `$(command)`.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word) = (vec!["thrust".to_owned()], String::new());
        let (mut quote, mut in_place) = (None, false);
        for letter in line.chars() {
            match letter {
                '{' | '$' => word.push('1'),
                _ if in_place => (),
                '\'' | '"' if quote.is_none() => quote = Some(letter),
                _ if quote == Some(letter) => quote = None,
                _ if quote.is_some() => word.push(letter),
                '>' | '|' | '#' | '…' => break,
                ' ' if word.is_empty() => (),
                ' ' => words.push(std::mem::take(&mut word)),
                _ => word.push(letter),
            }
            in_place = (in_place || matches!(letter, '{' | '$')) && !matches!(letter, '}' | ')');
        }
        words.extend((!word.is_empty()).then_some(word));
        // Capitals stand for what people put there.
        let is_place = |word: &String| word.chars().all(|letter| letter.is_ascii_uppercase());
        words.into_iter().map(|word| if is_place(&word) { "1".to_owned() } else { word }).collect()
    }

    #[test]
    fn every_command_that_is_named_anywhere_is_one() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut found = Vec::new();
        files(&root.join("docs"), &[".md"], &mut found);
        files(&root.join("crates"), &[".rs", ".md"], &mut found);
        found.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root.join(name)));
        let (mut seen, mut wrong) = (0, String::new());
        for path in found.iter().filter(|path| !path.components().any(|part| part.as_os_str() == "tests")) {
            let text = std::fs::read_to_string(path).unwrap();
            for line in named(&text, path.extension().is_some_and(|end| end == "md")) {
                use clap::error::ErrorKind as Kind;
                seen += 1;
                let words = words(&line);
                let Err(error) = Cli::command().try_get_matches_from(&words) else { continue };
                // Sentences name commands without what these need.
                let is_whole = [
                    Kind::MissingRequiredArgument,
                    Kind::MissingSubcommand,
                    Kind::DisplayHelp,
                    Kind::DisplayVersion,
                    Kind::DisplayHelpOnMissingArgumentOrSubcommand,
                ];
                if !is_whole.contains(&error.kind()) {
                    wrong += &format!("{}: {words:?}: {error}\n", path.display());
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
        assert!(seen > 200, "only {seen} are found");
    }

    #[test]
    fn every_command_that_prints_json_has_its_fields_listed() {
        check(&Cli::command(), "");
    }
}
