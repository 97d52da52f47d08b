//! The store of whichever engine its address names.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "tokio")]
use tokio::sync::oneshot;

use crate::base::address::is_server;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::finding::Check;
use crate::base::fork_guard::Opened;
use crate::base::operation::Operation;
use crate::base::options::RepoBuilder;
use crate::base::query_error::QueryError;
use crate::base::stats::{Calls, Stats};
use crate::commit::subscribers::{LOOK_INTERVAL, Subscribers};
use crate::commit::transaction;
#[cfg(feature = "postgres")]
use crate::postgres;
use crate::sqlite;
use crate::sqlite::backup::Backup;

pub(crate) enum Store {
    Sqlite(sqlite::store::Store),
    #[cfg(feature = "postgres")]
    Postgres(postgres::store::Store),
}

/// Evaluates an expression on the store of the engine. A third name brings that engine's operations into
/// scope: `on_engine!(self.store, engine, ops => engine.read(call, |conn| ops::history::range(conn, …)))`.
/// `Transaction:` before the value stands for an open transaction.
///
/// With `query!`, which does the same on a lent connection, the only place that asks for the engine.
macro_rules! on_engine {
    ($of:ident: $value:expr, $engine:ident $(, $ops:ident)? => $do:expr) => {
        match *$value {
            $crate::store::$of::Sqlite(ref $engine) => {
                $(use $crate::sqlite::ops as $ops;)?
                $do
            }
            #[cfg(feature = "postgres")]
            $crate::store::$of::Postgres(ref $engine) => {
                $(use $crate::postgres::ops as $ops;)?
                $do
            }
        }
    };
    ($store:expr, $($rest:tt)*) => {
        $crate::store::on_engine!(Store: $store, $($rest)*)
    };
}
pub(crate) use on_engine;

/// Writes to the store of the engine: `write_op!(self.store => ops::task::DeleteTask { id })`.
macro_rules! write_op {
    ($store:expr => $write:expr) => {
        $crate::store::on_engine!($store, engine, ops => engine.writer.write($write))
    };
}
pub(crate) use write_op;

impl Store {
    pub(crate) fn open(builder: RepoBuilder) -> Result<Self> {
        let calls = Arc::new(Calls::new(Opened::new("open")?));
        match &builder.path {
            #[cfg(feature = "postgres")]
            Some(path) if is_server(path) => {
                postgres::store::Store::open(path, &builder, calls).map(Self::Postgres)
            }
            #[cfg(not(feature = "postgres"))]
            Some(path) if is_server(path) => Err(ErrorKind::Unsupported {
                reason: "this program was built without the feature `postgres`".into(),
            }
            .on(&Operation::on_named("open", "a PostgreSQL server"))),
            _ => sqlite::store::Store::open(builder, calls).map(Self::Sqlite),
        }
    }

    /// Returns the SQLite store. Fails with `Unsupported { subject, reason }` on PostgreSQL.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(unused_variables, reason = "every store is in a file")
    )]
    pub(crate) fn file(
        &self,
        call: &Operation<'_>,
        subject: &str,
        reason: &str,
    ) -> Result<&sqlite::store::Store> {
        self.calls().begin(call)?;
        match self {
            Self::Sqlite(store) => Ok(store),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Err(ErrorKind::Unsupported {
                reason: reason.into(),
            }
            .on(&Operation::on_named(call.name, subject))),
        }
    }

    /// Copies a file into another.
    pub(crate) fn backup(&self, call: &Operation<'_>, path: &Path) -> Result<Backup> {
        let reason = "`pg_dump` backs up a database, and a copy into a file is a backup, too";
        self.file(call, "a store on a server", reason)?
            .backup(call, path)
    }

    /// Checks the file or server, the schema and the rows.
    pub(crate) fn check(&self, call: &Operation<'_>) -> Result<Vec<Check>> {
        self.calls().begin(call)?;
        on_engine!(self, engine => engine.check(call))
    }

    pub(crate) fn calls(&self) -> &Calls {
        on_engine!(self, engine => &engine.writer.calls)
    }

    pub(crate) fn subscribers(&self) -> &Arc<Subscribers> {
        on_engine!(self, engine => &engine.writer.subscribers)
    }

    /// Looks, if that takes no more than a moment. Returns whether it was enough.
    pub(crate) fn look_briefly(&self) -> bool {
        let is_quiet =
            on_engine!(self, engine => engine.writer.engine.is_quiet(self.subscribers()));
        if is_quiet {
            self.subscribers().looked(Some(LOOK_INTERVAL));
        }
        is_quiet
    }

    /// Wakes the subscribers for which another process has written.
    pub(crate) fn look(&self) {
        on_engine!(self, engine => engine.writer.engine.look(self.subscribers()));
    }

    /// Looks briefly at intervals, on the thread of the pools, for as long as there are subscribers and that is
    /// enough. Then it sends a message. Dropping the receiver ends it.
    ///
    /// A timer of tokio would wake its thread twice for each look, which is most of what an idle follower costs.
    #[cfg(feature = "tokio")]
    pub(crate) fn look_on_pool_thread(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        on_engine!(self, engine => {
            // The writer does not keep the store open.
            let writer = Arc::clone(&engine.writer);
            let mut sender = Some(sender);
            let look = move || {
                let is_wanted = !sender.as_ref()?.is_closed() && !writer.subscribers.is_empty();
                if is_wanted && writer.engine.is_quiet(&writer.subscribers) {
                    writer.subscribers.looked(Some(LOOK_INTERVAL));
                    return Some(LOOK_INTERVAL);
                }
                let _ = sender.take()?.send(());
                None
            };
            if let Some(thread) = &engine.pool_thread {
                thread.execute_with_dynamic_delay(self.subscribers().time_to_look(), look);
            }
        });
        receiver
    }

    pub(crate) fn stats(&self) -> Stats {
        on_engine!(self, engine => engine.stats())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        on_engine!(self, engine => engine.fmt(f))
    }
}

/// A connection of whichever engine.
pub(crate) enum Conn<'c> {
    Sqlite(&'c mut sqlite::Conn),
    #[cfg(feature = "postgres")]
    Postgres(&'c mut postgres::Conn),
}

/// Runs a query of `ops` on a connection of whichever engine.
macro_rules! query {
    ($conn:expr, $($path:ident)::+ ($($argument:expr),* $(,)?)) => {
        match $conn {
            $crate::store::Conn::Sqlite(conn) => {
                $crate::sqlite::ops::$($path)::+(conn, $($argument),*)
                    .map_err($crate::base::query_error::QueryError::from)
            }
            #[cfg(feature = "postgres")]
            $crate::store::Conn::Postgres(conn) => {
                $crate::postgres::ops::$($path)::+(conn, $($argument),*)
                    .map_err($crate::base::query_error::QueryError::from)
            }
        }
    };
}
pub(crate) use query;

impl Store {
    /// Runs several queries that see the same state of the store.
    pub(crate) fn read_snapshot<T>(
        &self,
        call: Operation<'_>,
        queries: impl Fn(Conn<'_>) -> Result<T, QueryError>,
    ) -> Result<T> {
        match self {
            Self::Sqlite(engine) => engine.read_snapshot(call, |conn| queries(Conn::Sqlite(conn))),
            #[cfg(feature = "postgres")]
            Self::Postgres(engine) => {
                engine.read_snapshot(call, |conn| queries(Conn::Postgres(conn)))
            }
        }
    }

    /// Writes in a transaction of its own.
    pub(crate) fn write_beside<T>(
        &self,
        call: Operation<'_>,
        mut write: impl FnMut(Conn<'_>) -> Result<T, QueryError>,
    ) -> Result<T> {
        match self {
            Self::Sqlite(engine) => {
                (engine.writer).write_beside(call, |conn| write(Conn::Sqlite(conn)))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(engine) => {
                (engine.writer).write_beside(call, |conn| write(Conn::Postgres(conn)))
            }
        }
    }
}

/// An open transaction of whichever engine.
pub(crate) enum Transaction<'c> {
    Sqlite(transaction::Transaction<'c, sqlite::writer::Sqlite>),
    #[cfg(feature = "postgres")]
    Postgres(transaction::Transaction<'c, postgres::writer::Postgres>),
}

impl Store {
    /// Runs the caller's code in a transaction of its own, once. The code gives the transaction back with its
    /// result. Rolls back if that is an error.
    pub(crate) fn transaction<T, E: From<Error>>(
        &self,
        call: Operation<'_>,
        code: impl for<'c> FnOnce(Transaction<'c>) -> (Result<T, E>, Transaction<'c>),
    ) -> Result<T, E> {
        let mut stopped = None;
        let run = |transaction: Transaction<'_>| {
            let (result, transaction) = code(transaction);
            let output = result.map_err(|error| stopped = Some(error));
            match transaction {
                Transaction::Sqlite(transaction) => transaction.end(&call),
                #[cfg(feature = "postgres")]
                Transaction::Postgres(transaction) => transaction.end(&call),
            }?;
            output.map_err(|()| QueryError::Refused(Error::abandoned(&call)))
        };
        let result = match self {
            Self::Sqlite(engine) => (engine.writer)
                .transaction(call, |transaction| run(Transaction::Sqlite(transaction))),
            #[cfg(feature = "postgres")]
            Self::Postgres(engine) => (engine.writer)
                .transaction(call, |transaction| run(Transaction::Postgres(transaction))),
        };
        match stopped {
            Some(error) => Err(error),
            None => result.map_err(E::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Store {
        /// The store of a test that looks at what only SQLite has.
        pub(crate) fn sqlite(&self) -> &sqlite::store::Store {
            match self {
                Self::Sqlite(store) => store,
                #[cfg(feature = "postgres")]
                Self::Postgres(_) => panic!("a store on a server"),
            }
        }
    }
}
