//! Appending turns, one statement after the other: there is no way to the database that would make
//! it worth to send several at once.

use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Nullable, Text};
use turnkeep_model::{ConversationTurn, MessageKey, Role, StoredText, TaskId, UtcMicros};
use turnkeep_schema::conversation_history as turns;

use super::queries::history::last_seq;
use super::queries::lease::check_fence;
use super::queries::{all_written, task_not_found};
use super::{Conn, Db};
use crate::append_rules::{self, History, Keyed, NewTurn, Request};
use crate::base::error::Error;
use crate::base::operation::Call;
use crate::base::query_error::QueryError;

/// Appends the messages, and returns their seqs. See [`append::append`].
///
/// The seq is read first and the row inserted with it, both inside the caller's transaction. One
/// `INSERT … SELECT max(seq) + 1 … RETURNING seq` would do as well, but SQLite builds two
/// temporary tables for it at every call.
pub(crate) fn append(
    conn: &mut Conn,
    call: Call<'_>,
    request: Request<'_>,
    now: impl Fn() -> Result<UtcMicros, Error>,
) -> Result<Vec<i64>, QueryError> {
    let task_id = request.task_id;
    if let Some(fence) = request.fence {
        check_fence(conn, call, task_id, fence)?;
    }
    let last = last_seq(conn, task_id)?;
    let mut history = InDatabase {
        conn,
        call,
        task_id,
    };
    append_rules::append(&mut history, call, request, last, now)
}

/// Appends turns as another store has them, in order of their tasks. See [`append::take_over`].
pub(crate) fn take_over(
    conn: &mut Conn,
    call: Call<'_>,
    turns: &[ConversationTurn],
) -> Result<(), QueryError> {
    for turns in turns.chunk_by(|a, b| a.task_id == b.task_id) {
        let task_id = &turns[0].task_id;
        let last = last_seq(conn, task_id)?;
        let mut history = InDatabase {
            conn,
            call,
            task_id,
        };
        append_rules::take_over(&mut history, call, turns, last)?;
    }
    Ok(())
}

struct InDatabase<'a> {
    conn: &'a mut Conn,
    call: Call<'a>,
    task_id: &'a TaskId,
}

impl History for InDatabase<'_> {
    fn find(&mut self, key: &MessageKey) -> Result<Option<Keyed>, QueryError> {
        let stored: Option<(i64, Role, StoredText<'_>)> = turns::table
            .filter(turns::task_id.eq(self.task_id))
            .filter(turns::message_key.eq(key))
            .select((turns::seq, turns::role, turns::content))
            .get_result(self.conn)
            .optional()?;
        Ok(stored.map(|(seq, role, content)| Keyed {
            seq,
            role,
            content: content.into(),
        }))
    }

    fn insert(&mut self, turn: &NewTurn<'_>) -> Result<(), QueryError> {
        let insert = InsertTurn {
            task_id: self.task_id,
            turn,
            content: StoredText::from(&*turn.message.content),
            checksum: turn.checksum(),
        };
        let inserted = insert
            .execute(self.conn)
            .map_err(|error| task_not_found(error, self.call, self.task_id))?;
        all_written(inserted, 1, "conversation_history")
    }
}

/// Writes a turn.
///
/// Diesel's own INSERT is prepared once as well, but it goes over all its columns twice at each
/// call, to see that it may be cached and to collect the values.
struct InsertTurn<'a> {
    task_id: &'a TaskId,
    turn: &'a NewTurn<'a>,
    content: StoredText<'a>,
    checksum: i64,
}

impl QueryFragment<Db> for InsertTurn<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO conversation_history \
             (task_id, seq, role, content, timestamp, message_key, checksum) VALUES (",
        );
        out.push_bind_param::<Text, _>(self.task_id)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.turn.seq)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.turn.message.role)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.content)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.turn.timestamp)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.turn.message.key)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.checksum)?;
        out.push_sql(")");
        Ok(())
    }
}

impl QueryId for InsertTurn<'_> {
    type QueryId = InsertTurn<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<Conn> for InsertTurn<'_> {}
