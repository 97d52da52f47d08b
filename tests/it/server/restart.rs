//! One server that dies and comes back, under writers that stay.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use turnkeep_repo::{Repo, Seq, TaskId};
use turnkeep_test_postgres::{Pooler, Server};

use super::persistent::append;
use crate::support::{contents, save_task};

const WRITERS: usize = 3;

/// Longer than any of it takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn a_server_that_restarts_is_found_again() -> anyhow::Result<()> {
    let server = Server::start(&[])?;
    let database = server.database()?;
    survives_restarts(&server, &database.url())
}

/// The pooler says in its own words that its server is gone.
#[test]
fn a_server_that_restarts_is_found_again_through_a_pooler() -> anyhow::Result<()> {
    let server = Server::start(&[])?;
    let database = server.database()?;
    let pooler = Pooler::start(&server, 2)?;
    survives_restarts(&server, &pooler.url(&database))
}

fn survives_restarts(server: &Server, url: &str) -> anyhow::Result<()> {
    let repo = Repo::open(url)?;
    let task = save_task(&repo, "t")?;
    let mut acknowledged = Vec::new();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (sender, receiver) = channel();
                let (repo, task) = (&repo, &task);
                scope.spawn(move || write(repo, task, &format!("w{writer}"), &sender));
                receiver
            })
            .collect();
        // Each of them has got further since the server came back, or ended with an error.
        let mut wait = |writers: &[Receiver<_>]| -> anyhow::Result<()> {
            for writer in writers {
                acknowledged.extend(writer.try_iter().collect::<anyhow::Result<Vec<_>>>()?);
                for _ in 0..5 {
                    acknowledged.push(writer.recv_timeout(LIMIT)??);
                }
            }
            Ok(())
        };
        wait(&writers)?;
        for end in [Server::kill, Server::stop, Server::kill, Server::stop] {
            end(server)?;
            server.start_again()?;
            wait(&writers)?;
        }
        // They end when nobody listens any more.
        anyhow::Ok(())
    })?;
    let stored = contents(&repo, &task)?;
    for (seq, content) in acknowledged {
        assert_eq!(stored[usize::try_from(seq.get())? - 1], content);
    }
    for writer in 0..WRITERS {
        let count = stored
            .iter()
            .filter_map(|content| content.strip_prefix(&format!("w{writer}-")))
            .zip(1_u64..)
            .map(|(number, expected)| assert_eq!(number, expected.to_string()))
            .count();
        assert!(count > 0);
    }
    Ok(())
}

fn write(repo: &Repo, task: &TaskId, writer: &str, tell: &Sender<anyhow::Result<(Seq, String)>>) {
    for number in 1.. {
        let seq = append(task, writer, number, |task, messages| {
            repo.save_messages(task, messages)
        });
        let is_over = seq.is_err();
        let told = tell.send(seq.map(|seq| (seq, format!("{writer}-{number}"))));
        if is_over || told.is_err() {
            break;
        }
    }
}
