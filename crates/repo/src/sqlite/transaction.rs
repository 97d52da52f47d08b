//! Transactions.
//!
//! Diesel prepares BEGIN and COMMIT again for each transaction. Here each connection prepares them once. Diesel then
//! does not know of the transaction, so a guard ends it.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::Error as DieselError;

use super::connection::{Connection, give_up};
use super::error::{class_of, is_no_transaction};
use super::identity::OpenedFiles;
use super::last_turns::LastTurns;
use super::schema::refuse_newer;
use super::{Conn, Db};
use crate::base::query_error::{ErrorClass, QueryError};

/// Declares a statement whose text never changes, so that each connection prepares it once.
macro_rules! statement {
    ($name:ident, $sql:literal) => {
        #[derive(QueryId)]
        struct $name;

        impl QueryFragment<Db> for $name {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
                out.push_sql($sql);
                Ok(())
            }
        }

        impl RunQueryDsl<Conn> for $name {}
    };
}

statement!(BeginRead, "BEGIN");
statement!(BeginWrite, "BEGIN IMMEDIATE");
statement!(Commit, "COMMIT");
statement!(Savepoint, "SAVEPOINT one_of_many");
statement!(Release, "RELEASE one_of_many");

/// Reads one state of the database.
pub(crate) fn read_transaction<T, E: From<DieselError>>(
    conn: &mut Conn,
    reads: impl FnOnce(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    BeginRead.execute(conn)?;
    let transaction = Transaction {
        conn,
        files: None,
        last_turns: None,
        is_open: true,
    };
    let result = reads(transaction.conn)?;
    // The result stands. On a damaged file even this may fail; then the transaction is rolled back, or the
    // connection given up.
    let _ = transaction.commit();
    Ok(result)
}

/// Runs a write in a savepoint, and rolls back to it if the write fails.
pub(crate) fn with_savepoint<T>(
    conn: &mut Conn,
    write: impl FnOnce(&mut Conn) -> Result<T, QueryError>,
) -> Result<T, QueryError> {
    Savepoint.execute(conn)?;
    let result = write(conn);
    let ended = match &result {
        Ok(_) => Release.execute(conn).map(|_| ()),
        Err(_) => conn.batch_execute("ROLLBACK TO one_of_many; RELEASE one_of_many"),
    };
    match (result, ended) {
        // After a full disk SQLite has ended the transaction with its savepoint. The first error is the cause.
        (Err(QueryError::Database(error @ DieselError::DatabaseError(..))), _) => Err(error.into()),
        (_, Err(error)) => Err(QueryError::Database(error)),
        (result, Ok(())) => result,
    }
}

/// An open transaction, rolled back unless it is committed.
pub(crate) struct Transaction<'c> {
    pub(super) conn: &'c mut Conn,
    files: Option<&'c OpenedFiles>,
    /// `None` in a transaction that reads.
    pub(super) last_turns: Option<&'c mut LastTurns>,
    is_open: bool,
}

impl<'c> Transaction<'c> {
    /// Takes the write lock. While another process holds it, calls `ask_again`, which waits, or returns `false` after
    /// the deadline. Fails when the schema is newer than this program.
    pub(crate) fn write(
        connection: &'c mut Connection,
        mut ask_again: impl FnMut() -> bool,
    ) -> Result<Self, QueryError> {
        connection.wait_at_most(Duration::ZERO)?;
        let conn = &mut connection.conn;
        while let Err(error) = BeginWrite.execute(conn) {
            if class_of(&error) != ErrorClass::Busy || !ask_again() {
                return Err(error.into());
            }
        }
        let transaction = Self {
            conn,
            files: connection.files.as_deref(),
            last_turns: Some(&mut connection.last_turns),
            is_open: true,
        };
        if let Some(files) = transaction.files {
            refuse_newer(transaction.conn, files.path(), &mut connection.seen_version)?;
        }
        Ok(transaction)
    }

    /// Fails if the path of the store no longer leads to the open files.
    pub(crate) fn commit(mut self) -> Result<(), QueryError> {
        self.files.map_or(Ok(()), OpenedFiles::check)?;
        Commit.execute(self.conn)?;
        self.is_open = false;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        if let Some(last_turns) = &mut self.last_turns {
            last_turns.forget_all();
        }
        // After a full disk SQLite has rolled back, and ROLLBACK fails with "no transaction".
        if let Err(error) = self.conn.batch_execute("ROLLBACK")
            && !is_no_transaction(&error)
        {
            give_up(self.conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::file::in_memory;

    /// A row that can't be read fails one write alone, but not when half of that write is left.
    #[test]
    fn a_write_that_can_not_be_rolled_back_fails_all() {
        let mut conn = in_memory().unwrap();
        BeginWrite.execute(&mut conn).unwrap();
        let error = with_savepoint(&mut conn, |conn| -> Result<(), _> {
            conn.batch_execute("RELEASE one_of_many")?;
            Err(DieselError::DeserializationError("unreadable".into()).into())
        });
        assert!(
            matches!(
                error,
                Err(QueryError::Database(DieselError::DatabaseError(..)))
            ),
            "{error:?}"
        );
    }
}
