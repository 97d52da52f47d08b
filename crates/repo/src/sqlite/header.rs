//! The header of a database file, of which no statement returns all
//! (<https://sqlite.org/fileformat2.html#the_database_header>).

use std::io::{self, Read as _};
use std::path::Path;

use super::file::{StoreFile, open_to_read, opening};

/// The first bytes of every database.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The header as far as it is read here: the magic bytes, the page size (two bytes), the format version for
/// writing, and the one for reading.
const LENGTH: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// As a database that was never opened as a store.
    pub(super) is_in_rollback_mode: bool,
    /// `None` for a size that no database has.
    pub(super) page_size: Option<u64>,
}

/// Returns what the header of the file says; `None` where that can't be told, and for no database.
///
/// SQLite tells the mode of no file with a log beside it, and the page size of none whose schema it can't
/// read. So this reads the file itself, unless a connection of this process may have it open.
pub(super) fn header(file: &StoreFile) -> io::Result<Option<Header>> {
    let _opening = opening();
    match is_open_here(file.path()) {
        true => Ok(None),
        false => read(file.path()),
    }
}

/// No connection of this process may have the file open: its locks are gone when this closes it.
fn read(path: &Path) -> io::Result<Option<Header>> {
    let mut bytes = Vec::new();
    open_to_read(path)?
        .take(LENGTH as u64)
        .read_to_end(&mut bytes)?;
    let Some([high, low, _, read_version]) = bytes.strip_prefix(MAGIC) else {
        return Ok(None);
    };
    let page_size = match u16::from_be_bytes([*high, *low]) {
        1 => 65_536,
        size => u64::from(size),
    };
    Ok(Some(Header {
        // 2 with a write-ahead log.
        is_in_rollback_mode: *read_version == 1,
        page_size: Some(page_size).filter(|size| *size >= 512 && size.is_power_of_two()),
    }))
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
    fn mode_and_page_size_are_read_from_the_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        for (mode, is_in_rollback_mode) in [("DELETE", true), ("WAL", false)] {
            for size in [512, 4_096, 65_536] {
                let _ = std::fs::remove_file(&path);
                let mut conn = Conn::establish(path.to_str().unwrap()).unwrap();
                let sql = format!(
                    "PRAGMA page_size = {size}; PRAGMA journal_mode = {mode}; CREATE TABLE t (x)"
                );
                conn.batch_execute(&sql).unwrap();
                drop(conn);
                let header = Header {
                    is_in_rollback_mode,
                    page_size: Some(size),
                };
                assert_eq!(read(&path).unwrap(), Some(header), "{mode}");
            }
        }
        let odd = [MAGIC, &[0, 3, 1, 1]].concat();
        std::fs::write(&path, odd).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().page_size, None);
        for text in [
            "",
            "SQLite format 3",
            "no database, but long enough for one",
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap(), None, "{text}");
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
