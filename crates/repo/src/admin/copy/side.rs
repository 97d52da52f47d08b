//! One of the two stores of a copy, and what is read of it.

use turnkeep_model::TaskId;

use super::plan::Snapshot;
use crate::api::repo::Repo;
use crate::base::error::{Error, Result};
use crate::base::operation::{Operation, StoreRole};
use crate::base::query_error::QueryError;
use crate::store::{Conn, query};

/// Most tasks of a page.
const MOST_TASKS: i64 = 256;

/// Where pages are read: in a store, each as of a moment of its own, or in one transaction.
pub(crate) trait Reads {
    /// How reading fails.
    type Error: From<Error>;

    /// What errors name.
    fn call(&self) -> Operation<'static>;

    /// Runs queries that see the same state of the store.
    fn read<T>(
        &self,
        queries: impl Fn(Conn<'_>) -> Result<T, QueryError>,
    ) -> Result<T, Self::Error>;

    /// Goes through the ids of all tasks in order, as many at a time as can be read at once.
    fn pages_of_ids(&self) -> impl Iterator<Item = Result<Vec<TaskId>, Self::Error>> {
        let mut after: Option<TaskId> = None;
        let mut is_over = false;
        std::iter::from_fn(move || {
            if is_over {
                return None;
            }
            let page =
                self.read(|conn| Ok(query!(conn, copy::page_of_ids(after.as_ref(), MOST_TASKS))?));
            match &page {
                Ok(ids) => after = ids.last().cloned(),
                Err(_) => after = None,
            }
            is_over = after.is_none();
            (page.is_err() || !is_over).then_some(page)
        })
    }

    /// Returns those of the tasks that there are, in order of their ids.
    fn snapshots(&self, ids: &[TaskId]) -> Result<Vec<Snapshot>, Self::Error> {
        let call = self.call();
        let ids: Vec<&TaskId> = ids.iter().collect();
        self.read(|conn| query!(conn, copy::snapshots(call, &ids)))
    }

    /// Returns the dependencies of these tasks, each a task and one that it waits for.
    fn dependencies(&self, ids: &[TaskId]) -> Result<Vec<(TaskId, TaskId)>, Self::Error> {
        let ids: Vec<&TaskId> = ids.iter().collect();
        self.read(|conn| Ok(query!(conn, copy::dependencies(&ids))?))
    }
}

/// A store, and which of the two it is.
#[derive(Clone, Copy)]
pub(crate) struct Side<'r> {
    pub(crate) repo: &'r Repo,
    pub(crate) operation: &'static str,
    pub(crate) place: StoreRole,
}

impl Reads for Side<'_> {
    type Error = Error;

    fn call(&self) -> Operation<'static> {
        Operation::on_store(self.operation).at(self.place)
    }

    fn read<T>(&self, queries: impl Fn(Conn<'_>) -> Result<T, QueryError>) -> Result<T> {
        self.repo.store.read_snapshot(self.call(), queries)
    }
}

impl Side<'_> {
    pub(crate) fn write<T>(
        &self,
        write: impl FnMut(Conn<'_>) -> Result<T, QueryError>,
    ) -> Result<T> {
        self.repo.store.write_beside(self.call(), write)
    }

    /// Returns the number of rows of each table.
    pub(crate) fn counts(&self) -> Result<[i64; 5]> {
        self.read(|conn| Ok(query!(conn, copy::counts())?))
    }
}

#[cfg(test)]
mod tests {
    use turnkeep_model::{BackendType, NewSession, NewTask, SessionId};

    use super::*;

    /// Makes tasks with prompts of these many bytes, and returns the numbers of tasks of the pages.
    fn pages(repo: &Repo, prompts: &[usize]) -> Vec<usize> {
        for (number, bytes) in prompts.iter().enumerate() {
            let id = TaskId::new(format!("{number:04}")).unwrap();
            let task = NewTask::new(id, "T").prompt("p".repeat(*bytes));
            repo.save_task(&task).unwrap();
        }
        let side = Side {
            repo,
            operation: "copy",
            place: StoreRole::Source,
        };
        let pages: Vec<_> = side.pages_of_ids().map(Result::unwrap).collect();
        assert!(pages.iter().flatten().is_sorted());
        pages.iter().map(Vec::len).collect()
    }

    #[test]
    fn pages_of_tasks_are_bounded_in_number_and_bytes() {
        let mib = 1024 * 1024;
        let new = || Repo::open_in_memory().unwrap();
        assert_eq!(pages(&new(), &[]), [0; 0]);
        assert_eq!(pages(&new(), &[1; 600]), [256, 256, 88]);
        assert_eq!(
            pages(&new(), &[2 * mib, mib, mib, 5 * mib, 1]),
            [2, 1, 1, 1]
        );
    }

    #[test]
    fn what_belongs_to_a_task_counts_with_it() {
        let repo = Repo::open_in_memory().unwrap();
        assert_eq!(pages(&repo, &[1; 3]), [3]);
        for task in ["0000", "0001"] {
            let task = TaskId::new(task).unwrap();
            let session = SessionId::new("1").unwrap();
            let binding = NewSession::new(BackendType::Codex, session.clone());
            repo.save_session(&task, &binding).unwrap();
            let reason = "r".repeat(3 * 1024 * 1024);
            assert!(repo.retire_session(&task, &session, &reason).unwrap());
        }
        assert_eq!(pages(&repo, &[1; 3]), [1, 2]);
    }
}
