//! Inspects a file before any connection that may write.
//!
//! Opening a database the ordinary way can change it: the first connection may switch on the write-ahead log,
//! the last one to close moves the log that a crash left behind into the file, and a log without its database
//! is deleted. So connections that can't write find out whether the file is a store:
//! - `immutable`: no locks, no log, nothing created. Sees the whole database if there is no log. With a log it
//!   still recognizes another program's database: the application id and whether there are any tables stand on
//!   one page.
//! - else `mode=ro`, which reads the log as well. It leaves nothing behind but the shared memory of the log
//!   (`-shm`), which holds no data.
//!
//! Both go through SQLite and not through `std::fs::File`: closing such a descriptor would drop the locks of
//! other connections of this process (<https://sqlite.org/howtocorrupt.html>, 2.2). Only
//! [`file_format`](super::file_format) reads the file itself, while this process does not have it open.
//!
//! A file whose header says that it is a store, with no log or journal beside it, needs no look: an ordinary connection
//! changes it only after it has read the schema.

use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::error::{class_of, from_io, from_text};
use super::file::{StoreFile, is_filled};
use super::file_format::{is_in_rollback_mode, is_marked, log_has_page};
use super::schema_state::read_schema_state;
use super::side_files::refuse_unsafe_files;
use super::space::page_size;
use super::transaction::read_transaction;
use crate::base::deadline::Deadline;
use crate::base::error::{Error, ErrorKind, Result, Source};
use crate::base::file_fault::FileFault;
use crate::base::operation::{OPEN, Operation};
use crate::base::query_error::ErrorClass;
use crate::base::schema_state::{SchemaState, SchemaVersion};

/// How often a file is inspected that seems to be damaged or unsafe. Another process may be moving the log into
/// the file and deleting it right now, or, as root, giving a new side file to the owner of the file.
const ATTEMPTS: u32 = 3;

/// Whether the file says that it is a store, and no log or journal is beside it. The connection that opens it finds out
/// whether that is true before it changes the file, and spares a look: each parses the schema.
pub(crate) fn seems_closed(file: &StoreFile) -> bool {
    let is_marked = || is_marked(file, length(file).ok()?).ok();
    !is_filled(&file.wal()) && !is_filled(&file.journal()) && is_marked() == Some(true)
}

/// Refuses a file that is no store, and leaves it as it is. The transaction that migrates asks again. Returns
/// false for a missing file, and one without a byte or a table.
pub(crate) fn refuse_other_files(
    file: &StoreFile,
    timeout: Duration,
    deadline: Deadline,
) -> Result<bool> {
    for _ in 1..ATTEMPTS {
        match inspect(file, timeout, deadline) {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Corrupt | ErrorKind::UnsafeFile { .. }
                ) =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
    inspect(file, timeout, deadline)
}

/// Returns whether there is a store, or a file that only a connection that may write can read.
fn inspect(file: &StoreFile, timeout: Duration, deadline: Deadline) -> Result<bool> {
    let path = file.path();
    refuse_unsafe_files(file)?;
    // The log before the file: a store that another process is making has a file before a log.
    let has_log = is_filled(&file.wal());
    let has_journal = || is_filled(&file.journal());
    let had_journal = has_journal();
    let length = length(file)?;
    match (length, has_log) {
        (0, false) => return Ok(false),
        // SQLite would delete the log as the rest of another database.
        (0, true) => {
            let text = "the file is missing or empty, but its write-ahead log is not";
            return Err(corrupt(file, text.into()));
        }
        // SQLite takes one byte for an empty file and would overwrite it (unixFileSize in os_unix.c).
        (1, _) => return Err(not_a_database(file, NO_DATABASE)),
        _ => {
            file.access()?;
        }
    }
    // A backup or another database, beside the log of a store: SQLite would read the log over it. The second
    // look at the log is for another program that has just ended it.
    if has_log
        && is_in_rollback_mode(file).map_err(|error| from_io(OPEN, path, error))?
        && is_filled(&file.wal())
    {
        return Err(ErrorKind::UnsafeFile {
            path: path.into(),
            fault: FileFault::OtherLog {
                wal: file.wal(),
                shm: file.shm(),
            },
        }
        .on(&Operation::on_store(OPEN)));
    }
    // The header tells a store from another program's database as well as a connection without the log.
    if has_log && is_marked(file, length).is_ok_and(|is_marked| is_marked) {
        return accept(file, length, read_state(file, "mode=ro", deadline), timeout);
    }
    let without_log = read_state(file, "mode=ro&immutable=1", deadline);
    let state = match without_log {
        Ok((ref state, _)) if state.version == SchemaVersion::Foreign => without_log,
        // In the middle of a transaction in rollback mode, running or dead. Only a connection that may write
        // can wait for it or roll it back, and asks again.
        _ if !has_log && (had_journal || has_journal()) => return Ok(true),
        _ if !has_log => without_log,
        Ok(_) => read_state(file, "mode=ro", deadline),
        // A file that seems to be damaged without its log may be whole with it. Reading the state looks at
        // the first page only, so check all of the file.
        Err(_) => read_state(file, "mode=ro", deadline).and_then(|state| {
            if state.0.is_readable() {
                quick_check(file, deadline)?;
            }
            Ok(state)
        }),
    };
    accept(file, length, state, timeout)
}

/// Returns whether a file of this length and state is a store, or refuses it.
fn accept(
    file: &StoreFile,
    length: u64,
    state: QueryResult<(SchemaState, u64)>,
    timeout: Duration,
) -> Result<bool> {
    let path = file.path();
    match state {
        Ok((state, page_size)) => {
            state.refuse(path)?;
            refuse_torn_end(file, length, page_size)?;
            Ok(state.version != SchemaVersion::Empty)
        }
        // There is a journal beside the log, because a power loss undid its removal. Only a connection that
        // may write can roll it back.
        Err(error) if class_of(&error) == ErrorClass::ReadOnly && is_filled(&file.journal()) => {
            Ok(true)
        }
        Err(error) => Err(match class_of(&error) {
            ErrorClass::NotADatabase => not_a_database(file, NO_DATABASE),
            ErrorClass::Other => corrupt(file, Box::new(error)),
            class => class
                .kind(timeout)
                .on(&Operation::on_file(OPEN, path))
                .with_source(error),
        }),
    }
}

/// Refuses a file that ends within a page, because SQLite would read zeros for the rest of the page. A power
/// loss
/// while the log is moved into the file leaves such a page, but then the log still has the whole page.
fn refuse_torn_end(file: &StoreFile, length: u64, page_size: u64) -> Result<()> {
    let last = length.div_ceil(page_size);
    // There may be no log.
    if length.is_multiple_of(page_size)
        || log_has_page(&file.wal(), last, page_size).is_ok_and(|has_page| has_page)
    {
        return Ok(());
    }
    let text =
        format!("its length of {length} bytes is no multiple of its page size of {page_size}");
    Err(corrupt(file, text.into()))
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

/// Returns the state of the schema, and the page size.
fn read_state(
    file: &StoreFile,
    parameters: &str,
    deadline: Deadline,
) -> QueryResult<(SchemaState, u64)> {
    read_transaction(&mut file.connect_to_read(parameters, deadline)?, |conn| {
        Ok((read_schema_state(conn)?, page_size(conn)?))
    })
}

/// Fails when the database is damaged. Reads all of it.
fn quick_check(file: &StoreFile, deadline: Deadline) -> QueryResult<()> {
    let mut conn = file.connect_to_read("mode=ro", deadline)?;
    let answer: String = sql::<Text>("PRAGMA quick_check(1)").get_result(&mut conn)?;
    match answer.as_str() {
        "ok" => Ok(()),
        _ => Err(from_text(answer)),
    }
}

const NO_DATABASE: &str = "is no SQLite database";

fn not_a_database(file: &StoreFile, reason: &'static str) -> Error {
    ErrorKind::NotAStore { reason }.on(&Operation::on_file(OPEN, file.path()))
}

fn corrupt(file: &StoreFile, source: Source) -> Error {
    ErrorKind::Corrupt
        .on(&Operation::on_file(OPEN, file.path()))
        .with_source(source)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Repo;

    #[test]
    fn only_a_closed_store_needs_no_look() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let backup = folder.path().join("backup.db");
        let seems_closed = |path: &Path| super::seems_closed(&StoreFile::new(path).unwrap());
        let repo = Repo::open(&path).unwrap();
        repo.backup(&backup).unwrap();
        assert!(!seems_closed(&path), "open here");
        assert!(!seems_closed(&backup), "in rollback mode");
        assert!(!seems_closed(&folder.path().join("none")));
        drop(repo);
        assert!(seems_closed(&path));
        for suffix in ["-wal", "-journal"] {
            let beside = folder.path().join(format!("store.db{suffix}"));
            fs::write(&beside, "1").unwrap();
            assert!(!seems_closed(&path), "{suffix}");
            fs::remove_file(beside).unwrap();
        }
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(!seems_closed(&path), "it ends within a page");
        for place in [0, 16, 18 + 1, 68] {
            let mut other = bytes.clone();
            other[place] ^= 0x55;
            fs::write(&path, other).unwrap();
            assert!(!seems_closed(&path), "{place}");
        }
    }
}
