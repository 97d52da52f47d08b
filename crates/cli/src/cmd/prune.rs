use indicatif::HumanBytes;
use serde::Serialize;
use turnkeep_admin::{Prune, PruneReport, PrunedTask};
use turnkeep_repo::Repo;

use crate::args::PruneArgs;
use crate::indexes;
use crate::output::{Output, counted};
use crate::question::{ask, can_ask};
use crate::record::{micros, seconds};
use crate::store::Store;

#[derive(Serialize)]
struct PrunedRecord<'a> {
    task_id: &'a str,
    status: &'a str,
    last_active_at: String,
    turns: u64,
    bytes: u64,
    deleted: bool,
}

pub(crate) fn run(args: &PruneArgs, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let repo = store.clone().open_patiently()?;
    let has_rule = args.older_than.is_some() || !args.status.is_empty() || args.keep_size.is_some();
    if args.vacuum && is_on_server(&repo)? {
        // It is refused there, and so is deleting together with it.
        repo.vacuum()?;
    }
    if has_rule && !prune(args, &repo, out)? {
        return Ok(());
    }
    // Without a rule too: an earlier command may have left words there.
    indexes::forget_removed(&repo, &store);
    if args.vacuum {
        repo.vacuum()?;
    }
    if !out.is_json() {
        say_space(&repo, out)?;
    }
    Ok(())
}

/// A server tells of no free room.
fn is_on_server(repo: &Repo) -> anyhow::Result<bool> {
    Ok(turnkeep_admin::usage(repo)?.free_bytes.is_none())
}

/// Deletes the tasks that match the options, if the user agrees, and returns whether the user did. Only
/// tasks that were shown are deleted; one that has become active since stays.
fn prune(args: &PruneArgs, repo: &Repo, out: &mut Output) -> anyhow::Result<bool> {
    let planned = turnkeep_admin::prune(repo, &rule(args))?;
    if !args.yes {
        print_planned(&planned, out)?;
        if args.dry_run || !is_agreed(&planned, out)? {
            return Ok(false);
        }
    }
    let done = turnkeep_admin::prune_planned(repo, &planned)?;
    print_done(&done, out)?;
    let stayed = planned.tasks.len() - done.tasks.len();
    if stayed > 0 {
        out.note(format_args!(
            "tasks that changed meanwhile, and stay: {stayed}"
        ))?;
    }
    Ok(true)
}

/// Asks on a terminal. Elsewhere prints how to agree.
fn is_agreed(planned: &PruneReport, out: &mut Output) -> anyhow::Result<bool> {
    if planned.tasks.is_empty() {
        return Ok(true);
    }
    if !can_ask(out) {
        out.note("nothing was deleted; `--yes` deletes this without a question")?;
        return Ok(false);
    }
    let count = planned.tasks.len();
    let is_yes = ask(&format!("Delete these tasks ({count}) for good?"), out)?;
    if !is_yes {
        out.note("nothing was deleted")?;
    }
    Ok(is_yes)
}

fn rule(args: &PruneArgs) -> Prune {
    let mut rule = Prune::new().dry_run(true);
    if let Some(age) = args.older_than {
        rule = rule.older_than(age);
    }
    if let Some(bytes) = args.keep_size {
        rule = rule.keep_bytes(bytes);
    }
    args.status
        .iter()
        .fold(rule, |rule, status| rule.status(*status))
}

fn print_planned(report: &PruneReport, out: &mut Output) -> anyhow::Result<()> {
    if out.is_json() {
        return print_json(report, false, out);
    }
    if !report.tasks.is_empty() {
        let titles = ["TASK", "STATUS", "LAST ACTIVE", "TURNS#", "BYTES#"];
        out.table(titles, report.tasks.iter().map(row))?;
    }
    print_sum("would go", report, out)
}

fn print_done(report: &PruneReport, out: &mut Output) -> anyhow::Result<()> {
    if out.is_json() {
        return print_json(report, true, out);
    }
    print_sum("deleted", report, out)
}

fn print_json(report: &PruneReport, deleted: bool, out: &mut Output) -> anyhow::Result<()> {
    for task in &report.tasks {
        out.json(&PrunedRecord {
            task_id: task.id.as_str(),
            status: task.status.as_str(),
            last_active_at: micros(task.last_active_at),
            turns: task.turns,
            bytes: task.bytes,
            deleted,
        })?;
    }
    Ok(())
}

fn print_sum(what: &str, report: &PruneReport, out: &mut Output) -> anyhow::Result<()> {
    Ok(out.line(&format!(
        "{what}: {} with {}, {} bytes of text; kept: {} bytes",
        counted(report.tasks.len() as u64, "task"),
        counted(report.turns(), "turn"),
        report.bytes(),
        report.kept_bytes
    ))?)
}

fn row(task: &PrunedTask) -> [String; 5] {
    [
        task.id.to_string(),
        task.status.to_string(),
        seconds(task.last_active_at),
        task.turns.to_string(),
        task.bytes.to_string(),
    ]
}

fn say_space(repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let usage = turnkeep_admin::usage(repo)?;
    let disk = HumanBytes(usage.disk_bytes);
    match usage.free_bytes {
        Some(free) if free > 0 => {
            let free = HumanBytes(free);
            out.note(format_args!(
                "the file has {disk}, of which {free} are free for what is written next; \
                 `turnkeep prune --vacuum` gives them back"
            ))?;
        }
        _ => out.note(format_args!("on the disk: {disk}"))?,
    }
    Ok(())
}
