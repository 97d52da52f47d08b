//! Checking the data of a store: every row, and the rules that its constraints should have kept.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Text};
use turnkeep_model::{Counter, TaskId, visible};
use turnkeep_schema::tasks;

use super::{Conn, bulk, migration};
use crate::base::finding::{Check, MAX_FINDINGS, SALVAGE, SCHEMA, in_words};
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;
use crate::base::schema_state::{SchemaState, SchemaVersion};
use crate::base::task_record::TurnSpan;

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

type Look = fn(&mut Conn, Operation<'_>) -> Result<Check, QueryError>;

/// Checks all rows, in a transaction that sees one state of them. `is_about_data` tells the errors that are
/// findings.
pub(crate) fn data(
    conn: &mut Conn,
    call: Operation<'_>,
    is_about_data: fn(&DieselError) -> bool,
) -> Result<Vec<Check>, QueryError> {
    let looks: [(_, Look); 4] = [
        ("foreign keys", foreign_keys),
        ("rows", rows),
        ("histories", histories),
        ("sessions", sessions),
    ];
    let mut checks = Vec::with_capacity(looks.len());
    for (name, look) in looks {
        let check = look(conn, call);
        checks.push(check.or_else(|failure| Check::failed(name, failure, is_about_data))?);
    }
    Ok(checks)
}

/// Looks for rows that belong to no task.
fn foreign_keys(conn: &mut Conn, _: Operation<'_>) -> Result<Check, QueryError> {
    let columns = [
        ("task_dependencies", "task_id"),
        ("task_dependencies", "depends_on"),
        ("sessions", "task_id"),
        ("session_revisions", "task_id"),
        ("conversation_history", "task_id"),
    ];
    let mut check = Check::new("foreign keys", "ok");
    for (table, column) in columns {
        let rows: i64 = sql::<BigInt>(&format!(
            "SELECT count(*) FROM {table} \
             WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.id = {table}.{column})"
        ))
        .get_result(conn)?;
        if rows > 0 {
            check.result = "broken".into();
            check.find(
                format!("{table}.{column}: {rows} rows name a task that does not exist"),
                SALVAGE,
            );
        }
    }
    Ok(check)
}

/// Reads every row as the type it stands for.
fn rows(conn: &mut Conn, call: Operation<'_>) -> Result<Check, QueryError> {
    let [tasks, dependencies, sessions, revisions, turns] = bulk::counts(conn)?;
    let mut check = Check::new(
        "rows",
        format!(
            "tasks: {tasks}, dependencies: {dependencies}, sessions: {sessions}, \
             session revisions: {revisions}, turns: {turns}"
        ),
    );
    let mut after: Option<TaskId> = None;
    loop {
        let ids = bulk::task_ids(conn, after.as_ref(), MAX_TASKS)?;
        let mut rest = &ids[..];
        while !rest.is_empty() {
            let (count, tasks) = bulk::tasks(conn, call, rest)?;
            for damage in tasks.into_iter().filter_map(Result::err) {
                check.find(in_words(&damage), SALVAGE);
            }
            rest = &rest[count..];
        }
        after = ids.last().cloned();
        if after.is_none() {
            break;
        }
        read_turns(conn, call, ids, &mut check)?;
    }
    for id in spent_fences(conn)? {
        check.find(
            format!(
                "task `{}` can't be given out any more: its fence is {}, the highest there is",
                visible(id.as_str()),
                Counter::MAX
            ),
            "delete the task and save it again, then its fence counts from 0",
        );
    }
    Ok(check)
}

/// Reads all turns of these tasks, whatever their numbers.
fn read_turns(
    conn: &mut Conn,
    call: Operation<'_>,
    ids: Vec<TaskId>,
    check: &mut Check,
) -> Result<(), QueryError> {
    let spans = ids.into_iter().map(|task_id| TurnSpan {
        task_id,
        after: i64::MIN,
        through: i64::MAX,
    });
    let mut spans: Vec<TurnSpan> = spans.collect();
    loop {
        let mut last = None;
        for turn in bulk::turns(conn, call, &spans)? {
            last = Some(match turn {
                Ok(turn) => (turn.task_id, turn.seq),
                Err(damaged) => {
                    check.find(in_words(&damaged.error), SALVAGE);
                    (damaged.task_id, damaged.seq)
                }
            });
        }
        let Some((task_id, seq)) = last else {
            return Ok(());
        };
        spans.retain(|span| span.task_id >= task_id);
        if let Some(span) = spans.first_mut() {
            span.after = seq;
        }
    }
}

/// Looks for turns that are missing.
fn histories(conn: &mut Conn, _: Operation<'_>) -> Result<Check, QueryError> {
    let mut check = Check::new("histories", "without gaps");
    for (task_id, rows, last) in gaps(conn, "conversation_history", "seq")? {
        check.result = "with gaps".into();
        check.find(
            format!(
                "task `{}` has {rows} turns, the last of which is number {last}",
                visible(&task_id)
            ),
            SALVAGE,
        );
    }
    Ok(check)
}

/// Compares the current sessions with the record of them.
fn sessions(conn: &mut Conn, _: Operation<'_>) -> Result<Check, QueryError> {
    let mut check = Check::new("sessions", "as they are on record");
    for (task_id, rows, last) in gaps(conn, "session_revisions", "revision")? {
        check.find(
            format!(
                "task `{}` has {rows} session revisions, the last of which is number {last}",
                visible(&task_id)
            ),
            SALVAGE,
        );
    }
    for task_id in sessions_off_record(conn)? {
        check.find(
            format!(
                "the session of task `{}` is not the one on record as the current one",
                visible(&task_id)
            ),
            "look up the revisions of its sessions, and save the right session",
        );
    }
    if !check.findings.is_empty() {
        check.result = "not as they are on record".into();
    }
    Ok(check)
}

/// Returns the tasks whose numbers in a column are not 1, 2, 3, …, each with how many there are and
/// the highest.
fn gaps(conn: &mut Conn, table: &str, column: &str) -> QueryResult<Vec<(String, i64, i64)>> {
    sql::<(Text, BigInt, BigInt)>(&format!(
        "SELECT task_id, count(*), max({column}) FROM {table} \
         GROUP BY task_id HAVING count(*) <> max({column}) OR min({column}) <> 1 \
         ORDER BY task_id LIMIT {MAX_FINDINGS}"
    ))
    .load(conn)
}

/// Returns the tasks that can't be given out any more, because their fence has reached its end.
fn spent_fences(conn: &mut Conn) -> QueryResult<Vec<TaskId>> {
    tasks::table
        .filter(tasks::fence.eq(Counter::MAX))
        .order(tasks::id)
        .limit(MAX_FINDINGS)
        .select(tasks::id)
        .load(conn)
}

/// Returns the tasks whose session is not their open revision, or which have one without the other.
fn sessions_off_record(conn: &mut Conn) -> QueryResult<Vec<String>> {
    sql::<Text>(&format!(
        "SELECT task_id FROM sessions WHERE NOT EXISTS ( \
           SELECT 1 FROM session_revisions AS record \
           WHERE record.task_id = sessions.task_id AND record.retired_at IS NULL \
             AND record.backend_type = sessions.backend_type \
             AND record.session_id = sessions.session_id \
             AND record.working_dir IS NOT DISTINCT FROM sessions.working_dir) \
         UNION \
         SELECT task_id FROM session_revisions AS record \
         WHERE retired_at IS NULL \
           AND NOT EXISTS (SELECT 1 FROM sessions WHERE sessions.task_id = record.task_id) \
         ORDER BY task_id LIMIT {MAX_FINDINGS}"
    ))
    .load(conn)
}
