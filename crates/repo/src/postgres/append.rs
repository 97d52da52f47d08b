//! Appending turns in few round trips.
//!
//! Most appends are one statement, which locks the tasks, numbers the turns and commits by itself:
//! one round trip for all that wait. Those that have more to ask are part of a transaction: what
//! they have to know (where the history ends, which keys it has) is asked for all of them at once,
//! and what they add is inserted at once when the transaction ends. In between they only use what is
//! here.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::RangeInclusive;

use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text};
use turnkeep_model::{
    ConversationTurn, MessageKey, NewMessage, Role, StoredText, TaskId, UtcMicros,
};
use turnkeep_schema::conversation_history as turns;

use super::error::{is_left_out, may_be_committed};
use super::queries::task::not_found;
use super::queries::{all_written, not_written};
use super::{Conn, Db};
use crate::api::lease;
use crate::append_rules::{self, History, Keyed, NewTurn, Request};
use crate::base::error::Error;
use crate::base::operation::Call;
use crate::base::query_error::QueryError;

/// A connection, with what the appends of its transaction have read ahead and not yet written.
pub(crate) struct Link {
    conn: Conn,
    ahead: Ahead,
    /// How many migrations this program knows.
    migrations: i64,
    /// A seq that each of these histories has reached, from which the server looks for its end. One
    /// that is not true any more only makes it look twice.
    known_seqs: HashMap<TaskId, i64>,
}

/// Most histories of which a seq is remembered; with more, all are forgotten. A few MB at most.
const MOST_KNOWN: usize = 4096;

#[derive(Default)]
struct Ahead {
    /// Whether there is no transaction: an append is to be one statement.
    at_once: bool,
    /// The seqs of appends that were done ahead, in the order in which those will ask.
    done: VecDeque<Vec<i64>>,
    tasks: HashMap<TaskId, State>,
    /// The turns that have one of the keys asked for.
    keyed: HashMap<(TaskId, MessageKey), Keyed>,
    rows: Rows,
}

/// What is known of a task whose history is appended to.
#[derive(Clone, Copy)]
enum State {
    /// There is none.
    Missing,
    /// Another transaction writes to it.
    Taken,
    /// Nobody else can append to it or claim it until the transaction ends.
    Locked {
        /// The seq of its last turn, with those that were not yet written.
        last: i64,
        fence: i64,
    },
}

/// Turns to be inserted, column by column.
#[derive(Default)]
struct Rows {
    task_ids: Vec<TaskId>,
    seqs: Vec<i64>,
    roles: Vec<Role>,
    contents: Vec<String>,
    timestamps: Vec<UtcMicros>,
    keys: Vec<Option<MessageKey>>,
    checksums: Vec<i64>,
    bytes: usize,
}

/// Turns are sent when there are so many bytes of them, whatever is still to come.
const MOST_BYTES: usize = 16 * 1024 * 1024;

impl Link {
    pub(crate) fn new(conn: Conn, migrations: usize) -> Self {
        Self {
            conn,
            migrations: i64::try_from(migrations).unwrap_or(i64::MAX),
            ahead: Ahead::default(),
            known_seqs: HashMap::new(),
        }
    }

    pub(crate) fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// Forgets all that was of the transaction before.
    pub(crate) fn begin(&mut self) {
        self.ahead = Ahead::default();
    }

    /// Has appends be one statement each, outside of any transaction, or fail with
    /// [`Failure::Taken`].
    pub(crate) fn begin_at_once(&mut self) {
        self.ahead = Ahead {
            at_once: true,
            ..Ahead::default()
        };
    }

    /// Has an append that was done ahead take its seqs.
    pub(crate) fn give(&mut self, seqs: Vec<i64>) {
        self.ahead.done.push_back(seqs);
    }

    /// Appends all of these in one statement, and commits. Returns the seqs of each. Fails with
    /// [`Failure::Taken`], and has done nothing, when one of them can't be done this way: there is no
    /// such task, it has another fence, another transaction has it, a key is stored already, or more
    /// is to be looked at than that.
    pub(crate) fn append_at_once(
        &mut self,
        requests: &[Request<'_>],
        now: impl Fn() -> Result<UtcMicros, Error>,
    ) -> Result<Vec<Vec<i64>>, QueryError> {
        let task_ids: BTreeSet<&TaskId> = requests.iter().map(|it| it.task_id).collect();
        let task_ids: Vec<&TaskId> = task_ids.into_iter().collect();
        let mut fences = vec![None; task_ids.len()];
        let mut counts = vec![0; task_ids.len()];
        let mut task_numbers = Vec::new();
        let mut rows = Rows::default();
        let mut keys = HashSet::new();
        let mut numbered = Vec::with_capacity(requests.len());
        for request in requests {
            let place = task_ids.partition_point(|id| *id < request.task_id);
            // One fence for all turns of a task: they are numbered as if none was refused.
            let has_other_fence = counts[place] > 0 && fences[place] != request.fence;
            if request.expected.is_some() || request.messages.is_empty() || has_other_fence {
                return Err(QueryError::Taken);
            }
            fences[place] = request.fence;
            let first = counts[place] + 1;
            for message in request.messages {
                let key = message.key.as_ref();
                if key.is_some_and(|key| !keys.insert((place, key))) {
                    return Err(QueryError::Taken);
                }
                let timestamp = match message.timestamp {
                    Some(time) => UtcMicros::new(time).map_err(|_| QueryError::Taken)?,
                    None => now()?,
                };
                counts[place] += 1;
                task_numbers.push(i32::try_from(place + 1).map_err(|_| QueryError::Taken)?);
                let turn = NewTurn {
                    seq: counts[place],
                    message,
                    timestamp,
                };
                rows.push(request.task_id, &turn);
                if rows.bytes > MOST_BYTES {
                    return Err(QueryError::Taken);
                }
            }
            numbered.push((place, first..=counts[place]));
        }
        let known_seqs = task_ids
            .iter()
            .map(|id| self.known_seqs.get(*id).copied())
            .collect();
        let append = AppendAtOnce {
            task_ids: &task_ids,
            fences,
            known_seqs,
            task_numbers,
            rows: &rows,
            migrations: self.migrations,
        };
        let last_seqs: Option<Option<Vec<i64>>> = append
            .get_result(&mut self.conn)
            .optional()
            .map_err(|error| match may_be_committed(&error) {
                // It commits by itself.
                true => QueryError::OutcomeUnknown(error),
                false if is_left_out(&error) => not_written("conversation_history"),
                false => QueryError::Database(error),
            })?;
        let last_seqs = last_seqs.flatten().ok_or(QueryError::Taken)?;
        self.remember(&task_ids, &last_seqs);
        let seqs = |(place, numbers): (usize, RangeInclusive<i64>)| {
            numbers.map(|number| last_seqs[place] + number).collect()
        };
        Ok(numbered.into_iter().map(seqs).collect())
    }

    fn remember(&mut self, task_ids: &[&TaskId], last_seqs: &[i64]) {
        if self.known_seqs.len() > MOST_KNOWN {
            self.known_seqs.clear();
        }
        for (task_id, last) in task_ids.iter().zip(last_seqs) {
            match self.known_seqs.get_mut(*task_id) {
                Some(known) => *known = *last,
                None => _ = self.known_seqs.insert((*task_id).clone(), *last),
            }
        }
    }

    /// Asks for all that these appends will have to know.
    pub(crate) fn read_ahead<'a>(
        &mut self,
        requests: impl Iterator<Item = Request<'a>> + Clone,
    ) -> QueryResult<()> {
        let messages = requests.clone().flat_map(|request| request.messages);
        let keys = messages.filter_map(|message| message.key.as_ref());
        let keys: BTreeSet<&MessageKey> = keys.collect();
        let task_ids: BTreeSet<&TaskId> = requests.map(|request| request.task_id).collect();
        self.read(&task_ids, &keys)
    }

    fn read(
        &mut self,
        task_ids: &BTreeSet<&TaskId>,
        keys: &BTreeSet<&MessageKey>,
    ) -> QueryResult<()> {
        let lock = LockHistories {
            task_ids: task_ids.iter().copied().collect(),
        };
        let locked: Vec<(TaskId, Option<i64>, Option<i64>)> = lock.load(&mut self.conn)?;
        for task_id in task_ids {
            self.ahead.tasks.insert((*task_id).clone(), State::Missing);
        }
        for (task_id, last, fence) in locked {
            let state = match (last, fence) {
                (Some(last), Some(fence)) => State::Locked { last, fence },
                _ => State::Taken,
            };
            self.ahead.tasks.insert(task_id, state);
        }
        if keys.is_empty() {
            return Ok(());
        }
        let keyed: Vec<(TaskId, MessageKey, i64, Role, StoredText<'_>)> = turns::table
            .filter(turns::task_id.eq_any(task_ids))
            .filter(turns::message_key.eq_any(keys))
            // Said in words, or the index of the keys is not used and the whole history read.
            .filter(turns::message_key.is_not_null())
            .select((
                turns::task_id,
                turns::message_key.assume_not_null(),
                turns::seq,
                turns::role,
                turns::content,
            ))
            .load(&mut self.conn)?;
        for (task_id, key, seq, role, content) in keyed {
            let content = content.into();
            let keyed = Keyed { seq, role, content };
            self.ahead.keyed.insert((task_id, key), keyed);
        }
        Ok(())
    }

    /// Appends the messages, and returns their seqs. See [`append::append`]. They are in the
    /// database when [`flush`](Self::flush) is done. Fails with [`Failure::Taken`] when another
    /// transaction writes to the task.
    pub(crate) fn append(
        &mut self,
        call: Call<'_>,
        request: Request<'_>,
        now: impl Fn() -> Result<UtcMicros, Error>,
    ) -> Result<Vec<i64>, QueryError> {
        if let Some(seqs) = self.ahead.done.pop_front() {
            return Ok(seqs);
        }
        if self.ahead.at_once {
            return Ok(self.append_at_once(&[request], now)?.concat());
        }
        let task_id = request.task_id;
        if !self.ahead.tasks.contains_key(task_id) {
            self.read_ahead(std::iter::once(request))?;
        }
        let (state, last) = self.state(task_id)?;
        if let Some(expected) = request.fence {
            let State::Locked { fence, .. } = state else {
                return Err(not_found(call, task_id));
            };
            lease::must_be(call, task_id, expected, fence)?;
        }
        let before = self.ahead.rows.len();
        let mut history = InAhead {
            link: self,
            call,
            task_id,
            state,
            new_keys: Vec::new(),
        };
        let result = append_rules::append(&mut history, call, request, last, now);
        if result.is_err() {
            let new_keys = history.new_keys;
            self.take_back(before, task_id, new_keys, state);
        }
        result
    }

    /// Appends turns as another store has them, in order of their tasks. See [`append::take_over`].
    pub(crate) fn take_over(
        &mut self,
        call: Call<'_>,
        turns: &[ConversationTurn],
    ) -> Result<(), QueryError> {
        let task_ids: BTreeSet<&TaskId> = turns.iter().map(|turn| &turn.task_id).collect();
        // No key of theirs can be in the history that they go on with.
        self.read(&task_ids, &BTreeSet::new())?;
        for turns in turns.chunk_by(|a, b| a.task_id == b.task_id) {
            let task_id = &turns[0].task_id;
            let (state, last) = self.state(task_id)?;
            let mut history = InAhead {
                link: self,
                call,
                task_id,
                state,
                new_keys: Vec::new(),
            };
            append_rules::take_over(&mut history, call, turns, last)?;
        }
        // More of them may follow in the same transaction, any number: nothing is held for them.
        self.flush()?;
        self.begin();
        Ok(())
    }

    /// Returns what was read ahead of a task, and where its history ends.
    fn state(&self, task_id: &TaskId) -> Result<(State, i64), QueryError> {
        let state = self.ahead.tasks.get(task_id);
        match state.copied().unwrap_or(State::Missing) {
            State::Missing => Ok((State::Missing, 0)),
            State::Taken => Err(QueryError::Taken),
            locked @ State::Locked { last, .. } => Ok((locked, last)),
        }
    }

    /// Undoes what a refused append has left here. What was sent already only the end of the
    /// transaction undoes, which nobody shares who sends as much.
    fn take_back(&mut self, rows: usize, task_id: &TaskId, keys: Vec<MessageKey>, state: State) {
        self.ahead.rows.truncate(rows);
        for key in keys {
            self.ahead.keyed.remove(&(task_id.clone(), key));
        }
        self.ahead.tasks.insert(task_id.clone(), state);
    }

    /// Inserts what was appended.
    pub(crate) fn flush(&mut self) -> Result<(), QueryError> {
        let rows = std::mem::take(&mut self.ahead.rows);
        if rows.len() == 0 {
            return Ok(());
        }
        let inserted = InsertTurns(&rows).execute(&mut self.conn)?;
        all_written(inserted, rows.len(), "conversation_history")
    }
}

impl Rows {
    fn len(&self) -> usize {
        self.seqs.len()
    }

    fn push(&mut self, task_id: &TaskId, turn: &NewTurn<'_>) {
        let message = turn.message;
        let content = StoredText::from(&*message.content);
        let content = content.as_stored().to_owned();
        self.bytes += content.len();
        self.task_ids.push(task_id.clone());
        self.seqs.push(turn.seq);
        self.roles.push(message.role);
        self.contents.push(content);
        self.timestamps.push(turn.timestamp);
        self.keys.push(message.key.clone());
        self.checksums.push(turn.checksum());
    }

    /// Writes all columns but the first as arrays.
    fn bind_values<'b>(&'b self, out: &mut AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_bind_param::<Array<BigInt>, _>(&self.seqs)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.roles)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.contents)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.timestamps)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(or_empty(&self.keys))?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.checksums)
    }

    fn truncate(&mut self, length: usize) {
        self.task_ids.truncate(length);
        self.seqs.truncate(length);
        self.roles.truncate(length);
        self.contents.truncate(length);
        self.timestamps.truncate(length);
        self.keys.truncate(length);
        self.checksums.truncate(length);
        self.bytes = self.contents.iter().map(String::len).sum();
    }
}

/// Returns an empty list for one that has only `None`. Beside longer ones it means the same to the
/// server, and costs less.
fn or_empty<T>(list: &[Option<T>]) -> &[Option<T>] {
    match list.iter().any(Option::is_some) {
        true => list,
        false => &[],
    }
}

/// The history of one task, as far as it was read ahead.
struct InAhead<'a> {
    link: &'a mut Link,
    call: Call<'a>,
    task_id: &'a TaskId,
    state: State,
    /// Those of this append.
    new_keys: Vec<MessageKey>,
}

impl History for InAhead<'_> {
    fn find(&mut self, key: &MessageKey) -> Result<Option<Keyed>, QueryError> {
        let key = (self.task_id.clone(), key.clone());
        Ok(self.link.ahead.keyed.get(&key).cloned())
    }

    fn insert(&mut self, turn: &NewTurn<'_>) -> Result<(), QueryError> {
        let State::Locked { fence, .. } = self.state else {
            return Err(not_found(self.call, self.task_id));
        };
        let message: &NewMessage<'_> = turn.message;
        let ahead = &mut self.link.ahead;
        ahead.rows.push(self.task_id, turn);
        if let Some(key) = &message.key {
            let keyed = Keyed {
                seq: turn.seq,
                role: message.role,
                content: message.content.clone().into_owned(),
            };
            let key_of_task = (self.task_id.clone(), key.clone());
            ahead.keyed.insert(key_of_task, keyed);
            self.new_keys.push(key.clone());
        }
        let last = turn.seq;
        let locked = State::Locked { last, fence };
        ahead.tasks.insert(self.task_id.clone(), locked);
        if ahead.rows.bytes > MOST_BYTES {
            self.link.flush()?;
        }
        Ok(())
    }
}

/// Locks tasks, so that nobody else appends to their histories, and returns where those end.
struct LockHistories<'a> {
    task_ids: Vec<&'a TaskId>,
}

impl QueryFragment<Db> for LockHistories<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql("SELECT task_id, last_seq, fence FROM turnkeep_lock_histories(");
        out.push_bind_param::<Array<Text>, _>(&self.task_ids)?;
        out.push_sql(")");
        Ok(())
    }
}

impl QueryId for LockHistories<'_> {
    type QueryId = LockHistories<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for LockHistories<'_> {
    type SqlType = (Text, Nullable<BigInt>, Nullable<BigInt>);
}

impl RunQueryDsl<Conn> for LockHistories<'_> {}

/// Locks the tasks, numbers the turns and inserts them, unless there is one that can't be. Returns
/// where each history ended before.
struct AppendAtOnce<'a> {
    task_ids: &'a [&'a TaskId],
    /// One for each of the tasks.
    fences: Vec<Option<i64>>,
    /// One for each of the tasks.
    known_seqs: Vec<Option<i64>>,
    /// The place of each turn's task in the list, from 1.
    task_numbers: Vec<i32>,
    /// The turns. Their seqs count from 1 for each task.
    rows: &'a Rows,
    /// How many migrations this program knows. The statement returns no row when the schema has more, which
    /// a newer program has run.
    migrations: i64,
}

impl QueryFragment<Db> for AppendAtOnce<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql("SELECT turnkeep_append(");
        out.push_bind_param::<Array<Text>, _>(self.task_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<BigInt>>, _>(or_empty(&self.fences))?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.known_seqs)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.task_numbers)?;
        out.push_sql(", ");
        self.rows.bind_values(&mut out)?;
        out.push_sql(") WHERE (SELECT count(*) FROM __diesel_schema_migrations) <= ");
        out.push_bind_param::<BigInt, _>(&self.migrations)
    }
}

impl QueryId for AppendAtOnce<'_> {
    type QueryId = AppendAtOnce<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for AppendAtOnce<'_> {
    type SqlType = Nullable<Array<BigInt>>;
}

impl RunQueryDsl<Conn> for AppendAtOnce<'_> {}

/// Inserts turns. One text however many there are, so that each connection prepares it once.
struct InsertTurns<'a>(&'a Rows);

impl QueryFragment<Db> for InsertTurns<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        let Self(rows) = self;
        out.push_sql(
            "INSERT INTO conversation_history \
             (task_id, seq, role, content, timestamp, message_key, checksum) \
             SELECT * FROM unnest(",
        );
        out.push_bind_param::<Array<Text>, _>(&rows.task_ids)?;
        out.push_sql(", ");
        rows.bind_values(&mut out)?;
        out.push_sql(")");
        Ok(())
    }
}

impl QueryId for InsertTurns<'_> {
    type QueryId = InsertTurns<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<Conn> for InsertTurns<'_> {}
