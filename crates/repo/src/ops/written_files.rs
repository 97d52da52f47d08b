//! The files that tasks write, as locks: of the tasks that write a file, one is given out at a time.
//!
//! A running task holds its files until its status changes or its lease is over. Two transactions that claim at the
//! same moment don't see each other's claims, so each first locks the files of its tasks and then reads which are
//! held.

use std::collections::{BTreeSet, HashSet};

use diesel::connection::DefaultLoadingMode;
use diesel::dsl::not;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use turnkeep_model::{FileList, TaskId, TaskStatus};
use turnkeep_schema::tasks;

use super::super::written_files::{lock as wait_for, try_lock};
use super::Conn;
use super::lease_end::lease_is_over;
use crate::base::error::ErrorKind;
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;

/// The number of locks that all files share. A server has some thousand for all transactions together.
const LOCKS: u32 = 256;

/// Returns the numbers of the locks of these files.
fn locks_of<'a>(files: impl IntoIterator<Item = &'a String>) -> BTreeSet<i32> {
    let number = |file: &String| (crc32fast::hash(file.as_bytes()) % LOCKS).cast_signed();
    files.into_iter().map(number).collect()
}

/// Returns the files that running tasks hold. Leaves out lists that can't be read, which must not stop other tasks.
pub(crate) fn held_files(conn: &mut Conn) -> QueryResult<HashSet<String>> {
    let lists = tasks::table
        .filter(tasks::status.eq(TaskStatus::Running))
        .filter(tasks::writes_files.ne("[]"))
        .filter(tasks::lease_ends_at.is_null().or(not(lease_is_over())))
        .select(tasks::writes_files)
        .load_iter::<FileList, DefaultLoadingMode>(conn)?;
    let mut held = HashSet::new();
    for list in lists {
        match list {
            Ok(list) => held.extend(Vec::try_from(list).unwrap_or_default()),
            Err(DieselError::DeserializationError(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}

/// Waits until no other transaction claims a task that writes one of the files, and keeps that from happening until
/// this transaction ends.
pub(crate) fn lock_files(conn: &mut Conn, files: &[String]) -> QueryResult<()> {
    match files.is_empty() {
        true => Ok(()),
        false => wait_for(conn, &locks_of(files)),
    }
}

/// Whether no running task holds one of these files.
pub(crate) fn are_free(conn: &mut Conn, files: &[String]) -> QueryResult<bool> {
    if files.is_empty() {
        return Ok(true);
    }
    let held = held_files(conn)?;
    Ok(!files.iter().any(|file| held.contains(file)))
}

/// Returns the list of the files of a task.
pub(crate) fn read_files(call: Operation<'_>, list: FileList) -> Result<Vec<String>, QueryError> {
    Vec::try_from(list).map_err(|error| {
        let corrupt = ErrorKind::Corrupt.on(&call).in_part("the list of files");
        QueryError::Refused(corrupt.with_source(error))
    })
}

/// The files of tasks that one transaction claims.
#[derive(Default, Clone)]
pub(crate) struct ClaimedFiles {
    locked: BTreeSet<i32>,
    held: HashSet<String>,
}

impl ClaimedFiles {
    /// Locks the files of these tasks, apart from the ones that another transaction has locked, and reads which are
    /// held.
    pub(crate) fn lock(
        &mut self,
        conn: &mut Conn,
        tasks: &[(TaskId, Vec<String>)],
    ) -> QueryResult<()> {
        let locks = locks_of(tasks.iter().flat_map(|(_, files)| files));
        if !locks.is_empty() {
            self.locked.extend(try_lock(conn, &locks)?);
            self.held.extend(held_files(conn)?);
        }
        Ok(())
    }

    /// Takes the files for a task if all are locked and free; returns whether they were.
    pub(crate) fn take(&mut self, files: &[String]) -> bool {
        let is_free = locks_of(files).is_subset(&self.locked)
            && !files.iter().any(|file| self.held.contains(file));
        if is_free {
            self.held.extend(files.iter().cloned());
        }
        is_free
    }
}
