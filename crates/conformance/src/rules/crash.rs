//! Processes killed while they write or create a store.

use std::collections::HashSet;

use turnkeep_repo::Role;

use crate::scene::{contents, open_with_task};
use crate::{Harness, Store, Worker};

/// Acknowledged writes survive `kill -9`.
///
/// In each of 13 rounds two writers are killed after 1 to 13 acknowledgements. Every acknowledged
/// message is then stored once, in order.
pub fn kill_nine_loses_no_acknowledged_write<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    drop(repo);
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..13 {
        let mut workers = [0, 1]
            .map(|writer| {
                Worker::start(&store, &["append", "t", &format!("r{round}w{writer}"), "0"])
            })
            .into_iter()
            .collect::<anyhow::Result<Vec<Worker>>>()?;
        for _ in 0..=round {
            for worker in &mut workers {
                acknowledged.push(worker.line()?.expect("the worker goes on until killed"));
            }
        }
        for worker in workers {
            // Lines in the pipe are acknowledged as well, except for a torn last one.
            acknowledged.extend(
                worker
                    .kill()?
                    .into_iter()
                    .filter(|line| line.ends_with(|c: char| c.is_ascii_digit())),
            );
        }

        let repo = store.open()?;
        let stored = contents(&repo, &task)?;
        for line in &acknowledged {
            let mut words = line.split(' ').skip(1);
            let seq: usize = words.next().expect("a seq").parse()?;
            assert_eq!(
                stored.get(seq - 1).map(String::as_str),
                words.next(),
                "round {round}: {line}"
            );
        }
        let distinct: HashSet<_> = stored.iter().collect();
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
    store.check()
}

/// A transaction that is killed in the middle leaves nothing, and an acknowledged one is whole.
pub fn kill_nine_leaves_whole_transactions<H: Harness>() -> anyhow::Result<()> {
    for round in 1..=6 {
        let store = H::new()?;
        let (repo, task) = open_with_task(&store, "t")?;
        let mut worker = Worker::start(&store, &["checkpoint", "t"])?;
        // Odd rounds kill in the middle of a transaction, even rounds after one.
        for _ in 0..round {
            worker.line()?.expect("the worker goes on until killed");
        }
        let rest = worker.kill()?;
        let acknowledged = round / 2 + rest.iter().filter(|it| it.starts_with("ack ")).count();

        // Waits for the end of the transaction, which a server may notice later.
        repo.save_message(&task, Role::User, "last")?;
        let turns = contents(&repo, &task)?;
        let stored = turns.len() / 2;
        let expected = (1..=stored).flat_map(|number| [format!("s{number}"), format!("s{number}")]);
        assert_eq!(turns, expected.chain(["last".into()]).collect::<Vec<_>>());
        assert!(
            stored == acknowledged || stored == acknowledged + 1,
            "{stored}"
        );
        assert_eq!(repo.list_session_revisions(&task)?.len(), stored);
        assert_eq!(repo.get_tasks()?.len(), 1 + stored);
        drop(repo);
        store.check()?;
    }
    Ok(())
}

/// A store whose creation is killed can be opened and used.
pub fn kill_nine_during_creation_leaves_a_usable_store<H: Harness>() -> anyhow::Result<()> {
    for round in 0..8 {
        let store = H::new()?;
        let mut workers = (0..4)
            .map(|_| Worker::start(&store, &["open"]))
            .collect::<anyhow::Result<Vec<_>>>()?;
        workers.iter_mut().for_each(Worker::go);
        if round % 2 == 0 {
            // Odd rounds kill at the start.
            workers[0].line()?;
        }
        for worker in workers {
            worker.kill()?;
        }
        let (repo, task) = open_with_task(&store, "t")?;
        assert_eq!(repo.save_message(&task, Role::User, "works")?, 1);
        drop(repo);
        store.check()?;
    }
    Ok(())
}
