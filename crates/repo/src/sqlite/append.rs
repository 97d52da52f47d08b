//! Appending turns, one statement for each: SQLite has no round trips to save.

use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Nullable, Text};
use turnkeep_model::{MessageKey, TaskId};
use turnkeep_schema::conversation_history as turns;

use super::ops::append::{Histories, NewTurn, StoredTurn};
use super::ops::history::{LastTurn, last_turn};
use super::ops::task::check_fence;
use super::ops::{all_written, task_not_found};
use super::{Conn, Db};
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;
use crate::base::target::Target;

/// The last turn is read first and the rows are inserted with the seqs that follow, inside the caller's
/// transaction. For `INSERT … SELECT max(seq) + 1 … RETURNING seq` SQLite would build two temporary
/// tables at each call.
impl Histories for Conn {
    /// The transaction holds the only lock for writing.
    fn lock_history(
        &mut self,
        call: Operation<'_>,
        target: &Target,
    ) -> Result<Option<LastTurn>, QueryError> {
        check_fence(self, call, target)?;
        Ok(last_turn(self, &target.task_id)?)
    }

    fn stored_turns(
        &mut self,
        task_id: &TaskId,
        keys: &[&MessageKey],
    ) -> Result<Vec<StoredTurn>, QueryError> {
        let mut found = Vec::new();
        for key in keys {
            let stored: Option<StoredTurn> = turns::table
                .filter(turns::task_id.eq(task_id))
                .filter(turns::message_key.eq(key))
                .select((
                    turns::message_key.assume_not_null(),
                    turns::seq,
                    turns::role,
                    turns::content,
                    turns::metadata,
                ))
                .get_result(self)
                .optional()?;
            found.extend(stored);
        }
        Ok(found)
    }

    fn insert_turns(
        &mut self,
        call: Operation<'_>,
        task_id: &TaskId,
        turns: &[NewTurn<'_>],
    ) -> Result<(), QueryError> {
        for turn in turns {
            let inserted = InsertTurn { task_id, turn }
                .execute(self)
                .map_err(|error| task_not_found(error, call, task_id))?;
            all_written(inserted, 1, "conversation_history")?;
        }
        Ok(())
    }
}

/// Inserts a turn. Diesel's own INSERT is prepared once as well, but walks all of its columns twice at each
/// call.
struct InsertTurn<'a> {
    task_id: &'a TaskId,
    turn: &'a NewTurn<'a>,
}

impl QueryFragment<Db> for InsertTurn<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        let turn = self.turn;
        out.push_sql(
            "INSERT INTO conversation_history \
             (task_id, seq, role, content, timestamp, message_key, metadata, checksum) VALUES (",
        );
        out.push_bind_param::<Text, _>(self.task_id)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&turn.seq)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&turn.role)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&turn.content)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&turn.timestamp)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&turn.key)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&turn.metadata)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&turn.checksum)?;
        out.push_sql(")");
        Ok(())
    }
}

impl QueryId for InsertTurn<'_> {
    type QueryId = InsertTurn<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<Conn> for InsertTurn<'_> {}
