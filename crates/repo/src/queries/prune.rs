//! Which tasks are over, and deleting them.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};
use turnkeep_model::{TaskId, TaskStatus, UtcMicros};
use turnkeep_schema::tasks;

use super::usage::{SizedTask, TURNS, with_bytes};
use super::{Conn, database_clock};

/// A task that has ended, and that nothing waits for which has not, directly or not.
///
/// What is only waited for by a task that has ended, which is itself waited for, stays as well: that
/// task may be set pending once more, and must find then what stood in its way.
const IS_OVER: &str = "status IN ('completed', 'failed', 'skipped') AND id NOT IN (\
    WITH RECURSIVE needed (id) AS (\
        SELECT id FROM tasks WHERE status NOT IN ('completed', 'failed', 'skipped') \
        UNION \
        SELECT depends_on FROM task_dependencies JOIN needed ON task_id = needed.id\
    ) SELECT id FROM needed)";

/// Returns the time by the clock of the database.
pub(crate) fn clock(conn: &mut Conn) -> QueryResult<UtcMicros> {
    database_clock(conn)
}

/// Gives some of what is free back to the file system, and returns whether there is more.
pub(crate) fn return_space(conn: &mut Conn) -> QueryResult<bool> {
    super::return_space(conn)
}

/// Returns the tasks of these statuses that are over and have not changed since, oldest first, with
/// their turns and bytes.
pub(crate) fn over(
    conn: &mut Conn,
    statuses: &[TaskStatus],
    upto: Option<UtcMicros>,
) -> QueryResult<Vec<SizedTask>> {
    let all = tasks::table
        .filter(sql::<Bool>(IS_OVER))
        .filter(tasks::status.eq_any(statuses))
        .order((tasks::updated_at, tasks::id))
        .select((
            tasks::id,
            tasks::status,
            tasks::updated_at,
            sql::<BigInt>(TURNS),
            sql::<BigInt>(with_bytes!("", "")),
        ));
    match upto {
        Some(upto) => all.filter(tasks::updated_at.le(upto)).load(conn),
        None => all.load(conn),
    }
}

/// Deletes those of the tasks that are still over, and returns which they were.
pub(crate) fn delete_over(
    conn: &mut Conn,
    ids: &[&TaskId],
    statuses: &[TaskStatus],
    upto: Option<UtcMicros>,
) -> QueryResult<Vec<TaskId>> {
    let rows = tasks::table
        .filter(tasks::id.eq_any(ids))
        .order(tasks::id)
        .select(tasks::id);
    // What others are about to write is waited for before anything is decided.
    let locked: Vec<TaskId> = locked_whole!(rows).load(conn)?;
    let over = tasks::table
        .filter(tasks::id.eq_any(&locked))
        .filter(sql::<Bool>(IS_OVER))
        .filter(tasks::status.eq_any(statuses));
    let ids: Vec<TaskId> = match upto {
        Some(upto) => over
            .filter(tasks::updated_at.le(upto))
            .select(tasks::id)
            .load(conn)?,
        None => over.select(tasks::id).load(conn)?,
    };
    diesel::delete(tasks::table.filter(tasks::id.eq_any(&ids))).execute(conn)?;
    Ok(ids)
}
