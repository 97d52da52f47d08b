//! A look at a file before anything is opened for writing.
//!
//! Opening a database the ordinary way can change it: the last connection to close checkpoints
//! a write-ahead log that a crash left behind, and a log without its database is deleted. So a
//! file is first read as `immutable`: no locks, no log, nothing created. That can be out of
//! date, but the two things asked for, application id and "has tables", stand on the same page,
//! so they always belong together. The reads go through SQLite and never through
//! `std::fs::File`: closing such a descriptor would drop the locks that other connections of
//! this process hold (<https://sqlite.org/howtocorrupt.html>, 2.2).

use std::fs;
use std::io;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Integer};

use super::error::{Kind, from_io};
use super::file::StoreFile;
use super::{Conn, OPEN};
use crate::error::{Error, Result, Source};

const NO_DATABASE: &str = "is no SQLite database";

#[derive(QueryableByName)]
struct ApplicationId {
    #[diesel(sql_type = Integer)]
    application_id: i32,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Refuses a file that can't be a store. Passing is no proof: what could not be told without
/// the log is told by [`migrate`](super::migrate), inside a transaction.
pub(crate) fn refuse_other_files(file: &StoreFile) -> Result<()> {
    let path = file.path();
    // The log before the file: a store that is being made right now has a file before a log.
    let has_log = fs::metadata(file.wal()).is_ok_and(|log| log.len() > 0);
    let length = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(metadata) => {
            let reason = if metadata.is_dir() {
                "is a folder"
            } else {
                "is no regular file"
            };
            return Err(Error::NotADatabase {
                operation: OPEN,
                path: path.into(),
                reason,
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(from_io(path, error)),
    };
    let is_empty = length == 0;
    if is_empty && has_log {
        // SQLite would delete the log as left over from another database.
        let source = "the file is missing or empty, but its write-ahead log is not".into();
        return Err(corrupt(file, source));
    }
    if is_empty {
        return Ok(());
    }
    if length == 1 {
        // SQLite takes one byte for none and would write over it (unixFileSize in os_unix.c).
        let reason = NO_DATABASE;
        return Err(Error::NotADatabase {
            operation: OPEN,
            path: path.into(),
            reason,
        });
    }
    match look(file) {
        Ok(Found::Ours | Found::Nothing) => Ok(()),
        Ok(Found::Foreign) => Err(Error::ForeignDatabase {
            operation: OPEN,
            path: path.into(),
        }),
        // A crash in the middle of a checkpoint; the log makes the file whole.
        Err(_) if has_log => Ok(()),
        Err(error) => match Kind::of(&error) {
            Kind::NotADatabase => {
                let reason = NO_DATABASE;
                Err(Error::NotADatabase {
                    operation: OPEN,
                    path: path.into(),
                    reason,
                })
            }
            _ => Err(corrupt(file, Box::new(error))),
        },
    }
}

enum Found {
    Ours,
    Foreign,
    Nothing,
}

fn look(file: &StoreFile) -> QueryResult<Found> {
    let mut conn = Conn::establish(&file.uri("mode=ro&immutable=1"))
        .map_err(|error| diesel::result::Error::QueryBuilderError(Box::new(error)))?;
    let id: ApplicationId = sql_query("PRAGMA application_id").get_result(&mut conn)?;
    if id.application_id == turnkeep_schema::SQLITE_APPLICATION_ID {
        return Ok(Found::Ours);
    }
    let tables = count_foreign_tables(&mut conn)?;
    Ok(if id.application_id == 0 && tables == 0 {
        Found::Nothing
    } else {
        Found::Foreign
    })
}

/// Counts tables other than the list of migrations, which the diesel CLI makes on its own.
pub(crate) fn count_foreign_tables(conn: &mut Conn) -> QueryResult<i64> {
    let count: Count = sql_query(
        "SELECT count(*) AS count FROM sqlite_master \
         WHERE type = 'table' AND name <> '__diesel_schema_migrations'",
    )
    .get_result(conn)?;
    Ok(count.count)
}

pub(crate) fn application_id(conn: &mut Conn) -> QueryResult<i32> {
    let id: ApplicationId = sql_query("PRAGMA application_id").get_result(conn)?;
    Ok(id.application_id)
}

fn corrupt(file: &StoreFile, source: Source) -> Error {
    Error::Corrupt {
        operation: OPEN,
        subject: file.path().display().to_string(),
        source,
    }
}
