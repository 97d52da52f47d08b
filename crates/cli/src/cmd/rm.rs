//! `rm`: removes sessions and tasks for good, after a question.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap::error::ErrorKind as UsageError;
use serde_json::json;
use turnkeep_repo::{ErrorKind, Repo, Result, TaskId, TaskQuery, TaskStatus, TaskSummary};

use super::list;
use crate::args::{Cli, RmArgs};
use crate::failure::{Kind, Problem, end_usage, warn};
use crate::folder::as_recorded;
use crate::indexes;
use crate::interrupt::on_interrupt;
use crate::output::{Output, counted, shorten};
use crate::question::{ask, can_ask};
use crate::short_id;
use crate::store::Store;
use crate::tasks::all_tasks;

pub(crate) fn run(args: RmArgs, store: Store, out: &mut Output) -> anyhow::Result<ExitCode> {
    if !args.yes && !can_ask(out) {
        return Ok(end_usage(Cli::command().error(
            UsageError::MissingRequiredArgument,
            "without a terminal to ask on, and with `--json`, `rm` needs `--yes`",
        )));
    }
    let repo = match args.secure {
        true => store.clone().open_patiently()?,
        false => store.clone().open()?,
    };
    if args.secure && store.is_on_server() {
        // It is refused there, before anything is removed.
        repo.vacuum()?;
    }
    let mut chosen = choose(&args, &repo, out)?;
    if args.ids.is_empty() {
        leave_out_running(&mut chosen, out)?;
    }
    if chosen.is_empty() && args.secure {
        erase(&repo, &store)?;
        out.note("no session or task matches; text that was removed earlier is erased")?;
        return Ok(ExitCode::SUCCESS);
    }
    if chosen.is_empty() {
        let problem = Problem::new(Kind::NOT_FOUND, "no session or task matches");
        return Err(problem.hint("`turnkeep list` has the same options").into());
    }
    if !args.yes {
        list::print(&chosen, &repo, out)?;
        let what = counted(chosen.len() as u64, noun(&chosen));
        if !ask(&format!("Remove {what} for good?"), out)? {
            out.note("nothing was removed")?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    let removed = remove(&chosen, &args, &repo, out);
    // Also after a failure, for those that are removed.
    let erased = match args.secure {
        true => erase(&repo, &store),
        false => {
            indexes::forget_removed(&repo, &store);
            Ok(())
        }
    };
    both(removed, erased).map(|()| ExitCode::SUCCESS)
}

/// Leaves no text of what was removed in the indexes and in the file.
fn erase(repo: &Repo, store: &Store) -> anyhow::Result<()> {
    // Also the file if an index can't be deleted.
    let forgotten = indexes::delete(repo, store);
    let erased = repo.vacuum().map_err(anyhow::Error::from);
    both(erased, forgotten)
        .context("text of what was removed may be left; the same command erases it")
}

/// Returns the first failure, and warns of a second.
fn both(first: anyhow::Result<()>, second: anyhow::Result<()>) -> anyhow::Result<()> {
    if let (Err(_), Err(error)) = (&first, &second) {
        warn(format_args!("{error:#}"));
    }
    first.and(second)
}

/// Returns the tasks that are meant, the last active first.
fn choose(args: &RmArgs, repo: &Repo, out: &mut Output) -> anyhow::Result<Vec<TaskSummary>> {
    let mut chosen = match args.ids.is_empty() {
        true => matching(args, repo)?,
        false => named(args, repo, out)?,
    };
    chosen.sort_by_key(|task| Reverse(task.last_active_at));
    Ok(chosen)
}

/// Returns the tasks that match the options.
fn matching(args: &RmArgs, repo: &Repo) -> anyhow::Result<Vec<TaskSummary>> {
    let mut query = TaskQuery::new();
    if let Some(agent) = &args.agent {
        query = query.backend(agent.clone());
    }
    if let Some(folder) = &args.folder {
        query = query.folders(as_recorded(folder)?);
    }
    let latest = args.until.or(args.older_than);
    let is_meant = |task: &TaskSummary| latest.is_none_or(|latest| task.last_active_at < latest);
    Ok(list_all(repo, query, is_meant)?)
}

/// Returns the named tasks. A missing one is an error before any is removed, unless an earlier call may have removed it.
fn named(args: &RmArgs, repo: &Repo, out: &mut Output) -> anyhow::Result<Vec<TaskSummary>> {
    let removed = repo.list_removed_sessions()?;
    let was_removed = |id: &TaskId| {
        let mut removed = removed.iter();
        removed.any(|it| it.task_id == *id || it.session_id.as_str() == id.as_str())
    };
    let mut ids = BTreeSet::new();
    for id in &args.ids {
        let id = short_id::find_to_remove(repo, id, !args.yes, out)?;
        let task = repo.get_task(&id);
        let is_gone = matches!(&task, Err(error) if *error.kind() == ErrorKind::TaskNotFound);
        if is_gone && (args.secure || was_removed(&id)) {
            out.note(format_args!(
                "there is no task `{id}`; it may be removed already"
            ))?;
        } else {
            ids.insert(task?.id);
        }
    }
    let mut tasks = Vec::new();
    for id in ids {
        let query = TaskQuery::new().id_prefixes([id.as_str()]);
        tasks.extend(list_all(repo, query, |task| task.id == id)?);
    }
    Ok(tasks)
}

/// Returns the tasks of a query that are meant.
fn list_all(
    repo: &Repo,
    query: TaskQuery,
    is_meant: impl Fn(&TaskSummary) -> bool,
) -> Result<Vec<TaskSummary>> {
    let is_meant = |task: &Result<TaskSummary>| task.as_ref().map_or(true, &is_meant);
    all_tasks(repo, query).filter(is_meant).collect()
}

/// Leaves out tasks at which somebody works. They are removed if they are named.
fn leave_out_running(chosen: &mut Vec<TaskSummary>, out: &mut Output) -> anyhow::Result<()> {
    let is_running = |task: &TaskSummary| task.status == TaskStatus::Running;
    for task in chosen.iter().filter(|task| is_running(task)) {
        let (id, name) = (&task.id, shorten(&task.name));
        out.note(format_args!(
            "{id} ({name}) is running and stays; `turnkeep rm {id}` removes it"
        ))?;
    }
    chosen.retain(|task| !is_running(task));
    Ok(())
}

/// Returns the word for these tasks. Imported ones are sessions.
fn noun(tasks: &[TaskSummary]) -> &'static str {
    match tasks.iter().all(|task| list::status(task).is_none()) {
        true => "session",
        false => "task",
    }
}

/// The sum of the removed tasks.
#[derive(Default)]
struct Removed {
    tasks: u64,
    turns: u64,
}

/// Removes the tasks one by one, and says how many.
fn remove(
    chosen: &[TaskSummary],
    args: &RmArgs,
    repo: &Repo,
    out: &mut Output,
) -> anyhow::Result<()> {
    let noun = noun(chosen);
    let removed = Arc::new(Mutex::new(Removed::default()));
    let count = Arc::clone(&removed);
    let all = counted(chosen.len() as u64, noun);
    let left = match args.secure {
        true => "; their text may be left in the file: the same command erases it",
        false => "",
    };
    let is_interrupted = on_interrupt(move || {
        // Held while a task is removed, so that the count is right.
        let removed = count.lock().unwrap_or_else(PoisonError::into_inner);
        warn(format_args!(
            "interrupted; removed: {} of {all}{left}",
            removed.tasks
        ));
    })?;
    let mut stayed = 0;
    let mut failure = None;
    for task in chosen {
        while is_interrupted.load(Ordering::Relaxed) {
            // The process ends after its last words.
            thread::park();
        }
        match remove_one(task, args, repo, &removed) {
            Ok(Some(revisions)) if out.is_json() => {
                out.json(&json!({
                    "task_id": task.id.as_str(),
                    "deleted": true,
                    "turns": task.turns,
                    "revisions": revisions,
                }))?;
                out.flush()?;
            }
            Ok(Some(_)) => {}
            Ok(None) => stayed += 1,
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let removed = removed.lock().unwrap_or_else(PoisonError::into_inner);
    if !out.is_json() {
        let (tasks, turns) = (counted(removed.tasks, noun), counted(removed.turns, "turn"));
        out.line(&format!(
            "removed: {tasks} with {turns}; imports leave out what was removed"
        ))?;
    }
    if stayed > 0 {
        out.note(format_args!("changed meanwhile, and stay: {stayed}"))?;
    }
    Ok(failure.map_or(Ok(()), Err)?)
}

/// Removes a task, and returns how many sessions it had. `None` if it stays.
fn remove_one(
    task: &TaskSummary,
    args: &RmArgs,
    repo: &Repo,
    removed: &Mutex<Removed>,
) -> Result<Option<usize>> {
    let revisions = repo.list_session_revisions(&task.id)?.len();
    let mut removed = removed.lock().unwrap_or_else(PoisonError::into_inner);
    let is_removed = match args.yes && !args.ids.is_empty() {
        true => repo.remove_task(&task.id)?,
        // Only the state that was shown, or that the options match, is to be removed.
        false => turnkeep_admin::remove_unchanged(repo, task)?,
    };
    if is_removed {
        removed.tasks += 1;
        removed.turns += task.turns;
    }
    Ok(is_removed.then_some(revisions))
}
