//! Failures: their exit codes, and what standard error says.

mod cause;
mod hint;
mod kind;
mod usage;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use turnkeep_agents::ImportWarning;
use turnkeep_model::{visible, visible_lines};

pub(crate) use kind::{Code, Kind};
pub(crate) use usage::end_usage;

use hint::hint;
use usage::without_addresses;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// A failure that this program has found itself.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    message: String,
    hint: Option<&'static str>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// Makes an error of no special kind, with a hint.
pub(crate) fn with_hint(message: impl Into<String>, hint: &'static str) -> anyhow::Error {
    Problem::new(Kind::FAILED, message).hint(hint).into()
}

/// Reports the error and returns the exit code. A closed standard output is not an error.
pub(crate) fn end(error: &anyhow::Error) -> ExitCode {
    let is_broken_pipe = error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    });
    if is_broken_pipe {
        return ExitCode::SUCCESS;
    }
    report(error).into()
}

/// Escapes the text of panics, which may contain any value.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        say("panic", ERROR, panic.to_string().replacen('\n', " ", 1));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            let backtrace = backtrace.to_string();
            let _ = anstream::stderr().write_all(visible_lines(&backtrace).as_bytes());
        }
    }));
}

/// Prints the error with its causes and its hint. Returns the exit code of a command that fails with it.
pub(crate) fn report(error: &anyhow::Error) -> Code {
    say("error", ERROR, format_args!("{error:#}"));
    if let Some(hint) = hint(error) {
        say("hint", HINT, hint);
    }
    Kind::of(error).code
}

/// Prints the warning with its causes and its hint.
pub(crate) fn warn_of(warning: ImportWarning) {
    let warning = anyhow::Error::from(warning);
    warn(format_args!("{warning:#}"));
    if let Some(hint) = hint(&warning) {
        say("hint", HINT, hint);
    }
}

pub(crate) fn warn(message: impl Display) {
    say("warning", WARNING, message);
}

/// Prints one line. An agent may have chosen a name or id in the message: a line break in it must not start
/// another `hint:`.
fn say(what: &str, style: Style, message: impl Display) {
    let message = without_addresses(message.to_string());
    let message = visible(&message);
    // There is no other place to report a closed standard error.
    let _ = writeln!(anstream::stderr(), "{style}{what}:{style:#} {message}");
}
