use std::collections::HashMap;

use chrono::DateTime;
use diesel::connection::DefaultLoadingMode;
use diesel::dsl::{case_when, exists};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Text};
use turnkeep_model::{
    ConversationTurn, MessageKey, Metadata, Role, Seq, StoredText, TaskId, UtcMicros,
};
use turnkeep_schema::{conversation_history as turns, history_retractions as retractions, tasks};

use super::{Conn, Db, MAX_IDS};
use crate::base::error::ErrorKind;
use crate::base::hidden_turns::HiddenTurns;
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;

/// The most turns that a follower gets at once.
pub(crate) const MAX_NEW_TURNS: i64 = 256;

type Row<'a> = (
    Seq,
    Role,
    StoredText<'a>,
    UtcMicros,
    Option<MessageKey>,
    Option<Metadata>,
);

/// The turns of a task from a start, a condition, up to and with an end, in order. Seqs have no gaps, so a range of
/// them is a page; a bound LIMIT would have SQLite prepare the statement anew.
macro_rules! turns_between {
    ($conn:expr, $task_id:expr, $start:expr, $end:expr) => {
        turns::table
            .filter(turns::task_id.eq($task_id))
            .filter($start)
            .filter(turns::seq.le($end))
            .order(turns::seq)
            .select((
                turns::seq,
                turns::role,
                turns::content,
                turns::timestamp,
                turns::message_key,
                turns::metadata,
            ))
            .load_iter::<Row<'_>, DefaultLoadingMode>($conn)?
    };
}

/// The end of a range, or 0 if the task has retractions. As an end it is evaluated once, not for each row.
macro_rules! unless_retracted {
    ($task_id:expr, $end:expr) => {{
        let retracted = retractions::table.filter(retractions::task_id.nullable().eq($task_id));
        case_when(exists(retracted), 0_i64.into_sql::<BigInt>()).otherwise($end)
    }};
}

/// Returns the seq of the last turn, hidden or not.
pub(crate) fn last_seq(conn: &mut Conn, task_id: &TaskId) -> QueryResult<Option<Seq>> {
    turns::table
        .filter(turns::task_id.eq(task_id))
        .select(diesel::dsl::max(turns::seq))
        .get_result(conn)
}

/// The last turn of a history.
#[derive(Clone, Copy)]
pub(crate) struct LastTurn {
    pub(crate) seq: Seq,
    /// `None` if it is damaged.
    pub(crate) timestamp: Option<UtcMicros>,
}

/// Returns the last turn, if there is one.
pub(crate) fn last_turn(conn: &mut Conn, task_id: &TaskId) -> QueryResult<Option<LastTurn>> {
    let row: Option<(Seq, i64)> = SelectLastTurn { task_id }.get_result(conn).optional()?;
    Ok(row.map(|(seq, micros)| LastTurn {
        seq,
        timestamp: DateTime::from_timestamp_micros(micros)
            .and_then(|time| UtcMicros::new(time).ok()),
    }))
}

/// Reads the last turn. Its time stands before the content, so that no long text is read.
struct SelectLastTurn<'a> {
    task_id: &'a TaskId,
}

impl QueryFragment<Db> for SelectLastTurn<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql("SELECT seq, \"timestamp\" FROM conversation_history WHERE task_id = ");
        out.push_bind_param::<Text, _>(self.task_id)?;
        out.push_sql(" ORDER BY seq DESC LIMIT 1");
        Ok(())
    }
}

impl Query for SelectLastTurn<'_> {
    type SqlType = (BigInt, BigInt);
}

impl QueryId for SelectLastTurn<'_> {
    type QueryId = SelectLastTurn<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<Conn> for SelectLastTurn<'_> {}

/// Returns the number of turns up to a place in a history.
pub(crate) fn number(place: Option<Seq>) -> i64 {
    place.map_or(0, Seq::get)
}

/// Returns the seq of the last turn of each of these tasks, without tasks that are not stored.
pub(crate) fn last_seqs(
    conn: &mut Conn,
    task_ids: &[TaskId],
) -> QueryResult<HashMap<TaskId, Option<Seq>>> {
    let mut last_seqs = HashMap::new();
    for ids in task_ids.chunks(MAX_IDS) {
        let last_seq = turns::table
            .filter(turns::task_id.eq(tasks::id))
            .select(diesel::dsl::max(turns::seq))
            .single_value();
        let rows: Vec<(TaskId, Option<Seq>)> = tasks::table
            .filter(tasks::id.eq_any(ids))
            .select((tasks::id, last_seq))
            .load(conn)?;
        last_seqs.extend(rows);
    }
    Ok(last_seqs)
}

/// Returns up to [`MAX_NEW_TURNS`] visible turns after `after`, in order. Refuses a missing task and a history that
/// ends before `after`: no turn would ever follow.
pub(crate) fn new_turns(
    conn: &mut Conn,
    call: Operation<'_>,
    task_id: &TaskId,
    after: Option<Seq>,
) -> Result<Vec<ConversationTurn>, QueryError> {
    let turns = page(conn, call, task_id, after, MAX_NEW_TURNS, false)?;
    if !turns.is_empty() {
        return Ok(turns);
    }
    let last_seqs = last_seqs(conn, std::slice::from_ref(task_id))?;
    let refused = match last_seqs.get(task_id) {
        Some(&actual) if actual < after => ErrorKind::SeqConflict {
            expected: after,
            actual,
        },
        Some(_) => return Ok(turns),
        None => ErrorKind::TaskNotFound,
    };
    Err(QueryError::Refused(refused.on(&call)))
}

/// Returns the turn that has the key.
pub(crate) fn find_by_key(
    conn: &mut Conn,
    call: Operation<'_>,
    task_id: &TaskId,
    key: &MessageKey,
) -> Result<Option<ConversationTurn>, QueryError> {
    let seq: Option<Seq> = turns::table
        .filter(turns::task_id.eq(task_id))
        .filter(turns::message_key.eq(key))
        // PostgreSQL uses the partial index only for a query that says this.
        .filter(turns::message_key.is_not_null())
        .select(turns::seq)
        .get_result(conn)
        .optional()?;
    let Some(seq) = seq else {
        return Ok(None);
    };
    Ok(range(conn, call, task_id, seq.get() - 1, seq.get())?.pop())
}

/// Returns the number of visible turns.
pub(crate) fn count(conn: &mut Conn, task_id: &TaskId) -> QueryResult<i64> {
    let last = turns::table
        .filter(turns::task_id.eq(task_id))
        .select(diesel::dsl::max(turns::seq))
        .single_value();
    let retracted = retractions::table.filter(retractions::task_id.eq(task_id));
    let (last, is_retracted) = diesel::select((last, exists(retracted))).get_result(conn)?;
    match is_retracted {
        true => Ok(hidden_turns(conn, task_id)?.count_visible(0, number(last))),
        false => Ok(number(last)),
    }
}

diesel::infix_operator!(Minus, " - ", BigInt);

/// Returns the last `count` turns, in order, by one statement, or `None` if that does not tell: the task has
/// retractions, no turn or a damaged one.
pub(crate) fn last_unretracted(
    conn: &mut Conn,
    call: Operation<'_>,
    task_id: &TaskId,
    count: i64,
) -> Result<Option<Vec<ConversationTurn>>, QueryError> {
    let all = diesel::alias!(turns as all_turns);
    let last = all
        .filter(all.field(turns::task_id).eq(task_id))
        .select(diesel::dsl::max(all.field(turns::seq)))
        .single_value();
    let start = Minus::new(last, count.into_sql::<BigInt>());
    let end = unless_retracted!(Some(task_id), Seq::MAX.get());
    let rows = turns_between!(conn, task_id, turns::seq.nullable().gt(start), end);
    match collect(rows, call, task_id, None) {
        Ok(turns) => Ok(Some(turns).filter(|turns| are_last(turns, count))),
        Err(QueryError::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns whether turns without gaps are the last `count` of a history, or all.
fn are_last(turns: &[ConversationTurn], count: i64) -> bool {
    let first = turns.first().map(|turn| turn.seq);
    first == Some(Seq::MIN) || first.is_some() && turns.len() as i64 == count
}

/// Returns the last `count` visible turns, in order.
pub(crate) fn last(
    conn: &mut Conn,
    call: Operation<'_>,
    task_id: &TaskId,
    count: i64,
) -> Result<Vec<ConversationTurn>, QueryError> {
    let last = number(last_seq(conn, task_id)?);
    let span = |hidden: &HiddenTurns| (hidden.start_of_last(last, count).max(0), last);
    visible(conn, call, task_id, span)
}

/// Returns the first `limit` turns after `after`, in order.
pub(crate) fn page(
    conn: &mut Conn,
    call: Operation<'_>,
    task_id: &TaskId,
    after: Option<Seq>,
    limit: i64,
    with_hidden: bool,
) -> Result<Vec<ConversationTurn>, QueryError> {
    let after = number(after);
    if with_hidden {
        return range(conn, call, task_id, after, after.saturating_add(limit));
    }
    let span = |hidden: &HiddenTurns| (after, hidden.end_of_first(after, limit));
    visible(conn, call, task_id, span)
}

/// Returns the visible turns of a span, which is a seq and the last one after it.
fn visible(
    conn: &mut Conn,
    call: Operation<'_>,
    task_id: &TaskId,
    span: impl Fn(&HiddenTurns) -> (i64, i64),
) -> Result<Vec<ConversationTurn>, QueryError> {
    let (after, through_seq) = span(&HiddenTurns::default());
    loop {
        // One statement for a task without retractions. For others it returns no turn.
        let turns = read(conn, call, task_id, after, through_seq, Some(task_id))?;
        if !turns.is_empty() {
            return Ok(turns);
        }
        let hidden = hidden_turns(conn, task_id)?;
        if hidden.is_empty() {
            return Ok(turns);
        }
        let turns = visible_stretches(conn, call, task_id, &hidden, span(&hidden));
        // Turns and retractions stay until the task is deleted, so if they are the same these were the ones when the
        // turns were read. A deleted task is damaged by no missing turn.
        match hidden_turns(conn, task_id) {
            Ok(still) if still != hidden => {}
            Err(error) if turns.is_ok() => return Err(error.into()),
            _ => return turns,
        }
    }
}

/// Returns the turns of a span that are not hidden, and reads no others: a page of them has a bounded size.
fn visible_stretches(
    conn: &mut Conn,
    call: Operation<'_>,
    task_id: &TaskId,
    hidden: &HiddenTurns,
    (after, through_seq): (i64, i64),
) -> Result<Vec<ConversationTurn>, QueryError> {
    let mut turns = Vec::new();
    for (start, end) in hidden.stretches_between(after, through_seq) {
        let stretch = range(conn, call, task_id, start, end)?;
        let last = stretch.last().map_or(start, |turn| turn.seq.get());
        // Only the end of the history may be before the end of its stretch.
        if last < end && end < through_seq {
            let error = ErrorKind::Corrupt.on(&call);
            let error = error.in_part(format_args!("turn {}", last + 1));
            return Err(QueryError::Refused(error.with_source("it is missing")));
        }
        turns.extend(stretch);
    }
    Ok(turns)
}

fn hidden_turns(conn: &mut Conn, task_id: &TaskId) -> QueryResult<HiddenTurns> {
    hidden_ranges(conn, task_id).map(HiddenTurns::new)
}

/// Returns what each retraction of the task hides: the seq before the first turn and the seq of the last one.
pub(crate) fn hidden_ranges(conn: &mut Conn, task_id: &TaskId) -> QueryResult<Vec<(i64, i64)>> {
    retractions::table
        .filter(retractions::task_id.eq(task_id))
        .order(retractions::number)
        .select((retractions::after_seq, retractions::through_seq))
        .load(conn)
}

/// Returns the turns after `after` up to and with `through_seq`, in order, hidden ones too.
fn range(
    conn: &mut Conn,
    call: Operation<'_>,
    task_id: &TaskId,
    after: i64,
    through_seq: i64,
) -> Result<Vec<ConversationTurn>, QueryError> {
    read(conn, call, task_id, after, through_seq, None)
}

/// Like [`range`], but returns no turn if the task `unless_retracted` has retractions.
fn read(
    conn: &mut Conn,
    call: Operation<'_>,
    task_id: &TaskId,
    after: i64,
    through_seq: i64,
    unless_retracted: Option<&TaskId>,
) -> Result<Vec<ConversationTurn>, QueryError> {
    let end = unless_retracted!(unless_retracted, through_seq);
    let rows = turns_between!(conn, task_id, turns::seq.gt(after), end);
    collect(rows, call, task_id, Some(after))
}

/// Returns the turns of these rows, of which none is missing after `after` (`None` if that is not known).
fn collect<'r>(
    rows: impl Iterator<Item = QueryResult<Row<'r>>>,
    call: Operation<'_>,
    task_id: &TaskId,
    mut after: Option<i64>,
) -> Result<Vec<ConversationTurn>, QueryError> {
    let mut history: Vec<ConversationTurn> = Vec::new();
    for row in rows {
        let expected = after.map(|after| after + 1);
        let damaged = |source| {
            QueryError::Refused(
                ErrorKind::Corrupt
                    .on(&call)
                    .in_part(format_args!("turn {}", expected.unwrap_or_default()))
                    .with_source(source),
            )
        };
        match row {
            // A damaged index leads past rows, and to rows of another number.
            Ok((seq, ..)) if expected.is_some_and(|expected| seq != expected) => {
                return Err(damaged(format!("in its place is turn {seq}").into()));
            }
            Ok((seq, role, content, timestamp, message_key, metadata)) => {
                after = Some(seq.get());
                // The caller's own, shared instead of copied out of every row.
                let task_id = task_id.clone();
                let (content, timestamp) = (content.into(), timestamp.into());
                let mut turn = ConversationTurn::new(task_id, seq, role, content, timestamp);
                turn.message_key = message_key;
                turn.metadata = metadata;
                history.push(turn);
            }
            Err(diesel::result::Error::DeserializationError(source)) => {
                return Err(damaged(source));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(history)
}
