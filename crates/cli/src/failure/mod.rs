//! Failures: their exit codes, and what standard error says.

mod cause;
mod hint;
mod kind;
mod usage;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::{Serializer, Value, json};
use turnkeep_model::{VisibleJson, visible, visible_lines};
use turnkeep_repo::TaskId;

pub(crate) use kind::{Code, Kind};
pub(crate) use usage::end_usage;

use cause::Cause;
use hint::hint;
use usage::without_addresses;

use crate::output::ClosedOutput;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// A failure that this program has found itself.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    message: String,
    task: Option<TaskId>,
    hint: Option<&'static str>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            task: None,
            hint: None,
        }
    }

    pub(crate) fn task(mut self, task: &TaskId) -> Self {
        self.task = Some(task.clone());
        self
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
    if is_closed_output(error) {
        return ExitCode::SUCCESS;
    }
    report(error).into()
}

/// Whether the reader of the output has left.
pub(crate) fn is_closed_output(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause
            .and_then(io::Error::get_ref)
            .is_some_and(|it| it.is::<ClosedOutput>())
    })
}

/// Whether the store, and not another file, is locked or its server away.
pub(crate) fn is_store_busy(error: &anyhow::Error) -> bool {
    matches!(Cause::of(error), Cause::Store(error) if error.is_retryable())
}

/// Escapes the text of panics, which may contain any value.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.to_string().replacen('\n', " ", 1);
        if is_json() {
            write_json(&json!({"error": Record::new("panic", message)}));
        } else {
            say("panic", ERROR, message);
        }
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured && !is_json() {
            let backtrace = backtrace.to_string();
            let _ = anstream::stderr().write_all(visible_lines(&backtrace).as_bytes());
        }
    }));
}

/// Prints the error with its causes and its hint. Returns the exit code of a command that fails with it.
pub(crate) fn report(error: &anyhow::Error) -> Code {
    let kind = Kind::of(error);
    let hint = hint(error);
    if is_json() {
        let cause = Cause::of(error);
        let mut record = Record::new(kind.name, format!("{error:#}"));
        record.operation = cause.operation();
        let task = cause.task().map(ToString::to_string);
        record.task = task.map(without_addresses);
        record.hint = hint.map(str::to_owned);
        record.retryable = kind.code == Code::Busy;
        write_json(&json!({ "error": record }));
        return kind.code;
    }
    say("error", ERROR, format_args!("{error:#}"));
    if let Some(hint) = hint {
        say("hint", HINT, hint);
    }
    kind.code
}

/// Prints the warning with its causes and its hint.
pub(crate) fn warn_of(warning: impl Into<anyhow::Error>) {
    let warning = warning.into();
    warn_with(&format!("{warning:#}"), hint(&warning));
}

pub(crate) fn warn(message: impl Display) {
    warn_with(&message.to_string(), None);
}

fn warn_with(message: &str, hint: Option<&str>) {
    if is_json() {
        let message = without_addresses(message.to_owned());
        write_json(&json!({"warning": {"message": message, "hint": hint}}));
        return;
    }
    say("warning", WARNING, message);
    if let Some(hint) = hint {
        say("hint", HINT, hint);
    }
}

/// Prints a remark for people: "no tasks".
pub(crate) fn note(message: impl Display) {
    let message = message.to_string();
    if is_json() {
        write_json(&json!({"note": {"message": message}}));
        return;
    }
    // There is no other place to report a closed standard error.
    let _ = writeln!(anstream::stderr(), "{}", visible(&message));
}

/// Prints one line. An agent may have chosen a name or id in the message: a line break in it must not start
/// another `hint:`.
fn say(what: &str, style: Style, message: impl Display) {
    let message = without_addresses(message.to_string());
    let message = visible(&message);
    let _ = writeln!(anstream::stderr(), "{style}{what}:{style:#} {message}");
}

/// An error with `--json`. README.md documents the fields.
#[derive(Serialize)]
struct Record {
    kind: &'static str,
    operation: Option<&'static str>,
    task: Option<String>,
    message: String,
    hint: Option<String>,
    retryable: bool,
}

impl Record {
    fn new(kind: &'static str, message: String) -> Self {
        Self {
            kind,
            operation: None,
            task: None,
            message: without_addresses(message),
            hint: None,
            retryable: false,
        }
    }
}

/// Whether messages are JSON. Set once for the process, because a panic is reported too.
static IS_JSON: AtomicBool = AtomicBool::new(false);

pub(crate) fn set_json(is_json: bool) {
    IS_JSON.store(is_json, Ordering::Relaxed);
}

fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// Writes one line at once, so that lines of several threads do not mix.
fn write_json(record: &Value) {
    let mut line = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut line, VisibleJson);
    if record.serialize(&mut serializer).is_ok() {
        line.push(b'\n');
        let _ = io::stderr().write_all(&line);
    }
}
