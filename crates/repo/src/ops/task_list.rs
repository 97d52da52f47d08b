//! Lists of tasks, in pages. First the keys of a page are read from an index, then its rows.

use std::collections::HashMap;

use diesel::dsl::{exists, sql};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};
use turnkeep_model::{
    BackendType, OptionalStoredText, StoredText, TaskId, TaskStatus, UtcMicros, WorkerId,
    WorkingDir,
};
use turnkeep_schema::{sessions, tasks};

use super::activity::{LastActivity, is_active_since, last_activity};
use super::task::{find, optional};
use super::{Conn, Db, MAX_IDS, name_damaged};
use crate::base::error::ErrorKind;
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;
use crate::base::task_list::{TaskCursor, TaskOrder, TaskPage, TaskQuery, TaskSummary};

const LAST_SEQ: &str = "(SELECT max(seq) FROM conversation_history WHERE task_id = tasks.id)";

pub(crate) fn page(
    conn: &mut Conn,
    call: Operation<'_>,
    query: &TaskQuery,
) -> Result<TaskPage, QueryError> {
    let limit = (query.limit as usize).min(MAX_IDS);
    let statuses = TaskStatus::ALL
        .iter()
        .filter(|it| query.statuses.contains(it));
    let mut keys = Vec::new();
    // The index has the tasks of one status in order.
    for status in statuses {
        keys.extend(first_keys(conn, call, query, *status, limit as i64 + 1)?);
    }
    match query.order {
        TaskOrder::Created => keys.sort_unstable(),
        TaskOrder::Id => keys.sort_unstable_by(|(_, a), (_, b)| a.cmp(b)),
    }
    let is_more = keys.len() > limit;
    keys.truncate(limit);
    let next = keys.last().filter(|_| is_more);
    let next = next.map(|(created_at, id)| TaskCursor {
        created_at: *created_at,
        id: id.clone(),
    });
    let ids: Vec<TaskId> = keys.into_iter().map(|(_, id)| id).collect();
    let mut tasks = summaries(conn, &ids)
        .map_err(|error| name_damaged(error, conn, call, Ok(ids.clone()), find))?;
    let tasks = ids.iter().filter_map(|id| tasks.remove(id)).collect();
    Ok(TaskPage { tasks, next })
}

/// Returns the first tasks with a status that meet the conditions, at most `limit`.
fn first_keys(
    conn: &mut Conn,
    call: Operation<'_>,
    query: &TaskQuery,
    status: TaskStatus,
    limit: i64,
) -> Result<Vec<(UtcMicros, TaskId)>, QueryError> {
    let mut keys = tasks::table
        .filter(tasks::status.eq(status))
        .limit(limit)
        .select((tasks::created_at, tasks::id))
        .into_boxed::<Db>();
    if query.agent_role.is_some() {
        keys = keys.filter(tasks::agent_role.eq(optional(&query.agent_role)));
    }
    let session = sessions::table.filter(sessions::task_id.eq(tasks::id));
    if let Some(backend) = &query.backend {
        keys = keys.filter(exists(session.filter(sessions::backend_type.eq(backend))));
    }
    if let Some(working_dir) = &query.working_dir {
        keys = keys.filter(exists(
            session.filter(sessions::working_dir.eq(working_dir)),
        ));
    }
    if let Some(time) = query.active_since {
        let time = UtcMicros::new(time).map_err(|error| ErrorKind::from(error).on(&call))?;
        keys = keys.filter(is_active_since(time));
    }
    keys = match (query.order, &query.after) {
        (TaskOrder::Created, Some(TaskCursor { created_at, id })) => keys.filter(
            (tasks::created_at.ge(created_at))
                .and(tasks::created_at.gt(created_at).or(tasks::id.gt(id))),
        ),
        (TaskOrder::Id, Some(TaskCursor { id, .. })) => keys.filter(tasks::id.gt(id)),
        (_, None) => keys,
    };
    keys = match query.order {
        TaskOrder::Created => keys.order((tasks::created_at, tasks::id)),
        TaskOrder::Id => keys.order(tasks::id),
    };
    Ok(keys.load(conn)?)
}

fn summaries(conn: &mut Conn, ids: &[TaskId]) -> QueryResult<HashMap<TaskId, TaskSummary>> {
    type Row = (
        (TaskId, StoredText<'static>, TaskStatus, OptionalStoredText),
        (Option<BackendType>, Option<WorkingDir>, Option<WorkerId>),
        (UtcMicros, LastActivity, Option<i64>),
    );
    let rows: Vec<Row> = tasks::table
        .left_join(sessions::table.on(sessions::task_id.eq(tasks::id)))
        .filter(tasks::id.eq_any(ids))
        .select((
            (tasks::id, tasks::name, tasks::status, tasks::agent_role),
            (
                sessions::backend_type.nullable(),
                sessions::working_dir.nullable(),
                tasks::worker,
            ),
            (
                tasks::created_at,
                last_activity(),
                sql::<Nullable<BigInt>>(LAST_SEQ),
            ),
        ))
        .load(conn)?;
    let summaries = rows.into_iter().map(|(plan, agent, progress)| {
        let (id, name, status, agent_role) = plan;
        let (backend_type, working_dir, worker) = agent;
        let (created_at, last_active_at, last_seq) = progress;
        let summary = TaskSummary {
            id: id.clone(),
            name: name.into(),
            status,
            agent_role: agent_role.into(),
            backend_type,
            working_dir,
            worker,
            turns: last_seq.unwrap_or(0).unsigned_abs(),
            created_at: created_at.into(),
            last_active_at: last_active_at.into(),
        };
        (id, summary)
    });
    Ok(summaries.collect())
}
