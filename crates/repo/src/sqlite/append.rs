//! Appending turns, one statement for each: SQLite has no round trips to save.

use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Nullable, Text};
use turnkeep_model::{Fence, MessageKey, TaskId};
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
            let inserted = InsertTurn::<false>(task_id, turn)
                .execute(self)
                .map_err(|error| task_not_found(error, call, task_id))?;
            all_written(inserted, 1, "conversation_history")?;
        }
        Ok(())
    }
}

/// Inserts a turn. Diesel's own INSERT is prepared once as well, but walks all of its columns twice at each
/// call. `IS_PLAIN` is for a turn without key and metadata: then they are part of the statement, since a value costs
/// some hundred instructions to bind.
pub(super) struct InsertTurn<'a, const IS_PLAIN: bool>(
    pub(super) &'a TaskId,
    pub(super) &'a NewTurn<'a>,
);

impl<const IS_PLAIN: bool> QueryFragment<Db> for InsertTurn<'_, IS_PLAIN> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        self.walk(out, |out| out.push_bind_param::<BigInt, _>(&self.1.seq))
    }
}

impl<const IS_PLAIN: bool> QueryId for InsertTurn<'_, IS_PLAIN> {
    type QueryId = InsertTurn<'static, IS_PLAIN>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const IS_PLAIN: bool> RunQueryDsl<Conn> for InsertTurn<'_, IS_PLAIN> {}

/// Inserts a turn if the schema has this number of migrations, the same at each call. Otherwise the seq is NULL, which
/// the database refuses.
pub(super) struct InsertTurnIfKnown<'a, const IS_PLAIN: bool>(
    pub(super) InsertTurn<'a, IS_PLAIN>,
    pub(super) &'a str,
);

impl<const IS_PLAIN: bool> QueryFragment<Db> for InsertTurnIfKnown<'_, IS_PLAIN> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        let Self(insert, known_migrations) = self;
        insert.walk(out, |out| {
            out.push_sql("CASE (SELECT count(*) FROM __diesel_schema_migrations) WHEN ");
            out.push_sql(known_migrations);
            out.push_sql(" THEN ");
            out.push_bind_param::<BigInt, _>(&insert.1.seq)?;
            out.push_sql(" END");
            Ok(())
        })
    }
}

impl<const IS_PLAIN: bool> QueryId for InsertTurnIfKnown<'_, IS_PLAIN> {
    type QueryId = InsertTurnIfKnown<'static, IS_PLAIN>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const IS_PLAIN: bool> RunQueryDsl<Conn> for InsertTurnIfKnown<'_, IS_PLAIN> {}

/// As [`InsertTurnIfKnown`], and the task has this fence.
pub(super) struct InsertTurnIfHeld<'a, const IS_PLAIN: bool>(
    pub(super) InsertTurn<'a, IS_PLAIN>,
    pub(super) &'a str,
    pub(super) Fence,
);

impl<const IS_PLAIN: bool> QueryFragment<Db> for InsertTurnIfHeld<'_, IS_PLAIN> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        let Self(insert, known_migrations, fence) = self;
        insert.walk(out, |out| {
            out.push_sql("CASE WHEN (SELECT count(*) FROM __diesel_schema_migrations) = ");
            out.push_sql(known_migrations);
            out.push_sql(" AND (SELECT fence FROM tasks WHERE id = ");
            out.push_bind_param::<Text, _>(insert.0)?;
            out.push_sql(") = ");
            out.push_bind_param::<BigInt, _>(fence)?;
            out.push_sql(" THEN ");
            out.push_bind_param::<BigInt, _>(&insert.1.seq)?;
            out.push_sql(" END");
            Ok(())
        })
    }
}

impl<const IS_PLAIN: bool> QueryId for InsertTurnIfHeld<'_, IS_PLAIN> {
    type QueryId = InsertTurnIfHeld<'static, IS_PLAIN>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const IS_PLAIN: bool> RunQueryDsl<Conn> for InsertTurnIfHeld<'_, IS_PLAIN> {}

impl<const IS_PLAIN: bool> InsertTurn<'_, IS_PLAIN> {
    fn walk<'b>(
        &'b self,
        mut out: AstPass<'_, 'b, Db>,
        push_seq: impl FnOnce(&mut AstPass<'_, 'b, Db>) -> QueryResult<()>,
    ) -> QueryResult<()> {
        let Self(task_id, turn) = self;
        out.push_sql(
            "INSERT OR ABORT INTO conversation_history \
             (task_id, seq, role, content, timestamp, checksum, message_key, metadata) VALUES (",
        );
        out.push_bind_param::<Text, _>(*task_id)?;
        out.push_sql(", ");
        push_seq(&mut out)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&turn.role)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&turn.content)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&turn.timestamp)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&turn.checksum)?;
        if IS_PLAIN {
            out.push_sql(", NULL, NULL)");
            return Ok(());
        }
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&turn.key)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&turn.metadata)?;
        out.push_sql(")");
        Ok(())
    }
}
