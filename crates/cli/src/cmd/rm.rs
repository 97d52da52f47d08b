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
use turnkeep_repo::{ErrorKind, Repo, Result, Seq, TaskOrder, TaskQuery, TaskStatus, TaskSummary};

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

const PAGE: u32 = 1_000;

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
    if let (Err(_), Err(error)) = (&removed, &erased) {
        warn(format_args!("{error:#}"));
    }
    removed.and(erased).map(|()| ExitCode::SUCCESS)
}

/// Leaves no text of what was removed in the file and in the indexes.
fn erase(repo: &Repo, store: &Store) -> anyhow::Result<()> {
    let erased = match repo.vacuum() {
        Ok(()) => indexes::delete(repo, store),
        Err(error) => Err(error.into()),
    };
    erased.context("text of what was removed may be left: `turnkeep prune --vacuum` erases it")
}

/// Returns the tasks that are meant, the last active first.
fn choose(args: &RmArgs, repo: &Repo, out: &mut Output) -> anyhow::Result<Vec<TaskSummary>> {
    let mut ids = BTreeSet::new();
    for id in &args.ids {
        let id = short_id::find_to_remove(repo, id, !args.yes, out)?;
        // A missing one is an error before any is removed.
        ids.insert(repo.get_task(&id)?.id);
    }
    let latest = args.until.or(args.older_than);
    let is_meant = |task: &TaskSummary| match args.ids.is_empty() {
        true => latest.is_none_or(|latest| task.last_active_at < latest),
        false => ids.contains(&task.id),
    };
    // In this order no task moves from page to page.
    let mut query = TaskQuery::new().order(TaskOrder::Id).limit(PAGE);
    if let Some(agent) = &args.agent {
        query = query.backend(agent.clone());
    }
    if let Some(folder) = &args.folder {
        query = query.folders(as_recorded(folder)?);
    }
    let mut chosen = Vec::new();
    loop {
        let page = repo.list_tasks(&query)?;
        chosen.extend(page.tasks.into_iter().filter(is_meant));
        match page.next {
            Some(next) => query = query.after(next),
            None => break,
        }
    }
    chosen.sort_by_key(|task| Reverse(task.last_active_at));
    Ok(chosen)
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
    let all = chosen.len();
    let is_interrupted = on_interrupt(move || {
        // Held while a task is removed, so that the count is right.
        let removed = count.lock().unwrap_or_else(PoisonError::into_inner);
        let all = counted(all as u64, noun);
        warn(format_args!(
            "interrupted; removed: {} of {all}",
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
    let is_removed = match args.ids.is_empty() {
        true => remove_unchanged(task, repo)?,
        false => repo.remove_task(&task.id)?,
    };
    if is_removed {
        removed.tasks += 1;
        removed.turns += task.turns;
    }
    Ok(is_removed.then_some(revisions))
}

/// Removes the task unless somebody has worked at it since it was shown. Returns whether it was removed.
fn remove_unchanged(task: &TaskSummary, repo: &Repo) -> Result<bool> {
    repo.transaction(|tx| {
        let stored = match tx.get_task(&task.id) {
            Err(error) if *error.kind() == ErrorKind::TaskNotFound => return Ok(false),
            stored => stored?,
        };
        let turns = tx.last_seq(&task.id)?.map_or(0, Seq::get);
        let is_same = stored.status == task.status && turns.unsigned_abs() == task.turns;
        Ok(is_same && tx.remove_task(&task.id)?)
    })
}
