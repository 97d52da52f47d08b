//! What a forked process has of its parent's stores: nothing that it may use.
//!
//! It has one thread, and all locks as they were, those too that other threads of the parent held or
//! waited for; SQLite's list of open files with the locks on them; and the parent's connections to a
//! server. So nothing here takes a lock.

use std::process;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::base::error::{ErrorKind, Result};
use crate::base::operation::Operation;

/// The process that has opened the stores, and how many are open.
static PROCESS: AtomicU32 = AtomicU32::new(0);
static STORES: AtomicUsize = AtomicUsize::new(0);

/// A store that is open, or being opened, in the process that does it.
pub(crate) struct Opened {
    process: u32,
}

impl Opened {
    /// Fails in a process that was forked while any store was open.
    pub(crate) fn new(operation: &'static str) -> Result<Self> {
        let process = process::id();
        if STORES.load(Ordering::Acquire) > 0 && PROCESS.load(Ordering::Acquire) != process {
            return Err(ErrorKind::Forked.on(&Operation::on_named(operation, "a store")));
        }
        PROCESS.store(process, Ordering::Release);
        STORES.fetch_add(1, Ordering::AcqRel);
        Ok(Self { process })
    }

    /// Whether this is a copy in a process that was forked afterwards.
    pub(crate) fn is_inherited(&self) -> bool {
        self.process != process::id()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        STORES.fetch_sub(1, Ordering::AcqRel);
    }
}
