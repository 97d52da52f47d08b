//! What imports have read, and sessions that they leave out.

use std::slice;

use diesel::dsl::exists;
use diesel::prelude::*;
use turnkeep_model::{
    BackendType, HostName, ImportedFile, Metadata, RemovedSession, SessionId, TaskId, UtcMicros,
};
use turnkeep_schema::{
    imported_files as files, removed_sessions as removed, session_revisions as revisions,
};

use super::session::revisions_of;
use super::task::{delete, lock_whole};
use super::task_list::summaries;
use super::{Conn, all_written, database_clock, now};
use crate::base::error::{Error, Result};
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::base::task_list::TaskSummary;
use crate::commit::write::Write;

/// Inserts the file, or replaces what is stored of it.
pub(crate) struct SaveImportedFile {
    pub(crate) file: ImportedFile,
}

impl Write<Conn> for SaveImportedFile {
    type Output = ();

    fn call(&self) -> Operation<'_> {
        Operation::on_store("save_imported_file")
    }

    fn check(&self) -> Result<()> {
        let refused = |error: turnkeep_model::InvalidValue| {
            Error::invalid(self.call().name, error.field, error.reason)
        };
        self.file.check().map_err(refused)
    }

    fn run(&mut self, conn: &mut Conn, _: &Clock) -> Result<(), QueryError> {
        let written = diesel::insert_into(files::table)
            .values(&self.file)
            .on_conflict((files::host, files::path))
            .do_update()
            .set(&self.file)
            .execute(conn)?;
        all_written(written, 1, "imported_files")
    }
}

pub(crate) fn files_of(conn: &mut Conn, host: &HostName) -> QueryResult<Vec<ImportedFile>> {
    files::table
        .filter(files::host.eq(host))
        .order(files::path)
        .select(ImportedFile::as_select())
        .load(conn)
}

/// Forgets the files of the sessions that a task is or was bound to.
pub(crate) fn forget_files(conn: &mut Conn, task_id: &TaskId) -> QueryResult<()> {
    for (_, backend_type, session_id, _) in bound_sessions(conn, slice::from_ref(task_id))? {
        let of_agent = files::table.filter(files::backend_type.eq(&backend_type));
        diesel::delete(of_agent.filter(files::session_id.eq(session_id))).execute(conn)?;
        diesel::delete(of_agent.filter(files::session_id.is_null())).execute(conn)?;
    }
    Ok(())
}

/// Deletes a task and records its sessions as removed; returns whether there was one.
pub(crate) struct RemoveTask {
    pub(crate) id: TaskId,
}

impl Write<Conn> for RemoveTask {
    type Output = bool;

    fn call(&self) -> Operation<'_> {
        Operation::on_task("remove_task", &self.id)
    }

    fn may_take_long(&self) -> bool {
        true
    }

    fn run(&mut self, conn: &mut Conn, clock: &Clock) -> Result<bool, QueryError> {
        let now = now(clock, self.call().name)?;
        let is_there = lock_whole(conn, &self.id)?;
        if is_there {
            remove(conn, &self.id, now)?;
        }
        Ok(is_there)
    }
}

/// Removes a task if it is still as it was listed; returns whether it was.
pub(crate) fn remove_unchanged(conn: &mut Conn, task: &TaskSummary) -> Result<bool, QueryError> {
    // Waits for concurrent writes to the task before it compares.
    let is_unchanged = lock_whole(conn, &task.id)?
        && summaries(conn, slice::from_ref(&task.id))?.get(&task.id) == Some(task);
    if is_unchanged {
        let now = database_clock(conn)?;
        remove(conn, &task.id, now)?;
    }
    Ok(is_unchanged)
}

/// Deletes a task that is locked, and records its sessions as removed.
fn remove(conn: &mut Conn, id: &TaskId, now: UtcMicros) -> Result<(), QueryError> {
    let bound = bound_sessions(conn, slice::from_ref(id))?;
    delete(conn, id)?;
    for (task_id, backend_type, session_id, _) in bound {
        record_removal(conn, &task_id, &backend_type, &session_id, now)?;
    }
    Ok(())
}

type Bound = (TaskId, BackendType, SessionId, Option<Metadata>);

/// Returns the sessions that these tasks are or were bound to.
fn bound_sessions(conn: &mut Conn, ids: &[TaskId]) -> QueryResult<Vec<Bound>> {
    revisions::table
        .filter(revisions::task_id.eq_any(ids))
        .select((
            revisions::task_id,
            revisions::backend_type,
            revisions::session_id,
            revisions::metadata,
        ))
        .load(conn)
}

/// The key in the metadata of a binding that an import has made.
const IMPORTED_FROM: &str = "imported_from";

/// Returns the sessions that imports have bound to these tasks.
pub(crate) fn imported_sessions(conn: &mut Conn, ids: &[TaskId]) -> QueryResult<Vec<Bound>> {
    let mut bound = bound_sessions(conn, ids)?;
    let is_imported = |metadata: &Metadata| metadata.as_str().contains(IMPORTED_FROM);
    bound.retain(|(.., metadata)| metadata.as_ref().is_some_and(is_imported));
    Ok(bound)
}

/// Puts a session of a removed task on record, in place of an earlier removal. A session that another task has is in
/// use.
pub(crate) fn record_removal(
    conn: &mut Conn,
    task_id: &TaskId,
    backend_type: &BackendType,
    session_id: &SessionId,
    now: UtcMicros,
) -> Result<(), QueryError> {
    if is_bound(conn, backend_type, session_id)? {
        return Ok(());
    }
    let by = (removed::task_id.eq(task_id), removed::removed_at.eq(now));
    let written = diesel::insert_into(removed::table)
        .values((
            removed::backend_type.eq(backend_type),
            removed::session_id.eq(session_id),
            by,
        ))
        .on_conflict((removed::backend_type, removed::session_id))
        .do_update()
        .set(by)
        .execute(conn)?;
    all_written(written, 1, "removed_sessions")
}

fn is_bound(
    conn: &mut Conn,
    backend_type: &BackendType,
    session_id: &SessionId,
) -> QueryResult<bool> {
    let tasks = revisions_of(conn, backend_type, session_id)?;
    Ok(tasks.iter().any(|(_, is_bound)| *is_bound))
}

/// Forgets that the sessions of a task were removed; returns how many those were.
pub(crate) struct LiftRemoval {
    pub(crate) task_id: TaskId,
}

impl Write<Conn> for LiftRemoval {
    type Output = u64;

    fn call(&self) -> Operation<'_> {
        Operation::on_task("lift_removal", &self.task_id)
    }

    fn run(&mut self, conn: &mut Conn, _: &Clock) -> Result<u64, QueryError> {
        let of_task = removed::table.filter(removed::task_id.eq(&self.task_id));
        Ok(diesel::delete(of_task).execute(conn)? as u64)
    }
}

pub(crate) fn removed_sessions(conn: &mut Conn) -> QueryResult<Vec<RemovedSession>> {
    removed::table
        .order((
            removed::removed_at.desc(),
            removed::backend_type,
            removed::session_id,
        ))
        .select(RemovedSession::as_select())
        .load(conn)
}

/// Returns the removed sessions after one, in order of their agents and ids, at most `limit`.
pub(crate) fn removed_page(
    conn: &mut Conn,
    after: Option<&RemovedSession>,
    limit: i64,
) -> QueryResult<Vec<RemovedSession>> {
    let mut page = removed::table.into_boxed();
    if let Some(last) = after {
        let same_agent = removed::backend_type.eq(last.backend_type.clone());
        let later = same_agent.and(removed::session_id.gt(last.session_id.clone()));
        page = page.filter(
            removed::backend_type
                .gt(last.backend_type.clone())
                .or(later),
        );
    }
    page.order((removed::backend_type, removed::session_id))
        .limit(limit)
        .select(RemovedSession::as_select())
        .load(conn)
}

/// Returns the sessions among these that are not on record as removed then or later, and that no task has.
pub(crate) fn lacking(
    conn: &mut Conn,
    sessions: &[RemovedSession],
) -> QueryResult<Vec<RemovedSession>> {
    let mut lacking = Vec::new();
    for it in sessions {
        let stored = removed::table
            .find((&it.backend_type, &it.session_id))
            .filter(removed::removed_at.ge(UtcMicros::from(it.removed_at)));
        let is_stored: bool = diesel::select(exists(stored)).get_result(conn)?;
        if !is_stored && !is_bound(conn, &it.backend_type, &it.session_id)? {
            lacking.push(it.clone());
        }
    }
    Ok(lacking)
}

/// Inserts removed sessions, each in place of an earlier removal.
pub(crate) fn put_removed(conn: &mut Conn, sessions: &[RemovedSession]) -> Result<(), QueryError> {
    for it in sessions {
        let now = it.removed_at.into();
        record_removal(conn, &it.task_id, &it.backend_type, &it.session_id, now)?;
    }
    Ok(())
}

pub(crate) fn is_removed(
    conn: &mut Conn,
    backend: &BackendType,
    session_id: &SessionId,
) -> QueryResult<bool> {
    diesel::select(exists(removed::table.find((backend, session_id)))).get_result(conn)
}
