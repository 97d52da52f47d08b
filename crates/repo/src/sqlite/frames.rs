//! The pages that a write-ahead log has, which no statement returns
//! (<https://sqlite.org/fileformat2.html#walformat>).

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::file::open_to_read;

const HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// Returns whether the log has a version of the page, counted from 1. Checksums are left to SQLite.
pub(super) fn has_page(path: &Path, page: u64, page_size: u64) -> io::Result<bool> {
    let mut log = open_to_read(path)?;
    let Some(header) = read_at(&mut log, 0, HEADER)? else {
        return Ok(false);
    };
    let mut at = HEADER;
    while u64::from(number(&header, 8)) == page_size
        && let Some(frame) = read_at(&mut log, at, FRAME_HEADER)?
    {
        // A frame of an earlier use of the log, or one that was never written.
        if frame.get(8..16) != header.get(16..24) || number(&frame, 0) == 0 {
            break;
        }
        if u64::from(number(&frame, 0)) == page {
            return Ok(true);
        }
        at += FRAME_HEADER + page_size;
    }
    Ok(false)
}

/// Returns that many bytes, if there are as many.
fn read_at(log: &mut std::fs::File, at: u64, length: u64) -> io::Result<Option<Vec<u8>>> {
    log.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    log.take(length).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 == length).then_some(bytes))
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let number = bytes.get(at..).and_then(<[u8]>::first_chunk);
    number.map_or(0, |number| u32::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection;

    use super::*;
    use crate::sqlite::Conn;

    #[test]
    fn the_pages_of_a_log_are_those_written_since_it_was_begun() {
        let folder = tempfile::tempdir().unwrap();
        let [path, log] = ["a.db", "a.db-wal"].map(|name| folder.path().join(name));
        let mut conn = Conn::establish(path.to_str().unwrap()).unwrap();
        conn.batch_execute(
            "PRAGMA journal_mode = WAL; CREATE TABLE a (x); CREATE TABLE b (x); \
             PRAGMA wal_checkpoint(RESTART); INSERT INTO b VALUES (zeroblob(10000))",
        )
        .unwrap();
        let pages: Vec<_> = (1..=6)
            .map(|page| has_page(&log, page, 4_096).unwrap())
            .collect();
        // Frames of before the restart do not count: the table `a`, on page 2.
        assert_eq!(pages, [true, false, true, true, true, false]);
        assert!(!has_page(&log, 1, 1_024).unwrap(), "of another size");
        std::fs::write(&log, "no log").unwrap();
        assert!(!has_page(&log, 1, 4_096).unwrap());
    }
}
