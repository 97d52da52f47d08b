use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::result::DatabaseErrorKind;
use diesel::sql_types::{BigInt, Nullable, Text};
use turnkeep_model::{NewSession, Session, SessionId, SessionRevision, TaskId, UtcMicros};
use turnkeep_schema::{session_revisions, sessions};

use super::{Conn, Db};
use crate::call::Call;
use crate::error::{Error, Failure};

/// Writes the binding, unless it is there already. Gives the time of its creation, or no row
/// when nothing changed.
struct UpsertSession<'a> {
    task_id: &'a TaskId,
    binding: &'a NewSession,
    now: UtcMicros,
}

impl QueryFragment<Db> for UpsertSession<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO sessions \
             (task_id, backend_type, session_id, working_dir, created_at, updated_at) VALUES (",
        );
        out.push_bind_param::<Text, _>(self.task_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.binding.backend_type)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.binding.session_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.binding.working_dir)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.now)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.now)?;
        out.push_sql(
            ") ON CONFLICT (task_id) DO UPDATE SET backend_type = excluded.backend_type, \
             session_id = excluded.session_id, working_dir = excluded.working_dir, \
             updated_at = excluded.updated_at \
             WHERE sessions.backend_type <> excluded.backend_type \
             OR sessions.session_id <> excluded.session_id \
             OR sessions.working_dir IS DISTINCT FROM excluded.working_dir \
             RETURNING task_id, backend_type, session_id, working_dir, created_at, updated_at",
        );
        Ok(())
    }
}

impl diesel::query_builder::Query for UpsertSession<'_> {
    type SqlType = sessions::SqlType;
}

hot_statement!(UpsertSession);

/// Closes the open revision, if there is one.
struct RetireRevision<'a> {
    task_id: &'a TaskId,
    now: UtcMicros,
    reason: &'a str,
}

impl QueryFragment<Db> for RetireRevision<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql("UPDATE session_revisions SET retired_at = ");
        out.push_bind_param::<BigInt, _>(&self.now)?;
        out.push_sql(", retired_reason = ");
        out.push_bind_param::<Text, _>(self.reason)?;
        out.push_sql(" WHERE task_id = ");
        out.push_bind_param::<Text, _>(self.task_id)?;
        out.push_sql(" AND retired_at IS NULL");
        Ok(())
    }
}

hot_statement!(RetireRevision);

/// Puts the binding on record under the next revision number.
struct AppendRevision<'a> {
    task_id: &'a TaskId,
    binding: &'a NewSession,
    now: UtcMicros,
}

impl QueryFragment<Db> for AppendRevision<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO session_revisions \
             (task_id, revision, backend_type, session_id, working_dir, saved_at) SELECT ",
        );
        out.push_bind_param::<Text, _>(self.task_id)?;
        out.push_sql(", coalesce(max(revision), 0) + 1, ");
        out.push_bind_param::<Text, _>(&self.binding.backend_type)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.binding.session_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.binding.working_dir)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.now)?;
        out.push_sql(" FROM session_revisions WHERE task_id = ");
        out.push_bind_param::<Text, _>(self.task_id)?;
        Ok(())
    }
}

hot_statement!(AppendRevision);

/// Makes `binding` the task's current one, and puts it on record if it is another than before.
pub(crate) fn save(
    conn: &mut Conn,
    call: Call<'_>,
    task_id: &TaskId,
    binding: &NewSession,
    now: UtcMicros,
) -> Result<Session, Failure> {
    // `load` runs the statement to its end, where SQLite makes its last checks; `get_result`
    // would leave it after the first row.
    let changed: Vec<Session> = UpsertSession {
        task_id,
        binding,
        now,
    }
    .load(conn)
    .map_err(|error| match error {
        diesel::result::Error::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _) => {
            Failure::Refused(Error::TaskNotFound {
                operation: call.operation,
                task_id: task_id.clone(),
            })
        }
        error => error.into(),
    })?;
    match changed.into_iter().next() {
        Some(session) => {
            RetireRevision {
                task_id,
                now,
                reason: SessionRevision::REPLACED,
            }
            .execute(conn)?;
            AppendRevision {
                task_id,
                binding,
                now,
            }
            .execute(conn)?;
            Ok(session)
        }
        // The very same binding: nothing was written.
        None => Ok(sessions::table
            .find(task_id)
            .select(Session::as_select())
            .get_result(conn)?),
    }
}

/// Removes the current binding if it still is `session_id`; returns whether it did.
pub(crate) fn retire(
    conn: &mut Conn,
    task_id: &TaskId,
    session_id: &SessionId,
    reason: &str,
    now: UtcMicros,
) -> Result<bool, Failure> {
    let current = sessions::table
        .find(task_id)
        .filter(sessions::session_id.eq(session_id));
    if diesel::delete(current).execute(conn)? == 0 {
        return Ok(false);
    }
    RetireRevision {
        task_id,
        now,
        reason,
    }
    .execute(conn)?;
    Ok(true)
}

pub(crate) fn find(conn: &mut Conn, task_id: &TaskId) -> QueryResult<Option<Session>> {
    sessions::table
        .find(task_id)
        .select(Session::as_select())
        .get_result(conn)
        .optional()
}

pub(crate) fn list(conn: &mut Conn) -> QueryResult<Vec<Session>> {
    sessions::table
        .order(sessions::task_id)
        .select(Session::as_select())
        .load(conn)
}

pub(crate) fn list_revisions(
    conn: &mut Conn,
    task_id: &TaskId,
) -> QueryResult<Vec<SessionRevision>> {
    session_revisions::table
        .filter(session_revisions::task_id.eq(task_id))
        .order(session_revisions::revision)
        .select(SessionRevision::as_select())
        .load(conn)
}
