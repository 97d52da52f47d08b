//! Appending to a history: repeats, conflicts, the expected seq. The INSERT is each engine's own.

use std::borrow::Cow;
use std::collections::HashMap;

use diesel::prelude::*;
use turnkeep_model::{
    ConversationTurn, MessageKey, Metadata, NewMessage, Role, Seq, StoredText, TaskId, UtcMicros,
};

use super::activity::record_turns;
use super::history::{LastTurn, number};
use super::{Conn, check_text, length, now};
use crate::base::appended::Appended;
use crate::base::checksum;
use crate::base::error::{ErrorKind, Result};
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::base::target::Target;
use crate::commit::write::Write;

/// Appends messages, all or none; returns their seqs.
pub(crate) struct Append {
    /// The method that was called.
    pub(crate) operation: &'static str,
    pub(crate) target: Target,
    /// The last seq that the history must have; `None` for any.
    pub(crate) expected_last_seq: Option<Option<Seq>>,
    /// Whether a key that belongs to another message is no conflict: the stored turn is the result.
    pub(crate) keeps_stored: bool,
    pub(crate) messages: Vec<NewMessage<'static>>,
    /// The seqs, once the engine has appended the messages in a way of its own.
    pub(crate) seqs: Option<Vec<Seq>>,
    /// The last turn of the history, once the messages are appended.
    pub(crate) last_turn: Option<LastTurn>,
}

impl Append {
    pub(crate) fn new(
        operation: &'static str,
        target: Target,
        messages: &[NewMessage<'_>],
    ) -> Self {
        let messages = messages.iter().cloned();
        Self {
            operation,
            target,
            expected_last_seq: None,
            keeps_stored: false,
            messages: messages.map(NewMessage::into_owned).collect(),
            seqs: None,
            last_turn: None,
        }
    }

    /// Refuses the append unless the history has this last seq.
    pub(crate) fn after(mut self, last_seq: Option<Seq>) -> Self {
        self.expected_last_seq = Some(last_seq);
        self
    }

    /// Keeps the stored turn of a key that belongs to another message.
    pub(crate) fn keep_stored(mut self) -> Self {
        self.keeps_stored = true;
        self
    }
}

/// The part of an append that each engine does itself.
pub(crate) trait Histories {
    /// Locks a history until the transaction ends, and returns its last turn. Refuses a task with another fence. The
    /// history of a missing task is empty.
    fn lock_history(
        &mut self,
        call: Operation<'_>,
        target: &Target,
    ) -> Result<Option<LastTurn>, QueryError>;

    /// Returns the stored turns that have one of these keys.
    fn stored_turns(
        &mut self,
        task_id: &TaskId,
        keys: &[&MessageKey],
    ) -> Result<Vec<StoredTurn>, QueryError>;

    /// Inserts turns. Fails with `TaskNotFound` if the task is missing.
    fn insert_turns(
        &mut self,
        call: Operation<'_>,
        task_id: &TaskId,
        turns: &[NewTurn<'_>],
    ) -> Result<(), QueryError>;
}

/// The columns of a stored turn by which a repeat is recognised.
#[derive(Queryable)]
pub(crate) struct StoredTurn {
    pub(crate) key: MessageKey,
    pub(crate) seq: Seq,
    pub(crate) role: Role,
    #[diesel(deserialize_as = StoredText<'static>)]
    pub(crate) content: String,
    pub(crate) metadata: Option<Metadata>,
}

/// A turn to be stored.
pub(crate) struct NewTurn<'a> {
    pub(crate) seq: i64,
    pub(crate) role: Role,
    pub(crate) content: StoredText<'a>,
    pub(crate) timestamp: UtcMicros,
    pub(crate) key: Option<&'a MessageKey>,
    pub(crate) metadata: Option<&'a Metadata>,
    pub(crate) checksum: i64,
}

impl<'a> NewTurn<'a> {
    pub(crate) fn new(
        seq: i64,
        role: Role,
        content: &'a str,
        timestamp: UtcMicros,
        key: Option<&'a MessageKey>,
        metadata: Option<&'a Metadata>,
    ) -> Self {
        Self {
            seq,
            role,
            content: StoredText::from(content),
            timestamp,
            key,
            metadata,
            checksum: checksum::of_turn(role, content, timestamp.into(), key, metadata),
        }
    }
}

impl Write<Conn> for Append {
    type Output = Appended;

    fn call(&self) -> Operation<'_> {
        Operation::on_task(self.operation, &self.target.task_id)
    }

    fn check(&self) -> Result<()> {
        self.messages
            .iter()
            .try_for_each(|message| check_text(self.operation, "content", &message.content))
    }

    fn may_fail_halfway(&self) -> bool {
        self.messages.len() > 1
    }

    fn bytes(&self) -> usize {
        let messages = self.messages.iter();
        messages
            .map(|message| message.content.len() + length(message.metadata.as_ref()))
            .sum()
    }

    /// A message whose key is stored already is that turn again, or a conflict.
    fn run(&mut self, conn: &mut Conn, clock: &Clock) -> Result<Appended, QueryError> {
        if let Some(seqs) = self.seqs.take() {
            let after = seqs
                .first()
                .and_then(|first| Seq::new(first.get() - 1).ok());
            return Ok(Appended { after, seqs });
        }
        let (call, task_id) = (self.call(), &self.target.task_id);
        let before = conn.lock_history(call, &self.target)?;
        let after = before.map(|turn| turn.seq);
        let mut last = after;
        expect_last(call, task_id, self.expected_last_seq, last)?;
        let keys: Vec<_> = self
            .messages
            .iter()
            .filter_map(|it| it.key.as_ref())
            .collect();
        let mut known = HashMap::new();
        if !keys.is_empty() {
            for turn in conn.stored_turns(task_id, &keys)? {
                let content = Cow::Owned(turn.content);
                known.insert(turn.key, (turn.seq, turn.role, content, turn.metadata));
            }
        }
        let mut seqs = Vec::with_capacity(self.messages.len());
        let mut turns = Vec::with_capacity(self.messages.len());
        for message in &self.messages {
            let NewMessage { role, content, .. } = message;
            let key = message.key.as_ref();
            if let Some(key) = key
                && let Some((seq, stored_role, stored_content, stored_metadata)) = known.get(key)
            {
                let is_same = stored_role == role
                    && stored_content == content
                    && *stored_metadata == message.metadata;
                if !self.keeps_stored && !is_same {
                    // The missing task is the error if this call itself has the key twice.
                    if !turns.is_empty() {
                        conn.insert_turns(call, task_id, &turns)?;
                    }
                    return Err(QueryError::Refused(
                        ErrorKind::KeyConflict {
                            key: key.clone(),
                            seq: *seq,
                        }
                        .on(&call.about(task_id)),
                    ));
                }
                seqs.push(*seq);
                continue;
            }
            let seq = next_seq(call, last)?;
            last = Some(seq);
            let timestamp = time_of(call, message, clock)?;
            // A later message of the same call may repeat the key.
            if let Some(key) = key
                && self.messages.len() > 1
            {
                let content = Cow::Borrowed(&**content);
                known.insert(key.clone(), (seq, *role, content, message.metadata.clone()));
            }
            let metadata = message.metadata.as_ref();
            let turn = NewTurn::new(seq.get(), *role, content, timestamp, key, metadata);
            turns.push(turn);
            seqs.push(seq);
        }
        conn.insert_turns(call, task_id, &turns)?;
        let times = turns.iter().map(|turn| turn.timestamp);
        record_turns(conn, task_id, before, times)?;
        let timestamp = turns.last().map(|turn| turn.timestamp);
        self.last_turn = match timestamp {
            Some(_) => last.map(|seq| LastTurn { seq, timestamp }),
            None => before,
        };
        Ok(Appended { after, seqs })
    }
}

/// Appends turns with the seqs, times and keys that they have in another store. Turns of one task stand
/// together and in order. Refuses all of them if the turns of a task do not continue its history.
pub(crate) fn append_verbatim(
    conn: &mut Conn,
    call: Operation<'_>,
    turns: &[ConversationTurn],
) -> Result<(), QueryError> {
    for turns in turns.chunk_by(|a, b| a.task_id == b.task_id) {
        let first = &turns[0];
        let before = conn.lock_history(call, &Target::new(&first.task_id, None))?;
        let expected = Seq::new(first.seq.get() - 1).ok();
        expect_last(
            call,
            &first.task_id,
            Some(expected),
            before.map(|turn| turn.seq),
        )?;
        let mut new_turns = Vec::with_capacity(turns.len());
        for turn in turns {
            new_turns.push(NewTurn::new(
                turn.seq.get(),
                turn.role,
                &turn.content,
                turn.timestamp.into(),
                turn.message_key.as_ref(),
                turn.metadata.as_ref(),
            ));
        }
        conn.insert_turns(call, &first.task_id, &new_turns)?;
        let times = new_turns.iter().map(|turn| turn.timestamp);
        record_turns(conn, &first.task_id, before, times)?;
    }
    Ok(())
}

fn expect_last(
    call: Operation<'_>,
    task_id: &TaskId,
    expected: Option<Option<Seq>>,
    actual: Option<Seq>,
) -> Result<(), QueryError> {
    match expected {
        Some(expected) if expected != actual => Err(QueryError::Refused(
            ErrorKind::SeqConflict { expected, actual }.on(&call.about(task_id)),
        )),
        _ => Ok(()),
    }
}

/// Returns the time of a message's turn.
pub(crate) fn time_of(
    call: Operation<'_>,
    message: &NewMessage<'_>,
    clock: &Clock,
) -> Result<UtcMicros> {
    match message.timestamp {
        Some(time) => UtcMicros::new(time).map_err(|error| ErrorKind::from(error).on(&call)),
        None => now(clock, call.name),
    }
}

/// Returns the seq after `last`, if a store accepts it.
pub(crate) fn next_seq(call: Operation<'_>, last: Option<Seq>) -> Result<Seq> {
    Seq::new(number(last) + 1).map_err(|error| ErrorKind::from(error).on(&call))
}
