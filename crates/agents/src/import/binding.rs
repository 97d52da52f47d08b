//! The task that a recording belongs to.
//!
//! It is the task that is bound to the session, or was: an orchestrator's own, or one that an import made. No
//! other task gets words of the recording, whatever the recording says.

use std::collections::HashSet;
use std::path::Path;

use turnkeep_recordings::Recording;
use turnkeep_repo::{
    BackendType, ConversationTurn, ErrorKind, HistoryPage, InvalidValue, Metadata, NewSession,
    NewTask, RemovedSession, Repo, Result, Session, SessionRevision, TaskId, TaskStatus,
    Transaction,
};

use super::ImportError;
use super::continuation::{self, Continuation};
use super::origin::{Evidence, Origin};
use super::place::Place;
use super::save::{Saved, chunks, count};

/// The task of a session.
pub(super) struct Target {
    pub(super) id: TaskId,
    pub(super) is_new: bool,
    /// The number of turns that it was made with.
    pub(super) added: i64,
}

impl Target {
    fn known(id: TaskId) -> Self {
        Self {
            id,
            is_new: false,
            added: 0,
        }
    }
}

/// The reason for which a recording is passed over.
pub(super) enum Refused {
    /// It only claims a session that is known from elsewhere.
    KnownSession,
    /// It has only prompts of a session that is known from elsewhere.
    Prompts,
    /// It is a copy of a known session in which nothing was said yet.
    NotBegun,
    /// Its task was removed.
    Removed(RemovedSession),
    /// The task that would get the session was never bound to it.
    OtherTask(TaskId),
}

/// Returns the task of the session, and makes it if there is none, in one transaction.
pub(super) fn task(
    repo: &Repo,
    recording: &Recording,
    place: &Place<'_>,
) -> Result<Result<Target, Refused>, ImportError> {
    let id = match place.evidence {
        // The session itself may be found later, and needs its id.
        Evidence::Claim => log_id(recording)?,
        Evidence::Place | Evidence::Prompts => recording.task_id()?,
    };
    let candidates = match place.evidence {
        Evidence::Place => continuation::candidates(repo, recording)?,
        Evidence::Claim | Evidence::Prompts => Vec::new(),
    };
    repo.transaction(|tx| {
        let (backend, session) = (&recording.backend_type, &recording.session_id);
        let bound = tx.list_tasks_by_session(backend, session)?;
        for id in &bound {
            if is_own(tx, id, recording, place)? {
                let id = id.clone();
                return Ok(Ok(Target::known(id)));
            }
        }
        if let Some(removed) = removal(tx, recording, place)? {
            return Ok(Err(Refused::Removed(removed)));
        }
        match place.evidence {
            Evidence::Claim if !bound.is_empty() => return Ok(Err(Refused::KnownSession)),
            Evidence::Prompts if !bound.is_empty() => return Ok(Err(Refused::Prompts)),
            Evidence::Place if bound.is_empty() => {
                match continuation::of(tx, &candidates, recording, place)? {
                    Some(Continuation::Of(id)) => return Ok(Ok(Target::known(id))),
                    Some(Continuation::NotBegun) => return Ok(Err(Refused::NotBegun)),
                    None => {}
                }
            }
            _ => {}
        }
        let id = match has_task(tx, &id)? {
            true if !bound.contains(&id) => return Ok(Err(Refused::OtherTask(id))),
            true => numbered_id(tx, &id)?,
            false => id,
        };
        let added = make(tx, &id, recording, place)?;
        Ok(Ok(Target {
            id,
            is_new: true,
            added,
        }))
    })
}

/// Returns the removal of the session. `None` also if the removed task was one of a file that only claimed the session,
/// and this is the session itself.
fn removal(
    tx: &Transaction<'_>,
    recording: &Recording,
    place: &Place<'_>,
) -> Result<Option<RemovedSession>, ImportError> {
    let (backend, session) = (&recording.backend_type, &recording.session_id);
    if !tx.is_session_removed(backend, session)? {
        return Ok(None);
    }
    let mut removed = tx.list_removed_sessions()?.into_iter();
    let removed = removed.find(|it| (&it.backend_type, &it.session_id) == (backend, session));
    let log_id = log_id(recording)?;
    let is_claim = |it: &RemovedSession| it.task_id.as_str().starts_with(log_id.as_str());
    Ok(removed.filter(|it| place.evidence != Evidence::Place || !is_claim(it)))
}

fn log_id(recording: &Recording) -> Result<TaskId, InvalidValue> {
    let (backend, session) = (&recording.backend_type, &recording.session_id);
    TaskId::new(format!("{backend}-log:{session}"))
}

/// Returns the first of `<id>#2`, `<id>#3`, … that is free.
fn numbered_id(tx: &Transaction<'_>, id: &TaskId) -> Result<TaskId, ImportError> {
    let mut number = 2_u64;
    loop {
        let numbered = TaskId::new(format!("{id}#{number}"))?;
        if !has_task(tx, &numbered)? {
            return Ok(numbered);
        }
        number += 1;
    }
}

fn has_task(tx: &Transaction<'_>, id: &TaskId) -> Result<bool> {
    match tx.get_task(id) {
        Ok(_) => Ok(true),
        Err(error) if *error.kind() == ErrorKind::TaskNotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a task that is or was bound to a session with the recording's id has the recording's session.
fn is_own(
    tx: &Transaction<'_>,
    task: &TaskId,
    recording: &Recording,
    place: &Place<'_>,
) -> Result<bool> {
    let revisions = tx.list_session_revisions(task)?;
    let bound = revisions.iter().rev().find(|revision| {
        revision.backend_type == recording.backend_type
            && revision.session_id == recording.session_id
    });
    let Some(bound) = bound else {
        return Ok(false);
    };
    match (place.evidence, Origin::of(bound.metadata.as_ref())) {
        (Evidence::Claim, Some(origin)) => {
            Ok(origin.evidence == Evidence::Claim && place.is_folder(&origin))
        }
        (Evidence::Prompts, Some(origin)) => Ok(place.is_file(&origin)),
        (Evidence::Claim | Evidence::Prompts, None) => Ok(false),
        (Evidence::Place, origin) => is_same(tx, task, recording, place, bound, origin),
    }
}

/// Whether a binding is to the session of a recording that lies where its agent keeps sessions.
fn is_same(
    tx: &Transaction<'_>,
    task: &TaskId,
    recording: &Recording,
    place: &Place<'_>,
    bound: &SessionRevision,
    origin: Option<Origin>,
) -> Result<bool> {
    let is_unique = recording.backend_type != BackendType::Goose;
    let stored = || tx.get_history_page(task, HistoryPage::new(u32::MAX).with_hidden());
    let repeats = |stored: &[ConversationTurn]| {
        recording.new_messages(stored).len() < recording.messages.len()
    };
    Ok(match origin {
        Some(origin) if origin.evidence == Evidence::Claim => false,
        // Any folder may have a history of prompts. A true one has prompts of the recording.
        Some(origin) if origin.evidence == Evidence::Prompts => repeats(&stored()?),
        _ if is_unique => true,
        Some(origin) => place.is_file(&origin) || has_same_message(recording, &stored()?),
        None => {
            let is_folder = |dir| recording.working_dir.as_ref() == Some(dir);
            let stored = stored()?;
            place.is_home(&recording.backend_type, bound.config_dir.as_ref())
                && bound.working_dir.as_ref().is_none_or(is_folder)
                && (stored.is_empty() || repeats(&stored))
                || has_same_message(recording, &stored)
        }
    })
}

/// Whether a stored turn is a message of the recording beyond doubt: by an id of the agent, or by text and time.
fn has_same_message(recording: &Recording, stored: &[ConversationTurn]) -> bool {
    let keys: HashSet<_> = stored
        .iter()
        .filter_map(|turn| turn.message_key.as_ref())
        .filter(|key| !key.as_str().starts_with("sha256:"))
        .collect();
    let said: HashSet<_> = stored
        .iter()
        .map(|turn| {
            (
                turn.role,
                turn.content.trim_end(),
                turn.timestamp.timestamp_micros(),
            )
        })
        .collect();
    recording.messages.iter().any(|message| {
        let is_said = |time: i64| said.contains(&(message.role, message.content.trim_end(), time));
        let time = message.timestamp.map(|time| time.timestamp_micros());
        keys.contains(&message.key) || time.is_some_and(is_said)
    })
}

/// Makes the task with its binding. It is completed from the beginning, so that no orchestrator starts it, and
/// has the times of the recording. Returns the number of its first turns: most sessions are whole with them, and need
/// no other transaction.
fn make(
    tx: &Transaction<'_>,
    task: &TaskId,
    recording: &Recording,
    place: &Place<'_>,
) -> Result<i64> {
    let mut new = NewTask::new(task.clone(), recording.name()).status(TaskStatus::Completed);
    new.recorded = recording.first_timestamp().zip(recording.last_timestamp());
    tx.save_task(&new)?;
    tx.save_session(task, &binding(recording, place))?;
    let messages = recording.new_messages(&[]);
    let seqs = match chunks(&messages).next() {
        Some(chunk) => tx.save_messages_after(task, None, chunk)?,
        None => Vec::new(),
    };
    Ok(count(seqs.into_iter().max()))
}

/// Gives the binding the folder that it lacks. One that only imports have written follows the recording. Returns
/// whether the task's session is in this recording, and not in another copy.
pub(super) fn follow(
    repo: &Repo,
    task: &TaskId,
    recording: &Recording,
    place: &Place<'_>,
    saved: &Saved,
) -> Result<bool> {
    // Neither a claim nor prompts know where the session is now.
    if place.evidence != Evidence::Place {
        return Ok(false);
    }
    repo.transaction(|tx| {
        let current = tx.find_session(task)?.filter(|current| {
            current.backend_type == recording.backend_type
                && current.session_id == recording.session_id
        });
        let Some(current) = current else {
            return Ok(place.is_in_home());
        };
        let origin = Origin::of(current.metadata.as_ref());
        if origin.is_some() {
            rename(tx, task, recording)?;
        }
        let (followed, is_bound) = match origin {
            Some(origin) if is_left(&origin, place, recording, saved) => {
                let mut followed = binding(recording, place);
                followed.working_dir = followed.working_dir.or(current.working_dir);
                (followed, true)
            }
            Some(origin) => return Ok(place.is_file(&origin)),
            None => (with_folder(current, recording), place.is_in_home()),
        };
        // An equal binding is not written.
        tx.save_session(task, &followed)?;
        Ok(is_bound)
    })
}

/// Names a task that an import has made by what the session has by now: the agent writes a title after the first
/// prompts. A name that somebody gave stays.
fn rename(tx: &Transaction<'_>, task: &TaskId, recording: &Recording) -> Result<()> {
    let stored = tx.get_task(task)?;
    let name = recording.name();
    let earlier = [recording.untitled_name(), recording.session_id.to_string()];
    if stored.name == name || !earlier.contains(&stored.name) {
        return Ok(());
    }
    let mut named = NewTask::new(stored.id, name);
    named.agent_role = stored.agent_role;
    named.prompt = stored.prompt;
    named.writes_files = stored.writes_files;
    named.failure_mode = stored.failure_mode;
    named.not_before = stored.not_before;
    named.metadata = stored.metadata;
    named.depends_on = stored.depends_on;
    tx.save_task(&named)?;
    Ok(())
}

/// Whether the session is no longer where the binding says, but at this place. Neither an equal copy, such as a
/// backup, nor a file outside of the homes proves it as long as the first file is there. A file that repeats no turn may
/// be a stranger's.
fn is_left(origin: &Origin, place: &Place<'_>, recording: &Recording, saved: &Saved) -> bool {
    let is_gone = || place.is_on_host(origin) && !Path::new(&origin.imported_from).exists();
    let has_more = || saved.added > 0 && place.is_in_home();
    let repeats = || saved.added < recording.messages.len() as i64;
    !saved.is_old && (place.is_file(origin) || has_more() || is_gone() && repeats())
}

fn with_folder(current: Session, recording: &Recording) -> NewSession {
    let mut binding = NewSession::new(current.backend_type, current.session_id);
    binding.working_dir = current.working_dir.or(recording.working_dir.clone());
    binding.config_dir = current.config_dir;
    binding.metadata = current.metadata;
    binding
}

pub(super) fn binding(recording: &Recording, place: &Place<'_>) -> NewSession {
    let backend = recording.backend_type.clone();
    let mut binding = NewSession::new(backend, recording.session_id.clone());
    binding.working_dir = recording.working_dir.clone();
    binding.config_dir = place.config_dir(&recording.backend_type);
    binding.metadata = Metadata::from_serialize(&place.origin()).ok();
    binding
}
