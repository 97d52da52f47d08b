//! The store of the orchestrator that this store was first written for, and its tests. Its methods take strings and
//! return the first error.

use anyhow::{Context, ensure};
use turnkeep_repo::{
    BackendType, ErrorKind, FailureMode, NewSession, NewTask, Role, StatusUpdate, Task, TaskId,
    TaskStatus,
};

use crate::support::{Harness, Store};

/// Its interface. Each method is one call of the store.
struct Original<S>(S);

/// A task as its scheduler has it: definition and progress in one.
#[derive(Clone)]
struct SchedulerTask {
    id: &'static str,
    name: &'static str,
    agent_role: &'static str,
    prompt: &'static str,
    writes_files: &'static [&'static str],
    status: TaskStatus,
    failure_mode: FailureMode,
    depends_on: &'static [&'static str],
    result: &'static str,
}

impl SchedulerTask {
    fn new(id: &'static str) -> Self {
        Self {
            id,
            name: "Test Task",
            agent_role: "coder",
            prompt: "Write code",
            writes_files: &[],
            status: TaskStatus::Pending,
            failure_mode: FailureMode::Hard,
            depends_on: &[],
            result: "",
        }
    }

    fn update(&self) -> StatusUpdate {
        let mut update = StatusUpdate::from(self.status);
        update.result = Some(self.result.to_owned()).filter(|result| !result.is_empty());
        update
    }

    fn plan(&self) -> anyhow::Result<NewTask> {
        let depends_on = self.depends_on.iter().map(|id| TaskId::new(*id));
        Ok(NewTask::new(self.id.parse()?, self.name)
            .agent_role(self.agent_role)
            .prompt(self.prompt)
            .writes_files(self.writes_files.iter().copied())
            .failure_mode(self.failure_mode)
            .depends_on(depends_on.collect::<Result<Vec<_>, _>>()?)
            .status(self.update()))
    }
}

impl<S: Store> Original<S> {
    /// Inserts a task, or updates all of it. `Repo::save_task` keeps the progress of a stored task, so that a plan can
    /// be saved again after a restart: the update is a second write, in the same transaction.
    fn save_task(&self, task: &SchedulerTask) -> anyhow::Result<()> {
        let (plan, update) = (task.plan()?, task.update());
        self.0.transaction(move |tx| {
            tx.save_task(&plan)?;
            Ok(tx.update_task_status(&plan.id, update)?)
        })
    }

    fn save_plan(&self, tasks: &[SchedulerTask]) -> anyhow::Result<()> {
        let plan: anyhow::Result<Vec<NewTask>> = tasks.iter().map(SchedulerTask::plan).collect();
        Ok(self.0.save_tasks(&plan?)?)
    }

    fn get_task(&self, id: &str) -> anyhow::Result<Task> {
        Ok(self.0.get_task(&id.parse()?)?)
    }

    fn update_task_status(
        &self,
        id: &str,
        status: TaskStatus,
        result: &str,
        error: Option<&str>,
    ) -> anyhow::Result<()> {
        let mut update = StatusUpdate::from(status);
        update.result = Some(result.to_owned()).filter(|result| !result.is_empty());
        update.error = error.map(str::to_owned);
        Ok(self.0.update_task_status(&id.parse()?, update)?)
    }

    fn list_tasks(&self) -> anyhow::Result<Vec<Task>> {
        Ok(self.0.get_tasks()?)
    }

    fn save_session(&self, task: &str, session: &str, backend: &str) -> anyhow::Result<()> {
        let session = NewSession::new(backend.parse()?, session.parse()?);
        self.0.save_session(&task.parse()?, &session)?;
        Ok(())
    }

    fn get_session(&self, task: &str) -> anyhow::Result<(String, String)> {
        let session = self.0.get_session(&task.parse()?)?;
        let backend = session.backend_type.to_string();
        Ok((session.session_id.to_string(), backend))
    }

    fn save_message(&self, task: &str, role: &str, content: &str) -> anyhow::Result<()> {
        self.0
            .save_message(&task.parse()?, role.parse()?, content)?;
        Ok(())
    }

    fn get_history(&self, task: &str) -> anyhow::Result<Vec<(Role, String)>> {
        let history = self.0.get_history(&task.parse()?)?;
        let turns = history.into_iter().map(|turn| (turn.role, turn.content));
        Ok(turns.collect())
    }
}

fn store<H: Harness>(place: &H) -> anyhow::Result<Original<H::Store>> {
    Ok(Original(place.open()?))
}

/// Fails unless the call was refused for this reason.
fn refused<T>(result: anyhow::Result<T>, kind: &ErrorKind) -> anyhow::Result<()> {
    let error = result.err().context("expected an error")?;
    let error: turnkeep_repo::Error = error.downcast()?;
    ensure!(error.kind() == kind, "{error:?}");
    Ok(())
}

pub fn save_and_get_task<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    for id in ["dep-1", "dep-2"] {
        let mut dependency = SchedulerTask::new(id);
        dependency.status = TaskStatus::Completed;
        store.save_task(&dependency)?;
    }
    let mut task = SchedulerTask::new("task-1");
    task.writes_files = &["file1.go", "file2.go"];
    task.depends_on = &["dep-1", "dep-2"];
    store.save_task(&task)?;

    let retrieved = store.get_task("task-1")?;
    assert_eq!(retrieved.id.as_str(), task.id);
    assert_eq!(retrieved.name, task.name);
    assert_eq!(retrieved.agent_role.as_deref(), Some(task.agent_role));
    assert_eq!(retrieved.prompt, task.prompt);
    assert_eq!(retrieved.status, task.status);
    assert_eq!(retrieved.failure_mode, task.failure_mode);
    assert_eq!(retrieved.writes_files, task.writes_files);
    assert!(
        retrieved
            .depends_on
            .iter()
            .map(TaskId::as_str)
            .eq(task.depends_on.iter().copied())
    );
    assert_eq!((retrieved.result, retrieved.error), (None, None));
    Ok(())
}

pub fn save_task_idempotent<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    let mut task = SchedulerTask::new("task-idempotent");
    store.save_task(&task)?;

    task.status = TaskStatus::Completed;
    task.result = "Success";
    store.save_task(&task)?;

    let retrieved = store.get_task("task-idempotent")?;
    assert_eq!(retrieved.status, TaskStatus::Completed);
    assert_eq!(retrieved.result.as_deref(), Some("Success"));
    assert_eq!(store.list_tasks()?.len(), 1);
    Ok(())
}

pub fn a_new_task_with_a_result<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    let mut task = SchedulerTask::new("done-before");
    task.status = TaskStatus::Completed;
    task.result = "Success";
    store.save_plan(&[task])?;

    let retrieved = store.get_task("done-before")?;
    assert_eq!(retrieved.status, TaskStatus::Completed);
    assert_eq!(retrieved.result.as_deref(), Some("Success"));
    Ok(())
}

pub fn a_plan_in_any_order<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    let mut plan = ["review", "code", "setup"].map(SchedulerTask::new);
    plan[0].depends_on = &["code", "setup"];
    plan[1].depends_on = &["setup"];
    store.save_plan(&plan)?;
    store.save_plan(&plan)?;

    assert_eq!(store.list_tasks()?.len(), 3);
    let ready = store.0.ready_tasks()?;
    assert!(ready.iter().map(|task| task.id.as_str()).eq(["setup"]));
    Ok(())
}

pub fn update_task_status<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    store.save_task(&SchedulerTask::new("task-status"))?;

    store.update_task_status("task-status", TaskStatus::Running, "", None)?;
    assert_eq!(store.get_task("task-status")?.status, TaskStatus::Running);

    let result = "Task completed successfully";
    store.update_task_status("task-status", TaskStatus::Completed, result, None)?;
    let retrieved = store.get_task("task-status")?;
    assert_eq!(retrieved.status, TaskStatus::Completed);
    assert_eq!(retrieved.result.as_deref(), Some(result));
    Ok(())
}

pub fn update_task_status_not_found<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    let updated = store.update_task_status("nonexistent", TaskStatus::Completed, "result", None);
    refused(updated, &ErrorKind::TaskNotFound)
}

pub fn list_tasks<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    let mut tasks = ["list-task-1", "list-task-2", "list-task-3"].map(SchedulerTask::new);
    tasks[0].status = TaskStatus::Completed;
    tasks[1].status = TaskStatus::Running;
    tasks[1].depends_on = &["list-task-1"];
    tasks[2].failure_mode = FailureMode::Soft;
    tasks[2].depends_on = &["list-task-1", "list-task-2"];
    for task in &tasks {
        store.save_task(task)?;
    }

    let listed = store.list_tasks()?;
    assert_eq!(listed.len(), 3);
    for (listed, task) in listed.iter().zip(&tasks) {
        assert_eq!(listed.id.as_str(), task.id);
        assert_eq!(listed.status, task.status);
        assert_eq!(listed.failure_mode, task.failure_mode);
        assert_eq!(listed.depends_on.len(), task.depends_on.len());
    }
    Ok(())
}

pub fn foreign_key_enforced<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    let mut task = SchedulerTask::new("fk-task");
    task.depends_on = &["nonexistent-dep"];
    let depends_on = "nonexistent-dep".parse()?;
    refused(
        store.save_task(&task),
        &ErrorKind::DependencyNotFound { depends_on },
    )?;
    assert!(store.list_tasks()?.is_empty());
    Ok(())
}

pub fn task_error_persistence<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    store.save_task(&SchedulerTask::new("error-task"))?;

    let error = "task failed: file not found";
    store.update_task_status("error-task", TaskStatus::Failed, "", Some(error))?;
    let retrieved = store.get_task("error-task")?;
    assert_eq!(retrieved.error.as_deref(), Some(error));
    assert_eq!(retrieved.status, TaskStatus::Failed);
    Ok(())
}

pub fn save_and_get_session<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    store.save_task(&SchedulerTask::new("session-task-1"))?;
    store.save_session("session-task-1", "session-abc-123", "claude")?;
    let (session, backend) = store.get_session("session-task-1")?;
    assert_eq!((&*session, &*backend), ("session-abc-123", "claude"));
    Ok(())
}

pub fn save_session_upsert<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    store.save_task(&SchedulerTask::new("upsert-task"))?;
    store.save_session("upsert-task", "abc", "claude")?;
    store.save_session("upsert-task", "def", "codex")?;
    let (session, backend) = store.get_session("upsert-task")?;
    assert_eq!((&*session, &*backend), ("def", "codex"));
    Ok(())
}

pub fn a_session_saved_twice<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    store.save_task(&SchedulerTask::new("twice"))?;
    store.save_session("twice", "abc", "claude")?;
    store.save_session("twice", "abc", "claude")?;
    assert_eq!(store.get_session("twice")?.0, "abc");
    assert_eq!(store.0.list_session_revisions(&"twice".parse()?)?.len(), 1);
    Ok(())
}

pub fn get_session_not_found<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    store.save_task(&SchedulerTask::new("unbound-task"))?;
    for task in ["unbound-task", "nonexistent-task"] {
        refused(store.get_session(task), &ErrorKind::SessionNotFound)?;
    }
    Ok(())
}

pub fn session_backend_types<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    let backends = [
        ("claude-task", "session-1", "claude"),
        ("codex-task", "session-2", "codex"),
        ("goose-task", "session-3", "goose"),
    ];
    for (task, session, backend) in backends {
        store.save_task(&SchedulerTask::new(task))?;
        store.save_session(task, session, backend)?;
    }
    for (task, session, backend) in backends {
        let (got_session, got_backend) = store.get_session(task)?;
        assert_eq!((&*got_session, &*got_backend), (session, backend));
        let typed: BackendType = backend.parse()?;
        assert!(!matches!(typed, BackendType::Other(_)), "{backend}");
    }
    Ok(())
}

pub fn save_and_get_history<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    store.save_task(&SchedulerTask::new("history-task"))?;
    let messages = [
        (Role::User, "Hello, can you help?"),
        (Role::Assistant, "Sure, I can help!"),
        (Role::User, "Great, thanks!"),
    ];
    for (role, content) in messages {
        store.save_message("history-task", role.as_str(), content)?;
    }
    let history = store.get_history("history-task")?;
    assert_eq!(
        history,
        messages.map(|(role, content)| (role, content.to_owned()))
    );
    Ok(())
}

pub fn get_history_empty<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    store.save_task(&SchedulerTask::new("empty-history-task"))?;
    assert!(store.get_history("empty-history-task")?.is_empty());
    Ok(())
}

pub fn get_history_ordering<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    store.save_task(&SchedulerTask::new("ordering-task"))?;
    let messages = ["msg1", "msg2", "msg3", "msg4", "msg5"];
    for content in messages {
        store.save_message("ordering-task", "user", content)?;
    }
    let history = store.get_history("ordering-task")?;
    assert!(history.iter().map(|(_, content)| &**content).eq(messages));
    Ok(())
}

pub fn conversation_history_foreign_key<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let store = store(&place)?;
    refused(store.get_task("nonexistent-task"), &ErrorKind::TaskNotFound)?;
    let saved = store.save_message("nonexistent-task", "user", "Hello");
    refused(saved, &ErrorKind::TaskNotFound)
}
