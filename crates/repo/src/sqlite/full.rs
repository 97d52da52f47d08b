//! Whether a write failed because a limit was reached: the quota of the user (EDQUOT), or the size that a
//! file may have (EFBIG).
//!
//! SQLite reports ENOSPC as a full disk, but EDQUOT and EFBIG as an I/O error, and Diesel passes on no error
//! code. So a small write asks the system again. ENOSPC is left out: where SQLite did not report it, a sync
//! failed, and the commit may be on the disk all the same. A local disk reports a limit at the write, before
//! the commit.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::process;

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::error::{FULL, class_of};
use super::file::{StoreFile, create_private_file};
use crate::base::error::Error;
use crate::base::query_error::{ErrorClass, QueryError};

/// More than SQLite writes in one call, so that a write of this size meets the limit that SQLite met.
const ROOM: u64 = 64 * 1024;

/// Replaces the error of a write to the store that failed because a limit was reached.
pub(super) fn told_if_full(failure: QueryError, file: &StoreFile) -> QueryError {
    match failure {
        QueryError::Database(error) if class_of(&error) == ErrorClass::Io => {
            QueryError::Database(no_room(file).map_or(error, |reason| {
                let text = format!("{FULL}: {reason}");
                DieselError::DatabaseError(DatabaseErrorKind::Unknown, Box::new(text))
            }))
        }
        failure => failure,
    }
}

/// As [`told_if_full`], for the error of a whole call.
pub(super) fn error_if_full(error: Error, file: &StoreFile) -> Error {
    match error {
        Error::Io {
            operation,
            subject,
            source,
        } => match no_room(file) {
            Some(reason) => Error::Full {
                operation,
                subject,
                source: reason.into(),
            },
            None => Error::Io {
                operation,
                subject,
                source,
            },
        },
        error => error,
    }
}

/// Returns the limit that keeps the files of the store from growing, if there is one.
fn no_room(file: &StoreFile) -> Option<io::Error> {
    if let Some(limit) = largest_file()
        && limit <= longest(file) + ROOM
    {
        return Some(io::ErrorKind::FileTooLarge.into());
    }
    let beside = file.sibling(&format!("-room-{}", process::id()));
    let written = write_to(beside.path());
    // An error of the one call is on its way; this file has nothing in it that anyone needs.
    let _ = fs::remove_file(beside.path());
    written.err().filter(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    })
}

fn write_to(path: &Path) -> io::Result<()> {
    let mut file: File = create_private_file(path)?;
    file.write_all(&[0; ROOM as usize])
}

/// Returns the length of the longest file of the store.
fn longest(file: &StoreFile) -> u64 {
    let lengths = file
        .all()
        .map(|path| fs::metadata(path).map_or(0, |it| it.len()));
    lengths.into_iter().max().unwrap_or(0)
}

/// Returns how long this process may make a file (`RLIMIT_FSIZE`).
#[cfg(unix)]
fn largest_file() -> Option<u64> {
    use rustix::process::{Resource, getrlimit};

    getrlimit(Resource::Fsize).current
}

#[cfg(not(unix))]
fn largest_file() -> Option<u64> {
    None
}
