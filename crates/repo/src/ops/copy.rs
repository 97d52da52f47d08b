//! What a copy of a store reads and writes. Pages are bounded in bytes as well as in number: their
//! sizes are asked for before the texts are.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::connection::DefaultLoadingMode;
use diesel::dsl::{count_star, exists, max, sql};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::BigInt;
use turnkeep_model::{
    BackendType, ConversationTurn, Counter, FailureMode, FileList, LeaseLength, MessageKey, Role,
    Session, SessionId, SessionRevision, StoredText, TaskId, TaskRow, TaskStatus, UtcMicros,
    WorkerId, WorkingDir,
};
use turnkeep_schema::{
    conversation_history as turns, session_revisions as revisions, sessions,
    task_dependencies as dependencies, tasks,
};

use super::{Conn, all_written, not_written};
use crate::admin::copy::{CopiedRows, RowPlan, Seen, Snapshot, conflict, plan};
use crate::base::checksum;
use crate::base::error::{Error, ErrorKind};
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;

/// Most bytes of a page, if it has more than one row.
const MOST_BYTES: i64 = 4 * 1024 * 1024;

/// Most rows of a statement: of a task each has 16 parameters, of which SQLite takes 32,766.
const MOST_ROWS: usize = 1_000;

diesel::define_sql_function! {
    /// Known to every engine, and none has to read a long text for it.
    fn octet_length(text: diesel::sql_types::Text) -> diesel::sql_types::Integer;
}

/// Returns the ids of the next tasks after one, in order: at most `limit`, and no more than can be
/// read at once with their dependencies and sessions.
pub(crate) fn page_of_ids(
    conn: &mut Conn,
    after: Option<&TaskId>,
    limit: i64,
) -> QueryResult<Vec<TaskId>> {
    // A dependency and a revision count for what their ids take at most, or about that.
    let bytes = sql::<BigInt>(
        "CAST(octet_length(name) AS BIGINT) + octet_length(prompt) + octet_length(writes_files) \
         + coalesce(octet_length(agent_role), 0) + coalesce(octet_length(result), 0) \
         + coalesce(octet_length(error), 0) \
         + 512 * (SELECT count(*) FROM task_dependencies WHERE task_id = tasks.id) \
         + (SELECT CAST(coalesce(sum(1024 + coalesce(octet_length(retired_reason), 0)), 0) AS BIGINT) \
            FROM session_revisions WHERE task_id = tasks.id)",
    );
    let sizes: Vec<(TaskId, i64)> = tasks::table
        .filter(tasks::id.gt(after.map_or("", TaskId::as_str)))
        .order(tasks::id)
        .limit(limit)
        .select((tasks::id, bytes))
        .load(conn)?;
    let fitting = fitting(sizes.iter().map(|(_, bytes)| *bytes));
    Ok(sizes.into_iter().take(fitting).map(|(id, _)| id).collect())
}

/// Returns how many of these sizes make a page: one at least.
fn fitting(sizes: impl Iterator<Item = i64>) -> usize {
    let mut sum = 0;
    let fitting = sizes.take_while(|bytes| {
        sum += bytes;
        sum <= MOST_BYTES
    });
    fitting.count().max(1)
}

/// Returns those of the tasks that there are, in order of their ids.
pub(crate) fn snapshots(
    conn: &mut Conn,
    call: Operation<'_>,
    ids: &[&TaskId],
) -> Result<Vec<Snapshot>, QueryError> {
    let error = match all_snapshots(conn, ids) {
        Err(error @ DieselError::DeserializationError(_)) => error,
        result => return Ok(result?),
    };
    for id in ids {
        if let Err(DieselError::DeserializationError(source)) = all_snapshots(conn, &[id]) {
            return Err(ErrorKind::Corrupt
                .on(&call.about(id))
                .with_source(source)
                .into());
        }
    }
    Err(error.into())
}

fn all_snapshots(conn: &mut Conn, ids: &[&TaskId]) -> QueryResult<Vec<Snapshot>> {
    let last_seq = turns::table
        .filter(turns::task_id.eq(tasks::id))
        .select(max(turns::seq))
        .single_value();
    let rows: Vec<(TaskRow, Option<i64>)> = tasks::table
        .filter(tasks::id.eq_any(ids))
        .order(tasks::id)
        .select((TaskRow::as_select(), last_seq))
        .load(conn)?;
    let mut depends_on: HashMap<TaskId, Vec<TaskId>> = HashMap::new();
    for (task_id, dependency) in self::dependencies(conn, ids)? {
        depends_on.entry(task_id).or_default().push(dependency);
    }
    let bindings: Vec<Session> = sessions::table
        .filter(sessions::task_id.eq_any(ids))
        .select(Session::as_select())
        .load(conn)?;
    let bindings = bindings.into_iter();
    let mut bindings: HashMap<TaskId, Session> = bindings
        .map(|session| (session.task_id.clone(), session))
        .collect();
    let record: Vec<SessionRevision> = revisions::table
        .filter(revisions::task_id.eq_any(ids))
        .order((revisions::task_id, revisions::revision))
        .select(SessionRevision::as_select())
        .load(conn)?;
    let mut of_task: HashMap<TaskId, Vec<SessionRevision>> = HashMap::new();
    for revision in record {
        let task_id = revision.task_id.clone();
        of_task.entry(task_id).or_default().push(revision);
    }
    let rows = rows.into_iter();
    Ok(rows
        .map(|(row, last_seq)| Snapshot {
            depends_on: depends_on.remove(&row.id).unwrap_or_default(),
            session: bindings.remove(&row.id),
            revisions: of_task.remove(&row.id).unwrap_or_default(),
            last_seq: last_seq.unwrap_or(0),
            row,
        })
        .collect())
}

pub(crate) fn dependencies(conn: &mut Conn, ids: &[&TaskId]) -> QueryResult<Vec<(TaskId, TaskId)>> {
    dependencies::table
        .filter(dependencies::task_id.eq_any(ids))
        .order((dependencies::task_id, dependencies::depends_on))
        .load(conn)
}

/// Returns the turns of these tasks after one seq and up to another, in order, or the first of them
/// if they are too large for a page. Then it is whole histories, or a part of the first one.
pub(crate) fn page_of_turns(
    conn: &mut Conn,
    call: Operation<'_>,
    ids: &[&TaskId],
    after: i64,
    upto: i64,
) -> Result<Vec<ConversationTurn>, QueryError> {
    let sizes: Vec<(TaskId, i64, i32)> = turns::table
        .filter(turns::task_id.eq_any(ids))
        .filter(turns::seq.gt(after))
        .filter(turns::seq.le(upto))
        .order((turns::task_id, turns::seq))
        .select((turns::task_id, turns::seq, octet_length(turns::content)))
        .load(conn)?;
    let page = &sizes[..end_of_page(&sizes)];
    let (Some(first), Some(last)) = (page.first(), page.last()) else {
        return Ok(Vec::new());
    };
    let is_one = first.0 == last.0;
    let in_page: Vec<&TaskId> = ids.iter().copied().filter(|id| **id <= last.0).collect();
    let rows = turns::table
        .filter(turns::task_id.eq_any(&in_page))
        .filter(turns::seq.gt(after))
        .filter(turns::seq.le(if is_one { last.1 } else { upto }))
        .order((turns::task_id, turns::seq))
        .select((
            turns::task_id,
            turns::seq,
            turns::role,
            turns::content,
            turns::timestamp,
            turns::message_key,
            turns::checksum,
        ))
        .load_iter::<(
            TaskId,
            Counter,
            Role,
            StoredText<'_>,
            UtcMicros,
            Option<MessageKey>,
            Option<i64>,
        ), DefaultLoadingMode>(conn)?;
    let mut found = Vec::with_capacity(page.len());
    for row in rows {
        match (row, page.get(found.len())) {
            (Ok((task_id, seq, role, content, timestamp, message_key, sum)), _) => {
                let turn = ConversationTurn {
                    task_id,
                    seq: seq.into(),
                    role,
                    content: content.into(),
                    timestamp: timestamp.into(),
                    message_key,
                };
                if !checksum::is_right(&turn, sum) {
                    return Err(ErrorKind::Corrupt
                        .on(&call.about(&turn.task_id))
                        .in_part(format_args!("turn {}", turn.seq))
                        .with_source("its checksum is that of something else")
                        .into());
                }
                found.push(turn);
            }
            (Err(DieselError::DeserializationError(source)), Some((task_id, seq, _))) => {
                return Err(ErrorKind::Corrupt
                    .on(&call.about(task_id))
                    .in_part(format_args!("turn {seq}"))
                    .with_source(source)
                    .into());
            }
            (Err(error), _) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// Returns where the page ends: after the last history that fits as a whole, or within the first.
fn end_of_page(sizes: &[(TaskId, i64, i32)]) -> usize {
    let end = fitting(sizes.iter().map(|(_, _, bytes)| i64::from(*bytes)));
    let Some((cut, _, _)) = sizes.get(end) else {
        return sizes.len();
    };
    let whole = sizes[..end]
        .iter()
        .rposition(|(task_id, _, _)| task_id != cut);
    whole.map_or(end, |last| last + 1)
}

pub(crate) fn counts(conn: &mut Conn) -> QueryResult<[i64; 5]> {
    Ok([
        tasks::table.select(count_star()).get_result(conn)?,
        dependencies::table.select(count_star()).get_result(conn)?,
        sessions::table.select(count_star()).get_result(conn)?,
        revisions::table.select(count_star()).get_result(conn)?,
        turns::table.select(count_star()).get_result(conn)?,
    ])
}

pub(crate) fn is_task(conn: &mut Conn, id: &TaskId) -> QueryResult<bool> {
    diesel::select(exists(tasks::table.find(id))).get_result(conn)
}

/// The columns of a task, as it is at the source.
#[derive(Insertable, AsChangeset)]
#[diesel(table_name = tasks, treat_none_as_default_value = false, treat_none_as_null = true)]
struct TaskColumns<'a> {
    id: &'a TaskId,
    name: StoredText<'a>,
    agent_role: Option<StoredText<'a>>,
    prompt: StoredText<'a>,
    writes_files: FileList,
    status: TaskStatus,
    failure_mode: FailureMode,
    result: Option<StoredText<'a>>,
    error: Option<StoredText<'a>>,
    worker: Option<&'a WorkerId>,
    fence: i64,
    lease_ends_at: Option<UtcMicros>,
    lease_length: Option<LeaseLength>,
    created_at: UtcMicros,
    updated_at: UtcMicros,
    status_changed_at: UtcMicros,
}

#[derive(Insertable)]
#[diesel(table_name = sessions, treat_none_as_default_value = false)]
struct SessionColumns<'a> {
    task_id: &'a TaskId,
    backend_type: &'a BackendType,
    session_id: &'a SessionId,
    working_dir: Option<&'a WorkingDir>,
    created_at: UtcMicros,
    updated_at: UtcMicros,
}

#[derive(Insertable)]
#[diesel(table_name = revisions, treat_none_as_default_value = false)]
struct RevisionColumns<'a> {
    task_id: &'a TaskId,
    revision: i64,
    backend_type: &'a BackendType,
    session_id: &'a SessionId,
    working_dir: Option<&'a WorkingDir>,
    saved_at: UtcMicros,
    retired_at: Option<UtcMicros>,
    retired_reason: Option<StoredText<'a>>,
}

/// Makes tasks the same as at the source, but for their turns and for dependencies that they lack.
/// Refuses all of them if one can't be, or has changed since it was looked at.
pub(crate) fn take_over_tasks(
    conn: &mut Conn,
    call: Operation<'_>,
    seen: &[Seen],
) -> Result<CopiedRows, QueryError> {
    let ids: Vec<&TaskId> = seen.iter().map(|seen| &seen.source.row.id).collect();
    lock(conn, &ids)?;
    let stored = snapshots(conn, call, &ids)?;
    let of_task: HashMap<&TaskId, &Snapshot> = stored
        .iter()
        .map(|stored| (&stored.row.id, stored))
        .collect();
    let mut rows = CopiedRows::default();
    let mut new_tasks = Vec::new();
    let mut new_revisions = Vec::new();
    let mut new_sessions = Vec::new();
    for Seen {
        source, last_seq, ..
    } in seen
    {
        let stored = of_task.get(&source.row.id).copied();
        let plan = plan(call, source, stored)?;
        refuse_other_turns(call, source, stored, *last_seq)?;
        match plan.row {
            RowPlan::Keep => {}
            RowPlan::Insert => new_tasks.push(TaskColumns::new(call, &source.row)?),
            RowPlan::Update => {
                update(conn, TaskColumns::new(call, &source.row)?)?;
                rows.tasks += 1;
            }
        }
        if plan.drops_dependencies {
            rows.dependencies += delete_dependencies(conn, source, stored)?;
        }
        if !plan.rebinds() {
            continue;
        }
        if let Some(revision) = plan.retired {
            rows.revisions += retire(conn, call, revision)?;
        }
        for revision in plan.new_revisions {
            new_revisions.push(RevisionColumns::new(call, revision)?);
        }
        if stored.and_then(|stored| stored.session.as_ref()) != source.session.as_ref() {
            rows.sessions += 1;
            // Its revision is retired: nothing more is put on record.
            delete_session(conn, call, &source.row.id, stored)?;
            if let Some(session) = &source.session {
                new_sessions.push(SessionColumns::new(call, session)?);
            }
        }
    }
    rows.tasks += new_tasks.len() as u64;
    for tasks in new_tasks.chunks(MOST_ROWS) {
        let inserted = diesel::insert_into(tasks::table)
            .values(tasks)
            .execute(conn)
            .map_err(|error| saved_meanwhile(error, call, seen))?;
        all_written(inserted, tasks.len(), "tasks")?;
    }
    rows.revisions += new_revisions.len() as u64;
    for revisions in new_revisions.chunks(MOST_ROWS) {
        let inserted = diesel::insert_into(revisions::table)
            .values(revisions)
            .execute(conn)?;
        all_written(inserted, revisions.len(), "session_revisions")?;
    }
    // After its revision, which is not put on record once more then.
    for sessions in new_sessions.chunks(MOST_ROWS) {
        let inserted = diesel::insert_into(sessions::table)
            .values(sessions)
            .execute(conn)?;
        all_written(inserted, sessions.len(), "sessions")?;
    }
    Ok(rows)
}

/// Has nobody else change or delete these tasks, or append to their histories, until the transaction
/// ends. On a server sessions can still be bound and retired: a revision that is in the way then has
/// the transaction fail.
fn lock(conn: &mut Conn, ids: &[&TaskId]) -> QueryResult<()> {
    let rows = tasks::table
        .filter(tasks::id.eq_any(ids))
        .order(tasks::id)
        .select(tasks::id);
    locked!(rows).load::<TaskId>(conn).map(|_| ())
}

/// Refuses a task whose turns at the destination are not those that were compared.
fn refuse_other_turns(
    call: Operation<'_>,
    source: &Snapshot,
    stored: Option<&Snapshot>,
    expected: i64,
) -> Result<(), QueryError> {
    let actual = stored.map_or(0, |stored| stored.last_seq);
    if actual == expected {
        return Ok(());
    }
    Err(ErrorKind::SeqConflict { expected, actual }
        .on(&call.about(&source.row.id))
        .into())
}

fn update(conn: &mut Conn, task: TaskColumns<'_>) -> Result<(), QueryError> {
    let updated = diesel::update(tasks::table.find(task.id)).set(task);
    all_written(updated.execute(conn)?, 1, "tasks")
}

/// Deletes the dependencies that the task does not have at the source.
fn delete_dependencies(
    conn: &mut Conn,
    source: &Snapshot,
    stored: Option<&Snapshot>,
) -> Result<u64, QueryError> {
    let others = dependencies::table
        .filter(dependencies::task_id.eq(&source.row.id))
        .filter(dependencies::depends_on.ne_all(&source.depends_on));
    let deleted = diesel::delete(others).execute(conn)?;
    let stored = stored.map_or(&[][..], |stored| &stored.depends_on);
    let expected = stored.iter().filter(|id| !source.depends_on.contains(id));
    // On a server another copy may have added one meanwhile.
    if deleted < expected.count() {
        return Err(not_written("task_dependencies"));
    }
    Ok(deleted as u64)
}

/// Deletes the binding of a task. Refuses one that others have retired since it was looked at.
fn delete_session(
    conn: &mut Conn,
    call: Operation<'_>,
    task_id: &TaskId,
    stored: Option<&Snapshot>,
) -> Result<(), QueryError> {
    let binding = sessions::table.find(task_id);
    let deleted = diesel::delete(binding).execute(conn)?;
    let is_bound = stored.is_some_and(|stored| stored.session.is_some());
    if deleted == 1 || !is_bound {
        return Ok(());
    }
    Err(match diesel::select(exists(binding)).get_result(conn)? {
        true => not_written("sessions"),
        false => conflict(call, task_id, "was bound otherwise meanwhile").into(),
    })
}

/// Retires the open revision of a task as it was retired at the source. Refuses one that others have
/// retired since it was looked at.
fn retire(
    conn: &mut Conn,
    call: Operation<'_>,
    revision: &SessionRevision,
) -> Result<u64, QueryError> {
    let columns = RevisionColumns::new(call, revision)?;
    let open = revisions::table
        .find((columns.task_id, columns.revision))
        .filter(revisions::retired_at.is_null());
    let is_open = exists(open);
    let retire = diesel::update(open).set((
        revisions::retired_at.eq(columns.retired_at),
        revisions::retired_reason.eq(columns.retired_reason),
    ));
    match retire.execute(conn)? {
        0 if diesel::select(is_open).get_result(conn)? => Err(not_written("session_revisions")),
        0 => Err(conflict(call, columns.task_id, "was bound otherwise meanwhile").into()),
        rows => Ok(rows as u64),
    }
}

/// Reads a key that was taken between a look and an insert, where the two can come apart.
fn saved_meanwhile(error: DieselError, call: Operation<'_>, seen: &[Seen]) -> QueryError {
    match (&error, seen.first()) {
        (DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _), Some(first)) => {
            conflict(
                call,
                &first.source.row.id,
                "or one after it was saved meanwhile",
            )
            .into()
        }
        _ => error.into(),
    }
}

/// Adds dependencies, each a task and one that it waits for; returns how many were missing.
pub(crate) fn take_over_dependencies(
    conn: &mut Conn,
    call: Operation<'_>,
    pairs: &[(TaskId, TaskId)],
) -> Result<u64, QueryError> {
    let mut added = 0;
    for (task_id, depends_on) in pairs {
        let columns = (
            dependencies::task_id.eq(task_id),
            dependencies::depends_on.eq(depends_on),
        );
        // Another copy may have added it.
        let insert = diesel::insert_into(dependencies::table)
            .values(columns)
            .on_conflict_do_nothing();
        let inserted = insert.execute(conn).map_err(|error| match error {
            DieselError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _) => {
                let reason = format!("waits for `{depends_on}`, which was not there to be copied");
                QueryError::Refused(conflict(call, task_id, reason))
            }
            error => error.into(),
        })?;
        let pair = dependencies::table.find((task_id, depends_on));
        if inserted == 0 && !diesel::select(exists(pair)).get_result(conn)? {
            return Err(not_written("task_dependencies"));
        }
        added += inserted as u64;
    }
    Ok(added)
}

impl<'a> TaskColumns<'a> {
    fn new(call: Operation<'_>, row: &'a TaskRow) -> Result<Self, Error> {
        Ok(Self {
            id: &row.id,
            name: row.name.as_str().into(),
            agent_role: row.agent_role.as_deref().map(StoredText::from),
            prompt: row.prompt.as_str().into(),
            writes_files: row.writes_files.as_slice().into(),
            status: row.status,
            failure_mode: row.failure_mode,
            result: row.result.as_deref().map(StoredText::from),
            error: row.error.as_deref().map(StoredText::from),
            worker: row.worker.as_ref(),
            fence: row.fence,
            lease_ends_at: row
                .lease_ends_at
                .map(|time| micros(call, time))
                .transpose()?,
            lease_length: row.lease_length,
            created_at: micros(call, row.created_at)?,
            updated_at: micros(call, row.updated_at)?,
            status_changed_at: micros(call, row.status_changed_at)?,
        })
    }
}

impl<'a> SessionColumns<'a> {
    fn new(call: Operation<'_>, session: &'a Session) -> Result<Self, Error> {
        Ok(Self {
            task_id: &session.task_id,
            backend_type: &session.backend_type,
            session_id: &session.session_id,
            working_dir: session.working_dir.as_ref(),
            created_at: micros(call, session.created_at)?,
            updated_at: micros(call, session.updated_at)?,
        })
    }
}

impl<'a> RevisionColumns<'a> {
    fn new(call: Operation<'_>, revision: &'a SessionRevision) -> Result<Self, Error> {
        Ok(Self {
            task_id: &revision.task_id,
            revision: revision.revision,
            backend_type: &revision.backend_type,
            session_id: &revision.session_id,
            working_dir: revision.working_dir.as_ref(),
            saved_at: micros(call, revision.saved_at)?,
            retired_at: revision
                .retired_at
                .map(|time| micros(call, time))
                .transpose()?,
            retired_reason: revision.retired_reason.as_deref().map(StoredText::from),
        })
    }
}

fn micros(call: Operation<'_>, time: DateTime<Utc>) -> Result<UtcMicros, Error> {
    UtcMicros::new(time).map_err(|error| ErrorKind::from(error).on(&call))
}
