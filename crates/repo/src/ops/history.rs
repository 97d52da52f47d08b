use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;
use turnkeep_model::{ConversationTurn, Counter, MessageKey, Role, StoredText, TaskId, UtcMicros};
use turnkeep_schema::conversation_history as turns;

use super::Conn;
use crate::base::error::ErrorKind;
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;

/// Returns the seq of the last turn, 0 when there is none. Seqs have no gaps, so this is the
/// number of turns as well.
pub(crate) fn last_seq(conn: &mut Conn, task_id: &TaskId) -> QueryResult<i64> {
    turns::table
        .filter(turns::task_id.eq(task_id))
        .select(diesel::dsl::max(turns::seq))
        .get_result::<Option<Counter>>(conn)
        .map(|last| last.map_or(0, i64::from))
}

/// Returns the last `count` turns, in order.
pub(crate) fn last(
    conn: &mut Conn,
    call: Operation<'_>,
    task_id: &TaskId,
    count: i64,
) -> Result<Vec<ConversationTurn>, QueryError> {
    let last = last_seq(conn, task_id)?;
    range(conn, call, task_id, last - count, last)
}

/// Returns the first `limit` turns after `after`, in order. A negative seq means the same as 0.
pub(crate) fn page(
    conn: &mut Conn,
    call: Operation<'_>,
    task_id: &TaskId,
    after: i64,
    limit: u32,
) -> Result<Vec<ConversationTurn>, QueryError> {
    let after = after.max(0);
    let through_seq = after.saturating_add(i64::from(limit));
    range(conn, call, task_id, after, through_seq)
}

/// Returns the turns after `after` up to and with `through_seq`, in order. Seqs have no gaps, so a
/// range of them is a page; a bound LIMIT would have SQLite prepare the statement anew.
pub(crate) fn range(
    conn: &mut Conn,
    call: Operation<'_>,
    task_id: &TaskId,
    after: i64,
    through_seq: i64,
) -> Result<Vec<ConversationTurn>, QueryError> {
    let rows = turns::table
        .filter(turns::task_id.eq(task_id))
        .filter(turns::seq.gt(after))
        .filter(turns::seq.le(through_seq))
        .order(turns::seq)
        .select((
            turns::seq,
            turns::role,
            turns::content,
            turns::timestamp,
            turns::message_key,
        ))
        .load_iter::<(i64, Role, StoredText<'_>, UtcMicros, Option<MessageKey>), DefaultLoadingMode>(
            conn,
        )?;
    let mut history: Vec<ConversationTurn> = Vec::new();
    for row in rows {
        let expected = history.last().map_or(after.max(0), |turn| turn.seq) + 1;
        let damaged = |source| {
            QueryError::Refused(
                ErrorKind::Corrupt
                    .on(&call)
                    .in_part(format_args!("turn {expected}"))
                    .with_source(source),
            )
        };
        match row {
            // A damaged index leads past rows, and to rows of another number.
            Ok((seq, ..)) if seq != expected => {
                return Err(damaged(format!("in its place is turn {seq}").into()));
            }
            Ok((seq, role, content, timestamp, message_key)) => history.push(ConversationTurn {
                // The caller's own, shared instead of copied out of every row.
                task_id: task_id.clone(),
                seq,
                role,
                content: content.into(),
                timestamp: timestamp.into(),
                message_key,
            }),
            Err(diesel::result::Error::DeserializationError(source)) => {
                return Err(damaged(source));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(history)
}
