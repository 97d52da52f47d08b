//! The header of a database file, of which no statement returns all
//! (<https://sqlite.org/fileformat2.html#the_database_header>).

use std::io::{self, Read as _};
use std::path::Path;

use super::file::{StoreFile, open_to_read, opening};

/// The first bytes of every database.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The place of the format version for reading: 1 in rollback mode, 2 with a write-ahead log.
const READ_VERSION: usize = 19;

/// Returns whether the file is a database in rollback mode, as one that was never opened as a store.
/// `None` where that can't be told.
///
/// SQLite tells it of no file with a log beside it, so this reads the file itself, unless a connection of
/// this process may have it open.
pub(super) fn is_in_rollback_mode(file: &StoreFile) -> io::Result<Option<bool>> {
    let _opening = opening();
    match is_open_here(file.path()) {
        true => Ok(None),
        false => read_mode(file.path()),
    }
}

/// Returns whether the file is a database in rollback mode; `None` when it is no database.
///
/// No connection of this process may have the file open: its locks are gone when this closes it.
fn read_mode(path: &Path) -> io::Result<Option<bool>> {
    let mut header = Vec::new();
    open_to_read(path)?
        .take(READ_VERSION as u64 + 1)
        .read_to_end(&mut header)?;
    let version = header.get(READ_VERSION);
    Ok(version
        .filter(|_| header.starts_with(MAGIC))
        .map(|version| *version == 1))
}

/// Whether a descriptor of this process may lead to the file, by whatever name that was opened: that of
/// this library, or of a host that uses SQLite beside it.
#[cfg(any(target_os = "linux", target_os = "macos"))]
pub(super) fn is_open_here(path: &Path) -> bool {
    use std::fs;

    use super::identity::FileId;

    const DESCRIPTORS: &str = match cfg!(target_os = "linux") {
        true => "/proc/self/fd",
        false => "/dev/fd",
    };
    let (Ok(id), Ok(descriptors)) = (FileId::of(path), fs::read_dir(DESCRIPTORS)) else {
        return true;
    };
    // One that is gone by now was that of the listing, or of another thread's.
    descriptors
        .flatten()
        .any(|descriptor| FileId::of(&descriptor.path()).is_ok_and(|open| open == id))
}

/// Other systems list no descriptors.
#[cfg(all(unix, not(any(target_os = "linux", target_os = "macos"))))]
pub(super) fn is_open_here(_: &Path) -> bool {
    true
}

/// Windows keeps a lock with the handle that took it.
#[cfg(not(unix))]
pub(super) fn is_open_here(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection;

    use super::*;
    use crate::sqlite::Conn;

    #[test]
    fn the_mode_is_read_from_the_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        for (mode, is_rollback) in [("DELETE", true), ("WAL", false)] {
            let mut conn = Conn::establish(path.to_str().unwrap()).unwrap();
            let sql = format!("PRAGMA journal_mode = {mode}; CREATE TABLE {mode}_ (x)");
            conn.batch_execute(&sql).unwrap();
            drop(conn);
            assert_eq!(read_mode(&path).unwrap(), Some(is_rollback), "{mode}");
        }
        for text in [
            "",
            "SQLite format 3",
            "no database, but long enough for one",
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_mode(&path).unwrap(), None, "{text}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_that_a_connection_has_open_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        std::fs::write(&path, "").unwrap();
        assert!(!is_open_here(&path));
        let conn = Conn::establish(path.to_str().unwrap()).unwrap();
        assert!(is_open_here(&path));
        drop(conn);
        assert!(!is_open_here(&path));
    }
}
