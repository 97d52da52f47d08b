//! Lists of tasks, in pages. First the keys of a page are read from an index, then its rows.

use std::collections::HashMap;

use diesel::dsl::{exists, sql};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable};
use turnkeep_model::{
    BackendType, OptionalStoredText, SessionId, StoredText, TaskId, TaskStatus, UtcMicros,
    WorkerId, WorkingDir,
};
use turnkeep_schema::{session_revisions, sessions, tasks};

use super::activity::{LastActivity, is_active_since, last_activity};
use super::metadata_filter::has_metadata;
use super::task::{find, optional};
use super::text_range::is_in;
use super::{Conn, Db, MAX_IDS, name_damaged};
use crate::base::error::ErrorKind;
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;
use crate::base::task_list::{
    MAX_ALTERNATIVES, TaskCursor, TaskOrder, TaskPage, TaskQuery, TaskSummary,
};
use crate::base::text_range::TextRange;

/// On a server, the index of folders has only those of up to 2,000 bytes.
const LONGEST_INDEXED: usize = 2_000;
const IS_INDEXED: &str = "octet_length(working_dir) <= 2000";
const IS_NOT_INDEXED: &str = "octet_length(working_dir) > 2000";

const LAST_SEQ: &str = "(SELECT max(seq) FROM conversation_history WHERE task_id = tasks.id)";

pub(crate) fn page(
    conn: &mut Conn,
    call: Operation<'_>,
    query: &TaskQuery,
) -> Result<TaskPage, QueryError> {
    let limit = (query.limit as usize).min(MAX_IDS);
    let prefixes = query.id_prefixes.as_ref().map_or(0, Vec::len);
    let folders = query.folders.as_ref().map_or(0, Vec::len);
    for (field, count) in [("id prefixes", prefixes), ("folders", folders)] {
        if count > MAX_ALTERNATIVES {
            let reason = format!("has more than {MAX_ALTERNATIVES}");
            return Err(ErrorKind::InvalidInput { field, reason }.on(&call).into());
        }
    }
    let statuses = TaskStatus::ALL.iter().copied();
    let statuses = statuses.filter(|it| query.statuses.contains(it));
    let mut statuses: Vec<_> = statuses.map(Some).collect();
    // The indexes have the tasks of one status, in the order of a time. The primary key has all tasks.
    let is_by_id = query.order == TaskOrder::Id && query.active_since.is_none();
    let few = few_tasks(conn, query)?;
    if few.is_some() || (is_by_id && statuses.len() == TaskStatus::ALL.len()) {
        statuses = vec![None];
    }
    let mut keys = Vec::new();
    for status in statuses {
        keys.extend(first_keys(
            conn,
            call,
            query,
            few.as_deref(),
            status,
            limit as i64 + 1,
        )?);
    }
    match query.order {
        TaskOrder::LastActive => keys.sort_unstable_by(|a, b| b.cmp(a)),
        TaskOrder::Created => keys.sort_unstable(),
        TaskOrder::Id => keys.sort_unstable_by(|(_, a), (_, b)| a.cmp(b)),
    }
    let is_more = keys.len() > limit;
    keys.truncate(limit);
    let next = keys.last().filter(|_| is_more);
    let next = next.map(|(time, id)| TaskCursor {
        time: *time,
        id: id.clone(),
    });
    let ids: Vec<TaskId> = keys.into_iter().map(|(_, id)| id).collect();
    let mut tasks = summaries(conn, &ids)
        .map_err(|error| name_damaged(error, conn, call, Ok(ids.clone()), find))?;
    let tasks = ids.iter().filter_map(|id| tasks.remove(id)).collect();
    Ok(TaskPage { tasks, next })
}

/// Returns the tasks with the query's ids or in its folders, and some more, if they fit in a statement. An index has
/// them, and many other tasks may be before them in the order of the list.
fn few_tasks(conn: &mut Conn, query: &TaskQuery) -> QueryResult<Option<Vec<TaskId>>> {
    let most = MAX_IDS as i64 + 1;
    let mut ids: Vec<TaskId>;
    if let Some(ranges) = id_ranges(query) {
        ids = tasks::table
            .filter(is_in("id", &ranges))
            .limit(most)
            .select(tasks::id)
            .load(conn)?;
        // An index has the ids of all sessions that a task ever had.
        ids.extend(
            session_revisions::table
                .filter(is_in("session_id", &ranges))
                .limit(most)
                .select(session_revisions::task_id)
                .load::<TaskId>(conn)?,
        );
    } else if let Some(working_dir) = &query.working_dir {
        // A server's index has no longer folders.
        if working_dir.as_str().len() > LONGEST_INDEXED {
            return Ok(None);
        }
        ids = sessions::table
            .filter(sessions::working_dir.eq(working_dir))
            .filter(sql::<Bool>(IS_INDEXED))
            .limit(most)
            .select(sessions::task_id)
            .load(conn)?;
    } else if let Some(ranges) = folder_ranges(query) {
        ids = Vec::new();
        for is_indexed in [IS_INDEXED, IS_NOT_INDEXED] {
            let of_length = sessions::table
                .filter(is_in("working_dir", &ranges))
                .filter(sql::<Bool>(is_indexed))
                .limit(most - ids.len() as i64)
                .select(sessions::task_id);
            ids.extend(of_length.load::<TaskId>(conn)?);
        }
    } else {
        return Ok(None);
    }
    Ok(Some(ids).filter(|ids| ids.len() <= MAX_IDS))
}

fn id_ranges(query: &TaskQuery) -> Option<Vec<TextRange>> {
    let prefixes = query.id_prefixes.as_ref()?.iter();
    // No id has U+0000, and PostgreSQL takes no text with it.
    let prefixes = prefixes.filter(|prefix| !prefix.contains('\0'));
    Some(prefixes.map(|prefix| TextRange::of_ids(prefix)).collect())
}

fn folder_ranges(query: &TaskQuery) -> Option<Vec<TextRange>> {
    let folders = query.folders.as_ref()?.iter();
    Some(folders.flat_map(TextRange::of_folders).collect())
}

/// Returns the first tasks with a status, or with any, that meet the conditions, at most `limit`: the time that they
/// are sorted by, and their ids.
fn first_keys(
    conn: &mut Conn,
    call: Operation<'_>,
    query: &TaskQuery,
    few: Option<&[TaskId]>,
    status: Option<TaskStatus>,
    limit: i64,
) -> Result<Vec<(UtcMicros, TaskId)>, QueryError> {
    let time = || match query.order {
        TaskOrder::LastActive => sql::<BigInt>("last_active_at"),
        TaskOrder::Created | TaskOrder::Id => sql("created_at"),
    };
    let mut keys = tasks::table
        .limit(limit)
        .select((time(), tasks::id))
        .into_boxed::<Db>();
    if let Some(status) = status {
        keys = keys.filter(tasks::status.eq(status));
    }
    if query.agent_role.is_some() {
        keys = keys.filter(tasks::agent_role.eq(optional(&query.agent_role)));
    }
    let session = sessions::table.filter(sessions::task_id.eq(tasks::id));
    if let Some(backend) = &query.backend {
        keys = keys.filter(exists(session.filter(sessions::backend_type.eq(backend))));
    }
    if let Some(ids) = few {
        // An expression, so that SQLite looks up the ids and not all tasks of these statuses.
        let has_status = tasks::status.concat("").eq_any(&query.statuses);
        keys = keys.filter(tasks::id.eq_any(ids)).filter(has_status);
    }
    if let Some(ranges) = id_ranges(query) {
        let has_session = exists(session.filter(is_in("sessions.session_id", &ranges)));
        keys = keys.filter(is_in("tasks.id", &ranges).or(has_session));
    }
    if let Some(working_dir) = &query.working_dir {
        let is_in = session.filter(sessions::working_dir.eq(working_dir));
        keys = keys.filter(exists(is_in));
    }
    if let Some(ranges) = folder_ranges(query) {
        keys = keys.filter(exists(
            session.filter(is_in("sessions.working_dir", &ranges)),
        ));
    }
    if let Some(time) = query.active_since {
        let time = UtcMicros::new(time).map_err(|error| ErrorKind::from(error).on(&call))?;
        keys = keys.filter(is_active_since(time));
    }
    keys = keys.filter(has_metadata(&query.metadata));
    if let Some(TaskCursor { time: last, id }) = &query.after {
        keys = match query.order {
            TaskOrder::LastActive => {
                let is_after = time().lt(last).or(tasks::id.lt(id));
                keys.filter(time().le(last).and(is_after))
            }
            TaskOrder::Created => {
                let is_after = time().gt(last).or(tasks::id.gt(id));
                keys.filter(time().ge(last).and(is_after))
            }
            TaskOrder::Id => keys.filter(tasks::id.gt(id)),
        };
    }
    keys = match query.order {
        TaskOrder::LastActive => keys.order((time().desc(), tasks::id.desc())),
        TaskOrder::Created => keys.order((time(), tasks::id)),
        TaskOrder::Id => keys.order(tasks::id),
    };
    Ok(keys.load(conn)?)
}

/// Returns the summaries of tasks.
pub(crate) fn summaries(
    conn: &mut Conn,
    ids: &[TaskId],
) -> QueryResult<HashMap<TaskId, TaskSummary>> {
    type Row = (
        (TaskId, StoredText<'static>, TaskStatus, OptionalStoredText),
        (Option<BackendType>, Option<SessionId>, Option<WorkingDir>),
        Option<WorkerId>,
        (UtcMicros, LastActivity, Option<i64>),
    );
    let rows: Vec<Row> = tasks::table
        .left_join(sessions::table.on(sessions::task_id.eq(tasks::id)))
        .filter(tasks::id.eq_any(ids))
        .select((
            (tasks::id, tasks::name, tasks::status, tasks::agent_role),
            (
                sessions::backend_type.nullable(),
                sessions::session_id.nullable(),
                sessions::working_dir.nullable(),
            ),
            tasks::worker,
            (
                tasks::created_at,
                last_activity(),
                sql::<Nullable<BigInt>>(LAST_SEQ),
            ),
        ))
        .load(conn)?;
    let summaries = rows.into_iter().map(|(plan, session, worker, progress)| {
        let (id, name, status, agent_role) = plan;
        let (backend_type, session_id, working_dir) = session;
        let (created_at, last_active_at, last_seq) = progress;
        let summary = TaskSummary {
            id: id.clone(),
            name: name.into(),
            status,
            agent_role: agent_role.into(),
            backend_type,
            session_id,
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
