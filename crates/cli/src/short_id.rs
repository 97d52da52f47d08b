//! Short ids: the beginning of the id of a task or of its session.

use std::collections::{BTreeMap, HashSet};

use turnkeep_repo::{ErrorKind, Repo, TaskId, TaskOrder, TaskQuery};

use crate::failure::{Kind, Problem};
use crate::output::{Output, shorten};

/// The candidates that an error shows.
const SHOWN: usize = 10;

/// Returns the task with this id, or the only one whose id or session id begins with it. A whole id means its task,
/// also if others begin with it. Without a match it returns the id as it is, so that the command reports it.
pub(crate) fn find(repo: &Repo, given: &TaskId, out: &mut Output) -> anyhow::Result<TaskId> {
    match repo.get_task(given) {
        Err(error) if *error.kind() == ErrorKind::TaskNotFound => {}
        task => return Ok(task?.id),
    }
    let found = candidates(repo, given)?;
    let mut ids = found.keys();
    match (ids.next(), ids.next()) {
        (None, _) => return Ok(given.clone()),
        (Some(only), None) => return Ok(only.clone()),
        _ => {}
    }
    for (id, name) in found.iter().take(SHOWN) {
        out.note(format_args!("{id}  {}", shorten(name)))?;
    }
    if found.len() > SHOWN {
        out.note(format_args!("and {} more", found.len() - SHOWN))?;
    }
    let message = format!("`{given}` is the beginning of {} ids", found.len());
    Err(Problem::new(Kind::AMBIGUOUS_ID, message).into())
}

/// Returns the ids and names of the tasks that may be meant.
fn candidates(repo: &Repo, given: &TaskId) -> anyhow::Result<BTreeMap<TaskId, String>> {
    let sessions = repo.list_sessions()?.into_iter();
    let begun = sessions.filter(|it| it.session_id.as_str().starts_with(given.as_str()));
    let (whole, begun): (Vec<_>, Vec<_>) =
        begun.partition(|it| it.session_id.as_str() == given.as_str());
    let has_whole = !whole.is_empty();
    let of_sessions = if has_whole { whole } else { begun };
    let of_sessions: HashSet<_> = of_sessions.into_iter().map(|it| it.task_id).collect();
    let mut found = BTreeMap::new();
    let mut query = TaskQuery::new().order(TaskOrder::Id).limit(1_000);
    loop {
        let page = repo.list_tasks(&query)?;
        for task in page.tasks {
            let is_begun = !has_whole && task.id.as_str().starts_with(given.as_str());
            if is_begun || of_sessions.contains(&task.id) {
                found.insert(task.id, task.name);
            }
        }
        match page.next {
            Some(next) => query = query.after(next),
            None => return Ok(found),
        }
    }
}
