//! How writes get to a server: each on a connection of its own, appends that wait together.
//!
//! Other writers of the same task are waited for by nobody but those who write to it. So a
//! transaction that several share never waits for a lock: what it can't have is handed back, and its
//! caller tries again by itself. Nor does who waits keep a connection for long, which others might
//! wait for then.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use diesel::r2d2::Pool;

use super::connection::{Connection, SharedSetup};
use super::error::{PostgresErrors, class_of, newer_schema};
use super::pool::Manager;
use super::transaction::Transaction;
use crate::base::operation::Deadline;
use crate::base::options::{Clock, RepoBuilder};
use crate::base::query_error::{ErrorClass, NewerSchema, QueryError, Shared};
use crate::base::stats::Counters;
use crate::base::trace::Committed;
use crate::commit::engine::{Conn, Engine};
use crate::commit::group_commit::fail;
use crate::commit::job::{Cause, Outcome};
use crate::commit::queue::{Ended, Lead, Queue, Waiting};
use crate::writes::{self, Write};

/// How long after a transaction that had to give way, or lost its server, the next one begins.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// How long a transaction waits for a lock, connection in hand, before it makes room for others.
const TURN: Duration = Duration::from_millis(100);

/// Writes on the connections of a pool.
pub(crate) struct Postgres {
    setup: SharedSetup,
    pool: Pool<Manager>,
    /// One connection, for those who append together: they never wait for those who read.
    appends: Pool<Manager>,
    clock: Clock,
    counters: Arc<Counters>,
}

/// How far the writes of a shared transaction got.
enum Ran {
    /// They are committed, or refused. `None` is for one whose task another transaction has, and no
    /// commit where there was nothing to commit.
    ToTheEnd(Vec<Option<Outcome<()>>>, Option<Committed>),
    /// The one with this index panicked, and nothing of any is stored.
    Panicked(usize, Box<dyn Any + Send>),
}

impl Postgres {
    pub(crate) fn new(
        setup: SharedSetup,
        pool: Pool<Manager>,
        appends: Pool<Manager>,
        builder: &RepoBuilder,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            setup,
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
        self.with_one_of(&self.pool, deadline, work)
    }

    /// Runs `work` on a connection of the pool, and gives that up if its server was lost.
    fn with_one_of<T>(
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
            connection.lost(&self.setup);
        }
        result
    }

    /// Does something until it succeeds, fails for a reason of its own, or time is up. What fails
    /// for others' reasons has left no trace: its server was lost before it was to commit, or it had
    /// to give way.
    pub(crate) fn until<T>(
        &self,
        deadline: Deadline,
        mut attempt: impl FnMut() -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match attempt() {
                Err(failure) if is_passing(&failure) && deadline.remaining() > pause => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
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
                let path = self.setup.address.to_string().into();
                NewerSchema { path, version }.into()
            }
            None => error.into(),
        })
    }

    /// Runs a write in a transaction, which waits for others, but not for long. An append does not
    /// wait at all.
    fn write_once<T>(
        &self,
        deadline: Deadline,
        write: &mut impl FnMut(Conn<'_>, &Clock) -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError> {
        self.with_connection(deadline, |connection| {
            let mut transaction = self.begin(connection, deadline.at_most(TURN))?;
            let output = write(Conn::Postgres(transaction.link()), &self.clock)?;
            let committed = self.commit(transaction, 1, deadline)?;
            Ok((output, committed))
        })
    }

    /// Runs an append that holds the lead: as one statement where that will do, and never waiting
    /// for other transactions.
    fn write_leading<T>(
        &self,
        deadline: Deadline,
        write: &mut impl FnMut(Conn<'_>, &Clock) -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError> {
        self.with_one_of(&self.appends, deadline, |connection| {
            if connection.writes_at_once(deadline) {
                let link = connection.link();
                link.begin_at_once();
                let start = Instant::now();
                let output = write(Conn::Postgres(link), &self.clock)?;
                return Ok((output, self.committed(start, 1, deadline)));
            }
            let mut transaction = self.begin(connection, deadline)?;
            let output = write(Conn::Postgres(transaction.link()), &self.clock)?;
            let committed = self.commit(transaction, 1, deadline)?;
            Ok((output, committed))
        })
    }

    /// Runs the appends as one statement. `None` when they can't be.
    fn write_together_at_once(
        &self,
        connection: &mut Connection,
        batch: &mut [Waiting],
        deadline: Deadline,
    ) -> Result<Option<Ran>, QueryError> {
        if !connection.writes_at_once(deadline) {
            return Ok(None);
        }
        let Some(first) = batch.first() else {
            return Ok(None);
        };
        let operation = first.job.call().operation;
        let requests: Vec<_> = batch
            .iter()
            .filter_map(|waiting| waiting.job.as_append())
            .collect();
        let link = connection.link();
        link.begin_at_once();
        let start = Instant::now();
        let append = AssertUnwindSafe(|| {
            link.append_at_once(&requests, || writes::now(&self.clock, operation))
        });
        let all_seqs = match catch_unwind(append) {
            Ok(Ok(all_seqs)) => all_seqs,
            // One after the other, to see whose it was.
            Ok(Err(QueryError::Taken | QueryError::Refused(_))) | Err(_) => return Ok(None),
            Ok(Err(failure)) => return Err(failure),
        };
        let committed = self.committed(start, batch.len(), deadline);
        let mut outcomes = Vec::with_capacity(batch.len());
        for (waiting, seqs) in batch.iter_mut().zip(all_seqs) {
            link.give(seqs);
            let outcome = waiting.job.run(Conn::Postgres(link), &self.clock);
            outcomes.push(Some(outcome.map_err(|failure| {
                Cause::Failed(
                    failure.translate::<PostgresErrors>(&waiting.job.call(), self.setup.timeout),
                )
            })));
        }
        Ok(Some(Ran::ToTheEnd(outcomes, Some(committed))))
    }

    /// Runs the writes in order, in one transaction. One that is refused leaves no trace, and the
    /// others are none the wiser. After an error nothing of any is stored, unless that is what is
    /// not known.
    fn write_together(
        &self,
        mut transaction: Transaction<'_>,
        batch: &mut [Waiting],
        deadline: Deadline,
    ) -> Result<Ran, QueryError> {
        let link = transaction.link();
        link.read_ahead(batch.iter().filter_map(|waiting| waiting.job.as_append()))?;
        let mut outcomes = Vec::with_capacity(batch.len());
        for (index, waiting) in batch.iter_mut().enumerate() {
            // What is half changed by a panic is the transaction, which will be rolled back.
            let run = AssertUnwindSafe(|| waiting.job.run(Conn::Postgres(link), &self.clock));
            outcomes.push(match catch_unwind(run) {
                Ok(Ok(())) => Some(Ok(())),
                Ok(Err(QueryError::Refused(error))) => Some(Err(Cause::Failed(error))),
                Ok(Err(QueryError::Taken)) => None,
                Ok(Err(failure)) => return Err(failure),
                Err(payload) => return Ok(Ran::Panicked(index, payload)),
            });
        }
        // A long one, which shares with nobody, may have been sent in part before it was refused.
        // Only a rollback undoes that.
        if !outcomes
            .iter()
            .any(|outcome| matches!(outcome, Some(Ok(()))))
        {
            return Ok(Ran::ToTheEnd(outcomes, None));
        }
        let committed = self.commit(transaction, batch.len(), deadline)?;
        Ok(Ran::ToTheEnd(outcomes, Some(committed)))
    }

    /// Commits what `writes` callers wanted, the oldest of which waits until `deadline`.
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
                .setup
                .timeout
                .saturating_sub(deadline.instant().saturating_duration_since(start)),
            commit: start.elapsed(),
            lock_retries: 0,
        };
        self.counters.commit(&committed);
        committed
    }

    /// Ends those that have no time left, or all of them if nobody knows what was stored, and has
    /// the others try by themselves.
    fn give_back(&self, batch: Vec<Waiting>, failure: QueryError) -> Vec<Ended> {
        let is_final = matches!(failure, QueryError::OutcomeUnknown(_)) || batch.len() == 1;
        let (ended, again): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|waiting| is_final || waiting.deadline().remaining().is_zero());
        // All are told before the first is woken.
        let callers: Vec<_> = again.into_iter().map(Queue::hand_back).collect();
        drop(callers);
        fail::<PostgresErrors>(ended, &Shared::from(failure), self.setup.timeout)
    }
}

/// Whether the same may succeed in a moment, and nothing of it is stored.
fn is_passing(failure: &QueryError) -> bool {
    match failure {
        QueryError::Taken => true,
        QueryError::Database(error) => {
            matches!(
                class_of(error),
                ErrorClass::Busy | ErrorClass::Conflict | ErrorClass::Lost
            )
        }
        _ => false,
    }
}

impl Engine for Postgres {
    type Errors = PostgresErrors;

    /// Appends gain by it. Whatever else is written takes several round trips, and would only keep
    /// others waiting that have connections of their own.
    fn is_shared<W: Write>(write: &W) -> bool {
        write.as_append().is_some()
    }

    fn write_alone<T>(
        &self,
        lead: Option<Lead<'_>>,
        deadline: Deadline,
        mut write: impl FnMut(Conn<'_>, &Clock) -> Result<T, QueryError>,
    ) -> Result<(T, Committed), QueryError> {
        self.setup.check_writes()?;
        if let Some(lead) = lead {
            let result = self.write_leading(deadline, &mut write);
            drop(lead);
            match result {
                Err(failure) if is_passing(&failure) => {}
                result => return result,
            }
        }
        self.until(deadline, || self.write_once(deadline, &mut write))
    }

    fn write_batch(
        &self,
        lead: &Lead<'_>,
        deadline: Deadline,
    ) -> Result<(Vec<Ended>, Option<Committed>), QueryError> {
        self.setup.check_writes()?;
        let mut batch = Vec::new();
        let ran = self.until(deadline, || {
            self.with_one_of(&self.appends, deadline, |connection| {
                if batch.is_empty() {
                    batch = lead.take_batch();
                }
                if batch.is_empty() {
                    return Ok(None);
                }
                let ran = self.write_together_at_once(connection, &mut batch, deadline)?;
                if ran.is_some() {
                    return Ok(ran);
                }
                let transaction = self.begin(connection, deadline)?;
                self.write_together(transaction, &mut batch, deadline)
                    .map(Some)
            })
        });
        match ran {
            Ok(Some(Ran::ToTheEnd(outcomes, committed))) => {
                let mut ended = Vec::with_capacity(batch.len());
                let mut handed_back = Vec::new();
                for (waiting, outcome) in batch.into_iter().zip(outcomes) {
                    match outcome {
                        Some(outcome) => ended.push((waiting, outcome)),
                        None => handed_back.push(Queue::hand_back(waiting)),
                    }
                }
                Ok((ended, committed))
            }
            Ok(None) => Ok((Vec::new(), None)),
            Ok(Some(Ran::Panicked(index, payload))) => {
                let culprit = batch.remove(index);
                lead.put_back(batch);
                Ok((vec![(culprit, Err(Cause::Panicked(payload)))], None))
            }
            Err(failure) if batch.is_empty() => Err(failure),
            Err(failure) => Ok((self.give_back(batch, failure), None)),
        }
    }
}
