//! The end of a file that has only grown since its last import.
//!
//! It is enough if the file is the only one of its session, and the only task that was ever bound to the session goes on
//! in this very file. An import of the whole file would then add the same turns, and would change the binding no more.

use turnkeep_recordings::{Recording, Source};
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{
    ConversationTurn, ErrorKind, HistoryPage, NewMessage, Repo, Result, Role, Session,
};

use super::event::{ImportEvent, ImportedSession};
use super::origin::{Evidence, Origin};
use super::place::Place;
use super::save::append_after;
use super::source_files::SourceFiles;
use super::{Import, ImportOptions, Stored, concerns_one_session};

impl Import<'_> {
    /// Imports only the end of a file that has grown. Returns whether that is enough.
    pub(super) fn grown(&mut self, source: &Source, files: &mut SourceFiles<'_>) -> Result<bool> {
        let on_added = &mut |count| (self.on_event)(ImportEvent::TurnsAdded(count));
        let (recording, session) = match save(self.repo, source, files, self.options, on_added) {
            Ok(Some(saved)) => saved,
            Ok(None) => return Ok(false),
            // The import of the whole file tells of it.
            Err(error) if concerns_one_session(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        files.add_session(&recording);
        let is_bound = true;
        self.keep(source, &recording, Stored { session, is_bound }, files)?;
        self.warn_of_lines(source, recording.unparsable_lines);
        Ok(true)
    }
}

/// Saves the new turns at the end of a file, and calls `on_added` with the number of turns of each transaction. Returns
/// the end as a recording. `None` if the whole file has to be read.
fn save(
    repo: &Repo,
    source: &Source,
    files: &SourceFiles<'_>,
    options: &ImportOptions,
    on_added: &mut dyn FnMut(i64),
) -> Result<Option<(Recording, ImportedSession)>> {
    let Some((session, settled)) = files.settled_end() else {
        return Ok(None);
    };
    // The import of the whole file tells of a failure.
    let Ok(Some(tail)) = source.tail(settled) else {
        return Ok(None);
    };
    let mut recording = tail.recording().clone();
    let place = Place::of(source, &recording, options);
    let bound = repo.list_tasks_by_session(&recording.backend_type, &recording.session_id)?;
    let ([task], true) = (&bound[..], recording.session_id == *session) else {
        return Ok(None);
    };
    let binding = repo.get_session(task)?;
    let origin = Origin::of(binding.metadata.as_ref());
    if !goes_on_in(&binding, origin.as_ref(), &recording, &place) {
        return Ok(None);
    }
    recording.working_dir = recording.working_dir.or(binding.working_dir);
    let whole = HistoryPage::new(u32::MAX).with_hidden();
    let stored = repo.get_history_page(task, whole)?;
    let Some(new) = tail.new_messages(&stored) else {
        return Ok(None);
    };
    if origin.is_some() && tail.may_rename(&repo.get_task(task)?.name, &stored) {
        return Ok(None);
    }
    let last_seq = stored.last().map(|turn| turn.seq);
    match append_after(repo, task, last_seq, &new, on_added) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), ErrorKind::SeqConflict { .. }) => return Ok(None),
        Err(error) => return Err(error),
    }
    let session = ImportedSession {
        is_new: false,
        task_id: task.clone(),
        backend_type: recording.backend_type.clone(),
        session_id: recording.session_id.clone(),
        working_dir: recording.working_dir.clone(),
        user_turns: count_of(Role::User, &stored, &new),
        assistant_turns: count_of(Role::Assistant, &stored, &new),
        first_timestamp: times(&stored, &new).min(),
        last_timestamp: times(&stored, &new).max(),
        added_turns: new.len() as i64,
        unparsable_lines: recording.unparsable_lines,
        path: recording.path.clone(),
        kept_bytes: 0,
    };
    Ok(Some((recording, session)))
}

/// Whether a task is bound to the session at this place, and the end of the recording tells no other folder.
fn goes_on_in(
    binding: &Session,
    origin: Option<&Origin>,
    recording: &Recording,
    place: &Place<'_>,
) -> bool {
    let is_session = binding.backend_type == recording.backend_type
        && binding.session_id == recording.session_id;
    let is_place = match origin {
        Some(origin) => origin.evidence == Evidence::Place && place.is_file(origin),
        None => place.is_home(&binding.backend_type, binding.config_dir.as_ref()),
    };
    let folder = recording.working_dir.as_ref();
    let is_folder = match &binding.working_dir {
        // Somebody has named it.
        Some(_) if origin.is_none() => true,
        known => folder.is_none() || folder == known.as_ref(),
    };
    is_session && is_place && place.is_in_home() && is_folder
}

fn count_of(role: Role, stored: &[ConversationTurn], new: &[NewMessage<'_>]) -> usize {
    let stored = stored.iter().filter(|turn| turn.role == role);
    stored.count() + new.iter().filter(|message| message.role == role).count()
}

fn times(
    stored: &[ConversationTurn],
    new: &[NewMessage<'_>],
) -> impl Iterator<Item = DateTime<Utc>> {
    let stored = stored.iter().map(|turn| turn.timestamp);
    stored.chain(new.iter().filter_map(|message| message.timestamp))
}
