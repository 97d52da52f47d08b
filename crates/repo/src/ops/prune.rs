//! Which tasks are no longer needed, when they were last active, and deleting them.

use std::collections::{HashMap, HashSet};

use diesel::connection::DefaultLoadingMode;
use diesel::dsl::{exists, sql};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};
use turnkeep_model::{TaskId, TaskStatus, UtcMicros};
use turnkeep_schema::{task_dependencies as dependencies, tasks};

use super::usage::{TURNS, with_bytes};
use super::{Conn, all_written, database_clock};
use crate::base::query_error::QueryError;

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

/// Returns the tasks of these statuses that no unfinished task needs and that have not been active
/// since; least recently active first, with their bytes. The statuses are those of ended tasks.
pub(crate) fn unneeded(
    conn: &mut Conn,
    statuses: &[TaskStatus],
    upto: Option<UtcMicros>,
) -> QueryResult<Vec<(State, i64)>> {
    let needed = needed(conn)?;
    let all = tasks::table.filter(tasks::status.eq_any(statuses)).select((
        (
            tasks::id,
            tasks::status,
            sql::<BigInt>(LAST_ACTIVE),
            sql::<BigInt>(TURNS),
        ),
        sql::<BigInt>(with_bytes!("", "")),
    ));
    let mut found: Vec<(State, i64)> = match upto {
        Some(upto) => all
            // Implied by the next condition, which then need not read the turns of tasks that ended lately.
            .filter(tasks::status_changed_at.le(upto))
            .filter(sql::<BigInt>(LAST_ACTIVE).le(upto))
            .load(conn)?,
        None => all.load(conn)?,
    };
    found.retain(|((id, ..), _)| !needed.contains(id));
    found.sort_unstable_by(|((a, _, a_active, _), _), ((b, _, b_active, _), _)| {
        (a_active, a).cmp(&(b_active, b))
    });
    Ok(found)
}

/// Locks the tasks until the transaction ends, and returns those that no unfinished task needs, as they
/// are now.
pub(crate) fn lock_unneeded(conn: &mut Conn, ids: &[&TaskId]) -> QueryResult<Vec<State>> {
    let rows = tasks::table
        .filter(tasks::id.eq_any(ids))
        .order(tasks::id)
        .select(tasks::id);
    // Waits for concurrent writes to these tasks before it decides.
    let locked: Vec<TaskId> = locked_whole!(rows).load(conn)?;
    let mut states: Vec<State> = tasks::table
        .filter(tasks::id.eq_any(&locked))
        .select((
            tasks::id,
            tasks::status,
            sql::<BigInt>(LAST_ACTIVE),
            sql::<BigInt>(TURNS),
        ))
        .load(conn)?;
    // Seldom: they were chosen because no task waits for them.
    if is_waited_for(conn, &locked)? {
        let needed = needed(conn)?;
        states.retain(|(id, ..)| !needed.contains(id));
    }
    Ok(states)
}

/// Deletes the tasks with everything under them.
pub(crate) fn delete(conn: &mut Conn, ids: &[TaskId]) -> Result<(), QueryError> {
    let deleted = diesel::delete(tasks::table.filter(tasks::id.eq_any(ids))).execute(conn)?;
    all_written(deleted, ids.len(), "tasks")
}

/// Returns the tasks that an unfinished task waits for, directly or through others.
///
/// A task is needed as well if only ended tasks stand between: one of them may be set pending again, and
/// must find then what stood in its way.
fn needed(conn: &mut Conn) -> QueryResult<HashSet<TaskId>> {
    let edges = dependencies::table
        .inner_join(tasks::table.on(tasks::id.eq(dependencies::task_id)))
        .select((
            dependencies::task_id,
            dependencies::depends_on,
            tasks::status,
        ))
        .load_iter::<(TaskId, TaskId, TaskStatus), DefaultLoadingMode>(conn)?;
    let mut needed = HashSet::new();
    let mut new = Vec::new();
    let mut behind: HashMap<TaskId, Vec<TaskId>> = HashMap::new();
    for edge in edges {
        let (task_id, depends_on, status) = edge?;
        if TaskStatus::ENDED.contains(&status) {
            behind.entry(task_id).or_default().push(depends_on);
        } else if needed.insert(depends_on.clone()) {
            new.push(depends_on);
        }
    }
    // Walked here and not in SQL, where a server reads all dependencies once more for each step.
    while let Some(id) = new.pop() {
        for depends_on in behind.remove(&id).unwrap_or_default() {
            if needed.insert(depends_on.clone()) {
                new.push(depends_on);
            }
        }
    }
    Ok(needed)
}

/// Whether an unfinished task waits for one of these, directly or through others. Walks up to the tasks that
/// wait for them, which are fewer than the tasks that all unfinished ones need.
fn is_waited_for(conn: &mut Conn, ids: &[TaskId]) -> QueryResult<bool> {
    let unfinished = tasks::table.filter(tasks::status.eq_any(TaskStatus::UNFINISHED));
    if !diesel::select(exists(unfinished.clone())).get_result(conn)? {
        return Ok(false);
    }
    let waits = sql::<Bool>(
        "id IN (WITH RECURSIVE waiting (id) AS (SELECT task_id FROM task_dependencies WHERE ",
    )
    .bind::<Bool, _>(dependencies::depends_on.eq_any(ids))
    .sql(
        " UNION SELECT task_id FROM task_dependencies JOIN waiting ON depends_on = waiting.id\
         ) SELECT id FROM waiting)",
    );
    diesel::select(exists(unfinished.filter(waits))).get_result(conn)
}
