use std::path::Path;

use serde_json::json;
use turnkeep_agents::{RestoreAction, RestoreOptions, RestoreSource, Restored, restore};
use turnkeep_repo::TaskId;

use crate::args::RestoreArgs;
use crate::environment::{agent_homes, bound_home, find_program};
use crate::failure::warn;
use crate::output::Output;
use crate::short_id::{find, find_to_change};
use crate::store::Store;

pub(crate) fn run(args: &RestoreArgs, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let repo = store.open_patiently()?;
    let task = match args.dry_run {
        true => find(&repo, &args.task.id, out)?,
        false => find_to_change(&repo, &args.task.id, out)?,
    };
    let mut options = RestoreOptions::default();
    options.relocation = args.relocation.relocation()?;
    if options.relocation.home.is_none()
        && let Some(session) = repo.find_session(&task)?
    {
        options.relocation.home = bound_home(&session)?;
    }
    options.dry_run = args.dry_run;
    options.force = args.force;
    options.exact = args.exact;
    options.goose = find_program("goose");
    let restored = restore(&repo, &task, &agent_homes()?, &options)?;
    if out.is_json() {
        return json_line(args, &task, &restored, out);
    }
    let rows = restored.steps.iter().map(|step| {
        let path = step.path.to_string_lossy().into_owned();
        [words(step.action).to_owned(), path]
    });
    out.table(["STEP", "FILE"], rows)?;
    if restored.source == RestoreSource::Words {
        warn("the recording is made of the words: tool calls and their results are missing");
    }
    let done = match args.dry_run {
        true => "nothing was written",
        false => "restored",
    };
    let folder = match &restored.working_dir {
        Some(folder) => format!("; start {} in {}", restored.backend_type, folder.display()),
        None => String::new(),
    };
    Ok(out.line(&format!("{done}{folder}"))?)
}

fn json_line(
    args: &RestoreArgs,
    task: &TaskId,
    restored: &Restored,
    out: &mut Output,
) -> anyhow::Result<()> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let steps = restored
        .steps
        .iter()
        .map(|step| json!({"action": step.action.as_str(), "path": text(&step.path)}));
    Ok(out.json(&json!({
        "task_id": task.as_str(),
        "backend": restored.backend_type.as_str(),
        "session_id": restored.session_id.as_str(),
        "home": text(&restored.home),
        "working_dir": restored.working_dir.as_deref().map(text),
        "recording": text(&restored.recording),
        "source": restored.source.as_str(),
        "dry_run": args.dry_run,
        "steps": steps.collect::<Vec<_>>(),
    }))?)
}

fn words(action: RestoreAction) -> &'static str {
    match action {
        RestoreAction::Write => "write",
        RestoreAction::Replace => "replace",
        RestoreAction::Keep => "keep: it is the same",
        RestoreAction::KeepLonger => "keep: it has more",
        RestoreAction::LeaveOut => "leave in the store",
        RestoreAction::KeepCopy => "keep a second copy",
        RestoreAction::RemoveCopy => "remove a second copy",
        RestoreAction::Import => "let goose import it into",
        RestoreAction::Insert => "insert it into",
        RestoreAction::CorrectPath => "correct the path in",
        RestoreAction::KeepPath => "can't correct the path in",
        _ => "do",
    }
}
