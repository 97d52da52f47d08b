//! Appending turns.
//!
//! Most appends are one statement, `turnkeep_append`: it locks the tasks, numbers the turns, inserts
//! them and commits, in one round trip for all callers of a batch. The statement refuses an append that
//! needs more, such as a repeated key; the caller then appends in a transaction of its own.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text};
use diesel::{PgConnection, define_sql_function, sql_query};
use turnkeep_model::{MessageKey, Metadata, Role, Seq, TaskId, UtcMicros};
use turnkeep_schema::conversation_history as turns;

use super::error::is_left_out;
use super::ops::append::{Append, Histories, NewTurn, StoredTurn};
use super::ops::history::{LastTurn, last_turn};
use super::ops::task::{check_fence, stored_fence};
use super::ops::{all_written, not_written, task_not_found};
use crate::base::error::Error;
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;
use crate::base::target::Target;

/// Most bytes of text that are sent in one statement.
pub(super) const MAX_STATEMENT_BYTES: usize = 16 * 1024 * 1024;

/// Calls `turnkeep_append`, and returns the seqs of each request.
///
/// Fails with [`QueryError::NeedsTransaction`], and has stored nothing, if a task is missing, has another
/// fence or is locked by another transaction, if a key is stored already, if the schema has more migrations
/// than are known, or if the times of a task's turns fall.
pub(crate) fn append_by_function(
    conn: &mut PgConnection,
    known_migrations: i64,
    requests: &[&mut Append],
    now: impl Fn() -> Result<UtcMicros, Error>,
) -> Result<Vec<Vec<Seq>>, QueryError> {
    let task_ids: BTreeSet<&TaskId> = requests.iter().map(|it| &it.target.task_id).collect();
    let task_ids: Vec<&TaskId> = task_ids.into_iter().collect();
    let mut counts = vec![0; task_ids.len()];
    let mut last_times: Vec<Option<UtcMicros>> = vec![None; task_ids.len()];
    let mut fences = Vec::new();
    let mut task_numbers = Vec::new();
    let mut rows = Rows::default();
    let mut numbered = Vec::with_capacity(requests.len());
    for request in requests {
        let place = task_ids.partition_point(|id| **id < request.target.task_id);
        let task_number = i32::try_from(place + 1).map_err(|_| QueryError::NeedsTransaction)?;
        let first = counts[place] + 1;
        for message in &request.messages {
            let timestamp = match message.timestamp {
                Some(time) => UtcMicros::new(time).map_err(|_| QueryError::NeedsTransaction)?,
                None => now()?,
            };
            if last_times[place].is_some_and(|last| timestamp < last) {
                return Err(QueryError::NeedsTransaction);
            }
            last_times[place] = Some(timestamp);
            counts[place] += 1;
            fences.push(request.target.fence);
            task_numbers.push(task_number);
            let (role, content) = (message.role, &message.content);
            let (key, metadata) = (message.key.as_ref(), message.metadata.as_ref());
            let seq = counts[place];
            rows.push(&NewTurn::new(seq, role, content, timestamp, key, metadata));
        }
        numbered.push((place, first..=counts[place]));
    }
    let append = turnkeep_append(
        known_migrations,
        &task_ids,
        or_empty(&fences),
        task_numbers,
        &rows.seqs,
        &rows.roles,
        &rows.contents,
        &rows.timestamps,
        or_empty(&rows.keys),
        or_empty(&rows.metadata),
        &rows.checksums,
        last_times,
    );
    let last_seqs: Option<Vec<i64>> =
        diesel::select(append)
            .get_result(conn)
            .map_err(|error| match is_left_out(&error) {
                true => not_written("conversation_history"),
                false => QueryError::Database(error),
            })?;
    let last_seqs = last_seqs.ok_or(QueryError::NeedsTransaction)?;
    let seqs = |(place, numbers): (usize, RangeInclusive<i64>)| {
        let seqs = numbers.map(|number| Seq::new(last_seqs[place] + number));
        seqs.collect::<Result<_, _>>()
            .map_err(|error| QueryError::Database(DieselError::DeserializationError(error.into())))
    };
    numbered.into_iter().map(seqs).collect()
}

/// Appends in the caller's transaction, which waits for other appends to the same task.
impl Histories for PgConnection {
    fn lock_history(
        &mut self,
        call: Operation<'_>,
        target: &Target,
    ) -> Result<Option<LastTurn>, QueryError> {
        let task_id = &target.task_id;
        match target.fence {
            Some(_) => check_fence(self, call, target)?,
            None => _ = stored_fence(self, task_id)?,
        }
        // A statement of its own sees everything that was committed before the lock.
        Ok(last_turn(self, task_id)?)
    }

    fn stored_turns(
        &mut self,
        task_id: &TaskId,
        keys: &[&MessageKey],
    ) -> Result<Vec<StoredTurn>, QueryError> {
        let stored = turns::table
            .filter(turns::task_id.eq(task_id))
            .filter(turns::message_key.eq_any(keys))
            // The partial index is used only for a query that says this.
            .filter(turns::message_key.is_not_null())
            .select((
                turns::message_key.assume_not_null(),
                turns::seq,
                turns::role,
                turns::content,
                turns::metadata,
            ))
            .load(self)?;
        Ok(stored)
    }

    fn insert_turns(
        &mut self,
        call: Operation<'_>,
        task_id: &TaskId,
        turns: &[NewTurn<'_>],
    ) -> Result<(), QueryError> {
        let mut turns = turns.iter().peekable();
        while turns.peek().is_some() {
            let mut rows = Rows::default();
            for turn in turns.by_ref() {
                rows.push(turn);
                if rows.bytes > MAX_STATEMENT_BYTES {
                    break;
                }
            }
            let inserted = sql_query(
                "INSERT INTO conversation_history \
                 (task_id, seq, role, content, timestamp, message_key, metadata, checksum) \
                 SELECT $1, * FROM unnest($2, $3, $4, $5, $6, $7, $8)",
            )
            .bind::<Text, _>(task_id)
            .bind::<Array<BigInt>, _>(&rows.seqs)
            .bind::<Array<Text>, _>(&rows.roles)
            .bind::<Array<Text>, _>(&rows.contents)
            .bind::<Array<BigInt>, _>(&rows.timestamps)
            .bind::<Array<Nullable<Text>>, _>(&rows.keys)
            .bind::<Array<Nullable<Text>>, _>(&rows.metadata)
            .bind::<Array<BigInt>, _>(&rows.checksums)
            .execute(self)
            .map_err(|error| task_not_found(error, call, task_id))?;
            all_written(inserted, rows.seqs.len(), "conversation_history")?;
        }
        Ok(())
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
    metadata: Vec<Option<Metadata>>,
    checksums: Vec<i64>,
    bytes: usize,
}

impl Rows {
    fn push(&mut self, turn: &NewTurn<'_>) {
        let content = turn.content.as_stored().to_owned();
        self.bytes += content.len() + turn.metadata.map_or(0, |it| it.as_str().len());
        self.seqs.push(turn.seq);
        self.roles.push(turn.role);
        self.contents.push(content);
        self.timestamps.push(turn.timestamp);
        self.keys.push(turn.key.cloned());
        self.metadata.push(turn.metadata.cloned());
        self.checksums.push(turn.checksum);
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
        known_migrations: BigInt, task_ids: Array<Text>, fences: Array<Nullable<BigInt>>,
        task_numbers: Array<Integer>, seqs: Array<BigInt>, roles: Array<Text>, contents: Array<Text>,
        timestamps: Array<BigInt>, message_keys: Array<Nullable<Text>>, metadata: Array<Nullable<Text>>,
        checksums: Array<BigInt>, last_times: Array<Nullable<BigInt>>,
    ) -> Nullable<Array<BigInt>>;
}
