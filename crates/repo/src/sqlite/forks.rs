//! Which files this process has open, so that a forked one knows what it must not open.
//!
//! SQLite keeps a list of its own of open files and of the locks on them, and a forked process
//! inherits it. A file that the parent had open then would be opened there without the locks that
//! hold others off: the parent could remove the log that the child writes to.

use std::process;
use std::time::Duration;

use parking_lot::Mutex;

use super::OPEN;
use super::identity::FileId;
use crate::error::{Error, Result};

/// The open stores: their files, and the processes that opened them.
static STORES: Mutex<Vec<(FileId, u32)>> = Mutex::new(Vec::new());

/// Nobody needs the list for longer than an instant. A thread of the parent may have had it when this
/// process was forked.
const LONG: Duration = Duration::from_secs(1);

/// An entry of the list, which goes with this.
#[derive(Debug)]
pub(super) struct Listed(FileId);

impl Listed {
    pub(super) fn new(id: FileId) -> Self {
        if let Some(mut stores) = STORES.try_lock_for(LONG) {
            stores.push((id, process::id()));
        }
        Self(id)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mine = (self.0, process::id());
        if let Some(mut stores) = STORES.try_lock_for(LONG)
            && let Some(index) = stores.iter().position(|store| *store == mine)
        {
            stores.swap_remove(index);
        }
    }
}

/// Refuses a file that was open in the process this one was forked from.
pub(super) fn refuse_inherited(id: FileId, subject: impl FnOnce() -> String) -> Result<()> {
    let mine = process::id();
    let is_inherited = |stores: &Vec<(FileId, u32)>| {
        stores
            .iter()
            .any(|(file, process)| *file == id && *process != mine)
    };
    match STORES.try_lock_for(LONG).as_deref() {
        Some(stores) if !is_inherited(stores) => Ok(()),
        _ => Err(Error::Forked {
            operation: OPEN,
            subject: subject(),
        }),
    }
}
