//! Appending turns in few round trips.
//!
//! What an append has to know (where the history ends, which keys it has) is asked for all appends
//! of a transaction at once, and what they add is inserted at once when the transaction ends. In
//! between they only use what is here.

use std::collections::{BTreeSet, HashMap};

use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text};
use turnkeep_model::{MessageKey, NewMessage, Role, StoredText, TaskId, UtcMicros};
use turnkeep_schema::conversation_history as turns;

use super::{Conn, Db};
use crate::append::{self, History, Keyed, NewTurn, Request};
use crate::call::Call;
use crate::error::Error;
use crate::failure::Failure;

/// A connection, with what the appends of its transaction have read ahead and not yet written.
pub(crate) struct Link {
    conn: Conn,
    ahead: Ahead,
}

#[derive(Default)]
struct Ahead {
    /// Whether a task that another transaction is writing to is waited for.
    waits: bool,
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
    /// Nobody else can append to it until the transaction ends. The seq of its last turn, with
    /// those that were not yet written.
    Locked(i64),
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
    bytes: usize,
}

/// Turns are sent when there are so many bytes of them, whatever is still to come.
const MOST_BYTES: usize = 16 * 1024 * 1024;

impl Link {
    pub(crate) fn new(conn: Conn) -> Self {
        Self {
            conn,
            ahead: Ahead::default(),
        }
    }

    pub(crate) fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// Forgets all that was of the transaction before.
    pub(crate) fn begin(&mut self) {
        self.ahead = Ahead {
            waits: true,
            ..Ahead::default()
        };
    }

    /// Has appends to a task that another transaction is writing to fail at once, with
    /// [`Failure::Taken`], until the transaction ends.
    pub(crate) fn never_wait(&mut self) {
        self.ahead.waits = false;
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
            waits: self.ahead.waits,
        };
        let locked: Vec<(TaskId, bool, Option<i64>)> = lock.load(&mut self.conn)?;
        for task_id in task_ids {
            self.ahead.tasks.insert((*task_id).clone(), State::Missing);
        }
        for (task_id, is_locked, last_seq) in locked {
            let state = match (is_locked, last_seq) {
                (true, last) => State::Locked(last.unwrap_or(0)),
                (false, _) => State::Taken,
            };
            self.ahead.tasks.insert(task_id, state);
        }
        if keys.is_empty() {
            return Ok(());
        }
        let keyed: Vec<(TaskId, MessageKey, i64, Role, StoredText<'_>)> = turns::table
            .filter(turns::task_id.eq_any(task_ids))
            .filter(turns::message_key.eq_any(keys))
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
    /// database when [`flush`](Self::flush) is done.
    pub(crate) fn append(
        &mut self,
        call: Call<'_>,
        request: Request<'_>,
        now: impl Fn() -> Result<UtcMicros, Error>,
    ) -> Result<Vec<i64>, Failure> {
        let task_id = request.task_id;
        if !self.ahead.tasks.contains_key(task_id) {
            self.read_ahead(std::iter::once(request))?;
        }
        let state = self.ahead.tasks.get(task_id);
        let state = state.copied().unwrap_or(State::Missing);
        let last = match state {
            State::Missing => 0,
            State::Taken => return Err(Failure::Taken),
            State::Locked(last) => last,
        };
        let before = self.ahead.rows.len();
        let mut history = InAhead {
            link: self,
            call,
            task_id,
            state,
            new_keys: Vec::new(),
        };
        let result = append::append(&mut history, call, request, last, now);
        if result.is_err() {
            let new_keys = history.new_keys;
            self.take_back(before, task_id, new_keys, state);
        }
        result
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
    pub(crate) fn flush(&mut self) -> QueryResult<()> {
        let rows = std::mem::take(&mut self.ahead.rows);
        if rows.len() > 0 {
            InsertTurns(&rows).execute(&mut self.conn)?;
        }
        Ok(())
    }
}

impl Rows {
    fn len(&self) -> usize {
        self.seqs.len()
    }

    fn truncate(&mut self, length: usize) {
        self.task_ids.truncate(length);
        self.seqs.truncate(length);
        self.roles.truncate(length);
        self.contents.truncate(length);
        self.timestamps.truncate(length);
        self.keys.truncate(length);
        self.bytes = self.contents.iter().map(String::len).sum();
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
    fn find(&mut self, key: &MessageKey) -> Result<Option<Keyed>, Failure> {
        let key = (self.task_id.clone(), key.clone());
        Ok(self.link.ahead.keyed.get(&key).cloned())
    }

    fn insert(&mut self, turn: &NewTurn<'_>) -> Result<(), Failure> {
        if let State::Missing = self.state {
            return Err(Failure::Refused(Error::TaskNotFound {
                operation: self.call.operation,
                task_id: self.task_id.clone(),
            }));
        }
        let message: &NewMessage<'_> = turn.message;
        let ahead = &mut self.link.ahead;
        let content = StoredText::from(&*message.content).as_stored().to_owned();
        let rows = &mut ahead.rows;
        rows.bytes += content.len();
        rows.task_ids.push(self.task_id.clone());
        rows.seqs.push(turn.seq);
        rows.roles.push(message.role);
        rows.contents.push(content);
        rows.timestamps.push(turn.timestamp);
        rows.keys.push(message.key.clone());
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
        let locked = State::Locked(turn.seq);
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
    waits: bool,
}

impl QueryFragment<Db> for LockHistories<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql("SELECT task_id, is_locked, last_seq FROM turnkeep_lock_histories(");
        out.push_bind_param::<Array<Text>, _>(&self.task_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Bool, _>(&self.waits)?;
        out.push_sql(")");
        Ok(())
    }
}

impl QueryId for LockHistories<'_> {
    type QueryId = LockHistories<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for LockHistories<'_> {
    type SqlType = (Text, Bool, Nullable<BigInt>);
}

impl RunQueryDsl<Conn> for LockHistories<'_> {}

/// Inserts turns. One text however many there are, so that each connection prepares it once.
struct InsertTurns<'a>(&'a Rows);

impl QueryFragment<Db> for InsertTurns<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        let Self(rows) = self;
        out.push_sql(
            "INSERT INTO conversation_history \
             (task_id, seq, role, content, timestamp, message_key) SELECT * FROM unnest(",
        );
        out.push_bind_param::<Array<Text>, _>(&rows.task_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&rows.seqs)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&rows.roles)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&rows.contents)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&rows.timestamps)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&rows.keys)?;
        out.push_sql(")");
        Ok(())
    }
}

impl QueryId for InsertTurns<'_> {
    type QueryId = InsertTurns<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<Conn> for InsertTurns<'_> {}
