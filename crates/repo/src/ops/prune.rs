//! Finding tasks that are no longer needed, and deleting them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::connection::DefaultLoadingMode;
use diesel::dsl::{exists, sql};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};
use turnkeep_model::{TaskId, TaskStatus, UtcMicros};
use turnkeep_schema::{task_dependencies as dependencies, tasks};

use super::activity::{LastActivity, is_inactive_since, last_activity};
use super::import::{imported_sessions, record_removal};
use super::usage::{TURNS, bytes};
use super::{Conn, Db, all_written, database_clock};
use crate::base::pruned_task::PrunedTask;
use crate::base::query_error::QueryError;

/// Returns the tasks of these ended statuses that no unfinished task needs and that have not been
/// active for `age`, least recently active first.
pub(crate) fn candidates(
    conn: &mut Conn,
    statuses: &[TaskStatus],
    age: Option<Duration>,
) -> QueryResult<Vec<PrunedTask>> {
    let needed = needed(conn)?;
    let has_status = tasks::status.eq_any(statuses.to_vec());
    let mut found = match age {
        Some(age) => {
            let Some(latest) = before(database_clock(conn)?, age) else {
                return Ok(Vec::new());
            };
            find(conn, Box::new(has_status.and(is_inactive_since(latest))))?
        }
        None => find(conn, Box::new(has_status))?,
    };
    found.retain(|task| !needed.contains(&task.id));
    found.sort_unstable_by(|a, b| (a.last_active_at, &a.id).cmp(&(b.last_active_at, &b.id)));
    Ok(found)
}

/// Returns the time `age` before `time`, if there is one: the first year is 0.
fn before(time: UtcMicros, age: Duration) -> Option<UtcMicros> {
    let age = TimeDelta::from_std(age).ok()?;
    let time = DateTime::<Utc>::from(time).checked_sub_signed(age)?;
    UtcMicros::new(time).ok()
}

fn find(
    conn: &mut Conn,
    condition: Box<dyn BoxableExpression<tasks::table, Db, SqlType = Bool>>,
) -> QueryResult<Vec<PrunedTask>> {
    let rows: Vec<(TaskId, TaskStatus, LastActivity, i64, i64)> = tasks::table
        .filter(condition)
        .select((
            tasks::id,
            tasks::status,
            last_activity(),
            sql::<BigInt>(TURNS),
            sql::<BigInt>(&bytes()),
        ))
        .load(conn)?;
    let tasks = rows.into_iter();
    Ok(tasks
        .map(|(id, status, last_active_at, turns, bytes)| PrunedTask {
            id,
            status,
            last_active_at: last_active_at.into(),
            turns: turns.unsigned_abs(),
            bytes: bytes.unsigned_abs(),
        })
        .collect())
}

/// Deletes the tasks that are still as they were chosen and that no unfinished task needs, with
/// everything under them. Returns their ids. Sessions that an import has bound to them would come back with the next one,
/// so they are recorded as removed.
///
/// A turn, a status or a text of another length that was written meanwhile keeps its task.
pub(crate) fn delete(conn: &mut Conn, chosen: &[PrunedTask]) -> Result<Vec<TaskId>, QueryError> {
    let rows = tasks::table
        .filter(tasks::id.eq_any(chosen.iter().map(|task| &task.id)))
        .order(tasks::id)
        .select(tasks::id);
    // Waits for concurrent writes to these tasks before it decides.
    let locked: Vec<TaskId> = locked_whole!(rows).load(conn)?;
    // Seldom: they were chosen because no task waits for them.
    let needed = match is_waited_for(conn, &locked)? {
        true => needed(conn)?,
        false => HashSet::new(),
    };
    let stored = find(conn, Box::new(tasks::id.eq_any(locked)))?;
    let unchanged = stored.into_iter().filter(|task| chosen.contains(task));
    let ids: Vec<TaskId> = unchanged
        .map(|task| task.id)
        .filter(|id| !needed.contains(id))
        .collect();
    let imported = imported_sessions(conn, &ids)?;
    let tasks = tasks::table.filter(tasks::id.eq_any(&ids));
    all_written(diesel::delete(tasks).execute(conn)?, ids.len(), "tasks")?;
    if !imported.is_empty() {
        let now = database_clock(conn)?;
        for (task_id, backend_type, session_id, _) in imported {
            record_removal(conn, &task_id, &backend_type, &session_id, now)?;
        }
    }
    Ok(ids)
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
