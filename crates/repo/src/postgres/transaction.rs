//! Transactions. Their settings end with them, because a pooler may lend the session to another client
//! afterwards.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::Conn;
use super::connection::Connection;
use super::error::commit_error;
use crate::base::deadline::Deadline;
use crate::base::query_error::QueryError;

/// Begins the savepoint that [`with_savepoint`] needs.
pub(crate) const SAVEPOINT: &str = "SAVEPOINT part";

/// Runs a part of a transaction that was begun with [`SAVEPOINT`], and rolls back to the savepoint if the part
/// fails. The savepoint of the next part is set in the same round trip that ends this one.
pub(crate) fn with_savepoint<T>(
    conn: &mut Conn,
    part: impl FnOnce(&mut Conn) -> Result<T, QueryError>,
) -> Result<T, QueryError> {
    let result = part(conn);
    match &result {
        Ok(_) => conn.batch_execute("RELEASE SAVEPOINT part; SAVEPOINT part")?,
        Err(failure) if failure.is_undone_by_savepoint() => {
            conn.batch_execute("ROLLBACK TO SAVEPOINT part")?;
        }
        // The transaction is over.
        Err(_) => {}
    }
    result
}

/// An open transaction, rolled back unless it is committed.
pub(crate) struct Transaction<'c> {
    connection: &'c mut Connection,
    is_open: bool,
}

impl<'c> Transaction<'c> {
    /// Begins a transaction that writes and waits for locks until `deadline`, with a further statement.
    pub(crate) fn write(
        connection: &'c mut Connection,
        deadline: Deadline,
        first_statement: &str,
    ) -> QueryResult<Self> {
        let set = connection.set("LOCAL", deadline.remaining());
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE";
        Self::begin(connection, &format!("{begin}; {set}; {first_statement}"))
    }

    /// Begins a transaction that sees one state of the store and needs no commit.
    pub(crate) fn read(connection: &'c mut Connection, deadline: Deadline) -> QueryResult<Self> {
        let set = connection.set("LOCAL", deadline.remaining());
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
        Self::begin(connection, &format!("{begin}; {set}"))
    }

    /// Sends all of `begin` in one round trip.
    fn begin(connection: &'c mut Connection, begin: &str) -> QueryResult<Self> {
        // If a statement after BEGIN fails there is a transaction to roll back.
        let transaction = Self {
            connection,
            is_open: true,
        };
        transaction.connection.conn().batch_execute(begin)?;
        Ok(transaction)
    }

    pub(crate) fn conn(&mut self) -> &mut Conn {
        self.connection.conn()
    }

    pub(crate) fn commit(mut self) -> Result<(), QueryError> {
        let committed = self.connection.conn().batch_execute("COMMIT");
        self.is_open = false;
        committed.map_err(commit_error)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.is_open && self.connection.conn().batch_execute("ROLLBACK").is_err() {
            self.connection.discard();
        }
    }
}
