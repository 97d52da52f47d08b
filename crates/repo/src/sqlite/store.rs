//! The connections of a store, and how calls get at them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use diesel::Connection as _;
use diesel::prelude::*;
use diesel::r2d2::{ManageConnection, NopErrorHandler, Pool, PooledConnection};
use diesel::result::Error as DieselError;
use parking_lot::{FairMutex, Mutex};
use scheduled_thread_pool::ScheduledThreadPool;

use super::connection::{ConnectError, Connection, Setup};
use super::error::{Kind, from_kind, translate};
use super::file::StoreFile;
use super::migrate::migrate;
use super::{Conn, OPEN, inspect};
use crate::call::{Call, Deadline};
use crate::error::{Error, Failure, Result};
use crate::options::RepoBuilder;

/// Oldest SQLite without the fault that lets a write and a checkpoint at the same instant
/// damage a database with a write-ahead log (<https://sqlite.org/changes.html>, 3.51.3).
const OLDEST_SQLITE: [u32; 3] = [3, 51, 3];

/// How often a writer asks for another process's lock. Left to its own busy handler SQLite asks
/// less and less often, every 100 ms at last, and between two such moments a process that
/// writes without a pause takes the lock back many times: others wait for seconds.
const LOCK_POLL: Duration = Duration::from_millis(1);

/// One connection that writes, behind a first-come-first-served queue, and a pool that reads.
///
/// SQLite has one writer at a time, and its lock goes to whoever asks at the right moment: the
/// one who just had it wins again and others starve. In the queue everyone has a turn.
pub(crate) struct Store {
    setup: Setup,
    queue: FairMutex<()>,
    writer: Pool<Manager>,
    /// `None` in memory, where the only connection does everything.
    readers: Option<Pool<Manager>>,
}

impl Store {
    pub(crate) fn open(builder: &RepoBuilder) -> Result<Self> {
        let deadline = Deadline::after(builder.timeout);
        let setup = Setup {
            file: builder.path.as_deref().map(StoreFile::new).transpose()?,
            durability: builder.durability,
            timeout: builder.timeout,
        };
        if let Some(file) = &setup.file {
            inspect::refuse_other_files(file)?;
            if builder.create_if_missing {
                file.create_if_missing()?;
            } else if !file.path().exists() {
                let path = file.path().into();
                return Err(Error::StoreNotFound {
                    operation: OPEN,
                    path,
                });
            }
        }
        let first = open_first(&setup, deadline)?;

        // One helper thread for both pools; it opens connections and does nothing else.
        let helper = Arc::new(
            ScheduledThreadPool::builder()
                .num_threads(1)
                .thread_name_pattern("turnkeep-pool")
                .build(),
        );
        let writer = pool(&setup, 1, Some(first), Arc::clone(&helper));
        let readers = setup
            .file
            .is_some()
            .then(|| pool(&setup, builder.readers, None, helper));
        Ok(Self {
            setup,
            queue: FairMutex::new(()),
            writer,
            readers,
        })
    }

    /// Runs one query on a reader.
    pub(crate) fn read<T>(
        &self,
        call: Call<'_>,
        query: impl FnOnce(&mut Conn) -> Result<T, Failure>,
    ) -> Result<T> {
        let deadline = Deadline::after(self.setup.timeout);
        let Some(readers) = &self.readers else {
            let _turn = self.wait_in_queue(&call, deadline)?;
            return self.run(&call, &self.writer, deadline, None, query);
        };
        self.run(&call, readers, deadline, None, query)
    }

    /// Runs several queries on a reader that see the same state of the store.
    pub(crate) fn read_snapshot<T>(
        &self,
        call: Call<'_>,
        queries: impl FnOnce(&mut Conn) -> Result<T, Failure>,
    ) -> Result<T> {
        #[expect(clippy::disallowed_methods, reason = "reads only")]
        self.read(call, |conn| conn.transaction(queries))
    }

    /// Runs queries on the writer in one transaction, which is on the disk when this returns
    /// `Ok`, and gone without a trace when it returns an error.
    pub(crate) fn write<T>(
        &self,
        call: Call<'_>,
        queries: impl FnOnce(&mut Conn) -> Result<T, Failure>,
    ) -> Result<T> {
        let deadline = Deadline::after(self.setup.timeout);
        let _turn = self.wait_in_queue(&call, deadline)?;
        self.run(&call, &self.writer, deadline, Some(LOCK_POLL), |conn| {
            immediate_transaction(conn, deadline, queries)
        })
    }

    fn wait_in_queue(
        &self,
        call: &Call<'_>,
        deadline: Deadline,
    ) -> Result<parking_lot::FairMutexGuard<'_, ()>> {
        self.queue
            .try_lock_until(deadline.instant())
            .ok_or_else(|| self.busy(call))
    }

    /// Runs `query` on a connection of `pool`, where a statement waits for locks for `lock_wait`,
    /// or for what is left of the deadline.
    fn run<T>(
        &self,
        call: &Call<'_>,
        pool: &Pool<Manager>,
        deadline: Deadline,
        lock_wait: Option<Duration>,
        query: impl FnOnce(&mut Conn) -> Result<T, Failure>,
    ) -> Result<T> {
        let timeout = self.setup.timeout;
        let mut connection = self.connection(call, pool, deadline)?;
        let lock_wait = lock_wait.unwrap_or_else(|| deadline.remaining());
        let result = connection
            .wait_about(lock_wait, timeout)
            .map_err(Failure::Database)
            .and_then(|()| query(connection.conn()));
        result.map_err(|failure| {
            // The only connection to a store in memory is the store.
            if let (Failure::Database(error), Some(_)) = (&failure, &self.setup.file)
                && Kind::of(error).spoils_connection()
            {
                connection.give_up();
            }
            translate(call, timeout, failure)
        })
    }

    fn connection(
        &self,
        call: &Call<'_>,
        pool: &Pool<Manager>,
        deadline: Deadline,
    ) -> Result<PooledConnection<Manager>> {
        pool.get_timeout(deadline.remaining()).map_err(|error| {
            // With all connections lent out the pool has nothing to say but that time is up; else
            // it has the text of what its last try to make one met.
            let text = error.to_string();
            let last_error = text.rsplit_once(": ").map_or("", |(_, last)| last);
            if pool.state().connections == pool.max_size()
                || Kind::of_text(last_error) == Kind::Busy
            {
                return self.busy(call);
            }
            Error::Pool {
                operation: call.operation,
                subject: call.subject(),
                timeout: self.setup.timeout,
                source: Box::new(error),
            }
        })
    }

    fn busy(&self, call: &Call<'_>) -> Error {
        Error::Busy {
            operation: call.operation,
            subject: call.subject(),
            timeout: self.setup.timeout,
            source: None,
        }
    }
}

impl Drop for Store {
    /// Closes the connections here and now. r2d2's helper thread may hold the pool a moment
    /// longer, and whoever dropped the last `Repo` may move or delete the file next.
    fn drop(&mut self) {
        for pool in self.readers.iter().chain([&self.writer]) {
            while let Some(mut connection) = pool.try_get() {
                connection.give_up();
            }
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.setup.file {
            Some(file) => write!(f, "{:?}", file.path()),
            None => f.write_str("in memory"),
        }
    }
}

/// Runs `queries` between BEGIN IMMEDIATE and COMMIT and returns the first error there was:
/// after a full disk or an I/O error SQLite has rolled back by itself, and Diesel's own
/// ROLLBACK then fails with "no transaction is active", which helps nobody.
fn immediate_transaction<T>(
    conn: &mut Conn,
    deadline: Deadline,
    queries: impl FnOnce(&mut Conn) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut queries = Some(queries);
    let mut first_failure = None;
    loop {
        let result = conn.immediate_transaction(|conn| match queries.take() {
            Some(queries) => queries(conn).map_err(|failure| {
                first_failure = Some(failure);
                DieselError::RollbackTransaction
            }),
            None => Err(DieselError::AlreadyInTransaction),
        });
        match result {
            Ok(value) => return Ok(value),
            // BEGIN itself found the lock taken: nothing has run yet.
            Err(error)
                if queries.is_some()
                    && Kind::of(&error) == Kind::Busy
                    && !deadline.remaining().is_zero() => {}
            Err(error) => return Err(first_failure.unwrap_or(Failure::Database(error))),
        }
    }
}

/// Opens the first connection outside of any pool, where its errors can be told apart, and
/// brings the file up to date with it.
fn open_first(setup: &Setup, deadline: Deadline) -> Result<Connection> {
    let path = setup
        .file
        .as_ref()
        .map_or(":memory:".as_ref(), StoreFile::path);
    let call = Call::on_file(OPEN, path);
    let mut first = Connection::open(setup, deadline).map_err(|error| match error {
        ConnectError::Refused(reason) => Error::Unsupported {
            operation: OPEN,
            subject: call.subject(),
            reason,
        },
        error => from_kind(error.kind(), &call, setup.timeout, Box::new(error)),
    })?;
    check_sqlite_version(first.conn())
        .and_then(|()| migrate(first.conn(), path))
        .map_err(|failure| translate(&call, setup.timeout, failure))?;
    Ok(first)
}

fn check_sqlite_version(conn: &mut Conn) -> Result<(), Failure> {
    use diesel::dsl::sql;
    use diesel::sql_types::Text;

    let version: String = diesel::select(sql::<Text>("sqlite_version()")).get_result(conn)?;
    if is_new_enough(&version) {
        return Ok(());
    }
    let [major, minor, patch] = OLDEST_SQLITE;
    Err(Failure::Refused(Error::Unsupported {
        operation: OPEN,
        subject: format!("SQLite {version}"),
        reason: format!("{major}.{minor}.{patch} is the oldest without a known corruption fault"),
    }))
}

fn is_new_enough(version: &str) -> bool {
    let numbers: Vec<u32> = version
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect();
    numbers.as_slice() >= OLDEST_SQLITE.as_slice()
}

fn pool(
    setup: &Setup,
    size: u32,
    first: Option<Connection>,
    helper: Arc<ScheduledThreadPool>,
) -> Pool<Manager> {
    Pool::builder()
        .max_size(size)
        // Nothing is opened before it is needed, and nothing closed before the end: closing the
        // last connection would checkpoint and delete the log under way.
        .min_idle(Some(0))
        .idle_timeout(None)
        .max_lifetime(None)
        // `SELECT 1` proves nothing about writing; broken connections are told by `has_broken`.
        .test_on_check_out(false)
        .connection_timeout(setup.timeout.max(Duration::from_millis(1)))
        .error_handler(Box::new(NopErrorHandler))
        .thread_pool(helper)
        .build_unchecked(Manager {
            setup: setup.clone(),
            first: Mutex::new(first),
        })
}

/// Makes connections for a pool, the first of which may exist already.
#[derive(Debug)]
struct Manager {
    setup: Setup,
    first: Mutex<Option<Connection>>,
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = ConnectError;

    fn connect(&self) -> Result<Connection, ConnectError> {
        if let Some(first) = self.first.lock().take() {
            return Ok(first);
        }
        if self.setup.file.is_none() {
            return Err(ConnectError::MemoryGone);
        }
        Connection::open(&self.setup, Deadline::after(self.setup.timeout))
    }

    fn is_valid(&self, _: &mut Connection) -> Result<(), ConnectError> {
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.is_given_up()
    }
}

#[cfg(test)]
mod tests;
