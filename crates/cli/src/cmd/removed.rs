use serde_json::json;
use turnkeep_repo::{Repo, TaskId};

use crate::args::{RemovedArgs, RemovedCommand};
use crate::failure::{Kind, Problem};
use crate::output::Output;
use crate::record::{micros, seconds};
use crate::short_id::Candidates;
use crate::store::Store;

pub(crate) fn run(args: RemovedArgs, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let repo = store.open()?;
    match args.command {
        None => list(&repo, out),
        Some(RemovedCommand::Lift { id }) => lift(&id, &repo, out),
    }
}

fn list(repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let removed = repo.list_removed_sessions()?;
    if out.is_json() {
        for it in &removed {
            out.json(&json!({
                "task_id": it.task_id.as_str(),
                "backend": it.backend_type.as_str(),
                "session_id": it.session_id.as_str(),
                "removed_at": micros(it.removed_at),
            }))?;
        }
        return Ok(());
    }
    if removed.is_empty() {
        out.note("no session was removed")?;
        return Ok(());
    }
    let rows = removed.iter().map(|it| {
        [
            it.task_id.to_string(),
            it.backend_type.to_string(),
            it.session_id.to_string(),
            seconds(it.removed_at),
        ]
    });
    Ok(out.table(["TASK", "AGENT", "SESSION", "REMOVED"], rows)?)
}

fn lift(given: &TaskId, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let mut candidates = Candidates::new(given);
    for it in repo.list_removed_sessions()? {
        let name = format!("{} of {}", it.session_id, it.backend_type);
        candidates.add(it.task_id, Some(&it.session_id), name);
    }
    let id = &candidates.task_to_change(out.is_for_person(), out)?;
    let sessions = repo.lift_removal(id)?;
    if out.is_json() {
        out.json(&json!({ "task_id": id.as_str(), "sessions": sessions }))?;
    } else if sessions > 0 {
        out.line(&format!(
            "the next import brings task {id} back (sessions: {sessions})"
        ))?;
    }
    match sessions {
        0 => {
            let message = format!("no removed session belongs to task `{id}`");
            let problem = Problem::new(Kind::NOT_FOUND, message).task(id);
            Err(problem.hint("`turnkeep removed` lists them").into())
        }
        _ => Ok(()),
    }
}
