//! Reading of files that another program wrote: no pipe is opened, and the number of bytes is bounded.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::plan::Refusal;

/// Opens a regular file. Follows links, as the agents do.
pub(super) fn open(path: &Path) -> Result<File, Refusal> {
    // Opening a pipe would wait.
    let metadata = fs::metadata(path).map_err(unreadable(path))?;
    if !metadata.is_file() {
        return Err(unreadable(path)(io::ErrorKind::InvalidInput.into()));
    }
    File::open(path).map_err(unreadable(path))
}

pub(super) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Refusal {
    |error| Refusal::Unreadable {
        path: path.to_owned(),
        kind: error.kind(),
    }
}

/// Calls `visit` with the lines among the first `limit` bytes, until it returns a value. A line that is cut there is
/// not passed on.
pub(crate) fn find_line<T>(
    path: &Path,
    limit: u64,
    mut visit: impl FnMut(&[u8]) -> Option<T>,
) -> Result<Option<T>, Refusal> {
    let mut lines = BufReader::new(open(path)?.take(limit));
    let mut line = Vec::new();
    let mut read = 0;
    loop {
        line.clear();
        let length = lines.read_until(b'\n', &mut line);
        let length = length.map_err(unreadable(path))?;
        read += u64::try_from(length).unwrap_or(limit);
        let is_cut = read >= limit && !line.ends_with(b"\n");
        if length == 0 || is_cut {
            return Ok(None);
        }
        if let Some(found) = visit(&line) {
            return Ok(Some(found));
        }
    }
}

/// Returns at most the last `limit` bytes of a file.
pub(super) fn tail(path: &Path, limit: u64) -> Result<Vec<u8>, Refusal> {
    let mut file = open(path)?;
    let mut bytes = Vec::new();
    let read = file.seek(SeekFrom::End(0)).and_then(|length| {
        file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
        file.take(limit).read_to_end(&mut bytes)
    });
    read.map(|_| bytes).map_err(unreadable(path))
}
