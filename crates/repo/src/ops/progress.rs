//! How far the tasks have come.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};

use diesel::dsl::count_star;
use diesel::prelude::*;
use turnkeep_model::{TaskId, TaskStatus};
use turnkeep_schema::{task_dependencies as dependencies, tasks};

use super::Conn;
use super::task::{DEPENDENCY, WAITING, blocking_dependencies};
use crate::base::progress::{BlockedTask, Progress};

/// Reads the status of every task, and the dependencies of the tasks that wait.
pub(crate) fn progress(conn: &mut Conn) -> QueryResult<Progress> {
    let counts: Vec<(TaskStatus, i64)> = tasks::table
        .group_by(tasks::status)
        .select((tasks::status, count_star()))
        .load(conn)?;
    let count = |statuses: &[TaskStatus]| {
        let counted = counts
            .iter()
            .filter(|(status, _)| statuses.contains(status));
        counted.map(|(_, count)| count.unsigned_abs()).sum::<u64>()
    };
    let blocked = blocked(conn)?;
    let waiting = count(&WAITING);
    Ok(Progress {
        ready: waiting.saturating_sub(blocked.len() as u64),
        running: count(&[TaskStatus::Running]),
        blocked,
        ended: count(TaskStatus::ENDED),
    })
}

fn blocked(conn: &mut Conn) -> QueryResult<Vec<BlockedTask>> {
    let waiting = tasks::table
        .filter(tasks::status.eq_any(WAITING))
        .select(tasks::id);
    let pairs: Vec<(TaskId, TaskId, TaskStatus)> = blocking_dependencies()
        .filter(dependencies::task_id.eq_any(waiting))
        .order((dependencies::task_id, dependencies::depends_on))
        .select((
            dependencies::task_id,
            dependencies::depends_on,
            DEPENDENCY.field(tasks::status),
        ))
        .load(conn)?;
    let mut dependents: HashMap<&TaskId, Vec<&TaskId>> = HashMap::new();
    let mut first: BTreeMap<&TaskId, (&TaskId, TaskStatus)> = BTreeMap::new();
    let mut stopped: VecDeque<(&TaskId, &TaskId)> = VecDeque::new();
    for (task_id, depends_on, status) in &pairs {
        dependents.entry(depends_on).or_default().push(task_id);
        first.entry(task_id).or_insert((depends_on, *status));
        if *status == TaskStatus::Failed {
            stopped.push_back((task_id, depends_on));
        }
    }
    // From the failed tasks to all tasks that wait for them, directly or not.
    let mut failed = HashMap::new();
    while let Some((task_id, cause)) = stopped.pop_front() {
        if let Entry::Vacant(entry) = failed.entry(task_id) {
            entry.insert(cause);
            let next = dependents.get(task_id).into_iter().flatten();
            stopped.extend(next.map(|task_id| (*task_id, cause)));
        }
    }
    let blocked = first.into_iter().map(|(id, first)| {
        let (cause, cause_status) = match failed.get(id) {
            Some(failed) => (*failed, TaskStatus::Failed),
            None => first,
        };
        BlockedTask {
            id: id.clone(),
            cause: cause.clone(),
            cause_status,
        }
    });
    Ok(blocked.collect())
}
