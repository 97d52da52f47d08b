//! Tasks, their dependencies and statuses.

use std::sync::Mutex;
use std::time::Duration;

use turnkeep_repo::chrono::{DateTime, TimeDelta, Utc};
use turnkeep_repo::{
    BackendType, ErrorKind, FailureMode, Metadata, NewTask, Role, StatusUpdate, Task, TaskId,
    TaskStatus, WorkerId,
};

use crate::scene::{binding, open_with_task, save_task};
use crate::{Claimed, Harness, Options, Store};

fn id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

fn ids(tasks: &[Task]) -> Vec<&str> {
    tasks.iter().map(|task| task.id.as_str()).collect()
}

/// A task reads back as it was saved, its dependencies as a sorted set.
pub fn save_and_get_task<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    save_task(&repo, "first")?;
    save_task(&repo, "second")?;
    save_task(&repo, "Third")?;
    let files = ["a,b.rs", "c d.rs", "e\nf.rs", "\"g\".rs", ""];
    let task = NewTask::new(id("t"), "Name")
        .agent_role("reviewer")
        .prompt("Do it.\nWell.")
        .writes_files(files)
        .failure_mode(FailureMode::Soft)
        .status(TaskStatus::Eligible)
        .depends_on([id("second"), id("first"), id("Third"), id("second")]);
    repo.save_task(&task)?;
    drop(repo);

    let stored = store.open()?.get_task(&id("t"))?;
    assert_eq!(stored.name, "Name");
    assert_eq!(stored.agent_role.as_deref(), Some("reviewer"));
    assert_eq!(stored.prompt, "Do it.\nWell.");
    assert_eq!(stored.writes_files, files);
    assert_eq!(stored.failure_mode, FailureMode::Soft);
    assert_eq!(stored.status, TaskStatus::Eligible);
    assert_eq!((stored.result, stored.error), (None, None));
    assert_eq!(stored.created_at, stored.updated_at);
    assert_eq!(
        stored.depends_on,
        [id("Third"), id("first"), id("second")],
        "a set, in order of bytes"
    );

    let missing = store.open()?.get_task(&id("none")).unwrap_err();
    assert!(matches!(missing.kind(), ErrorKind::TaskNotFound));
    assert_eq!(missing.task_id(), Some(&id("none")));
    assert_eq!(missing.to_string(), "get_task: there is no task `none`");
    Ok(())
}

/// Saving a task again updates its plan and never its status or result.
pub fn save_task_idempotent<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let mut seconds = 0;
    let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse()?;
    let ticks = Mutex::new(move || {
        seconds += 1;
        start + TimeDelta::seconds(seconds)
    });
    let clock = move || (ticks.lock().unwrap())();
    let repo = store.open_with(Options::new().clock(clock))?;
    save_task(&repo, "a")?;
    save_task(&repo, "b")?;

    let task = NewTask::new(id("t"), "Name").depends_on([id("a")]);
    repo.save_task(&task)?;
    repo.update_task_status(&id("t"), StatusUpdate::failed("broken"))?;
    let before = repo.get_task(&id("t"))?;
    repo.save_task(&task)?;
    assert_eq!(
        repo.get_task(&id("t"))?,
        before,
        "the same again changes nothing"
    );

    repo.save_task(&NewTask::new(id("t"), "Other").depends_on([id("b")]))?;
    let after = repo.get_task(&id("t"))?;
    assert_eq!(after.name, "Other");
    assert_eq!(after.depends_on, [id("b")], "the list is replaced");
    assert_eq!(
        after.created_at, before.created_at,
        "created_at is never reset"
    );
    assert!(after.updated_at > before.updated_at);
    assert_eq!(
        after.status,
        TaskStatus::Failed,
        "how far it has come stays"
    );
    assert_eq!(after.error.as_deref(), Some("broken"));
    assert_eq!(repo.get_tasks()?.len(), 3);
    Ok(())
}

/// Metadata are kept byte for byte and shown in no debug output, a time to the microsecond. Saving the task
/// without them removes them.
pub fn metadata_and_not_before_are_part_of_the_plan<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let json =
        String::from(r#" {"pool" : "gpu", "b":[1.50, -1.5e-16382, 0e99999, "secret \\u0000 é"]}"#);
    let time: DateTime<Utc> = "2020-01-01T00:00:00.000001999Z".parse()?;
    let plain = NewTask::new(id("t"), "T");
    let task = plain
        .clone()
        .metadata(Metadata::new(json.clone())?)
        .not_before(time);
    for _ in 0..2 {
        repo.save_task(&task)?;
        let stored = repo.get_task(&id("t"))?;
        assert_eq!(stored.metadata.as_ref().unwrap().as_str(), json);
        assert_eq!(
            stored.not_before,
            Some("2020-01-01T00:00:00.000001Z".parse()?)
        );
        assert_eq!(stored.created_at, stored.updated_at, "saved again");
        assert!(!format!("{stored:?} {task:?}").contains("secret"));
    }
    let most = format!("{{\"k\":\"{}\"}}", "é".repeat(Metadata::MAX_BYTES / 2 - 4));
    assert_eq!(most.len(), Metadata::MAX_BYTES);
    repo.save_task(&plain.clone().metadata(most.parse()?))?;
    assert_eq!(repo.get_task(&id("t"))?.metadata, Some(most.parse()?));
    repo.save_task(&plain)?;
    let stored = repo.get_task(&id("t"))?;
    assert_eq!((stored.metadata, stored.not_before), (None, None));

    let never = plain.not_before(DateTime::<Utc>::MAX_UTC);
    let error = repo.save_task(&never).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::InvalidInput { .. }),
        "{error:?}"
    );
    assert_eq!(repo.get_task(&id("t"))?.not_before, None);
    Ok(())
}

/// A task is not ready before its time, and is once the time has passed. A claim of one orchestrator, which
/// checks no dependencies either, takes it.
pub fn a_task_is_not_ready_before_its_time<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let (worker, lease) = (WorkerId::new("w")?, Duration::from_secs(60));
    let task = |name: &str, time: &str| -> anyhow::Result<NewTask> {
        Ok(NewTask::new(id(name), name).not_before(time.parse()?))
    };
    repo.save_task(&task("due", "2020-01-01T00:00:00Z")?)?;
    repo.save_task(&task("later", "9000-01-01T00:00:00Z")?)?;
    let ready: Vec<TaskId> = repo.ready_tasks()?.into_iter().map(|it| it.id).collect();
    assert_eq!(ready, [id("due")]);
    assert!(repo.claim(&id("later"), &worker, lease)?.is_none());
    let claims = repo.claim_ready(&worker, 9, lease)?;
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].task.id, id("due"));
    assert!(repo.claim_task(&id("later"))?);
    Ok(())
}

/// `NewTask::recorded` sets the times of a new task. Saving it again does not change them.
pub fn a_recorded_task_keeps_its_times<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let (begun, ended) = (
        "2020-01-01T00:00:00Z".parse()?,
        "2020-02-01T00:00:00Z".parse()?,
    );
    let task = NewTask::new(id("t"), "T").recorded(begun, ended);
    repo.save_task(&task)?;
    let stored = repo.get_task(&id("t"))?;
    let times = (
        stored.created_at,
        stored.updated_at,
        stored.status_changed_at,
    );
    assert_eq!(times, (begun, ended, ended));
    repo.save_task(&task.clone().recorded(ended, Utc::now()))?;
    assert_eq!(repo.get_task(&id("t"))?, stored);
    let never = DateTime::<Utc>::MAX_UTC;
    let error = repo.save_task(&NewTask::new(id("u"), "U").recorded(begun, never));
    let error = error.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::InvalidInput { .. }),
        "{error:?}"
    );
    assert_eq!(repo.get_tasks()?.len(), 1);
    Ok(())
}

/// A task that ended before it was saved has its result or its error. Saving it again changes neither.
pub fn a_new_task_may_have_ended<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let merged = NewTask::new(id("a"), "A").status(StatusUpdate::completed("merged"));
    let broken = NewTask::new(id("b"), "B").status(StatusUpdate::failed("no compiler"));
    repo.save_tasks(&[merged, broken.clone()])?;
    repo.save_task(
        &broken
            .prompt("Again")
            .status(StatusUpdate::completed("built")),
    )?;

    let progress = |name| {
        let task = repo.get_task(&id(name))?;
        anyhow::Ok((task.status, task.result, task.error))
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        progress("a")?,
        (TaskStatus::Completed, text("merged"), None)
    );
    assert_eq!(
        progress("b")?,
        (TaskStatus::Failed, None, text("no compiler"))
    );
    assert_eq!(repo.get_task(&id("b"))?.prompt, "Again");
    Ok(())
}

/// Only a status update, a claim or a requeue sets `status_changed_at`.
pub fn status_changed_at_follows_only_status_writes<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let now = Mutex::new(DateTime::UNIX_EPOCH);
    let clock = move || {
        let mut now = now.lock().unwrap();
        *now += TimeDelta::seconds(1);
        *now
    };
    let repo = store.open_with(Options::new().clock(clock))?;
    let task = save_task(&repo, "t")?;
    let stored = repo.get_task(&task)?;
    assert_eq!(stored.status_changed_at, stored.created_at);
    let is_moved = |what: &str| {
        let stored = repo.get_task(&task).unwrap();
        assert_eq!(stored.status_changed_at, stored.updated_at, "{what}");
        stored.status_changed_at
    };

    assert!(repo.claim_task(&task)?);
    let claimed = is_moved("a claim");
    repo.requeue_running()?;
    let requeued = is_moved("a requeue");
    let worker = WorkerId::new("w")?;
    let lease = Duration::from_secs(3600);
    let claim = repo.claim_ready(&worker, 1, lease)?.remove(0);
    assert_eq!(claim.task, repo.get_task(&task)?);
    let leased = is_moved("a claim on lease");
    repo.update_task_status(&task, TaskStatus::Running)?;
    let written = is_moved("the same status");
    assert!(claimed < requeued && requeued < leased && leased < written);

    H::Store::fenced(&claim).renew(lease)?;
    repo.save_message(&task, Role::User, "x")?;
    repo.save_session(&task, &binding(BackendType::Codex, "1", None)?)?;
    repo.save_task(&NewTask::new(task.clone(), "another name"))?;
    let stored = repo.get_task(&task)?;
    assert!(stored.updated_at > written, "the plan was saved again");
    assert_eq!(stored.status_changed_at, written);
    Ok(())
}

/// Any status may follow any other. Each update replaces status, result and error together.
pub fn update_task_status<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for status in TaskStatus::ALL {
        repo.update_task_status(&task, *status)?;
        assert_eq!(repo.get_task(&task)?.status, *status);
    }
    repo.update_task_status(&task, StatusUpdate::completed("42"))?;
    assert_eq!(repo.get_task(&task)?.result.as_deref(), Some("42"));
    repo.update_task_status(&task, TaskStatus::Pending)?;
    assert_eq!(
        repo.get_task(&task)?.result,
        None,
        "status, result and error are one value"
    );
    Ok(())
}

/// `update_task_status` fails with `TaskNotFound` for an unknown task.
pub fn update_task_status_not_found<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let error = repo
        .update_task_status(&id("none"), TaskStatus::Running)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "update_task_status: there is no task `none`"
    );
    assert!(matches!(error.kind(), ErrorKind::TaskNotFound));
    Ok(())
}

/// The error of a failed task survives a restart.
pub fn task_error_persistence<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.update_task_status(&task, StatusUpdate::failed("exit code 1:\n\"boom\""))?;
    drop(repo);
    let stored = store.open()?.get_task(&task)?;
    assert_eq!(stored.status, TaskStatus::Failed);
    assert_eq!(stored.error.as_deref(), Some("exit code 1:\n\"boom\""));
    Ok(())
}

/// `get_tasks` is ordered by creation, then by id, and includes dependencies.
pub fn get_tasks<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    assert!(store.open()?.get_tasks()?.is_empty());
    // Clocks that step back or stand still.
    for (second, task) in [
        (30, "late"),
        (10, "early"),
        (20, "c"),
        (20, "D"),
        (20, "a"),
        (20, "b"),
    ] {
        let time = DateTime::from_timestamp(second, 0).unwrap();
        let repo = store.open_with(Options::new().clock(move || time))?;
        save_task(&repo, task)?;
    }
    let repo = store.open()?;
    repo.save_task(&NewTask::new(id("late"), "A task").depends_on([id("c"), id("D"), id("a")]))?;
    repo.save_task(&NewTask::new(id("b"), "A task").depends_on([id("early")]))?;
    let tasks = repo.get_tasks()?;
    assert_eq!(
        ids(&tasks),
        ["early", "D", "a", "b", "c", "late"],
        "by creation, then id"
    );
    assert_eq!(tasks[5].depends_on, [id("D"), id("a"), id("c")]);
    assert_eq!(tasks[3].depends_on, [id("early")]);
    assert!(tasks[0].depends_on.is_empty());
    for task in &tasks {
        assert_eq!(
            &repo.get_task(&task.id)?,
            task,
            "the list and the task agree"
        );
    }
    Ok(())
}

/// An unknown dependency or a cycle is refused, and nothing of the call is stored.
pub fn refused_dependencies_change_nothing<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, a) = open_with_task(&store, "a")?;
    let (b, c) = (id("b"), id("c"));
    repo.save_task(&NewTask::new(b.clone(), "B").depends_on([a.clone()]))?;
    repo.save_task(&NewTask::new(c.clone(), "C").depends_on([b.clone()]))?;
    let before = repo.get_tasks()?;

    let unknown = NewTask::new(a.clone(), "Changed").depends_on([id("none")]);
    let error = repo.save_task(&unknown).unwrap_err();
    assert_eq!(
        error.to_string(),
        "save_task: task `a` can't depend on `none`, which does not exist"
    );
    assert!(matches!(error.kind(), ErrorKind::DependencyNotFound { .. }));

    let itself = NewTask::new(a.clone(), "Changed").depends_on([a.clone()]);
    assert!(matches!(
        repo.save_task(&itself).unwrap_err().kind(),
        ErrorKind::DependencyCycle { .. }
    ));

    let circle = NewTask::new(a.clone(), "Changed").depends_on([c.clone()]);
    let error = repo.save_task(&circle).unwrap_err();
    assert_eq!(
        error.to_string(),
        "save_task: dependencies form a circle: a -> c -> b -> a"
    );
    assert!(matches!(error.kind(), ErrorKind::DependencyCycle { .. }));

    let new_and_bad = NewTask::new(id("new"), "New").depends_on([a.clone(), id("none")]);
    assert!(repo.save_task(&new_and_bad).is_err());
    assert_eq!(
        repo.get_tasks()?,
        before,
        "nothing of the refused calls is stored"
    );

    // A diamond is not a cycle.
    repo.save_task(&NewTask::new(c, "C").depends_on([b, a]))?;
    Ok(())
}

/// Replacing the dependencies of a task keeps its dependents, and never closes a cycle.
pub fn replacing_dependencies_keeps_dependents<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, first) = open_with_task(&store, "first")?;
    let (middle, last) = (id("middle"), id("last"));
    let others: Vec<TaskId> = (0..6).map(|number| id(&format!("other{number}"))).collect();
    for other in &others {
        let task = NewTask::new(other.clone(), "O").depends_on([first.clone()]);
        repo.save_task(&task)?;
    }
    let waits = |depends_on: &[TaskId]| {
        let task = NewTask::new(middle.clone(), "M").depends_on(depends_on.to_vec());
        repo.save_task(&task)
    };
    waits(std::slice::from_ref(&first))?;
    for (waiting, depends_on) in [("left", &middle), ("right", &middle), ("last", &id("left"))] {
        let task = NewTask::new(id(waiting), "W").depends_on([depends_on.clone()]);
        repo.save_task(&task)?;
    }
    for depends_on in [&others[..], &others[2..4], &others[..5], &[]] {
        waits(depends_on)?;
        assert_eq!(repo.get_task(&middle)?.depends_on, depends_on);
        for waiting in ["left", "right"] {
            let expected = std::slice::from_ref(&middle);
            assert_eq!(repo.get_task(&id(waiting))?.depends_on, expected);
        }
        let before = repo.get_tasks()?;
        let mut with_circle = others.clone();
        with_circle.push(last.clone());
        let error = waits(&with_circle).unwrap_err();
        let members = [&middle, &last, &id("left")].map(Clone::clone).to_vec();
        assert_eq!(*error.kind(), ErrorKind::DependencyCycle { members });
        assert_eq!(error.task_id(), Some(&middle));
        let mut with_unknown = others.clone();
        with_unknown.push(id("unknown"));
        let error = waits(&with_unknown).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::DependencyNotFound { .. }));
        assert_eq!(repo.get_tasks()?, before);
    }
    Ok(())
}

/// `delete_task` also deletes the binding, revisions, history and dependency edges of the task.
pub fn delete_task_cascades<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_task(&NewTask::new(id("waits"), "W").depends_on([task.clone()]))?;
    repo.save_message(&task, Role::User, "hello")?;
    let binding = binding(BackendType::Claude, "s", None)?;
    repo.save_session(&task, &binding)?;

    assert!(repo.delete_task(&task)?);
    assert!(!repo.delete_task(&task)?, "gone already");
    assert!(repo.get_history(&task)?.is_empty());
    assert!(repo.list_session_revisions(&task)?.is_empty());
    assert!(repo.list_sessions()?.is_empty());
    assert!(repo.get_task(&id("waits"))?.depends_on.is_empty());

    let again = save_task(&repo, "t")?;
    assert_eq!(repo.save_message(&again, Role::User, "new")?, 1);
    Ok(())
}

/// A pending or eligible task is ready if no dependency blocks it.
pub fn ready_tasks_respects_failure_modes<H: Harness>() -> anyhow::Result<()> {
    use FailureMode::{Hard, Skip, Soft};
    use TaskStatus::{Completed, Eligible, Failed, Pending, Running, Skipped};

    let store = H::new()?;
    let repo = store.open()?;
    let done = [
        (Completed, Hard),
        (Skipped, Hard),
        (Failed, Soft),
        (Failed, Skip),
    ];
    let not_done = [
        (Pending, Soft),
        (Eligible, Soft),
        (Running, Skip),
        (Failed, Hard),
    ];
    for (number, (status, mode)) in done.into_iter().chain(not_done).enumerate() {
        let dependency = id(&format!("d{number}"));
        repo.save_task(
            &NewTask::new(dependency.clone(), "D")
                .failure_mode(mode)
                .status(status),
        )?;
        let waits = id(&format!("w{number}"));
        repo.save_task(&NewTask::new(waits, "W").depends_on([dependency]))?;
    }
    let ready = repo.ready_tasks()?;
    // d4 is pending and d5 is eligible, and neither has dependencies.
    assert_eq!(ids(&ready), ["w0", "w1", "w2", "w3", "d4", "d5"]);
    assert_eq!(ready[0].depends_on, [id("d0")]);

    repo.update_task_status(&id("w7"), Eligible)?;
    assert_eq!(
        repo.ready_tasks()?.len(),
        6,
        "w7 waits for d7, which failed"
    );

    // One blocking dependency is enough.
    let both = NewTask::new(id("both"), "B").depends_on([id("d0"), id("d7")]);
    repo.save_task(&both)?;
    assert!(!ids(&repo.ready_tasks()?).contains(&"both"));
    repo.update_task_status(&id("d7"), Completed)?;
    assert!(ids(&repo.ready_tasks()?).contains(&"both"));
    Ok(())
}

/// Each task is ready, running, blocked or ended, and `progress` agrees with `ready_tasks`.
pub fn progress_counts_every_task_once<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let progress = repo.progress()?;
    assert_eq!(
        (progress.ready, progress.running, progress.ended),
        (0, 0, 0)
    );
    assert!(progress.blocked.is_empty());
    for (number, status) in TaskStatus::ALL.iter().enumerate() {
        for mode in [FailureMode::Hard, FailureMode::Soft, FailureMode::Skip] {
            let dependency = id(&format!("{number} {mode}"));
            let task = NewTask::new(dependency.clone(), "D").status(*status);
            repo.save_task(&task.failure_mode(mode))?;
            for status in TaskStatus::ALL {
                let waits = id(&format!("{number} {mode} {status}"));
                let task = NewTask::new(waits, "W").status(*status);
                repo.save_task(&task.depends_on([dependency.clone()]))?;
            }
        }
    }
    let progress = repo.progress()?;
    assert_eq!(progress.ready, repo.ready_tasks()?.len() as u64);
    assert_eq!(progress.running, 3 + 18);
    assert_eq!(progress.ended, 9 + 54);
    // Pending and eligible dependants of a task that has not ended, or has failed hard.
    assert_eq!(progress.blocked.len(), 2 * (9 + 1));
    let all = repo.get_tasks()?.len() as u64;
    let counted = progress.ready + progress.running + progress.ended;
    assert_eq!(counted + progress.blocked.len() as u64, all);
    Ok(())
}

/// The cause of a blocked task is a failed one that it waits for, directly or not, or else a dependency.
pub fn progress_names_the_task_that_stops_another<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let task = |task: &str, depends_on: &[&str]| {
        NewTask::new(id(task), "T").depends_on(depends_on.iter().map(|it| id(it)))
    };
    repo.save_tasks(&[
        task("broken", &[]).status(TaskStatus::Failed),
        task("running", &[]).status(TaskStatus::Running),
        task("ready", &[]),
        task("direct", &["broken", "ready", "running"]),
        task("far", &["ready", "direct"]).status(TaskStatus::Eligible),
        task("farther", &["far", "running"]),
        task("waits", &["ready", "running"]),
        task("waits for it", &["waits"]),
    ])?;
    let causes = || -> anyhow::Result<Vec<String>> {
        let blocked = repo.progress()?.blocked.into_iter();
        let causes = blocked.map(|it| format!("{}: {} {}", it.id, it.cause, it.cause_status));
        Ok(causes.collect())
    };
    let expected = [
        "direct: broken failed",
        "far: broken failed",
        "farther: broken failed",
        "waits: ready pending",
        "waits for it: waits pending",
    ];
    assert_eq!(causes()?, expected);
    repo.update_task_status(&id("broken"), TaskStatus::Completed)?;
    repo.update_task_status(&id("ready"), TaskStatus::Skipped)?;
    let expected = [
        "direct: running running",
        "far: direct pending",
        "farther: far eligible",
        "waits: running running",
        "waits for it: waits pending",
    ];
    assert_eq!(causes()?, expected);
    Ok(())
}

/// `claim_task` claims only a free task, and one of several threads wins.
pub fn claim_task_has_one_winner<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for status in TaskStatus::ALL {
        repo.update_task_status(&task, *status)?;
        let free = matches!(status, TaskStatus::Pending | TaskStatus::Eligible);
        assert_eq!(repo.claim_task(&task)?, free, "{status}");
        let expected = if free { TaskStatus::Running } else { *status };
        assert_eq!(repo.get_task(&task)?.status, expected);
    }
    assert!(matches!(
        repo.claim_task(&id("none")).unwrap_err().kind(),
        ErrorKind::TaskNotFound
    ));

    for _ in 0..20 {
        repo.update_task_status(&task, TaskStatus::Pending)?;
        let winners: usize = std::thread::scope(|scope| {
            let claims: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| repo.claim_task(&task)))
                .collect();
            claims
                .into_iter()
                .map(|claim| usize::from(claim.join().unwrap().unwrap()))
                .sum()
        });
        assert_eq!(winners, 1);
    }
    Ok(())
}

/// `requeue_running` sets every running task, and no other, to pending.
pub fn requeue_running<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open_with(Options::new().timeout(Duration::from_secs(10)))?;
    for (name, status) in [
        ("b", TaskStatus::Running),
        ("a", TaskStatus::Running),
        ("B", TaskStatus::Running),
        ("c", TaskStatus::Completed),
    ] {
        repo.save_task(&NewTask::new(id(name), "N").status(status))?;
    }
    assert_eq!(repo.requeue_running()?, [id("B"), id("a"), id("b")]);
    assert_eq!(repo.requeue_running()?, []);
    assert_eq!(repo.get_task(&id("a"))?.status, TaskStatus::Pending);
    assert_eq!(repo.get_task(&id("c"))?.status, TaskStatus::Completed);
    Ok(())
}
