use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Nullable, Text};
use turnkeep_model::{
    ConversationTurn, MessageKey, NewMessage, Role, StoredText, TaskId, UtcMicros,
};
use turnkeep_schema::conversation_history as turns;

use super::{Conn, Db, task_not_found};
use crate::call::Call;
use crate::error::Error;
use crate::failure::Failure;

/// Writes a turn.
///
/// Diesel's own INSERT is prepared once as well, but it goes over all its columns twice at each
/// call, to see that it may be cached and to collect the values.
struct InsertTurn<'a> {
    task_id: &'a TaskId,
    seq: i64,
    message: &'a NewMessage<'a>,
    content: StoredText<'a>,
    timestamp: UtcMicros,
}

impl QueryFragment<Db> for InsertTurn<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO conversation_history \
             (task_id, seq, role, content, timestamp, message_key) VALUES (",
        );
        out.push_bind_param::<Text, _>(self.task_id)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.seq)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.message.role)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.content)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.timestamp)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.message.key)?;
        out.push_sql(")");
        Ok(())
    }
}

impl QueryId for InsertTurn<'_> {
    type QueryId = InsertTurn<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<Conn> for InsertTurn<'_> {}

/// Appends the messages in order and returns their seqs. A message whose key is stored already
/// is that turn again, or a conflict. Refuses all when the history does not end at `expected`.
///
/// The seq is read first and the row inserted with it, both inside the caller's transaction. One
/// `INSERT … SELECT max(seq) + 1 … RETURNING seq` would do as well, but SQLite builds two
/// temporary tables for it at every call.
pub(crate) fn append(
    conn: &mut Conn,
    call: Call<'_>,
    task_id: &TaskId,
    expected: Option<i64>,
    messages: &[NewMessage<'_>],
    now: impl Fn() -> Result<UtcMicros, Error>,
) -> Result<Vec<i64>, Failure> {
    let mut last = last_seq(conn, task_id)?;
    if let Some(expected) = expected.filter(|expected| *expected != last) {
        return Err(Failure::Refused(Error::SeqConflict {
            operation: call.operation,
            task_id: task_id.clone(),
            expected,
            actual: last,
        }));
    }
    let mut seqs = Vec::with_capacity(messages.len());
    for message in messages {
        let stored = match &message.key {
            Some(key) => same_message(conn, call, task_id, key, message)?,
            None => None,
        };
        seqs.push(match stored {
            Some(seq) => seq,
            None => {
                last += 1;
                let timestamp = match message.timestamp {
                    Some(time) => {
                        UtcMicros::new(time).map_err(|e| Error::invalid(call.operation, e))?
                    }
                    None => now()?,
                };
                let insert = InsertTurn {
                    task_id,
                    seq: last,
                    message,
                    content: StoredText::from(&*message.content),
                    timestamp,
                };
                insert
                    .execute(conn)
                    .map_err(|error| task_not_found(error, call, task_id))?;
                last
            }
        });
    }
    Ok(seqs)
}

/// Returns the seq of the turn that has this key, if it says the same.
fn same_message(
    conn: &mut Conn,
    call: Call<'_>,
    task_id: &TaskId,
    key: &MessageKey,
    message: &NewMessage<'_>,
) -> Result<Option<i64>, Failure> {
    let stored: Option<(i64, Role, StoredText<'_>)> = turns::table
        .filter(turns::task_id.eq(task_id))
        .filter(turns::message_key.eq(key))
        .select((turns::seq, turns::role, turns::content))
        .get_result(conn)
        .optional()?;
    let Some((seq, role, content)) = stored else {
        return Ok(None);
    };
    if role == message.role && String::from(content) == message.content {
        return Ok(Some(seq));
    }
    Err(Failure::Refused(Error::KeyConflict {
        operation: call.operation,
        task_id: task_id.clone(),
        key: key.clone(),
        seq,
    }))
}

/// Returns the seq of the last turn, 0 when there is none. Seqs have no gaps, so this is the
/// number of turns as well.
pub(crate) fn last_seq(conn: &mut Conn, task_id: &TaskId) -> QueryResult<i64> {
    turns::table
        .filter(turns::task_id.eq(task_id))
        .select(diesel::dsl::max(turns::seq))
        .get_result::<Option<i64>>(conn)
        .map(|last| last.unwrap_or(0))
}

/// Returns the last `count` turns, in order.
pub(crate) fn last(
    conn: &mut Conn,
    call: Call<'_>,
    task_id: &TaskId,
    count: i64,
) -> Result<Vec<ConversationTurn>, Failure> {
    let last = last_seq(conn, task_id)?;
    range(conn, call, task_id, last - count, last)
}

/// Returns the turns after `after` up to and with `upto`, in order. Seqs have no gaps, so a
/// range of them is a page; a bound LIMIT would have SQLite prepare the statement anew.
pub(crate) fn range(
    conn: &mut Conn,
    call: Call<'_>,
    task_id: &TaskId,
    after: i64,
    upto: i64,
) -> Result<Vec<ConversationTurn>, Failure> {
    let rows = turns::table
        .filter(turns::task_id.eq(task_id))
        .filter(turns::seq.gt(after))
        .filter(turns::seq.le(upto))
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
        match row {
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
                let bad = history.last().map_or(after.max(0), |turn| turn.seq) + 1;
                return Err(Failure::Refused(Error::Corrupt {
                    operation: call.operation,
                    subject: format!("turn {bad} of {}", call.subject()),
                    source,
                }));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(history)
}
