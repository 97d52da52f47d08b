use std::collections::HashSet;

use diesel::dsl::{exists, max};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Nullable, Text};
use turnkeep_model::{
    BackendType, ConfigDir, Metadata, NewSession, Session, SessionId, SessionRevision, StoredText,
    TaskId, UtcMicros, WorkingDir,
};
use turnkeep_schema::{session_revisions as revisions, sessions};

use super::task::check_fence;
use super::{
    Conn, Db, all_written, check_text, length, name_damaged, not_written, now, task_not_found,
};
use crate::base::error::Result;
use crate::base::operation::Operation;
use crate::base::options::Clock;
use crate::base::query_error::QueryError;
use crate::base::target::Target;
use crate::commit::write::Write;

/// Upserts the binding. Writes no row if it is stored already.
struct UpsertSession<'a> {
    task_id: &'a TaskId,
    binding: &'a NewSession,
    now: UtcMicros,
}

impl QueryFragment<Db> for UpsertSession<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO sessions \
             (task_id, backend_type, session_id, working_dir, config_dir, metadata, created_at, updated_at) \
             VALUES (",
        );
        out.push_bind_param::<Text, _>(self.task_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.binding.backend_type)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.binding.session_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.binding.working_dir)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.binding.config_dir)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.binding.metadata)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.now)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.now)?;
        out.push_sql(
            ") ON CONFLICT (task_id) DO UPDATE SET backend_type = excluded.backend_type, \
             session_id = excluded.session_id, working_dir = excluded.working_dir, \
             config_dir = excluded.config_dir, metadata = excluded.metadata, \
             updated_at = excluded.updated_at \
             WHERE sessions.backend_type <> excluded.backend_type \
             OR sessions.session_id <> excluded.session_id \
             OR sessions.working_dir IS DISTINCT FROM excluded.working_dir \
             OR sessions.config_dir IS DISTINCT FROM excluded.config_dir \
             OR sessions.metadata IS DISTINCT FROM excluded.metadata",
        );
        Ok(())
    }
}

impl QueryId for UpsertSession<'_> {
    type QueryId = UpsertSession<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<Conn> for UpsertSession<'_> {}

/// Updates a binding that stays in its folder, whose index is then not written. Writes no row if there is none or it
/// has another folder. A trigger leaves out the row if the binding is stored already.
struct UpdateSession<'a>(&'a UpsertSession<'a>);

impl QueryFragment<Db> for UpdateSession<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        let UpsertSession {
            task_id,
            binding,
            now,
        } = self.0;
        out.push_sql("UPDATE sessions SET backend_type = ");
        out.push_bind_param::<Text, _>(&binding.backend_type)?;
        out.push_sql(", session_id = ");
        out.push_bind_param::<Text, _>(&binding.session_id)?;
        out.push_sql(", config_dir = ");
        out.push_bind_param::<Nullable<Text>, _>(&binding.config_dir)?;
        out.push_sql(", metadata = ");
        out.push_bind_param::<Nullable<Text>, _>(&binding.metadata)?;
        out.push_sql(", updated_at = ");
        out.push_bind_param::<BigInt, _>(now)?;
        out.push_sql(" WHERE task_id = ");
        out.push_bind_param::<Text, _>(*task_id)?;
        out.push_sql(" AND working_dir IS NOT DISTINCT FROM ");
        out.push_bind_param::<Nullable<Text>, _>(&binding.working_dir)?;
        Ok(())
    }
}

impl QueryId for UpdateSession<'_> {
    type QueryId = UpdateSession<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<Conn> for UpdateSession<'_> {}

/// Binds a task to a session; returns the binding as stored.
pub(crate) struct SaveSession {
    pub(crate) target: Target,
    pub(crate) binding: NewSession,
}

impl Write<Conn> for SaveSession {
    type Output = Session;

    fn call(&self) -> Operation<'_> {
        Operation::on_task("save_session", &self.target.task_id)
    }

    fn bytes(&self) -> usize {
        length(self.binding.metadata.as_ref())
    }

    /// A trigger records a changed binding.
    fn run(&mut self, conn: &mut Conn, clock: &Clock) -> Result<Session, QueryError> {
        let Self { target, binding } = &*self;
        let task_id = &target.task_id;
        let call = Operation::on_task("save_session", task_id);
        check_fence(conn, call, target)?;
        let now = now(clock, call.name)?;
        let upsert = UpsertSession {
            task_id,
            binding,
            now,
        };
        // Most changed bindings stay in their folder.
        if UpdateSession(&upsert).execute(conn)? > 0 {
            // The rest of the row is the binding.
            let created_at: UtcMicros = sessions::table
                .find(task_id)
                .select(sessions::created_at)
                .get_result(conn)?;
            return Ok(Session::new(
                task_id.clone(),
                binding.clone(),
                created_at.into(),
                now.into(),
            ));
        }
        upsert
            .execute(conn)
            .map_err(|error| task_not_found(error, call, task_id))?;
        // A foreign trigger may have suppressed the row.
        let stored = find(conn, task_id)?.filter(|stored| is_same(stored, binding));
        stored.ok_or_else(|| not_written("sessions"))
    }
}

fn is_same(stored: &Session, binding: &NewSession) -> bool {
    stored.backend_type == binding.backend_type
        && stored.session_id == binding.session_id
        && stored.working_dir == binding.working_dir
        && stored.config_dir == binding.config_dir
        && stored.metadata == binding.metadata
}

/// Deletes a binding if it has this session id, and returns whether it did.
pub(crate) struct RetireSession {
    pub(crate) target: Target,
    pub(crate) session_id: SessionId,
    pub(crate) reason: String,
}

impl Write<Conn> for RetireSession {
    type Output = bool;

    fn call(&self) -> Operation<'_> {
        Operation::on_task("retire_session", &self.target.task_id)
    }

    fn check(&self) -> Result<()> {
        check_text(self.call().name, "reason", &self.reason)
    }

    fn bytes(&self) -> usize {
        self.reason.len()
    }

    fn run(&mut self, conn: &mut Conn, clock: &Clock) -> Result<bool, QueryError> {
        check_fence(conn, self.call(), &self.target)?;
        let now = now(clock, self.call().name)?;
        let task_id = &self.target.task_id;
        let current = sessions::table.find(task_id).select(sessions::session_id);
        // The lock keeps others from replacing it before it is deleted.
        let current: Option<SessionId> = locked!(current).get_result(conn).optional()?;
        if current.as_ref() != Some(&self.session_id) {
            return Ok(false);
        }
        // Before the DELETE, whose trigger retires an open revision with a reason of its own.
        let last: Option<i64> = revisions::table
            .filter(revisions::task_id.eq(task_id))
            .select(max(revisions::revision))
            .get_result(conn)?;
        let open = revisions::table
            .find((task_id, last.unwrap_or(0)))
            .filter(revisions::retired_at.is_null());
        let retired = diesel::update(open)
            .set((
                revisions::retired_at.eq(now),
                revisions::retired_reason.eq(StoredText::from(&*self.reason)),
            ))
            .execute(conn)?;
        // A missing revision is damage that `check` reports.
        if retired == 0 && diesel::select(exists(open)).get_result(conn)? {
            return Err(not_written("session_revisions"));
        }
        let deleted = diesel::delete(sessions::table.find(task_id)).execute(conn)?;
        all_written(deleted, 1, "sessions")?;
        Ok(true)
    }
}

/// Reads the binding of a task.
struct SelectSession<'a>(&'a TaskId);

impl QueryFragment<Db> for SelectSession<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Db>) -> QueryResult<()> {
        out.push_sql(
            "SELECT backend_type, session_id, working_dir, config_dir, metadata, created_at, updated_at \
             FROM sessions WHERE task_id = ",
        );
        out.push_bind_param::<Text, _>(self.0)
    }
}

impl Query for SelectSession<'_> {
    type SqlType = (
        Text,
        Text,
        Nullable<Text>,
        Nullable<Text>,
        Nullable<Text>,
        BigInt,
        BigInt,
    );
}

impl QueryId for SelectSession<'_> {
    type QueryId = SelectSession<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<Conn> for SelectSession<'_> {}

pub(crate) fn find(conn: &mut Conn, task_id: &TaskId) -> QueryResult<Option<Session>> {
    type Row = (
        BackendType,
        SessionId,
        Option<WorkingDir>,
        Option<ConfigDir>,
        Option<Metadata>,
        UtcMicros,
        UtcMicros,
    );
    let row: Option<Row> = SelectSession(task_id).get_result(conn).optional()?;
    Ok(row.map(
        |(backend_type, session_id, working_dir, config_dir, metadata, created_at, updated_at)| {
            let mut binding = NewSession::new(backend_type, session_id);
            binding.working_dir = working_dir;
            binding.config_dir = config_dir;
            binding.metadata = metadata;
            // The caller's own id, shared instead of copied out of the row.
            Session::new(
                task_id.clone(),
                binding,
                created_at.into(),
                updated_at.into(),
            )
        },
    ))
}

/// Returns the tasks that are bound to the session, and then those that were, each from the latest binding on.
pub(crate) fn tasks_of(
    conn: &mut Conn,
    backend: &BackendType,
    session_id: &SessionId,
) -> QueryResult<Vec<TaskId>> {
    let mut tasks = revisions_of(conn, backend, session_id)?;
    tasks.sort_by_key(|(_, is_bound)| !is_bound);
    let mut seen = HashSet::new();
    tasks.retain(|(task, _)| seen.insert(task.clone()));
    Ok(tasks.into_iter().map(|(task, _)| task).collect())
}

/// Returns the task of each binding to the session, from the latest on, and whether the task is bound to it now.
pub(crate) fn revisions_of(
    conn: &mut Conn,
    backend: &BackendType,
    session_id: &SessionId,
) -> QueryResult<Vec<(TaskId, bool)>> {
    let current = sessions::table
        .filter(sessions::task_id.eq(revisions::task_id))
        .filter(sessions::session_id.eq(session_id))
        .filter(sessions::backend_type.eq(backend));
    revisions::table
        .filter(revisions::session_id.eq(session_id))
        .filter(revisions::backend_type.eq(backend))
        .order((revisions::saved_at.desc(), revisions::task_id))
        .select((revisions::task_id, exists(current)))
        .load(conn)
}

pub(crate) fn list(conn: &mut Conn, call: Operation<'_>) -> Result<Vec<Session>, QueryError> {
    sessions::table
        .order(sessions::task_id)
        .select(Session::as_select())
        .load(conn)
        .map_err(|error| {
            let ids = sessions::table.select(sessions::task_id).load(conn);
            name_damaged(error, conn, call, ids, find)
        })
}

pub(crate) fn list_revisions(
    conn: &mut Conn,
    task_id: &TaskId,
) -> QueryResult<Vec<SessionRevision>> {
    let revisions = revisions::table
        .filter(revisions::task_id.eq(task_id))
        .order(revisions::revision)
        .select(SessionRevision::as_select())
        .load(conn)?;
    Ok(with_ends(revisions))
}

/// Leaves out the ends that [`with_ends`] completes, from all revisions of a task.
pub(crate) fn without_ends(mut revisions: Vec<SessionRevision>) -> Vec<SessionRevision> {
    for next in 1..revisions.len() {
        let saved_at = revisions[next].saved_at;
        let it = &mut revisions[next - 1];
        if it.retired_at == Some(saved_at)
            && it.retired_reason.as_deref() == Some(SessionRevision::REPLACED)
        {
            it.retired_at = None;
            it.retired_reason = None;
        }
    }
    revisions
}

/// Completes all revisions of a task: a replaced one ended when the next one was saved.
pub(crate) fn with_ends(mut revisions: Vec<SessionRevision>) -> Vec<SessionRevision> {
    for next in 1..revisions.len() {
        let saved_at = revisions[next].saved_at;
        let replaced = &mut revisions[next - 1];
        if replaced.retired_at.is_none() {
            replaced.retired_at = Some(saved_at);
            replaced.retired_reason = Some(SessionRevision::REPLACED.into());
        }
    }
    revisions
}
