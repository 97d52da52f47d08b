//! The queries and writes, one file per table or rule. They name no engine: `Conn` and `Db` are types of the parent
//! module. The caller begins the transaction.
//!
//! Each connection prepares the statements of messages and sessions once.
//! Diesel prepares a statement again at each call unless it can prove that the text is constant, also upserts with
//! `do_update` and every `update`. Such a hot statement is a [`QueryFragment`] with a static id. SQLite prepares a
//! statement with a bound LIMIT again, so no hot statement has one.
//!
//! [`QueryFragment`]: diesel::query_builder::QueryFragment

pub(crate) mod activity;
pub(crate) mod append;
pub(crate) mod bulk;
pub(crate) mod check;
pub(crate) mod conversation;
pub(crate) mod dependencies;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod lease;
pub(crate) mod lease_end;
pub(crate) mod metadata_filter;
pub(crate) mod migration;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod prune;
pub(crate) mod recording;
pub(crate) mod recording_rows;
pub(crate) mod retraction;
pub(crate) mod session;
pub(crate) mod task;
pub(crate) mod task_list;
mod text_range;
pub(crate) mod usage;
pub(crate) mod written_files;

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use turnkeep_model::{MAX_TEXT_BYTES, Metadata, TaskId, UtcMicros};

pub(crate) use super::clock::database_clock;
use super::{Conn, Db, MIGRATIONS};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;

/// The most ids or rows in a statement: each id or column is a bound value, of which SQLite takes 32,766.
const MAX_IDS: usize = 1_000;

/// The most bytes of text in a page of more than one row.
const MAX_PAGE_BYTES: i64 = 4 * 1024 * 1024;

/// Sorts rows by their task.
fn by_task<T>(rows: impl IntoIterator<Item = (TaskId, T)>) -> HashMap<TaskId, Vec<T>> {
    let mut sorted: HashMap<TaskId, Vec<T>> = HashMap::new();
    for (task_id, row) in rows {
        sorted.entry(task_id).or_default().push(row);
    }
    sorted
}

/// Returns the bytes of these metadata.
fn length(metadata: Option<&Metadata>) -> usize {
    metadata.map_or(0, |it| it.as_str().len())
}

/// Returns how many of these sizes make a page, at least one.
fn fitting(sizes: impl Iterator<Item = i64>) -> usize {
    let mut sum = 0;
    let fitting = sizes.take_while(|bytes| {
        sum += bytes;
        sum <= MAX_PAGE_BYTES
    });
    fitting.count().max(1)
}

/// Names the damaged row after a query has failed, by reading each of the `ids` alone with `find`.
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

/// Fails unless the statement has written the expected number of rows. A foreign trigger, rule or policy can suppress
/// rows without an error.
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

/// Translates a foreign key violation of a row that refers only to its task.
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
