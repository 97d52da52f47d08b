use anyhow::bail;
use serde::Serialize;
use turnkeep_repo::{Error, NewTask, Repo, Role, Session, StatusUpdate, Task, TaskId};

use super::history::turns;
use crate::args::{TaskAddArgs, TaskCommand, TaskStatusArgs};
use crate::failure::with_hint;
use crate::output::{Output, shorten};
use crate::record::{RevisionRecord, SessionRecord, TaskRecord, seconds};
use crate::store::Store;

pub(crate) fn run(command: TaskCommand, store: Store, out: &mut Output) -> anyhow::Result<()> {
    let repo = match command {
        TaskCommand::Add(_) => store.open_or_create()?,
        TaskCommand::Rm { secure: true, .. } => store.open_patiently()?,
        _ => store.open()?,
    };
    match command {
        TaskCommand::Add(args) => add(args, &repo, out),
        TaskCommand::List => list(&repo.list_tasks()?, "no tasks", out),
        TaskCommand::Ready => list(&repo.ready_tasks()?, "no task can start", out),
        TaskCommand::Show { task } => show(&task.id, &repo, out),
        TaskCommand::Status(args) => status(args, &repo, out),
        TaskCommand::Claim { task } => claim(&task.id, &repo, out),
        TaskCommand::Rm { task, secure } => remove(&task.id, secure, &repo, out),
        TaskCommand::Requeue => requeue(&repo, out),
    }
}

fn list(tasks: &[Task], none: &str, out: &mut Output) -> anyhow::Result<()> {
    if out.is_json() {
        for task in tasks {
            out.json(&TaskRecord::from(task))?;
        }
        return Ok(());
    }
    if tasks.is_empty() {
        out.note(none)?;
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

/// What is not given stays as it is in a task that exists.
fn add(args: TaskAddArgs, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let id = args.task.id;
    let mut task = match repo.get_task(&id) {
        Ok(stored) => definition(stored),
        Err(Error::TaskNotFound { .. }) => NewTask::new(id.clone(), id.as_str()),
        Err(error) => return Err(error.into()),
    };
    task.name = args.name.unwrap_or(task.name);
    task.prompt = args.prompt.unwrap_or(task.prompt);
    task.agent_role = args.agent_role.or(task.agent_role);
    task.failure_mode = args.failure_mode.unwrap_or(task.failure_mode);
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
    new
}

fn status(args: TaskStatusArgs, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let mut update = StatusUpdate::from(args.status);
    update.result = args.result;
    update.error = args.error;
    repo.update_task_status(&args.task.id, update)?;
    say_status(&repo.get_task(&args.task.id)?, out)
}

fn say_status(task: &Task, out: &mut Output) -> anyhow::Result<()> {
    if out.is_json() {
        return Ok(out.json(&TaskRecord::from(task))?);
    }
    Ok(out.line(&format!("task {} is {}", task.id, task.status))?)
}

#[derive(Serialize)]
struct ShowRecord<'a> {
    #[serde(flatten)]
    task: TaskRecord<'a>,
    session: Option<SessionRecord<'a>>,
    revisions: Vec<RevisionRecord<'a>>,
    turns: Turns,
}

/// How many turns each role has.
#[derive(Default, Serialize)]
struct Turns {
    user: u64,
    assistant: u64,
    system: u64,
    tool: u64,
}

impl Turns {
    fn count(repo: &Repo, task: &TaskId) -> anyhow::Result<Self> {
        let mut counts = Self::default();
        for turn in turns(repo, task, 0, repo.count_history(task)?) {
            *match turn?.role {
                Role::User => &mut counts.user,
                Role::Assistant => &mut counts.assistant,
                Role::System => &mut counts.system,
                Role::Tool => &mut counts.tool,
            } += 1;
        }
        Ok(counts)
    }
}

fn show(id: &TaskId, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let task = repo.get_task(id)?;
    let session = repo.find_session(id)?;
    let revisions = repo.list_session_revisions(id)?;
    let turns = Turns::count(repo, id)?;
    if out.is_json() {
        return Ok(out.json(&ShowRecord {
            task: TaskRecord::from(&task),
            session: session.as_ref().map(SessionRecord::from),
            revisions: revisions.iter().map(RevisionRecord::from).collect(),
            turns,
        })?);
    }
    out.fields([
        ("task", task.id.to_string()),
        ("name", task.name),
        ("status", task.status.to_string()),
        ("failure mode", task.failure_mode.to_string()),
        ("agent role", task.agent_role.unwrap_or_else(|| "-".into())),
        ("writes", list_or_dash(&task.writes_files)),
        ("waits for", join(&task.depends_on)),
        ("created", seconds(task.created_at)),
        ("updated", seconds(task.updated_at)),
        (
            "session",
            session.as_ref().map_or_else(|| "-".into(), in_words),
        ),
        ("revisions", revisions.len().to_string()),
        (
            "turns",
            format!(
                "{} user, {} assistant, {} system, {} tool",
                turns.user, turns.assistant, turns.system, turns.tool
            ),
        ),
    ])?;
    let texts = [
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

#[derive(Serialize)]
struct ClaimRecord<'a> {
    task_id: &'a str,
    claimed: bool,
}

fn claim(id: &TaskId, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let claimed = repo.claim_task(id)?;
    if out.is_json() {
        let task_id = id.as_str();
        out.json(&ClaimRecord { task_id, claimed })?;
    } else if claimed {
        out.line(&format!("task {id} is yours"))?;
    }
    if !claimed {
        let status = repo.get_task(id)?.status;
        bail!("task `{id}` can't be claimed: it is {status} already");
    }
    Ok(())
}

#[derive(Serialize)]
struct RemoveRecord<'a> {
    task_id: &'a str,
    deleted: bool,
    turns: i64,
    revisions: usize,
    erased: bool,
}

fn remove(id: &TaskId, secure: bool, repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let turns = repo.count_history(id)?;
    let revisions = repo.list_session_revisions(id)?.len();
    let deleted = match secure {
        true => repo.delete_task_securely(id)?,
        false => repo.delete_task(id)?,
    };
    if out.is_json() {
        out.json(&RemoveRecord {
            task_id: id.as_str(),
            deleted,
            turns,
            revisions,
            erased: secure,
        })?;
    } else if deleted {
        out.line(&format!(
            "deleted task {id} (turns: {turns}, session revisions: {revisions})"
        ))?;
    } else if secure {
        out.line(&format!("erased what was left of task {id}"))?;
    }
    if !deleted && !secure {
        return Err(with_hint(
            format!("there is no task `{id}`"),
            "`turnkeep task list` shows the tasks there are",
        ));
    }
    Ok(())
}

#[derive(Serialize)]
struct RequeueRecord<'a> {
    task_id: &'a str,
}

fn requeue(repo: &Repo, out: &mut Output) -> anyhow::Result<()> {
    let ids = repo.requeue_running()?;
    if ids.is_empty() && !out.is_json() {
        out.note("no task was running")?;
    }
    for id in &ids {
        if out.is_json() {
            let task_id = id.as_str();
            out.json(&RequeueRecord { task_id })?;
        } else {
            out.line(&format!("task {id} is pending"))?;
        }
    }
    Ok(())
}
