use indicatif::HumanBytes;
use serde::Serialize;
use turnkeep_repo::{Prune, PruneReport, PrunedTask, Repo};

use crate::args::PruneArgs;
use crate::failure::note;
use crate::output::Output;
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
    let repo = store.open_patiently()?;
    let has_rule = args.older_than.is_some() || !args.status.is_empty() || args.keep_size.is_some();
    if has_rule || !args.vacuum {
        let report = repo.prune(&rule(args))?;
        print(&report, args.dry_run, out)?;
    }
    if args.vacuum {
        repo.vacuum()?;
    }
    if !out.is_json() && !args.dry_run {
        say_space(&repo)?;
    }
    Ok(())
}

fn rule(args: &PruneArgs) -> Prune {
    let mut rule = Prune::new().dry_run(args.dry_run);
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

fn print(report: &PruneReport, is_dry_run: bool, out: &mut Output) -> anyhow::Result<()> {
    if out.is_json() {
        for task in &report.tasks {
            out.json(&PrunedRecord {
                task_id: task.id.as_str(),
                status: task.status.as_str(),
                last_active_at: micros(task.last_active_at),
                turns: task.turns,
                bytes: task.bytes,
                deleted: !is_dry_run,
            })?;
        }
        return Ok(());
    }
    if is_dry_run && !report.tasks.is_empty() {
        let titles = ["TASK", "STATUS", "LAST ACTIVE", "TURNS#", "BYTES#"];
        out.table(titles, report.tasks.iter().map(row))?;
    }
    let what = if is_dry_run { "would go" } else { "deleted" };
    Ok(out.line(&format!(
        "{what}: {} tasks with {} turns, {} bytes of text; kept: {} bytes",
        report.tasks.len(),
        report.turns(),
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

fn say_space(repo: &Repo) -> anyhow::Result<()> {
    let usage = repo.usage()?;
    let disk = HumanBytes(usage.disk_bytes);
    match usage.free_bytes {
        Some(free) if free > 0 => {
            let free = HumanBytes(free);
            note(format_args!(
                "the file has {disk}, of which {free} are free for what is written next; \
                 `turnkeep prune --vacuum` gives them back"
            ));
        }
        _ => note(format_args!("on the disk: {disk}")),
    }
    Ok(())
}
