use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use turnkeep_recordings::{Error as RecordingError, Found, HookEvent};
use turnkeep_repo::{BackendType, HistoryPage, Repo, Role};

use crate::import::{self, ImportError, ImportEvent, ImportFailure, ImportOptions, ImportWarning};
use crate::layout::codex::newest;

/// The longest wait for the answer of an event to appear in the recording. Claude Code 2.1.197 writes it 21 to
/// 36 ms after its hook has begun, while it waits for the hook.
const WAIT: Duration = Duration::from_millis(100);

/// Stores what an agent reports to a hook.
///
/// The recording is imported first, as far as it is written, so that the words stand in their order. Words of
/// the event that it does not have yet are appended. They go to the task that is or was bound to the session; if
/// there is none, the task is made as [`import`](crate::import()) makes it. Repeating an event adds nothing, and
/// the next import of the recording repeats none of its words.
///
/// An answer is expected in the recording, and waited for up to 100 ms. Sessions of sub-agents are passed over.
///
/// # Errors
/// - [`HookError::Store`] if the store fails.
/// - [`HookError::Import`] if the recording could not be read; the words of an event of Claude Code are stored then.
/// - [`HookError::Removed`] if the task of the session was removed. Nothing is stored.
pub fn save_hook_event(
    repo: &Repo,
    event: &HookEvent,
    options: &ImportOptions,
) -> Result<(), HookError> {
    let said = &event.recording;
    let has_answer = said.count(Role::Assistant) > 0;
    let begun = Instant::now();
    let mut length = None;
    let mut failure = None;
    let mut is_known = false;
    loop {
        let now = event.transcript.as_deref().and_then(length_of);
        if now.is_some() && now != length {
            length = now;
            failure = match import_transcript(repo, event, options)? {
                Imported::All(failure) => failure,
                Imported::SubAgent => return Ok(()),
            };
            is_known = has_words(repo, event)?;
        }
        // Codex writes before it reports, and its `notify` reports a prompt at the end of the turn.
        let is_complete = said.backend_type == BackendType::Codex && length.is_some();
        if said.messages.is_empty() || is_complete {
            break;
        }
        let is_late = begun.elapsed() >= WAIT;
        if length.is_none() || !has_answer || is_known || is_late {
            let warning = import::save_recording(repo, said, options)?;
            failure = failure.or(warning.map(HookError::Removed));
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    failure.map_or(Ok(()), Err)
}

/// The reason for which an event could not be stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// The event could not be stored.
    #[error(transparent)]
    Store(#[from] ImportError),
    /// The recording could not be imported.
    #[error(transparent)]
    Import(#[from] ImportFailure),
    /// The session goes on although its task was removed ([`ImportWarning::GoesOn`]).
    #[error(transparent)]
    Removed(ImportWarning),
}

impl From<turnkeep_repo::Error> for HookError {
    fn from(error: turnkeep_repo::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Returns the length of a file. `None` also for a folder, which would be searched.
fn length_of(path: &Path) -> Option<u64> {
    let metadata = fs::metadata(path).ok()?;
    metadata.is_file().then_some(metadata.len())
}

enum Imported {
    /// What there is, apart from this failure.
    All(Option<HookError>),
    SubAgent,
}

fn import_transcript(
    repo: &Repo,
    event: &HookEvent,
    options: &ImportOptions,
) -> Result<Imported, HookError> {
    let Some(path) = &event.transcript else {
        return Ok(Imported::All(None));
    };
    let found = match turnkeep_recordings::find(path, Some(&event.recording.backend_type)) {
        Ok(found) => found,
        Err(RecordingError::SubAgent { .. }) => return Ok(Imported::SubAgent),
        // Deleted meanwhile.
        Err(RecordingError::NotFound { .. }) => Found::default(),
        Err(error) => return Ok(Imported::All(Some(ImportFailure::from(error).into()))),
    };
    let mut failure = None;
    // The agent waits for its hook. The next import keeps the files.
    let options = options.clone().words_only();
    import::import(repo, &found, &options, &mut |event| match event {
        ImportEvent::Failed(error) => failure = Some(error.into()),
        ImportEvent::Warning(warning @ ImportWarning::GoesOn { .. }) => {
            failure = Some(HookError::Removed(warning));
        }
        _ => {}
    })?;
    Ok(Imported::All(failure))
}

/// Whether the store has the words of the event.
fn has_words(repo: &Repo, event: &HookEvent) -> Result<bool, HookError> {
    let said = &event.recording;
    let Some(task) = repo.find_task_by_session(&said.backend_type, &said.session_id)? else {
        return Ok(false);
    };
    let stored = repo.get_history_page(&task, HistoryPage::new(u32::MAX).with_hidden())?;
    Ok(said.new_messages(&stored).is_empty())
}

/// Returns the newest rollout of a Codex thread, by its name. Codex' `notify` names the thread alone.
///
/// Looks in `sessions/` of the home, in order of the days, the last first.
#[must_use]
pub fn find_rollout(codex_home: &Path, thread: &str) -> Option<PathBuf> {
    newest(codex_home, thread)
}
