//! What the rules of a store forbid, and the constraints should have kept out.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;
use turnkeep_model::{Counter, TaskId};
use turnkeep_schema::{conversation_history as turns, tasks};

use super::Conn;
use crate::admin::check::Gap;

#[derive(QueryableByName)]
struct OfTask {
    #[diesel(sql_type = Text)]
    task_id: String,
}

/// Returns the number of the next turn after one.
pub(crate) fn next_seq(conn: &mut Conn, task_id: &TaskId, after: i64) -> QueryResult<Option<i64>> {
    turns::table
        .filter(turns::task_id.eq(task_id))
        .filter(turns::seq.gt(after))
        .select(diesel::dsl::min(turns::seq))
        .get_result(conn)
}

pub(crate) fn gaps_in_histories(conn: &mut Conn, limit: i64) -> QueryResult<Vec<Gap>> {
    sql_query(format!(
        "SELECT task_id, count(*) AS rows, max(seq) AS last FROM conversation_history \
         GROUP BY task_id HAVING count(*) <> max(seq) OR min(seq) <> 1 \
         ORDER BY task_id LIMIT {limit}"
    ))
    .load(conn)
}

pub(crate) fn gaps_in_revisions(conn: &mut Conn, limit: i64) -> QueryResult<Vec<Gap>> {
    sql_query(format!(
        "SELECT task_id, count(*) AS rows, max(revision) AS last FROM session_revisions \
         GROUP BY task_id HAVING count(*) <> max(revision) OR min(revision) <> 1 \
         ORDER BY task_id LIMIT {limit}"
    ))
    .load(conn)
}

/// Returns the tasks that can't be given out any more, because their fence has reached its end.
pub(crate) fn spent_fences(conn: &mut Conn, limit: i64) -> QueryResult<Vec<TaskId>> {
    tasks::table
        .filter(tasks::fence.eq(Counter::MAX))
        .order(tasks::id)
        .limit(limit)
        .select(tasks::id)
        .load(conn)
}

/// Returns the tasks whose session is not their open revision, or which have one without the other.
pub(crate) fn sessions_off_record(conn: &mut Conn, limit: i64) -> QueryResult<Vec<String>> {
    let rows: Vec<OfTask> = sql_query(format!(
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
         ORDER BY task_id LIMIT {limit}"
    ))
    .load(conn)?;
    Ok(rows.into_iter().map(|row| row.task_id).collect())
}
