//! The process of a server, and its folder.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::address::Address;
use crate::keeper::{Keeper, LIMIT};
use crate::programs;

/// Little memory, many connections. Settings that the store relies on, such as `fsync`, stay at
/// their defaults.
const SETTINGS: [(&str, &str); 4] = [
    ("shared_buffers", "32MB"),
    ("max_connections", "200"),
    // A killed server would leave files in /dev/shm.
    ("dynamic_shared_memory_type", "mmap"),
    ("log_line_prefix", "%m [%p] "),
];

/// The interval of polling.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// A server that this process made, running or not.
#[derive(Debug)]
pub(crate) struct Process {
    keeper: Keeper,
    programs: &'static Path,
    port: u16,
    tcp: bool,
    /// The main process, while the server runs.
    postmaster: Option<u32>,
}

impl Process {
    /// Makes a folder without a server.
    pub(crate) fn new(port: u16) -> anyhow::Result<Self> {
        Ok(Self {
            programs: programs::of_a_server()?,
            keeper: Keeper::new()?,
            port,
            tcp: false,
            postmaster: None,
        })
    }

    /// Returns a new server that does not run yet, and the password for TCP.
    pub(crate) fn initialised(settings: &[(&str, &str)]) -> anyhow::Result<(Self, String)> {
        let mut process = Self::new(5432)?;
        let password = random_password()?;
        let password_file = process.keeper.folder().join("password");
        fs::write(&password_file, &password)?;
        let data = format!("--pgdata={}", process.data().display());
        let pwfile = format!("--pwfile={}", password_file.display());
        let mut args = vec![
            &*data,
            &*pwfile,
            "--username=postgres",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            // Less to copy for a standby.
            "--wal-segsize=4",
            // A power loss removes the folder as well.
            "--no-sync",
        ];
        let plain = args.clone();
        // A collation that differs from byte order, so that a store cannot rely on it by accident.
        // Without ICU no such collation exists on every system.
        args.extend(["--locale-provider=icu", "--icu-locale=en-US"]);
        let initdb = process.programs.join("initdb");
        if process.keeper.run(&initdb, args).is_err() {
            process.keeper.run(&initdb, plain)?;
        }
        fs::remove_file(password_file)?;
        process.configure(settings)?;
        Ok((process, password))
    }

    fn configure(&self, settings: &[(&str, &str)]) -> anyhow::Result<()> {
        let path = self.data().join("postgresql.conf");
        let mut file = fs::OpenOptions::new().append(true).open(path)?;
        for (name, value) in SETTINGS.iter().chain(settings) {
            writeln!(file, "{name} = '{}'", value.replace('\'', "''"))?;
        }
        Ok(())
    }

    /// Replaces the data with a copy of a running server, to be started as its standby.
    pub(crate) fn copy(&mut self, leader: &Address) -> anyhow::Result<()> {
        ensure!(self.postmaster.is_none(), "the server runs");
        let data = self.data();
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        let args = [
            format!("--pgdata={}", data.display()),
            format!("--dbname={}", leader.url()),
            "--checkpoint=fast".to_owned(),
            "--wal-method=stream".to_owned(),
            "--write-recovery-conf".to_owned(),
            "--no-sync".to_owned(),
        ];
        let program = self.programs.join("pg_basebackup");
        self.keeper.run(&program, args)
    }

    /// Lets the server also listen on a port of 127.0.0.1.
    pub(crate) fn listen(&mut self, port: u16) {
        self.port = port;
        self.tcp = true;
    }

    /// Returns the address of the socket.
    pub(crate) fn socket(&self) -> anyhow::Result<Address> {
        Address::of_socket(self.keeper.folder(), self.port)
    }

    fn data(&self) -> PathBuf {
        self.keeper.folder().join("data")
    }

    /// Starts the server and waits until it accepts connections; a standby accepts reads.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.postmaster.is_none(), "the server runs already");
        let listen = if self.tcp { "127.0.0.1" } else { "" };
        let args = [
            format!("-D{}", self.data().display()),
            format!(
                "-cunix_socket_directories={}",
                self.keeper.folder().display()
            ),
            format!("-cport={}", self.port),
            format!("-clisten_addresses={listen}"),
        ];
        let program = self.programs.join("postgres");
        let postmaster = self.keeper.start("QUIT", &program, args)?;
        let begun = Instant::now();
        while !self.is_ready(postmaster) {
            if self.keeper.ended_within(PAUSE)?.is_some() {
                bail!("the server doesn't start{}", self.keeper.log());
            }
            ensure!(
                begun.elapsed() < LIMIT,
                "the server is not ready{}",
                self.keeper.log()
            );
        }
        self.postmaster = Some(postmaster);
        Ok(())
    }

    /// Reads the first and the eighth line of the pid file, as `pg_ctl --wait` does.
    fn is_ready(&self, postmaster: u32) -> bool {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let mut lines = file.lines();
        lines.next() == Some(&postmaster.to_string())
            && lines.nth(6).is_some_and(|status| status.trim() == "ready")
    }

    /// Shuts the server down without waiting for clients.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        let postmaster = self.postmaster.context("the server doesn't run")?;
        signal("INT", &[postmaster])?;
        self.wait_for_end()
    }

    /// Kills all processes of the server and waits until they are gone.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        let postmaster = self.postmaster.context("the server doesn't run")?;
        // Stopped first, so that it starts no process while they are counted. Such a process would
        // keep the next server from starting.
        signal("STOP", &[postmaster])?;
        wait_until("a server does not stop", || {
            let stopped = processes(|it| it.id == postmaster && it.state.starts_with('T'))?;
            Ok(!stopped.is_empty())
        })?;
        let mut all = processes(|process| process.parent == postmaster)?;
        all.push(postmaster);
        signal("KILL", &all)?;
        self.wait_for_end()?;
        wait_until("a killed process is still there", || {
            Ok(processes(|process| all.contains(&process.id))?.is_empty())
        })?;
        self.remove_shared_memory();
        Ok(())
    }

    fn wait_for_end(&mut self) -> anyhow::Result<()> {
        let ended = self.keeper.ended_within(LIMIT)?;
        ensure!(ended.is_some(), "the server doesn't end");
        self.postmaster = None;
        Ok(())
    }

    /// Removes the shared memory segment that a killed server leaves behind.
    fn remove_shared_memory(&self) {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        if let Some(id) = file
            .lines()
            .nth(6)
            .and_then(|line| line.split_whitespace().nth(1))
        {
            let _ = Command::new("ipcrm").args(["-m", id]).output();
        }
    }
}

/// Polls until `is_so` returns true.
fn wait_until(otherwise: &str, is_so: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !is_so()? {
        ensure!(begun.elapsed() < LIMIT, "{otherwise}");
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn random_password() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Sends a signal with the shell's `kill`, since the program `kill` may be missing.
fn signal(name: &str, processes: &[u32]) -> anyhow::Result<()> {
    let output = Command::new("sh")
        .args(["-c", r#"kill -s "$0" "$@""#, name])
        .args(processes.iter().map(ToString::to_string))
        .output()?;
    ensure!(
        output.status.success(),
        "kill: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

struct Running<'a> {
    id: u32,
    parent: u32,
    state: &'a str,
}

/// Returns processes that are not zombies.
fn processes(which: impl Fn(&Running<'_>) -> bool) -> anyhow::Result<Vec<u32>> {
    let output = Command::new("ps")
        .args(["-A", "-o", "pid=", "-o", "ppid=", "-o", "stat="])
        .output()
        .context("starting ps")?;
    ensure!(output.status.success(), "ps ended with {}", output.status);
    let mut found = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut words = line.split_whitespace();
        let (Some(id), Some(parent), Some(state)) = (words.next(), words.next(), words.next())
        else {
            bail!("ps says `{line}`");
        };
        let process = Running {
            id: id.parse()?,
            parent: parent.parse()?,
            state,
        };
        if !state.starts_with('Z') && which(&process) {
            found.push(process.id);
        }
    }
    Ok(found)
}
