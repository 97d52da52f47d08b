//! Child processes from the driver's side.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::child;

/// A process that takes longer is stuck.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Returns the command that starts this program as a child.
pub(crate) fn command(args: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg(child::COMMAND)
        .args(args)
        .env("RUST_BACKTRACE", "0");
    Ok(command)
}

/// A child process, killed on drop.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    complaints: Option<JoinHandle<String>>,
}

/// An ended process.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Complete lines only.
    pub(crate) lines: Vec<String>,
    pub(crate) status: ExitStatus,
    pub(crate) complaints: String,
}

impl Process {
    pub(crate) fn start(args: &[&str]) -> anyhow::Result<Self> {
        Self::spawn(command(args)?)
    }

    pub(crate) fn spawn(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {:?}", command.get_program()))?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        let mut stderr = child.stderr.take().context("standard error is piped")?;
        let complaints = thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Ok(Self {
            child,
            lines: lines(stdout),
            complaints: Some(complaints),
        })
    }

    /// Waits for the next line.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        match self.lines.recv_timeout(LIMIT) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => bail!("a process says nothing for {LIMIT:?}"),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                bail!("a process ended early with {status}: {}", self.complaints())
            }
        }
    }

    /// Returns whether no further line has arrived yet.
    pub(crate) fn has_said_nothing(&self) -> bool {
        self.lines.try_recv().is_err()
    }

    /// Closes the standard input of the process, for which it may be waiting.
    pub(crate) fn go(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends SIGKILL. [`end`](Self::end) returns the output.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill()?)
    }

    /// Waits for the end. Kills a stuck process and fails.
    pub(crate) fn end(mut self) -> anyhow::Result<Ended> {
        self.go();
        let until = Instant::now() + LIMIT;
        let mut said = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("a process is stuck, its last words were {:?}", said.last())
                }
            }
        }
        Ok(Ended {
            lines: said,
            status: self.child.wait()?,
            complaints: self.complaints(),
        })
    }

    /// Waits for a successful end and returns the output.
    pub(crate) fn finish(self) -> anyhow::Result<Vec<String>> {
        let ended = self.end()?;
        ensure!(
            ended.status.success(),
            "a process ended with {}: {}",
            ended.status,
            ended.complaints
        );
        Ok(ended.lines)
    }

    fn complaints(&mut self) -> String {
        let told = self.complaints.take().and_then(|thread| thread.join().ok());
        told.unwrap_or_default().trim().to_owned()
    }
}

impl Ended {
    /// Fails unless the process succeeded or was killed by SIGKILL.
    pub(crate) fn or_killed(self) -> anyhow::Result<Self> {
        ensure!(
            self.status.success() || self.status.signal() == Some(libc::SIGKILL),
            "a process ended with {}: {}",
            self.status,
            self.complaints
        );
        Ok(self)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        while stdout.read_line(&mut line).is_ok_and(|length| length > 0) && line.ends_with('\n') {
            line.pop();
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    receiver
}
