//! Many threads and processes on one store.

use std::collections::HashSet;
use std::time::Duration;

use turnkeep_repo::{Error, NewTask, Repo, Role};

use crate::support::{TempStore, Worker, contents, worker_command};

#[test]
fn the_repo_can_be_shared_between_threads() {
    fn check<T: Clone + Send + Sync + 'static>() {}
    check::<Repo>();
}

#[test]
fn threads_append_without_gap_or_loss() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = store.open_with_task("t")?;
    let seqs: Vec<i64> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (repo, task) = (repo.clone(), &task);
                scope.spawn(move || -> Vec<i64> {
                    let append = |n| repo.save_message(task, Role::User, &format!("{writer}-{n}"));
                    (0..50).map(|number| append(number).unwrap()).collect()
                })
            })
            .collect();
        writers
            .into_iter()
            .flat_map(|writer| {
                let seqs = writer.join().unwrap();
                assert!(seqs.is_sorted(), "a thread's own appends keep their order");
                seqs
            })
            .collect()
    });
    assert_eq!(
        seqs.iter().collect::<HashSet<_>>().len(),
        400,
        "no seq is given out twice"
    );
    assert_eq!(contents(&repo, &task)?.len(), 400);
    Ok(())
}

#[test]
fn readers_do_not_wait_for_a_writer() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (_, task) = store.open_with_task("t")?;
    let repo = Repo::builder(store.path())
        .timeout(Duration::from_secs(2))
        .open()?;
    repo.save_message(&task, Role::User, "before")?;
    let mut holder = store.worker("hold-lock", &[])?;
    assert_eq!(holder.line()?.as_deref(), Some("held"));
    assert_eq!(contents(&repo, &task)?, ["before"]);
    assert_eq!(repo.list_tasks()?.len(), 1);
    let another = Repo::open(store.path())?;
    assert_eq!(contents(&another, &task)?, ["before"], "nor does opening");
    holder.finish()?;
    Ok(())
}

#[test]
fn a_held_lock_is_busy_after_the_timeout_and_no_harm() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (_, task) = store.open_with_task("t")?;
    let timeout = Duration::from_millis(150);
    let repo = Repo::builder(store.path()).timeout(timeout).open()?;
    let mut holder = store.worker("hold-lock", &[])?;
    assert_eq!(holder.line()?.as_deref(), Some("held"));

    // Some wait for the lock, the others for their turn to wait.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let error = repo.save_message(&task, Role::User, "lost").unwrap_err();
                assert!(matches!(&error, Error::Busy { timeout: t, .. } if *t == timeout));
                assert!(error.is_retryable());
                assert_eq!(
                    error.to_string(),
                    "save_message: task `t` was kept busy by others for 150ms"
                );
            });
        }
    });
    holder.finish()?;
    assert_eq!(repo.save_message(&task, Role::User, "stored")?, 1);
    assert_eq!(contents(&repo, &task)?, ["stored"]);
    Ok(())
}

#[test]
fn a_short_lock_is_waited_for() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (_, task) = store.open_with_task("t")?;
    // More milliseconds than SQLite can count.
    let repo = Repo::builder(store.path()).timeout(Duration::MAX).open()?;
    let mut holder = store.worker("hold-lock", &[])?;
    assert_eq!(holder.line()?.as_deref(), Some("held"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| repo.save_message(&task, Role::User, "stored"));
        holder.go();
        assert_eq!(waiting.join().unwrap().unwrap(), 1);
    });
    Ok(())
}

#[test]
fn two_processes_append() -> anyhow::Result<()> {
    appending_processes(2, 200)
}

#[test]
fn sixteen_processes_append() -> anyhow::Result<()> {
    appending_processes(16, 25)
}

fn appending_processes(processes: usize, each: usize) -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = store.open_with_task("t")?;
    let each_text = each.to_string();
    let workers = (0..processes)
        .map(|writer| store.worker("append", &["t", &format!("w{writer}"), &each_text]))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut acknowledged = Vec::new();
    for worker in workers {
        acknowledged.extend(worker.finish()?);
    }
    let stored: HashSet<String> = contents(&repo, &task)?
        .into_iter()
        .zip(1..)
        .map(|(content, seq)| format!("ack {seq} {content}"))
        .collect();
    assert_eq!(acknowledged.len(), processes * each);
    assert_eq!(acknowledged.into_iter().collect::<HashSet<_>>(), stored);
    Ok(())
}

#[test]
fn sixteen_processes_make_one_store() -> anyhow::Result<()> {
    for _ in 0..5 {
        let store = TempStore::new()?;
        let path = store.folder().join("new/folder/store.db");
        let mut workers = (0..16)
            .map(|_| Worker::start(worker_command("open").arg(&path)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        workers.iter_mut().for_each(Worker::go);
        for worker in workers {
            assert_eq!(worker.finish()?, ["opened"]);
        }
        assert!(Repo::open(&path)?.list_tasks()?.is_empty());
    }
    Ok(())
}

#[test]
fn one_process_wins_a_task() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let repo = store.open()?;
    for number in 0..5 {
        let id = format!("t{number}");
        repo.save_task(&NewTask::new(id.parse()?, "T"))?;
        let workers = (0..6)
            .map(|_| store.worker("claim", &[&id]))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut answers = Vec::new();
        for worker in workers {
            answers.extend(worker.finish()?);
        }
        answers.sort();
        assert_eq!(
            answers,
            ["false", "false", "false", "false", "false", "true"]
        );
    }
    Ok(())
}

#[test]
fn two_repos_in_one_process_share_a_file() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (first, task) = store.open_with_task("t")?;
    first.save_message(&task, Role::User, "1")?;
    // Opening and closing must not drop the locks that the first one holds.
    for number in 2..=20 {
        let second = store.open()?;
        second.save_message(&task, Role::User, &number.to_string())?;
        drop(second);
        assert_eq!(
            first.save_message(&task, Role::User, "again")?,
            number * 2 - 1
        );
    }
    assert_eq!(contents(&first, &task)?.len(), 39);
    Ok(())
}
