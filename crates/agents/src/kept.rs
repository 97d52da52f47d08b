use std::cmp::Reverse;
use std::collections::HashSet;

use turnkeep_repo::{RecordingFile, Repo, Result, TaskId};

/// Returns the present state of each kept file of a task, the last changed first. An agent may have moved a file, which
/// is then kept under two names.
pub(crate) fn present_files(repo: &Repo, task: &TaskId) -> Result<Vec<RecordingFile>> {
    let mut files = repo.get_recordings(task)?;
    // Of a name the last number counts: the clock may have been set back.
    files.sort_by_key(|file| Reverse(file.number));
    let mut names = HashSet::new();
    files.retain(|file| names.insert(file.name.clone()));
    files.sort_by_key(|file| Reverse((file.updated_at, file.number)));
    Ok(files)
}
