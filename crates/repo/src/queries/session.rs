use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{BigInt, Nullable, Text};
use turnkeep_model::{NewSession, Session, SessionId, SessionRevision, TaskId, UtcMicros};
use turnkeep_schema::{session_revisions as revisions, sessions};

use super::{Conn, Db, task_not_found};
use crate::call::Call;
use crate::error::Failure;

/// Makes a query fragment that always has the same text known as such, so that each connection
/// prepares it once.
macro_rules! hot_statement {
    ($name:ident) => {
        impl ::diesel::query_builder::QueryId for $name<'_> {
            type QueryId = $name<'static>;
            const HAS_STATIC_QUERY_ID: bool = true;
        }

        impl ::diesel::RunQueryDsl<Conn> for $name<'_> {}
    };
}

/// Writes the binding; touches no row when it is there already.
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
             OR sessions.working_dir IS DISTINCT FROM excluded.working_dir",
        );
        Ok(())
    }
}

hot_statement!(UpsertSession);

/// Closes a revision.
struct RetireRevision<'a> {
    task_id: &'a TaskId,
    revision: i64,
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
        out.push_sql(" AND revision = ");
        out.push_bind_param::<BigInt, _>(&self.revision)?;
        out.push_sql(" AND retired_at IS NULL");
        Ok(())
    }
}

hot_statement!(RetireRevision);

/// Makes `binding` the task's current one, and puts it on record if it is another than before.
pub(crate) fn save(
    conn: &mut Conn,
    call: Call<'_>,
    task_id: &TaskId,
    binding: &NewSession,
    now: UtcMicros,
) -> Result<Session, Failure> {
    let upsert = UpsertSession {
        task_id,
        binding,
        now,
    };
    let changed = upsert
        .execute(conn)
        .map_err(|error| task_not_found(error, call, task_id))?;
    if changed > 0 {
        let last = last_revision(conn, task_id)?;
        retire_revision(conn, task_id, last, SessionRevision::REPLACED, now)?;
        append_revision(conn, task_id, last + 1, binding, now)?;
    }
    Ok(sessions::table
        .find(task_id)
        .select(Session::as_select())
        .get_result(conn)?)
}

/// Returns the number of the latest revision, the only one that can be open; 0 without any.
fn last_revision(conn: &mut Conn, task_id: &TaskId) -> QueryResult<i64> {
    revisions::table
        .filter(revisions::task_id.eq(task_id))
        .select(diesel::dsl::max(revisions::revision))
        .get_result::<Option<i64>>(conn)
        .map(|last| last.unwrap_or(0))
}

/// Closes the revision if it is open.
fn retire_revision(
    conn: &mut Conn,
    task_id: &TaskId,
    revision: i64,
    reason: &str,
    now: UtcMicros,
) -> QueryResult<()> {
    let retire = RetireRevision {
        task_id,
        revision,
        now,
        reason,
    };
    retire.execute(conn).map(|_| ())
}

fn append_revision(
    conn: &mut Conn,
    task_id: &TaskId,
    revision: i64,
    binding: &NewSession,
    now: UtcMicros,
) -> QueryResult<()> {
    diesel::insert_into(revisions::table)
        .values((
            revisions::task_id.eq(task_id),
            revisions::revision.eq(revision),
            revisions::backend_type.eq(&binding.backend_type),
            revisions::session_id.eq(&binding.session_id),
            revisions::working_dir.eq(&binding.working_dir),
            revisions::saved_at.eq(now),
        ))
        .execute(conn)
        .map(|_| ())
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
    let last = last_revision(conn, task_id)?;
    retire_revision(conn, task_id, last, reason, now)?;
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
    revisions::table
        .filter(revisions::task_id.eq(task_id))
        .order(revisions::revision)
        .select(SessionRevision::as_select())
        .load(conn)
}
