use serde_json::json;
use turnkeep_repo::{ErrorKind, Metadata, NewSession, Repo, Session, TaskId};

use crate::args::{SessionCommand, SessionRetireArgs, SessionSetArgs};
use crate::failure::{Kind, Problem};
use crate::output::{Output, shorten};
use crate::record::{self, seconds};
use crate::short_id::{find, find_to_change};
use crate::store::Store;

pub(crate) fn run(command: SessionCommand, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let repo = store.clone().open()?;
    match command {
        SessionCommand::Get { task, backend } => {
            let id = find(&repo, &task.id, out)?;
            let session = match backend {
                Some(backend) => {
                    or_no_task(&repo, &id, repo.get_session_for_backend(&id, &backend))?
                }
                None => current(&repo, &id)?,
            };
            show(&session, out)
        }
        SessionCommand::Set(args) => {
            set(args, &repo, out)?;
            store.leave(repo);
            Ok(())
        }
        SessionCommand::List => list(&repo, out),
        SessionCommand::Log { task } => log(&find(&repo, &task.id, out)?, &repo, out),
        SessionCommand::Retire(args) => retire(&args, &repo, out),
    }
}

/// Returns the current binding. The error tells a task without a binding from a missing task.
pub(crate) fn current(repo: &Repo, task: &TaskId) -> anyhow::Result<Session> {
    or_no_task(repo, task, repo.get_session(task))
}

fn or_no_task(
    repo: &Repo,
    task: &TaskId,
    session: turnkeep_repo::Result<Session>,
) -> anyhow::Result<Session> {
    if let Err(error) = &session
        && *error.kind() == ErrorKind::SessionNotFound
    {
        repo.get_task(task)?;
    }
    Ok(session?)
}

fn set(args: SessionSetArgs, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let mut binding = NewSession::new(args.backend, args.session_id);
    binding.working_dir = args.working_dir;
    binding.config_dir = args.config_dir;
    binding.metadata = args.metadata;
    let task = find_to_change(repo, &args.task.id, out)?;
    show(&repo.save_session(&task, &binding)?, out)
}

fn show(session: &Session, out: &mut Output) -> anyhow::Result<()> {
    if out.is_json() {
        return Ok(out.json(&record::session(session))?);
    }
    Ok(out.fields([
        ("task", session.task_id.to_string()),
        ("backend", session.backend_type.to_string()),
        ("session", session.session_id.to_string()),
        ("folder", folder(session)),
        (
            "config",
            session
                .config_dir
                .as_ref()
                .map_or_else(|| "-".into(), ToString::to_string),
        ),
        (
            "metadata",
            shorten(session.metadata.as_ref().map_or("-", Metadata::as_str)),
        ),
        ("created", seconds(session.created_at)),
        ("updated", seconds(session.updated_at)),
    ])?)
}

fn folder(session: &Session) -> String {
    session
        .working_dir
        .as_ref()
        .map_or_else(|| "-".into(), ToString::to_string)
}

fn list(repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let sessions = repo.list_sessions()?;
    if out.is_json() {
        for session in &sessions {
            out.json(&record::session(session))?;
        }
        return Ok(());
    }
    if sessions.is_empty() {
        out.note("no sessions")?;
        return Ok(());
    }
    let rows = sessions.iter().map(|session| {
        [
            session.task_id.to_string(),
            session.backend_type.to_string(),
            session.session_id.to_string(),
            seconds(session.updated_at),
            folder(session),
        ]
    });
    Ok(out.table(["TASK", "BACKEND", "SESSION", "UPDATED", "FOLDER"], rows)?)
}

fn log(task: &TaskId, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let revisions = repo.list_session_revisions(task)?;
    if revisions.is_empty() {
        repo.get_task(task)?;
    }
    if out.is_json() {
        for revision in &revisions {
            out.json(&record::revision(revision))?;
        }
        return Ok(());
    }
    if revisions.is_empty() {
        out.note("no sessions")?;
        return Ok(());
    }
    let rows = revisions.iter().map(|revision| {
        let folder = revision.working_dir.as_ref().map(ToString::to_string);
        [
            revision.revision.to_string(),
            revision.backend_type.to_string(),
            revision.session_id.to_string(),
            folder.unwrap_or_else(|| "-".into()),
            revision.first_seq.to_string(),
            seconds(revision.saved_at),
            revision.retired_at.map_or_else(|| "-".into(), seconds),
            shorten(revision.retired_reason.as_deref().unwrap_or("-")),
        ]
    });
    let titles = [
        "REVISION#",
        "BACKEND",
        "SESSION",
        "FOLDER",
        "FIRST TURN#",
        "SAVED",
        "RETIRED",
        "REASON",
    ];
    Ok(out.table(titles, rows)?)
}

fn retire(args: &SessionRetireArgs, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let task = &find_to_change(repo, &args.task.id, out)?;
    let session_id = &args.session_id;
    let retired = repo.retire_session(task, session_id, &args.reason)?;
    if out.is_json() {
        out.json(&json!({
            "task_id": task.as_str(),
            "session_id": session_id.as_str(),
            "retired": retired,
        }))?;
    } else if retired {
        out.line(&format!("retired session {session_id} of task {task}"))?;
    }
    if retired {
        return Ok(());
    }
    let current = current(repo, task)?;
    let message = format!(
        "task `{task}` is bound to session `{}` of {}, not to `{session_id}`",
        current.session_id, current.backend_type,
    );
    Err(Problem::new(Kind::CONFLICT, message).task(task).into())
}
