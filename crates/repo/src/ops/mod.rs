//! The queries, one file per aggregate. They name no engine: `Conn` and `Db` are whatever the
//! parent module says they are. Transactions are begun by the caller.
//!
//! Each connection prepares the statements of messages and sessions once.
//! Diesel prepares anew at each call what it can't prove to be always the same text, upserts with
//! `do_update` and every `update` among them: where such a statement is hot it is a
//! [`QueryFragment`] with a static id. SQLite itself does so for a bound LIMIT: nothing hot has
//! one.
//!
//! [`QueryFragment`]: diesel::query_builder::QueryFragment

pub(crate) mod append;
pub(crate) mod bulk;
pub(crate) mod check;
pub(crate) mod history;
pub(crate) mod lease;
pub(crate) mod migration;
pub(crate) mod prune;
pub(crate) mod session;
pub(crate) mod task;
pub(crate) mod usage;

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use turnkeep_model::{MAX_TEXT_BYTES, TaskId, UtcMicros};

pub(crate) use super::clock::database_clock;
pub(crate) use super::space::return_space;
use super::{Conn, Db, MIGRATIONS};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;

/// Says which of many rows can't be read, by reading each of them alone: `find` gets the row of one
/// of the `ids`. Only for when that has gone wrong, so it may be slow.
fn name_damaged<T>(
    error: DieselError,
    conn: &mut Conn,
    call: Operation<'_>,
    ids: QueryResult<Vec<TaskId>>,
    find: impl Fn(&mut Conn, &TaskId) -> QueryResult<Option<T>>,
) -> QueryError {
    if let (DieselError::DeserializationError(_), Ok(ids)) = (&error, ids) {
        for id in ids {
            if let Err(DieselError::DeserializationError(source)) = find(conn, &id) {
                return QueryError::Refused(
                    ErrorKind::Corrupt
                        .on(&call.about(&id))
                        .in_part("the row")
                        .with_source(source),
                );
            }
        }
    }
    error.into()
}

/// Fails unless all rows that a statement was to write were written. A database that takes fewer and
/// reports no error has a trigger, a rule or a policy that is not the store's.
pub(crate) fn all_written(
    written: usize,
    expected: usize,
    table: &'static str,
) -> Result<(), QueryError> {
    match written == expected {
        true => Ok(()),
        false => Err(not_written(table)),
    }
}

pub(crate) fn not_written(table: &'static str) -> QueryError {
    QueryError::altered(format!(
        "it has left out rows of `{table}` that were to be written, without an error"
    ))
}

/// Reads a foreign key that was refused, in a row whose only one is its task.
pub(crate) fn task_not_found(
    error: DieselError,
    call: Operation<'_>,
    task_id: &TaskId,
) -> QueryError {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _) => {
            QueryError::Refused(ErrorKind::TaskNotFound.on(&call.about(task_id)))
        }
        error => error.into(),
    }
}

/// Returns the clock's time.
pub(crate) fn now(clock: &Clock, operation: &'static str) -> Result<UtcMicros> {
    UtcMicros::new(clock()).map_err(|error| Error::invalid(operation, error.field, error.reason))
}

/// Refuses a text that is too long.
fn check_text(operation: &'static str, field: &'static str, text: &str) -> Result<()> {
    if text.len() <= MAX_TEXT_BYTES {
        return Ok(());
    }
    Err(Error::invalid(
        operation,
        field,
        format!(
            "is {} bytes long, at most {MAX_TEXT_BYTES} are allowed",
            text.len()
        ),
    ))
}
