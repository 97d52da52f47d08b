//! A store in a file: opening, reading, closing.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::Conn;
use super::backup::{Backup, backup};
use super::check;
use super::connection::{ConnectError, Connection, ConnectionConfig, SharedConfig};
use super::error::{SqliteErrors, from_io};
use super::file::{Access, StoreFile};
use super::filesystem::refuse_network;
use super::full::error_if_full;
use super::identity::{FileId, FrozenFile, OpenedFile, check_log};
use super::inspect::{Content, refuse_other_files};
use super::migrate::migrate;
use super::pool::{ConnectionGate, Manager, pool};
use super::readers::Readers;
use super::transaction::Transaction;
use super::version::refuse_old_sqlite;
use super::writer::Sqlite;
use crate::base::deadline::Deadline;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::finding::Check;
use crate::base::operation::{OPEN, Operation};
use crate::base::options::RepoBuilder;
use crate::base::pool_thread::pool_thread;
use crate::base::query_error::QueryError;
use crate::base::stats::{Calls, Stats};
use crate::base::trace;
use crate::commit::group_commit::Writer;

/// One connection that writes, behind a first-come-first-served queue, and a pool that reads.
///
/// SQLite's write lock goes to the connection that polls at the right moment, so the last holder wins again and the
/// others starve. The queue is fair.
pub(crate) struct Store {
    config: SharedConfig,
    /// Shared with the thread that writes for futures, which must not keep the store open.
    pub(crate) writer: Arc<Writer<Sqlite>>,
    /// `None` in memory, where the only connection does everything.
    pub(super) readers: Option<Readers>,
    gate: Arc<Mutex<ConnectionGate>>,
}

impl Store {
    pub(crate) fn open(builder: RepoBuilder, calls: Arc<Calls>) -> Result<Self> {
        let path = builder.path.clone();
        Self::open_or_fail(builder, calls).map_err(|error| {
            match path.as_deref().map(StoreFile::new) {
                Some(Ok(file)) => error_if_full(error, &file),
                _ => error,
            }
        })
    }

    fn open_or_fail(builder: RepoBuilder, calls: Arc<Calls>) -> Result<Self> {
        let deadline = Deadline::after(builder.timeout);
        let mut config = ConnectionConfig {
            file: builder.path.as_deref().map(StoreFile::new).transpose()?,
            access: Access::ReadWrite,
            frozen: None,
            opened: None,
            no_writes: None,
            durability: builder.durability,
            timeout: builder.timeout,
        };
        refuse_old_sqlite()?;
        if let Some(file) = &config.file {
            refuse_network(file)?;
            file.refuse_unfinished_restore(OPEN)?;
            check_log(file).map_err(|lost| lost.on(&Operation::on_store(OPEN)))?;
            let content = refuse_other_files(file, config.timeout, deadline)?;
            if builder.create_if_missing {
                file.create_if_missing()?;
            } else if content == Content::Nothing {
                return Err(no_store(file));
            }
            config.access = file.access()?;
            if config.access == Access::Frozen {
                let frozen = FrozenFile::of(file.clone());
                config.frozen = Some(frozen.map_err(|error| from_io(OPEN, file.path(), error))?);
            }
        }
        let alive = Arc::default();
        let first = open_first(&mut config, deadline, &alive)?;
        if let Some(file) = &config.file {
            for finding in check::permissions(file).findings {
                trace::found(&finding.what, finding.advice);
            }
        }
        let config = Arc::new(config);
        let gate = Arc::new(Mutex::new(ConnectionGate {
            alive: Some(alive),
            first: Some(first),
        }));
        let helper = pool_thread()?;
        let writers = Manager {
            config: Arc::clone(&config),
            gate: Arc::clone(&gate),
            is_writer: true,
        };
        let writer = pool(writers, 1, Arc::clone(&helper));
        let counters = Arc::clone(&calls.counters);
        let engine = Sqlite::new(writer, Arc::clone(&config), &builder, counters);
        let writer = Arc::new(Writer::new(engine, calls, config.timeout));
        let readers = config.file.is_some().then(|| {
            let readers = Manager {
                config: Arc::clone(&config),
                gate: Arc::clone(&gate),
                is_writer: false,
            };
            let size = builder.readers.unwrap_or_else(default_readers);
            Readers::new(pool(readers, size, helper), Arc::clone(&config))
        });
        Ok(Self {
            config,
            writer,
            readers,
            gate,
        })
    }

    /// Runs one query on a reader.
    pub(crate) fn read<T>(
        &self,
        call: Operation<'_>,
        query: impl FnOnce(&mut Connection) -> Result<T, QueryError>,
    ) -> Result<T> {
        let span = self.writer.calls.begin(&call)?;
        let _entered = span.enter();
        let result = self
            .with_reader(query)
            .map_err(|error| error.translate::<SqliteErrors>(&call, self.config.timeout));
        self.writer.calls.count_read(&span, &result);
        result
    }

    /// Runs several queries on a reader that see the same state of the store.
    pub(crate) fn read_snapshot<T>(
        &self,
        call: Operation<'_>,
        queries: impl FnOnce(&mut Conn) -> Result<T, QueryError>,
    ) -> Result<T> {
        self.read(call, |connection| {
            let mut transaction = Transaction::read(connection)?;
            let result = queries(transaction.conn())?;
            // The result stands. On a damaged file even this may fail; then the transaction is rolled back,
            // or the connection given up.
            let _ = transaction.commit();
            Ok(result)
        })
    }

    fn with_reader<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let timeout = self.config.timeout;
        let Some(readers) = &self.readers else {
            return self.writer.engine.lend(work);
        };
        // A panic returns the connection to the pool, which checks it.
        let (mut connection, left) = readers.take(timeout)?;
        let result = match connection.wait_about(left, timeout) {
            Ok(()) => work(&mut connection),
            Err(error) => Err(error.into()),
        };
        if let Err(QueryError::Database(error)) = &result {
            connection.give_up_if_spoiled(error);
        }
        readers.give_back(connection);
        let output = result?;
        self.config.check_read()?;
        Ok(output)
    }

    fn lend_reader<T>(
        &self,
        call: &Operation<'_>,
        work: impl FnOnce(&mut Connection) -> Result<T, QueryError>,
    ) -> Result<T> {
        self.with_reader(work)
            .map_err(|error| error.translate::<SqliteErrors>(call, self.config.timeout))
    }

    /// Writes the file anew and empties the log, which is called `log` when a reader keeps it.
    pub(crate) fn vacuum(&self, call: Operation<'_>, log: &str) -> Result<()> {
        let span = self.writer.calls.begin(&call)?;
        let _entered = span.enter();
        let result = match &self.config.file {
            Some(_) => self.writer.engine.vacuum(&call, log),
            None => Ok(()),
        };
        self.writer.calls.count_write(&span, &result);
        result
    }

    pub(crate) fn backup(&self, call: &Operation<'_>, path: &Path) -> Result<Backup> {
        let target = StoreFile::new(path)?;
        // A replaced log belongs to other contents of the file.
        let check = || self.config.check_files();
        self.lend_reader(call, |connection| {
            backup(connection.conn(), *call, &target, check)
        })
    }

    /// Checks the files, the schema and the rows.
    pub(crate) fn check(&self, call: &Operation<'_>) -> Result<Vec<Check>> {
        let config = &*self.config;
        let mut checks = Vec::new();
        if let Some(file) = &config.file {
            if config.access != Access::ReadWrite {
                return check::closed(file.path(), config.timeout);
            }
            config.check_files().map_err(|lost| lost.on(call))?;
            checks = check::outside(file);
            checks.push(self.lend_reader(call, |connection| check::size(connection.conn(), file))?);
        }
        checks.extend(self.read_snapshot(*call, |conn| check::data(conn, *call))?);
        Ok(checks)
    }

    pub(crate) fn stats(&self) -> Stats {
        let wal = self.config.file.as_ref().map(StoreFile::wal);
        let wal = wal.and_then(|wal| wal.metadata().ok());
        self.writer
            .calls
            .counters
            .stats(wal.map_or(0, |wal| wal.len()))
    }
}

impl Drop for Store {
    /// Closes all connections before it returns, because the host may move or delete the file next. Waits for a
    /// connection that is being opened, at most for the timeout.
    fn drop(&mut self) {
        // Opening a connection takes time, even with a short timeout.
        let deadline = Deadline::after(self.config.timeout.max(Duration::from_secs(1)));
        let mut alive = ConnectionGate::close(&self.gate);
        loop {
            // The queue may hold writes of futures that were dropped.
            if self.writer.queue.is_idle() {
                self.writer.engine.close();
            }
            if let Some(readers) = &mut self.readers {
                readers.close();
            }
            let all_closed = alive
                .as_mut()
                .is_none_or(|alive| Arc::get_mut(alive).is_some());
            if all_closed || deadline.remaining().is_zero() {
                return;
            }
            thread::sleep(Duration::from_micros(100));
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.config.file {
            Some(file) => write!(f, "{:?}", file.path()),
            None => f.write_str("in memory"),
        }
    }
}

/// Returns the error of a missing store. An empty file is what a failed copy leaves.
fn no_store(file: &StoreFile) -> Error {
    let kind = match file.path().metadata() {
        Ok(metadata) if metadata.len() == 0 => ErrorKind::NotAStore { reason: "is empty" },
        _ => ErrorKind::StoreNotFound,
    };
    kind.on(&Operation::on_file(OPEN, file.path()))
}

/// Opens the first connection outside of any pool, where its errors can be told apart, and
/// brings the file up to date with it.
fn open_first(
    config: &mut ConnectionConfig,
    deadline: Deadline,
    alive: &Arc<()>,
) -> Result<Connection> {
    let file = config.file.clone();
    let path = file.as_ref().map_or(":memory:".as_ref(), StoreFile::path);
    let call = Operation::on_file(OPEN, path);
    let timeout = config.timeout;
    let mut first = connect_first(config, deadline, alive).map_err(|error| match error {
        ConnectError::Refused(reason) => ErrorKind::Unsupported { reason }.on(&call),
        ConnectError::Unsafe(error) => error,
        ConnectError::Lost(lost) => lost.on(&Operation::on_store(OPEN)),
        error => error.class().kind(timeout).on(&call).with_source(error),
    })?;
    config.no_writes = migrate(first.conn(), path, file.as_ref(), deadline)
        .map_err(|failure| failure.translate::<SqliteErrors>(&call, timeout))?;
    Ok(first)
}

/// Connects, and finds out which file that was: the one that the path led to before and after. Some
/// file systems give a file another number when it is first opened for writing, and others may put
/// another in its place just now, hence the loop.
fn connect_first(
    config: &mut ConnectionConfig,
    deadline: Deadline,
    alive: &Arc<()>,
) -> Result<Connection, ConnectError> {
    loop {
        let id = || {
            config
                .file
                .as_ref()
                .and_then(|file| FileId::of(file.path()).ok())
        };
        let before = id();
        let mut first = Connection::open(config, deadline, Arc::clone(alive))?;
        let Some(file) = &config.file else {
            return Ok(first);
        };
        match (before, id()) {
            (Some(before), Some(after)) if before == after => {
                let path = file.path().into();
                config.opened = Some(OpenedFile { path, id: after });
                first.hold_to_files(config)?;
                return Ok(first);
            }
            _ if deadline.remaining().is_zero() => {
                return Err(ConnectError::Refused("others keep replacing it".into()));
            }
            _ => {}
        }
    }
}

/// How many readers are useful depends on the cores; more than this many only cost memory.
fn default_readers() -> u32 {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores.clamp(2, 8)).unwrap_or(2)
}

#[cfg(test)]
mod tests;
