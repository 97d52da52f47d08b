//! A look at a file before anything is opened for writing.
//!
//! Opening a database the ordinary way can change it: the first connection may turn on the
//! write-ahead log, the last one to close reads in a log that a crash left behind, and a log
//! without its database is deleted. So what a file is, is decided by connections that can't write:
//! - `immutable`: no locks, no log, nothing created. Without a log that is the whole truth. With
//!   one, "another program's" is still certain: the application id and whether there are any
//!   tables stand on one page, so they belong together.
//! - else `mode=ro`, which reads the log as well. It leaves nothing behind but the shared memory
//!   of the log (`-shm`), which holds no data.
//!
//! These looks go through SQLite and not through `std::fs::File`: closing such a descriptor would
//! drop the locks that other connections of this process hold
//! (<https://sqlite.org/howtocorrupt.html>, 2.2). Only the journal mode of a file with a log beside it, and
//! the page size of one that reads as damaged, are read from the [`header`](super::header), while this
//! process does not have the file open.

use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_query;
use diesel::sql_types::Text;

use super::error::{class_of, from_io};
use super::file::{StoreFile, is_filled};
use super::frames::has_page;
use super::header::{Header, header};
use super::side_files::refuse_unsafe_files;
use super::space::page_size;
use super::verdict::judge;
use super::{Conn, OPEN, transaction};
use crate::base::error::{Error, Result, Source};
use crate::base::file_fault::FileFault;
use crate::base::operation::{Call, Deadline};
use crate::base::query_error::ErrorClass;
use crate::base::schema_state::{Judgement, Verdict};
use turnkeep_model::visible_path;

/// How often a file that reads as damaged or unsafe is looked at. Another process may be moving the log
/// into the file and deleting it right now, or, as root, giving a new side file to the owner of the file.
const LOOKS: u32 = 3;

/// Refuses a file that is no store, leaving it as it is. Whether it still is one when it is opened
/// for good is asked once more then, in the transaction that migrates.
pub(crate) fn refuse_other_files(
    file: &StoreFile,
    timeout: Duration,
    deadline: Deadline,
) -> Result<Content> {
    let mut looks = 1;
    loop {
        match look(file, timeout, deadline) {
            Err(Error::Corrupt { .. } | Error::UnsafeFile { .. }) if looks < LOOKS => {
                looks += 1;
                thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// The content of a file that may be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// There is no file, or one without a byte, or a database without a table.
    Nothing,
    /// A store, or a file that only a connection which may write can read.
    Store,
}

fn look(file: &StoreFile, timeout: Duration, deadline: Deadline) -> Result<Content> {
    let path = file.path();
    refuse_unsafe_files(file)?;
    // The log before the file: a store that is being made right now has a file before a log.
    let has_log = is_filled(&file.wal());
    let has_journal = || is_filled(&file.journal());
    let had_journal = has_journal();
    let length = length(file)?;
    match (length, has_log) {
        (0, false) => return Ok(Content::Nothing),
        // SQLite would delete the log as left over from another database.
        (0, true) => {
            let text = "the file is missing or empty, but its write-ahead log is not";
            return Err(corrupt(file, text.into()));
        }
        // SQLite takes one byte for none and would write over it (unixFileSize in os_unix.c).
        (1, _) => return Err(not_a_database(file, NO_DATABASE)),
        _ => {
            file.access()?;
        }
    }
    if has_log {
        refuse_other_log(file)?;
    }
    let without_log = judge_file(file, "mode=ro&immutable=1", deadline);
    let judged = match without_log {
        Ok((ref judgement, _)) if judgement.verdict == Verdict::Foreign => without_log,
        // In the middle of a transaction of rollback mode, running or dead. Only a connection that
        // may write can wait for it or take it back; what the file is gets asked again then.
        _ if !has_log && (had_journal || has_journal()) => return Ok(Content::Store),
        _ if !has_log => without_log,
        // What reads as damaged without its log may be whole with it, or not: SQLite does not
        // look further than its first page.
        Err(_) => judge_file(file, "mode=ro", deadline).and_then(|judged| {
            if judged.0.is_readable() {
                quick_check(file, deadline)?;
            }
            Ok(judged)
        }),
        Ok(_) => judge_file(file, "mode=ro", deadline),
    };
    match judged {
        Ok((judgement, page_size)) => {
            judgement.refuse(path)?;
            refuse_torn_end(file, length, page_size)?;
            Ok(match judgement.verdict {
                Verdict::Empty => Content::Nothing,
                _ => Content::Store,
            })
        }
        // There is a journal beside the log: its removal did not survive a power loss. A connection
        // that can't write can't take it back either.
        Err(error) if class_of(&error) == ErrorClass::ReadOnly && has_journal() => {
            Ok(Content::Store)
        }
        Err(error) => {
            let kind = class_of(&error);
            // SQLite reads no schema of a file that is shorter than its header says.
            if matches!(kind, ErrorClass::Corrupt | ErrorClass::Other)
                && let Some(page_size) = read_header(file)?.and_then(|header| header.page_size)
            {
                refuse_torn_end(file, length, page_size)?;
            }
            Err(match kind {
                ErrorClass::NotADatabase => not_a_database(file, NO_DATABASE),
                ErrorClass::Other => corrupt(file, Box::new(error)),
                kind => kind.error(&Call::on_file(OPEN, path), timeout, Box::new(error)),
            })
        }
    }
}

/// Refuses a file that ends within a page, unless the whole page is in the log: SQLite would read zeros
/// for the rest of it. A power loss while a log is read into the file leaves such a page.
fn refuse_torn_end(file: &StoreFile, length: u64, page_size: u64) -> Result<()> {
    if length.is_multiple_of(page_size) {
        return Ok(());
    }
    let log = file.wal();
    match has_page(&log, length.div_ceil(page_size), page_size) {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(from_io(OPEN, &log, error)),
    }
    let text =
        format!("its length of {length} bytes is no multiple of its page size of {page_size}");
    Err(corrupt(file, text.into()))
}

/// Refuses a file beside the log of another database, which SQLite would read over it. Before the first
/// page is in a log the file says that it has one, and says so until the log is gone.
fn refuse_other_log(file: &StoreFile) -> Result<()> {
    let is_in_rollback_mode = read_header(file)?.is_some_and(|header| header.is_in_rollback_mode);
    // Another program may have just given the log up.
    if is_in_rollback_mode && is_filled(&file.wal()) {
        return Err(Error::UnsafeFile {
            operation: OPEN,
            path: file.path().into(),
            fault: FileFault::OtherLog {
                wal: file.wal(),
                shm: file.shm(),
            },
        });
    }
    Ok(())
}

fn read_header(file: &StoreFile) -> Result<Option<Header>> {
    header(file).map_err(|error| from_io(OPEN, file.path(), error))
}

/// Returns the length of the file, 0 when it is missing.
pub(super) fn length(file: &StoreFile) -> Result<u64> {
    match fs::metadata(file.path()) {
        Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
        Ok(metadata) if metadata.is_dir() => Err(not_a_database(file, "is a folder")),
        Ok(_) => Err(not_a_database(file, "is no regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(from_io(OPEN, file.path(), error)),
    }
}

pub(super) fn connect(file: &StoreFile, parameters: &str, deadline: Deadline) -> QueryResult<Conn> {
    let mut conn = file.connect(parameters).map_err(|error| {
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, Box::new(error.to_string()))
    })?;
    let millis = deadline.remaining().as_millis();
    conn.batch_execute(&format!("PRAGMA busy_timeout = {millis}"))?;
    Ok(conn)
}

/// Returns what the file is, and the size of its pages.
fn judge_file(
    file: &StoreFile,
    parameters: &str,
    deadline: Deadline,
) -> QueryResult<(Judgement, u64)> {
    transaction::look(&mut connect(file, parameters, deadline)?, |conn| {
        Ok((judge(conn)?, page_size(conn)?))
    })
}

/// Fails when the database is damaged. Reads all of it, so it is only for the doubtful.
fn quick_check(file: &StoreFile, deadline: Deadline) -> QueryResult<()> {
    #[derive(QueryableByName)]
    struct Answer {
        #[diesel(sql_type = Text)]
        quick_check: String,
    }

    let mut conn = connect(file, "mode=ro", deadline)?;
    let answer: Answer = sql_query("PRAGMA quick_check(1)").get_result(&mut conn)?;
    if answer.quick_check == "ok" {
        return Ok(());
    }
    Err(DieselError::DatabaseError(
        DatabaseErrorKind::Unknown,
        Box::new(answer.quick_check),
    ))
}

const NO_DATABASE: &str = "is no SQLite database";

fn not_a_database(file: &StoreFile, reason: &'static str) -> Error {
    Error::NotADatabase {
        operation: OPEN,
        path: file.path().into(),
        reason,
    }
}

fn corrupt(file: &StoreFile, source: Source) -> Error {
    Error::Corrupt {
        operation: OPEN,
        subject: visible_path(file.path()),
        source,
    }
}
