//! Refuses to use a store in a forked child, because SQLite's locks and libpq's sockets are shared with the
//! parent.
//!
//! The child has one thread, but every lock as another thread of the parent held it. So this file uses
//! atomics only.

use std::process;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::base::error::{ErrorKind, Result};
use crate::base::operation::Operation;

/// The process that opened the stores, and the number of open stores.
static PROCESS: AtomicU32 = AtomicU32::new(0);
static STORES: AtomicUsize = AtomicUsize::new(0);

/// An open store, or one being opened, and its process.
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

    /// Whether this process is a fork of the one that opened the store.
    pub(crate) fn is_inherited(&self) -> bool {
        self.process != process::id()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        STORES.fetch_sub(1, Ordering::AcqRel);
    }
}
