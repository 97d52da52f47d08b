//! Whole tasks in pages. A page is bounded in bytes as well as in number: the sizes are read before
//! the texts.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use diesel::connection::DefaultLoadingMode;
use diesel::dsl::{count_star, exists, max, sql};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{BigInt, Bool};
use turnkeep_model::{
    ConversationTurn, Counter, FailureMode, FileList, LeaseLength, MessageKey, Role, Session,
    SessionRevision, StoredText, TaskId, TaskRow, TaskStatus, UtcMicros, WorkerId,
};
use turnkeep_schema::{
    conversation_history as turns, session_revisions as revisions, sessions,
    task_dependencies as dependencies, tasks,
};

use super::{Conn, Db, all_written, not_written};
use crate::base::checksum;
use crate::base::error::{Error, ErrorKind, Source};
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;
use crate::base::task_record::{DamagedTurn, RowCounts, TaskChange, TaskRecord, TurnSpan};

/// The most bytes of text in a page of more than one row.
const MAX_PAGE_BYTES: i64 = 4 * 1024 * 1024;

/// The most turns in a page.
const MAX_PAGE_TURNS: i64 = 4_096;

/// The most rows that one statement inserts. SQLite takes 32,766 parameters.
const MAX_INSERTED_ROWS: usize = 1_000;

diesel::define_sql_function! {
    /// Known to both engines. Neither reads a long text for it.
    fn octet_length(text: diesel::sql_types::Text) -> diesel::sql_types::Integer;
}

/// Returns the next ids after one, in order, at most `limit`.
pub(crate) fn task_ids(
    conn: &mut Conn,
    after: Option<&TaskId>,
    limit: i64,
) -> QueryResult<Vec<TaskId>> {
    tasks::table
        .filter(tasks::id.gt(after.map_or("", TaskId::as_str)))
        .order(tasks::id)
        .limit(limit)
        .select(tasks::id)
        .load(conn)
}

/// Returns all dependencies, each a task and one that it waits for.
pub(crate) fn all_dependencies(conn: &mut Conn) -> QueryResult<Vec<(TaskId, TaskId)>> {
    dependencies::table.load(conn)
}

/// Returns the dependencies of these tasks, each a task and one that it waits for, in order.
fn dependencies(conn: &mut Conn, ids: &[TaskId]) -> QueryResult<Vec<(TaskId, TaskId)>> {
    dependencies::table
        .filter(dependencies::task_id.eq_any(ids))
        .order((dependencies::task_id, dependencies::depends_on))
        .load(conn)
}

/// Reads the first of these tasks, as many as fit in a page and at least one. Returns how many ids
/// were looked up, and the tasks in the order of their ids; a task that does not exist is left out.
pub(crate) fn tasks(
    conn: &mut Conn,
    call: Operation<'_>,
    ids: &[TaskId],
) -> Result<(usize, Vec<Result<TaskRecord, Error>>), QueryError> {
    // A dependency and a revision count as about the most that their ids take.
    let bytes = sql::<BigInt>(
        "CAST(octet_length(name) AS BIGINT) + octet_length(prompt) + octet_length(writes_files) \
         + coalesce(octet_length(agent_role), 0) + coalesce(octet_length(result), 0) \
         + coalesce(octet_length(error), 0) \
         + 512 * (SELECT count(*) FROM task_dependencies WHERE task_id = tasks.id) \
         + (SELECT CAST(coalesce(sum(1024 + coalesce(octet_length(retired_reason), 0)), 0) AS BIGINT) \
            FROM session_revisions WHERE task_id = tasks.id)",
    );
    let sizes: Vec<(TaskId, i64)> = tasks::table
        .filter(tasks::id.eq_any(ids))
        .select((tasks::id, bytes))
        .load(conn)?;
    let sizes: HashMap<TaskId, i64> = sizes.into_iter().collect();
    let count = fitting(ids.iter().map(|id| sizes.get(id).copied().unwrap_or(0)));
    let ids = &ids[..count.min(ids.len())];
    let found = match records(conn, ids) {
        Err(DieselError::DeserializationError(_)) => {
            let mut found = Vec::new();
            for id in ids {
                match records(conn, std::slice::from_ref(id)) {
                    Err(DieselError::DeserializationError(source)) => {
                        let damaged = ErrorKind::Corrupt.on(&call.about(id));
                        found.push(Err(damaged.with_source(source)));
                    }
                    record => found.extend(record?.into_iter().map(Ok)),
                }
            }
            found
        }
        records => records?.into_iter().map(Ok).collect(),
    };
    Ok((ids.len(), found))
}

/// Returns how many of these sizes make a page, at least one.
fn fitting(sizes: impl Iterator<Item = i64>) -> usize {
    let mut sum = 0;
    let fitting = sizes.take_while(|bytes| {
        sum += bytes;
        sum <= MAX_PAGE_BYTES
    });
    fitting.count().max(1)
}

/// Reads these tasks, in the order of their ids as they are given.
fn records(conn: &mut Conn, ids: &[TaskId]) -> QueryResult<Vec<TaskRecord>> {
    let last_seq = turns::table
        .filter(turns::task_id.eq(tasks::id))
        .select(max(turns::seq))
        .single_value();
    let rows: Vec<(TaskRow, Option<i64>)> = tasks::table
        .filter(tasks::id.eq_any(ids))
        .select((TaskRow::as_select(), last_seq))
        .load(conn)?;
    let mut rows = by_task(rows, |(row, _)| &row.id);
    let mut depends_on = by_task(self::dependencies(conn, ids)?, |(id, _)| id);
    let session: Vec<Session> = sessions::table
        .filter(sessions::task_id.eq_any(ids))
        .select(Session::as_select())
        .load(conn)?;
    let mut session = by_task(session, |session| &session.task_id);
    let revisions: Vec<SessionRevision> = revisions::table
        .filter(revisions::task_id.eq_any(ids))
        .order((revisions::task_id, revisions::revision))
        .select(SessionRevision::as_select())
        .load(conn)?;
    let mut revisions = by_task(revisions, |revision| &revision.task_id);
    let found = ids.iter().filter_map(|id| {
        let (row, last_seq) = rows.remove(id)?.pop()?;
        let depends_on = depends_on.remove(id).unwrap_or_default().into_iter();
        Some(TaskRecord {
            row,
            depends_on: depends_on.map(|(_, dependency)| dependency).collect(),
            session: session.remove(id).and_then(|mut sessions| sessions.pop()),
            revisions: revisions.remove(id).unwrap_or_default(),
            last_seq: last_seq.unwrap_or(0),
        })
    });
    Ok(found.collect())
}

/// Sorts rows by their task.
fn by_task<T>(rows: Vec<T>, task_id: impl Fn(&T) -> &TaskId) -> HashMap<TaskId, Vec<T>> {
    let mut sorted: HashMap<TaskId, Vec<T>> = HashMap::new();
    for row in rows {
        sorted.entry(task_id(&row).clone()).or_default().push(row);
    }
    sorted
}

type Condition = Box<dyn BoxableExpression<turns::table, Db, SqlType = Bool>>;

fn in_spans(spans: &[TurnSpan]) -> Condition {
    let conditions = spans.iter().map(|span| -> Condition {
        Box::new(
            turns::task_id
                .eq(span.task_id.clone())
                .and(turns::seq.gt(span.after))
                .and(turns::seq.le(span.through)),
        )
    });
    conditions
        .reduce(|all, one| Box::new(all.or(one)))
        .unwrap_or_else(|| Box::new(sql::<Bool>("1 = 0")))
}

/// Returns the first turns of these spans, as many as fit in a page and at least one, in order of
/// their tasks and seqs. The spans are in order of their tasks.
pub(crate) fn turns(
    conn: &mut Conn,
    call: Operation<'_>,
    spans: &[TurnSpan],
) -> Result<Vec<Result<ConversationTurn, DamagedTurn>>, QueryError> {
    let mut sizes: Vec<(TaskId, i64, i32)> = turns::table
        .filter(in_spans(spans))
        .order((turns::task_id, turns::seq))
        .limit(MAX_PAGE_TURNS)
        .select((turns::task_id, turns::seq, octet_length(turns::content)))
        .load(conn)?;
    sizes.truncate(fitting(sizes.iter().map(|(_, _, bytes)| i64::from(*bytes))));
    let Some((last_task, last_seq, _)) = sizes.last() else {
        return Ok(Vec::new());
    };
    let mut spans = spans.to_vec();
    spans.retain(|span| span.task_id <= *last_task);
    if let Some(span) = spans.last_mut() {
        span.through = *last_seq;
    }
    type Row<'a> = (
        TaskId,
        Counter,
        Role,
        StoredText<'a>,
        UtcMicros,
        Option<MessageKey>,
        Option<i64>,
    );
    let rows = turns::table
        .filter(in_spans(&spans))
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
        .load_iter::<Row<'_>, DefaultLoadingMode>(conn)?;
    let damaged = |(task_id, seq, _): &(TaskId, i64, i32), source: Source| DamagedTurn {
        task_id: task_id.clone(),
        seq: *seq,
        error: ErrorKind::Corrupt
            .on(&call.about(task_id))
            .in_part(format_args!("turn {seq}"))
            .with_source(source),
    };
    let mut page = Vec::with_capacity(sizes.len());
    for (row, place) in rows.zip(&sizes) {
        page.push(match row {
            Ok((task_id, seq, role, content, timestamp, message_key, sum)) => {
                let turn = ConversationTurn {
                    task_id,
                    seq: seq.into(),
                    role,
                    content: content.into(),
                    timestamp: timestamp.into(),
                    message_key,
                };
                match checksum::is_right(&turn, sum) {
                    true => Ok(turn),
                    false => Err(damaged(
                        place,
                        "its checksum is that of something else".into(),
                    )),
                }
            }
            Err(DieselError::DeserializationError(source)) => Err(damaged(place, source)),
            Err(error) => return Err(error.into()),
        });
    }
    Ok(page)
}

/// Returns the number of rows of each table.
pub(crate) fn counts(conn: &mut Conn) -> QueryResult<RowCounts> {
    let counts: [i64; 5] = [
        tasks::table.select(count_star()).get_result(conn)?,
        dependencies::table.select(count_star()).get_result(conn)?,
        sessions::table.select(count_star()).get_result(conn)?,
        revisions::table.select(count_star()).get_result(conn)?,
        turns::table.select(count_star()).get_result(conn)?,
    ];
    Ok(counts.map(i64::unsigned_abs))
}

/// The columns of a task.
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

impl<'a> TaskColumns<'a> {
    fn new(call: Operation<'_>, row: &'a TaskRow) -> Result<Self, Error> {
        let micros = |time| micros(call, time);
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
            lease_ends_at: row.lease_ends_at.map(micros).transpose()?,
            lease_length: row.lease_length,
            created_at: micros(row.created_at)?,
            updated_at: micros(row.updated_at)?,
            status_changed_at: micros(row.status_changed_at)?,
        })
    }
}

fn micros(call: Operation<'_>, time: DateTime<Utc>) -> Result<UtcMicros, Error> {
    UtcMicros::new(time).map_err(|error| ErrorKind::from(error).on(&call))
}

/// Inserts rows, at most [`MAX_INSERTED_ROWS`] with one statement.
macro_rules! insert_all {
    ($conn:expr, $table:ident, $name:literal, $rows:expr) => {
        for rows in $rows.chunks(MAX_INSERTED_ROWS) {
            let inserted = diesel::insert_into($table::table)
                .values(rows)
                .execute($conn)?;
            all_written(inserted, rows.len(), $name)?;
        }
    };
}

/// Writes tasks without their turns, and returns the number of rows that were inserted, changed or
/// deleted in each table. Returns `None` if a task is no longer in the state that the caller read;
/// the caller must then roll back.
pub(crate) fn put_tasks(
    conn: &mut Conn,
    call: Operation<'_>,
    changes: &[TaskChange<'_>],
) -> Result<Option<RowCounts>, QueryError> {
    let ids: Vec<TaskId> = changes.iter().map(|it| it.new.row.id.clone()).collect();
    // Keeps other transactions from changing the rows and appending to the histories. On a server
    // sessions can still be bound and retired, which the statements below notice.
    let locked = tasks::table
        .filter(tasks::id.eq_any(&ids))
        .order(tasks::id)
        .select(tasks::id);
    locked!(locked).load::<TaskId>(conn)?;
    if !records(conn, &ids)?
        .iter()
        .eq(changes.iter().filter_map(|change| change.old))
    {
        return Ok(None);
    }
    match write_changes(conn, call, changes) {
        Err(QueryError::Database(
            DieselError::NotFound
            | DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _),
        )) => Ok(None),
        result => result.map(Some),
    }
}

/// Fails with [`DieselError::NotFound`] if a row that is to be changed is gone.
fn write_changes(
    conn: &mut Conn,
    call: Operation<'_>,
    changes: &[TaskChange<'_>],
) -> Result<RowCounts, QueryError> {
    let mut new_tasks = Vec::new();
    let mut new_dependencies = Vec::new();
    let mut new_sessions = Vec::new();
    let mut new_revisions = Vec::new();
    let [mut updated, mut undone, mut unbound, mut retired] = [0; 4];
    for TaskChange { new, old } in changes {
        let id = &new.row.id;
        match old {
            None => new_tasks.push(TaskColumns::new(call, &new.row)?),
            Some(old) if old.row == new.row => {}
            Some(_) => {
                let columns = TaskColumns::new(call, &new.row)?;
                let update = diesel::update(tasks::table.find(id)).set(columns);
                all_written(update.execute(conn)?, 1, "tasks")?;
                updated += 1;
            }
        }
        let old_dependencies = old.map_or(&[][..], |old| &old.depends_on);
        let gone = old_dependencies.iter();
        let gone: Vec<&TaskId> = gone.filter(|id| !new.depends_on.contains(id)).collect();
        if !gone.is_empty() {
            undone += delete_dependencies(conn, id, &gone)?;
        }
        let added = new.depends_on.iter();
        new_dependencies.extend(
            added
                .filter(|depends_on| !old_dependencies.contains(depends_on))
                .map(|depends_on| (id, depends_on)),
        );
        let old_revisions = old.map_or(&[][..], |old| &old.revisions);
        for (new, _) in new
            .revisions
            .iter()
            .zip(old_revisions)
            .filter(|(a, b)| a != b)
        {
            retire(conn, call, new)?;
            retired += 1;
        }
        new_revisions.extend(new.revisions.get(old_revisions.len()..).unwrap_or_default());
        let old_session = old.and_then(|old| old.session.as_ref());
        if old_session != new.session.as_ref() {
            // The revision is retired: the database puts nothing more on record.
            unbound += delete_session(conn, id, old_session.is_some(), new.session.is_none())?;
            new_sessions.extend(&new.session);
        }
    }
    insert_all!(conn, tasks, "tasks", new_tasks);
    let new_revisions = new_revisions.into_iter().map(|revision| {
        let micros = |time| micros(call, time);
        Ok((
            revisions::task_id.eq(&revision.task_id),
            revisions::revision.eq(revision.revision),
            revisions::backend_type.eq(&revision.backend_type),
            revisions::session_id.eq(&revision.session_id),
            revisions::working_dir.eq(&revision.working_dir),
            revisions::saved_at.eq(micros(revision.saved_at)?),
            revisions::retired_at.eq(revision.retired_at.map(micros).transpose()?),
            revisions::retired_reason.eq(revision.retired_reason.as_deref().map(StoredText::from)),
        ))
    });
    let new_revisions = new_revisions.collect::<Result<Vec<_>, Error>>()?;
    insert_all!(conn, revisions, "session_revisions", new_revisions);
    // After its revision, which the database then does not put on record once more.
    let new_sessions = new_sessions.into_iter().map(|session| {
        Ok((
            sessions::task_id.eq(&session.task_id),
            sessions::backend_type.eq(&session.backend_type),
            sessions::session_id.eq(&session.session_id),
            sessions::working_dir.eq(&session.working_dir),
            sessions::created_at.eq(micros(call, session.created_at)?),
            sessions::updated_at.eq(micros(call, session.updated_at)?),
        ))
    });
    let new_sessions = new_sessions.collect::<Result<Vec<_>, Error>>()?;
    insert_all!(conn, sessions, "sessions", new_sessions);
    refuse_unknown(conn, call, &new_dependencies)?;
    let new_dependencies = new_dependencies.into_iter().map(|(task_id, depends_on)| {
        (
            dependencies::task_id.eq(task_id),
            dependencies::depends_on.eq(depends_on),
        )
    });
    let new_dependencies: Vec<_> = new_dependencies.collect();
    insert_all!(conn, dependencies, "task_dependencies", new_dependencies);
    Ok([
        updated + new_tasks.len() as u64,
        undone + new_dependencies.len() as u64,
        unbound + new_sessions.len() as u64,
        retired + new_revisions.len() as u64,
        0,
    ])
}

fn delete_dependencies(
    conn: &mut Conn,
    task_id: &TaskId,
    gone: &[&TaskId],
) -> Result<u64, QueryError> {
    for gone in gone.chunks(MAX_INSERTED_ROWS) {
        let rows = dependencies::table
            .filter(dependencies::task_id.eq(task_id))
            .filter(dependencies::depends_on.eq_any(gone));
        let deleted = diesel::delete(rows).execute(conn)?;
        all_written(deleted, gone.len(), "task_dependencies")?;
    }
    Ok(gone.len() as u64)
}

/// Refuses dependencies on tasks that do not exist, and of a task on itself.
fn refuse_unknown(
    conn: &mut Conn,
    call: Operation<'_>,
    pairs: &[(&TaskId, &TaskId)],
) -> Result<(), QueryError> {
    for pairs in pairs.chunks(MAX_INSERTED_ROWS) {
        let wanted = pairs.iter().map(|(_, depends_on)| depends_on);
        let known: HashSet<TaskId> = tasks::table
            .filter(tasks::id.eq_any(wanted))
            .select(tasks::id)
            .load(conn)?
            .into_iter()
            .collect();
        let is_unknown =
            |(task_id, id): &&(&TaskId, &TaskId)| task_id == id || !known.contains(*id);
        if let Some((task_id, depends_on)) = pairs.iter().find(is_unknown) {
            let depends_on = (*depends_on).clone();
            return Err(ErrorKind::DependencyNotFound { depends_on }
                .on(&call.about(task_id))
                .into());
        }
    }
    Ok(())
}

/// Deletes the binding of a task. Returns 1 if that is all that happens to it.
fn delete_session(
    conn: &mut Conn,
    task_id: &TaskId,
    is_bound: bool,
    stays_unbound: bool,
) -> Result<u64, QueryError> {
    let binding = sessions::table.find(task_id);
    let deleted = diesel::delete(binding).execute(conn)?;
    if is_bound && deleted == 0 {
        return Err(match diesel::select(exists(binding)).get_result(conn)? {
            true => not_written("sessions"),
            false => DieselError::NotFound.into(),
        });
    }
    Ok(u64::from(stays_unbound))
}

/// Retires the open revision of a task.
fn retire(
    conn: &mut Conn,
    call: Operation<'_>,
    revision: &SessionRevision,
) -> Result<(), QueryError> {
    let open = revisions::table
        .find((&revision.task_id, revision.revision))
        .filter(revisions::retired_at.is_null());
    let retired_at = revision.retired_at.map(|time| micros(call, time));
    let retired = diesel::update(open)
        .set((
            revisions::retired_at.eq(retired_at.transpose()?),
            revisions::retired_reason.eq(revision.retired_reason.as_deref().map(StoredText::from)),
        ))
        .execute(conn)?;
    match retired {
        0 if diesel::select(exists(open)).get_result(conn)? => {
            Err(not_written("session_revisions"))
        }
        0 => Err(DieselError::NotFound.into()),
        _ => Ok(()),
    }
}
