//! Through pgbouncer, which lends its connections to the server for one transaction each.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::ensure;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Integer, Text};
use tokio::runtime::Runtime;
use turnkeep_repo::{
    AsyncRepo, BackendType, MessageKey, NewMessage, NewTask, Repo, Role, StatusUpdate, TaskId,
};
use turnkeep_test_postgres::{Database, Pooler, Server};

use super::persistent::append;
use crate::support::{binding, contents, save_task};

/// Far fewer than there are clients.
const CONNECTIONS: u32 = 2;

/// Waiting for a connection is no failure here.
const TIMEOUT: Duration = Duration::from_secs(120);

const REPOS: usize = 6;
const THREADS: usize = 2;
const PROCESSES: usize = 2;
const EACH: u64 = 40;

fn open(url: &str) -> anyhow::Result<Repo> {
    Ok(Repo::builder(url).timeout(TIMEOUT).open()?)
}

/// Many clients do all sorts of things at the same time. Nothing fails, nothing is lost, and
/// nothing of it stays with the connections.
#[test]
fn many_clients_share_two_connections() -> anyhow::Result<()> {
    let server = Server::shared()?;
    let database = server.database()?;
    let pooler = Pooler::start(server, CONNECTIONS)?;
    let url = pooler.url(&database);

    // All of them find nothing, and one migrates.
    let repos = std::thread::scope(|scope| {
        let openers: Vec<_> = (0..REPOS).map(|_| scope.spawn(|| open(&url))).collect();
        let opened = openers.into_iter().map(|opener| opener.join().unwrap());
        opened.collect::<anyhow::Result<Vec<_>>>()
    })?;
    let shared = save_task(&repos[0], "shared")?;
    let mut processes = (0..PROCESSES)
        .map(|process| {
            Ok(Command::new(env!("CARGO_BIN_EXE_turnkeep-test-writer"))
                .args([&*url, "shared", &format!("p{process}")])
                .arg(TIMEOUT.as_millis().to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..REPOS * THREADS)
            .map(|client| {
                let (repo, shared) = (&repos[client % REPOS], &shared);
                scope.spawn(move || a_bit_of_everything(repo, client, shared))
            })
            .collect();
        let mut done = clients.into_iter().map(|client| client.join().unwrap());
        done.try_for_each(|result| result)
    })?;

    let mut stored = Vec::new();
    for (index, process) in processes.iter_mut().enumerate() {
        drop(process.stdin.take());
        let mut said = String::new();
        if let Some(stdout) = &mut process.stdout {
            stdout.read_to_string(&mut said)?;
        }
        let status = process.wait()?;
        ensure!(status.success(), "process {index} ended with {status}");
        stored = contents(&repos[0], &shared)?;
        for line in said.lines() {
            let (seq, number) = line.split_once(' ').expect("two words");
            let seq: usize = seq.parse()?;
            assert_eq!(stored[seq - 1], format!("p{index}-{number}"));
        }
    }
    for client in 0..REPOS * THREADS {
        let own = stored
            .iter()
            .filter_map(|content| content.strip_prefix(&format!("c{client}-")));
        let numbers: Vec<u64> = own
            .map(|number| number.parse().expect("a number"))
            .collect();
        assert!(numbers.into_iter().eq(1..=EACH), "client {client} in order");
    }

    assert_eq!(
        server_connections(&pooler, &database)?,
        CONNECTIONS as usize
    );
    nothing_is_left(&url)
}

/// The calls of a host, and the state that it must find.
fn a_bit_of_everything(repo: &Repo, client: usize, shared: &TaskId) -> anyhow::Result<()> {
    let own = save_task(repo, &format!("task-{client}"))?;
    assert!(repo.claim_task(&own)?);
    for number in 1..=EACH {
        let writer = format!("c{client}");
        append(shared, &writer, number, |task, messages| {
            repo.save_messages(task, messages)
        })?;
        let last = repo.save_message(&own, Role::User, &format!("{number}"))?;
        let seq = 2 * number as i64 - 1;
        assert_eq!(last, seq);
        let key = MessageKey::new(format!("key-{number}"))?;
        let message = NewMessage::new(Role::Assistant, "the same").key(key);
        let message = std::slice::from_ref(&message);
        assert_eq!(
            repo.save_messages_after(&own, Some(last), message)?,
            [seq + 1]
        );
        assert_eq!(repo.save_messages(&own, message)?, [seq + 1]);
        let session = format!("session-{client}-{number}");
        repo.save_session(&own, &binding(BackendType::Codex, &session, Some("/dir"))?)?;
        assert_eq!(repo.get_session(&own)?.session_id.as_str(), session);
        assert_eq!(repo.count_history(&own)?, seq + 1);
    }
    assert_eq!(contents(repo, &own)?.len() as u64, 2 * EACH);
    assert_eq!(repo.list_session_revisions(&own)?.len() as u64, EACH);
    let mut next = NewTask::new(format!("next-{client}").parse()?, "Next");
    next.depends_on = vec![own.clone()];
    repo.save_task(&next)?;
    let is_ready = || anyhow::Ok(repo.ready_tasks()?.iter().any(|task| task.id == next.id));
    assert!(!is_ready()?);
    repo.update_task_status(&own, StatusUpdate::completed("done"))?;
    assert!(is_ready()?);
    assert!(repo.get_tasks()?.len() >= 3);
    assert!(repo.delete_task(&next.id)?);
    Ok(())
}

/// Nothing notifies a follower behind a pooler, so it asks. It leaves neither a subscription nor a lock in a session.
#[test]
fn a_follower_gets_the_turns_of_others() -> anyhow::Result<()> {
    let server = Server::shared()?;
    let database = server.database()?;
    let pooler = Pooler::start(server, CONNECTIONS)?;
    let (url, direct) = (pooler.url(&database), Repo::open(database.url())?);
    let (blocking, task) = (open(&url)?, save_task(&direct, "t")?);
    let (future, runtime) = (AsyncRepo::from(open(&url)?), Runtime::new()?);
    let follower = runtime.spawn({
        let mut turns = future.follow(&task, None);
        async move {
            let mut contents = Vec::new();
            while contents.len() < 5 {
                contents.push(turns.next().await?.content);
            }
            Ok::<_, turnkeep_repo::Error>(contents)
        }
    });
    let mut last_seq = None;
    for number in 1..=5 {
        let turns = std::thread::scope(|scope| {
            let wait = scope.spawn(|| blocking.wait_for_turns(&task, last_seq, Duration::MAX));
            direct.save_message(&task, Role::User, &format!("{number}"))?;
            wait.join().unwrap()
        })?;
        assert_eq!(turns.len(), 1);
        last_seq = Some(turns[0].seq);
    }
    assert_eq!(runtime.block_on(follower)??, ["1", "2", "3", "4", "5"]);
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    assert_eq!(database.psql(listening)?.trim(), "0");
    nothing_is_left(&url)
}

/// How many connections to the server the pooler has for a database.
fn server_connections(pooler: &Pooler, database: &Database) -> anyhow::Result<usize> {
    let servers = pooler.console("SHOW SERVERS")?;
    let of_database = servers
        .lines()
        .filter(|line| line.split('|').any(|column| column == database.name()));
    Ok(of_database.count())
}

/// The next client finds the settings of the previous one. It makes no write less durable.
#[test]
fn what_others_have_set_does_not_count() -> anyhow::Result<()> {
    let server = Server::shared()?;
    let database = server.database()?;
    let pooler = Pooler::start(server, 1)?;
    let repo = open(&pooler.url(&database))?;
    let task = save_task(&repo, "t")?;
    // A store that is opened with the trigger below takes no writes.
    pooler.psql(&database, "SET synchronous_commit = off")?;
    let later = open(&pooler.url(&database))?;
    database.psql(
        "CREATE SCHEMA test; CREATE TABLE test.found (setting TEXT); \
         CREATE FUNCTION test.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO test.found VALUES (current_setting('synchronous_commit')); RETURN NULL; \
         END $$; \
         CREATE TRIGGER look AFTER INSERT ON conversation_history EXECUTE FUNCTION test.look()",
    )?;
    pooler.psql(&database, "SET synchronous_commit = local")?;
    repo.save_message(&task, Role::User, "x")?;
    pooler.psql(&database, "SET synchronous_commit = off")?;
    repo.save_message(&task, Role::User, "y")?;
    // On connections that were made with that setting and are made now, too.
    later.save_message(&task, Role::User, "z")?;
    let found = database.psql("SELECT string_agg(setting, ' ') FROM test.found")?;
    let usual = database.psql("SHOW synchronous_commit")?;
    assert_eq!(found.trim(), [usual.trim(); 3].join(" "));
    Ok(())
}

#[derive(QueryableByName)]
struct Session {
    #[diesel(sql_type = Integer)]
    pid: i32,
    #[diesel(sql_type = BigInt)]
    prepared: i64,
    #[diesel(sql_type = BigInt)]
    advisory_locks: i64,
    #[diesel(sql_type = BigInt)]
    temporary: i64,
    #[diesel(sql_type = Text)]
    settings: String,
}

/// Looks at all connections to the server as the next client finds them: two that are in a
/// transaction at the same time have both.
fn nothing_is_left(url: &str) -> anyhow::Result<()> {
    let mut clients = (0..CONNECTIONS)
        .map(|_| PgConnection::establish(url))
        .collect::<Result<Vec<_>, _>>()?;
    let mut pids = Vec::new();
    for client in &mut clients {
        client.batch_execute("BEGIN")?;
        let session: Session = sql_query(
            "SELECT pg_backend_pid() AS pid, \
               (SELECT count(*) FROM pg_prepared_statements WHERE name <> '') AS prepared, \
               (SELECT count(*) FROM pg_locks \
                WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS advisory_locks, \
               (SELECT count(*) FROM pg_class \
                WHERE relnamespace = pg_my_temp_schema()) AS temporary, \
               (SELECT coalesce(string_agg(name || '=' || setting, ' '), '') FROM pg_settings \
                WHERE source = 'session' AND name NOT IN \
                  ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', \
                   'standard_conforming_strings')) AS settings",
        )
        .get_result(client)?;
        assert_eq!(session.prepared, 0, "no prepared statement");
        assert_eq!(session.advisory_locks, 0);
        assert_eq!(session.temporary, 0);
        // Those left out are what a pooler keeps for each of its clients.
        assert_eq!(session.settings, "", "no setting");
        pids.push(session.pid);
    }
    for client in &mut clients {
        client.batch_execute("COMMIT")?;
    }
    pids.dedup();
    assert_eq!(
        pids.len(),
        CONNECTIONS as usize,
        "each looked at another one"
    );
    Ok(())
}
