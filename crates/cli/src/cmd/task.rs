use anyhow::Context as _;
use serde_json::{Value, json};
use turnkeep_repo::{
    ErrorKind, NewTask, Repo, Role, Seq, Session, StatusUpdate, Task, TaskId, TaskStatus,
};

use super::{history::turns, list};
use crate::args::{TaskAddArgs, TaskCommand, TaskStatusArgs};
use crate::failure::{Kind, Problem};
use crate::indexes;
use crate::output::{Output, shorten};
use crate::record::{self, seconds};
use crate::short_id::{find, find_to_change};
use crate::store::Store;

pub(crate) fn run(command: TaskCommand, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let repo = match command {
        TaskCommand::Add(_) => store.clone().open_or_create()?,
        TaskCommand::Rm { secure: true, .. } => store.clone().open_patiently()?,
        _ => store.clone().open()?,
    };
    match command {
        TaskCommand::Add(args) => add(args, &repo, out),
        TaskCommand::List(args) => list::run(args, &repo, out),
        TaskCommand::Ready => ready(&repo.ready_tasks()?, out),
        TaskCommand::Show { task } => show(&find(&repo, &task.id, out)?, &repo, out),
        TaskCommand::Status(args) => status(args, &repo, out),
        TaskCommand::Claim { task } => claim(&find_to_change(&repo, &task.id, out)?, &repo, out),
        // The id is not looked up: once the task is gone, it may be that of a session, or the beginning of another id.
        TaskCommand::Rm { id, secure } => remove(&id, secure, &repo, &store, out),
        TaskCommand::Requeue => requeue(&repo, out),
    }
}

fn ready(tasks: &[Task], out: &mut Output) -> anyhow::Result<()> {
    if out.is_json() {
        for task in tasks {
            out.json(&record::task(task))?;
        }
        return Ok(());
    }
    if tasks.is_empty() {
        out.note("no task can start")?;
        return Ok(());
    }
    let rows = tasks.iter().map(|task| {
        [
            task.id.to_string(),
            task.status.to_string(),
            shorten(&task.name),
            seconds(task.updated_at),
            join(&task.depends_on),
        ]
    });
    Ok(out.table(["TASK", "STATUS", "NAME", "UPDATED", "WAITS FOR"], rows)?)
}

fn join(ids: &[TaskId]) -> String {
    if ids.is_empty() {
        return "-".into();
    }
    ids.iter()
        .map(TaskId::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Saves a task. An existing one keeps the values of options that are not given.
fn add(args: TaskAddArgs, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let id = args.task.id;
    let mut task = match repo.get_task(&id) {
        Ok(stored) => definition(stored),
        Err(error) if *error.kind() == ErrorKind::TaskNotFound => {
            NewTask::new(id.clone(), id.as_str())
        }
        Err(error) => return Err(error.into()),
    };
    task.name = args.name.unwrap_or(task.name);
    task.prompt = args.prompt.unwrap_or(task.prompt);
    task.agent_role = args.agent_role.or(task.agent_role);
    task.failure_mode = args.failure_mode.unwrap_or(task.failure_mode);
    task.not_before = args.not_before.or(task.not_before);
    task.metadata = args.metadata.or(task.metadata);
    task.status = args.status;
    if !args.writes_files.is_empty() {
        task.writes_files = args.writes_files;
    }
    if !args.depends_on.is_empty() {
        task.depends_on = args.depends_on;
    }
    repo.save_task(&task)?;
    say_status(&repo.get_task(&task.id)?, out)
}

fn definition(task: Task) -> NewTask {
    let mut new = NewTask::new(task.id, task.name)
        .prompt(task.prompt)
        .writes_files(task.writes_files)
        .depends_on(task.depends_on)
        .failure_mode(task.failure_mode);
    new.agent_role = task.agent_role;
    new.not_before = task.not_before;
    new.metadata = task.metadata;
    new
}

fn status(args: TaskStatusArgs, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let mut update = StatusUpdate::from(args.status);
    update.result = args.result;
    update.error = args.error;
    let task = find_to_change(repo, &args.task.id, out)?;
    repo.update_task_status(&task, update)?;
    say_status(&repo.get_task(&task)?, out)
}

fn say_status(task: &Task, out: &mut Output) -> anyhow::Result<()> {
    if out.is_json() {
        return Ok(out.json(&record::task(task))?);
    }
    Ok(out.line(&format!("task {} is {}", task.id, task.status))?)
}

/// Returns the number of turns by role, in the order of [`Role::ALL`].
fn count_turns(repo: &Repo, task: &TaskId) -> anyhow::Result<Vec<(Role, u64)>> {
    let mut counts: Vec<_> = Role::ALL.iter().map(|role| (*role, 0)).collect();
    for turn in turns(repo, task, None, repo.count_history(task)?) {
        let role = turn?.role;
        counts
            .iter_mut()
            .filter(|(of, _)| *of == role)
            .for_each(|(_, count)| *count += 1);
    }
    Ok(counts)
}

fn show(id: &TaskId, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let task = repo.get_task(id)?;
    let session = repo.find_session(id)?;
    let revisions = repo.list_session_revisions(id)?;
    let turns = count_turns(repo, id)?;
    if out.is_json() {
        let mut record = record::task(&task);
        record["session"] = session.as_ref().map(record::session).into();
        record["revisions"] = revisions.iter().map(record::revision).collect();
        let turns = turns
            .iter()
            .map(|(role, count)| (role.as_str().to_owned(), (*count).into()));
        record["turns"] = Value::Object(turns.collect());
        return Ok(out.json(&record)?);
    }
    let turns = turns.iter().map(|(role, count)| format!("{count} {role}"));
    out.fields([
        ("task", task.id.to_string()),
        ("name", task.name),
        ("status", task.status.to_string()),
        ("failure mode", task.failure_mode.to_string()),
        ("agent role", task.agent_role.unwrap_or_else(|| "-".into())),
        ("writes", list_or_dash(&task.writes_files)),
        ("waits for", join(&task.depends_on)),
        (
            "not before",
            task.not_before.map_or_else(|| "-".into(), seconds),
        ),
        ("created", seconds(task.created_at)),
        ("updated", seconds(task.updated_at)),
        (
            "session",
            session.as_ref().map_or_else(|| "-".into(), in_words),
        ),
        ("revisions", revisions.len().to_string()),
        ("turns", turns.collect::<Vec<_>>().join(", ")),
    ])?;
    let texts = [
        ("metadata", task.metadata.map(|it| it.as_str().to_owned())),
        ("prompt", Some(task.prompt)),
        ("result", task.result),
        ("error", task.error),
    ];
    for (title, text) in texts {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            out.line("")?;
            out.title(anstyle::Style::new().bold(), title)?;
            out.text(&text)?;
        }
    }
    Ok(())
}

fn list_or_dash(files: &[String]) -> String {
    if files.is_empty() {
        return "-".into();
    }
    files.join(", ")
}

fn in_words(session: &Session) -> String {
    match &session.working_dir {
        Some(dir) => format!(
            "{} of {} in {dir}",
            session.session_id, session.backend_type
        ),
        None => format!("{} of {}", session.session_id, session.backend_type),
    }
}

fn claim(id: &TaskId, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let claimed = repo.claim_task(id)?;
    if out.is_json() {
        out.json(&json!({ "task_id": id.as_str(), "claimed": claimed }))?;
    } else if claimed {
        out.line(&format!("task {id} is yours"))?;
    }
    if !claimed {
        let status = repo.get_task(id)?.status;
        let reason = match status {
            TaskStatus::Pending | TaskStatus::Eligible => {
                "a running task writes one of its files".to_owned()
            }
            _ => format!("it is {status} already"),
        };
        let message = format!("task `{id}` can't be claimed: {reason}");
        return Err(Problem::new(Kind::CONFLICT, message).task(id).into());
    }
    Ok(())
}

/// Removes a task, and its words from the full-text index. `secure` leaves no text of it in either file.
fn remove(
    id: &TaskId,
    secure: bool,
    repo: &Repo,
    store: &Store,
    out: &mut Output,
) -> anyhow::Result<()> {
    let turns = repo.last_seq(id)?.map_or(0, Seq::get);
    let revisions = repo.list_session_revisions(id)?.len();
    let deleted = match secure {
        true => repo.delete_task_securely(id)?,
        false => repo.remove_task(id)?,
    };
    if secure {
        indexes::delete(repo, store)
            .context("words of the task may be left in the full-text index")?;
    } else if deleted {
        indexes::forget_removed(repo, store);
    }
    if out.is_json() {
        out.json(&json!({
            "task_id": id.as_str(),
            "deleted": deleted,
            "turns": turns,
            "revisions": revisions,
            "erased": secure,
        }))?;
    } else if deleted {
        out.line(&format!(
            "deleted task {id} (turns: {turns}, session revisions: {revisions})"
        ))?;
    } else if secure {
        out.line(&format!("erased the rest of task {id}"))?;
    }
    if !deleted && !secure {
        let problem =
            Problem::new(Kind::TASK_NOT_FOUND, format!("there is no task `{id}`")).task(id);
        return Err(problem
            .hint(
                "it takes the whole id of a task; `turnkeep rm` takes those of sessions, and asks",
            )
            .into());
    }
    Ok(())
}

fn requeue(repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let ids = repo.requeue_running()?;
    if ids.is_empty() && !out.is_json() {
        out.note("no task was running")?;
    }
    for id in &ids {
        if out.is_json() {
            out.json(&json!({ "task_id": id.as_str() }))?;
        } else {
            out.line(&format!("task {id} is pending"))?;
        }
    }
    Ok(())
}
