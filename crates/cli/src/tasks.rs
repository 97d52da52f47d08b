//! Whole lists of tasks, read in pages.

use std::iter;

use turnkeep_repo::{Repo, Result, TaskOrder, TaskQuery, TaskSummary};

const PAGE: u32 = 1_000;

/// Returns all tasks of a query by their ids. In this order no task moves from page to page. Ends after an error.
pub(crate) fn all_tasks(
    repo: &Repo,
    query: TaskQuery,
) -> impl Iterator<Item = Result<TaskSummary>> {
    let mut rest = Some(query.order(TaskOrder::Id).limit(PAGE));
    let pages = iter::from_fn(move || {
        let query = rest.take()?;
        let page = repo.list_tasks(&query).map(|page| {
            rest = page.next.map(|next| query.after(next));
            page.tasks
        });
        Some(page)
    });
    pages.flat_map(|page| match page {
        Ok(tasks) => tasks.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    })
}
