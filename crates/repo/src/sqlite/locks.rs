//! Locks that keep other processes out while the files of a store are replaced.

use std::fs::{File, OpenOptions};
use std::io;

use super::file::{StoreFile, is_there, opening};
use super::identity::{FileId, is_open_here};

/// Runs `work` while no process has the file open with SQLite's locks on it, and none can open it. Returns
/// `None` when a process has it open.
///
/// Asks the system and not SQLite: SQLite can't lock a damaged file, and would change one that a crash has left
/// with a log or journal.
pub(super) fn alone<T>(file: &StoreFile, work: impl FnOnce() -> T) -> io::Result<Option<T>> {
    let _opening = opening();
    let path = file.path();
    if !is_there(path) {
        return Ok(Some(work()));
    }
    if is_open_here(path) {
        return Ok(None);
    }
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let id = FileId::from(&file.metadata()?);
    // Another file may have the name by now.
    if !lock_file(&file)? || FileId::of(path)? != id {
        return Ok(None);
    }
    Ok(Some(work()))
}

/// Locks all bytes of a file that is open for writing. Returns false when another process has a lock: SQLite
/// locks some bytes while a connection to a store is open, and while it reads or writes any database. The
/// lock ends when this process closes any descriptor of the file.
#[cfg(unix)]
fn lock_file(file: &File) -> io::Result<bool> {
    use rustix::fs::{FlockOperation, fcntl_lock};

    could_lock(fcntl_lock(file, FlockOperation::NonBlockingLockExclusive))
}

/// Locks the folder. Returns false when another process has the lock. The lock ends with the descriptor.
#[cfg(unix)]
pub(super) fn lock_folder(folder: &File) -> io::Result<bool> {
    use rustix::fs::{FlockOperation, flock};

    could_lock(flock(folder, FlockOperation::NonBlockingLockExclusive))
}

#[cfg(unix)]
fn could_lock(result: rustix::io::Result<()>) -> io::Result<bool> {
    use rustix::io::Errno;

    match result {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn lock_file(_: &File) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(unix))]
pub(super) fn lock_folder(_: &File) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}
