//! Processes that are killed in the middle of their work.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;
use turnkeep_repo::{Repo, Role};

use crate::support::{TempStore, Worker, contents, worker_command};

#[derive(QueryableByName)]
struct IntegrityCheck {
    #[diesel(sql_type = Text)]
    integrity_check: String,
}

fn assert_sound(store: &TempStore) -> anyhow::Result<()> {
    let answers: Vec<IntegrityCheck> =
        sql_query("PRAGMA integrity_check").load(&mut store.raw()?)?;
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.integrity_check)
        .collect();
    assert_eq!(answers, ["ok"]);
    let violations = sql_query("PRAGMA foreign_key_check").execute(&mut store.raw()?)?;
    assert_eq!(violations, 0);
    Ok(())
}

/// Fifty rounds: two writers, killed after a number of acknowledgements that differs from round
/// to round. Everything acknowledged is there, once, in order.
#[test]
fn kill_nine_loses_nothing_acknowledged() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = store.open_with_task("t")?;
    drop(repo);
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..50 {
        let mut workers = [0, 1]
            .map(|writer| store.worker("append", &["t", &format!("r{round}w{writer}"), "0"]))
            .into_iter()
            .collect::<anyhow::Result<Vec<Worker>>>()?;
        for _ in 0..(round * 7 % 13) + 1 {
            for worker in &mut workers {
                acknowledged.push(worker.line()?.expect("the worker goes on until killed"));
            }
        }
        for worker in workers {
            // What stood on the pipe at the kill was acknowledged too; a torn last line was not.
            acknowledged.extend(
                worker
                    .kill()?
                    .into_iter()
                    .filter(|line| line.ends_with(|c: char| c.is_ascii_digit())),
            );
        }

        let repo = store.open()?;
        let stored = contents(&repo, &task)?;
        for line in acknowledged.drain(..) {
            let mut words = line.split(' ').skip(1);
            let seq: usize = words.next().expect("a seq").parse()?;
            assert_eq!(
                stored.get(seq - 1).map(String::as_str),
                words.next(),
                "round {round}: {line}"
            );
        }
        let distinct: std::collections::HashSet<_> = stored.iter().collect();
        assert_eq!(
            distinct.len(),
            stored.len(),
            "round {round}: nothing is there twice"
        );
        for writer in ["w0", "w1"] {
            let numbers: Vec<u64> = stored
                .iter()
                .filter_map(|content| content.strip_prefix(&format!("r{round}{writer}-")))
                .map(|number| number.parse().expect("a number"))
                .collect();
            assert!(
                numbers.iter().copied().eq(1..=numbers.len() as u64),
                "round {round}: in order"
            );
        }
    }
    assert_sound(&store)
}

/// Killed while opening and migrating: the next start finds either nothing or a whole store.
#[test]
fn kill_nine_while_the_store_is_made() -> anyhow::Result<()> {
    for round in 0..20 {
        let store = TempStore::new()?;
        let mut workers = (0..4)
            .map(|_| Worker::start(worker_command("open").arg(store.path())))
            .collect::<anyhow::Result<Vec<_>>>()?;
        workers.iter_mut().for_each(Worker::go);
        if round % 2 == 0 {
            // At some point of its work; in the odd rounds, right at the start.
            workers[0].line()?;
        }
        for worker in workers {
            worker.kill()?;
        }
        let (repo, task) = store.open_with_task("t")?;
        assert_eq!(repo.save_message(&task, Role::User, "works")?, 1);
        drop(repo);
        assert_sound(&store)?;
    }
    Ok(())
}

/// A crash leaves a log behind; the next start reads it, and the last clean end removes it.
#[test]
fn the_log_of_a_killed_process_is_read() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = store.open_with_task("t")?;
    drop(repo);
    let mut worker = store.worker("append", &["t", "w", "0"])?;
    worker.line()?;
    worker.kill()?;
    let log = store.folder().join("store.db-wal");
    assert!(
        std::fs::metadata(&log)?.len() > 0,
        "the writes stand in the log"
    );
    let repo = Repo::open(store.path())?;
    assert!(repo.count_history(&task)? >= 1);
    drop(repo);
    assert!(!log.exists());
    Ok(())
}
