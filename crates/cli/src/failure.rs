//! Prints errors and hints on standard error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::error::Error;
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::error::{ContextKind, ContextValue};
use turnkeep_admin::Error as AdminError;
use turnkeep_agents::{HookError, ImportError, ImportFailure, ImportWarning, RestoreError};
use turnkeep_model::{visible, visible_lines};
use turnkeep_recordings::Error as RecordingError;
use turnkeep_repo::{Error as RepoError, ErrorKind, may_be_address};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Makes an error of this program, with a hint.
pub(crate) fn with_hint(message: impl Into<String>, hint: &'static str) -> anyhow::Error {
    let message = message.into();
    Hinted { message, hint }.into()
}

#[derive(Debug)]
struct Hinted {
    message: String,
    hint: &'static str,
}

impl Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Hinted {}

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
    report(error);
    ExitCode::FAILURE
}

/// Prints a usage error or the help.
pub(crate) fn end_usage(mut error: clap::Error) -> ExitCode {
    show_arguments(&mut error);
    let text = error.render().ansi().to_string();
    // A closed output is not an error.
    let _ = match error.use_stderr() {
        true => anstream::stderr().write_all(text.as_bytes()),
        false => anstream::stdout().write_all(text.as_bytes()),
    };
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Escapes the arguments in an error of clap and hides addresses. Its own colours and line breaks stay.
fn show_arguments(error: &mut clap::Error) {
    let is_plain = |arg: &OsString| {
        let text = arg.to_string_lossy();
        !may_be_address(&*text) && matches!(visible(&text), Cow::Borrowed(_))
    };
    if std::env::args_os().all(|arg| is_plain(&arg)) {
        return;
    }
    let show = |text: &str| visible(&without_addresses(text.to_owned())).into_owned();
    let values = error.context().filter_map(|(kind, value)| {
        let shown = match value {
            // The usage contains no argument, but line breaks.
            _ if kind == ContextKind::Usage => return None,
            ContextValue::String(text) => ContextValue::String(show(text)),
            ContextValue::Strings(texts) => {
                ContextValue::Strings(texts.iter().map(|text| show(text)).collect())
            }
            ContextValue::StyledStr(text) => {
                ContextValue::StyledStr(show(&text.to_string()).into())
            }
            ContextValue::StyledStrs(texts) => ContextValue::StyledStrs(
                texts
                    .iter()
                    .map(|text| show(&text.to_string()).into())
                    .collect(),
            ),
            _ => return None,
        };
        Some((kind, shown))
    });
    for (kind, value) in values.collect::<Vec<_>>() {
        error.insert(kind, value);
    }
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

/// Hides the arguments that may be addresses, because an address may contain a password.
fn without_addresses(text: String) -> String {
    let args: Vec<String> = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    hide_addresses(text, &args)
}

fn hide_addresses(text: String, args: &[String]) -> String {
    let values = args.iter().flat_map(|arg| {
        let value = arg.strip_prefix("--").and_then(|arg| arg.split_once('='));
        [Some(arg.as_str()), value.map(|(_, value)| value)]
    });
    let addresses = values.flatten().filter(|value| may_be_address(value));
    addresses.fold(text, |text, address| {
        // Errors of the libraries contain it escaped.
        let text = text.replace(address, "<an address>");
        text.replace(&*visible(address), "<an address>")
    })
}

/// Prints the error with its causes and its hint.
pub(crate) fn report(error: &anyhow::Error) {
    say("error", ERROR, format_args!("{error:#}"));
    if let Some(hint) = hint(error) {
        say("hint", HINT, hint);
    }
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

fn hint(error: &anyhow::Error) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<Hinted>() {
        return Some(error.hint);
    }
    let warning = match error.downcast_ref() {
        Some(HookError::Removed(warning)) => Some(warning),
        _ => error.downcast_ref(),
    };
    if let Some(ImportWarning::GoesOn { .. }) = warning {
        return Some("`turnkeep removed lift` the task, and the next import brings it back");
    }
    let failure = error.downcast_ref::<ImportFailure>();
    let recording = match failure {
        Some(ImportFailure::Recording(error)) => Some(error),
        _ => error.downcast_ref(),
    };
    match recording {
        Some(RecordingError::UnknownFormat { .. }) => {
            return Some("`--format jsonl` imports a file of `turnkeep export`");
        }
        Some(RecordingError::Temporary { .. }) => {
            return Some("TMPDIR names another folder for temporary files");
        }
        Some(RecordingError::Busy { .. }) => return Some("import it again later"),
        _ => {}
    }
    let restore = error.downcast_ref::<RestoreError>();
    if let Some(hint) = restore.and_then(hint_of_restore) {
        return Some(hint);
    }
    let error = match error.downcast_ref() {
        Some(AdminError::Store(error)) => error,
        Some(AdminError::Conflict { .. }) => {
            return Some(
                "what only the destination has is not overwritten; if it is not worth keeping, \
                 `turnkeep task rm` the task there, or `turnkeep recording rm` only its files, and \
                 do it again",
            );
        }
        Some(AdminError::InvalidLine { .. }) => {
            return Some(
                "nothing of its task was stored, those before it are; importing again goes on from there",
            );
        }
        Some(_) => return Some("check that you may read and write the file and its folder"),
        None => match failure {
            Some(ImportFailure::Session {
                source: ImportError::Store(error),
                ..
            }) => error,
            _ => match restore {
                Some(RestoreError::Store(error)) => error,
                _ => error.downcast_ref::<RepoError>()?,
            },
        },
    };
    hint_of(error.kind(), error.operation(), error.source())
}

fn hint_of_restore(error: &RestoreError) -> Option<&'static str> {
    let hint = match error {
        RestoreError::UnknownAgent { .. } => "turnkeep knows the files of claude, codex and goose",
        RestoreError::NothingKept { .. } => {
            "`turnkeep session log` shows the sessions of the task, `turnkeep import` reads recordings"
        }
        RestoreError::NoWorkingDir { .. } => "name it with `--folder DIR`",
        RestoreError::Differs { .. } => {
            "`turnkeep import` stores what the file has; `--force` replaces it with the store's"
        }
        RestoreError::OtherCopy { .. } => {
            "the session went on there: `turnkeep import` stores it; with `--force` both are kept"
        }
        RestoreError::Changed { .. } => "is the agent running? Restore it again later",
        RestoreError::NotAFile { .. } => "no link below the agent's home is followed; move it away",
        RestoreError::Io { .. } | RestoreError::Database { .. } => {
            "check that you may read and write the file and its folder; `--home` names another home"
        }
        _ => return None,
    };
    Some(hint)
}

fn hint_of(
    kind: &ErrorKind,
    operation: &str,
    source: Option<&(dyn Error + 'static)>,
) -> Option<&'static str> {
    let hint = match kind {
        ErrorKind::TaskNotFound => {
            "`turnkeep list` shows the tasks there are, `turnkeep task add` makes one"
        }
        ErrorKind::SessionNotFound => {
            "`turnkeep session set` binds it to one, `turnkeep session log` shows earlier ones"
        }
        ErrorKind::BackendMismatch { .. } => "leave out `--backend` to see the session it has",
        ErrorKind::KeyConflict { .. } => {
            "a key names one message for ever; give the new one another key"
        }
        ErrorKind::SeqConflict { .. } => {
            "others keep appending to it; try again when they are done"
        }
        ErrorKind::DependencyNotFound { .. } => "save the tasks to wait for first",
        ErrorKind::Busy { .. } => {
            "another program is using the store; try again, or see who holds it (`fuser` for \
             a file, `pg_stat_activity` on a server)"
        }
        ErrorKind::Full => {
            "make room on the disk, or have the limit raised (`quota`, `ulimit -f`), and try again"
        }
        ErrorKind::ReadOnly => {
            "writing needs write access to the file and its folder; so does reading, where a log was \
             left behind without its shared memory (`-shm`)"
        }
        ErrorKind::Unavailable => {
            "is the server running, and the address right? Where a cluster is changing its leader, \
             try again"
        }
        ErrorKind::OutcomeUnknown => {
            "look whether it is there before you do it again; a message with a `--key` can be \
             appended again in any case"
        }
        // The reason names the feature only in a build without it.
        ErrorKind::Unsupported { reason } if reason.contains("the feature `postgres`") => {
            "`cargo install turnkeep --features postgres` builds it with that"
        }
        ErrorKind::Io if source.is_some_and(has_failed) => {
            "the disk may have failed, and the file may be whole all the same: see what the system's log \
             says, and copy the file and its `-wal` to another disk before anything else"
        }
        ErrorKind::Io => "check that you may read and write the file and its folder",
        ErrorKind::Corrupt => {
            "`turnkeep backup restore` puts a backup in its place; if it is a backup, take another one"
        }
        ErrorKind::UnsafeFile { fault, .. } => fault.advice(),
        ErrorKind::StoreNotFound if operation == "restore" => {
            "name a file that `turnkeep backup` has made"
        }
        ErrorKind::StoreNotFound => {
            "`turnkeep import` or `turnkeep task add` makes one, if the name is right"
        }
        ErrorKind::SchemaAltered { .. } if operation == "open" => {
            "`turnkeep check` names all that differs; undo it, or restore a backup"
        }
        ErrorKind::SchemaAltered { .. } => {
            "`turnkeep check` names all that differs; undo it, or `turnkeep export` what is there and \
             import it into a new store"
        }
        ErrorKind::RestoreUnfinished => {
            "`turnkeep backup restore` it again, from this or another backup; the old files that had \
             been moved are in the folder beside it whose name ends in `-replaced`"
        }
        ErrorKind::FileExists { .. } => "name a file that does not exist, or move that one away",
        ErrorKind::FileLost { .. } => {
            "someone deleted, moved or replaced it meanwhile; see what is there now, and try again"
        }
        ErrorKind::NotAStore { .. } => "choose another file; `--db` or TURNKEEP_DB names the store",
        ErrorKind::Denied => "docs/postgresql.md lists what a role has to be granted",
        ErrorKind::UntrustedOwner { .. } => {
            "name the role with `--owner` if it administers the store; another schema is named by \
             `?options=-csearch_path%3DSCHEMA` in the address"
        }
        ErrorKind::SchemaTooNew { .. } => "update turnkeep",
        _ => return None,
    };
    Some(hint)
}

/// Whether the text of the system, SQLite or a server says that the disk failed (EIO).
fn has_failed(source: &(dyn Error + 'static)) -> bool {
    let text = source.to_string().to_lowercase();
    text.contains("disk i/o error") || text.contains("input/output error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_not_repeated() {
        let hidden = |text: &str, arg: &str| hide_addresses(text.into(), &[arg.into()]);
        for address in [
            "postgres://u:secret@h/db",
            "postgres://u:s/e c\"ret@h",
            "postgres:/u:secret",
            "mysql://secret@",
            "host=h password=secret",
            "\tpostgres:/u:secret\u{202e}",
        ] {
            for (text, option) in [("no `ARG`.", ""), ("ARG, ARG", "--dü=")] {
                let repeated = text.replace("ARG", address);
                for repeated in [&*repeated, &visible(&repeated)] {
                    let shown = hidden(repeated, &format!("{option}{address}"));
                    assert_eq!(shown, text.replace("ARG", "<an address>"));
                }
            }
        }
        let without = "no store at store.db, https://example.com";
        for arg in ["store.db", "https://example.com", "://", "", "--db="] {
            assert_eq!(hidden(without, arg), without);
        }
    }

    #[test]
    fn a_disk_that_failed_is_told_from_a_file_that_can_not_be_opened() {
        let of = |source: &str| {
            let source = io::Error::other(source.to_owned());
            hint_of(&ErrorKind::Io, "get_history", Some(&source))
        };
        for source in ["disk I/O error", "Input/output error (os error 5)"] {
            let hint = of(source).unwrap();
            assert!(hint.starts_with("the disk may have failed, and the file may be whole"));
        }
        let hint = of("unable to open database file").unwrap();
        assert!(hint.starts_with("check that you may read and write"));
    }

    #[test]
    fn a_hint_is_found_below_any_context() {
        let missing = turnkeep_repo::Repo::builder("none.db")
            .create_if_missing(false)
            .open()
            .unwrap_err();
        let error = anyhow::Error::from(missing);
        let expected = hint(&error);
        assert!(expected.is_some());
        let error = error.context("a file").context("another");
        assert_eq!(hint(&error), expected);
        let error = with_hint("no store", "make one").context("a file");
        assert_eq!(hint(&error), Some("make one"));
        assert_eq!(hint(&anyhow::anyhow!("odd")), None);
    }
}
