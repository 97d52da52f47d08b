//! The last activity of a task: the time of its last turn or of the last change of its status, whichever is later.
//!
//! `tasks.last_active_at` is that time to the minute: an append writes it only with the first turn of a minute, and
//! with a turn that is earlier than the turn before. So the exact time is the later of the column and of the last turn.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::dsl::{AsExprOf, auto_type, case_when, sql};
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Text};
use turnkeep_model::{TaskId, TaskStatus, UtcMicros};
use turnkeep_schema::tasks;

use super::history::LastTurn;
use super::{Conn, Db};

/// The time of the last turn of a row of `tasks`, the column if it has none.
const LAST_TURN: &str = "coalesce((SELECT \"timestamp\" FROM conversation_history \
    WHERE task_id = tasks.id ORDER BY seq DESC LIMIT 1), last_active_at)";

/// The exact last activity of a row of `tasks`, for [`LastActivity`].
#[auto_type(no_type_alias)]
pub(crate) fn last_activity() -> _ {
    let last_turn: SqlLiteral<BigInt> = sql(LAST_TURN);
    (tasks::last_active_at, last_turn)
}

#[derive(Queryable)]
pub(crate) struct LastActivity {
    column: UtcMicros,
    last_turn: UtcMicros,
}

impl From<LastActivity> for DateTime<Utc> {
    fn from(it: LastActivity) -> Self {
        it.column.max(it.last_turn).into()
    }
}

/// Whether a row of `tasks` was active at this time or later. An index has the tasks that the first comparison leaves.
#[auto_type(no_type_alias)]
pub(crate) fn is_active_since(time: UtcMicros) -> _ {
    let minute_before: UtcMicros = minute_before(time);
    let last_turn: SqlLiteral<BigInt> = sql(LAST_TURN);
    let is_later = tasks::last_active_at.ge(time).or(last_turn.ge(time));
    tasks::last_active_at.gt(minute_before).and(is_later)
}

fn minute_before(time: UtcMicros) -> UtcMicros {
    (DateTime::from(time) - TimeDelta::minutes(1)).into()
}

/// Whether a row of `tasks` was not active after this time.
#[auto_type(no_type_alias)]
pub(crate) fn is_inactive_since(time: UtcMicros) -> _ {
    let last_turn: SqlLiteral<BigInt> = sql(LAST_TURN);
    tasks::last_active_at.le(time).and(last_turn.le(time))
}

/// The columns of a task whose status changes. The last activity never falls, even if the clock was set back.
#[auto_type]
pub(crate) fn changed_status(status: TaskStatus, now: UtcMicros) -> _ {
    let time: AsExprOf<UtcMicros, BigInt> = now.into_sql::<BigInt>();
    let later = case_when(tasks::last_active_at.lt(now), time).otherwise(tasks::last_active_at);
    (
        tasks::status.eq(status),
        tasks::updated_at.eq(now),
        tasks::status_changed_at.eq(now),
        tasks::last_active_at.eq(later),
    )
}

/// Moves the last activity of a task whose history has grown by turns of these times.
pub(crate) fn record_turns(
    conn: &mut Conn,
    task_id: &TaskId,
    before: Option<LastTurn>,
    times: impl Iterator<Item = UtcMicros> + Clone,
) -> QueryResult<()> {
    match unrecorded(before, times) {
        Some(time) => record_activity(conn, task_id, time),
        None => Ok(()),
    }
}

/// Returns the last activity after turns of these times, if it is to be written to the task.
pub(crate) fn unrecorded(
    before: Option<LastTurn>,
    times: impl Iterator<Item = UtcMicros> + Clone,
) -> Option<UtcMicros> {
    let before = before.and_then(|turn| turn.timestamp);
    let last = times.clone().last()?;
    let latest = times.chain(before).max()?;
    let is_known = before.is_some_and(|before| before.minute() == latest.minute());
    (!is_known || latest != last).then_some(latest)
}

/// Moves the last activity of a task unless it is later already.
pub(crate) fn record_activity(
    conn: &mut Conn,
    task_id: &TaskId,
    time: UtcMicros,
) -> QueryResult<()> {
    RecordActivity { task_id, time }.execute(conn).map(drop)
}

struct RecordActivity<'a> {
    task_id: &'a TaskId,
    time: UtcMicros,
}

impl QueryFragment<Db> for RecordActivity<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql("UPDATE tasks SET last_active_at = ");
        out.push_bind_param::<BigInt, _>(&self.time)?;
        out.push_sql(" WHERE id = ");
        out.push_bind_param::<Text, _>(self.task_id)?;
        out.push_sql(" AND last_active_at < ");
        out.push_bind_param::<BigInt, _>(&self.time)?;
        Ok(())
    }
}

impl QueryId for RecordActivity<'_> {
    type QueryId = RecordActivity<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<Conn> for RecordActivity<'_> {}
