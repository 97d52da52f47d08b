//! Recognizes a write that failed at a limit: the quota of the user (EDQUOT), or the size limit of a file
//! (EFBIG).
//!
//! SQLite reports ENOSPC as a full disk, but EDQUOT and EFBIG as an I/O error, and Diesel passes on no error
//! code. So a small write asks the system again. ENOSPC does not count: where SQLite did not report it, a sync
//! failed, and the commit may be on the disk all the same. A local disk reports a limit at the write, before
//! the commit.

use std::fs;
use std::io::{self, Write as _};
use std::process;

use super::error::{FULL, class_of, from_text};
use super::file::{StoreFile, create_private_file};
use crate::base::error::{Error, ErrorKind};
use crate::base::query_error::{ErrorClass, QueryError};

/// More than SQLite writes in one call, so that a write of this size meets the limit that SQLite met.
const ROOM: u64 = 64 * 1024;

/// Replaces the I/O error of a write to the store that failed at a limit.
pub(super) fn full_disk_error(failure: QueryError, file: &StoreFile) -> QueryError {
    match failure {
        QueryError::Database(error) if class_of(&error) == ErrorClass::Io => QueryError::Database(
            no_room(file).map_or(error, |reason| from_text(format!("{FULL}: {reason}"))),
        ),
        failure => failure,
    }
}

/// As [`full_disk_error`], for the error of a whole call.
pub(super) fn error_if_full(error: Error, file: &StoreFile) -> Error {
    if *error.kind() == ErrorKind::Io
        && let Some(reason) = no_room(file)
    {
        return error.with_kind(ErrorKind::Full, reason);
    }
    error
}

/// Returns the limit that keeps the files of the store from growing, if there is one.
fn no_room(file: &StoreFile) -> Option<io::Error> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};

        let lengths = file
            .all()
            .map(|path| fs::metadata(path).map_or(0, |it| it.len()));
        let longest = lengths.into_iter().max().unwrap_or(0);
        if getrlimit(Resource::Fsize)
            .current
            .is_some_and(|limit| limit <= longest + ROOM)
        {
            return Some(io::ErrorKind::FileTooLarge.into());
        }
    }
    let beside = file.sibling(&format!("-room-{}", process::id()));
    let written =
        create_private_file(beside.path()).and_then(|mut file| file.write_all(&[0; ROOM as usize]));
    // The caller has an error to report already.
    let _ = fs::remove_file(beside.path());
    written.err().filter(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    })
}
