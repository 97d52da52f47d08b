//! How writes get to a server: each on a connection of its own, appends together as one statement.
//!
//! A shared statement never waits for a row lock, so one contended task cannot delay the others. Refused
//! appends go back to their callers, and each caller writes in a transaction of its own.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use diesel::r2d2::Pool;
use parking_lot::Mutex;
use scheduled_thread_pool::ScheduledThreadPool;
use turnkeep_model::Seq;

use super::Conn;
use super::append::{MAX_STATEMENT_BYTES, append_by_function};
use super::connection::{Connection, ConnectionConfig};
use super::error::{PostgresErrors, commit_error, newer_schema, refuse_newer};
use super::ops::append::Append;
use super::ops::now;
use super::pool::Manager;
use super::transaction::{SAVEPOINT, Transaction, with_savepoint};
use super::watch::Watcher;
use crate::base::deadline::Deadline;
use crate::base::error::ErrorKind;
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::{Classify, ErrorClass, QueryError};
use crate::base::stats::Counters;
use crate::base::trace::Committed;
use crate::commit::engine::{Batch, Engine};
use crate::commit::job::JobEnd;
use crate::commit::queue::QueuedJob;
use crate::commit::subscribers::Subscribers;
use crate::commit::write::Write;

/// How long after a transient error the next attempt begins.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// How long a transaction waits for a lock before it returns its connection to the pool.
const LOCK_WAIT: Duration = Duration::from_millis(100);

/// Writes on the connections of a pool.
pub(crate) struct Postgres {
    pub(super) config: Arc<ConnectionConfig>,
    pub(super) pool: Pool<Manager>,
    /// One connection for the shared statements, which never wait for readers.
    pub(super) appends: Pool<Manager>,
    /// A difference of the schema that forbids writes, in words.
    pub(super) no_writes: Option<String>,
    /// How many migrations this program knows.
    pub(super) known_migrations: i64,
    pub(super) counters: Arc<Counters>,
    pub(super) watcher: Arc<Mutex<Watcher>>,
    /// The thread of the pools.
    pub(super) thread: Arc<ScheduledThreadPool>,
}

impl Postgres {
    /// Fails if the store is read-only, or a difference of the schema forbids writes: they might not be stored
    /// as intended.
    fn check_writes(&self) -> Result<(), QueryError> {
        if self.config.builder.is_read_only {
            return Err(ErrorKind::ReadOnly.into());
        }
        match &self.no_writes {
            None => Ok(()),
            Some(what) => Err(QueryError::altered(what.clone())),
        }
    }

    /// Whether no other process has written. Does not block.
    pub(crate) fn is_quiet(&self, subscribers: &Subscribers) -> bool {
        let watcher = self.watcher.try_lock();
        watcher.is_some_and(|mut watcher| watcher.is_quiet(subscribers))
    }

    /// Wakes the subscribers for which another process has written.
    pub(crate) fn look(&self, subscribers: &Subscribers) {
        let looked = self.watcher.lock().look(&self.config, subscribers);
        subscribers.looked(looked.ok());
        Watcher::close_later(&self.watcher, &self.thread);
    }

    /// Runs `work` on a connection, again after a transient error and until the deadline. An attempt that ended
    /// so has stored nothing.
    pub(crate) fn retry_until<T>(
        &self,
        deadline: Deadline,
        work: impl FnMut(&mut Connection) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        self.retry_while(|| true, deadline, work)
    }

    /// As [`retry_until`](Self::retry_until), but only while `may_retry` says so.
    fn retry_while<T>(
        &self,
        may_retry: impl Fn() -> bool,
        deadline: Deadline,
        mut work: impl FnMut(&mut Connection) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match with_connection(&self.pool, deadline, &mut work) {
                Err(failure)
                    if is_transient(&failure) && may_retry() && deadline.remaining() > pause =>
                {
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
        last_statement: &str,
    ) -> Result<Transaction<'c>, QueryError> {
        let refuse_newer = refuse_newer(self.known_migrations);
        let begun = Transaction::write(
            connection,
            deadline,
            &format!("{refuse_newer}; {last_statement}"),
        );
        begun.map_err(|error| match newer_schema(&error) {
            Some(version) => {
                let path = self.config.address.to_string().into();
                QueryError::Unusable(ErrorKind::SchemaTooNew { path, version })
            }
            None => error.into(),
        })
    }

    /// Appends in one statement, which commits by itself where that is as good as a transaction. Never waits
    /// for a row lock, so that one locked task cannot delay the other appends.
    fn append_by_statement(
        &self,
        connection: &mut Connection,
        deadline: Deadline,
        appends: Vec<&mut Append>,
    ) -> Result<Committed, QueryError> {
        let writes = appends.len();
        let (all_seqs, committed) = if connection.autocommits(deadline) {
            self.committed(writes, deadline, || {
                let appended = self.append_all(connection.conn(), &appends);
                appended.map_err(|error| match error {
                    QueryError::Database(error) => commit_error(error),
                    error => error,
                })
            })?
        } else {
            let mut transaction = self.begin(connection, deadline, "")?;
            let all_seqs = self.append_all(transaction.conn(), &appends)?;
            self.committed(writes, deadline, || transaction.commit().map(|()| all_seqs))?
        };
        // Only now: an append that has its seqs is done, and a commit may fail.
        for (append, seqs) in appends.into_iter().zip(all_seqs) {
            append.seqs = Some(seqs);
        }
        Ok(committed)
    }

    /// Returns the seqs of each append.
    fn append_all(
        &self,
        conn: &mut Conn,
        appends: &[&mut Append],
    ) -> Result<Vec<Vec<Seq>>, QueryError> {
        let operation = appends.first().map_or("append", |append| append.operation);
        let now = || now(&self.config.builder.clock, operation);
        let append = || append_by_function(conn, self.known_migrations, appends, now);
        // A clock that panics does so again for each caller, in the caller's own transaction.
        catch_unwind(AssertUnwindSafe(append)).unwrap_or(Err(QueryError::NeedsTransaction))
    }

    /// Commits the writes of this many callers, the first of which waits until `deadline`, and counts that.
    fn committed<T>(
        &self,
        writes: usize,
        deadline: Deadline,
        commit: impl FnOnce() -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError> {
        let start = Instant::now();
        let output = commit()?;
        let timeout = self.config.builder.timeout;
        let committed = Committed {
            writes,
            wait: timeout.saturating_sub(deadline.instant().saturating_duration_since(start)),
            commit: start.elapsed(),
            lock_retries: 0,
        };
        self.counters.commit(&committed);
        Ok((output, committed))
    }

    /// Hands the jobs back to their callers, to try again alone. Fails the jobs without time left, and all
    /// of them if they may be stored.
    fn give_back(&self, jobs: Vec<QueuedJob<Conn>>, error: QueryError) -> Batch<Conn> {
        let is_final = matches!(error, QueryError::OutcomeUnknown(_));
        let call = Operation::on_store("append");
        let error = error.translate::<PostgresErrors>(&call, self.config.builder.timeout);
        let mut batch = Batch::failed(jobs, &error);
        for (queued, end) in &mut batch.jobs {
            if !is_final && !queued.deadline.remaining().is_zero() {
                *end = JobEnd::RunAlone;
            }
        }
        batch
    }
}

/// Runs `work` on a connection of the pool, and discards the connection if its server is lost.
fn with_connection<T>(
    pool: &Pool<Manager>,
    deadline: Deadline,
    work: impl FnOnce(&mut Connection) -> Result<T, QueryError>,
) -> Result<T, QueryError> {
    let mut connection = pool
        .get_timeout(deadline.remaining())
        .map_err(QueryError::NoConnection)?;
    let result = work(&mut connection);
    connection.was_used();
    if let Err(QueryError::Database(error) | QueryError::OutcomeUnknown(error)) = &result
        && PostgresErrors::class(error) == ErrorClass::Lost
    {
        connection.lost();
    }
    result
}

/// Whether a repeat may succeed in a moment, and nothing is stored.
fn is_transient(failure: &QueryError) -> bool {
    match failure {
        QueryError::NeedsTransaction => true,
        QueryError::Database(error) => {
            matches!(
                PostgresErrors::class(error),
                ErrorClass::Busy | ErrorClass::Lost
            )
        }
        _ => false,
    }
}

impl Engine for Postgres {
    type Conn = Conn;
    type Errors = PostgresErrors;

    const TAKES_ONCE: bool = true;

    /// Appends that one statement can do share it. It would refuse falling times for all its callers. Other writes take
    /// several round trips and would delay the appends behind them; each has a connection of its own.
    fn is_shared<W: Write<Conn>>(write: &W) -> bool {
        let append = (write as &dyn Any).downcast_ref::<Append>();
        append.is_some_and(|it| {
            let is_plain = it.expected_last_seq.is_none() && !it.messages.is_empty();
            let times = it.messages.iter().filter_map(|message| message.timestamp);
            is_plain && it.bytes() <= MAX_STATEMENT_BYTES && times.is_sorted()
        })
    }

    /// Waits for locks for at most [`LOCK_WAIT`] before it returns its connection and tries again.
    fn run_alone<T>(
        &self,
        deadline: Deadline,
        mut write: impl FnMut(&mut Conn, &Clock) -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError> {
        self.check_writes()?;
        self.retry_until(deadline, |connection| {
            let mut transaction = self.begin(connection, deadline.at_most(LOCK_WAIT), "")?;
            let output = write(transaction.conn(), &self.config.builder.clock)?;
            self.committed(1, deadline, || transaction.commit().map(|()| output))
        })
    }

    /// Each method waits for locks as long as the begin may wait: the code can't run again.
    fn run_once<T>(
        &self,
        deadline: Deadline,
        code: impl FnOnce(&mut Conn, &Clock) -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError> {
        self.check_writes()?;
        let code = Cell::new(Some(code));
        let has_begun = Cell::new(false);
        self.retry_while(
            || !has_begun.get(),
            deadline,
            |connection| {
                let mut transaction = self.begin(connection, deadline, SAVEPOINT)?;
                has_begun.set(true);
                let code = code.take().ok_or(QueryError::NeedsTransaction)?;
                let output = code(transaction.conn(), &self.config.builder.clock)?;
                self.committed(1, deadline, || transaction.commit().map(|()| output))
            },
        )
    }

    fn with_savepoint<T>(
        conn: &mut Conn,
        part: impl FnOnce(&mut Conn) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        with_savepoint(conn, part)
    }

    fn run_leading<W: Write<Conn>>(
        &self,
        deadline: Deadline,
        write: &mut W,
    ) -> Result<Option<(W::Output, Committed)>, QueryError> {
        self.check_writes()?;
        let result = with_connection(&self.appends, deadline, |connection| {
            let append = (write as &mut dyn Any).downcast_mut();
            let appends = append.into_iter().collect();
            let committed = self.append_by_statement(connection, deadline, appends)?;
            Ok((
                write.run(connection.conn(), &self.config.builder.clock)?,
                committed,
            ))
        });
        match result {
            Err(error) if is_transient(&error) => Ok(None),
            result => result.map(Some),
        }
    }

    fn run_batch(
        &self,
        deadline: Deadline,
        mut take: impl FnMut() -> Vec<QueuedJob<Conn>>,
    ) -> Result<Batch<Conn>, QueryError> {
        self.check_writes()?;
        let mut jobs = Vec::new();
        let result = with_connection(&self.appends, deadline, |connection| {
            jobs = take();
            let appends = jobs
                .iter_mut()
                .filter_map(|queued| queued.job.write_mut().downcast_mut());
            let committed = self.append_by_statement(connection, deadline, appends.collect())?;
            for queued in &mut jobs {
                queued
                    .job
                    .run(connection.conn(), &self.config.builder.clock)?;
            }
            Ok(committed)
        });
        match result {
            Ok(committed) => Ok(Batch {
                jobs: jobs
                    .into_iter()
                    .map(|job| (job, JobEnd::Committed))
                    .collect(),
                committed: Some(committed),
            }),
            // There was no connection.
            Err(error) if jobs.is_empty() => Err(error),
            Err(error) => Ok(self.give_back(jobs, error)),
        }
    }
}
