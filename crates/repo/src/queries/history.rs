use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::result::DatabaseErrorKind;
use diesel::sql_types::{BigInt, Nullable, Text};
use turnkeep_model::{ConversationTurn, MessageKey, NewMessage, Role, TaskId, UtcMicros};
use turnkeep_schema::conversation_history as turns;

use super::{Conn, Db};
use crate::call::Call;
use crate::error::{Error, Failure};

/// Appends one turn and returns its seq, which the statement itself gives out.
struct AppendTurn<'a> {
    task_id: &'a TaskId,
    role: Role,
    content: &'a str,
    timestamp: UtcMicros,
    key: &'a Option<MessageKey>,
}

impl QueryFragment<Db> for AppendTurn<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO conversation_history \
             (task_id, seq, role, content, timestamp, message_key) SELECT ",
        );
        out.push_bind_param::<Text, _>(self.task_id)?;
        out.push_sql(", coalesce(max(seq), 0) + 1, ");
        out.push_bind_param::<Text, _>(&self.role)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(self.content)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.timestamp)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(self.key)?;
        out.push_sql(" FROM conversation_history WHERE task_id = ");
        out.push_bind_param::<Text, _>(self.task_id)?;
        out.push_sql(" RETURNING seq");
        Ok(())
    }
}

impl diesel::query_builder::Query for AppendTurn<'_> {
    type SqlType = BigInt;
}

hot_statement!(AppendTurn);

/// Appends the messages in order and returns their seqs. A message whose key is stored already
/// is that turn again, or a conflict.
pub(crate) fn append(
    conn: &mut Conn,
    call: Call<'_>,
    task_id: &TaskId,
    messages: &[NewMessage<'_>],
    now: impl Fn() -> Result<UtcMicros, Error>,
) -> Result<Vec<i64>, Failure> {
    let mut seqs = Vec::with_capacity(messages.len());
    for message in messages {
        let stored = match &message.key {
            Some(key) => same_message(conn, call, task_id, key, message)?,
            None => None,
        };
        seqs.push(match stored {
            Some(seq) => seq,
            None => append_one(conn, call, task_id, message, &now)?,
        });
    }
    Ok(seqs)
}

fn append_one(
    conn: &mut Conn,
    call: Call<'_>,
    task_id: &TaskId,
    message: &NewMessage<'_>,
    now: impl Fn() -> Result<UtcMicros, Error>,
) -> Result<i64, Failure> {
    let timestamp = match message.timestamp {
        Some(time) => UtcMicros::new(time).map_err(|e| Error::invalid(call.operation, e))?,
        None => now()?,
    };
    let append = AppendTurn {
        task_id,
        role: message.role,
        content: &message.content,
        timestamp,
        key: &message.key,
    };
    // `load` runs the statement to its end, where SQLite makes its last checks; `get_result`
    // would leave it after the first row.
    let seqs: Vec<i64> = append.load(conn).map_err(|error| match error {
        diesel::result::Error::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _) => {
            Failure::Refused(Error::TaskNotFound {
                operation: call.operation,
                task_id: task_id.clone(),
            })
        }
        error => error.into(),
    })?;
    seqs.first()
        .copied()
        .ok_or(Failure::Database(diesel::result::Error::NotFound))
}

/// Returns the seq of the turn that has this key, if it says the same.
fn same_message(
    conn: &mut Conn,
    call: Call<'_>,
    task_id: &TaskId,
    key: &MessageKey,
    message: &NewMessage<'_>,
) -> Result<Option<i64>, Failure> {
    let stored: Option<(i64, Role, String)> = turns::table
        .filter(turns::task_id.eq(task_id))
        .filter(turns::message_key.eq(key))
        .select((turns::seq, turns::role, turns::content))
        .get_result(conn)
        .optional()?;
    match stored {
        None => Ok(None),
        Some((seq, role, content)) if role == message.role && content == message.content => {
            Ok(Some(seq))
        }
        Some((seq, ..)) => Err(Failure::Refused(Error::KeyConflict {
            operation: call.operation,
            task_id: task_id.clone(),
            key: key.clone(),
            seq,
        })),
    }
}

/// Refuses when the history does not end at `expected`.
pub(crate) fn expect_last_seq(
    conn: &mut Conn,
    call: Call<'_>,
    task_id: &TaskId,
    expected: i64,
) -> Result<(), Failure> {
    let actual = last_seq(conn, task_id)?;
    if actual == expected {
        return Ok(());
    }
    Err(Failure::Refused(Error::SeqConflict {
        operation: call.operation,
        task_id: task_id.clone(),
        expected,
        actual,
    }))
}

/// Returns the seq of the last turn, 0 when there is none. Seqs have no gaps, so this is the
/// number of turns as well.
pub(crate) fn last_seq(conn: &mut Conn, task_id: &TaskId) -> QueryResult<i64> {
    turns::table
        .filter(turns::task_id.eq(task_id))
        .select(diesel::dsl::max(turns::seq))
        .get_result::<Option<i64>>(conn)
        .map(|last| last.unwrap_or(0))
}

/// Returns the turns after `after` up to and with `upto`, in order. Seqs have no gaps, so a
/// range of them is a page; a bound LIMIT would have SQLite prepare the statement anew.
pub(crate) fn range(
    conn: &mut Conn,
    call: Call<'_>,
    task_id: &TaskId,
    after: i64,
    upto: i64,
) -> Result<Vec<ConversationTurn>, Failure> {
    let rows = turns::table
        .filter(turns::task_id.eq(task_id))
        .filter(turns::seq.gt(after))
        .filter(turns::seq.le(upto))
        .order(turns::seq)
        .select(ConversationTurn::as_select())
        .load_iter(conn)?;
    let mut history: Vec<ConversationTurn> = Vec::new();
    for row in rows {
        match row {
            Ok(turn) => history.push(turn),
            Err(diesel::result::Error::DeserializationError(source)) => {
                let bad = history.last().map_or(after.max(0), |turn| turn.seq) + 1;
                return Err(Failure::Refused(Error::Corrupt {
                    operation: call.operation,
                    subject: format!("turn {bad} of {}", call.subject()),
                    source,
                }));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(history)
}
