//! Recordings, chunk by chunk.

use turnkeep_model::RecordingFile;
use turnkeep_repo::bulk::{Bulk, Chunk};

use crate::conflict::conflict;
use crate::error::{Error, Result};
use crate::read::Reader;

/// The chunks of a recording in order, with a page of them in memory. None may be missing. An error is the last item.
pub(crate) struct Chunks<'a, R> {
    reader: &'a R,
    file: &'a RecordingFile,
    /// The end of the last chunk.
    at: u64,
    page: std::vec::IntoIter<Chunk>,
}

impl<'a, R: Reader> Chunks<'a, R> {
    pub(crate) fn new(reader: &'a R, file: &'a RecordingFile, from: u64) -> Self {
        Self {
            reader,
            file,
            at: from,
            page: Vec::new().into_iter(),
        }
    }

    fn read(&mut self) -> Result<Chunk> {
        let (bulk, file, at) = (self.reader.bulk(), self.file, self.at);
        if self.page.as_slice().is_empty() {
            self.page = self.reader.read(|rows| rows.chunks(file, at))?.into_iter();
        }
        let next = self.page.next();
        let chunk = next.filter(|chunk| u64::try_from(chunk.offset) == Ok(at) && chunk.end() > at);
        let Some(chunk) = chunk else {
            return Err(damaged(bulk, file, at, "the next chunk is missing".into()));
        };
        if chunk.end() > file.length {
            let reason = "has a recording that has grown meanwhile; copy again";
            return Err(conflict(bulk.operation(), &file.task_id, reason));
        }
        self.at = chunk.end();
        Ok(chunk)
    }
}

impl<R: Reader> Iterator for Chunks<'_, R> {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.file.length {
            return None;
        }
        let chunk = self.read();
        if chunk.is_err() {
            self.at = self.file.length;
        }
        Some(chunk)
    }
}

/// Returns the bytes of a chunk, whose checksum must be right.
pub(crate) fn bytes(bulk: &Bulk<'_>, file: &RecordingFile, chunk: &Chunk) -> Result<Vec<u8>> {
    let offset = chunk.offset.unsigned_abs();
    let damaged = |reason: Box<dyn std::error::Error + Send + Sync>| {
        damaged(bulk, file, offset, reason.to_string())
    };
    chunk.bytes().map_err(damaged)
}

fn damaged(bulk: &Bulk<'_>, file: &RecordingFile, offset: u64, reason: String) -> Error {
    let part = format!("byte {offset} of recording {}", file.number);
    bulk.corrupt(&file.task_id, Some(part), reason).into()
}

/// Returns whether the bytes of these chunks of one store are the next ones of the other.
pub(crate) fn is_continued<R: Reader>(
    mut source: Chunks<'_, R>,
    stored: Chunks<'_, R>,
) -> Result<bool> {
    let mut expected = Vec::new();
    let (reader, file) = (stored.reader, stored.file);
    for chunk in stored {
        let chunk = bytes(reader.bulk(), file, &chunk?)?;
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            if expected.is_empty() {
                let Some(next) = source.next().transpose()? else {
                    return Ok(false);
                };
                expected = bytes(source.reader.bulk(), source.file, &next)?;
            }
            let count = rest.len().min(expected.len());
            if rest[..count] != expected[..count] {
                return Ok(false);
            }
            expected.drain(..count);
            rest = &rest[count..];
        }
    }
    Ok(true)
}
