//! The parts of a database and its log that no statement returns: the header of the file
//! (<https://sqlite.org/fileformat2.html#the_database_header>) and the pages in the log
//! (<https://sqlite.org/fileformat2.html#walformat>).

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use turnkeep_schema::SQLITE_APPLICATION_ID;

use super::file::{StoreFile, open_to_read, opening};
use super::identity::is_open_here;

/// The first bytes of every database.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Whether a log does not belong to the file: it is a backup, or a database that was never opened as a store.
/// SQLite does not return the mode of a file with a log beside it. Counts as false for a file that this process
/// may have open.
pub(super) fn is_in_rollback_mode(file: &StoreFile) -> io::Result<bool> {
    let header = header(file)?;
    Ok(header.starts_with(MAGIC) && header.get(MODE) == Some(&1))
}

/// Whether the file, of this length, says that it is a store with a write-ahead log, and ends with a page. Counts as
/// false for a file that this process may have open.
pub(super) fn is_marked(file: &StoreFile, length: u64) -> io::Result<bool> {
    let header = header(file)?;
    // The size of a page has two bytes, 1 stands for 65,536.
    let page_size = match number(&header, MAGIC.len()) >> 16 {
        1 => 65_536,
        size => size,
    };
    Ok(header.starts_with(MAGIC)
        && header.get(MODE) == Some(&2)
        && number(&header, 68) == u64::from(SQLITE_APPLICATION_ID.unsigned_abs())
        && page_size > 0
        && length.is_multiple_of(page_size))
}

/// The place of the format version for reading: 2 with a write-ahead log, else 1.
const MODE: usize = 19;

/// Returns the header. It is empty for a file that this process may have open: closing the descriptor would drop the
/// locks of its connections.
fn header(file: &StoreFile) -> io::Result<Vec<u8>> {
    let _opening = opening();
    let mut header = Vec::new();
    if !is_open_here(file.path()) {
        let file = open_to_read(file.path())?;
        file.take(100).read_to_end(&mut header)?;
    }
    Ok(header)
}

/// Returns whether the log has a version of the page, counted from 1. SQLite checks the checksums. Fails at the
/// end of the log.
pub(super) fn log_has_page(log: &Path, page: u64, page_size: u64) -> io::Result<bool> {
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
    fn the_mode_is_read_from_the_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let file = StoreFile::new(&path).unwrap();
        for (mode, expected) in [("DELETE", true), ("WAL", false)] {
            let mut conn = Conn::establish(path.to_str().unwrap()).unwrap();
            conn.batch_execute(&format!(
                "PRAGMA journal_mode = {mode}; CREATE TABLE {mode}_ (x)"
            ))
            .unwrap();
            assert!(!is_in_rollback_mode(&file).unwrap(), "open here");
            drop(conn);
            assert_eq!(is_in_rollback_mode(&file).unwrap(), expected, "{mode}");
        }
        for text in [
            "",
            "SQLite format 3",
            "no database, but long enough for one",
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(!is_in_rollback_mode(&file).unwrap(), "{text}");
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
            .map(|page| log_has_page(&log, page, 4_096).unwrap_or(false))
            .collect();
        // Page 2, of table `a`, has a frame of before the restart.
        assert_eq!(pages, [true, false, true, true, true, false]);
        assert!(!log_has_page(&log, 1, 1_024).unwrap(), "of another size");
        std::fs::write(&log, "no log").unwrap();
        assert!(log_has_page(&log, 1, 4_096).is_err());
    }
}
