//! Deleting finished tasks.

use std::time::Duration;

use turnkeep_model::TaskStatus;
use turnkeep_repo::bulk::{Bulk, PrunedTask};
use turnkeep_repo::{Error, Repo, Result};

const OPERATION: &str = "prune";

/// The most that one transaction deletes, so that other writers do not wait for long.
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
    /// Makes a rule without conditions, which [`prune`](prune()) refuses.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only tasks without activity for `age`, by the clock of the database.
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = Some(age);
        self
    }

    /// Adds a status. Without one: completed, failed and skipped.
    pub fn status(mut self, status: TaskStatus) -> Self {
        self.statuses.push(status);
        self
    }

    /// Deletes the least recently active matching tasks until the texts and compressed recordings of the whole store
    /// have at most `bytes` bytes. A file is larger than these.
    pub fn keep_bytes(mut self, bytes: u64) -> Self {
        self.keep_bytes = Some(bytes);
        self
    }

    /// Deletes nothing and reports the tasks that would be deleted.
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
}

/// The result of a prune or of a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PruneReport {
    /// The deleted tasks, in order of `last_active_at`, then id.
    pub tasks: Vec<PrunedTask>,
    /// The bytes of all remaining texts and compressed recordings, as counted at the beginning.
    pub kept_bytes: u64,
}

impl PruneReport {
    /// Returns the number of deleted turns.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.tasks.iter().map(|task| task.turns).sum()
    }

    /// Returns the bytes of the deleted texts and recordings.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tasks.iter().map(|task| task.bytes).sum()
    }
}

/// Deletes finished tasks that match every condition of the rule, with their sessions and histories, and returns them.
///
/// Sessions that an import has bound to a deleted task are recorded as removed, so that the next one does not bring them
/// back (see [`Repo::remove_task`]).
///
/// Unfinished tasks (pending, eligible, running) and their direct and indirect dependencies are kept. Each
/// transaction checks its tasks again with their rows locked, and keeps a task with a new turn, status or size.
///
/// Each transaction deletes a few tasks, so that other writers do not wait for long; a task with a long history is
/// deleted in one. The space of the deleted rows is used by later ones. [`Repo::vacuum`] gives that of a file back to
/// the file system, a server uses its own vacuum. The plan is held in memory, some hundred bytes a task.
///
/// # Errors
/// Tasks that were deleted before an error stay deleted. Call it again.
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
/// assert_eq!(repo.get_tasks()?.len(), 1);
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

/// Deletes the tasks that a dry run has reported, and returns them.
///
/// For a prune that a person confirms first: only reported tasks are deleted. A task with a new turn, status or size is
/// kept, and so is a task that an unfinished task depends on by now. All else is as in [`prune()`].
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
        let deleted = bulk.write(|rows| rows.delete_unneeded(batch))?;
        for task in batch {
            match deleted.contains(&task.id) {
                true => report.tasks.push(task.clone()),
                false => report.kept_bytes += task.bytes,
            }
        }
    }
    Ok(report)
}

/// Returns the tasks that the rule selects.
fn plan(repo: &Repo, rule: &Prune) -> Result<PruneReport> {
    let bulk = repo.bulk(OPERATION, None);
    let (candidates, kept_bytes) = bulk.read(|rows| {
        let candidates = rows.prune_candidates(rule.statuses(), rule.older_than)?;
        Ok::<_, Error>((candidates, rows.text_bytes()?))
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
}
