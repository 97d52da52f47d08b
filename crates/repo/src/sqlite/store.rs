//! A store in a file: opening, reading, closing.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use scheduled_thread_pool::ScheduledThreadPool;
use turnkeep_model::{ConversationTurn, Seq, TaskId};

use super::Conn;
use super::backup::{Backup, backup};
use super::check;
use super::connection::{Connection, ConnectionConfig, SharedConfig};
use super::error::{SqliteErrors, from_io};
use super::file::{Access, StoreFile};
use super::filesystem::refuse_network;
use super::full::error_if_full;
use super::identity::{FrozenFile, OpenedFile, check_log};
use super::inspect::{refuse_other_files, seems_closed};
use super::migrate::migrate;
use super::ops::history::new_turns;
use super::readers::Readers;
use super::transaction::read_transaction;
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
    /// The thread of the readers' pool.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "for futures"))]
    pub(crate) pool_thread: Option<Arc<ScheduledThreadPool>>,
}

impl Store {
    pub(crate) fn open(builder: RepoBuilder, calls: Arc<Calls>) -> Result<Self> {
        let file = builder.path.as_deref().map(StoreFile::new).transpose()?;
        Self::open_file(file.clone(), builder, calls).map_err(|error| match &file {
            Some(file) => error_if_full(error, file),
            None => error,
        })
    }

    fn open_file(file: Option<StoreFile>, builder: RepoBuilder, calls: Arc<Calls>) -> Result<Self> {
        let deadline = Deadline::after(builder.timeout);
        let mut config = ConnectionConfig {
            file,
            access: Access::ReadWrite,
            frozen: None,
            opened: None,
            no_writes: None,
            durability: builder.durability,
            timeout: builder.timeout,
            alive: Mutex::new(Some(Arc::default())),
            first: Mutex::default(),
        };
        refuse_old_sqlite()?;
        let mut is_unseen = false;
        if let Some(file) = &config.file {
            refuse_network(file)?;
            file.refuse_unfinished_restore(OPEN)?;
            check_log(file).map_err(|lost| lost.on(&Operation::on_store(OPEN)))?;
            is_unseen = seems_closed(file);
            let is_store = is_unseen || refuse_other_files(file, config.timeout, deadline)?;
            if builder.create_if_missing {
                file.create_if_missing()?;
            } else if !is_store {
                return Err(no_store(file));
            }
            config.access = match file.access()? {
                Access::ReadWrite if builder.is_read_only => Access::ReadOnly,
                access => access,
            };
            if config.access == Access::Frozen {
                let frozen = FrozenFile::of(file.clone());
                config.frozen = Some(frozen.map_err(|error| from_io(OPEN, file.path(), error))?);
            }
        }
        let first = open_first(&mut config, builder.migrates, deadline);
        // A look tells more of a damaged file.
        if let (Err(_), Some(file)) = (&first, config.file.as_ref().filter(|_| is_unseen)) {
            refuse_other_files(file, config.timeout, deadline)?;
        }
        let first = first?;
        if let Some(file) = &config.file {
            for finding in check::permissions(file).findings {
                trace::found(&finding.what, finding.advice);
            }
        }
        config.first = Mutex::new(Some(first));
        let config = Arc::new(config);
        let pool_thread = config.file.as_ref().map(|_| pool_thread()).transpose()?;
        let readers = pool_thread.clone().map(|thread| {
            let size = builder.readers.unwrap_or_else(default_readers);
            Readers::new(Arc::clone(&config), size, thread)
        });
        let counters = Arc::clone(&calls.counters);
        let engine = Sqlite::new(Arc::clone(&config), &builder, counters);
        let writer = Arc::new(Writer::new(engine, calls, config.timeout));
        if config.file.is_none() {
            writer.subscribers.never_look();
        }
        Ok(Self {
            config,
            writer,
            readers,
            pool_thread,
        })
    }

    /// Runs one query on a reader.
    pub(crate) fn read<T>(
        &self,
        call: Operation<'_>,
        query: impl FnOnce(&mut Conn) -> Result<T, QueryError>,
    ) -> Result<T> {
        let span = self.writer.calls.begin(&call)?;
        let _entered = span.enter();
        let result = match &self.readers {
            Some(readers) => readers.lend(query),
            None => self.writer.engine.lend(query),
        };
        let result =
            result.map_err(|error| error.translate::<SqliteErrors>(&call, self.config.timeout));
        self.writer.calls.count_read(&span, &result);
        result
    }

    /// Runs several queries on a reader that see the same state of the store.
    pub(crate) fn read_snapshot<T>(
        &self,
        call: Operation<'_>,
        queries: impl FnOnce(&mut Conn) -> Result<T, QueryError>,
    ) -> Result<T> {
        self.read(call, |conn| read_transaction(conn, queries))
    }

    /// Reads turns for a follower. Fails if the file is lost: its turns would never come.
    pub(crate) fn new_turns(
        &self,
        call: Operation<'_>,
        task_id: &TaskId,
        after: Option<Seq>,
    ) -> Result<Vec<ConversationTurn>> {
        (self.config.check_files()).map_err(|lost| lost.on(&call))?;
        self.read(call, |conn| new_turns(conn, call, task_id, after))
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
        self.read(*call, |conn| backup(conn, *call, &target, check))
    }

    /// Checks the files, the schema and the rows.
    pub(crate) fn check(&self, call: &Operation<'_>) -> Result<Vec<Check>> {
        let Some(file) = &self.config.file else {
            return self.read_snapshot(*call, |conn| check::data(conn, *call));
        };
        self.config.check_files().map_err(|lost| lost.on(call))?;
        check::closed(file.path(), self.config.timeout)
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
        let alive = self.config.alive.lock().take();
        drop(self.config.first.lock().take());
        loop {
            // The queue may hold writes of futures that were dropped.
            if self.writer.queue.is_idle() {
                self.writer.engine.close();
            }
            if let Some(readers) = &mut self.readers {
                readers.close();
            }
            let all_closed = alive.as_ref().map_or(0, Arc::strong_count) <= 1;
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

/// Opens the first connection, and brings the file up to date with it.
fn open_first(
    config: &mut ConnectionConfig,
    migrates: bool,
    deadline: Deadline,
) -> Result<Connection> {
    let file = config.file.clone();
    let path = file.as_ref().map_or(":memory:".as_ref(), StoreFile::path);
    let call = Operation::on_file(OPEN, path);
    connect_first(config, deadline)
        .and_then(|mut first| {
            config.no_writes = migrate(&mut first.conn, path, file.as_ref(), migrates, deadline)?;
            Ok(first)
        })
        .map_err(|error| error.translate::<SqliteErrors>(&call, config.timeout))
}

/// Connects, and finds out which file that was: the one that the path led to before and after. Some
/// file systems give a file another number when it is first opened for writing, and others may put
/// another in its place just now, hence the loop.
fn connect_first(
    config: &mut ConnectionConfig,
    deadline: Deadline,
) -> Result<Connection, QueryError> {
    loop {
        let path = config.file.as_ref().map(|file| file.path().to_owned());
        config.opened = path.clone().map(OpenedFile::at).transpose()?;
        match Connection::open(config, deadline) {
            Err(QueryError::Unusable(ErrorKind::FileLost { path: ref lost, .. }))
                if path.as_ref() == Some(lost) && !deadline.remaining().is_zero() => {}
            result => return result,
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
