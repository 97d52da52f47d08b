//! Who has which task and until when, by the database's clock.

use diesel::dsl::{exists, not};
use diesel::prelude::*;
use turnkeep_model::{Claim, TaskId, TaskRow, TaskStatus, UtcMicros, WorkerId};
use turnkeep_schema::{task_dependencies as dependencies, tasks};

use super::task::{in_the_way, name_damaged_task, not_found, put_together};
use super::{Conn, database_clock};
use crate::call::Call;
use crate::failure::Failure;
use crate::lease::{Lease, lost, must_be};

/// Gives up to `most` tasks to the worker: running ones whose lease has ended, then pending ones of
/// which no dependency stands in the way, the oldest of each first. Leaves those that others are just
/// about to take or write to.
pub(crate) fn claim_ready(
    conn: &mut Conn,
    call: Call<'_>,
    worker: &WorkerId,
    most: i64,
    lease: Lease,
    now: UtcMicros,
) -> Result<Vec<Claim>, Failure> {
    let clock = database_clock(conn)?;
    let ends_at = lease.from(clock, call)?;
    claim(conn, worker, most, clock, ends_at, now)
        .map_err(|error| name_damaged_task(error, conn, call))
}

fn claim(
    conn: &mut Conn,
    worker: &WorkerId,
    most: i64,
    clock: UtcMicros,
    ends_at: UtcMicros,
    now: UtcMicros,
) -> QueryResult<Vec<Claim>> {
    // Two queries, since one for both would sort all that is pending.
    let over = tasks::table
        .filter(tasks::status.eq(TaskStatus::Running))
        .filter(tasks::lease_ends_at.le(clock))
        .order((tasks::created_at, tasks::id))
        .limit(most)
        .select(tasks::id);
    let mut ids: Vec<TaskId> = skip_locked!(over).load(conn)?;
    let rest = most - i64::try_from(ids.len()).unwrap_or(most);
    let ready = tasks::table
        .filter(tasks::status.eq(TaskStatus::Pending))
        .filter(not(exists(in_the_way())))
        .order((tasks::created_at, tasks::id))
        .limit(rest)
        .select(tasks::id);
    ids.extend(skip_locked!(ready).load::<TaskId>(conn)?);
    let mut rows: Vec<TaskRow> = diesel::update(tasks::table.filter(tasks::id.eq_any(&ids)))
        .set((
            tasks::status.eq(TaskStatus::Running),
            tasks::worker.eq(worker),
            tasks::fence.eq(tasks::fence + 1),
            tasks::lease_ends_at.eq(ends_at),
            tasks::updated_at.eq(now),
        ))
        .returning(TaskRow::as_returning())
        .get_results(conn)?;
    rows.sort_unstable_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    let pairs = dependencies::table
        .filter(dependencies::task_id.eq_any(&ids))
        .order((dependencies::task_id, dependencies::depends_on))
        .load(conn)?;
    let claims = put_together(rows, pairs).into_iter().map(|task| Claim {
        worker: worker.clone(),
        fence: task.fence,
        lease_ends_at: ends_at.into(),
        task,
    });
    Ok(claims.collect())
}

/// Has the lease end later than it would, if it is still on; returns when.
pub(crate) fn renew(
    conn: &mut Conn,
    call: Call<'_>,
    id: &TaskId,
    fence: i64,
    lease: Lease,
) -> Result<UtcMicros, Failure> {
    let ends_at = lease.from(database_clock(conn)?, call)?;
    let held = tasks::table
        .find(id)
        .filter(tasks::fence.eq(fence))
        .filter(tasks::worker.is_not_null());
    let renewed = diesel::update(held)
        .set(tasks::lease_ends_at.eq(ends_at))
        .execute(conn)?;
    if renewed == 1 {
        return Ok(ends_at);
    }
    match stored_fence(conn, id)? {
        None => Err(not_found(call, id)),
        Some(actual) => Err(lost(call, id, fence, actual)),
    }
}

/// Refuses a write of a worker that no longer has the task. The task is not given to another one
/// before the transaction ends.
pub(crate) fn check_fence(
    conn: &mut Conn,
    call: Call<'_>,
    id: &TaskId,
    fence: i64,
) -> Result<(), Failure> {
    match stored_fence(conn, id)? {
        None => Err(not_found(call, id)),
        Some(actual) => must_be(call, id, fence, actual),
    }
}

fn stored_fence(conn: &mut Conn, id: &TaskId) -> QueryResult<Option<i64>> {
    let fence = tasks::table.find(id).select(tasks::fence);
    locked!(fence).get_result(conn).optional()
}
