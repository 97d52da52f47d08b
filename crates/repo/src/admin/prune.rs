//! Deleting what is over and no longer wanted.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use turnkeep_model::{TaskId, TaskStatus, UtcMicros};

use crate::api::repo::Repo;
#[cfg(doc)]
use crate::base::error::ErrorKind;
use crate::base::error::{Error, Result};
use crate::base::operation::Operation;
use crate::store::query;

const OPERATION: &str = "prune";

/// A task as it was when it was chosen to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) id: TaskId,
    pub(crate) status: TaskStatus,
    pub(crate) last_active_at: DateTime<Utc>,
    pub(crate) turns: u64,
}

/// How much one transaction deletes, whichever comes first: others want to write as well.
const MOST_TASKS: usize = 64;
const MOST_TURNS: u64 = 4_096;
const MOST_BYTES: u64 = 16 * 1_024 * 1_024;

/// Chooses the tasks that are no longer wanted: a task has to match every condition.
///
/// Age goes by the last activity of a task: the later of its latest turn, by the time of the turn, and
/// of its status, by the time it was last written (`Task::status_changed_at`). A plan that is saved
/// again, a binding and a lease are no activity.
///
/// ```
/// use std::time::Duration;
/// use turnkeep_repo::{Prune, TaskStatus};
///
/// let month = Duration::from_secs(30 * 24 * 60 * 60);
/// let rule = Prune::new().older_than(month).status(TaskStatus::Skipped);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "nothing is deleted before `Repo::prune`"]
pub struct Prune {
    older_than: Option<Duration>,
    statuses: Vec<TaskStatus>,
    keep_bytes: Option<u64>,
    is_dry_run: bool,
}

impl Prune {
    /// A rule that says nothing yet, and is refused as long as it doesn't.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only tasks without activity for so long, by the clock of the database.
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = Some(age);
        self
    }

    /// Only tasks of this status, or of one named before. Without any: completed, failed and skipped.
    pub fn status(mut self, status: TaskStatus) -> Self {
        self.statuses.push(status);
        self
    }

    /// Only as many, the least recently active first, as it takes for the texts of the whole store to
    /// have at most so many bytes. A file takes more than its texts.
    pub fn keep_bytes(mut self, bytes: u64) -> Self {
        self.keep_bytes = Some(bytes);
        self
    }

    /// Deletes nothing, and reports what would go.
    pub fn dry_run(mut self, is_dry_run: bool) -> Self {
        self.is_dry_run = is_dry_run;
        self
    }

    fn check(&self) -> Result<()> {
        let invalid = |field, reason: &str| Err(Error::invalid(OPERATION, field, reason));
        if *self == Self::new().dry_run(self.is_dry_run) {
            return invalid("rule", "says neither age nor status nor size");
        }
        if self
            .statuses
            .iter()
            .any(|status| !TaskStatus::ENDED.contains(status))
        {
            return invalid("status", "is that of a task which is not over");
        }
        Ok(())
    }

    fn statuses(&self) -> &[TaskStatus] {
        match self.statuses.as_slice() {
            [] => TaskStatus::ENDED,
            some => some,
        }
    }

    /// Returns the latest activity that a task may have, if age counts.
    fn upto(&self, clock: UtcMicros) -> Option<UtcMicros> {
        let age = TimeDelta::from_std(self.older_than?).unwrap_or(TimeDelta::MAX);
        let upto = DateTime::<Utc>::from(clock).checked_sub_signed(age);
        // Before the year 0 there is nothing.
        let upto = upto.unwrap_or(DateTime::<Utc>::MIN_UTC);
        let first = DateTime::from_timestamp_micros(-62_167_219_200_000_000);
        UtcMicros::new(upto)
            .or_else(|_| UtcMicros::new(first.unwrap_or_default()))
            .ok()
    }
}

/// A task that a prune has deleted, or would.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrunedTask {
    /// The task.
    pub id: TaskId,
    /// How it ended.
    pub status: TaskStatus,
    /// When it was last active, UTC: see [`Prune`].
    pub last_active_at: DateTime<Utc>,
    /// How many turns it had.
    pub turns: u64,
    /// The bytes of its texts: the conversation, what the task is, and why its sessions were retired.
    pub bytes: u64,
}

/// What a prune has done, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PruneReport {
    /// The tasks, in the order they went: by `last_active_at`, the earliest first, then id.
    pub tasks: Vec<PrunedTask>,
    /// The bytes of all texts that were left, or would be, as counted at the beginning.
    pub kept_bytes: u64,
}

impl PruneReport {
    /// Returns how many turns went with the tasks.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.tasks.iter().map(|task| task.turns).sum()
    }

    /// Returns the bytes of the texts that went.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tasks.iter().map(|task| task.bytes).sum()
    }
}

/// Keeping a store small.
impl Repo {
    /// Deletes tasks that are over and no longer wanted, with everything under them, for good, and
    /// returns which they were.
    ///
    /// A task that is not over (pending, eligible, running) never goes, nor one that such a task waits
    /// for, directly or through others. Each transaction that deletes looks at its tasks once more, with
    /// their rows locked: one that got a turn or another status meanwhile stays.
    ///
    /// Each transaction deletes a few tasks, so that others who write do not wait for long; a task
    /// with a long history goes in one. Then a file is made smaller, a megabyte a transaction, by all
    /// that is free in it; on the disk that shows when SQLite next moves its log into the file, at the
    /// latest when nobody has the store open any more. A file that another program has made, as the
    /// diesel CLI does, keeps what is free for what is written next, until [`vacuum`](Self::vacuum) was
    /// called once. On a server its own vacuum sees to that. All that is to go is held in memory, some
    /// hundred bytes a task.
    ///
    /// # Errors
    /// What was deleted before an error is gone; it may be all, and only the room not given back. Call
    /// it again.
    /// - [`ErrorKind::InvalidInput`]: the rule says nothing, or has a status of a task that is not over.
    /// - Those that any call may have.
    ///
    /// ```
    /// use turnkeep_repo::{NewTask, Prune, Repo, TaskId, TaskStatus};
    ///
    /// let repo = Repo::open_in_memory()?;
    /// for (id, status) in [("a", TaskStatus::Skipped), ("b", TaskStatus::Pending)] {
    ///     repo.save_task(&NewTask::new(TaskId::new(id)?, id).status(status))?;
    /// }
    /// let rule = Prune::new().keep_bytes(0);
    /// assert_eq!(repo.prune(&rule.clone().dry_run(true))?.bytes(), 3); // "a" and "[]"
    /// assert_eq!(repo.prune(&rule)?.tasks.len(), 1);
    /// assert_eq!(repo.list_tasks()?.len(), 1);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn prune(&self, rule: &Prune) -> Result<PruneReport> {
        rule.check()?;
        let planned = self.plan_prune(rule)?;
        match rule.is_dry_run {
            true => Ok(planned),
            false => self.prune_planned(&planned),
        }
    }

    /// Deletes the tasks that a dry run has reported, for good, and returns which they were.
    ///
    /// For a prune that is shown to a person first: nothing goes that was not in the report. A task
    /// that is as it was then goes; one that got a turn or another status since stays, and so does one
    /// that a task which is not over waits for by now. All else is as in [`prune`](Self::prune).
    ///
    /// # Errors
    /// Those of any call. Tasks that were deleted before an error are gone.
    ///
    /// ```
    /// use turnkeep_repo::{NewTask, Prune, Repo, Role, TaskId, TaskStatus};
    ///
    /// let repo = Repo::open_in_memory()?;
    /// for id in ["a", "b"] {
    ///     repo.save_task(&NewTask::new(TaskId::new(id)?, id).status(TaskStatus::Completed))?;
    /// }
    /// let planned = repo.prune(&Prune::new().keep_bytes(0).dry_run(true))?;
    /// assert_eq!(planned.tasks.len(), 2);
    /// repo.save_message(&TaskId::new("a")?, Role::User, "One more thing.")?;
    /// let done = repo.prune_planned(&planned)?;
    /// assert_eq!(done.tasks, planned.tasks[1..], "`a` is no longer what was planned");
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn prune_planned(&self, planned: &PruneReport) -> Result<PruneReport> {
        let mut report = PruneReport {
            tasks: Vec::new(),
            kept_bytes: planned.kept_bytes,
        };
        for tasks in batches(&planned.tasks) {
            let chosen: Vec<Chosen> = tasks.iter().map(PrunedTask::chosen).collect();
            let deleted = self.delete_unchanged(&chosen)?;
            for task in tasks {
                match deleted.contains(&task.id) {
                    true => report.tasks.push(task.clone()),
                    false => report.kept_bytes += task.bytes,
                }
            }
        }
        if self.store.is_in_file() {
            let call = Operation::on_store(OPERATION);
            let step = || {
                self.store
                    .write_beside(call, |conn| Ok(query!(conn, prune::return_space())?))
            };
            while step()? {}
        }
        Ok(report)
    }

    /// Deletes the tasks that are still over and as they were chosen; returns which they were.
    fn delete_unchanged(&self, tasks: &[Chosen]) -> Result<Vec<TaskId>> {
        let ids: Vec<&TaskId> = tasks.iter().map(|task| &task.id).collect();
        self.store
            .write_beside(Operation::on_store(OPERATION), |mut conn| {
                let mut unchanged = Vec::new();
                for state in query!(conn.reborrow(), prune::lock_unneeded(&ids))? {
                    let (id, status, last_active_at, turns) = state;
                    let now = Chosen {
                        id,
                        status,
                        last_active_at: last_active_at.into(),
                        turns: turns.unsigned_abs(),
                    };
                    if tasks.contains(&now) {
                        unchanged.push(now.id);
                    }
                }
                query!(conn, prune::delete(&unchanged))?;
                Ok(unchanged)
            })
    }

    /// Returns the tasks that would go.
    fn plan_prune(&self, rule: &Prune) -> Result<PruneReport> {
        let call = Operation::on_store(OPERATION);
        let (found, all_bytes) = self.store.read_snapshot(call, |mut conn| {
            let clock = query!(conn.reborrow(), prune::clock())?;
            let upto = rule.upto(clock);
            let found = query!(conn.reborrow(), prune::unneeded(rule.statuses(), upto))?;
            Ok((found, query!(conn, usage::all_bytes())?))
        })?;
        let mut report = PruneReport {
            tasks: Vec::new(),
            kept_bytes: all_bytes.unsigned_abs(),
        };
        for ((id, status, last_active_at, turns), bytes) in found {
            if rule
                .keep_bytes
                .is_some_and(|keep| report.kept_bytes <= keep)
            {
                break;
            }
            let bytes = bytes.unsigned_abs();
            report.kept_bytes = report.kept_bytes.saturating_sub(bytes);
            report.tasks.push(PrunedTask {
                id,
                status,
                last_active_at: last_active_at.into(),
                turns: turns.unsigned_abs(),
                bytes,
            });
        }
        Ok(report)
    }
}

impl PrunedTask {
    fn chosen(&self) -> Chosen {
        Chosen {
            id: self.id.clone(),
            status: self.status,
            last_active_at: self.last_active_at,
            turns: self.turns,
        }
    }
}

/// Cuts the tasks into pieces for one transaction each, of one task at least.
fn batches(tasks: &[PrunedTask]) -> impl Iterator<Item = &[PrunedTask]> {
    let mut rest = tasks;
    std::iter::from_fn(move || {
        let (mut turns, mut bytes) = (0, 0);
        let fitting = rest.iter().take(MOST_TASKS).take_while(|task| {
            turns += task.turns;
            bytes += task.bytes;
            turns <= MOST_TURNS && bytes <= MOST_BYTES
        });
        let (batch, left) = rest.split_at(fitting.count().max(1).min(rest.len()));
        rest = left;
        (!batch.is_empty()).then_some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_in_tasks_turns_and_bytes() {
        let sizes = |sizes: &[(u64, u64)]| -> Vec<usize> {
            let task = |(turns, bytes): &(u64, u64)| PrunedTask {
                id: TaskId::new("t").unwrap(),
                status: TaskStatus::Failed,
                last_active_at: DateTime::default(),
                turns: *turns,
                bytes: *bytes,
            };
            let tasks: Vec<_> = sizes.iter().map(task).collect();
            batches(&tasks).map(<[_]>::len).collect()
        };
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[(1, 1); 150]), [64, 64, 22]);
        let turns = [4_000, 96, 1, 5_000, 0, 4_096].map(|turns| (turns, 0));
        assert_eq!(sizes(&turns), [2, 1, 1, 2]);
        let bytes = [MOST_BYTES - 1, 1, 1, 2 * MOST_BYTES, 0, MOST_BYTES].map(|bytes| (1, bytes));
        assert_eq!(sizes(&bytes), [2, 1, 1, 2]);
    }

    #[test]
    fn any_age_has_a_time() {
        let clock = UtcMicros::new(DateTime::from_timestamp_micros(5_000_000).unwrap()).unwrap();
        let upto = |age| Prune::new().older_than(age).upto(clock).unwrap();
        let seconds = |upto: UtcMicros| DateTime::<Utc>::from(upto).timestamp();
        assert_eq!(seconds(upto(Duration::from_secs(2))), 3);
        assert_eq!(seconds(upto(Duration::from_secs(7))), -2);
        assert_eq!(seconds(upto(Duration::MAX)), -62_167_219_200);
    }
}
