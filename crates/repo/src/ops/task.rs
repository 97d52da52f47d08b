use diesel::connection::DefaultLoadingMode;
use diesel::dsl::{auto_type, case_when, exists, not, sql};
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Bool, Nullable};
use turnkeep_model::{
    FailureMode, Fence, FileList, LeaseLength, StatusUpdate, StoredText, Task, TaskId, TaskRow,
    TaskStatus, UtcMicros, WorkerId,
};
use turnkeep_schema::{task_dependencies as dependencies, tasks};

use super::super::clock::clock;
use super::activity::changed_status;
use super::lease_end::lease_is_over;
use super::written_files::{are_free, held_files, lock_files, read_files};
use super::{Conn, MAX_IDS, all_written, by_task, check_text, name_damaged, now};
use crate::base::error::{ErrorKind, Result};
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::base::target::Target;
use crate::commit::write::Write;

pub(crate) fn find(conn: &mut Conn, id: &TaskId) -> QueryResult<Option<Task>> {
    let row = tasks::table
        .find(id)
        .select(TaskRow::as_select())
        .get_result(conn)
        .optional()?;
    let Some(row) = row else {
        return Ok(None);
    };
    let depends_on = dependencies::table
        .filter(dependencies::task_id.eq(id))
        .order(dependencies::depends_on)
        .select(dependencies::depends_on)
        .load(conn)?;
    Ok(Some(row.with_dependencies(depends_on)))
}

/// Returns all tasks, oldest first, in two queries however many there are.
pub(crate) fn list(conn: &mut Conn, call: Operation<'_>) -> Result<Vec<Task>, QueryError> {
    let rows = tasks::table
        .order((tasks::created_at, tasks::id))
        .select(TaskRow::as_select())
        .load(conn)
        .map_err(|error| name_damaged_task(error, conn, call))?;
    let pairs = dependencies::table
        .order((dependencies::task_id, dependencies::depends_on))
        .load(conn)?;
    Ok(put_together(rows, pairs))
}

/// Whether `not_before` of a row of `tasks` has come, by the clock of the database.
#[auto_type(no_type_alias)]
pub(crate) fn is_due() -> _ {
    let now: SqlLiteral<Nullable<BigInt>> = clock();
    tasks::not_before.is_null().or(tasks::not_before.le(now))
}

/// The statuses of a task that starts once its dependencies are done.
pub(crate) const WAITING: [TaskStatus; 2] = [TaskStatus::Pending, TaskStatus::Eligible];

/// Returns the waiting tasks that no dependency and no running task stands in the way of, oldest first.
pub(crate) fn ready(conn: &mut Conn, call: Operation<'_>) -> Result<Vec<Task>, QueryError> {
    let mut rows = tasks::table
        .filter(tasks::status.eq_any(WAITING))
        .filter(is_due())
        .filter(not(exists(
            blocking_dependencies().filter(dependencies::task_id.eq(tasks::id)),
        )))
        .order((tasks::created_at, tasks::id))
        .select(TaskRow::as_select())
        .load(conn)
        .map_err(|error| name_damaged_task(error, conn, call))?;
    if rows
        .iter()
        .any(|row: &TaskRow| !row.writes_files.is_empty())
    {
        let held = held_files(conn)?;
        rows.retain(|row| !row.writes_files.iter().any(|file| held.contains(file)));
    }
    let pairs = dependencies::table
        .inner_join(tasks::table.on(tasks::id.eq(dependencies::task_id)))
        .filter(tasks::status.eq_any(WAITING))
        .order((dependencies::task_id, dependencies::depends_on))
        .select((dependencies::task_id, dependencies::depends_on))
        .load(conn)?;
    Ok(put_together(rows, pairs))
}

fn name_damaged_task(error: DieselError, conn: &mut Conn, call: Operation<'_>) -> QueryError {
    let ids = tasks::table.select(tasks::id).load(conn);
    name_damaged(error, conn, call, ids, find)
}

diesel::alias! {
    pub(crate) const DEPENDENCY: Alias<Dependency> = tasks as dependency;
}

/// The dependencies that keep their tasks from being started.
#[auto_type(no_type_alias)]
pub(crate) fn blocking_dependencies() -> _ {
    let failed: TaskStatus = TaskStatus::Failed;
    let hard: FailureMode = FailureMode::Hard;
    let completed: TaskStatus = TaskStatus::Completed;
    let skipped: TaskStatus = TaskStatus::Skipped;
    let failed_softly = DEPENDENCY
        .field(tasks::status)
        .eq(failed)
        .and(DEPENDENCY.field(tasks::failure_mode).ne(hard));
    dependencies::table
        .inner_join(DEPENDENCY.on(DEPENDENCY.field(tasks::id).eq(dependencies::depends_on)))
        .filter(DEPENDENCY.field(tasks::status).ne(completed))
        .filter(DEPENDENCY.field(tasks::status).ne(skipped))
        .filter(not(failed_softly))
}

pub(crate) fn put_together(rows: Vec<TaskRow>, pairs: Vec<(TaskId, TaskId)>) -> Vec<Task> {
    let mut depends_on = by_task(pairs);
    rows.into_iter()
        .map(|row| {
            let depends_on = depends_on.remove(&row.id).unwrap_or_default();
            row.with_dependencies(depends_on)
        })
        .collect()
}

/// Writes how far a task has come.
pub(crate) struct UpdateTaskStatus {
    pub(crate) target: Target,
    pub(crate) update: StatusUpdate,
}

impl Write<Conn> for UpdateTaskStatus {
    type Output = ();

    fn call(&self) -> Operation<'_> {
        Operation::on_task("update_task_status", &self.target.task_id)
    }

    fn check(&self) -> Result<()> {
        let check = |field, text: &Option<String>| {
            check_text(self.call().name, field, text.as_deref().unwrap_or_default())
        };
        check("result", &self.update.result)?;
        check("error", &self.update.error)
    }

    fn bytes(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        length(&self.update.result) + length(&self.update.error)
    }

    /// The lease ends with any status but running.
    fn run(&mut self, conn: &mut Conn, clock: &Clock) -> Result<(), QueryError> {
        let (call, update) = (self.call(), &self.update);
        lock_task(conn, call, &self.target)?;
        let now = now(clock, call.name)?;
        let task = diesel::update(tasks::table.find(&self.target.task_id));
        let state = (
            changed_status(update.status, now),
            tasks::result.eq(optional(&update.result)),
            tasks::error.eq(optional(&update.error)),
        );
        let updated = match update.status {
            TaskStatus::Running => task.set(state).execute(conn)?,
            _ => task.set((state, no_lease())).execute(conn)?,
        };
        all_written(updated, 1, "tasks")
    }
}

/// Sets a task running if no one else has, and if no running task holds its files; returns whether it did.
pub(crate) struct ClaimTask {
    pub(crate) id: TaskId,
}

impl Write<Conn> for ClaimTask {
    type Output = bool;

    fn call(&self) -> Operation<'_> {
        Operation::on_task("claim_task", &self.id)
    }

    fn run(&mut self, conn: &mut Conn, clock: &Clock) -> Result<bool, QueryError> {
        let (call, id) = (self.call(), &self.id);
        let now = now(clock, call.name)?;
        let task = tasks::table.find(id);
        let stored = task.select((tasks::status, tasks::fence, tasks::writes_files));
        let stored: Option<(TaskStatus, Fence, FileList)> =
            locked!(stored).get_result(conn).optional()?;
        let files = match stored {
            None => return Err(not_found(call, id)),
            Some((TaskStatus::Pending | TaskStatus::Eligible, Fence::MAX, _)) => {
                return Err(ErrorKind::Corrupt.on(&call).in_part("the fence").into());
            }
            Some((TaskStatus::Pending | TaskStatus::Eligible, _, files)) => {
                read_files(call, files)?
            }
            Some(_) => return Ok(false),
        };
        lock_files(conn, &files)?;
        if !are_free(conn, &files)? {
            return Ok(false);
        }
        let claimed = diesel::update(task)
            .set(without_lease(TaskStatus::Running, now))
            .execute(conn)?;
        all_written(claimed, 1, "tasks")?;
        Ok(true)
    }
}

/// Sets every running task without a lease pending and returns the ids in order. Leaves out tasks whose
/// fence has reached its end.
pub(crate) struct RequeueRunning;

impl Write<Conn> for RequeueRunning {
    type Output = Vec<TaskId>;

    fn call(&self) -> Operation<'_> {
        Operation::on_store("requeue_running")
    }

    fn run(&mut self, conn: &mut Conn, clock: &Clock) -> Result<Vec<TaskId>, QueryError> {
        let now = now(clock, self.call().name)?;
        let running = tasks::table
            .filter(tasks::status.eq(TaskStatus::Running))
            .filter(tasks::lease_ends_at.is_null().or(lease_is_over()))
            .filter(has_next_fence())
            .order(tasks::id)
            .select(tasks::id);
        // An id that can't be read must not fail the call for the others.
        let ids = locked!(running)
            .load_iter::<TaskId, DefaultLoadingMode>(conn)?
            .filter(|id| !matches!(id, Err(DieselError::DeserializationError(_))))
            .collect::<QueryResult<Vec<_>>>()?;
        for ids in ids.chunks(MAX_IDS) {
            let requeued = diesel::update(tasks::table.filter(tasks::id.eq_any(ids)))
                .set(without_lease(TaskStatus::Pending, now))
                .execute(conn)?;
            all_written(requeued, ids.len(), "tasks")?;
        }
        Ok(ids)
    }
}

/// Deletes a task with everything under it; returns whether there was one.
pub(crate) struct DeleteTask {
    pub(crate) id: TaskId,
}

impl Write<Conn> for DeleteTask {
    type Output = bool;

    fn call(&self) -> Operation<'_> {
        Operation::on_task("delete_task", &self.id)
    }

    fn may_take_long(&self) -> bool {
        true
    }

    fn run(&mut self, conn: &mut Conn, _: &Clock) -> Result<bool, QueryError> {
        let is_there = lock_whole(conn, &self.id)?;
        if is_there {
            delete(conn, &self.id)?;
        }
        Ok(is_there)
    }
}

/// Deletes a task that is locked.
pub(crate) fn delete(conn: &mut Conn, id: &TaskId) -> Result<(), QueryError> {
    let deleted = diesel::delete(tasks::table.find(id)).execute(conn)?;
    all_written(deleted, 1, "tasks")
}

/// Locks a task that is to be deleted; returns whether there is one.
pub(crate) fn lock_whole(conn: &mut Conn, id: &TaskId) -> QueryResult<bool> {
    let stored = tasks::table.find(id).select(tasks::id);
    let stored: Option<TaskId> = locked_whole!(stored).get_result(conn).optional()?;
    Ok(stored.is_some())
}

/// The columns of a task without a lease.
#[auto_type]
fn no_lease() -> _ {
    let nobody: Option<WorkerId> = None;
    let never: Option<UtcMicros> = None;
    let none: Option<LeaseLength> = None;
    (
        tasks::worker.eq(nobody),
        tasks::lease_ends_at.eq(never),
        tasks::lease_length.eq(none),
    )
}

/// Whether the fence of a task can still count on. In a file another program may have put a fraction there.
#[auto_type(no_type_alias)]
pub(crate) fn has_next_fence() -> _ {
    let highest: i64 = Fence::MAX.get();
    let is_whole: SqlLiteral<Bool> = sql("tasks.fence = CAST(tasks.fence AS BIGINT)");
    tasks::fence.lt(highest).and(is_whole)
}

/// The columns of a task that is claimed or requeued without a lease. Its fence increases if the task has ever
/// been on lease, so that the worker of that lease has lost it.
#[auto_type(no_type_alias)]
pub(crate) fn without_lease(status: TaskStatus, now: UtcMicros) -> _ {
    let fence = case_when(tasks::fence.gt(0_i64), tasks::fence + 1_i64).otherwise(tasks::fence);
    let changed: changed_status = changed_status(status, now);
    (changed, no_lease(), tasks::fence.eq(fence))
}

pub(crate) fn optional(text: &Option<String>) -> Option<StoredText<'_>> {
    text.as_deref().map(StoredText::from)
}

pub(crate) fn not_found(call: Operation<'_>, id: &TaskId) -> QueryError {
    QueryError::Refused(ErrorKind::TaskNotFound.on(&call.about(id)))
}

/// Refuses a write with an old fence; a write without one always passes. Locks the task, so that it can't be claimed
/// before the transaction ends.
pub(crate) fn check_fence(
    conn: &mut Conn,
    call: Operation<'_>,
    target: &Target,
) -> Result<(), QueryError> {
    match target.fence {
        Some(_) => lock_task(conn, call, target),
        None => Ok(()),
    }
}

/// Locks the row of a task until the transaction ends. Refuses a missing task and an old fence.
pub(crate) fn lock_task(
    conn: &mut Conn,
    call: Operation<'_>,
    target: &Target,
) -> Result<(), QueryError> {
    let Target { task_id, fence } = target;
    match (stored_fence(conn, task_id)?, *fence) {
        (None, _) => Err(not_found(call, task_id)),
        (Some(actual), Some(fence)) if actual != fence => {
            Err(lease_lost(call, task_id, fence, actual))
        }
        _ => Ok(()),
    }
}

/// Locks the row of a task until the transaction ends, and returns its fence.
pub(crate) fn stored_fence(conn: &mut Conn, id: &TaskId) -> QueryResult<Option<Fence>> {
    let fence = tasks::table.find(id).select(tasks::fence);
    locked!(fence).get_result(conn).optional()
}

pub(crate) fn lease_lost(
    call: Operation<'_>,
    task_id: &TaskId,
    fence: Fence,
    actual: Fence,
) -> QueryError {
    QueryError::Refused(ErrorKind::LeaseLost { fence, actual }.on(&call.about(task_id)))
}
