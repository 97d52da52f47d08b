//! Appending turns.
//!
//! Most appends are one statement, `turnkeep_append`: it locks the tasks, numbers the turns, inserts
//! them and commits, in one round trip for all callers of a batch. The statement refuses an append that
//! needs more, such as a repeated key; the caller then appends in a transaction of its own.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::RangeInclusive;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text};
use diesel::{PgConnection, define_sql_function, sql_query, table};
use turnkeep_model::{ConversationTurn, MessageKey, Role, StoredText, TaskId, UtcMicros};
use turnkeep_schema::conversation_history as turns;

use super::error::is_left_out;
use super::queries::history::last_seq;
use super::queries::lease::stored_fence;
use super::queries::task::not_found;
use super::queries::{all_written, not_written};
use crate::api::lease::must_be;
use crate::append_rules::{self, History, Keyed, NewTurn, Request};
use crate::base::error::Error;
use crate::base::operation::Call;
use crate::base::query_error::QueryError;

/// A connection, and the state of the appends on it.
pub(crate) struct ServerSession {
    conn: PgConnection,
    mode: AppendMode,
    /// How many migrations this program knows.
    migrations: i64,
    /// A seq that each of these histories has reached. The server looks for the end of the history from
    /// there; a seq that is no longer stored costs it a second look.
    known_seqs: HashMap<TaskId, i64>,
}

/// How [`ServerSession::append`] appends.
#[derive(Default)]
enum AppendMode {
    /// Step by step, in a transaction that the caller commits.
    #[default]
    Transaction,
    /// By `turnkeep_append`.
    OneStatement,
    /// Not at all: `turnkeep_append` has stored a whole batch, whose seqs these are, in order.
    Stored(VecDeque<Vec<i64>>),
}

/// Most histories of which a seq is remembered, a few MB. With more, all are forgotten.
const MAX_KNOWN_SEQS: usize = 4096;

/// Most bytes of text that are sent in one statement.
const MAX_STATEMENT_BYTES: usize = 16 * 1024 * 1024;

impl ServerSession {
    pub(crate) fn new(conn: PgConnection, migrations: usize) -> Self {
        Self {
            conn,
            mode: AppendMode::default(),
            migrations: i64::try_from(migrations).unwrap_or(i64::MAX),
            known_seqs: HashMap::new(),
        }
    }

    pub(crate) fn conn(&mut self) -> &mut PgConnection {
        &mut self.conn
    }

    /// Makes appends part of the caller's transaction.
    pub(crate) fn append_in_transaction(&mut self) {
        self.mode = AppendMode::Transaction;
    }

    /// Makes an append one statement, or fail with [`QueryError::NeedsTransaction`].
    pub(crate) fn append_by_statement(&mut self) {
        self.mode = AppendMode::OneStatement;
    }

    /// Appends the messages of all requests in one statement. The next appends on this connection, in the
    /// same order, only return their seqs.
    pub(crate) fn append_batch(
        &mut self,
        requests: &[Request<'_>],
        now: impl Fn() -> Result<UtcMicros, Error>,
    ) -> Result<(), QueryError> {
        let seqs = self.append_by_function(requests, now)?;
        self.mode = AppendMode::Stored(seqs.into());
        Ok(())
    }

    /// Appends the messages, and returns their seqs. See [`append_rules::append`].
    pub(crate) fn append(
        &mut self,
        call: Call<'_>,
        request: Request<'_>,
        now: impl Fn() -> Result<UtcMicros, Error>,
    ) -> Result<Vec<i64>, QueryError> {
        match &mut self.mode {
            AppendMode::Transaction => append(&mut self.conn, call, request, now),
            AppendMode::OneStatement => Ok(self.append_by_function(&[request], now)?.concat()),
            AppendMode::Stored(seqs) => seqs.pop_front().ok_or(QueryError::NeedsTransaction),
        }
    }

    /// Calls `turnkeep_append`, and returns the seqs of each request.
    ///
    /// Fails with [`QueryError::NeedsTransaction`], and has stored nothing, if a task is missing, has
    /// another fence or is locked by another transaction, if a key is stored already, or if the requests
    /// can't be written as one statement.
    fn append_by_function(
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
            // A refused request would leave a gap in the seqs of the task.
            let has_other_fence = counts[place] > 0 && fences[place] != request.fence;
            if request.expected.is_some() || request.messages.is_empty() || has_other_fence {
                return Err(QueryError::NeedsTransaction);
            }
            fences[place] = request.fence;
            let first = counts[place] + 1;
            for message in request.messages {
                let key = message.key.as_ref();
                if key.is_some_and(|key| !keys.insert((place, key))) {
                    return Err(QueryError::NeedsTransaction);
                }
                let timestamp = match message.timestamp {
                    Some(time) => UtcMicros::new(time).map_err(|_| QueryError::NeedsTransaction)?,
                    None => now()?,
                };
                counts[place] += 1;
                task_numbers
                    .push(i32::try_from(place + 1).map_err(|_| QueryError::NeedsTransaction)?);
                rows.push(&NewTurn {
                    seq: counts[place],
                    message,
                    timestamp,
                });
                if rows.bytes > MAX_STATEMENT_BYTES {
                    return Err(QueryError::NeedsTransaction);
                }
            }
            numbered.push((place, first..=counts[place]));
        }
        let known_seqs: Vec<Option<i64>> = task_ids
            .iter()
            .map(|id| self.known_seqs.get(*id).copied())
            .collect();
        let append = turnkeep_append(
            &task_ids,
            or_empty(&fences),
            known_seqs,
            task_numbers,
            &rows.seqs,
            &rows.roles,
            &rows.contents,
            &rows.timestamps,
            or_empty(&rows.keys),
            &rows.checksums,
        );
        // No row if the schema has more migrations, which a newer program has run.
        let applied = migrations::table.count().single_value();
        let last_seqs: Option<Option<Vec<i64>>> = diesel::select(append)
            .filter(applied.le(self.migrations))
            .get_result(&mut self.conn)
            .optional()
            .map_err(|error| match is_left_out(&error) {
                true => not_written("conversation_history"),
                false => QueryError::Database(error),
            })?;
        let last_seqs = last_seqs.flatten().ok_or(QueryError::NeedsTransaction)?;
        self.remember(&task_ids, &last_seqs);
        let seqs = |(place, numbers): (usize, RangeInclusive<i64>)| {
            numbers.map(|number| last_seqs[place] + number).collect()
        };
        Ok(numbered.into_iter().map(seqs).collect())
    }

    fn remember(&mut self, task_ids: &[&TaskId], last_seqs: &[i64]) {
        if self.known_seqs.len() > MAX_KNOWN_SEQS {
            self.known_seqs.clear();
        }
        for (task_id, last) in task_ids.iter().zip(last_seqs) {
            match self.known_seqs.get_mut(*task_id) {
                Some(known) => *known = *last,
                None => _ = self.known_seqs.insert((*task_id).clone(), *last),
            }
        }
    }
}

/// Appends in the caller's transaction, which waits for other appends to the same task.
fn append(
    conn: &mut PgConnection,
    call: Call<'_>,
    request: Request<'_>,
    now: impl Fn() -> Result<UtcMicros, Error>,
) -> Result<Vec<i64>, QueryError> {
    let task_id = request.task_id;
    let mut history = LockedHistory::lock(conn, call, task_id)?;
    if let Some(expected) = request.fence {
        let fence = history.fence.ok_or_else(|| not_found(call, task_id))?;
        must_be(call, task_id, expected, fence)?;
    }
    history.read_keys(request.messages.iter().filter_map(|it| it.key.as_ref()))?;
    let last = history.last;
    let seqs = append_rules::append(&mut history, call, request, last, now)?;
    history.flush()?;
    Ok(seqs)
}

/// Appends turns as another store has them, in order of their tasks. See [`append_rules::take_over`].
pub(crate) fn take_over(
    conn: &mut PgConnection,
    call: Call<'_>,
    turns: &[ConversationTurn],
) -> Result<(), QueryError> {
    for turns in turns.chunk_by(|a, b| a.task_id == b.task_id) {
        // The keys are those of turns that the history does not have yet.
        let mut history = LockedHistory::lock(conn, call, &turns[0].task_id)?;
        let last = history.last;
        append_rules::take_over(&mut history, call, turns, last)?;
        history.flush()?;
    }
    Ok(())
}

/// The history of one task, whose row is locked until the transaction ends. New turns are sent together, by
/// [`flush`](Self::flush).
struct LockedHistory<'a> {
    conn: &'a mut PgConnection,
    call: Call<'a>,
    task_id: &'a TaskId,
    /// The fence of the task. `None` if there is no such task; its history is empty.
    fence: Option<i64>,
    /// The seq of the last stored turn.
    last: i64,
    /// The turns that have one of the keys of this append.
    keyed: HashMap<MessageKey, Keyed>,
    rows: Rows,
}

impl<'a> LockedHistory<'a> {
    fn lock(conn: &'a mut PgConnection, call: Call<'a>, task_id: &'a TaskId) -> QueryResult<Self> {
        let fence = stored_fence(conn, task_id)?;
        // A statement of its own sees everything that was committed before the lock.
        let last = last_seq(conn, task_id)?;
        Ok(Self {
            conn,
            call,
            task_id,
            fence,
            last,
            keyed: HashMap::new(),
            rows: Rows::default(),
        })
    }

    fn read_keys<'k>(&mut self, keys: impl Iterator<Item = &'k MessageKey>) -> QueryResult<()> {
        let keys: Vec<_> = keys.collect();
        if keys.is_empty() {
            return Ok(());
        }
        let keyed: Vec<(MessageKey, i64, Role, StoredText<'_>)> = turns::table
            .filter(turns::task_id.eq(self.task_id))
            .filter(turns::message_key.eq_any(keys))
            // The partial index is used only for a query that says this.
            .filter(turns::message_key.is_not_null())
            .select((
                turns::message_key.assume_not_null(),
                turns::seq,
                turns::role,
                turns::content,
            ))
            .load(self.conn)?;
        for (key, seq, role, content) in keyed {
            let content = content.into();
            self.keyed.insert(key, Keyed { seq, role, content });
        }
        Ok(())
    }

    /// Inserts the new turns.
    fn flush(&mut self) -> Result<(), QueryError> {
        let rows = std::mem::take(&mut self.rows);
        if rows.seqs.is_empty() {
            return Ok(());
        }
        let inserted = sql_query(
            "INSERT INTO conversation_history \
             (task_id, seq, role, content, timestamp, message_key, checksum) \
             SELECT $1, * FROM unnest($2, $3, $4, $5, $6, $7)",
        )
        .bind::<Text, _>(self.task_id)
        .bind::<Array<BigInt>, _>(&rows.seqs)
        .bind::<Array<Text>, _>(&rows.roles)
        .bind::<Array<Text>, _>(&rows.contents)
        .bind::<Array<BigInt>, _>(&rows.timestamps)
        .bind::<Array<Nullable<Text>>, _>(&rows.keys)
        .bind::<Array<BigInt>, _>(&rows.checksums)
        .execute(self.conn)?;
        all_written(inserted, rows.seqs.len(), "conversation_history")
    }
}

impl History for LockedHistory<'_> {
    fn find(&mut self, key: &MessageKey) -> Result<Option<Keyed>, QueryError> {
        Ok(self.keyed.get(key).cloned())
    }

    fn insert(&mut self, turn: &NewTurn<'_>) -> Result<(), QueryError> {
        if self.fence.is_none() {
            return Err(not_found(self.call, self.task_id));
        }
        let message = turn.message;
        self.rows.push(turn);
        if let Some(key) = &message.key {
            let keyed = Keyed {
                seq: turn.seq,
                role: message.role,
                content: message.content.clone().into_owned(),
            };
            self.keyed.insert(key.clone(), keyed);
        }
        match self.rows.bytes > MAX_STATEMENT_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }
}

/// Turns to be inserted, column by column.
#[derive(Default)]
struct Rows {
    seqs: Vec<i64>,
    roles: Vec<Role>,
    contents: Vec<String>,
    timestamps: Vec<UtcMicros>,
    keys: Vec<Option<MessageKey>>,
    checksums: Vec<i64>,
    bytes: usize,
}

impl Rows {
    fn push(&mut self, turn: &NewTurn<'_>) {
        let message = turn.message;
        let content = StoredText::from(&*message.content);
        let content = content.as_stored().to_owned();
        self.bytes += content.len();
        self.seqs.push(turn.seq);
        self.roles.push(message.role);
        self.contents.push(content);
        self.timestamps.push(turn.timestamp);
        self.keys.push(message.key.clone());
        self.checksums.push(turn.checksum());
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

define_sql_function! {
    /// See the comment in the migration. The seqs count from 1 for each task.
    #[expect(clippy::too_many_arguments, reason = "one array for each column")]
    fn turnkeep_append(
        task_ids: Array<Text>, fences: Array<Nullable<BigInt>>, known_seqs: Array<Nullable<BigInt>>,
        task_numbers: Array<Integer>, seqs: Array<BigInt>, roles: Array<Text>, contents: Array<Text>,
        timestamps: Array<BigInt>, message_keys: Array<Nullable<Text>>, checksums: Array<BigInt>,
    ) -> Nullable<Array<BigInt>>;
}

table! {
    #[sql_name = "__diesel_schema_migrations"]
    migrations (version) {
        version -> Text,
    }
}
