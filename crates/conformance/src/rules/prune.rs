//! Pruning finished tasks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use turnkeep_admin::{Prune, PruneReport};
use turnkeep_repo::chrono::{TimeDelta, Utc};
use turnkeep_repo::{
    BackendType, ErrorKind, NewMessage, NewTask, Role, SessionId, StatusUpdate, TaskId, TaskStatus,
};

use crate::scene::{binding, save_task};
use crate::{Harness, Options, Store};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn save(repo: &impl Store, id: &str, status: TaskStatus, depends_on: &[&str]) {
    let ids = depends_on.iter().map(|id| TaskId::new(*id).unwrap());
    let task = NewTask::new(TaskId::new(id).unwrap(), "").status(status);
    repo.save_task(&task.depends_on(ids)).unwrap();
}

fn ids(report: &PruneReport) -> Vec<&str> {
    report.tasks.iter().map(|task| task.id.as_str()).collect()
}

fn left(repo: &impl Store) -> Vec<String> {
    let tasks = repo.get_tasks().unwrap();
    let mut ids: Vec<_> = tasks.iter().map(|task| task.id.to_string()).collect();
    ids.sort_unstable();
    ids
}

/// `prune` deletes only finished tasks, and only those with a requested status.
pub fn only_finished_tasks_are_deleted<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    for status in TaskStatus::ALL {
        save(&repo, status.as_str(), *status, &[]);
    }
    let rule = Prune::new().status(TaskStatus::Failed);
    assert_eq!(ids(&turnkeep_admin::prune(repo.repo(), &rule)?), ["failed"]);
    assert_eq!(
        ids(&turnkeep_admin::prune(repo.repo(), &rule)?),
        [""; 0],
        "gone already"
    );
    let everything = Prune::new().keep_bytes(0);
    let report = turnkeep_admin::prune(repo.repo(), &everything)?;
    let mut gone = ids(&report);
    gone.sort_unstable();
    assert_eq!(gone, ["completed", "skipped"]);
    assert_eq!(left(&repo), ["eligible", "pending", "running"]);
    assert_eq!(report.kept_bytes, 3 * 2, "the empty lists of files");
    Ok(())
}

/// A dry run returns the report of the real run and changes nothing. The real run deletes each task
/// with all its rows.
pub fn a_dry_run_reports_the_same_and_deletes_nothing<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let stays = save_task(&repo, "stays")?;
    repo.save_message(&stays, Role::User, "still here")?;
    let goes = TaskId::new("goes")?;
    repo.save_task(&NewTask::new(goes.clone(), "name").prompt("prompt"))?;
    for said in ["é", "", "x\0"] {
        repo.save_message(&goes, Role::User, said)?;
    }
    repo.save_session(&goes, &binding(BackendType::Claude, "1", None)?)?;
    repo.retire_session(&goes, &SessionId::new("1")?, "dead")?;
    repo.update_task_status(&goes, StatusUpdate::completed("done"))?;
    save(&repo, "waits", TaskStatus::Skipped, &["goes"]);
    let last_active_at = repo.get_task(&goes)?.status_changed_at;

    let rule = Prune::new().status(TaskStatus::Completed);
    let planned = turnkeep_admin::prune(repo.repo(), &rule.clone().dry_run(true))?;
    assert_eq!(ids(&planned), ["goes"]);
    let task = &planned.tasks[0];
    assert_eq!(
        (task.status, task.last_active_at),
        (TaskStatus::Completed, last_active_at)
    );
    // U+0000 is stored as two bytes.
    let bytes = 4 + 6 + 2 + "done".len() + "dead".len() + 2 + 3;
    assert_eq!((task.turns, task.bytes), (3, bytes as u64));
    assert_eq!((planned.turns(), planned.bytes()), (3, bytes as u64));
    // "A task", two lists of files, and the turn.
    assert_eq!(planned.kept_bytes, 6 + 2 + 10 + 2);
    assert_eq!(repo.count_history(&goes)?, 3);

    assert_eq!(turnkeep_admin::prune(repo.repo(), &rule)?, planned);
    assert_eq!(left(&repo), ["stays", "waits"]);
    assert_eq!(repo.count_history(&goes)?, 0);
    assert!(repo.list_session_revisions(&goes)?.is_empty());
    assert!(repo.get_task(&TaskId::new("waits")?)?.depends_on.is_empty());
    assert_eq!(repo.count_history(&stays)?, 1);
    Ok(())
}

/// The age of a task is the time since its last activity, by the clock of the database.
pub fn age_uses_the_database_clock<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    for (id, days) in [("new", 0), ("old", 40), ("older", 50), ("young", 20)] {
        let clock = move || Utc::now() - TimeDelta::days(days);
        let repo = store.open_with(Options::new().clock(clock))?;
        save(&repo, id, TaskStatus::Completed, &[]);
    }
    // The clock of the pruning handle is not used.
    let clock = || Utc::now() + TimeDelta::days(1000);
    let repo = store.open_with(Options::new().clock(clock))?;
    let rule = Prune::new().older_than(30 * DAY);
    assert_eq!(
        ids(&turnkeep_admin::prune(
            repo.repo(),
            &rule.clone().dry_run(true)
        )?),
        ["older", "old"]
    );
    assert_eq!(
        ids(&turnkeep_admin::prune(
            repo.repo(),
            &rule.status(TaskStatus::Failed)
        )?),
        [""; 0]
    );
    assert_eq!(
        ids(&turnkeep_admin::prune(
            repo.repo(),
            &Prune::new().older_than(30 * DAY)
        )?),
        ["older", "old"]
    );
    assert_eq!(
        ids(&turnkeep_admin::prune(
            repo.repo(),
            &Prune::new().older_than(Duration::MAX)
        )?),
        [""; 0]
    );
    assert_eq!(
        ids(&turnkeep_admin::prune(
            repo.repo(),
            &Prune::new().older_than(Duration::ZERO)
        )?),
        ["young", "new"]
    );
    Ok(())
}

/// A turn newer than the limit keeps its task, whatever `updated_at` is and in whatever order the
/// turns came.
pub fn a_recent_turn_keeps_its_task<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    // Each task was completed 50 days ago. The numbers are the ages of its turns in days.
    let tasks: [(&str, &[i64]); 5] = [
        ("silent", &[]),
        ("old", &[60, 31]),
        ("young", &[60, 29]),
        ("young before old", &[1, 60]),
        ("appended now", &[0]),
    ];
    for (id, turns) in tasks {
        let clock = || Utc::now() - TimeDelta::days(50);
        save(
            &store.open_with(Options::new().clock(clock))?,
            id,
            TaskStatus::Completed,
            &[],
        );
        for days in turns {
            let said = NewMessage::new(Role::User, "x");
            let said = said.timestamp(Utc::now() - TimeDelta::days(*days));
            repo.save_messages(&TaskId::new(id)?, &[said])?;
        }
    }
    let report = turnkeep_admin::prune(repo.repo(), &Prune::new().older_than(30 * DAY))?;
    assert_eq!(
        ids(&report),
        ["silent", "old"],
        "least recently active first"
    );
    assert_eq!(left(&repo), ["appended now", "young", "young before old"]);
    Ok(())
}

/// A status update counts as activity. `save_task` does not.
pub fn a_status_change_is_activity_and_save_task_is_not<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    for id in ["planned", "ended"] {
        let clock = || Utc::now() - TimeDelta::days(50);
        let repo = store.open_with(Options::new().clock(clock))?;
        save(&repo, id, TaskStatus::Running, &[]);
        repo.update_task_status(&TaskId::new(id)?, TaskStatus::Completed)?;
    }
    let repo = store.open()?;
    let (planned, ended) = (TaskId::new("planned")?, TaskId::new("ended")?);
    repo.save_task(&NewTask::new(planned.clone(), "another name"))?;
    repo.update_task_status(&ended, StatusUpdate::failed("after all"))?;
    assert!(repo.get_task(&planned)?.updated_at > Utc::now() - TimeDelta::days(1));
    let rule = Prune::new().older_than(30 * DAY);
    assert_eq!(
        ids(&turnkeep_admin::prune(repo.repo(), &rule)?),
        ["planned"]
    );
    Ok(())
}

/// `keep_bytes` deletes the least recently active tasks first.
pub fn the_least_recently_active_are_deleted_first<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    // Days since the task was completed, and days since its only turn.
    for (id, completed, said) in [("a", 4, 1), ("b", 3, 8), ("c", 2, 2), ("d", 9, 5)] {
        let clock = move || Utc::now() - TimeDelta::days(completed);
        let repo = store.open_with(Options::new().clock(clock))?;
        save(&repo, id, TaskStatus::Completed, &[]);
        let said = Utc::now() - TimeDelta::days(said);
        let said = NewMessage::new(Role::User, "x".repeat(98)).timestamp(said);
        repo.save_messages(&TaskId::new(id)?, &[said])?;
    }
    let repo = store.open()?;
    let rule = |keep| Prune::new().keep_bytes(keep);
    assert_eq!(
        ids(&turnkeep_admin::prune(repo.repo(), &rule(0).dry_run(true))?),
        ["d", "b", "c", "a"]
    );
    assert_eq!(
        ids(&turnkeep_admin::prune(repo.repo(), &rule(200))?),
        ["d", "b"]
    );
    Ok(())
}

/// `prune_planned` keeps a task that has since got a turn, another status or a dependent.
pub fn prune_planned_skips_changed_tasks<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    for id in [
        "goes",
        "said",
        "taken up",
        "ended again",
        "waited for",
        "deleted",
    ] {
        save(&repo, id, TaskStatus::Completed, &[]);
    }
    let planned = turnkeep_admin::prune(repo.repo(), &Prune::new().keep_bytes(0).dry_run(true))?;
    assert_eq!(planned.tasks.len(), 6);

    let old = Utc::now() - TimeDelta::days(50);
    let said = NewMessage::new(Role::User, "of long ago").timestamp(old);
    repo.save_messages(&TaskId::new("said")?, &[said])?;
    repo.update_task_status(&TaskId::new("taken up")?, TaskStatus::Running)?;
    repo.update_task_status(&TaskId::new("ended again")?, TaskStatus::Completed)?;
    save(&repo, "waits", TaskStatus::Pending, &["waited for"]);
    repo.delete_task(&TaskId::new("deleted")?)?;
    save(&repo, "new", TaskStatus::Completed, &[]);

    let done = turnkeep_admin::prune_planned(repo.repo(), &planned)?;
    assert_eq!(ids(&done), ["goes"]);
    assert_eq!(done.kept_bytes, 5 * 2, "as it was counted when planned");
    let stay = [
        "ended again",
        "new",
        "said",
        "taken up",
        "waited for",
        "waits",
    ];
    assert_eq!(left(&repo), stay);
    assert_eq!(
        ids(&turnkeep_admin::prune_planned(repo.repo(), &planned)?),
        [""; 0],
        "gone already"
    );
    Ok(())
}

/// A turn acknowledged during a prune is still stored afterwards.
pub fn a_concurrent_append_keeps_its_task<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let clock = || Utc::now() - TimeDelta::days(50);
    let repo = store.open_with(Options::new().clock(clock))?;
    for number in 0..200 {
        save(&repo, &format!("{number:03}"), TaskStatus::Completed, &[]);
    }
    let (repo, other) = (store.open()?, store.open()?);
    let mut kept = Vec::new();
    thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            turnkeep_admin::prune(other.repo(), &Prune::new().older_than(30 * DAY)).unwrap()
        });
        // Append from the end, since the prune starts at the beginning.
        for number in (0..200).rev() {
            let id = format!("{number:03}");
            match repo.save_message(&TaskId::new(id.as_str()).unwrap(), Role::User, "new") {
                Ok(_) => kept.push(id),
                Err(error) if *error.kind() == ErrorKind::TaskNotFound => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        pruning.join().unwrap();
    });
    kept.sort_unstable();
    turnkeep_admin::prune(other.repo(), &Prune::new().older_than(30 * DAY))?;
    assert_eq!(left(&repo), kept);
    for id in &kept {
        assert_eq!(repo.count_history(&TaskId::new(id.as_str())?)?, 1);
    }
    Ok(())
}

/// `keep_bytes` deletes only as many tasks as needed.
pub fn keep_bytes_deletes_no_more_than_needed<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    for (id, days) in [("c", 1), ("a", 2), ("b", 3)] {
        let clock = move || Utc::now() - TimeDelta::days(days);
        let repo = store.open_with(Options::new().clock(clock))?;
        save(&repo, id, TaskStatus::Completed, &[]);
        repo.save_message(&TaskId::new(id)?, Role::User, &"x".repeat(98))?;
    }
    let repo = store.open()?;
    let would_go = |keep| {
        let report =
            turnkeep_admin::prune(repo.repo(), &Prune::new().keep_bytes(keep).dry_run(true))
                .unwrap();
        let tasks: Vec<String> = report
            .tasks
            .iter()
            .map(|task| task.id.to_string())
            .collect();
        (tasks.concat(), report.kept_bytes)
    };
    assert_eq!(would_go(u64::MAX), (String::new(), 300));
    assert_eq!(would_go(300), (String::new(), 300));
    assert_eq!(would_go(299), ("b".into(), 200));
    assert_eq!(would_go(200), ("b".into(), 200));
    assert_eq!(would_go(199), ("ba".into(), 100));
    assert_eq!(would_go(0), ("bac".into(), 0));
    // Tasks that cannot be deleted count as well.
    repo.update_task_status(&TaskId::new("b")?, TaskStatus::Pending)?;
    assert_eq!(would_go(0), ("ac".into(), 100));
    assert_eq!(would_go(250), ("a".into(), 200));
    Ok(())
}

/// Direct and indirect dependencies of an unfinished task are kept.
pub fn dependencies_of_unfinished_tasks_are_kept<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    use TaskStatus::{Completed, Failed, Pending, Running, Skipped};
    save(&repo, "1", Failed, &[]);
    save(&repo, "2", Completed, &["1"]);
    save(&repo, "3", Skipped, &["2"]);
    save(&repo, "4", Pending, &["3"]);
    save(&repo, "5", Completed, &["3", "4"]);
    save(&repo, "6", Completed, &[]);
    save(&repo, "7", Completed, &["6"]);
    save(&repo, "8", Running, &["6"]);
    let all = Prune::new().keep_bytes(0);
    let report = turnkeep_admin::prune(repo.repo(), &all)?;
    let mut gone = ids(&report);
    gone.sort_unstable();
    assert_eq!(gone, ["5", "7"]);
    repo.update_task_status(&TaskId::new("4")?, Completed)?;
    assert_eq!(turnkeep_admin::prune(repo.repo(), &all)?.tasks.len(), 4);
    assert_eq!(left(&repo), ["6", "8"]);
    Ok(())
}

/// An empty rule, or one with the status of an unfinished task, is refused and deletes nothing.
pub fn an_empty_or_impossible_rule_is_refused<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    save(&repo, "t", TaskStatus::Completed, &[]);
    let mut rules = vec![Prune::new(), Prune::new().dry_run(true)];
    for status in [
        TaskStatus::Pending,
        TaskStatus::Eligible,
        TaskStatus::Running,
    ] {
        rules.push(Prune::new().status(TaskStatus::Completed).status(status));
    }
    for rule in rules {
        let error = turnkeep_admin::prune(repo.repo(), &rule).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::InvalidInput { .. }),
            "{error:?}"
        );
        assert_eq!(error.operation(), "prune");
    }
    assert_eq!(left(&repo), ["t"]);
    Ok(())
}

/// A task saved during a prune of its dependency either keeps the dependency or fails with
/// `DependencyNotFound`.
pub fn a_concurrent_dependent_keeps_its_dependency<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, other) = (store.open()?, store.open()?);
    let is_over = AtomicBool::new(false);
    let mut kept = 0;
    thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                turnkeep_admin::prune(other.repo(), &Prune::new().keep_bytes(0)).unwrap();
            }
        });
        for number in 0..100 {
            let done = format!("done {number}");
            save(&repo, &done, TaskStatus::Completed, &[]);
            let depends_on = TaskId::new(done.as_str()).unwrap();
            let waits = NewTask::new(TaskId::new(format!("waits {number}")).unwrap(), "");
            match repo.save_task(&waits.depends_on([depends_on])) {
                Ok(()) => kept += 1,
                Err(error) if matches!(error.kind(), ErrorKind::DependencyNotFound { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        is_over.store(true, Ordering::Relaxed);
        pruning.join().unwrap();
    });
    let tasks = repo.get_tasks()?;
    assert_eq!(
        tasks
            .iter()
            .filter(|task| task.depends_on.len() == 1)
            .count(),
        kept
    );
    turnkeep_admin::prune(other.repo(), &Prune::new().keep_bytes(0))?;
    assert_eq!(repo.get_tasks()?.len(), 2 * kept);
    Ok(())
}
