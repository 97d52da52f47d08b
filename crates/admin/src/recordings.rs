//! Recordings, chunk by chunk.

use std::slice;

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
        match chunk {
            Some(chunk) if chunk.end() <= file.length => {
                self.at = chunk.end();
                Ok(chunk)
            }
            None if self.is_still_there()? => {
                Err(damaged(bulk, file, at, "the next chunk is missing".into()))
            }
            _ => {
                let reason = "has a recording that was changed meanwhile; try again";
                Err(conflict(bulk.operation(), &file.task_id, reason))
            }
        }
    }

    /// Returns whether the recording is the one that the caller has read. Added bytes may have replaced the last chunks.
    fn is_still_there(&self) -> Result<bool> {
        let task = slice::from_ref(&self.file.task_id);
        let files = self.reader.read(|rows| rows.recordings(task))?;
        Ok(files.contains(self.file))
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use turnkeep_model::{NewTask, RecordingName, TaskId};
    use turnkeep_repo::bulk::Rows;
    use turnkeep_repo::{ErrorKind, Repo};

    use super::*;

    const MIB: usize = 1024 * 1024;

    /// A store that others write to after its first page was read.
    struct InUse<'a> {
        bulk: Bulk<'a>,
        pages: Cell<u32>,
        write: &'a dyn Fn(),
    }

    impl Reader for InUse<'_> {
        fn bulk(&self) -> &Bulk<'_> {
            &self.bulk
        }

        fn read<T>(
            &self,
            query: impl FnMut(&mut Rows<'_>) -> turnkeep_repo::Result<T>,
        ) -> turnkeep_repo::Result<T> {
            if self.pages.replace(self.pages.get() + 1) == 1 {
                (self.write)();
            }
            Bulk::read(&self.bulk, query)
        }
    }

    /// Reads a recording of two pages from an offset on, and returns the error that ends it.
    fn read(from: u64, write: impl Fn(&Repo, &TaskId, &RecordingName)) -> Error {
        let repo = Repo::open_in_memory().unwrap();
        let task = TaskId::new("t").unwrap();
        repo.save_task(&NewTask::new(task.clone(), "T")).unwrap();
        let name = RecordingName::new("a").unwrap();
        repo.save_recording(&task, &name, 0, &vec![0; MIB]).unwrap();
        for step in 0..6 {
            let offset = MIB + step * 20_000;
            repo.save_recording(&task, &name, offset as u64, &[1; 20_000])
                .unwrap();
        }
        let file = &repo.get_recordings(&task).unwrap()[0];
        let store = InUse {
            bulk: repo.bulk("copy", None),
            pages: Cell::new(0),
            write: &|| write(&repo, &task, &name),
        };
        let error = Chunks::new(&store, file, from).find_map(Result::err);
        error.expect("an error")
    }

    #[test]
    fn a_recording_that_changes_meanwhile_is_not_damaged() {
        let errors = [
            // The chunks of a full mebibyte become one.
            read(0, |repo, task, name| {
                let rest = vec![1; MIB - 120_000];
                let offset = MIB as u64 + 120_000;
                repo.save_recording(task, name, offset, &rest).unwrap();
            }),
            // Rewritten twice, which drops it.
            read(0, |repo, task, name| {
                for bytes in [b"2", b"3"] {
                    repo.save_recording(task, name, 0, bytes).unwrap();
                }
            }),
            read(0, |repo, task, _| {
                repo.delete_recordings(task).unwrap();
            }),
            // Another recording of that number.
            read(0, |repo, task, name| {
                repo.delete_recordings(task).unwrap();
                repo.save_recording(task, name, 0, b"2").unwrap();
            }),
        ];
        for error in errors {
            let Error::Conflict { reason, .. } = &error else {
                panic!("{error}");
            };
            assert_eq!(
                reason,
                "has a recording that was changed meanwhile; try again"
            );
        }
    }

    #[test]
    fn a_missing_chunk_is_damage() {
        // No chunk begins there.
        let error = read(1, |_, _, _| {});
        assert!(matches!(&error, Error::Store(error) if *error.kind() == ErrorKind::Corrupt));
    }
}
