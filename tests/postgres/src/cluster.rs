//! Two servers with failover.

use std::time::Instant;

use anyhow::ensure;

use crate::Server;
use crate::client::finish;
use crate::keeper::LIMIT;
use crate::process::PAUSE;

/// The application name of a commit that waits for the standby.
const PROBE: &str = "turnkeep-probe";

/// A leader and a hot standby. A commit on the leader returns once the standby has it on disk.
///
/// Each server keeps its port and socket over restarts.
#[derive(Debug)]
pub struct Cluster {
    servers: [Server; 2],
    /// The index of the leader, which may be dead.
    leader: usize,
    leader_lives: bool,
    /// Whether the other one is a standby.
    standby_follows: bool,
}

impl Cluster {
    /// Starts both servers.
    ///
    /// # Errors
    ///
    /// PostgreSQL 15 or later is not installed, or a server does not start.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use turnkeep_test_postgres::Cluster;
    ///
    /// let mut cluster = Cluster::start()?;
    /// cluster.leader().psql("postgres", "CREATE TABLE numbers (number BIGINT)")?;
    /// cluster.kill_leader()?;
    /// cluster.promote()?;
    /// cluster.leader().psql("postgres", "INSERT INTO numbers VALUES (1)")?;
    /// cluster.rebuild_standby()?;
    /// # anyhow::Ok(())
    /// ```
    pub fn start() -> anyhow::Result<Self> {
        let leader = Server::start(&[
            // WAL that a starting standby needs.
            ("wal_keep_size", "256MB"),
            // The default is five seconds.
            ("wal_retrieve_retry_interval", "50ms"),
        ])?;
        let standby = Server::copy_of(&leader, 5433)?;
        let mut cluster = Self {
            servers: [leader, standby],
            leader: 0,
            leader_lives: true,
            standby_follows: false,
        };
        cluster.start_standby()?;
        Ok(cluster)
    }

    /// Returns the address of both servers, from which a client picks the one that accepts writes.
    /// The database is `postgres`, which is empty.
    pub fn url(&self) -> String {
        let [first, second] = &self.servers;
        let first = first.address().with_database("postgres");
        first.or(second.address()).url()
    }

    /// Returns the leader, which may be dead.
    pub fn leader(&self) -> &Server {
        &self.servers[self.leader]
    }

    /// Returns the other server.
    pub fn standby(&self) -> &Server {
        &self.servers[1 - self.leader]
    }

    /// Kills all processes of the leader with `SIGKILL`.
    ///
    /// # Errors
    ///
    /// There is no leader, or no standby, without which committed data would be lost.
    pub fn kill_leader(&mut self) -> anyhow::Result<()> {
        ensure!(self.leader_lives, "the leader is dead already");
        ensure!(self.standby_follows, "there is no standby yet");
        self.leader().kill()?;
        self.leader_lives = false;
        Ok(())
    }

    /// Promotes the standby and waits until it accepts writes. Its commits do not wait for another
    /// server until it has a standby.
    ///
    /// # Errors
    ///
    /// The leader was not killed, or the standby does not get ready.
    pub fn promote(&mut self) -> anyhow::Result<()> {
        ensure!(!self.leader_lives, "the leader lives");
        let limit = LIMIT.as_secs();
        let promoted = self
            .standby()
            .psql("postgres", &format!("SELECT pg_promote(true, {limit})"))?;
        ensure!(promoted == "t", "the standby was not promoted");
        self.leader = 1 - self.leader;
        self.leader_lives = true;
        self.standby_follows = false;
        Ok(())
    }

    /// Rebuilds the dead server as standby from a copy of the leader. On return, commits of the
    /// leader wait for it again, and it has all earlier ones.
    ///
    /// # Errors
    ///
    /// There is no leader, or already a standby, or the copy does not start.
    pub fn rebuild_standby(&mut self) -> anyhow::Result<()> {
        ensure!(self.leader_lives, "there is no leader");
        ensure!(!self.standby_follows, "there is a standby already");
        self.standby().copy_again(self.leader())?;
        self.start_standby()
    }

    /// Starts the standby.
    fn start_standby(&mut self) -> anyhow::Result<()> {
        let leader = self.leader();
        // Set after the copy, so that the copy does not have the setting and can commit once
        // promoted.
        leader.psql(
            "postgres",
            "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'; \
             SELECT pg_reload_conf()",
        )?;
        // Once the leader waits for standbys, this commit waits for the standby. When it returns,
        // the standby has every earlier commit.
        let commit = || {
            let sql = "SELECT pg_logical_emit_message(true, 'turnkeep', 'replicated')";
            leader.client_of("postgres").spawn(PROBE, sql)
        };
        let waits = format!(
            "SELECT count(*) FROM pg_stat_activity \
             WHERE application_name = '{PROBE}' AND wait_event = 'SyncRep'"
        );
        let mut probe = commit()?;
        wait_until("a commit waits for the standby", || {
            if probe.try_wait()?.is_some() {
                // The leader did not have the setting yet.
                probe = commit()?;
            }
            Ok(leader.psql("postgres", &waits)? == "1")
        })?;
        self.standby().start_again()?;
        wait_until("the standby has what was committed", || {
            Ok(probe.try_wait()?.is_some())
        })?;
        finish(probe)?;
        self.standby_follows = true;
        Ok(())
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !holds()? {
        ensure!(begun.elapsed() < LIMIT, "waited in vain until {what}");
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
