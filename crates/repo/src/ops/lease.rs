//! Leases on tasks, by the database's clock.

use std::collections::HashSet;
use std::slice;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use diesel::connection::DefaultLoadingMode;
use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use turnkeep_model::{
    Fence, FileList, LeaseLength, StoredText, Task, TaskId, TaskRow, TaskStatus, UtcMicros,
    WorkerId,
};
use turnkeep_schema::{task_dependencies as dependencies, tasks};

use super::super::clock::database_clock;
use super::activity::changed_status;
use super::lease_end::lease_is_over;
use super::metadata_filter::{Condition, has_metadata};
use super::task::{
    blocking_dependencies, has_next_fence, is_due, lease_lost, not_found, put_together,
    stored_fence, without_lease,
};
use super::written_files::{ClaimedFiles, are_free, held_files, lock_files, read_files};
use super::{Conn, MAX_IDS, all_written, now};
use crate::base::claim_filter::ClaimFilter;
use crate::base::error::{ErrorKind, Result};
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::base::target::Target;
use crate::commit::write::Write;

/// Claims up to `limit` tasks that a filter selects for a worker, on lease: running tasks with an ended lease,
/// then eligible and then pending tasks that are ready, the oldest of each first. Skips tasks that other
/// transactions have locked, tasks that can't be read, and tasks with the highest fence.
pub(crate) struct ClaimReady {
    pub(crate) operation: &'static str,
    pub(crate) worker: WorkerId,
    pub(crate) filter: ClaimFilter,
    pub(crate) limit: u32,
    pub(crate) lease: Duration,
}

/// The most claims of a call: each is a bound value of a statement.
const MAX_CLAIMS: u32 = 1_000;

impl Write<Conn> for ClaimReady {
    type Output = Vec<Task>;

    fn call(&self) -> Operation<'_> {
        Operation::on_store(self.operation)
    }

    fn check(&self) -> Result<()> {
        lease_length(self.call(), self.lease).map(drop)
    }

    fn run(&mut self, conn: &mut Conn, clock: &Clock) -> Result<Vec<Task>, QueryError> {
        // One query for all would sort all pending tasks.
        let limit = i64::from(self.limit.min(MAX_CLAIMS));
        let mut files = ClaimedFiles::default();
        let matching =
            |state: Condition| -> Condition { Box::new(state.and(matches(&self.filter))) };
        let mut ids = oldest(conn, limit, &mut files, || matching(is_abandoned()))?;
        for status in [TaskStatus::Eligible, TaskStatus::Pending] {
            let rest = limit - ids.len() as i64;
            ids.extend(oldest(conn, rest, &mut files, || {
                matching(is_ready(status))
            })?);
        }
        give_out(conn, self.call(), clock, &self.worker, self.lease, &ids)
    }
}

/// Claims one task for a worker, on lease, if it could be claimed now.
pub(crate) struct ClaimOne {
    pub(crate) id: TaskId,
    pub(crate) worker: WorkerId,
    pub(crate) lease: Duration,
}

impl Write<Conn> for ClaimOne {
    type Output = Option<Task>;

    fn call(&self) -> Operation<'_> {
        Operation::on_task("claim", &self.id)
    }

    fn check(&self) -> Result<()> {
        lease_length(self.call(), self.lease).map(drop)
    }

    fn run(&mut self, conn: &mut Conn, clock: &Clock) -> Result<Option<Task>, QueryError> {
        let (call, id) = (self.call(), &self.id);
        match stored_fence(conn, id)? {
            None => return Err(not_found(call, id)),
            Some(Fence::MAX) => {
                return Err(ErrorKind::Corrupt.on(&call).in_part("the fence").into());
            }
            Some(_) => {}
        }
        let task = tasks::table.find(id);
        let is_ready = is_ready(TaskStatus::Eligible).or(is_ready(TaskStatus::Pending));
        let files = task.filter(is_abandoned().or(is_ready));
        let files: Option<FileList> = files
            .select(tasks::writes_files)
            .get_result(conn)
            .optional()?;
        let Some(files) = files else {
            return Ok(None);
        };
        let files = read_files(call, files)?;
        lock_files(conn, &files)?;
        if !are_free(conn, &files)? {
            return Ok(None);
        }
        let ids = slice::from_ref(id);
        Ok(give_out(conn, call, clock, &self.worker, self.lease, ids)?.pop())
    }
}

/// Claims the running tasks of a worker anew. Leaves out tasks that can't be read, tasks with the highest fence, and
/// tasks that have lost their files to another one.
pub(crate) struct Reclaim {
    pub(crate) worker: WorkerId,
    pub(crate) lease: Duration,
}

impl Write<Conn> for Reclaim {
    type Output = Vec<Task>;

    fn call(&self) -> Operation<'_> {
        Operation::on_store("reclaim")
    }

    fn check(&self) -> Result<()> {
        lease_length(self.call(), self.lease).map(drop)
    }

    fn run(&mut self, conn: &mut Conn, clock: &Clock) -> Result<Vec<Task>, QueryError> {
        let is_own = || {
            let is_running = tasks::status.eq(TaskStatus::Running);
            is_running.and(tasks::worker.eq(&self.worker))
        };
        let own = tasks::table
            .filter(is_own())
            .filter(has_next_fence())
            .order((tasks::created_at, tasks::id))
            .select(TaskRow::as_select());
        let mut rows = Vec::new();
        for row in locked!(own).load_iter::<TaskRow, DefaultLoadingMode>(conn)? {
            match row {
                Ok(row) => rows.push((row.id, row.writes_files)),
                Err(DieselError::DeserializationError(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let files: Vec<String> = rows.iter().flat_map(|(_, files)| files).cloned().collect();
        if !files.is_empty() {
            lock_files(conn, &files)?;
            let over = tasks::table.filter(is_own()).filter(lease_is_over());
            let over: Vec<TaskId> = over.select(tasks::id).load(conn)?;
            let over: HashSet<TaskId> = over.into_iter().collect();
            let mut held = held_files(conn)?;
            rows.retain(|(id, files)| {
                let is_kept = !over.contains(id) || !files.iter().any(|it| held.contains(it));
                if is_kept {
                    held.extend(files.iter().cloned());
                }
                is_kept
            });
        }
        let ids: Vec<TaskId> = rows.into_iter().map(|(id, _)| id).collect();
        give_out(conn, self.call(), clock, &self.worker, self.lease, &ids)
    }
}

/// Sets tasks running for a worker, each with the next fence. Returns the tasks in order of creation, then id.
fn give_out(
    conn: &mut Conn,
    call: Operation<'_>,
    clock: &Clock,
    worker: &WorkerId,
    lease: Duration,
    ids: &[TaskId],
) -> Result<Vec<Task>, QueryError> {
    let now = now(clock, call.name)?;
    let length = lease_length(call, lease)?;
    let mut given = Vec::with_capacity(ids.len());
    for ids in ids.chunks(MAX_IDS) {
        let ends_at = ends_at(database_clock(conn)?, length, call)?;
        let rows: Vec<TaskRow> = diesel::update(tasks::table.filter(tasks::id.eq_any(ids)))
            .set((
                changed_status(TaskStatus::Running, now),
                tasks::worker.eq(worker),
                tasks::fence.eq(tasks::fence + 1),
                tasks::lease_ends_at.eq(ends_at),
                tasks::lease_length.eq(length),
            ))
            .returning(TaskRow::as_returning())
            .get_results(conn)?;
        all_written(rows.len(), ids.len(), "tasks")?;
        let pairs = super::dependencies::of(conn, ids)?;
        given.extend(put_together(rows, pairs));
    }
    given.sort_unstable_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Ok(given)
}

/// Whether the worker of a running task has let its lease end.
fn is_abandoned() -> Condition {
    Box::new(tasks::status.eq(TaskStatus::Running).and(lease_is_over()))
}

/// Whether a task has this status, its time has come and all its dependencies are done.
fn is_ready(status: TaskStatus) -> Condition {
    let blocking = blocking_dependencies().filter(dependencies::task_id.eq(tasks::id));
    Box::new(
        tasks::status
            .eq(status)
            .and(is_due())
            .and(not(exists(blocking))),
    )
}

/// Whether a filter selects a task.
fn matches(filter: &ClaimFilter) -> Condition {
    let metadata = has_metadata(&filter.metadata);
    match &filter.agent_role {
        None => metadata,
        Some(role) => {
            let role = StoredText::from(role.clone());
            Box::new(metadata.and(tasks::agent_role.eq(Some(role))))
        }
    }
}

/// Returns the ids of up to `limit` tasks that meet a condition and whose files are free, the oldest first, and takes
/// the files. Skips tasks that can't be read, so that a damaged one does not block the others.
fn oldest(
    conn: &mut Conn,
    limit: i64,
    claimed_files: &mut ClaimedFiles,
    condition: impl Fn() -> Condition,
) -> QueryResult<Vec<TaskId>> {
    let mut page_limit = limit;
    loop {
        let page = tasks::table
            .filter(condition())
            .filter(has_next_fence())
            .order((tasks::created_at, tasks::id))
            .limit(page_limit)
            .select(TaskRow::as_select());
        let (mut rows, mut unreadable) = (Vec::new(), 0);
        for row in skip_locked!(page).load_iter::<TaskRow, DefaultLoadingMode>(conn)? {
            match row {
                Ok(row) => rows.push((row.id, row.writes_files)),
                Err(DieselError::DeserializationError(_)) => unreadable += 1,
                Err(error) => return Err(error),
            }
        }
        let read = rows.len() as i64 + unreadable;
        claimed_files.lock(conn, &rows)?;
        let mut taken = claimed_files.clone();
        let free = rows.into_iter().filter(|(_, files)| taken.take(files));
        let free = free.take(limit as usize).map(|(id, _)| id);
        let ids: Vec<TaskId> = free.collect();
        if ids.len() as i64 >= limit || read < page_limit {
            *claimed_files = taken;
            return Ok(ids);
        }
        page_limit = limit + 2 * (read - ids.len() as i64);
    }
}

/// Extends a lease if it has not been lost, and returns its new end.
pub(crate) struct Renew {
    pub(crate) target: Target,
    pub(crate) lease: Duration,
}

impl Write<Conn> for Renew {
    type Output = UtcMicros;

    fn call(&self) -> Operation<'_> {
        Operation::on_task("renew", &self.target.task_id)
    }

    fn check(&self) -> Result<()> {
        lease_length(self.call(), self.lease).map(drop)
    }

    fn run(&mut self, conn: &mut Conn, _: &Clock) -> Result<UtcMicros, QueryError> {
        let (call, id) = (self.call(), &self.target.task_id);
        let length = lease_length(call, self.lease)?;
        let (fence, files) = lock_lease(conn, call, &self.target)?;
        let files = read_files(call, files)?;
        // While the lease is over, a task that writes one of the files can be claimed.
        lock_files(conn, &files)?;
        if !files.is_empty() && is_over(conn, id)? && !are_free(conn, &files)? {
            return Err(lease_lost(call, id, fence, fence));
        }
        let ends_at = ends_at(database_clock(conn)?, length, call)?;
        let renewed = diesel::update(tasks::table.find(id))
            .set((
                tasks::lease_ends_at.eq(ends_at),
                tasks::lease_length.eq(length),
            ))
            .execute(conn)?;
        all_written(renewed, 1, "tasks")?;
        Ok(ends_at)
    }
}

/// Ends a lease that has not been lost, and sets the task pending.
pub(crate) struct Release {
    pub(crate) target: Target,
}

impl Write<Conn> for Release {
    type Output = ();

    fn call(&self) -> Operation<'_> {
        Operation::on_task("release", &self.target.task_id)
    }

    fn run(&mut self, conn: &mut Conn, clock: &Clock) -> Result<(), QueryError> {
        let call = self.call();
        let (fence, _) = lock_lease(conn, call, &self.target)?;
        if fence == Fence::MAX {
            return Err(ErrorKind::Corrupt.on(&call).in_part("the fence").into());
        }
        let now = now(clock, call.name)?;
        let released = diesel::update(tasks::table.find(&self.target.task_id))
            .set(without_lease(TaskStatus::Pending, now))
            .execute(conn)?;
        all_written(released, 1, "tasks")
    }
}

/// Locks a task until the transaction ends, and returns its fence and files. Refuses a lease that has been lost.
fn lock_lease(
    conn: &mut Conn,
    call: Operation<'_>,
    target: &Target,
) -> Result<(Fence, FileList), QueryError> {
    let Target { task_id, fence } = target;
    let task = tasks::table.find(task_id);
    let held = task.select((
        tasks::fence,
        tasks::worker.is_not_null(),
        tasks::writes_files,
    ));
    let held: Option<(Fence, bool, FileList)> = locked!(held).get_result(conn).optional()?;
    match (held, *fence) {
        (None, _) => Err(not_found(call, task_id)),
        (Some((actual, is_leased, _)), Some(fence)) if !is_leased || actual != fence => {
            Err(lease_lost(call, task_id, fence, actual))
        }
        (Some((actual, _, files)), _) => Ok((actual, files)),
    }
}

/// Whether the lease of this fence has neither ended nor been lost.
pub(crate) fn is_held(conn: &mut Conn, target: &Target) -> QueryResult<bool> {
    let held = tasks::table
        .find(&target.task_id)
        .filter(tasks::fence.nullable().eq(target.fence))
        .filter(tasks::worker.is_not_null())
        .filter(not(lease_is_over()));
    Ok(held.count().get_result::<i64>(conn)? == 1)
}

/// Whether the lease of a task is over.
fn is_over(conn: &mut Conn, id: &TaskId) -> QueryResult<bool> {
    let over = tasks::table.find(id).filter(lease_is_over());
    Ok(over.count().get_result::<i64>(conn)? == 1)
}

/// Returns the length of a lease as the database stores it.
fn lease_length(call: Operation<'_>, lease: Duration) -> Result<LeaseLength> {
    LeaseLength::new(lease).map_err(|error| ErrorKind::from(error).on(&call))
}

/// Returns the end of a lease.
fn ends_at(begin: UtcMicros, length: LeaseLength, call: Operation<'_>) -> Result<UtcMicros> {
    let length = TimeDelta::microseconds(length.as_micros());
    UtcMicros::new(DateTime::from(begin) + length).map_err(|error| ErrorKind::from(error).on(&call))
}
