//! Tests of the servers. They need PostgreSQL and pgbouncer.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use turnkeep_test_postgres::{Cluster, Pooler, Server};

/// Waits until `holds` returns true, for work of another process.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A folder for servers that any user can write to.
struct Parent(PathBuf);

impl Parent {
    fn new(name: &str) -> anyhow::Result<Self> {
        let path = PathBuf::from(format!("/tmp/tk-{name}-{}", std::process::id()));
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
        Ok(Self(path))
    }

    /// Starts another process that runs a server in it.
    fn process(&self) -> anyhow::Result<Child> {
        Ok(Command::new(env!("CARGO_BIN_EXE_turnkeep-test-server"))
            .env("TMPDIR", &self.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?)
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(&self.0).is_ok_and(|mut entries| entries.next().is_none())
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the processes whose command line contains a folder.
fn processes_in(folder: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new("ps").args(["-A", "-o", "args="]).output()?;
    let folder = folder.to_string_lossy();
    Ok(String::from_utf8(output.stdout)?
        .lines()
        .filter(|line| line.contains(&*folder))
        .map(str::to_owned)
        .collect())
}

fn first_line(child: &mut Child) -> anyhow::Result<String> {
    let stdout = child.stdout.take().context("no pipe")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok(line)
}

#[test]
fn databases_are_apart_and_go() -> anyhow::Result<()> {
    let server = Server::shared()?;
    let (first, second) = (server.database()?, server.database()?);
    first.psql("CREATE TABLE t (n BIGINT); INSERT INTO t VALUES (1), (2)")?;
    assert_eq!(first.psql("SELECT n, 'é' FROM t ORDER BY n")?, "1|é\n2|é");
    let error = second
        .psql("SELECT 1; SELECT * FROM t; SELECT 2")
        .unwrap_err();
    assert!(
        error.to_string().contains("\"t\" does not exist"),
        "{error}"
    );

    // Dropped in spite of an open connection.
    let name = first.name().to_owned();
    let exists = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    let connected = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'");
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| server.psql(&name, "SELECT pg_sleep(1000)"));
        eventually("the sleeper is connected", || {
            second.psql(&connected).unwrap() == "1"
        });
        assert_eq!(second.psql(&exists).unwrap(), "1");
        drop(first);
        assert!(sleeper.join().unwrap().is_err());
    });
    assert_eq!(second.psql(&exists)?, "0");
    Ok(())
}

#[test]
fn a_server_is_durable_and_sorts_as_people_do() -> anyhow::Result<()> {
    let server = Server::start(&[("lock_timeout", "1234ms")])?;
    assert_eq!(server.psql("postgres", "SHOW fsync")?, "on");
    assert_eq!(server.psql("postgres", "SHOW synchronous_commit")?, "on");
    assert_eq!(server.psql("postgres", "SHOW lock_timeout")?, "1234ms");
    assert_eq!(server.psql("postgres", "SHOW listen_addresses")?, "");
    let order = "SELECT string_agg(x, '' ORDER BY x) FROM unnest('{a,B,_}'::TEXT[]) x";
    assert_eq!(server.database()?.psql(order)?, "_aB");
    Ok(())
}

#[test]
fn a_port_wants_a_password() -> anyhow::Result<()> {
    let server = Server::start_on_tcp(&[])?;
    assert_eq!(
        server.psql("postgres", "SELECT inet_server_addr()")?,
        "127.0.0.1"
    );
    let database = server.database()?;
    assert_eq!(database.psql("SELECT current_database()")?, database.name());

    let url = server.url("postgres");
    let (_, host) = url.split_once('@').expect("a user");
    let output = Command::new("psql")
        .args(["-X", "-w", "-c", "SELECT 1"])
        .arg(format!("postgres://postgres@{host}"))
        .env_remove("PGPASSWORD")
        .output()?;
    assert!(!output.status.success(), "let in without a password");
    Ok(())
}

#[test]
fn stopped_or_killed_it_starts_again_with_what_it_had() -> anyhow::Result<()> {
    let server = Server::start(&[])?;
    server.psql("postgres", "CREATE TABLE t (n BIGINT)")?;
    for end in [Server::stop, Server::kill, Server::kill] {
        server.psql("postgres", "INSERT INTO t VALUES (1)")?;
        end(&server)?;
        assert!(server.psql("postgres", "SELECT 1").is_err());
        assert!(end(&server).is_err(), "it is down already");
        server.start_again()?;
        assert!(server.start_again().is_err(), "it runs already");
    }
    assert_eq!(server.psql("postgres", "SELECT count(*) FROM t")?, "3");
    Ok(())
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let error = Server::start(&[("shared_buffers", "many")]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("invalid value for parameter \"shared_buffers\""),
        "{text}"
    );
}

#[test]
fn a_server_goes_with_its_value() -> anyhow::Result<()> {
    let server = Server::start(&[])?;
    let folder = server.psql("postgres", "SHOW data_directory")?;
    assert!(Path::new(&folder).exists());
    drop(server);
    assert!(!Path::new(&folder).exists());
    assert_eq!(processes_in(Path::new(&folder))?, [""; 0]);
    Ok(())
}

#[test]
fn a_server_goes_with_a_killed_process() -> anyhow::Result<()> {
    let parent = Parent::new("killed")?;
    let mut process = parent.process()?;
    let url = first_line(&mut process)?;
    assert!(url.starts_with("postgres://"), "{url}");
    assert!(!parent.is_empty() && !processes_in(&parent.0)?.is_empty());

    process.kill()?;
    process.wait()?;
    eventually("the folder is removed", || parent.is_empty());
    assert_eq!(processes_in(&parent.0)?, [""; 0]);
    Ok(())
}

/// Kills the process at any moment of the start, including initdb.
#[test]
fn a_server_goes_with_a_process_killed_on_the_way() -> anyhow::Result<()> {
    for step in 0..10 {
        let parent = Parent::new(&format!("early{step}"))?;
        let mut process = parent.process()?;
        std::thread::sleep(Duration::from_millis(step * 120));
        process.kill()?;
        process.wait()?;
        eventually("all is gone", || {
            parent.is_empty() && processes_in(&parent.0).unwrap().is_empty()
        });
    }
    Ok(())
}

#[test]
fn a_cluster_fails_over_and_back() -> anyhow::Result<()> {
    let mut cluster = Cluster::start()?;
    let url = cluster.url();
    cluster
        .leader()
        .psql("postgres", "CREATE TABLE t (n BIGINT)")?;
    for round in 1..=4 {
        let insert = format!("INSERT INTO t VALUES ({round})");
        cluster.leader().psql("postgres", &insert)?;
        assert!(
            cluster.standby().psql("postgres", &insert).is_err(),
            "it only reads"
        );
        assert_eq!(
            cluster.leader().psql(
                "postgres",
                "SELECT state, sync_state FROM pg_stat_replication"
            )?,
            "streaming|quorum"
        );
        assert!(cluster.promote().is_err(), "the leader lives");

        let killed = cluster.leader().url("postgres");
        cluster.kill_leader()?;
        assert!(cluster.kill_leader().is_err(), "it is dead");
        cluster.promote()?;
        assert_ne!(cluster.leader().url("postgres"), killed);
        cluster.leader().psql("postgres", &insert)?;
        assert!(cluster.kill_leader().is_err(), "it has no standby");
        cluster.rebuild_standby()?;
        assert_eq!(cluster.standby().url("postgres"), killed);
        let count = "SELECT count(*) FROM t";
        assert_eq!(
            cluster.leader().psql("postgres", count)?,
            (2 * round).to_string()
        );
        assert_eq!(cluster.url(), url);

        // The address finds the current leader.
        let output = Command::new("psql")
            .args(["-X", "-A", "-t", "-c", "SHOW port", &url])
            .output()?;
        let port = String::from_utf8(output.stdout)?;
        assert_eq!(port.trim(), cluster.leader().psql("postgres", "SHOW port")?);
    }
    Ok(())
}

/// A commit without a standby is not acknowledged.
#[test]
fn a_commit_waits_for_the_standby() -> anyhow::Result<()> {
    let cluster = Cluster::start()?;
    cluster
        .leader()
        .psql("postgres", "CREATE TABLE t (n BIGINT)")?;
    cluster.standby().stop()?;
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| {
            cluster
                .leader()
                .psql("postgres", "INSERT INTO t VALUES (1)")
        });
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        eventually("the commit waits", || {
            cluster.leader().psql("postgres", waiting).unwrap() == "1"
        });
        assert!(!commit.is_finished());
        cluster.standby().start_again().unwrap();
        commit.join().unwrap().unwrap();
    });
    Ok(())
}

#[test]
fn a_pooler_shares_connections() -> anyhow::Result<()> {
    let server = Server::shared()?;
    let database = server.database()?;
    let pooler = Pooler::start(server, 2)?;
    pooler.psql(&database, "CREATE TABLE t (pid INT, n BIGINT)")?;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let insert =
                    "INSERT INTO t SELECT pg_backend_pid(), n FROM generate_series(1, 2) n;";
                pooler.psql(&database, &insert.repeat(20)).unwrap();
            });
        }
    });
    assert_eq!(
        database.psql("SELECT count(*), count(DISTINCT pid) <= 2 FROM t")?,
        "320|t"
    );

    // A session setting stays for the next client, which shows that connections are shared by
    // transaction.
    assert!(pooler.url(&database).contains(database.name()));
    let pools = pooler.console("SHOW POOLS")?;
    let pool = pools.lines().find(|line| line.starts_with(database.name()));
    assert!(
        pool.is_some_and(|line| line.contains("|transaction")),
        "{pools}"
    );
    Ok(())
}
