//! A session that goes on under a new id.
//!
//! Versions 1.0 of Claude Code wrote each resume into a new file: a copy of the conversation, in which the first lines
//! still have the old id, then what was said since. Later versions keep the id, and a fork that somebody asks for has
//! the new id in every line. Codex and Goose keep the id at a resume, so a fork of them is never a continuation.

use turnkeep_recordings::Recording;
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{
    BackendType, ConversationTurn, HistoryPage, NewSession, Result, Role, Session, SessionId,
    SessionRevision, TaskId, Transaction,
};

use super::binding;
use super::origin::Origin;
use super::place::Place;

/// What a recording is to the tasks of the session that its first lines name.
pub(super) enum Continuation {
    /// The task goes on in it.
    Of(TaskId),
    /// It is a copy in which nothing was said yet.
    NotBegun,
}

/// Returns the session that the first lines of a recording name, if it may be a continuation.
pub(super) fn origin(recording: &Recording) -> Option<SessionId> {
    let origin = recording.forked_from.as_deref()?.parse().ok();
    origin.filter(|_| recording.backend_type == BackendType::Claude)
}

/// Returns the task that goes on in a recording with a new id. Binds it to the new session.
///
/// The recording must continue the current binding of the task, from the task's last turn on. So a task whose own
/// session went on after the copy, or that somebody has bound to another session, keeps its binding. So does one that
/// somebody bound after the first new turn of the recording.
pub(super) fn of(
    tx: &Transaction<'_>,
    recording: &Recording,
    place: &Place<'_>,
) -> Result<Option<Continuation>> {
    let backend = &recording.backend_type;
    let Some(origin) = origin(recording) else {
        return Ok(None);
    };
    for task in tx.list_tasks_by_session(backend, &origin)? {
        let Some(current) = tx.find_session(&task)? else {
            continue;
        };
        let is_of_home = place.is_home(backend, current.config_dir.as_ref());
        if current.backend_type != *backend || !is_of_home {
            continue;
        }
        let visible = tx.get_history_page(&task, HistoryPage::new(u32::MAX))?;
        let is_said = |turn: &&ConversationTurn| matches!(turn.role, Role::User | Role::Assistant);
        let Some(last) = visible.iter().rfind(is_said) else {
            continue;
        };
        let revisions = tx.list_session_revisions(&task)?;
        // The task may have gone on in another copy, whose first lines have the same id.
        let is_current = current.session_id == origin
            || revisions
                .last()
                .is_some_and(|current| current.first_seq <= last.seq);
        let stored = tx.get_history_page(&task, HistoryPage::new(u32::MAX).with_hidden())?;
        if !is_current || !repeats(recording, &stored, last) {
            continue;
        }
        let Some(first) = recording.new_messages(&stored).into_iter().next() else {
            return Ok(Some(Continuation::NotBegun));
        };
        if first.timestamp <= chosen_at(&current, &revisions) {
            continue;
        }
        tx.save_session(&task, &rebound(current, recording, place))?;
        return Ok(Some(Continuation::Of(task)));
    }
    Ok(None)
}

/// Returns when somebody bound the task to the session or to one that it continues. `None` if an import did.
fn chosen_at(current: &Session, revisions: &[SessionRevision]) -> Option<DateTime<Utc>> {
    if Origin::of(current.metadata.as_ref()).is_some() {
        return None;
    }
    let is_same = |revision: &&SessionRevision| revision.metadata == current.metadata;
    let same = revisions.iter().rev().take_while(is_same);
    same.last().map(|revision| revision.saved_at)
}

/// Whether the recording has a turn of the history. Without the turn one more message would then be new.
fn repeats(recording: &Recording, stored: &[ConversationTurn], turn: &ConversationTurn) -> bool {
    let without = stored.iter().filter(|other| other.seq != turn.seq);
    let without: Vec<_> = without.cloned().collect();
    recording.new_messages(&without).len() > recording.new_messages(stored).len()
}

/// Returns the binding to the new session. What somebody has saved with the old one stays.
fn rebound(current: Session, recording: &Recording, place: &Place<'_>) -> NewSession {
    let mut binding = binding::binding(recording, place);
    binding.working_dir = binding.working_dir.or(current.working_dir);
    if Origin::of(current.metadata.as_ref()).is_none() {
        binding.config_dir = current.config_dir;
        binding.metadata = current.metadata;
    }
    binding
}
