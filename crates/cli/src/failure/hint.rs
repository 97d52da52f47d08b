//! Hints: what to do about a failure.

use std::error::Error;

use turnkeep_admin::Error as AdminError;
use turnkeep_agents::{ImportWarning, RestoreError};
use turnkeep_recordings::Error as RecordingError;
use turnkeep_repo::ErrorKind;

use super::cause::Cause;

pub(super) fn hint(error: &anyhow::Error) -> Option<&'static str> {
    let hint = match Cause::of(error) {
        Cause::Problem(problem) => return problem.hint,
        Cause::Store(error) => return hint_of(error.kind(), error.operation(), error.source()),
        Cause::Restore(error) => return hint_of_restore(error),
        Cause::Warning(ImportWarning::GoesOn { .. }) => {
            "`turnkeep removed lift` the task, and the next import brings it back"
        }
        Cause::Recording(RecordingError::UnknownFormat { .. }) => {
            "`--format jsonl` imports a file of `turnkeep export`"
        }
        Cause::Recording(RecordingError::Temporary { .. }) => {
            "TMPDIR names another folder for temporary files"
        }
        Cause::Recording(RecordingError::Busy { .. }) => "try it again later",
        Cause::Admin(AdminError::Conflict { .. }) => {
            "what only the destination has is not overwritten; if it is not worth keeping, \
             `turnkeep task rm` the task there, or `turnkeep recording rm` only its files, and \
             do it again"
        }
        Cause::Admin(AdminError::InvalidLine { .. }) => {
            "nothing of its task was stored, those before it are; importing again goes on from there"
        }
        Cause::Admin(_) => "check that you may read and write the file and its folder",
        _ => return None,
    };
    Some(hint)
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
        // A reader has no use for a new task.
        ErrorKind::TaskNotFound if operation.starts_with("get_") => {
            "`turnkeep list` shows the tasks there are"
        }
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
        ErrorKind::Corrupt if source.is_some_and(is_left_log) => {
            "the log (`-wal`) belongs to a store that was moved or deleted without it: put the file back, or \
             delete the `-wal` and `-shm` of a store that you no longer need"
        }
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

/// Whether the file of a store is missing beside its log.
fn is_left_log(source: &(dyn Error + 'static)) -> bool {
    let text = source.to_string();
    text.contains("the file is missing or empty, but its write-ahead log is not")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::failure::with_hint;

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
}
