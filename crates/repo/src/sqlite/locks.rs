//! Locks of the system that keep other processes out while files are replaced. SQLite's own locks are for
//! using them.

use std::fs::{File, OpenOptions};
use std::io;

use super::file::{StoreFile, is_there, opening};
use super::header::is_open_here;
use super::identity::FileId;

/// Runs `work` while no process has the file open with SQLite's locks on it, or can get one. Returns `None`
/// when some process has.
///
/// Asks the system and not SQLite, which can't lock a file that is damaged and would change one that a
/// crash has left with a log or journal.
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
    // Another file may have got the name meanwhile.
    if !lock_file(&file)? || FileId::of(path)? != id {
        return Ok(None);
    }
    Ok(Some(work()))
}

/// Locks all bytes of the file, which is open for writing, and returns whether that was possible. SQLite
/// locks some of them for as long as a connection to a store is open, and to read or write a file of
/// any kind. The lock ends when this process closes any descriptor of the file.
#[cfg(unix)]
fn lock_file(file: &File) -> io::Result<bool> {
    use rustix::fs::{FlockOperation, fcntl_lock};

    could_lock(fcntl_lock(file, FlockOperation::NonBlockingLockExclusive))
}

/// Locks the folder, and returns whether that was possible. The lock ends with the descriptor.
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
