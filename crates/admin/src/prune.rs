//! Deleting finished tasks.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use turnkeep_model::{TaskStatus, UtcMicros};
use turnkeep_repo::bulk::{Bulk, PrunedTask};
use turnkeep_repo::{Error, Repo, Result};

const OPERATION: &str = "prune";

/// How much one transaction deletes, whichever comes first: others want to write as well.
const MAX_TASKS: usize = 64;
const MAX_TURNS: u64 = 4_096;
const MAX_BYTES: u64 = 16 * 1_024 * 1_024;

/// Chooses the tasks that are no longer wanted: a task has to match every condition.
///
/// Age goes by the last activity of a task: the later of its latest turn, by the time of the turn, and
/// of its status, by the time it was last written (`Task::status_changed_at`). A plan that is saved
/// again, a binding and a lease are no activity.
///
/// ```
/// use std::time::Duration;
/// use turnkeep_admin::Prune;
/// use turnkeep_repo::TaskStatus;
///
/// let month = Duration::from_secs(30 * 24 * 60 * 60);
/// let rule = Prune::new().older_than(month).status(TaskStatus::Skipped);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "nothing is deleted before `prune`"]
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

    fn check(&self, bulk: &Bulk<'_>) -> Result<()> {
        let invalid = |field, reason| Err(bulk.invalid(field, reason));
        if *self == Self::new().dry_run(self.is_dry_run) {
            return invalid("rule", "says neither age nor status nor size");
        }
        match self
            .statuses()
            .iter()
            .all(|status| TaskStatus::ENDED.contains(status))
        {
            true => Ok(()),
            false => invalid("status", "is that of a task which is not over"),
        }
    }

    fn statuses(&self) -> &[TaskStatus] {
        match self.statuses.as_slice() {
            [] => TaskStatus::ENDED,
            some => some,
        }
    }

    /// Returns the latest activity that a task may have, if age counts.
    fn latest(&self, clock: UtcMicros) -> Option<UtcMicros> {
        let age = TimeDelta::from_std(self.older_than?).unwrap_or(TimeDelta::MAX);
        let latest = DateTime::<Utc>::from(clock).checked_sub_signed(age);
        // Before the year 0 there is nothing.
        let latest = latest.unwrap_or(DateTime::<Utc>::MIN_UTC);
        let first = DateTime::from_timestamp_micros(-62_167_219_200_000_000);
        UtcMicros::new(latest)
            .or_else(|_| UtcMicros::new(first.unwrap_or_default()))
            .ok()
    }
}

/// The result of a prune or of a dry run.
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
/// diesel CLI does, keeps what is free for what is written next, until [`Repo::vacuum`] was
/// called once. On a server its own vacuum sees to that. All that is to go is held in memory, some
/// hundred bytes a task.
///
/// # Errors
/// What was deleted before an error is gone; it may be all, and only the room not given back. Call
/// it again.
/// - [`ErrorKind::InvalidInput`](turnkeep_repo::ErrorKind::InvalidInput): the rule says nothing, or has a
///   status of a task that is not over.
/// - The errors of every call.
///
/// ```
/// use turnkeep_admin::{Prune, prune};
/// use turnkeep_repo::{NewTask, Repo, TaskId, TaskStatus};
///
/// let repo = Repo::open_in_memory()?;
/// for (id, status) in [("a", TaskStatus::Skipped), ("b", TaskStatus::Pending)] {
///     repo.save_task(&NewTask::new(TaskId::new(id)?, id).status(status))?;
/// }
/// let rule = Prune::new().keep_bytes(0);
/// assert_eq!(prune(&repo, &rule.clone().dry_run(true))?.bytes(), 3); // "a" and "[]"
/// assert_eq!(prune(&repo, &rule)?.tasks.len(), 1);
/// assert_eq!(repo.list_tasks()?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn prune(repo: &Repo, rule: &Prune) -> Result<PruneReport> {
    rule.check(&repo.bulk(OPERATION, None))?;
    let planned = plan(repo, rule)?;
    match rule.is_dry_run {
        true => Ok(planned),
        false => prune_planned(repo, &planned),
    }
}

/// Deletes the tasks that a dry run has reported, for good, and returns which they were.
///
/// For a prune that is shown to a person first: nothing goes that was not in the report. A task
/// that is as it was then goes; one that got a turn or another status since stays, and so does one
/// that a task which is not over waits for by now. All else is as in [`prune()`].
///
/// # Errors
/// The errors of every call. Tasks that were deleted before an error are gone.
///
/// ```
/// use turnkeep_admin::{Prune, prune, prune_planned};
/// use turnkeep_repo::{NewTask, Repo, Role, TaskId, TaskStatus};
///
/// let repo = Repo::open_in_memory()?;
/// for id in ["a", "b"] {
///     repo.save_task(&NewTask::new(TaskId::new(id)?, id).status(TaskStatus::Completed))?;
/// }
/// let planned = prune(&repo, &Prune::new().keep_bytes(0).dry_run(true))?;
/// assert_eq!(planned.tasks.len(), 2);
/// repo.save_message(&TaskId::new("a")?, Role::User, "One more thing.")?;
/// let done = prune_planned(&repo, &planned)?;
/// assert_eq!(done.tasks, planned.tasks[1..], "`a` is no longer what was planned");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn prune_planned(repo: &Repo, planned: &PruneReport) -> Result<PruneReport> {
    let bulk = repo.bulk(OPERATION, None);
    let mut report = PruneReport {
        tasks: Vec::new(),
        kept_bytes: planned.kept_bytes,
    };
    let mut rest = &planned.tasks[..];
    while !rest.is_empty() {
        let sizes = rest.iter().map(|task| (task.turns, task.bytes));
        let (batch, others) = rest.split_at(batch_len(sizes));
        rest = others;
        let deleted = bulk.write::<_, Error>(|rows| Ok(rows.delete_unneeded(batch)?))?;
        for task in batch {
            match deleted.contains(&task.id) {
                true => report.tasks.push(task.clone()),
                false => report.kept_bytes += task.bytes,
            }
        }
    }
    if bulk.is_in_file() {
        while bulk.write::<_, Error>(|rows| Ok(rows.return_space()?))? {}
    }
    Ok(report)
}

/// Returns the tasks that the rule selects.
fn plan(repo: &Repo, rule: &Prune) -> Result<PruneReport> {
    let bulk = repo.bulk(OPERATION, None);
    let (candidates, kept_bytes) = bulk.read::<_, Error>(|rows| {
        let latest = rule.latest(rows.clock()?);
        let candidates = rows.prune_candidates(rule.statuses(), latest)?;
        Ok((candidates, rows.text_bytes()?))
    })?;
    let mut report = PruneReport {
        tasks: Vec::new(),
        kept_bytes,
    };
    for task in candidates {
        if rule
            .keep_bytes
            .is_some_and(|keep| report.kept_bytes <= keep)
        {
            break;
        }
        report.kept_bytes = report.kept_bytes.saturating_sub(task.bytes);
        report.tasks.push(task);
    }
    Ok(report)
}

/// Returns how many tasks of these numbers of turns and bytes one transaction deletes, at least one.
fn batch_len(sizes: impl Iterator<Item = (u64, u64)>) -> usize {
    let (mut turns, mut bytes) = (0, 0);
    let fitting = sizes
        .take(MAX_TASKS)
        .take_while(|(task_turns, task_bytes)| {
            turns += task_turns;
            bytes += task_bytes;
            turns <= MAX_TURNS && bytes <= MAX_BYTES
        });
    fitting.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_in_tasks_turns_and_bytes() {
        let batches = |mut sizes: &[(u64, u64)]| {
            let mut batches = Vec::new();
            while !sizes.is_empty() {
                batches.push(batch_len(sizes.iter().copied()));
                sizes = &sizes[batches[batches.len() - 1]..];
            }
            batches
        };
        assert_eq!(batches(&[(1, 1); 150]), [64, 64, 22]);
        let turns = [4_000, 96, 1, 5_000, 0, 4_096].map(|turns| (turns, 0));
        assert_eq!(batches(&turns), [2, 1, 1, 2]);
        let bytes = [MAX_BYTES - 1, 1, 1, 2 * MAX_BYTES, 0, MAX_BYTES].map(|bytes| (1, bytes));
        assert_eq!(batches(&bytes), [2, 1, 1, 2]);
    }

    #[test]
    fn any_age_has_a_time() {
        let clock = UtcMicros::new(DateTime::from_timestamp_micros(5_000_000).unwrap()).unwrap();
        let latest = |age| Prune::new().older_than(age).latest(clock).unwrap();
        let seconds = |latest: UtcMicros| DateTime::<Utc>::from(latest).timestamp();
        assert_eq!(seconds(latest(Duration::from_secs(2))), 3);
        assert_eq!(seconds(latest(Duration::from_secs(7))), -2);
        assert_eq!(seconds(latest(Duration::MAX)), -62_167_219_200);
    }
}
