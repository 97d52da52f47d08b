//! A session that goes on under a new id.
//!
//! Versions 1 of Claude Code wrote each resume into a new file: a copy of the conversation, all of it with the time of
//! the resume, then the new words. Only the ids of the answers stay, in some versions also those of the prompts. Version
//! 2 keeps the id of the session, and copies only for a fork that somebody asks for. Codex and Goose keep the id too.

use std::collections::HashMap;

use serde::Deserialize;
use turnkeep_recordings::{RecordedMessage, Recording};
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{
    BackendType, ConversationTurn, HistoryPage, NewMessage, NewSession, Repo, Result, Role,
    Session, SessionRevision, TaskId, TaskQuery, Transaction,
};

use super::binding;
use super::origin::Origin;
use super::place::Place;
use crate::plan::files::find_line;

/// What a recording is to a task of which it has copied the conversation.
pub(super) enum Continuation {
    /// The task goes on in it.
    Of(TaskId),
    /// Nothing was said in it yet.
    NotBegun,
}

/// Returns the messages that a resume has copied into the recording. Empty in a recording of another kind.
pub(super) fn copied(recording: &Recording) -> &[RecordedMessage] {
    let messages = &recording.messages;
    let time = messages.first().and_then(|first| first.timestamp);
    let is_copied = |message: &&RecordedMessage| time.is_some() && message.timestamp == time;
    let copied = &messages[..messages.iter().take_while(is_copied).count()];
    let is_claude = recording.backend_type == BackendType::Claude;
    // An answer never has the time of its prompt.
    match is_claude && answers(copied).next().is_some() && is_version_1(recording) {
        true => copied,
        false => &[],
    }
}

fn answers(messages: &[RecordedMessage]) -> impl DoubleEndedIterator<Item = &RecordedMessage> {
    let said = messages.iter();
    said.filter(|message| message.role == Role::Assistant)
}

fn is_version_1(recording: &Recording) -> bool {
    const MAX_HEAD: u64 = 1024 * 1024;
    #[derive(Deserialize)]
    struct Line {
        version: String,
    }
    let version = find_line(&recording.path, MAX_HEAD, |line| {
        Some(serde_json::from_slice::<Line>(line).ok()?.version)
    });
    matches!(version, Ok(Some(version)) if version.starts_with("1."))
}

/// Returns the tasks that a copy may continue: those of sessions in its folder.
pub(super) fn candidates(repo: &Repo, recording: &Recording) -> Result<Vec<TaskId>> {
    let folder = recording.working_dir.clone();
    let Some(folder) = folder.filter(|_| !copied(recording).is_empty()) else {
        return Ok(Vec::new());
    };
    let mut query = TaskQuery::new()
        .backend(BackendType::Claude)
        .working_dir(folder);
    let mut tasks = Vec::new();
    loop {
        let page = repo.list_tasks(&query)?;
        tasks.extend(page.tasks.into_iter().map(|task| task.id));
        match page.next {
            Some(next) => query = query.after(next),
            None => return Ok(tasks),
        }
    }
}

/// Returns the task that goes on in a copy, and binds it to the new session.
///
/// The copy must have the task's last turn, and the session that the task is bound to must have said it, in the same
/// home. So a task whose own session went on, or that somebody has bound to another one, keeps its binding. So does
/// one that somebody bound after the first new turn.
pub(super) fn of(
    tx: &Transaction<'_>,
    candidates: &[TaskId],
    recording: &Recording,
    place: &Place<'_>,
) -> Result<Option<Continuation>> {
    let copied = copied(recording);
    let Some(answer) = answers(copied).next_back() else {
        return Ok(None);
    };
    for task in candidates {
        if tx.find_turn_by_key(task, &answer.key)?.is_none() {
            continue;
        }
        let Some(current) = tx.find_session(task)? else {
            continue;
        };
        let visible = tx.get_history_page(task, HistoryPage::new(u32::MAX))?;
        let is_said = |turn: &&ConversationTurn| matches!(turn.role, Role::User | Role::Assistant);
        let Some(last) = visible.iter().rfind(is_said) else {
            continue;
        };
        let revisions = tx.list_session_revisions(task)?;
        let is_of_home = place.is_home(&current.backend_type, current.config_dir.as_ref());
        if !is_of_home || !ends_with(copied, last) || !has_said(&current, &revisions, last) {
            continue;
        }
        let stored = tx.get_history_page(task, HistoryPage::new(u32::MAX).with_hidden())?;
        let new = new_messages(recording, &stored);
        let Some(first) = new.first() else {
            return Ok(Some(Continuation::NotBegun));
        };
        if first.timestamp <= chosen_at(&current, &revisions) {
            continue;
        }
        tx.save_session(task, &rebound(current, recording, place))?;
        return Ok(Some(Continuation::Of(task.clone())));
    }
    Ok(None)
}

/// Whether a turn is the last one that was copied. A copied prompt may have a new id.
fn ends_with(copied: &[RecordedMessage], turn: &ConversationTurn) -> bool {
    let is_turn = |message: &RecordedMessage| match message.role {
        Role::Assistant => turn.message_key.as_ref() == Some(&message.key),
        role => role == turn.role && message.content.trim_end() == turn.content.trim_end(),
    };
    copied.last().is_some_and(is_turn)
}

/// Whether a turn came after the task was bound to the session. The binding may have changed since.
fn has_said(current: &Session, revisions: &[SessionRevision], turn: &ConversationTurn) -> bool {
    let is_current = |revision: &&SessionRevision| {
        revision.backend_type == current.backend_type && revision.session_id == current.session_id
    };
    let first = revisions.iter().rev().take_while(is_current).last();
    first.is_some_and(|first| first.first_seq <= turn.seq)
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

/// Returns the binding to the new session. It keeps the config folder and the metadata of a binding
/// that somebody has saved.
fn rebound(current: Session, recording: &Recording, place: &Place<'_>) -> NewSession {
    let mut binding = binding::binding(recording, place);
    binding.working_dir = binding.working_dir.or(current.working_dir);
    if Origin::of(current.metadata.as_ref()).is_none() {
        binding.config_dir = current.config_dir;
        binding.metadata = current.metadata;
    }
    binding
}

/// Returns the messages of a recording that the store lacks. A copied one is known by its text, if the task has the
/// conversation that was copied.
pub(super) fn new_messages<'a>(
    recording: &'a Recording,
    stored: &[ConversationTurn],
) -> Vec<NewMessage<'a>> {
    let mut new = recording.new_messages(stored);
    let copied = copied(recording);
    let by_key: HashMap<_, _> = stored
        .iter()
        .filter_map(|turn| Some((turn.message_key.as_ref()?, turn)))
        .collect();
    if !answers(copied).any(|answer| by_key.contains_key(&answer.key)) {
        return new;
    }
    let mut unmatched: HashMap<_, i64> = HashMap::new();
    for turn in stored {
        *unmatched
            .entry((turn.role, turn.content.trim_end()))
            .or_default() += 1;
    }
    for message in copied {
        if let Some(turn) = by_key.get(&message.key) {
            *unmatched
                .entry((turn.role, turn.content.trim_end()))
                .or_default() -= 1;
        }
    }
    for message in copied {
        let text = (message.role, message.content.trim_end());
        let count = unmatched.get_mut(&text).filter(|count| **count > 0);
        if let Some(count) = count.filter(|_| !by_key.contains_key(&message.key)) {
            *count -= 1;
            new.retain(|other| other.key.as_ref() != Some(&message.key));
        }
    }
    new
}
