//! Transactions.
//!
//! Diesel's own prepare BEGIN and COMMIT anew each time. Here they are prepared once, but Diesel then
//! knows nothing of the transaction: the guard does.

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

/// Reads one state of the database, on a connection that is not set up yet.
///
/// What fails says so itself: after an I/O error SQLite has rolled back already, and Diesel, which
/// tries to do it as well, would only tell that there was nothing to roll back.
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
    /// Has all that is read from now on be of one moment.
    pub(crate) fn read(connection: &'c mut Connection) -> QueryResult<Self> {
        BeginRead.execute(connection.conn())?;
        Ok(Self {
            connection,
            is_open: true,
        })
    }

    /// Takes the lock for writing. While another process has it, `ask_again` is called, which waits
    /// or says that it is too late.
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

    /// Runs a write so that whatever it changed before it failed is undone, and nothing else is.
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
            // After a full disk and the like there is no savepoint any more: the first error says
            // what happened.
            (Err(QueryError::Database(error)), _) => Err(QueryError::Database(error)),
            (_, Err(error)) => Err(QueryError::Database(error)),
            (result, Ok(())) => result,
        }
    }

    /// Fails when the schema is newer than this program.
    pub(crate) fn check_schema(&mut self) -> Result<(), QueryError> {
        self.connection.check_schema()
    }

    /// Fails when what is committed would go into files that nobody finds again.
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
        // SQLite has rolled back by itself after a full disk and the like, and says so.
        if let Err(error) = self.conn().batch_execute("ROLLBACK")
            && !is_no_transaction(&error)
        {
            self.connection.give_up();
        }
    }
}
