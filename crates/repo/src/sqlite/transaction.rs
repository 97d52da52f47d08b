//! Transactions.
//!
//! Diesel prepares BEGIN and COMMIT again for each transaction. Here each connection prepares them once. Diesel then
//! does not know of the transaction, so a guard ends it.

use diesel::connection::{Connection as _, SimpleConnection};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::Error as DieselError;

use super::connection::Connection;
use super::error::{class_of, is_no_transaction};
use super::{Conn, Db};
use crate::base::error::ErrorKind;
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

/// Reads one state of the database, on a connection that is not configured yet.
///
/// Keeps the first error: after an I/O error SQLite has rolled back, and Diesel's own ROLLBACK would replace that error
/// by "no transaction".
pub(crate) fn read_transaction<T, E: From<DieselError>>(
    conn: &mut Conn,
    reads: impl FnOnce(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    let mut seen = None;
    #[expect(clippy::disallowed_methods, reason = "reads only, in one snapshot")]
    let ended = conn.transaction(|conn| {
        seen = Some(reads(conn));
        QueryResult::Ok(())
    });
    match seen {
        Some(result) => result,
        None => Err(ended.err().unwrap_or(DieselError::NotInTransaction).into()),
    }
}

/// An open transaction, rolled back unless it is committed.
pub(crate) struct Transaction<'c> {
    connection: &'c mut Connection,
    is_open: bool,
}

impl<'c> Transaction<'c> {
    /// Begins a read transaction: all reads see one snapshot.
    pub(crate) fn read(connection: &'c mut Connection) -> QueryResult<Self> {
        BeginRead.execute(connection.conn())?;
        Ok(Self {
            connection,
            is_open: true,
        })
    }

    /// Takes the write lock. While another process holds it, calls `ask_again`, which waits, or returns `false` after
    /// the deadline.
    pub(crate) fn write(
        connection: &'c mut Connection,
        mut ask_again: impl FnMut() -> bool,
    ) -> QueryResult<Self> {
        connection.never_wait()?;
        while let Err(error) = BeginWrite.execute(connection.conn()) {
            if class_of(&error) != ErrorClass::Busy || !ask_again() {
                return Err(error);
            }
        }
        Ok(Self {
            connection,
            is_open: true,
        })
    }

    pub(crate) fn conn(&mut self) -> &mut Conn {
        self.connection.conn()
    }

    /// Runs a write in a savepoint, and rolls back to it if the write fails.
    pub(crate) fn with_savepoint<T>(
        &mut self,
        write: impl FnOnce(&mut Conn) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        Savepoint.execute(self.conn())?;
        let result = write(self.conn());
        let ended = match &result {
            Ok(_) => Release.execute(self.conn()).map(|_| ()),
            Err(_) => self
                .conn()
                .batch_execute("ROLLBACK TO one_of_many; RELEASE one_of_many"),
        };
        match (result, ended) {
            // After a full disk SQLite has ended the transaction with its savepoint. The first error is the cause.
            (Err(QueryError::Database(error)), _) => Err(QueryError::Database(error)),
            (_, Err(error)) => Err(QueryError::Database(error)),
            (result, Ok(())) => result,
        }
    }

    /// Fails when the schema is newer than this program.
    pub(crate) fn check_schema(&mut self) -> Result<(), QueryError> {
        self.connection.check_schema()
    }

    /// Fails if the path of the store no longer leads to the open files.
    pub(crate) fn check_files(&mut self) -> Result<(), ErrorKind> {
        self.connection.check_files()
    }

    pub(crate) fn commit(mut self) -> QueryResult<()> {
        Commit.execute(self.conn())?;
        self.is_open = false;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        // After a full disk SQLite has rolled back, and ROLLBACK fails with "no transaction".
        if let Err(error) = self.conn().batch_execute("ROLLBACK")
            && !is_no_transaction(&error)
        {
            self.connection.give_up();
        }
    }
}
