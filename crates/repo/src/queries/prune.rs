//! Which tasks are over, when they were last active, and deleting them.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};
use turnkeep_model::{TaskId, TaskStatus, UtcMicros};
use turnkeep_schema::tasks;

use super::usage::{TURNS, with_bytes};
use super::{Conn, all_written, database_clock};
use crate::failure::Failure;

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

/// When a row of `tasks` was last active: the later of its status and the latest of its turns.
///
/// The latest by time, not the turn with the highest seq: an import may append old turns to a task
/// with young ones. Every turn is read for that, as it is for the size of the task.
const LAST_ACTIVE: &str = "coalesce((\
    SELECT max(\"timestamp\") FROM conversation_history \
    WHERE task_id = tasks.id AND \"timestamp\" > status_changed_at), status_changed_at)";

/// A task: its status, when it was last active, how many turns it has.
type State = (TaskId, TaskStatus, UtcMicros, i64);

/// Returns the time by the clock of the database.
pub(crate) fn clock(conn: &mut Conn) -> QueryResult<UtcMicros> {
    database_clock(conn)
}

/// Gives some of what is free back to the file system, and returns whether there is more.
pub(crate) fn return_space(conn: &mut Conn) -> QueryResult<bool> {
    super::return_space(conn)
}

/// Returns the tasks of these statuses that are over and have not been active since, least recently
/// active first, with their bytes.
pub(crate) fn over(
    conn: &mut Conn,
    statuses: &[TaskStatus],
    upto: Option<UtcMicros>,
) -> QueryResult<Vec<(State, i64)>> {
    let all = tasks::table
        .filter(sql::<Bool>(IS_OVER))
        .filter(tasks::status.eq_any(statuses))
        .select((
            (
                tasks::id,
                tasks::status,
                sql::<BigInt>(LAST_ACTIVE),
                sql::<BigInt>(TURNS),
            ),
            sql::<BigInt>(with_bytes!("", "")),
        ));
    let mut over: Vec<(State, i64)> = match upto {
        Some(upto) => all
            // Follows from the next condition, and spares it the turns of tasks that ended lately.
            .filter(tasks::status_changed_at.le(upto))
            .filter(sql::<BigInt>(LAST_ACTIVE).le(upto))
            .load(conn)?,
        None => all.load(conn)?,
    };
    over.sort_unstable_by(|((a, _, a_active, _), _), ((b, _, b_active, _), _)| {
        (a_active, a).cmp(&(b_active, b))
    });
    Ok(over)
}

/// Locks the tasks until the transaction ends, and returns those that are over as they are now.
pub(crate) fn lock_over(conn: &mut Conn, ids: &[&TaskId]) -> QueryResult<Vec<State>> {
    let rows = tasks::table
        .filter(tasks::id.eq_any(ids))
        .order(tasks::id)
        .select(tasks::id);
    // What others are about to write is waited for before anything is decided.
    let locked: Vec<TaskId> = locked_whole!(rows).load(conn)?;
    tasks::table
        .filter(tasks::id.eq_any(&locked))
        .filter(sql::<Bool>(IS_OVER))
        .select((
            tasks::id,
            tasks::status,
            sql::<BigInt>(LAST_ACTIVE),
            sql::<BigInt>(TURNS),
        ))
        .load(conn)
}

/// Deletes the tasks with everything under them.
pub(crate) fn delete(conn: &mut Conn, ids: &[TaskId]) -> Result<(), Failure> {
    let deleted = diesel::delete(tasks::table.filter(tasks::id.eq_any(ids))).execute(conn)?;
    all_written(deleted, ids.len(), "tasks")
}
