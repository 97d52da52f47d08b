//! Taking turns with other processes.
//!
//! SQLite's lock goes to whoever asks at the right moment, and that is most often the one who just
//! gave it back: others wait for seconds. Those who ask again and again also keep the log from being
//! reset, since asking is the begin of a read, so that it grows and every commit tries to move it.
//!
//! A process that has found others writing therefore stands back for a moment after each of its
//! turns, and asks for a lock of its own kind before it asks SQLite: `flock` on the log, which
//! SQLite leaves alone, and which is there whenever it is needed. Nothing but fairness rests on it:
//! who does not get it for a while asks SQLite all the same, as other programs do. A process that is
//! alone never takes it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use super::filesystem::{FUSE, shared};
use crate::base::operation::Deadline;
use crate::base::stats::Counters;

/// How often a writer asks: the longer it has waited, the more often, so that who was there first
/// is likely to be first.
const SLOWEST_POLL: Duration = Duration::from_micros(600);
const POLL: Duration = Duration::from_micros(100);

/// For how long a process goes on writing while others want to.
const TURN: Duration = Duration::from_millis(2);

/// How long it then stands back. Long enough for the others to ask.
const REST: Duration = Duration::from_micros(300);

/// For how long others are expected to come again.
const MEMORY: Duration = Duration::from_millis(50);

/// For how long a process is waited for that has the lock and may not write at all.
const PATIENCE: Duration = Duration::from_millis(100);

/// A use of the connection, which ends with this, by a panic too.
pub(crate) struct Turn<'s>(pub(crate) &'s mut Sharing);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// When others were seen, and whose turn it is.
pub(crate) struct Sharing {
    /// The log. `None` when there is nobody to share with.
    log: Option<PathBuf>,
    others: Option<Others>,
    /// How often the transaction under way had to ask again.
    retries: u64,
    counters: Arc<Counters>,
}

/// What is known while there are others.
struct Others {
    last_seen: Instant,
    turn_began: Option<Instant>,
    rest_until: Option<Instant>,
    /// The log, to be locked. `None` when it can't be.
    lock: Option<File>,
}

impl Sharing {
    /// `log` is that of the store, if turns are to be taken.
    pub(crate) fn new(log: Option<PathBuf>, counters: Arc<Counters>) -> Self {
        Self {
            log,
            others: None,
            retries: 0,
            counters,
        }
    }

    /// Waits for this process's turn, if there are others.
    pub(crate) fn wait_for_turn(&mut self, deadline: Deadline) {
        self.retries = 0;
        if let Some(others) = &mut self.others {
            others.rest(deadline);
            let retries = others.take_lock(deadline);
            self.asked(retries);
        }
    }

    /// Waits a little for the one who writes; returns whether there is time to ask again.
    pub(crate) fn wait(&mut self, deadline: Deadline) -> bool {
        let remaining = deadline.remaining();
        if remaining.is_zero() {
            return false;
        }
        self.asked(1);
        match (&mut self.others, &self.log) {
            (None, Some(log)) => {
                let others = self.others.insert(Others::met(log));
                let retries = others.take_lock(deadline);
                self.asked(retries);
            }
            (others, _) => {
                if let Some(others) = others {
                    others.last_seen = Instant::now();
                }
                thread::sleep(POLL.min(remaining));
            }
        }
        true
    }

    fn asked(&mut self, times: u64) {
        self.retries += times;
        self.counters.lock_retries(times);
    }

    /// Returns how often the transaction under way had to ask again.
    pub(crate) fn retries(&self) -> u64 {
        self.retries
    }

    /// Lets the others in, and stands back if this process has had its turn.
    fn end(&mut self) {
        let Some(others) = &mut self.others else {
            return;
        };
        others.unlock();
        let now = Instant::now();
        let turn_began = *others.turn_began.get_or_insert(now);
        if now.duration_since(others.last_seen) > MEMORY {
            self.others = None;
        } else if now.duration_since(turn_began) >= TURN {
            others.turn_began = None;
            others.rest_until = Some(now + REST);
        }
    }
}

impl Others {
    fn met(log: &Path) -> Self {
        Self {
            last_seen: Instant::now(),
            turn_began: None,
            rest_until: None,
            lock: lockable(log),
        }
    }

    fn rest(&mut self, deadline: Deadline) {
        if let Some(until) = self.rest_until.take() {
            let rest = until.saturating_duration_since(Instant::now());
            thread::sleep(rest.min(deadline.remaining()));
        }
    }

    /// Takes the lock, or has waited for it for long enough. Returns how often it had to ask again.
    fn take_lock(&mut self, deadline: Deadline) -> u64 {
        let Some(lock) = &self.lock else {
            return 0;
        };
        let mut retries = 0;
        let since = Instant::now();
        while !try_lock(lock) && !deadline.remaining().is_zero() {
            if since.elapsed() > PATIENCE {
                // Whoever has it may be stopped. It is not waited for at every transaction.
                self.lock = None;
                break;
            }
            retries += 1;
            let poll = SLOWEST_POLL.saturating_sub(since.elapsed() / 4).max(POLL);
            thread::sleep(poll.min(deadline.remaining()));
        }
        if retries > 0 {
            self.last_seen = Instant::now();
            self.turn_began = Some(self.last_seen);
        }
        retries
    }

    fn unlock(&self) {
        #[cfg(unix)]
        if let Some(lock) = &self.lock {
            // It may not be held. Closing the file gives it back at the latest.
            let _ = rustix::fs::flock(lock, rustix::fs::FlockOperation::Unlock);
        }
    }
}

/// Opens what is to be locked, unless its file system is one that another machine sees too: there
/// locking is slow or does nothing.
#[cfg(unix)]
fn lockable(log: &Path) -> Option<File> {
    let file = File::open(log).ok()?;
    is_local(&file).then_some(file)
}

#[cfg(not(unix))]
fn lockable(_: &Path) -> Option<File> {
    None
}

#[cfg(unix)]
fn try_lock(file: &File) -> bool {
    use rustix::fs::{FlockOperation, flock};

    // Where it can't be locked nobody waits for it.
    let lock = flock(file, FlockOperation::NonBlockingLockExclusive);
    lock != Err(rustix::io::Errno::WOULDBLOCK)
}

#[cfg(not(unix))]
fn try_lock(_: &File) -> bool {
    true
}

#[cfg(target_os = "linux")]
fn is_local(file: &File) -> bool {
    // What a program makes of a lock nobody knows.
    let is_shared = |number| number == FUSE || shared(number, || None).is_some();
    rustix::fs::fstatfs(file).is_ok_and(|system| !is_shared(system.f_type as u32))
}

#[cfg(all(unix, not(target_os = "linux")))]
fn is_local(_: &File) -> bool {
    false
}
