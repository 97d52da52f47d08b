//! What a store holds, and what takes how much room.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use turnkeep_model::{BackendType, TaskId, TaskStatus};

use crate::api::repo::Repo;
use crate::base::error::Result;
use crate::base::operation::Operation;
use crate::store::query;

const OPERATION: &str = "usage";

/// How many of the largest tasks are named.
const LARGEST: i64 = 10;

/// What a store holds. Sizes are bytes of texts in UTF-8, as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Every status, in the order of [`TaskStatus::ALL`].
    pub statuses: Vec<StatusUsage>,
    /// The agents, by their names; what was never bound to one comes first.
    pub backends: Vec<BackendUsage>,
    /// The months in which a task was made or something was said, in order of time.
    pub months: Vec<MonthUsage>,
    /// The ten largest tasks, the largest first.
    pub largest: Vec<TaskUsage>,
    /// What the database takes on the disk: the file, when its log is moved into it, or the tables of
    /// the server with their indexes.
    pub disk_bytes: u64,
    /// How many of those are free for what is written next. `None` on a server.
    pub free_bytes: Option<u64>,
}

/// The tasks of one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusUsage {
    /// The status.
    pub status: TaskStatus,
    /// How many tasks have it.
    pub tasks: u64,
    /// The bytes of their texts, conversations included.
    pub bytes: u64,
}

/// What was said in the tasks of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendUsage {
    /// The agent that the tasks are bound to, or were last. `None`: never bound to any.
    pub backend: Option<BackendType>,
    /// How many turns.
    pub turns: u64,
    /// The bytes of what was said.
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
    /// The bytes of what was said in them.
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
    /// The bytes of its texts, the conversation included.
    pub bytes: u64,
}

/// What a store holds.
impl Repo {
    /// Returns what the store holds: tasks by status, turns and bytes by agent and by month, the
    /// largest tasks. All of it as of one moment.
    ///
    /// Goes over all turns, three times, but not over their texts: nothing to be asked for often. For
    /// what this handle has done see [`stats`](Self::stats).
    ///
    /// # Errors
    /// Only those that any call may have.
    ///
    /// ```
    /// # use turnkeep_repo::{NewTask, Repo, Role, TaskId};
    /// # let repo = Repo::open_in_memory()?;
    /// # let task = TaskId::new("t1")?;
    /// # repo.save_task(&NewTask::new(task.clone(), "T1"))?;
    /// repo.save_message(&task, Role::User, "Why?")?;
    /// let usage = repo.usage()?;
    /// assert_eq!(usage.months[0].turns, 1);
    /// assert_eq!(usage.backends[0].bytes, 4);
    /// assert_eq!(usage.largest[0].id, task);
    /// # Ok::<(), turnkeep_repo::Error>(())
    /// ```
    pub fn usage(&self) -> Result<Usage> {
        let call = Operation::on_store(OPERATION);
        self.store.read_snapshot(call, |mut conn| {
            let by_status = query!(conn.reborrow(), usage::by_status())?;
            let by_day = query!(conn.reborrow(), usage::by_backend_and_day())?;
            let made = query!(conn.reborrow(), usage::made_by_day())?;
            let largest = query!(conn.reborrow(), usage::largest(LARGEST))?;
            let (disk_bytes, free_bytes) = query!(conn, usage::space())?;

            let mut statuses = Vec::new();
            for status in TaskStatus::ALL {
                let found = by_status.iter().find(|found| found.status == *status);
                statuses.push(StatusUsage {
                    status: *status,
                    tasks: found.map_or(0, |found| found.tasks.unsigned_abs()),
                    bytes: found.map_or(0, |found| found.bytes.unsigned_abs()),
                });
            }
            let mut months = Months::default();
            let mut backends: BTreeMap<Option<String>, (Option<BackendType>, Months)> =
                BTreeMap::new();
            for day in by_day {
                let (turns, bytes) = (day.turns.unsigned_abs(), day.bytes.unsigned_abs());
                months.add(day.day, 0, turns, bytes);
                let name = day
                    .backend_type
                    .as_ref()
                    .map(|backend| backend.as_str().to_owned());
                let (_, months) = backends
                    .entry(name)
                    .or_insert_with(|| (day.backend_type, Months::default()));
                months.add(day.day, 0, turns, bytes);
            }
            for day in made {
                months.add(day.day, day.tasks.unsigned_abs(), 0, 0);
            }
            Ok(Usage {
                statuses,
                backends: backends
                    .into_values()
                    .map(|(backend, months)| BackendUsage::new(backend, months.into_vec()))
                    .collect(),
                months: months.into_vec(),
                largest: largest
                    .into_iter()
                    .map(|(id, status, updated_at, turns, bytes)| TaskUsage {
                        id,
                        status,
                        updated_at: updated_at.into(),
                        turns: turns.unsigned_abs(),
                        bytes: bytes.unsigned_abs(),
                    })
                    .collect(),
                disk_bytes: disk_bytes.unsigned_abs(),
                free_bytes: free_bytes.map(i64::unsigned_abs),
            })
        })
    }
}

impl BackendUsage {
    fn new(backend: Option<BackendType>, months: Vec<MonthUsage>) -> Self {
        Self {
            backend,
            turns: months.iter().map(|month| month.turns).sum(),
            bytes: months.iter().map(|month| month.bytes).sum(),
            months,
        }
    }
}

// What the queries return, the same for each engine.

#[derive(QueryableByName)]
pub(crate) struct OfStatus {
    #[diesel(sql_type = Text)]
    pub(crate) status: TaskStatus,
    #[diesel(sql_type = BigInt)]
    pub(crate) tasks: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) bytes: i64,
}

#[derive(QueryableByName)]
pub(crate) struct OfDay {
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) backend_type: Option<BackendType>,
    #[diesel(sql_type = BigInt)]
    pub(crate) day: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) turns: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) bytes: i64,
}

#[derive(QueryableByName)]
pub(crate) struct MadeOnDay {
    #[diesel(sql_type = BigInt)]
    pub(crate) day: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) tasks: i64,
}

/// Days on their way into months.
#[derive(Default)]
struct Months(BTreeMap<(i32, u32), MonthUsage>);

impl Months {
    /// Adds what belongs to a day, counted from year 0.
    fn add(&mut self, day: i64, tasks: u64, turns: u64, bytes: u64) {
        let seconds = (day - DAYS_BEFORE_1970) * 24 * 60 * 60;
        // Never the default: the database has no other days.
        let date = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        let (year, month) = (date.year(), date.month());
        let sum = self.0.entry((year, month)).or_insert(MonthUsage {
            year,
            month,
            tasks: 0,
            turns: 0,
            bytes: 0,
        });
        sum.tasks += tasks;
        sum.turns += turns;
        sum.bytes += bytes;
    }

    fn into_vec(self) -> Vec<MonthUsage> {
        self.0.into_values().collect()
    }
}

/// From year 0 on, so that no day is negative.
const DAYS_BEFORE_1970: i64 = 719_528;
