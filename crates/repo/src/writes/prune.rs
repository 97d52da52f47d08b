use std::borrow::Cow;

use chrono::{DateTime, Utc};
use turnkeep_model::{TaskId, TaskStatus};

use super::Write;
use crate::base::operation::Call;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::commit::engine::{Conn, query};

/// A task as it was when it was chosen to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) id: TaskId,
    pub(crate) status: TaskStatus,
    pub(crate) last_active_at: DateTime<Utc>,
    pub(crate) turns: u64,
}

/// Deletes the tasks that are still over and as they were chosen; returns which they were.
///
/// A turn or a status that was written meanwhile keeps its task: it is not what was decided about.
pub(crate) struct PruneTasks<'a> {
    pub(crate) tasks: Cow<'a, [Chosen]>,
}

impl Write for PruneTasks<'_> {
    type Output = Vec<TaskId>;
    type Owned = PruneTasks<'static>;

    fn call(&self) -> Call<'_> {
        Call::on_store("prune")
    }

    fn run(&self, mut conn: Conn<'_>, _: &Clock) -> Result<Vec<TaskId>, QueryError> {
        let ids: Vec<&TaskId> = self.tasks.iter().map(|task| &task.id).collect();
        let mut unchanged = Vec::new();
        for state in query!(conn.reborrow(), prune::lock_unneeded(&ids))? {
            let (id, status, last_active_at, turns) = state;
            let now = Chosen {
                id,
                status,
                last_active_at: last_active_at.into(),
                turns: turns.unsigned_abs(),
            };
            if self.tasks.contains(&now) {
                unchanged.push(now.id);
            }
        }
        query!(conn, prune::delete(&unchanged))?;
        Ok(unchanged)
    }

    fn into_owned(self) -> PruneTasks<'static> {
        PruneTasks {
            tasks: Cow::Owned(self.tasks.into_owned()),
        }
    }
}

/// Gives some of what is free in a file back to the file system. Returns whether there is more.
pub(crate) struct ReturnSpace;

impl Write for ReturnSpace {
    type Output = bool;
    type Owned = Self;

    fn call(&self) -> Call<'_> {
        Call::on_store("prune")
    }

    fn run(&self, conn: Conn<'_>, _: &Clock) -> Result<bool, QueryError> {
        Ok(query!(conn, prune::return_space())?)
    }

    fn into_owned(self) -> Self {
        self
    }
}
