//! Two servers, one of which replaces the other.

use std::time::Instant;

use anyhow::ensure;

use crate::Server;
use crate::client::finish;
use crate::keeper::LIMIT;
use crate::process::PAUSE;

/// The name under which a commit waits for the standby.
const PROBE: &str = "turnkeep-probe";

/// A leader and a hot standby. A commit of the leader returns when the standby has it on its disk.
///
/// The two have different ports and sockets, which a server keeps over its deaths.
#[derive(Debug)]
pub struct Cluster {
    servers: [Server; 2],
    /// Which of the two leads, or did until it was killed.
    leader: usize,
    leader_lives: bool,
    /// Whether the other one follows.
    standby_follows: bool,
}

impl Cluster {
    /// Starts both.
    ///
    /// # Errors
    ///
    /// When PostgreSQL 15 or later is not installed, or one of them doesn't start. There is no
    /// cluster of a server that somebody else started.
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
            // What a standby may still need while it is being started.
            ("wal_keep_size", "256MB"),
            // It is wanted now, not after the five seconds that PostgreSQL would wait.
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

    /// The address of both, for a client that looks for the one that can write. The database is
    /// `postgres`, which is empty.
    pub fn url(&self) -> String {
        let [first, second] = &self.servers;
        let first = first.address().with_database("postgres");
        first.or(second.address()).url()
    }

    /// The server that leads, or did until it was killed.
    pub fn leader(&self) -> &Server {
        &self.servers[self.leader]
    }

    /// The other one.
    pub fn standby(&self) -> &Server {
        &self.servers[1 - self.leader]
    }

    /// Kills all processes of the leader at the same moment with `SIGKILL`.
    ///
    /// # Errors
    ///
    /// When there is none, or no standby, without which what was committed would be lost.
    pub fn kill_leader(&mut self) -> anyhow::Result<()> {
        ensure!(self.leader_lives, "the leader is dead already");
        ensure!(self.standby_follows, "there is no standby yet");
        self.leader().kill()?;
        self.leader_lives = false;
        Ok(())
    }

    /// Makes the standby the leader, and waits until it accepts writes. Its commits wait for nobody
    /// until there is a standby again.
    ///
    /// # Errors
    ///
    /// When the leader was not killed, or the standby doesn't get ready.
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

    /// Makes the dead server the standby of the new leader, from a new copy. When it returns,
    /// commits of the leader wait for it again, and all that were acknowledged before are there.
    ///
    /// # Errors
    ///
    /// When there is no leader, or a standby already, or the copy doesn't start.
    pub fn rebuild_standby(&mut self) -> anyhow::Result<()> {
        ensure!(self.leader_lives, "there is no leader");
        ensure!(!self.standby_follows, "there is a standby already");
        self.standby().copy_again(self.leader())?;
        self.start_standby()
    }

    /// Starts the copy of the leader.
    fn start_standby(&mut self) -> anyhow::Result<()> {
        let leader = self.leader();
        // After the copy, so that the copy doesn't have it and is free to commit when promoted.
        leader.psql(
            "postgres",
            "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'; \
             SELECT pg_reload_conf()",
        )?;
        // When the leader has begun to wait for standbys, this is seen to wait for the first. When
        // it returns, the standby has all that was committed before.
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
                // It came before the leader knew of the setting.
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
