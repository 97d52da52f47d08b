//! The needs of an orchestrator, one test each, in the calls that an orchestrator writes for them. Its larger needs
//! are in `examples/orchestrator.rs`: a plan, a restart, renewed leases, checkpoints, and a second process that follows.

use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use turnkeep_repo::chrono::{TimeDelta, Utc};
use turnkeep_repo::{
    BackendType, ClaimFilter, ErrorKind, Metadata, NewSession, NewTask, Role, StatusUpdate, TaskId,
    TaskQuery, TaskStatus, WorkerId,
};

use crate::support::{Harness, Options, Store};
use turnkeep_conformance::Claimed as _;

const LEASE: Duration = Duration::from_secs(60);

fn task(id: &str) -> anyhow::Result<NewTask> {
    Ok(NewTask::new(id.parse()?, format!("Task {id}")))
}

/// Two people choose the same task in a board; the first one closes it again.
pub fn a_person_opens_a_chosen_task<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let repo = place.open()?;
    repo.save_tasks(&[task("login")?, task("logout")?])?;
    let login: TaskId = "login".parse()?;
    let (ada, bob) = (WorkerId::new("ada")?, WorkerId::new("bob")?);

    let opened = repo.claim(&login, &ada, LEASE)?.context("free")?;
    assert_eq!(opened.task.name, "Task login");
    assert!(repo.claim(&login, &bob, LEASE)?.is_none());

    H::Store::fenced(&opened).release()?;
    ensure!(repo.claim(&login, &bob, LEASE)?.is_some());
    assert!(H::Store::fenced(&opened).lost()?);
    Ok(())
}

/// The machine with the graphics card takes the tasks that need one, and none that begins tomorrow.
pub fn a_worker_takes_the_tasks_for_its_machine<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let repo = place.open()?;
    let gpu = Metadata::new(r#"{"pool":"gpu"}"#)?;
    repo.save_tasks(&[
        task("review")?.agent_role("reviewer"),
        task("train")?.agent_role("coder").metadata(gpu.clone()),
        task("retrain")?
            .agent_role("coder")
            .metadata(gpu)
            .not_before(Utc::now() + TimeDelta::days(1)),
    ])?;
    let filter = ClaimFilter::new()
        .agent_role("coder")
        .metadata("pool", "gpu");
    let claims = repo.claim_matching(&WorkerId::new("gpu-1")?, &filter, 4, LEASE)?;
    assert!(
        claims
            .iter()
            .map(|claim| claim.task.id.as_str())
            .eq(["train"])
    );
    Ok(())
}

/// Two tasks that are ready would edit the same file.
pub fn two_agents_never_write_one_file<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let repo = place.open()?;
    repo.save_tasks(&[
        task("a")?.writes_files(["src/main.rs"]),
        task("b")?.writes_files(["src/main.rs", "README.md"]),
        task("c")?.writes_files(["docs/manual.md"]),
    ])?;
    let worker = WorkerId::new("machine-1")?;
    let claims = repo.claim_ready(&worker, 4, LEASE)?;
    assert!(
        claims
            .iter()
            .map(|claim| claim.task.id.as_str())
            .eq(["a", "c"])
    );
    assert!(repo.claim(&"b".parse()?, &worker, LEASE)?.is_none());

    H::Store::fenced(&claims[0]).update_task_status(StatusUpdate::completed("merged"))?;
    ensure!(repo.claim(&"b".parse()?, &worker, LEASE)?.is_some());
    Ok(())
}

/// A worker is started again under its name while its old process still writes.
pub fn a_restarted_worker_goes_on<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let repo = place.open()?;
    repo.save_task(&task("build")?)?;
    let worker = WorkerId::new("machine-1/slot-3")?;
    let before = repo.claim_ready(&worker, 1, LEASE)?.remove(0);

    let after = repo.reclaim(&worker, LEASE)?.remove(0);
    assert!(after.fence > before.fence);
    assert!(H::Store::fenced(&before).lost()?);
    let refused = H::Store::fenced(&before).save_message(Role::Assistant, "Done.");
    let error = refused.err().context("refused")?;
    ensure!(
        matches!(error.kind(), ErrorKind::LeaseLost { .. }),
        "{error:?}"
    );

    H::Store::fenced(&after).save_message(Role::Assistant, "Done.")?;
    assert_eq!(repo.count_history(&after.task.id)?, 1);
    Ok(())
}

/// A hook that an agent runs knows the agent's session only.
pub fn a_hook_finds_the_task_of_its_session<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let repo = place.open()?;
    let plan = task("login")?;
    repo.save_task(&plan)?;
    let session = NewSession::new(BackendType::Claude, "6f1d2c3b".parse()?);
    repo.save_session(&plan.id, &session)?;

    let found = repo.find_task_by_session(&BackendType::Claude, &"6f1d2c3b".parse()?)?;
    assert_eq!(found, Some(plan.id));
    let other = repo.find_task_by_session(&BackendType::Codex, &"6f1d2c3b".parse()?)?;
    assert_eq!(other, None);
    Ok(())
}

/// A board of a hundred tasks shows the failed ones first, in pages, without reading a text.
pub fn a_board_lists_tasks_in_pages<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let repo = place.open()?;
    let plan = (0..100).map(|number| {
        let status = if number % 4 == 0 {
            TaskStatus::Failed
        } else {
            TaskStatus::Pending
        };
        anyhow::Ok(
            task(&format!("task-{number:02}"))?
                .prompt("Long.")
                .status(status),
        )
    });
    repo.save_tasks(&plan.collect::<Result<Vec<_>, _>>()?)?;
    repo.save_message(&"task-04".parse()?, Role::User, "Why did it fail?")?;

    let mut query = TaskQuery::new().statuses([TaskStatus::Failed]).limit(10);
    let mut shown = Vec::new();
    loop {
        let page = repo.list_tasks(&query)?;
        shown.extend(page.tasks);
        match page.next {
            Some(next) => query = query.after(next),
            None => break,
        }
    }
    assert_eq!(shown.len(), 25);
    let asked = shown
        .iter()
        .find(|task| task.turns == 1)
        .context("a turn")?;
    assert_eq!(
        (asked.id.as_str(), &*asked.name),
        ("task-04", "Task task-04")
    );
    Ok(())
}

/// The build has failed: which tasks can't start any more, and which can?
pub fn a_failed_task_stops_its_dependents<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let repo = place.open()?;
    repo.save_tasks(&[
        task("release")?.depends_on(["tests".parse()?]),
        task("tests")?.depends_on(["build".parse()?]),
        task("build")?.status(StatusUpdate::failed("no compiler")),
        task("manual")?,
    ])?;
    let progress = repo.progress()?;
    assert_eq!(
        (progress.ready, progress.running, progress.ended),
        (1, 0, 1)
    );
    for blocked in &progress.blocked {
        assert_eq!(blocked.cause.as_str(), "build", "{}", blocked.id);
        assert_eq!(blocked.cause_status, TaskStatus::Failed);
    }
    assert_eq!(progress.blocked.len(), 2);
    Ok(())
}

/// A scheduler of its own marks the tasks that may start.
pub fn an_eligible_task_is_ready<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let repo = place.open()?;
    repo.save_tasks(&[task("a")?, task("b")?.depends_on(["a".parse()?])])?;
    for id in ["a", "b"] {
        repo.update_task_status(&id.parse()?, TaskStatus::Eligible)?;
    }
    let ready = repo.ready_tasks()?;
    assert!(ready.iter().map(|task| task.id.as_str()).eq(["a"]));
    assert_eq!(repo.progress()?.ready, 1);
    let claims = repo.claim_ready(&WorkerId::new("w")?, 4, LEASE)?;
    assert!(claims.iter().map(|claim| claim.task.id.as_str()).eq(["a"]));
    Ok(())
}

/// A window shows a conversation while the agent goes on, and polls nothing.
pub fn a_window_shows_turns_as_they_come<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let repo = place.open()?;
    let plan = task("login")?;
    repo.save_task(&plan)?;
    let agent = thread::spawn({
        let (repo, id) = (repo.clone(), plan.id.clone());
        move || -> turnkeep_repo::Result<()> {
            for step in ["I read the code.", "I found it.", "It is mended."] {
                repo.save_message(&id, Role::Assistant, step)?;
            }
            Ok(())
        }
    });
    let (mut shown, mut last_seq) = (Vec::new(), None);
    while shown.len() < 3 {
        for turn in repo.wait_for_turns(&plan.id, last_seq, Duration::MAX)? {
            last_seq = Some(turn.seq);
            shown.push(turn.content);
        }
    }
    assert_eq!(shown, ["I read the code.", "I found it.", "It is mended."]);
    agent
        .join()
        .map_err(|_| anyhow::anyhow!("the agent panicked"))??;
    Ok(())
}

/// A viewer can't change the store, whatever it calls.
pub fn a_viewer_cannot_write<H: Harness>() -> anyhow::Result<()> {
    let place = H::new()?;
    let repo = place.open()?;
    let plan = task("login")?;
    repo.save_task(&plan)?;
    let viewer = place.open_with(Options::new().read_only())?;

    repo.save_message(&plan.id, Role::Assistant, "I read the code.")?;
    let shown = viewer.wait_for_turns(&plan.id, None, Duration::MAX)?;
    assert_eq!(shown[0].content, "I read the code.");
    let refused = viewer.save_message(&plan.id, Role::User, "Stop.").err();
    let error = refused.context("refused")?;
    ensure!(*error.kind() == ErrorKind::ReadOnly, "{error:?}");
    assert_eq!(repo.count_history(&plan.id)?, 1);
    Ok(())
}
