//! The last turns of the tasks that a connection has appended to, so that the next append is one INSERT.
//!
//! Other connections append too, and tasks are deleted. Then the database refuses the turn, because its seq does not
//! follow the last one; the connection forgets the task, and the append reads the last turn.

use std::collections::HashMap;
use std::iter;

use diesel::prelude::*;
use diesel::result::Error as DieselError;
use turnkeep_model::{Fence, Seq, TaskId};

use super::Conn;
use super::append::{InsertTurn, InsertTurnIfHeld, InsertTurnIfKnown};
use super::ops::activity::unrecorded;
use super::ops::all_written;
use super::ops::append::{Append, NewTurn, next_seq, time_of};
use super::ops::history::LastTurn;
use super::ops::migration::known;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::base::target::Target;
use crate::commit::write::Write;

/// The most tasks that are remembered, some hundred bytes each.
const MAX_TASKS: usize = 1024;

pub(crate) struct LastTurns {
    turns: HashMap<TaskId, LastTurn>,
    /// How many migrations this program knows, as it stands in SQL.
    known_migrations: String,
}

impl LastTurns {
    pub(crate) fn new() -> Self {
        Self {
            turns: HashMap::new(),
            known_migrations: known().len().to_string(),
        }
    }

    /// Remembers the last turn of a history that an append has written to.
    pub(crate) fn remember(&mut self, append: &Append) {
        let Some(last) = append.last_turn else {
            return;
        };
        if self.turns.len() == MAX_TASKS {
            self.turns.clear();
        }
        self.turns.insert(append.target.task_id.clone(), last);
    }

    /// Forgets what a transaction has appended that was rolled back.
    pub(crate) fn forget_all(&mut self) {
        self.turns.clear();
    }

    /// Appends by one INSERT, in a transaction or `alone`. Returns `false`, with nothing stored, if the append needs
    /// more than that.
    pub(crate) fn append(
        &mut self,
        conn: &mut Conn,
        append: &mut Append,
        clock: &Clock,
        alone: bool,
    ) -> Result<bool, QueryError> {
        let Target { task_id, fence } = &append.target;
        let Some(last) = self.turns.get_mut(task_id) else {
            return Ok(false);
        };
        let Some((seq, turn)) = only_turn(append, *last, clock) else {
            return Ok(false);
        };
        let insert = match turn.key.is_none() && turn.metadata.is_none() {
            true => insert::<true>,
            false => insert::<false>,
        };
        let known_migrations = (alone || fence.is_some()).then_some(&*self.known_migrations);
        match insert(conn, task_id, &turn, known_migrations, *fence) {
            Ok(inserted) => all_written(inserted, 1, "conversation_history")?,
            Err(error) if is_refused(&error) => {
                self.turns.remove(task_id);
                return Ok(false);
            }
            // A trigger of another program may have ended the transaction.
            Err(error) => return Err(error.into()),
        }
        last.seq = seq;
        last.timestamp = Some(turn.timestamp);
        append.seqs = Some(vec![seq]);
        Ok(true)
    }
}

/// Inserts a turn, of a task with this fence if one is given, into a schema with this number of migrations if it is
/// given. Returns the number of rows.
fn insert<const IS_PLAIN: bool>(
    conn: &mut Conn,
    task_id: &TaskId,
    turn: &NewTurn<'_>,
    known_migrations: Option<&str>,
    fence: Option<Fence>,
) -> QueryResult<usize> {
    let insert = InsertTurn::<IS_PLAIN>(task_id, turn);
    match (known_migrations, fence) {
        (Some(known), Some(fence)) => InsertTurnIfHeld(insert, known, fence).execute(conn),
        (Some(known), None) => InsertTurnIfKnown(insert, known).execute(conn),
        (None, _) => insert.execute(conn),
    }
}

/// Whether the rule of the history has refused a turn, which ends no transaction.
fn is_refused(error: &DieselError) -> bool {
    const RULE: &str = "conversation_history: seq must be the next number";
    matches!(error, DieselError::DatabaseError(_, info) if info.message().starts_with(RULE))
}

/// Returns the turn of an append to which nothing else is to be read or written. The database refuses a key that is
/// stored already, and the INSERT an old fence.
fn only_turn<'a>(append: &'a Append, last: LastTurn, clock: &Clock) -> Option<(Seq, NewTurn<'a>)> {
    let [message] = append.messages.as_slice() else {
        return None;
    };
    let expected = append.expected_last_seq;
    if expected.is_some_and(|seq| seq != Some(last.seq)) {
        return None;
    }
    let call = append.call();
    let seq = next_seq(call, Some(last.seq)).ok()?;
    let timestamp = time_of(call, message, clock).ok()?;
    if unrecorded(Some(last), iter::once(timestamp)).is_some() {
        return None;
    }
    let (key, metadata) = (message.key.as_ref(), message.metadata.as_ref());
    let turn = NewTurn::new(
        seq.get(),
        message.role,
        &message.content,
        timestamp,
        key,
        metadata,
    );
    Some((seq, turn))
}

#[cfg(test)]
mod tests {
    use super::*;

    impl LastTurns {
        pub(crate) fn len(&self) -> usize {
            self.turns.len()
        }
    }

    #[test]
    fn only_so_many_tasks_are_remembered() {
        let mut last_turns = LastTurns::new();
        for number in 0..=MAX_TASKS {
            let task_id = TaskId::new(number.to_string()).unwrap();
            let mut append = Append::new("save_message", Target::new(&task_id, None), &[]);
            append.last_turn = Some(LastTurn {
                seq: Seq::MIN,
                timestamp: None,
            });
            last_turns.remember(&append);
        }
        assert!((1..=MAX_TASKS).contains(&last_turns.len()));
    }
}
