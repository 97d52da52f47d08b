//! The connection that writes.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{FairMutex, Mutex};

use super::Conn;
use super::batch::run_all;
use super::connection::{Connection, SharedConfig};
use super::error::{SqliteErrors, class_of};
use super::file::StoreFile;
use super::full::full_disk_error;
use super::log::{LONGEST_WAIT, Log};
use super::ops::append::Append;
use super::sharing::{Sharing, WriteSlot};
use super::transaction::{Transaction, with_savepoint};
use super::watch::Watcher;
use crate::base::deadline::Deadline;
use crate::base::error::{ErrorKind, Result};
use crate::base::operation::Operation;
use crate::base::options::{Clock, RepoBuilder};
use crate::base::query_error::{ErrorClass, QueryError};
use crate::base::stats::Counters;
use crate::base::trace::Committed;
use crate::commit::engine::{Batch, Engine};
use crate::commit::job::JobEnd;
use crate::commit::queue::QueuedJob;
use crate::commit::subscribers::Subscribers;
use crate::commit::write::Write;

/// For how long a vacuum asks for the log at least, however long the rest has taken.
const LEAST_WAIT: Duration = Duration::from_millis(100);

/// The connection that writes.
pub(crate) struct Sqlite {
    config: SharedConfig,
    slot: FairMutex<WriterSlot>,
    /// `None` in memory. Locked before the slot by the caller that truncates the log.
    log: Option<Mutex<Log>>,
    clock: Clock,
    counters: Arc<Counters>,
    watcher: Mutex<Watcher>,
}

/// Where the caller sits that writes.
struct WriterSlot {
    /// `None` before the first call, after one that spoiled it, and in a store that is being closed.
    connection: Option<Connection>,
    is_closed: bool,
    sharing: Sharing,
}

impl Sqlite {
    pub(crate) fn new(
        config: SharedConfig,
        builder: &RepoBuilder,
        counters: Arc<Counters>,
    ) -> Self {
        let file = config.file.as_ref();
        let log = file.map(|file| Mutex::new(Log::of(file)));
        let shared = file.filter(|_| builder.yield_to_other_processes);
        let sharing = Sharing::new(shared.map(StoreFile::wal), Arc::clone(&counters));
        Self {
            slot: FairMutex::new(WriterSlot {
                connection: None,
                is_closed: false,
                sharing,
            }),
            log,
            config,
            clock: Arc::clone(&builder.clock),
            counters,
            watcher: Mutex::default(),
        }
    }

    /// Lends the connection for something that is no write.
    pub(crate) fn lend<T>(
        &self,
        query: impl FnOnce(&mut Conn) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let deadline = Deadline::after(self.config.timeout);
        self.with_writer(deadline, |connection, _| query(&mut connection.conn))
    }

    /// Writes the file anew and empties the log, which is called `log` when a reader keeps it.
    pub(super) fn vacuum(&self, call: &Operation<'_>, log: &str) -> Result<()> {
        let timeout = self.config.timeout;
        let deadline = Deadline::after(timeout);
        let is_empty = self.with_writer(deadline, |connection, _| {
            self.config.check_writes()?;
            connection.check_files()?;
            connection.vacuum(deadline.remaining())?;
            connection.check_files()?;
            Ok(connection.empty_log(deadline.remaining().max(LEAST_WAIT))?)
        });
        match is_empty.map_err(|failure| failure.translate::<SqliteErrors>(call, timeout))? {
            true => Ok(()),
            false => Err(ErrorKind::Busy { timeout }.on(&Operation::on_named(call.name, log))),
        }
    }

    /// Whether no other process has written. Does not block.
    pub(crate) fn is_quiet(&self, _: &Subscribers) -> bool {
        let watcher = self.watcher.try_lock();
        watcher.is_some_and(|watcher| watcher.is_quiet(&self.config))
    }

    /// Wakes the subscribers for which another process has written.
    pub(crate) fn look(&self, subscribers: &Subscribers) {
        let looked = self.watcher.lock().look(&self.config, subscribers);
        subscribers.looked(looked.ok());
    }

    /// Closes the connections for good if they are idle.
    pub(crate) fn close(&self) {
        if let Some(mut watcher) = self.watcher.try_lock() {
            *watcher = Watcher::default();
        }
        if let Some(mut slot) = self.slot.try_lock() {
            slot.connection = None;
            slot.is_closed = true;
        }
    }

    /// Runs `work` on the connection, which is made first if there is none, in this process's time slice.
    fn with_writer<T>(
        &self,
        deadline: Deadline,
        work: impl FnOnce(&mut Connection, &mut Sharing) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let Some(mut slot) = self.slot.try_lock_until(deadline.instant()) else {
            return Err(QueryError::OutOfTime);
        };
        let slot = &mut *slot;
        let connection = match &mut slot.connection {
            Some(connection) => connection,
            none => none.insert(self.connect(slot.is_closed, deadline)?),
        };
        let write_slot = WriteSlot(&mut slot.sharing);
        write_slot.0.wait_for_slot(deadline);
        let result = work(connection, write_slot.0);
        drop(write_slot);
        let result = result.map_err(|error| self.failed(connection, error));
        if connection.is_given_up() {
            slot.connection = None;
        }
        result
    }

    fn connect(&self, is_closed: bool, deadline: Deadline) -> Result<Connection, QueryError> {
        let timeout = self.config.timeout;
        match &self.config.file {
            Some(file) if !is_closed => Connection::open(&self.config, deadline)
                .map_err(|error| full_disk_error(error, file)),
            // The only connection to a store in memory is the store.
            None => (self.config.first.lock().take())
                .ok_or_else(|| ErrorKind::NoConnection { timeout }.into()),
            // A closed file stays closed, although a thread that has just written may come to tidy up.
            Some(_) => Err(ErrorKind::NoConnection { timeout }.into()),
        }
    }

    /// Gives the connection up after an error that spoils it, and recognizes a full disk.
    fn failed(&self, connection: &mut Connection, error: QueryError) -> QueryError {
        let Some(file) = &self.config.file else {
            return error;
        };
        connection.give_up_if_spoiled(&error);
        full_disk_error(error, file)
    }

    fn begin<'c>(
        &self,
        connection: &'c mut Connection,
        sharing: &mut Sharing,
        deadline: Deadline,
    ) -> Result<Transaction<'c>, QueryError> {
        self.config.check_writes()?;
        Transaction::write(connection, || sharing.wait(deadline))
    }

    /// Appends by a statement that commits by itself, which costs three fourths of a transaction. Returns `None`, with
    /// nothing stored, if the append needs a transaction.
    ///
    /// The files are checked before the statement has the lock, not before its commit: a file that is replaced in
    /// the microseconds between is like one that is replaced just after the commit.
    fn append_at_once(
        &self,
        connection: &mut Connection,
        sharing: &mut Sharing,
        deadline: Deadline,
        append: &mut Append,
    ) -> Result<Option<Committed>, QueryError> {
        self.config.check_writes()?;
        connection.wait_at_most(Duration::ZERO)?;
        loop {
            let start = Instant::now();
            connection.check_files()?;
            let (conn, last_turns) = (&mut connection.conn, &mut connection.last_turns);
            match last_turns.append(conn, append, &self.clock, true) {
                Err(QueryError::Database(error))
                    if class_of(&error) == ErrorClass::Busy && sharing.wait(deadline) => {}
                Ok(true) => return Ok(Some(self.committed(1, sharing, deadline, start))),
                Ok(false) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Commits what `writes` callers wanted, the oldest of which waits until `deadline`.
    fn commit(
        &self,
        transaction: Transaction<'_>,
        sharing: &mut Sharing,
        writes: usize,
        deadline: Deadline,
    ) -> Result<Committed, QueryError> {
        let start = Instant::now();
        transaction.commit()?;
        Ok(self.committed(writes, sharing, deadline, start))
    }

    /// Counts a commit that began at `start`.
    fn committed(
        &self,
        writes: usize,
        sharing: &Sharing,
        deadline: Deadline,
        start: Instant,
    ) -> Committed {
        let committed = Committed {
            writes,
            wait: (self.config.timeout).saturating_sub(deadline.instant() - start),
            commit: start.elapsed(),
            lock_retries: sharing.retries(),
        };
        self.counters.commit(&committed);
        committed
    }

    fn run_batch_on(
        &self,
        take: impl FnMut() -> Vec<QueuedJob<Conn>>,
        connection: &mut Connection,
        sharing: &mut Sharing,
        deadline: Deadline,
    ) -> Result<Batch<Conn>, QueryError> {
        let timeout = self.config.timeout;
        let mut transaction = self.begin(connection, sharing, deadline)?;
        let mut jobs = Vec::new();
        let ran = run_all(&mut transaction, &mut jobs, take, &self.clock, timeout);
        // A transaction that stores nothing is dropped, which rolls it back.
        let result = ran.and_then(|ends| {
            let is_stored = ends.iter().any(|end| matches!(end, JobEnd::Committed));
            let ended = ends.iter().filter(|end| !matches!(end, JobEnd::PutBack));
            let writes = ended.count();
            let commit = || self.commit(transaction, sharing, writes, deadline);
            Ok((ends, is_stored.then(commit).transpose()?))
        });
        match result {
            Ok((ends, committed)) => Ok(Batch {
                jobs: jobs.into_iter().zip(ends).collect(),
                committed,
            }),
            Err(error) => {
                let error = self.failed(connection, error);
                let call = Operation::on_store("write");
                let error = error.translate::<SqliteErrors>(&call, timeout);
                Ok(Batch::failed(jobs, &error))
            }
        }
    }
}

impl Engine for Sqlite {
    type Conn = Conn;
    type Errors = SqliteErrors;

    const TAKES_ONCE: bool = false;

    /// SQLite has one writer at a time.
    fn is_shared<W: Write<Conn>>(_: &W) -> bool {
        true
    }

    fn run_alone<T>(
        &self,
        deadline: Deadline,
        write: impl FnMut(&mut Conn, &Clock) -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError> {
        self.run_once(deadline, write)
    }

    fn run_once<T>(
        &self,
        deadline: Deadline,
        code: impl FnOnce(&mut Conn, &Clock) -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError> {
        self.with_writer(deadline, |connection, sharing| {
            let transaction = self.begin(connection, sharing, deadline)?;
            let output = code(transaction.conn, &self.clock)?;
            Ok((output, self.commit(transaction, sharing, 1, deadline)?))
        })
    }

    fn with_savepoint<T>(
        conn: &mut Conn,
        part: impl FnOnce(&mut Conn) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        with_savepoint(conn, part)
    }

    /// As [`run_alone`](Self::run_alone), without a closure around the write: every write waits for the only
    /// writer.
    fn run_leading<W: Write<Conn>>(
        &self,
        deadline: Deadline,
        write: &mut W,
    ) -> Result<Option<(W::Output, Committed)>, QueryError> {
        self.with_writer(deadline, |connection, sharing| {
            if let Some(append) = (write as &mut dyn Any).downcast_mut()
                && let Some(committed) =
                    self.append_at_once(connection, sharing, deadline, append)?
            {
                return Ok(Some((
                    write.run(&mut connection.conn, &self.clock)?,
                    committed,
                )));
            }
            let transaction = self.begin(connection, sharing, deadline)?;
            let output = write.run(transaction.conn, &self.clock)?;
            let committed = self.commit(transaction, sharing, 1, deadline)?;
            if let Some(append) = (write as &dyn Any).downcast_ref() {
                connection.last_turns.remember(append);
            }
            Ok(Some((output, committed)))
        })
    }

    fn run_batch(
        &self,
        deadline: Deadline,
        take: impl FnMut() -> Vec<QueuedJob<Conn>>,
    ) -> Result<Batch<Conn>, QueryError> {
        self.with_writer(deadline, |connection, sharing| {
            self.run_batch_on(take, connection, sharing, deadline)
        })
    }

    /// Truncates the log when it has grown too long. A failure leaves a longer log, in which all that was
    /// acknowledged stays.
    fn tidy(&self) {
        // The caller that has the lock is doing it.
        let Some(mut log) = self.log.as_ref().and_then(Mutex::try_lock) else {
            return;
        };
        if !log.is_due(Instant::now()) {
            return;
        }
        // A write that comes meanwhile has half of its time left.
        let deadline = Deadline::after(LONGEST_WAIT.min(self.config.timeout / 2));
        let _ = self.with_writer(deadline, |connection, _| {
            connection.check_files()?;
            Ok(connection.empty_log(deadline.remaining())?)
        });
        log.settle(Instant::now());
    }
}

#[cfg(test)]
mod tests;
