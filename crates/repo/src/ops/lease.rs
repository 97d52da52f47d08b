//! Leases on tasks, by the database's clock.

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use diesel::connection::DefaultLoadingMode;
use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use turnkeep_model::{Claim, LeaseLength, TaskId, TaskRow, TaskStatus, UtcMicros, WorkerId};
use turnkeep_schema::{task_dependencies as dependencies, tasks};

use super::super::clock::database_clock;
use super::task::{
    blocking_dependencies, has_next_fence, lease_is_over, lease_lost, not_found, put_together,
};
use super::{Conn, all_written, not_written, now};
use crate::base::error::{ErrorKind, Result};
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::commit::write::Write;

/// Claims tasks for a worker, on lease.
pub(crate) struct ClaimReady {
    pub(crate) worker: WorkerId,
    pub(crate) limit: u32,
    pub(crate) lease: Duration,
}

/// The most claims of a call: each is a bound value of a statement.
const MAX_CLAIMS: u32 = 1_000;

impl Write<Conn> for ClaimReady {
    type Output = Vec<Claim>;

    fn call(&self) -> Operation<'_> {
        Operation::on_store("claim_ready")
    }

    fn check(&self) -> Result<()> {
        lease_length(self.call(), self.lease).map(drop)
    }

    fn run(&mut self, conn: &mut Conn, clock: &Clock) -> Result<Vec<Claim>, QueryError> {
        let call = self.call();
        let limit = i64::from(self.limit.min(MAX_CLAIMS));
        let now = now(clock, call.name)?;
        claim_ready(conn, call, &self.worker, limit, self.lease, now)
    }
}

/// Claims up to `limit` tasks: running tasks with an ended lease, then ready tasks, the oldest of each first.
/// Skips tasks that other transactions have
/// locked, tasks that can't be read, and tasks with the highest fence.
pub(crate) fn claim_ready(
    conn: &mut Conn,
    call: Operation<'_>,
    worker: &WorkerId,
    limit: i64,
    lease: Duration,
    now: UtcMicros,
) -> Result<Vec<Claim>, QueryError> {
    let length = lease_length(call, lease)?;
    let ends_at = ends_at(database_clock(conn)?, length, call)?;
    claim(conn, worker, limit, ends_at, length, now)
}

fn claim(
    conn: &mut Conn,
    worker: &WorkerId,
    limit: i64,
    ends_at: UtcMicros,
    length: LeaseLength,
    now: UtcMicros,
) -> Result<Vec<Claim>, QueryError> {
    // One query for both would sort all pending tasks.
    let mut rows = readable(limit, |limit| {
        let over = tasks::table
            .filter(tasks::status.eq(TaskStatus::Running))
            .filter(lease_is_over())
            .filter(has_next_fence())
            .order((tasks::created_at, tasks::id))
            .limit(limit)
            .select(TaskRow::as_select());
        split(skip_locked!(over).load_iter::<TaskRow, DefaultLoadingMode>(conn)?)
    })?;
    let rest = limit - i64::try_from(rows.len()).unwrap_or(limit);
    rows.extend(readable(rest, |limit| {
        let ready = tasks::table
            .filter(tasks::status.eq(TaskStatus::Pending))
            .filter(not(exists(blocking_dependencies())))
            .filter(has_next_fence())
            .order((tasks::created_at, tasks::id))
            .limit(limit)
            .select(TaskRow::as_select());
        split(skip_locked!(ready).load_iter::<TaskRow, DefaultLoadingMode>(conn)?)
    })?);
    let ids: Vec<&TaskId> = rows.iter().map(|row| &row.id).collect();
    let claimed = diesel::update(tasks::table.filter(tasks::id.eq_any(&ids)))
        .set((
            tasks::status.eq(TaskStatus::Running),
            tasks::worker.eq(worker),
            tasks::fence.eq(tasks::fence + 1),
            tasks::lease_ends_at.eq(ends_at),
            tasks::lease_length.eq(length),
            tasks::updated_at.eq(now),
            tasks::status_changed_at.eq(now),
        ))
        .execute(conn)?;
    all_written(claimed, ids.len(), "tasks")?;
    let pairs = dependencies::table
        .filter(dependencies::task_id.eq_any(&ids))
        .order((dependencies::task_id, dependencies::depends_on))
        .load(conn)?;
    for row in &mut rows {
        row.status = TaskStatus::Running;
        row.worker = Some(worker.clone());
        row.fence += 1;
        row.lease_ends_at = Some(ends_at.into());
        row.lease_length = Some(length);
        row.updated_at = now.into();
        row.status_changed_at = now.into();
    }
    rows.sort_unstable_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    let claims = put_together(rows, pairs).into_iter().map(|task| Claim {
        worker: worker.clone(),
        fence: task.fence,
        lease_ends_at: ends_at.into(),
        task,
    });
    Ok(claims.collect())
}

/// Returns up to `limit` readable rows of a query, so that a damaged task does not block the others. `page` runs the
/// query with a limit, and returns the readable rows and the number of unreadable ones.
fn readable(
    limit: i64,
    mut page: impl FnMut(i64) -> QueryResult<(Vec<TaskRow>, i64)>,
) -> QueryResult<Vec<TaskRow>> {
    let max_rows = usize::try_from(limit).unwrap_or(0);
    let mut page_limit = limit;
    loop {
        let (mut rows, unreadable) = page(page_limit)?;
        let read = rows.len() as i64 + unreadable;
        if rows.len() >= max_rows || read < page_limit {
            rows.truncate(max_rows);
            return Ok(rows);
        }
        page_limit = limit + 2 * unreadable;
    }
}

fn split(rows: impl Iterator<Item = QueryResult<TaskRow>>) -> QueryResult<(Vec<TaskRow>, i64)> {
    let (mut readable, mut unreadable) = (Vec::new(), 0);
    for row in rows {
        match row {
            Ok(row) => readable.push(row),
            Err(DieselError::DeserializationError(_)) => unreadable += 1,
            Err(error) => return Err(error),
        }
    }
    Ok((readable, unreadable))
}

/// Extends a lease, and returns its new end.
pub(crate) struct RenewLease {
    pub(crate) task_id: TaskId,
    pub(crate) fence: i64,
    pub(crate) lease: Duration,
}

impl Write<Conn> for RenewLease {
    type Output = UtcMicros;

    fn call(&self) -> Operation<'_> {
        Operation::on_task("renew_lease", &self.task_id)
    }

    fn check(&self) -> Result<()> {
        lease_length(self.call(), self.lease).map(drop)
    }

    fn may_fail_halfway(&self) -> bool {
        false
    }

    fn run(&mut self, conn: &mut Conn, _: &Clock) -> Result<UtcMicros, QueryError> {
        let call = self.call();
        renew(conn, call, &self.task_id, self.fence, self.lease)
    }
}

/// Extends the lease if it has not ended, and returns its new end.
pub(crate) fn renew(
    conn: &mut Conn,
    call: Operation<'_>,
    id: &TaskId,
    fence: i64,
    lease: Duration,
) -> Result<UtcMicros, QueryError> {
    let length = lease_length(call, lease)?;
    let ends_at = ends_at(database_clock(conn)?, length, call)?;
    let held = tasks::table
        .find(id)
        .filter(tasks::fence.eq(fence))
        .filter(tasks::worker.is_not_null());
    let renewed = diesel::update(held)
        .set((
            tasks::lease_ends_at.eq(ends_at),
            tasks::lease_length.eq(length),
        ))
        .execute(conn)?;
    if renewed == 1 {
        return Ok(ends_at);
    }
    let is_held = tasks::worker.is_not_null();
    let stored = tasks::table.find(id).select((tasks::fence, is_held));
    match locked!(stored).get_result(conn).optional()? {
        None => Err(not_found(call, id)),
        // The claim holds, because a fence never returns: the row was not written.
        Some((actual, true)) if actual == fence => Err(not_written("tasks")),
        Some((actual, _)) => Err(lease_lost(call, id, fence, actual)),
    }
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
