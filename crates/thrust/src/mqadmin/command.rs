//! A command as its family's file declares it, and how a run of it ends.

use std::pin::Pin;
use std::process::ExitCode;

use super::call::{Call, Failure};
use super::line::{self, Flag, Line};
use crate::output::screen::print;

/// The work of a command.
pub type Work<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

/// One command.
pub struct Command {
    pub name: &'static str,
    pub about: &'static str,
    pub flags: &'static [Flag],
    /// How it differs from the official tool, in a sentence; empty where it does not.
    pub differs: &'static str,
    /// Does it.
    pub run: for<'a> fn(&'a Call) -> Work<'a>,
}

impl Command {
    /// Runs it to an exit code.
    pub fn perform(&self, line: Line) -> ExitCode {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(cause) => return fail(&format!("mqadmin: cannot start: {cause}"), 3),
        };
        let result = runtime.block_on(async {
            let call = Call::new(line).await?;
            (self.run)(&call).await
        });
        match result {
            Ok(()) | Err(Failure::PipeClosed) => ExitCode::SUCCESS,
            Err(Failure::Incomplete) => {
                say(&line::usage(&format!("mqadmin {}", self.name), self.flags));
                ExitCode::from(1)
            }
            Err(failure) => {
                fail(&format!("mqadmin: {} command failed: {failure}", self.name), failure.code())
            }
        }
    }
}

/// Prints text; a reader who has gone is no failure.
pub fn say(text: &str) -> ExitCode {
    match print(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit_code(),
    }
}

/// Says on stderr what went wrong.
pub fn fail(text: &str, code: u8) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(code)
}
