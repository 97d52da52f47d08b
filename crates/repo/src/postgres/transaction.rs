//! Transactions. What they set ends with them: a session may be someone else's a moment later.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::append::Link;
use super::connection::Connection;
use super::error::may_be_committed;
use crate::base::operation::Deadline;
use crate::base::query_error::QueryError;

/// An open transaction, rolled back unless it is committed.
pub(crate) struct Transaction<'c> {
    connection: &'c mut Connection,
    is_open: bool,
}

impl<'c> Transaction<'c> {
    /// Begins one that writes, and waits for locks until `deadline`.
    ///
    /// Fails with what [`newer_schema`](super::error::newer_schema) knows when the schema is newer than
    /// this program.
    pub(crate) fn write(connection: &'c mut Connection, deadline: Deadline) -> QueryResult<Self> {
        let begin = connection.begin(&connection.begin_write(), deadline);
        let begin = format!("{begin}; {}", connection.refuse_newer());
        Self::begin(connection, &begin)
    }

    /// Begins one that sees one state of the store. There is nothing to commit.
    pub(crate) fn read(connection: &'c mut Connection, deadline: Deadline) -> QueryResult<Self> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
        let begin = connection.begin(begin, deadline);
        Self::begin(connection, &begin)
    }

    /// Says all of it in one round trip.
    fn begin(connection: &'c mut Connection, begin: &str) -> QueryResult<Self> {
        connection.link().append_in_transaction();
        // After a failure of what follows on BEGIN there is a transaction to roll back.
        let transaction = Self {
            connection,
            is_open: true,
        };
        transaction.connection.conn().batch_execute(begin)?;
        Ok(transaction)
    }

    pub(crate) fn link(&mut self) -> &mut Link {
        self.connection.link()
    }

    pub(crate) fn commit(mut self) -> Result<(), QueryError> {
        let committed = self.connection.conn().batch_execute("COMMIT");
        self.is_open = false;
        committed.map_err(|error| match may_be_committed(&error) {
            true => QueryError::OutcomeUnknown(error),
            false => QueryError::Database(error),
        })
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // A connection that can't even do this is not used again.
        if self.is_open && self.connection.conn().batch_execute("ROLLBACK").is_err() {
            self.connection.give_up();
        }
    }
}

/// In milliseconds, at least one: for the server zero is for ever.
pub(crate) fn millis(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_millis())
        .unwrap_or(u64::MAX)
        .clamp(1, i32::MAX as u64)
}
