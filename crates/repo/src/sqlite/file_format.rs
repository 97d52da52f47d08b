//! The parts of a database and its log that no statement returns: the header of the file
//! (<https://sqlite.org/fileformat2.html#the_database_header>) and the pages in the log
//! (<https://sqlite.org/fileformat2.html#walformat>).

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::file::{StoreFile, open_to_read, opening};
use super::identity::is_open_here;

/// The first bytes of every database.
const MAGIC: &[u8] = b"SQLite format 3\0";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// True for a backup, and for a database that was never opened as a store.
    pub(super) is_in_rollback_mode: bool,
    /// `None` for a size that no database has.
    pub(super) page_size: Option<u64>,
}

/// Returns the header of the file. `None` for a file that is no database, and for one that this process may
/// have open: closing the descriptor would drop the locks of its connections.
///
/// SQLite does not return the mode of a file with a log beside it, nor the page size of a file whose schema it
/// can't read.
pub(super) fn header(file: &StoreFile) -> io::Result<Option<Header>> {
    let _opening = opening();
    match is_open_here(file.path()) {
        true => Ok(None),
        false => read_header(file.path()),
    }
}

fn read_header(path: &Path) -> io::Result<Option<Header>> {
    // Magic bytes, page size (two bytes), format version for writing, format version for reading.
    let mut bytes = Vec::new();
    open_to_read(path)?.take(20).read_to_end(&mut bytes)?;
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

/// Returns whether the log has a version of the page, counted from 1. SQLite checks the checksums.
pub(super) fn log_has_page(log: &Path, page: u64, page_size: u64) -> io::Result<bool> {
    match find_page(log, page, page_size) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
            ) =>
        {
            Ok(false)
        }
        result => result,
    }
}

fn find_page(log: &Path, page: u64, page_size: u64) -> io::Result<bool> {
    let mut log = open_to_read(log)?;
    let (mut header, mut frame) = ([0; 32], [0; 24]);
    log.read_exact(&mut header)?;
    if number(&header, 8) != page_size {
        return Ok(false);
    }
    let mut at = 32;
    loop {
        log.read_exact(&mut frame)?;
        // Frames of before the last restart of the log have another salt.
        if frame[8..16] != header[16..24] || number(&frame, 0) == 0 {
            return Ok(false);
        }
        if number(&frame, 0) == page {
            return Ok(true);
        }
        at += 24 + page_size;
        log.seek(SeekFrom::Start(at))?;
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let number = bytes.get(at..).and_then(<[u8]>::first_chunk);
    number.map_or(0, |number| u32::from_be_bytes(*number).into())
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
                assert_eq!(read_header(&path).unwrap(), Some(header), "{mode}");
            }
        }
        let odd = [MAGIC, &[0, 3, 1, 1]].concat();
        std::fs::write(&path, odd).unwrap();
        assert_eq!(read_header(&path).unwrap().unwrap().page_size, None);
        for text in [
            "",
            "SQLite format 3",
            "no database, but long enough for one",
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_header(&path).unwrap(), None, "{text}");
        }
    }

    #[test]
    fn only_frames_since_the_last_restart_of_the_log_count() {
        let folder = tempfile::tempdir().unwrap();
        let [path, log] = ["a.db", "a.db-wal"].map(|name| folder.path().join(name));
        let mut conn = Conn::establish(path.to_str().unwrap()).unwrap();
        conn.batch_execute(
            "PRAGMA journal_mode = WAL; CREATE TABLE a (x); CREATE TABLE b (x); \
             PRAGMA wal_checkpoint(RESTART); INSERT INTO b VALUES (zeroblob(10000))",
        )
        .unwrap();
        let pages: Vec<_> = (1..=6)
            .map(|page| log_has_page(&log, page, 4_096).unwrap())
            .collect();
        // Page 2, of table `a`, has a frame of before the restart.
        assert_eq!(pages, [true, false, true, true, true, false]);
        assert!(!log_has_page(&log, 1, 1_024).unwrap(), "of another size");
        std::fs::write(&log, "no log").unwrap();
        assert!(!log_has_page(&log, 1, 4_096).unwrap());
    }
}
