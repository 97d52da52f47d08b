//! Keeps the files of a session byte for byte.

use std::io::Read;

use turnkeep_repo::{ErrorKind, RecordingFile, RecordingName, Repo, Result, TaskId};

use super::event::KeepError;

/// The bytes of one step: a whole chunk of the store.
const STEP: u64 = RecordingFile::MAX_CHUNK_BYTES as u64;

/// Keeps a file, of which the store may have the beginning, and returns the number of added bytes. `kept` are
/// the files of the task.
///
/// The part that the store has is read and compared. From the first difference on, the bytes are saved: behind the kept
/// ones, or as a new number if the file was rewritten. A file that is shorter than the kept one and equal so far is an
/// older copy, and adds nothing.
///
/// `file` ends where the file ended when it was opened. An agent appends, so that is a state of the file. If the file
/// shrinks or is written over meanwhile, the bytes of both states are kept up to the last read, and the next import
/// keeps the file anew.
pub(super) fn keep(
    repo: &Repo,
    task: &TaskId,
    kept: &[RecordingFile],
    name: &RecordingName,
    file: &mut dyn Read,
) -> Result<u64, KeepError> {
    let mut known = kept.iter().rev().find(|kept| kept.name == *name);
    let is_new = known.is_none();
    let (mut offset, mut added) = (0, 0);
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
