//! Whole tasks in pages. A page is bounded in bytes as well as in number: the sizes are read before
//! the texts.

use std::collections::HashMap;

use diesel::connection::DefaultLoadingMode;
use diesel::dsl::{count_star, max, sql};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{BigInt, Bool, Integer};
use turnkeep_model::{
    ConversationTurn, MessageKey, Metadata, OptionalStoredText, OptionalUtcMicros, Retraction,
    Role, Seq, Session, SessionRevision, StoredText, TaskId, TaskRow, UtcMicros,
};
use turnkeep_schema::{
    conversation_history as turns, history_retractions as retractions, recording_chunks as chunks,
    recordings, removed_sessions as removed, session_revisions as revisions, sessions,
    task_dependencies as dependencies, tasks,
};

use super::activity::record_activity;
use super::append::Histories as _;
use super::session::{with_ends, without_ends};
use super::usage::ROW_BYTES;
use super::{Conn, Db, MAX_IDS, all_written, by_task, fitting};
use crate::base::checksum;
use crate::base::error::{Error, ErrorKind, Source};
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;
use crate::base::target::Target;
use crate::base::task_record::{DamagedTurn, RowCounts, TaskChange, TaskRecord, TurnSpan};

/// The most turns in a page.
const MAX_PAGE_TURNS: i64 = 4_096;

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

/// Reads the first of these tasks, as many as fit in a page and at least one. Returns how many ids
/// were looked up, and the tasks in the order of their ids; a task that does not exist is left out.
pub(crate) fn tasks(
    conn: &mut Conn,
    call: Operation<'_>,
    ids: &[TaskId],
) -> Result<(usize, Vec<Result<TaskRecord, Error>>), QueryError> {
    // A dependency and a revision count as about the most that their ids take.
    let bytes = sql::<BigInt>(&format!(
        "{ROW_BYTES} + 512 * (SELECT count(*) FROM task_dependencies WHERE task_id = tasks.id) \
         + (SELECT CAST(coalesce(sum(octet_length(metadata)), 0) AS BIGINT) \
            FROM sessions WHERE task_id = tasks.id) \
         + (SELECT CAST(coalesce(sum(1024 + coalesce(octet_length(retired_reason), 0) \
                + coalesce(octet_length(metadata), 0)), 0) AS BIGINT) \
            FROM session_revisions WHERE task_id = tasks.id)"
    ));
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

/// Reads these tasks, in the order of their ids.
fn records(conn: &mut Conn, ids: &[TaskId]) -> QueryResult<Vec<TaskRecord>> {
    let last_seq = turns::table
        .filter(turns::task_id.eq(tasks::id))
        .select(max(turns::seq))
        .single_value();
    let rows: Vec<(TaskRow, Option<i64>)> = tasks::table
        .filter(tasks::id.eq_any(ids))
        .order(tasks::id)
        .select((TaskRow::as_select(), last_seq))
        .load(conn)?;
    let mut depends_on = by_task(super::dependencies::of(conn, ids)?);
    let session: Vec<Session> = sessions::table
        .filter(sessions::task_id.eq_any(ids))
        .select(Session::as_select())
        .load(conn)?;
    let session = session.into_iter().map(|it| (it.task_id.clone(), it));
    let mut session: HashMap<_, _> = session.collect();
    let revisions: Vec<SessionRevision> = revisions::table
        .filter(revisions::task_id.eq_any(ids))
        .order((revisions::task_id, revisions::revision))
        .select(SessionRevision::as_select())
        .load(conn)?;
    let revisions = revisions.into_iter().map(|it| (it.task_id.clone(), it));
    let mut revisions = by_task(revisions);
    let retractions: Vec<Retraction> = retractions::table
        .filter(retractions::task_id.eq_any(ids))
        .order((retractions::task_id, retractions::number))
        .select(Retraction::as_select())
        .load(conn)?;
    let retractions = retractions.into_iter().map(|it| (it.task_id.clone(), it));
    let mut retractions = by_task(retractions);
    let found = rows.into_iter().map(|(row, last_seq)| TaskRecord {
        depends_on: depends_on.remove(&row.id).unwrap_or_default(),
        session: session.remove(&row.id),
        revisions: with_ends(revisions.remove(&row.id).unwrap_or_default()),
        retractions: retractions.remove(&row.id).unwrap_or_default(),
        last_seq: last_seq.unwrap_or(0),
        row,
    });
    Ok(found.collect())
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
    let bytes = sql::<Integer>("octet_length(content) + coalesce(octet_length(metadata), 0)");
    let mut sizes: Vec<(TaskId, i64, i32)> = turns::table
        .filter(in_spans(spans))
        .order((turns::task_id, turns::seq))
        .limit(MAX_PAGE_TURNS)
        .select((turns::task_id, turns::seq, bytes))
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
        Seq,
        Role,
        StoredText<'a>,
        UtcMicros,
        Option<MessageKey>,
        Option<Metadata>,
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
            turns::metadata,
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
            Ok((task_id, seq, role, content, timestamp, message_key, metadata, sum)) => {
                let (content, timestamp) = (content.into(), timestamp.into());
                let mut turn = ConversationTurn::new(task_id, seq, role, content, timestamp);
                turn.message_key = message_key;
                turn.metadata = metadata;
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
    let counts: [i64; 9] = [
        tasks::table.select(count_star()).get_result(conn)?,
        dependencies::table.select(count_star()).get_result(conn)?,
        sessions::table.select(count_star()).get_result(conn)?,
        revisions::table.select(count_star()).get_result(conn)?,
        turns::table.select(count_star()).get_result(conn)?,
        retractions::table.select(count_star()).get_result(conn)?,
        recordings::table.select(count_star()).get_result(conn)?,
        chunks::table.select(count_star()).get_result(conn)?,
        removed::table.select(count_star()).get_result(conn)?,
    ];
    Ok(counts.map(i64::unsigned_abs))
}

/// Inserts rows, at most [`MAX_IDS`] with one statement.
macro_rules! insert_all {
    ($conn:expr, $table:ident, $name:literal, $rows:expr) => {
        for rows in $rows.chunks(MAX_IDS) {
            let rows: Vec<_> = rows.to_vec();
            let count = rows.len();
            let insert = diesel::insert_into($table::table).values(rows);
            all_written(insert.execute($conn)?, count, $name)?;
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
    // Keeps other transactions from changing the tasks, appending to them, binding them to other sessions
    // and retiring their sessions. On a server a task or a first session can still be inserted.
    let tasks = tasks::table
        .filter(tasks::id.eq_any(&ids))
        .order(tasks::id)
        .select(tasks::id);
    locked!(tasks).load::<TaskId>(conn)?;
    let sessions = sessions::table
        .filter(sessions::task_id.eq_any(&ids))
        .order(sessions::task_id)
        .select(sessions::task_id);
    locked!(sessions).load::<TaskId>(conn)?;
    if !records(conn, &ids)?
        .iter()
        .eq(changes.iter().filter_map(|change| change.old))
    {
        return Ok(None);
    }
    match write_changes(conn, call, changes) {
        Err(QueryError::Database(DieselError::DatabaseError(
            DatabaseErrorKind::UniqueViolation,
            _,
        ))) => Ok(None),
        result => result.map(Some),
    }
}

/// Inserts the retractions that are not stored yet, and returns how many those were. Their turns are stored, and those
/// of a task stand together and in order.
pub(crate) fn put_retractions(
    conn: &mut Conn,
    call: Operation<'_>,
    retractions: &[&Retraction],
) -> Result<u64, QueryError> {
    let mut missing = Vec::new();
    for of_task in retractions.chunk_by(|a, b| a.task_id == b.task_id) {
        let task_id = &of_task[0].task_id;
        conn.lock_history(call, &Target::new(task_id, None))?;
        let stored: i64 = retractions::table
            .filter(retractions::task_id.eq(task_id))
            .select(count_star())
            .get_result(conn)?;
        let new = of_task.iter().filter(|it| it.number > stored);
        missing.extend(new.map(|it| (*it).clone()));
    }
    insert_all!(conn, retractions, "history_retractions", missing);
    Ok(missing.len() as u64)
}

fn write_changes(
    conn: &mut Conn,
    call: Operation<'_>,
    changes: &[TaskChange<'_>],
) -> Result<RowCounts, QueryError> {
    let mut new_tasks = Vec::new();
    let mut new_sessions = Vec::new();
    let mut new_revisions = Vec::new();
    let [mut updated, mut unbound, mut retired] = [0; 3];
    for TaskChange { new, old } in changes {
        let id = &new.row.id;
        match old {
            None => {
                let status_changed_at = UtcMicros::from(new.row.status_changed_at);
                new_tasks.push((new.row.clone(), tasks::last_active_at.eq(status_changed_at)));
            }
            Some(old) if old.row == new.row => {}
            Some(_) => {
                let update = diesel::update(tasks::table.find(id)).set(new.row.clone());
                all_written(update.execute(conn)?, 1, "tasks")?;
                record_activity(conn, id, new.row.status_changed_at.into())?;
                updated += 1;
            }
        }
        let old_revisions = old.map_or(&[][..], |old| &old.revisions);
        let pairs = new.revisions.iter().zip(old_revisions);
        for (revision, _) in pairs.filter(|(new, old)| new != old) {
            let reason = revision.retired_reason.clone();
            let retire = diesel::update(revisions::table.find((id, revision.revision))).set((
                revisions::retired_at.eq(OptionalUtcMicros::from(revision.retired_at)),
                revisions::retired_reason.eq(OptionalStoredText::from(reason)),
            ));
            all_written(retire.execute(conn)?, 1, "session_revisions")?;
            retired += 1;
        }
        let stored = without_ends(new.revisions.clone());
        new_revisions.extend(stored.into_iter().skip(old_revisions.len()));
        let old_session = old.and_then(|old| old.session.as_ref());
        // Bound to another session and back again, at one time, it is an equal binding with later revisions.
        if old_session != new.session.as_ref() || new.revisions.len() > old_revisions.len() {
            if old_session.is_some() {
                // The revision is retired: the database puts nothing more on record.
                let delete = diesel::delete(sessions::table.find(id));
                all_written(delete.execute(conn)?, 1, "sessions")?;
                unbound += u64::from(new.session.is_none());
            }
            new_sessions.extend(new.session.clone());
        }
    }
    insert_all!(conn, tasks, "tasks", new_tasks);
    insert_all!(conn, revisions, "session_revisions", new_revisions);
    // After its revision, which the database then does not put on record once more.
    insert_all!(conn, sessions, "sessions", new_sessions);
    let changes: Vec<_> = changes
        .iter()
        .map(|TaskChange { new, old }| {
            let stored = old.map_or(&[][..], |old| &old.depends_on);
            (&new.row.id, stored, &new.depends_on[..])
        })
        .collect();
    let depending = super::dependencies::replace(conn, call, &changes)?;
    Ok([
        updated + new_tasks.len() as u64,
        depending,
        unbound + new_sessions.len() as u64,
        retired + new_revisions.len() as u64,
        0,
        0,
        0,
        0,
        0,
    ])
}
