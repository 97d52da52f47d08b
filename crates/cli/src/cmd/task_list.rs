//! `task list`, page by page: a list of any length takes the memory of one page.

use turnkeep_repo::chrono::{Datelike as _, TimeDelta, Utc};
use turnkeep_repo::{Repo, TaskOrder, TaskQuery, TaskSummary};

use crate::args::{TaskListArgs, TaskSort};
use crate::output::{Output, shorten};
use crate::record::{self, seconds};

const PAGE: u32 = 1_000;

const TITLES: [&str; 6] = ["TASK", "STATUS", "NAME", "AGENT", "TURNS#", "LAST ACTIVE"];

pub(crate) fn run(args: TaskListArgs, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let mut rest = args.limit.unwrap_or(u32::MAX);
    let mut query = query(args);
    let mut is_first = true;
    loop {
        let page = repo.list_tasks(&query.clone().limit(rest.min(PAGE)))?;
        if out.is_json() {
            for task in &page.tasks {
                out.json(&record::summary(task))?;
            }
        } else if is_first && page.tasks.is_empty() {
            out.note("no tasks")?;
        } else {
            out.table_part(TITLES, page.tasks.iter().map(row), is_first)?;
        }
        is_first = false;
        rest -= u32::try_from(page.tasks.len())?;
        match page.next {
            Some(next) if rest > 0 => query = query.after(next),
            _ => return Ok(()),
        }
    }
}

fn query(args: TaskListArgs) -> TaskQuery {
    let mut query = TaskQuery::new().order(match args.sort {
        TaskSort::Active => TaskOrder::LastActive,
        TaskSort::Created => TaskOrder::Created,
        TaskSort::Id => TaskOrder::Id,
    });
    if !args.status.is_empty() {
        query = query.statuses(args.status);
    }
    if let Some(backend) = args.backend {
        query = query.backend(backend);
    }
    if let Some(dir) = args.working_dir {
        query = query.working_dir(dir);
    }
    if let Some(role) = args.agent_role {
        query = query.agent_role(role);
    }
    for (key, text) in args.metadata {
        query = query.metadata(key, text);
    }
    let age = args
        .active_since
        .and_then(|it| TimeDelta::from_std(it).ok());
    let since = age.and_then(|age| Utc::now().checked_sub_signed(age));
    // No task is older than the year 0.
    if let Some(time) = since.filter(|time| time.year() >= 0) {
        query = query.active_since(time);
    }
    query
}

fn row(task: &TaskSummary) -> [String; 6] {
    let backend = task.backend_type.as_ref();
    [
        task.id.to_string(),
        task.status.to_string(),
        shorten(&task.name),
        backend.map_or_else(|| "-".into(), ToString::to_string),
        task.turns.to_string(),
        seconds(task.last_active_at),
    ]
}
