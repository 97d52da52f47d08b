//! Keeps the files of a session byte for byte.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use turnkeep_recordings::{Recording, Source};
use turnkeep_repo::{ErrorKind, RecordingFile, RecordingName, Repo, Result, TaskId};

use super::concerns_one_session;
use super::event::KeepError;
use super::source_files::SourceFiles;

/// The bytes of one step: a whole chunk of the store.
const STEP: u64 = RecordingFile::MAX_CHUNK_BYTES as u64;

/// The bytes at the end of a kept file that show that it has only grown.
const END: u64 = 64 * 1024;

/// The result of keeping a session.
#[derive(Default)]
pub(super) struct Kept {
    /// The number of added bytes.
    pub(super) added: u64,
    /// Files that could not be kept.
    pub(super) failures: Vec<(PathBuf, KeepError)>,
}

/// Keeps the files of a session for a task. Without a task the files are only noted. Fails only with an error that
/// concerns all sessions.
pub(super) fn keep_session(
    repo: &Repo,
    task: Option<&TaskId>,
    source: &Source,
    recording: &Recording,
    files: &mut SourceFiles<'_>,
) -> Result<Kept> {
    let stored = match task {
        Some(task) => repo.get_recordings(task)?,
        None => Vec::new(),
    };
    let mut kept = Kept::default();
    let mut count = |path: &Path, result| match result {
        Ok(added) => {
            kept.added += added;
            Ok(())
        }
        Err(KeepError::Store(error)) if !concerns_one_session(&error) => Err(error),
        Err(error) => {
            kept.failures.push((path.to_owned(), error));
            Ok(())
        }
    };
    for file in source.kept_files(recording) {
        let path = file
            .as_ref()
            .map_or(&*recording.path, |file| &*file.path)
            .to_owned();
        let result = file.map_err(KeepError::from).and_then(|file| {
            let opened = file.open()?;
            let metadata = opened.metadata()?;
            let end = files.before_keeping(&file.path, &metadata, recording);
            let Some(task) = task else {
                return Ok(0);
            };
            let name = RecordingName::new(file.name)?;
            keep_file(repo, task, &stored, &name, opened, metadata.len(), end)
        });
        count(&path, result)?;
    }
    if let Some(task) = task {
        let result = files
            .export(source, recording)
            .and_then(|export| match export {
                Some(export) => {
                    let name = RecordingName::new(export.name)?;
                    keep(repo, task, &stored, &name, 0, &mut &*export.json)
                }
                None => Ok(0),
            });
        count(&recording.path, result)?;
    }
    files.is_complete &= kept.failures.is_empty();
    Ok(kept)
}

/// Keeps a file of a length, from its kept end on if the store has `end` bytes of it and the last of them are equal.
fn keep_file(
    repo: &Repo,
    task: &TaskId,
    kept: &[RecordingFile],
    name: &RecordingName,
    mut file: File,
    length: u64,
    end: Option<u64>,
) -> Result<u64, KeepError> {
    let offset = match last(kept, name) {
        Some(last) if end == Some(last.length) && has_end(repo, task, last, &mut file)? => {
            last.length
        }
        _ => 0,
    };
    file.seek(SeekFrom::Start(offset))?;
    let rest = &mut file.take(length.saturating_sub(offset));
    keep(repo, task, kept, name, offset, rest)
}

/// Whether a file has the last kept bytes at their place.
fn has_end(
    repo: &Repo,
    task: &TaskId,
    kept: &RecordingFile,
    file: &mut File,
) -> Result<bool, KeepError> {
    let mut offset = kept.length.saturating_sub(END);
    file.seek(SeekFrom::Start(offset))?;
    while offset < kept.length {
        let stored = stored(repo, task, kept, offset)?;
        let mut read = Vec::new();
        (&mut *file)
            .take(stored.len() as u64)
            .read_to_end(&mut read)?;
        if stored.is_empty() || stored != read {
            return Ok(false);
        }
        offset += stored.len() as u64;
    }
    Ok(true)
}

fn last<'a>(kept: &'a [RecordingFile], name: &RecordingName) -> Option<&'a RecordingFile> {
    kept.iter().rev().find(|kept| kept.name == *name)
}

/// Keeps a file, of which the store may have the beginning, from an offset on, and returns the number of added bytes. `kept` are
/// the files of the task.
///
/// The part that the store has is read and compared. From the first difference on, the bytes are saved: behind the kept
/// ones, or as a new number if the file was rewritten. A file that is shorter than the kept one and equal so far is an
/// older copy, and adds nothing.
///
/// `file` ends where the file ended when it was opened. An agent appends, so that is a state of the file. If the file
/// shrinks or is written over meanwhile, the bytes of both states are kept up to the last read, and the next import
/// keeps the file anew.
fn keep(
    repo: &Repo,
    task: &TaskId,
    kept: &[RecordingFile],
    name: &RecordingName,
    mut offset: u64,
    file: &mut dyn Read,
) -> Result<u64, KeepError> {
    let mut known = last(kept, name);
    let is_new = known.is_none();
    let mut added = 0;
    let mut step = Vec::new();
    loop {
        let stored = match known {
            Some(kept) => stored(repo, task, kept, offset)?,
            None => Vec::new(),
        };
        // Behind a kept end within a chunk, the first step fills that chunk.
        let rest_of_chunk = STEP - offset % STEP;
        let length = match stored.len() as u64 {
            0 => rest_of_chunk,
            length => length,
        };
        step.clear();
        (&mut *file).take(length).read_to_end(&mut step)?;
        if stored.is_empty() || !stored.starts_with(&step) {
            known = None;
            if !step.is_empty() || is_new && offset == 0 {
                repo.save_recording(task, name, offset, &step)?;
                added += step.len() as u64;
            }
        }
        offset += step.len() as u64;
        if (step.len() as u64) < length {
            return Ok(added);
        }
    }
}

/// Returns the bytes that the store has from an offset on, none if they are damaged: a file that is saved from there
/// on is whole again.
fn stored(repo: &Repo, task: &TaskId, kept: &RecordingFile, offset: u64) -> Result<Vec<u8>> {
    match repo.read_recording(task, kept.number, offset) {
        Err(error) if *error.kind() == ErrorKind::Corrupt => Ok(Vec::new()),
        result => result,
    }
}
