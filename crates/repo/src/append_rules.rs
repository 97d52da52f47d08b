//! The rules of appending, the same for every engine.

use turnkeep_model::{ConversationTurn, Counter, MessageKey, NewMessage, Role, TaskId, UtcMicros};

use crate::base::checksum;
use crate::base::error::Error;
use crate::base::operation::Call;
use crate::base::query_error::QueryError;

/// The history of one task, while messages are appended to it.
pub(crate) trait History {
    /// Returns the turn that has this key, one that was just inserted too.
    fn find(&mut self, key: &MessageKey) -> Result<Option<Keyed>, QueryError>;

    /// Takes a new turn.
    fn insert(&mut self, turn: &NewTurn<'_>) -> Result<(), QueryError>;
}

/// What is to be appended to the history of one task.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) task_id: &'a TaskId,
    /// The last seq that the history must have; `None` for any.
    pub(crate) expected: Option<i64>,
    /// The fence that the task must have; `None` for any.
    pub(crate) fence: Option<i64>,
    pub(crate) messages: &'a [NewMessage<'a>],
}

/// A turn to be stored.
pub(crate) struct NewTurn<'a> {
    pub(crate) seq: i64,
    pub(crate) message: &'a NewMessage<'a>,
    pub(crate) timestamp: UtcMicros,
}

impl NewTurn<'_> {
    pub(crate) fn checksum(&self) -> i64 {
        let message = self.message;
        let timestamp = self.timestamp.into();
        checksum::of_turn(
            message.role,
            &message.content,
            timestamp,
            message.key.as_ref(),
        )
    }
}

/// A stored turn that has a key, as far as a repeat is recognised by it.
#[derive(Clone)]
pub(crate) struct Keyed {
    pub(crate) seq: i64,
    pub(crate) role: Role,
    pub(crate) content: String,
}

/// Appends the messages in order to a history whose last seq is `last`, and returns their seqs. A
/// message whose key is stored already is that turn again, or a conflict. Refuses all when the
/// history does not end at `expected`.
pub(crate) fn append(
    history: &mut impl History,
    call: Call<'_>,
    request: Request<'_>,
    mut last: i64,
    now: impl Fn() -> Result<UtcMicros, Error>,
) -> Result<Vec<i64>, QueryError> {
    let Request {
        task_id,
        expected,
        messages,
        ..
    } = request;
    if let Some(expected) = expected.filter(|expected| *expected != last) {
        return Err(QueryError::Refused(Error::SeqConflict {
            operation: call.operation,
            task_id: task_id.clone(),
            expected,
            actual: last,
        }));
    }
    let mut seqs = Vec::with_capacity(messages.len());
    for message in messages {
        let stored = match &message.key {
            Some(key) => same_message(history, call, task_id, key, message)?,
            None => None,
        };
        seqs.push(match stored {
            Some(seq) => seq,
            None => {
                last = next(call, last)?;
                let timestamp = match message.timestamp {
                    Some(time) => {
                        UtcMicros::new(time).map_err(|e| Error::invalid(call.operation, e))?
                    }
                    None => now()?,
                };
                history.insert(&NewTurn {
                    seq: last,
                    message,
                    timestamp,
                })?;
                last
            }
        });
    }
    Ok(seqs)
}

/// Appends turns of one task as another store has them: with their seqs, times and keys. Refuses all
/// when they don't go on where the history ends, at `last`.
pub(crate) fn take_over(
    history: &mut impl History,
    call: Call<'_>,
    turns: &[ConversationTurn],
    last: i64,
) -> Result<(), QueryError> {
    if let Some(first) = turns.first().filter(|first| first.seq - 1 != last) {
        return Err(QueryError::Refused(Error::SeqConflict {
            operation: call.operation,
            task_id: first.task_id.clone(),
            expected: first.seq - 1,
            actual: last,
        }));
    }
    for turn in turns {
        let mut message = NewMessage::new(turn.role, turn.content.as_str());
        message.key = turn.message_key.clone();
        let timestamp = UtcMicros::new(turn.timestamp);
        history.insert(&NewTurn {
            seq: turn.seq,
            message: &message,
            timestamp: timestamp.map_err(|e| Error::invalid(call.operation, e))?,
        })?;
    }
    Ok(())
}

/// Returns the seq after `last`, if it is one that a store accepts.
fn next(call: Call<'_>, last: i64) -> Result<i64, Error> {
    Counter::new("seq", last.saturating_add(1))
        .map(i64::from)
        .map_err(|error| Error::invalid(call.operation, error))
}

/// Returns the seq of the turn that has this key, if it says the same.
fn same_message(
    history: &mut impl History,
    call: Call<'_>,
    task_id: &TaskId,
    key: &MessageKey,
    message: &NewMessage<'_>,
) -> Result<Option<i64>, QueryError> {
    match history.find(key)? {
        None => Ok(None),
        Some(stored) if stored.role == message.role && stored.content == message.content => {
            Ok(Some(stored.seq))
        }
        Some(stored) => Err(QueryError::Refused(Error::KeyConflict {
            operation: call.operation,
            task_id: task_id.clone(),
            key: key.clone(),
            seq: stored.seq,
        })),
    }
}
