//! The contents of a store in numbers.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, Utc};
use turnkeep_model::{BackendType, TaskId, TaskStatus};
use turnkeep_repo::{Repo, Result};

/// How many of the largest tasks are named.
const LARGEST: i64 = 10;

/// The contents of a store. Sizes are bytes of texts in UTF-8 and of compressed recordings, as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Every status, in the order of [`TaskStatus::ALL`].
    pub statuses: Vec<StatusUsage>,
    /// The agents in order of their names, tasks without a binding first.
    pub backends: Vec<BackendUsage>,
    /// The months with a new task or a turn, in order of time.
    pub months: Vec<MonthUsage>,
    /// The ten largest tasks, the largest first.
    pub largest: Vec<TaskUsage>,
    /// The files that are kept byte for byte.
    pub recordings: RecordingUsage,
    /// The size of the database on the disk: the file, when its log is moved into it, or the tables of
    /// the server with their indexes.
    pub disk_bytes: u64,
    /// The free part of it, which later writes use. `None` on a server.
    pub free_bytes: Option<u64>,
}

/// The recordings of all tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordingUsage {
    /// How many files, a rewritten one counted twice.
    pub files: u64,
    /// The bytes of the files.
    pub bytes: u64,
    /// The bytes that they take in the store, compressed.
    pub stored_bytes: u64,
}

/// The tasks of one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusUsage {
    /// The status.
    pub status: TaskStatus,
    /// How many tasks have it.
    pub tasks: u64,
    /// The bytes of their texts and compressed recordings, conversations included.
    pub bytes: u64,
}

/// The turns of the tasks of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendUsage {
    /// The agent that the tasks are bound to, or were last. `None`: never bound to any.
    pub backend: Option<BackendType>,
    /// How many turns.
    pub turns: u64,
    /// The bytes of the turns.
    pub bytes: u64,
    /// The same by month, in order of time.
    pub months: Vec<MonthUsage>,
}

/// A month, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MonthUsage {
    /// The year, 0 to 9999.
    pub year: i32,
    /// The month, 1 to 12.
    pub month: u32,
    /// How many tasks were made. 0 in the months of one agent.
    pub tasks: u64,
    /// How many turns have a time of that month.
    pub turns: u64,
    /// The bytes of these turns.
    pub bytes: u64,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskUsage {
    /// The task.
    pub id: TaskId,
    /// Where it stands.
    pub status: TaskStatus,
    /// When it last changed, UTC.
    pub updated_at: DateTime<Utc>,
    /// How many turns it has.
    pub turns: u64,
    /// The bytes of its texts and compressed recordings, the conversation included.
    pub bytes: u64,
}

/// Returns the tasks by status, the turns and bytes by agent and by month, and the ten largest tasks, all as of one
/// moment.
///
/// Scans the rows of all turns three times, without their texts, so do not call it often. [`Repo::stats`] has the
/// counters of the handle.
///
/// # Errors
/// Only the errors of every call.
///
/// ```
/// use turnkeep_admin::usage;
/// # use turnkeep_repo::{NewTask, Repo, Role, TaskId};
/// # let repo = Repo::open_in_memory()?;
/// # let task = TaskId::new("t1")?;
/// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
/// repo.save_message(&task, Role::User, "Why?")?;
/// let usage = usage(&repo)?;
/// assert_eq!(usage.months[0].turns, 1);
/// assert_eq!(usage.backends[0].bytes, 4);
/// assert_eq!(usage.largest[0].id, task);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn usage(repo: &Repo) -> Result<Usage> {
    let rows = repo.bulk("usage", None).read(|rows| rows.usage(LARGEST))?;
    let statuses = TaskStatus::ALL.iter().map(|status| {
        let found = rows.statuses.iter().find(|(found, ..)| found == status);
        StatusUsage {
            status: *status,
            tasks: found.map_or(0, |(_, tasks, _)| tasks.unsigned_abs()),
            bytes: found.map_or(0, |(.., bytes)| bytes.unsigned_abs()),
        }
    });
    let of_backend = rows.backend_days.chunk_by(|a, b| a.0 == b.0);
    let backends = of_backend.map(|days| BackendUsage {
        backend: days[0].0.clone(),
        turns: days.iter().map(|day| day.2.unsigned_abs()).sum(),
        bytes: days.iter().map(|day| day.3.unsigned_abs()).sum(),
        months: by_month(
            days.iter()
                .map(|(_, day, turns, bytes)| (*day, 0, *turns, *bytes)),
        ),
    });
    let turns = rows.backend_days.iter();
    let turns = turns.map(|(_, day, turns, bytes)| (*day, 0, *turns, *bytes));
    let made = rows.made.iter().map(|(day, tasks)| (*day, *tasks, 0, 0));
    let (files, bytes, stored_bytes) = rows.recordings;
    let largest = rows.largest.into_iter();
    Ok(Usage {
        statuses: statuses.collect(),
        backends: backends.collect(),
        months: by_month(turns.chain(made)),
        largest: largest
            .map(|(id, status, updated_at, turns, bytes)| TaskUsage {
                id,
                status,
                updated_at: updated_at.into(),
                turns: turns.unsigned_abs(),
                bytes: bytes.unsigned_abs(),
            })
            .collect(),
        recordings: RecordingUsage {
            files: files.unsigned_abs(),
            bytes: bytes.unsigned_abs(),
            stored_bytes: stored_bytes.unsigned_abs(),
        },
        disk_bytes: rows.space.0.unsigned_abs(),
        free_bytes: rows.space.1.map(i64::unsigned_abs),
    })
}

/// Sums up days, counted from year 0, by month. A day has tasks, turns and bytes.
fn by_month(days: impl Iterator<Item = (i64, i64, i64, i64)>) -> Vec<MonthUsage> {
    let mut months = BTreeMap::new();
    for (day, tasks, turns, bytes) in days {
        let seconds = (day - DAYS_BEFORE_1970) * 24 * 60 * 60;
        // Never the default: the database has no other days.
        let date = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        let (year, month) = (date.year(), date.month());
        let sum = months.entry((year, month)).or_insert(MonthUsage {
            year,
            month,
            tasks: 0,
            turns: 0,
            bytes: 0,
        });
        sum.tasks += tasks.unsigned_abs();
        sum.turns += turns.unsigned_abs();
        sum.bytes += bytes.unsigned_abs();
    }
    months.into_values().collect()
}

/// From year 0 on, so that no day is negative.
const DAYS_BEFORE_1970: i64 = 719_528;
