//! Checking the data of a store: every row, and the rules that its constraints should have kept.

use std::collections::HashMap;
use std::fmt::Display;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::BigInt;
use turnkeep_model::{Fence, Metadata, RecordingFile, RemovedSession, TaskId, visible};

use super::{Conn, bulk, import, migration, recording, recording_rows};
use crate::base::error::ErrorKind;
use crate::base::finding::{Check, MAX_FINDINGS, SALVAGE, SCHEMA, in_words};
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;
use crate::base::schema_state::{SchemaState, SchemaVersion};
use crate::base::task_record::{TaskRecord, TurnSpan, is_on_record};

/// The most tasks that are read at a time.
const MAX_TASKS: i64 = 256;

/// Reports the version of the schema, and how it differs from the one that the migrations make.
pub(crate) fn schema(conn: &mut Conn, state: &SchemaState) -> Result<Check, QueryError> {
    let newest = match state.version {
        SchemaVersion::Empty | SchemaVersion::Foreign | SchemaVersion::Unknown => None,
        _ => migration::applied(conn)?.pop_last(),
    };
    let mut check = Check::new(SCHEMA, newest.unwrap_or_else(|| "none".into()));
    match state.version {
        SchemaVersion::Current | SchemaVersion::Unknown => {}
        SchemaVersion::Empty => check.find(
            "nothing is in it yet",
            "save a task in it, which makes a store of it, or choose another file",
        ),
        SchemaVersion::Older => check.find(
            "it is older than this program",
            "open it, which brings it up to date and first makes a backup of a file, and check again",
        ),
        SchemaVersion::Newer(_) => {
            check.find("it is newer than this program", "update the program");
        }
        SchemaVersion::Foreign => {
            check.find("it is another program's database", "choose another file");
        }
    }
    check.find_differences(&state.differences);
    Ok(check)
}

/// Checks all rows, in a transaction that sees one state of them. `is_about_data` tells the errors that are
/// findings.
pub(crate) fn data(
    conn: &mut Conn,
    call: Operation<'_>,
    is_about_data: fn(&DieselError) -> bool,
) -> Result<Vec<Check>, QueryError> {
    let failed = |name, failure| Check::failed(name, failure, is_about_data);
    let foreign_keys = foreign_keys(conn);
    let mut checks = vec![foreign_keys.or_else(|failure| failed("foreign keys", failure))?];
    match read_rows(conn, call) {
        Ok(read) => checks.extend(read),
        Err(failure) => checks.push(failed("rows", failure)?),
    }
    Ok(checks)
}

/// Looks for rows that belong to no task, and for chunks that belong to no recording.
fn foreign_keys(conn: &mut Conn) -> Result<Check, QueryError> {
    let columns = [
        ("task_dependencies", "task_id"),
        ("task_dependencies", "depends_on"),
        ("sessions", "task_id"),
        ("session_revisions", "task_id"),
        ("conversation_history", "task_id"),
        ("history_retractions", "task_id"),
        ("recordings", "task_id"),
        ("recording_chunks", "number"),
    ];
    let mut check = Check::new("foreign keys", "ok");
    for (table, column) in columns {
        let (parent, condition) = match column {
            "number" => (
                "recording",
                "recordings AS it WHERE it.task_id = recording_chunks.task_id \
                 AND it.number = recording_chunks.number"
                    .into(),
            ),
            _ => ("task", format!("tasks WHERE tasks.id = {table}.{column}")),
        };
        let rows: i64 = sql::<BigInt>(&format!(
            "SELECT count(*) FROM {table} WHERE NOT EXISTS (SELECT 1 FROM {condition})"
        ))
        .get_result(conn)?;
        if rows > 0 {
            check.result = "broken".into();
            check.find(
                format!("{table}.{column}: {rows} rows name a {parent} that does not exist"),
                SALVAGE,
            );
        }
    }
    Ok(check)
}

/// Reads every row as the type it stands for. Looks for missing turns and session revisions and for retractions and
/// revisions of turns that are not there, and compares the current sessions with the record of them.
fn read_rows(conn: &mut Conn, call: Operation<'_>) -> Result<Vec<Check>, QueryError> {
    let [
        tasks,
        dependencies,
        bindings,
        revisions,
        turns,
        retractions,
        files,
        chunks,
        removed,
    ] = bulk::counts(conn)?;
    let mut rows = Check::new(
        "rows",
        format!(
            "tasks: {tasks}, dependencies: {dependencies}, sessions: {bindings}, \
             session revisions: {revisions}, turns: {turns}, retractions: {retractions}, \
             recordings: {files}, chunks: {chunks}, removed sessions: {removed}"
        ),
    );
    let mut histories = Check::new("histories", "without gaps");
    let mut sessions = Check::new("sessions", "as they are on record");
    let mut recordings = Check::new("recordings", "whole");
    let mut after: Option<TaskId> = None;
    loop {
        let ids = bulk::task_ids(conn, after.as_ref(), MAX_TASKS)?;
        after = ids.last().cloned();
        if after.is_none() {
            break;
        }
        let mut last_seqs = Vec::new();
        let mut rest = &ids[..];
        while !rest.is_empty() {
            let (count, tasks) = bulk::tasks(conn, call, rest)?;
            rest = &rest[count..];
            for task in tasks {
                match task {
                    Ok(task) => {
                        check_fence(&task, &mut rows);
                        let id = visible(task.row.id.as_str());
                        let subject = format_args!("task `{id}`");
                        check_metadata(subject, task.row.metadata.as_ref(), &mut rows);
                        for revision in &task.revisions {
                            let subject = format_args!(
                                "session revision {} of task `{id}`",
                                revision.revision
                            );
                            check_metadata(subject, revision.metadata.as_ref(), &mut rows);
                        }
                        check_sessions(&task, &mut sessions);
                        check_retractions(&task, &mut histories);
                        last_seqs.push((task.row.id, task.last_seq));
                    }
                    Err(damage) => rows.find(in_words(&damage), SALVAGE),
                }
            }
        }
        read_recordings(conn, call, &ids, &mut recordings)?;
        let counts = read_turns(conn, call, ids, &mut rows)?;
        for (task_id, last) in last_seqs {
            let count = counts.get(&task_id).copied().unwrap_or(0);
            if count != last {
                let task_id = visible(task_id.as_str());
                let what = format!(
                    "task `{task_id}` has {count} turns, the last of which is number {last}"
                );
                histories.find(what, SALVAGE);
            }
        }
    }
    for (check, damaged) in [
        (&mut histories, "damaged"),
        (&mut sessions, "not as they are on record"),
        (&mut recordings, "damaged"),
    ] {
        check.findings.truncate(MAX_FINDINGS as usize);
        if !check.findings.is_empty() {
            check.result = damaged.into();
        }
    }
    read_removed_sessions(conn, call, &mut rows)?;
    Ok(vec![rows, histories, sessions, recordings])
}

/// Reads all chunks of the recordings of these tasks, and verifies their checksums.
fn read_recordings(
    conn: &mut Conn,
    call: Operation<'_>,
    ids: &[TaskId],
    check: &mut Check,
) -> Result<(), QueryError> {
    let mut found = Vec::new();
    match recording::list_all(conn, ids) {
        Err(DieselError::DeserializationError(_)) => {
            for id in ids {
                match recording::list(conn, id) {
                    Err(DieselError::DeserializationError(source)) => {
                        let damaged = ErrorKind::Corrupt.on(&call.about(id));
                        let damaged = damaged.in_part("a recording").with_source(source);
                        check.find(in_words(&damaged), SALVAGE);
                    }
                    files => found.extend(files?),
                }
            }
        }
        files => found = files?,
    }
    for file in found {
        if let Err((offset, reason)) = read_chunks(conn, &file)? {
            let (name, id) = (visible(file.name.as_str()), visible(file.task_id.as_str()));
            check.find(
                format!(
                    "recording {} of task `{id}` is damaged at byte {offset}: {reason} (`{name}`)",
                    file.number
                ),
                "if the agent still has the file, drop the task's recordings and import it again; \
                 otherwise restore a backup",
            );
        }
    }
    Ok(())
}

/// Returns the place of the first chunk that is missing or damaged, and the reason.
fn read_chunks(conn: &mut Conn, file: &RecordingFile) -> QueryResult<Result<(), (u64, String)>> {
    let mut at = 0;
    while at < file.length {
        let page = match recording_rows::chunks(conn, file, at) {
            Err(DieselError::DeserializationError(source)) => {
                return Ok(Err((at, source.to_string())));
            }
            page => page?,
        };
        let end = at;
        for chunk in page {
            if u64::try_from(chunk.offset) != Ok(at) || chunk.end() <= at {
                break;
            }
            if let Err(reason) = chunk.bytes() {
                return Ok(Err((at, reason.to_string())));
            }
            at = chunk.end();
        }
        if at == end {
            return Ok(Err((at, "the next chunk is missing".into())));
        }
    }
    Ok(Ok(()))
}

fn read_removed_sessions(
    conn: &mut Conn,
    call: Operation<'_>,
    check: &mut Check,
) -> Result<(), QueryError> {
    let mut last: Option<RemovedSession> = None;
    loop {
        let page = match import::removed_page(conn, last.as_ref(), MAX_TASKS) {
            Err(DieselError::DeserializationError(source)) => {
                let damaged = ErrorKind::Corrupt.on(&call).in_part("a removed session");
                check.find(in_words(&damaged.with_source(source)), SALVAGE);
                return Ok(());
            }
            page => page?,
        };
        last = page.last().cloned();
        if last.is_none() {
            return Ok(());
        }
    }
}

/// Another program may store metadata that the database accepts and the type refuses.
fn check_metadata(subject: impl Display, metadata: Option<&Metadata>, check: &mut Check) {
    if let Some(Err(error)) = metadata.map(|it| Metadata::new(it.as_str())) {
        check.find(
            format!("{subject} has {error}"),
            "another program wrote them; move the task with `copy`, because an import of an export refuses it",
        );
    }
}

fn check_fence(task: &TaskRecord, check: &mut Check) {
    if task.row.fence == Fence::MAX {
        check.find(
            format!(
                "task `{}` can't be given out any more: its fence is {}, the highest there is",
                visible(task.row.id.as_str()),
                Fence::MAX
            ),
            "delete the task and save it again, then its fence counts from 0",
        );
    }
}

fn check_retractions(task: &TaskRecord, check: &mut Check) {
    if let Some(fault) = task.retraction_fault() {
        let what = format!("task `{}`: {fault}", visible(task.row.id.as_str()));
        check.find(what, SALVAGE);
    }
}

/// Checks the revisions, and that the session is the open one of them.
fn check_sessions(task: &TaskRecord, check: &mut Check) {
    let task_id = visible(task.row.id.as_str());
    if let Some(fault) = task.revision_fault() {
        check.find(format!("task `{task_id}`: {fault}"), SALVAGE);
    }
    let open = task.revisions.iter().find(|it| it.retired_at.is_none());
    let is_right = match (&task.session, open) {
        (Some(session), Some(open)) => is_on_record(session, open),
        (session, open) => session.is_none() && open.is_none(),
    };
    if !is_right {
        check.find(
            format!("the session of task `{task_id}` is not the one on record as the current one"),
            "look up the revisions of its sessions, and save the right session",
        );
    }
}

/// Reads all turns of these tasks, whatever their numbers. Returns how many each task has.
fn read_turns(
    conn: &mut Conn,
    call: Operation<'_>,
    ids: Vec<TaskId>,
    check: &mut Check,
) -> Result<HashMap<TaskId, i64>, QueryError> {
    let spans = ids.into_iter().map(|task_id| TurnSpan {
        task_id,
        after: i64::MIN,
        through: i64::MAX,
    });
    let mut spans: Vec<TurnSpan> = spans.collect();
    let mut counts = HashMap::new();
    loop {
        let mut last = None;
        for turn in bulk::turns(conn, call, &spans)? {
            let (task_id, seq) = match turn {
                Ok(turn) => {
                    let id = visible(turn.task_id.as_str());
                    let subject = format_args!("turn {} of task `{id}`", turn.seq);
                    check_metadata(subject, turn.metadata.as_ref(), check);
                    (turn.task_id, turn.seq.get())
                }
                Err(damaged) => {
                    check.find(in_words(&damaged.error), SALVAGE);
                    (damaged.task_id, damaged.seq)
                }
            };
            *counts.entry(task_id.clone()).or_default() += 1;
            last = Some((task_id, seq));
        }
        let Some((task_id, seq)) = last else {
            return Ok(counts);
        };
        spans.retain(|span| span.task_id >= task_id);
        if let Some(span) = spans.first_mut() {
            span.after = seq;
        }
    }
}
