//! System calls that fail: the first, the second, and so on.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_int;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use turnkeep_repo::{
    BackendType, ErrorKind, NewSession, NewTask, Repo, Role, SessionId, TaskId, TaskStatus,
};

use crate::child;
use crate::driver::{Rounds, Row};
use crate::interpose::{self, Call, Fate, Plan};
use crate::process::Process;
use crate::store;

pub(crate) const ROW: Row = Row {
    name: "calls",
    holds: "the k-th call fails, once or for ever: no false Ok, no panic, no loss; recovers",
    short: 1,
    full: SWEEPS.len() as u64,
    run,
};

/// A kind of failure. A sweep fails the first call, then the second, until no call is left.
struct Sweep {
    name: &'static str,
    errno: c_int,
    /// All later calls fail as well.
    is_for_ever: bool,
    /// A write does half of its work before the failure.
    is_cut_short: bool,
}

const SWEEPS: [Sweep; 9] = [
    Sweep::new("EIO once", libc::EIO),
    Sweep::new("ENOSPC once", libc::ENOSPC),
    Sweep::new("EMFILE once", libc::EMFILE),
    Sweep::new("EIO for ever", libc::EIO).for_ever(),
    Sweep::new("ENOSPC for ever", libc::ENOSPC).for_ever(),
    Sweep::new("EMFILE for ever", libc::EMFILE).for_ever(),
    Sweep::new("EDQUOT for ever", libc::EDQUOT).for_ever(),
    Sweep::new("EFBIG for ever", libc::EFBIG).for_ever(),
    Sweep {
        is_cut_short: true,
        ..Sweep::new("half a write, then ENOSPC", libc::ENOSPC)
    },
];

impl Sweep {
    const fn new(name: &'static str, errno: c_int) -> Self {
        Self {
            name,
            errno,
            is_for_ever: false,
            is_cut_short: false,
        }
    }

    const fn for_ever(mut self) -> Self {
        self.is_for_ever = true;
        self
    }

    /// Whether the error reports a limit and not a broken disk.
    fn is_about_limit(&self) -> bool {
        [libc::EDQUOT, libc::EFBIG].contains(&self.errno)
    }

    /// Returns whether the system can answer `call` with this error.
    fn concerns(&self, call: Call<'_>) -> bool {
        match call {
            // Linux closes the file even if `close` fails, and SQLite ignores the result.
            Call::Close => false,
            Call::Write { .. } => self.errno != libc::EMFILE,
            _ if self.is_cut_short => false,
            Call::Truncate { .. } if self.errno == libc::EFBIG => true,
            _ if self.errno == libc::EFBIG => false,
            Call::Open { made, .. } => made || ![libc::ENOSPC, libc::EDQUOT].contains(&self.errno),
            _ if self.errno == libc::EMFILE => false,
            // A local disk charges the quota at the write.
            Call::Truncate { .. } | Call::Sync if self.errno == libc::EDQUOT => false,
            Call::Remove { .. } | Call::Rename { .. } => self.errno == libc::EIO,
            Call::Truncate { .. } | Call::Sync | Call::MakeFolder { .. } | Call::Link { .. } => {
                true
            }
        }
    }
}

fn run(rounds: &mut Rounds<'_>) -> anyhow::Result<()> {
    let mut calls = 0;
    let mut errors: BTreeMap<String, u64> = BTreeMap::new();
    rounds.each(|number, _| {
        let index = usize::try_from(number)? % SWEEPS.len();
        let mut wrong = Vec::new();
        for at in 1.. {
            match fail_one(index, at, &mut errors) {
                Ok(true) => calls += 1,
                Ok(false) => break,
                Err(error) => wrong.push(format!("at call {at}: {error:#}")),
            }
            // A failure of every call would never end.
            if wrong.len() == 10 {
                break;
            }
        }
        let name = SWEEPS[index].name;
        ensure!(wrong.is_empty(), "{name}: {}", wrong.join("; "));
        Ok(())
    });
    rounds.note(format!("{calls} calls failed"));
    let told: Vec<String> = errors
        .into_iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    rounds.note(told.join(" "));
    Ok(())
}

/// Runs a process whose `at`-th call fails. Returns whether it made that call.
fn fail_one(sweep: usize, at: u64, errors: &mut BTreeMap<String, u64>) -> anyhow::Result<bool> {
    let place = store::folder_in_memory()?;
    let folder = place.path().to_str().context("a path in UTF-8")?;
    let lines = Process::start(&["fail", folder, &sweep.to_string(), &at.to_string()])?.finish()?;
    let told = Output::new(&lines)?;
    if SWEEPS[sweep].is_about_limit() {
        ensure!(!told.kinds.iter().any(|kind| kind == "Io"), "{lines:?}");
    }
    for kind in &told.kinds {
        *errors.entry(kind.clone()).or_default() += 1;
    }
    told.compare(&place.path().join(PLACE))?;
    Ok(told.has_failed)
}

/// In a missing folder, so that creating folders can fail as well.
const PLACE: &str = "new/store.db";

/// Fails the `at`-th call that the sweep concerns.
struct Failing {
    sweep: &'static Sweep,
    at: u64,
    seen: Arc<AtomicU64>,
}

impl Plan for Failing {
    fn before(&mut self, call: Call<'_>) -> Fate {
        if !self.sweep.concerns(call) {
            return Fate::Goes;
        }
        let number = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        match () {
            () if self.sweep.is_cut_short && number == self.at => Fate::IsCutShort,
            () if self.sweep.is_cut_short && number == self.at + 1 => Fate::Fails(self.sweep.errno),
            () if self.sweep.is_cut_short => Fate::Goes,
            () if number == self.at || (number > self.at && self.sweep.is_for_ever) => {
                Fate::Fails(self.sweep.errno)
            }
            () => Fate::Goes,
        }
    }

    fn after(&mut self, _: c_int, _: Call<'_>) {}
}

/// Runs in the process whose calls fail: creates a store, writes, reads, closes and reopens it, and
/// prints each result.
pub(crate) fn fail(folder: &str, sweep: usize, at: u64) -> anyhow::Result<()> {
    let sweep = SWEEPS.get(sweep).context("no such sweep")?;
    let seen = Arc::new(AtomicU64::new(0));
    let failing = Failing {
        sweep,
        at,
        seen: Arc::clone(&seen),
    };
    let folder = Path::new(folder);
    interpose::arm(folder, Box::new(failing));
    let mut life = Life {
        seen,
        at,
        is_for_ever: sweep.is_for_ever,
        had_error: false,
        number: 0,
        acknowledged: BTreeSet::new(),
    };
    for _ in 0..2 {
        life.live(&folder.join(PLACE))?;
    }
    child::say(format_args!("ended {}", life.has_failed()))?;
    Ok(())
}

struct Life {
    seen: Arc<AtomicU64>,
    at: u64,
    is_for_ever: bool,
    had_error: bool,
    number: u64,
    acknowledged: BTreeSet<String>,
}

impl Life {
    fn has_failed(&self) -> bool {
        self.seen.load(Ordering::Relaxed) >= self.at
    }

    fn live(&mut self, path: &Path) -> anyhow::Result<()> {
        let open = || {
            Repo::builder(path)
                .timeout(Duration::from_millis(300))
                .open()
        };
        // After a single failure the second attempt must succeed.
        let opened = self.tell("open", open())?;
        let Some(repo) = opened.map_or_else(|| self.tell("open", open()), |repo| Ok(Some(repo)))?
        else {
            return Ok(());
        };
        let task = TaskId::new("t")?;
        let new = NewTask::new(task.clone(), "A task");
        if self.tell("save_task", repo.save_task(&new))?.is_none() {
            self.tell("save_task", repo.save_task(&new))?;
        }
        for length in [1, 2_000, 30_000, 1, 1] {
            self.append(&repo, &task, length)?;
        }
        self.read(&repo, &task)?;
        let binding = NewSession::new(BackendType::Claude, SessionId::new("s")?);
        let bound = self.tell("save_session", repo.save_session(&task, &binding))?;
        if bound.is_some() {
            child::say("bound")?;
        }
        if self.tell("claim_task", repo.claim_task(&task))? == Some(true) {
            child::say("claimed")?;
        }
        self.append(&repo, &task, 1)?;
        self.read(&repo, &task)
    }

    fn append(&mut self, repo: &Repo, task: &TaskId, length: usize) -> anyhow::Result<()> {
        self.number += 1;
        let text = format!("{} {}", self.number, "x".repeat(length));
        let result = repo.save_message(task, Role::User, &text);
        match &result {
            Ok(seq) => {
                child::say(format_args!("stored {seq} {} {length}", self.number))?;
                self.acknowledged.insert(text);
            }
            // The documentation allows an `Io` error for a stored message.
            Err(error) if *error.kind() == ErrorKind::Io => {}
            Err(_) => child::say(format_args!("refused {} {length}", self.number))?,
        }
        self.tell("save_message", result)?;
        Ok(())
    }

    /// A read is right or fails.
    fn read(&mut self, repo: &Repo, task: &TaskId) -> anyhow::Result<()> {
        let history = repo.get_history(task);
        if let Some(history) = self.tell("get_history", history)? {
            let read: BTreeSet<String> = history.into_iter().map(|turn| turn.content).collect();
            ensure!(
                self.acknowledged.is_subset(&read),
                "get_history lacks what was acknowledged"
            );
        }
        Ok(())
    }

    /// Prints an error. Errors are allowed only while calls fail.
    fn tell<T>(
        &mut self,
        what: &str,
        result: turnkeep_repo::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        let error = match result {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        ensure!(
            self.has_failed(),
            "{what} failed before any call did: {error:?}"
        );
        ensure!(
            self.is_for_ever || !self.had_error,
            "{what} failed after the failing call had been told of: {error:?}"
        );
        if !matches!(error.kind(), ErrorKind::TaskNotFound) || !self.is_for_ever {
            self.had_error = true;
        }
        let kind = format!("{:?}", error.kind());
        let kind = kind.split(' ').next().unwrap_or_default();
        child::say(format_args!(
            "error {kind} {:#}",
            anyhow::Error::from(error)
        ))?;
        Ok(None)
    }
}

/// The output of a process.
#[derive(Debug, Default)]
struct Output {
    stored: Vec<(usize, String)>,
    refused: Vec<String>,
    kinds: Vec<String>,
    is_bound: bool,
    is_claimed: bool,
    has_failed: bool,
}

impl Output {
    fn new(lines: &[String]) -> anyhow::Result<Self> {
        let mut told = Self::default();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let text = |number: &str, length: &str| -> anyhow::Result<String> {
                Ok(format!("{number} {}", "x".repeat(length.parse()?)))
            };
            match words[..] {
                ["stored", seq, number, length] => {
                    told.stored.push((seq.parse()?, text(number, length)?));
                }
                ["refused", number, length] => told.refused.push(text(number, length)?),
                ["error", kind, ..] => {
                    // The file is undamaged and no other process uses it, so other kinds are wrong.
                    let is_honest =
                        ["Io", "Full", "NoConnection", "ReadOnly", "TaskNotFound"].contains(&kind);
                    ensure!(is_honest, "a false alarm: {line}");
                    told.kinds.push(kind.into());
                }
                ["bound"] => told.is_bound = true,
                ["claimed"] => told.is_claimed = true,
                ["ended", failed] => told.has_failed = failed.parse()?,
                _ => bail!("a process said `{line}`"),
            }
        }
        Ok(told)
    }

    /// Opens the store without failing calls and compares it with the output.
    fn compare(&self, path: &Path) -> anyhow::Result<()> {
        let repo = Repo::open(path).context("opening afterwards")?;
        let task = store::save_task(&repo, "t")?;
        let contents = store::contents(&repo, &task)?;
        for (seq, text) in &self.stored {
            ensure!(
                contents.get(seq - 1) == Some(text),
                "turn {seq} was acknowledged and is another or gone"
            );
        }
        let distinct: BTreeSet<&String> = contents.iter().collect();
        ensure!(distinct.len() == contents.len(), "a turn is there twice");
        for text in &self.refused {
            ensure!(!distinct.contains(text), "a turn was refused and is there");
        }
        if self.is_bound {
            repo.get_session(&task).context("a session was bound")?;
        }
        if self.is_claimed {
            let status = repo.get_task(&task)?.status;
            ensure!(status == TaskStatus::Running, "claimed, and {status}");
        }
        repo.save_message(&task, Role::User, "it goes on")?;
        drop(repo);
        store::check(path)
    }
}
