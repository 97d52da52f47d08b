//! The connection that writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::r2d2::{Pool, PooledConnection};
use parking_lot::{FairMutex, Mutex};

use super::batch::{Stopped, run_all};
use super::connection::{Connection, SharedSetup};
use super::error::SqliteErrors;
use super::file::StoreFile;
use super::full::told_if_full;
use super::log::{LONGEST_WAIT, Log};
use super::sharing::{Sharing, WriteSlot};
use super::store::{Manager, get};
use super::transaction::Transaction;
use crate::base::error::{Error, Result};
use crate::base::operation::{Call, Deadline};
use crate::base::options::{Clock, RepoBuilder};
use crate::base::query_error::QueryError;
use crate::base::stats::Counters;
use crate::base::trace::Committed;
use crate::commit::engine::{Conn, Engine};
use crate::commit::group_commit::fail;
use crate::commit::queue::{Ended, Lead};
use crate::writes::Write;

/// For how long a vacuum asks for the log at least, however long the rest has taken.
const LEAST_WAIT: Duration = Duration::from_millis(100);

/// The one connection that writes, and who has it.
pub(crate) struct Sqlite {
    pool: Pool<Manager>,
    setup: SharedSetup,
    seat: FairMutex<Seat>,
    /// `None` in memory. Locked before the seat, by the one who empties it.
    log: Option<Mutex<Log>>,
    clock: Clock,
    timeout: Duration,
    counters: Arc<Counters>,
}

/// Where the caller sits that writes.
struct Seat {
    /// Kept from call to call. `None` before the first, and after one that spoiled it.
    connection: Option<PooledConnection<Manager>>,
    sharing: Sharing,
}

impl Sqlite {
    pub(crate) fn new(
        pool: Pool<Manager>,
        setup: SharedSetup,
        builder: &RepoBuilder,
        counters: Arc<Counters>,
    ) -> Self {
        let file = setup.file.as_ref();
        let log = file.map(|file| Mutex::new(Log::of(file)));
        let shared = file.filter(|_| builder.yield_to_other_processes);
        let sharing = Sharing::new(shared.map(StoreFile::wal), Arc::clone(&counters));
        Self {
            seat: FairMutex::new(Seat {
                connection: None,
                sharing,
            }),
            log,
            pool,
            setup,
            clock: Arc::clone(&builder.clock),
            timeout: builder.timeout,
            counters,
        }
    }

    /// Lends the connection for something that is no write.
    pub(crate) fn lend<T>(
        &self,
        call: &Call<'_>,
        work: impl FnOnce(&mut Connection) -> Result<T, QueryError>,
    ) -> Result<T> {
        let deadline = Deadline::after(self.timeout);
        self.sit(deadline, |connection, _| work(connection))
            .map_err(|failure| failure.translate::<SqliteErrors>(call, self.timeout))
    }

    /// Writes the file anew and empties the log, which is called `log` when a reader keeps it.
    pub(super) fn vacuum(&self, call: &Call<'_>, log: &str) -> Result<()> {
        let deadline = Deadline::after(self.timeout);
        let is_empty = self.sit(deadline, |connection, sharing| {
            self.setup.check_writes()?;
            sharing.wait_for_slot(deadline);
            connection.check_files()?;
            connection.vacuum(deadline.remaining())?;
            connection.check_files()?;
            Ok(connection.empty_log(deadline.remaining().max(LEAST_WAIT))?)
        });
        match is_empty.map_err(|failure| failure.translate::<SqliteErrors>(call, self.timeout))? {
            true => Ok(()),
            false => Err(Error::Busy {
                operation: call.operation,
                subject: log.to_owned(),
                timeout: self.timeout,
                source: None,
            }),
        }
    }

    /// Closes the connection, if nobody uses it.
    pub(crate) fn close(&self) {
        let seat = self.seat.try_lock();
        let kept = seat.and_then(|mut seat| seat.connection.take());
        // After a panic, or when it was made too late for whoever asked, it is in the pool.
        for mut connection in kept.into_iter().chain(self.pool.try_get()) {
            connection.give_up();
        }
    }

    /// Runs `work` on the connection, which is made first if there is none.
    fn sit<T>(
        &self,
        deadline: Deadline,
        work: impl FnOnce(&mut Connection, &mut Sharing) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let until = deadline.instant();
        let mut seat = self
            .seat
            .try_lock_until(until)
            .ok_or(QueryError::OutOfTime)?;
        let Seat {
            connection: kept,
            sharing,
        } = &mut *seat;
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => get(&self.pool, &self.setup, deadline.remaining())?,
        };
        let slot = WriteSlot(sharing);
        let result = connection.run(|connection| work(connection, slot.0));
        drop(slot);
        let result = result.map_err(|failure| self.told_if_full(failure));
        if !connection.is_given_up() {
            *kept = Some(connection);
        }
        result
    }

    fn told_if_full(&self, failure: QueryError) -> QueryError {
        match &self.setup.file {
            Some(file) => told_if_full(failure, file),
            None => failure,
        }
    }

    fn begin<'c>(
        &self,
        connection: &'c mut Connection,
        sharing: &mut Sharing,
        deadline: Deadline,
    ) -> Result<Transaction<'c>, QueryError> {
        self.setup.check_writes()?;
        sharing.wait_for_slot(deadline);
        let mut transaction = Transaction::write(connection, || sharing.wait(deadline))?;
        transaction.check_schema()?;
        Ok(transaction)
    }

    /// Commits what `writes` callers wanted, the oldest of which waits until `deadline`.
    fn commit(
        &self,
        mut transaction: Transaction<'_>,
        sharing: &mut Sharing,
        writes: usize,
        deadline: Deadline,
    ) -> Result<Committed, QueryError> {
        transaction.check_files()?;
        let start = Instant::now();
        transaction.commit()?;
        let end = Instant::now();
        let committed = Committed {
            writes,
            wait: self.timeout.saturating_sub(deadline.instant() - start),
            commit: end - start,
            lock_retries: sharing.retries(),
        };
        self.counters.commit(&committed);
        Ok(committed)
    }

    fn write_batch_on(
        &self,
        lead: &Lead<'_>,
        connection: &mut Connection,
        sharing: &mut Sharing,
        deadline: Deadline,
    ) -> Result<(Vec<Ended>, Option<Committed>), QueryError> {
        let mut transaction = self.begin(connection, sharing, deadline)?;
        let mut batch = lead.take_batch();
        let outcomes = match run_all(&mut transaction, &mut batch, &self.clock, self.timeout) {
            Ok(outcomes) => self
                .commit(transaction, sharing, batch.len(), deadline)
                .map(|committed| (outcomes, committed))
                .map_err(Stopped::ForAll),
            Err(stopped) => {
                drop(transaction);
                Err(stopped)
            }
        };
        match outcomes {
            Ok((outcomes, committed)) => {
                let ended = batch.into_iter().zip(outcomes).collect();
                Ok((ended, Some(committed)))
            }
            Err(Stopped::ForOne(index, cause)) => {
                let culprit = batch.remove(index);
                lead.put_back(batch);
                Ok((vec![(culprit, Err(cause))], None))
            }
            Err(Stopped::ForAll(failure)) => {
                if let QueryError::Database(error) = &failure {
                    connection.give_up_if_spoiled(error);
                }
                let failure = self.told_if_full(failure).into();
                Ok((fail::<SqliteErrors>(batch, &failure, self.timeout), None))
            }
        }
    }
}

impl Engine for Sqlite {
    type Errors = SqliteErrors;

    /// There is one writer at a time, whatever is written.
    fn is_shared<W: Write>(_: &W) -> bool {
        true
    }

    fn write_alone<T>(
        &self,
        lead: Option<Lead<'_>>,
        deadline: Deadline,
        mut write: impl FnMut(Conn<'_>, &Clock) -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError> {
        let result = self.sit(deadline, |connection, sharing| {
            let mut transaction = self.begin(connection, sharing, deadline)?;
            let output = write(Conn::Sqlite(transaction.conn()), &self.clock)?;
            let committed = self.commit(transaction, sharing, 1, deadline)?;
            Ok((output, committed))
        });
        drop(lead);
        result
    }

    fn write_batch(
        &self,
        lead: &Lead<'_>,
        deadline: Deadline,
    ) -> Result<(Vec<Ended>, Option<Committed>), QueryError> {
        self.sit(deadline, |connection, sharing| {
            self.write_batch_on(lead, connection, sharing, deadline)
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
        let deadline = Deadline::after(LONGEST_WAIT.min(self.timeout / 2));
        let _ = self.sit(deadline, |connection, sharing| {
            sharing.wait_for_slot(deadline);
            connection.check_files()?;
            Ok(connection.empty_log(deadline.remaining())?)
        });
        log.settle(Instant::now());
    }
}

#[cfg(test)]
mod tests;
