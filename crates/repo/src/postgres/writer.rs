//! How writes get to a server: each on a connection of its own, appends together as one statement.
//!
//! A shared statement never waits for a row lock, so one contended task cannot delay the others. Whatever
//! the statement refuses goes back to its callers, and each of them writes in a transaction of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use diesel::r2d2::Pool;

use super::append::ServerSession;
use super::connection::{Connection, ConnectionConfig};
use super::error::{PostgresErrors, may_be_committed, newer_schema};
use super::pool::Manager;
use super::transaction::Transaction;
use crate::base::operation::Deadline;
use crate::base::options::{Clock, RepoBuilder};
use crate::base::query_error::{Classify, ErrorClass, NewerSchema, QueryError, Shared};
use crate::base::stats::Counters;
use crate::base::trace::Committed;
use crate::commit::engine::{Conn, Engine};
use crate::commit::group_commit::fail;
use crate::commit::queue::{Ended, Lead, Queue, Waiting};
use crate::writes::{self, Write};

/// How long after a transient error the next attempt begins.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// How long a transaction waits for a lock before it returns its connection to the pool.
const LOCK_WAIT: Duration = Duration::from_millis(100);

/// Writes on the connections of a pool.
pub(crate) struct Postgres {
    config: Arc<ConnectionConfig>,
    pool: Pool<Manager>,
    /// One connection for the shared statements, which never wait for readers.
    appends: Pool<Manager>,
    clock: Clock,
    counters: Arc<Counters>,
}

impl Postgres {
    pub(crate) fn new(
        config: Arc<ConnectionConfig>,
        pool: Pool<Manager>,
        appends: Pool<Manager>,
        builder: &RepoBuilder,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            config,
            pool,
            appends,
            clock: Arc::clone(&builder.clock),
            counters,
        }
    }

    /// Runs `work` on a connection for one caller.
    pub(crate) fn with_connection<T>(
        &self,
        deadline: Deadline,
        work: impl FnOnce(&mut Connection) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        self.with_pooled(&self.pool, deadline, work)
    }

    /// Runs `work` on a connection of the pool, and discards the connection if its server is lost.
    fn with_pooled<T>(
        &self,
        pool: &Pool<Manager>,
        deadline: Deadline,
        work: impl FnOnce(&mut Connection) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let mut connection = pool
            .get_timeout(deadline.remaining())
            .map_err(QueryError::NoConnection)?;
        let result = work(&mut connection);
        connection.was_used();
        if let Err(failure) = &result
            && failure.kind::<PostgresErrors>() == Some(ErrorClass::Lost)
        {
            connection.lost(&self.config);
        }
        result
    }

    /// Repeats `attempt` after a transient error, until the deadline. Such an attempt has stored nothing.
    pub(crate) fn retry_until<T>(
        &self,
        deadline: Deadline,
        mut attempt: impl FnMut() -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match attempt() {
                Err(failure) if is_transient(&failure) && deadline.remaining() > pause => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                result => return result,
            }
        }
    }

    fn begin<'c>(
        &self,
        connection: &'c mut Connection,
        deadline: Deadline,
    ) -> Result<Transaction<'c>, QueryError> {
        Transaction::write(connection, deadline).map_err(|error| match newer_schema(&error) {
            Some(version) => {
                let path = self.config.address.to_string().into();
                NewerSchema { path, version }.into()
            }
            None => error.into(),
        })
    }

    /// Runs a write in a transaction, which waits for locks for at most [`LOCK_WAIT`].
    fn write_once<T>(
        &self,
        deadline: Deadline,
        write: &mut impl FnMut(Conn<'_>, &Clock) -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError> {
        self.with_connection(deadline, |connection| {
            let mut transaction = self.begin(connection, deadline.at_most(LOCK_WAIT))?;
            let output = write(Conn::Postgres(transaction.session()), &self.clock)?;
            let committed = self.commit(transaction, 1, deadline)?;
            Ok((output, committed))
        })
    }

    /// Runs appends as one statement, which commits by itself where that is as good as a transaction. Never
    /// waits for a row lock, so that one locked task cannot delay the other appends. `writes` is how many
    /// appends these are.
    fn append_by_statement<T>(
        &self,
        connection: &mut Connection,
        deadline: Deadline,
        writes: usize,
        append: impl FnOnce(&mut ServerSession) -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError> {
        if !connection.autocommits(deadline) {
            let mut transaction = self.begin(connection, deadline)?;
            transaction.session().append_by_statement();
            let output = append(transaction.session())?;
            let committed = self.commit(transaction, writes, deadline)?;
            return Ok((output, committed));
        }
        let session = connection.session();
        session.append_by_statement();
        let start = Instant::now();
        let output = append(session).map_err(|failure| match failure {
            QueryError::Database(error) if may_be_committed(&error) => {
                QueryError::OutcomeUnknown(error)
            }
            failure => failure,
        })?;
        Ok((output, self.committed(start, writes, deadline)))
    }

    /// Runs the appends of a batch as one statement, and keeps the result of each for its caller.
    fn append_batch(
        &self,
        session: &mut ServerSession,
        batch: &mut [Waiting],
    ) -> Result<(), QueryError> {
        let requests: Vec<_> = batch.iter().filter_map(|it| it.job.as_append()).collect();
        let operation = batch.first().map_or("append", |it| it.job.call().operation);
        let append = || session.append_batch(&requests, || writes::now(&self.clock, operation));
        // A clock that panics does so again for each caller, in the caller's own transaction.
        catch_unwind(AssertUnwindSafe(append)).unwrap_or(Err(QueryError::NeedsTransaction))?;
        for waiting in batch {
            waiting.job.run(Conn::Postgres(session), &self.clock)?;
        }
        Ok(())
    }

    /// Commits the writes of this many callers, the first of which waits until `deadline`.
    fn commit(
        &self,
        transaction: Transaction<'_>,
        writes: usize,
        deadline: Deadline,
    ) -> Result<Committed, QueryError> {
        let start = Instant::now();
        transaction.commit()?;
        Ok(self.committed(start, writes, deadline))
    }

    /// Counts a commit that was begun at `start`.
    fn committed(&self, start: Instant, writes: usize, deadline: Deadline) -> Committed {
        let committed = Committed {
            writes,
            wait: self
                .config
                .timeout
                .saturating_sub(deadline.instant().saturating_duration_since(start)),
            commit: start.elapsed(),
            lock_retries: 0,
        };
        self.counters.commit(&committed);
        committed
    }

    /// Hands the writes back to their callers, to try again alone. Fails those that have no time left, and
    /// all of them if they may be stored.
    fn give_back(&self, batch: Vec<Waiting>, failure: QueryError) -> Vec<Ended> {
        let is_final = matches!(failure, QueryError::OutcomeUnknown(_));
        let (ended, again): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|waiting| is_final || waiting.deadline().remaining().is_zero());
        // Every caller has its write before the first is woken.
        let callers: Vec<_> = again.into_iter().map(Queue::hand_back).collect();
        drop(callers);
        fail::<PostgresErrors>(ended, &Shared::from(failure), self.config.timeout)
    }
}

/// Whether a repeat may succeed in a moment, and nothing is stored.
fn is_transient(failure: &QueryError) -> bool {
    match failure {
        QueryError::NeedsTransaction => true,
        QueryError::Database(error) => {
            matches!(
                PostgresErrors::class(error),
                ErrorClass::Busy | ErrorClass::Conflict | ErrorClass::Lost
            )
        }
        _ => false,
    }
}

impl Engine for Postgres {
    type Errors = PostgresErrors;

    /// Appends that one statement can do share it. Other writes take several round trips and would delay
    /// the appends behind them; each has a connection of its own.
    fn is_shared<W: Write>(write: &W) -> bool {
        write
            .as_append()
            .is_some_and(|append| append.expected.is_none() && !append.messages.is_empty())
    }

    fn write_alone<T>(
        &self,
        lead: Option<Lead<'_>>,
        deadline: Deadline,
        mut write: impl FnMut(Conn<'_>, &Clock) -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError> {
        self.config.check_writes()?;
        if let Some(lead) = lead {
            let result = self.with_pooled(&self.appends, deadline, |connection| {
                self.append_by_statement(connection, deadline, 1, |session| {
                    write(Conn::Postgres(session), &self.clock)
                })
            });
            drop(lead);
            match result {
                Err(failure) if is_transient(&failure) => {}
                result => return result,
            }
        }
        self.retry_until(deadline, || self.write_once(deadline, &mut write))
    }

    fn write_batch(
        &self,
        lead: &Lead<'_>,
        deadline: Deadline,
    ) -> Result<(Vec<Ended>, Option<Committed>), QueryError> {
        self.config.check_writes()?;
        let mut batch = Vec::new();
        let result = self.with_pooled(&self.appends, deadline, |connection| {
            batch = lead.take_batch();
            self.append_by_statement(connection, deadline, batch.len(), |session| {
                self.append_batch(session, &mut batch)
            })
        });
        match result {
            Ok(((), committed)) => {
                let ended = batch.into_iter().map(|waiting| (waiting, Ok(())));
                Ok((ended.collect(), Some(committed)))
            }
            // There was no connection.
            Err(failure) if batch.is_empty() => Err(failure),
            Err(failure) => Ok((self.give_back(batch, failure), None)),
        }
    }
}
