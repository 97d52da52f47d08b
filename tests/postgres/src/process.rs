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

/// Small, and open to many. What a store relies on, `fsync` for one, is as PostgreSQL has it.
const SETTINGS: [(&str, &str); 4] = [
    ("shared_buffers", "32MB"),
    ("max_connections", "200"),
    // Otherwise a killed server leaves files in /dev/shm.
    ("dynamic_shared_memory_type", "mmap"),
    ("log_line_prefix", "%m [%p] "),
];

/// How often to look again for what can't be waited for.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// A server that this process has made, whether it runs or not.
#[derive(Debug)]
pub(crate) struct Process {
    keeper: Keeper,
    programs: &'static Path,
    port: u16,
    tcp: bool,
    /// The first of its processes, while they run.
    postmaster: Option<u32>,
}

impl Process {
    /// A folder and no server yet.
    pub(crate) fn new(port: u16) -> anyhow::Result<Self> {
        Ok(Self {
            programs: programs::of_a_server()?,
            keeper: Keeper::new()?,
            port,
            tcp: false,
            postmaster: None,
        })
    }

    /// A new server that doesn't run yet, and the password for TCP.
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
            // Whoever loses power loses the folder too.
            "--no-sync",
        ];
        let plain = args.clone();
        // Not the order of bytes, which a store could get by accident. Where PostgreSQL is built
        // without ICU there is no other order that every system has.
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

    /// Copies a running server, to be started as its standby. What was here before is thrown away.
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

    /// Has it listen at a port of 127.0.0.1 too.
    pub(crate) fn listen(&mut self, port: u16) {
        self.port = port;
        self.tcp = true;
    }

    /// The address of its socket.
    pub(crate) fn socket(&self) -> anyhow::Result<Address> {
        Address::of_socket(self.keeper.folder(), self.port)
    }

    fn data(&self) -> PathBuf {
        self.keeper.folder().join("data")
    }

    /// Starts the server and waits until it takes connections, a standby those that read.
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

    /// What `pg_ctl --wait` looks at as well: the first and the eighth line of the file.
    fn is_ready(&self, postmaster: u32) -> bool {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let mut lines = file.lines();
        lines.next() == Some(&postmaster.to_string())
            && lines.nth(6).is_some_and(|status| status.trim() == "ready")
    }

    /// Shuts it down without waiting for its clients.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        let postmaster = self.postmaster.context("the server doesn't run")?;
        signal("INT", &[postmaster])?;
        self.wait_for_end()
    }

    /// Kills all of its processes, and waits until they are gone.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        let postmaster = self.postmaster.context("the server doesn't run")?;
        // Stopped, it starts no further process while they are counted. It may be about to start
        // one when the signal comes, which would keep the next server from starting.
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

    /// A server that was killed leaves a few bytes in the system, by which the next one in the same
    /// folder would find its processes. There are none left, and there may be no next one.
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

/// For what can't be waited for.
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

/// Sends a signal to processes. The program `kill` is not everywhere, that of the shell is.
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

/// The processes that do not only wait for their parent to take notice of their end.
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
