//! `mqnamesrv` and `mqbroker`: our servers behind the flags of Java's start scripts.

use std::process::ExitCode;

use super::command::{fail, say};
use super::line::{self, Flag, Line, LineError, bare, flag};
use crate::logging::{self, LogFormat};
use crate::serve::{BrokerArgs, NameserverArgs, Plan, ServeError};

const NAMESERVER: &[Flag] =
    &[flag("c", "configFile", "a namesrv.conf"), bare("p", "printConfigItem", "print all settings and end")];

const BROKER: &[Flag] = &[
    flag("c", "configFile", "a broker.conf"),
    bare("p", "printConfigItem", "print all settings and end"),
    bare("m", "printImportantConfig", "print settings that were given and end"),
    bare("", "enable-proxy", "refused: there is no proxy"),
];

/// A program that the binary is when a link to it has this name.
pub fn by_name(program: &str) -> Option<fn(&[String]) -> ExitCode> {
    match program {
        "mqadmin" => Some(super::run),
        "mqnamesrv" => Some(nameserver),
        "mqbroker" => Some(broker),
        _ => None,
    }
}

fn nameserver(words: &[String]) -> ExitCode {
    start("mqnamesrv", NAMESERVER, words, |line| {
        Plan::nameserver(&NameserverArgs {
            config: line.value("c").map(Into::into),
            listen: None,
            port: None,
            data: None,
            set: line.rest.clone(),
            as_java: true,
        })
    })
}

fn broker(words: &[String]) -> ExitCode {
    start("mqbroker", BROKER, words, |line| {
        if line.has("enable-proxy") {
            let what = "--enable-proxy is not offered: there is no proxy here; start the broker without it";
            return Err(ServeError::Argument(what.to_owned()));
        }
        Plan::broker(&BrokerArgs {
            config: line.value("c").map(Into::into),
            nameservers: line.value("n").map(str::to_owned),
            data: None,
            advertise: None,
            set: line.rest.clone(),
            as_java: true,
        })
    })
}

fn start(
    program: &str,
    flags: &'static [Flag],
    words: &[String],
    plan: impl Fn(&Line) -> Result<Plan, ServeError>,
) -> ExitCode {
    let line = match line::parse(flags, words) {
        Ok(line) => line,
        Err(LineError::Help) => return say(&line::usage(program, flags)),
        Err(error) => {
            eprintln!("{error}");
            say(&line::usage(program, flags));
            return ExitCode::from(1);
        }
    };
    let run = plan(&line);
    if line.has("p") || line.has("m") {
        return match run {
            Ok(plan) => say(&plan.settings(line.has("m") && !line.has("p"))),
            Err(error) => fail(&format!("{program}: {error}"), 1),
        };
    }
    logging::start(LogFormat::Text);
    match run.and_then(Plan::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{program}: {error}"), 1),
    }
}
