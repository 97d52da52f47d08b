//! Copies that are killed in the middle.

use std::collections::HashSet;

use super::scene::{name, noise};
use super::{Place, copy_all, from_each_to_each, id, written};
use crate::support::Worker;

from_each_to_each![kill_nine_in_the_middle_of_a_copy];

/// Twelve thousand turns in 1,500 tasks, in SQL because that is faster.
fn fill_fast() -> anyhow::Result<Place> {
    let place = Place::file()?;
    drop(place.open()?);
    place.execute(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1500) \
         INSERT INTO tasks SELECT printf('t%04d', n), 'N', NULL, '', '[]', 'pending', 'hard', \
             NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, n, n, n, n FROM n; \
         INSERT INTO task_dependencies SELECT id, 't0700' FROM tasks WHERE rowid % 3 = 0 \
             AND id <> 't0700'; \
         INSERT INTO sessions SELECT id, 'codex', id, NULL, NULL, NULL, 5, 5 FROM tasks WHERE rowid % 2 = 0; \
         UPDATE sessions SET session_id = 'x', updated_at = 6 WHERE task_id > 't1000'; \
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5) \
         INSERT INTO conversation_history SELECT id, n, 'user', n, printf('k%d', n), \
             printf('%d of %s', n, id), NULL, NULL FROM tasks, n; \
         WITH RECURSIVE n (n) AS (SELECT 6 UNION ALL SELECT n + 1 FROM n WHERE n < 5000) \
         INSERT INTO conversation_history SELECT 't0800', n, 'tool', n, NULL, printf('%0300d', n), \
             NULL, NULL FROM n",
    )?;
    let repo = place.open()?;
    for (task, length) in [
        ("t0001", 9 * 1024 * 1024),
        ("t0700", 10),
        ("t0900", 1024 * 1024),
    ] {
        repo.save_recording(&id(task), &name("a"), 0, &noise(1, length))?;
    }
    Ok(place)
}

/// Has another process copy, and kills it when it has told of its progress so often. Returns
/// whether it had come to its end before that.
fn copy_and_kill(from: &Place, to: &Place, after: usize) -> anyhow::Result<bool> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_turnkeep-test-worker"));
    command.arg("copy").arg(from.address()).arg(to.address());
    let mut worker = Worker::spawn(&mut command)?;
    for _ in 0..after {
        if worker.line()?.as_deref() == Some("copied") {
            worker.finish()?;
            return Ok(true);
        }
    }
    worker.kill()?;
    Ok(false)
}

/// Kills a copy again and again, a little later each time, until one gets to its end.
fn kill_nine_in_the_middle_of_a_copy(from: &Place, to: &Place) -> anyhow::Result<()> {
    let filled = fill_fast()?;
    copy_all(&filled.open()?, &from.open()?)?;
    let whole = filled.rows()?;
    let rows: HashSet<&String> = whole.iter().collect();
    drop(to.open()?);
    let mut kills = 0;
    while !copy_and_kill(from, to, 1 + kills)? {
        kills += 1;
        let part = to.rows()?;
        assert!(part.iter().all(|row| rows.contains(row)), "kill {kills}");
    }
    assert!(kills > 20, "{kills} were killed in the middle");
    assert!(to.rows()? == whole);
    let report = copy_all(&from.open()?, &to.open()?)?;
    assert_eq!(written(&report), [0; 9]);
    Ok(())
}
