//! Whole tasks in pages, for `turnkeep-admin`. Hidden, because it may still change.

use std::cell::RefCell;
use std::time::Duration;

use turnkeep_model::{
    ConversationTurn, RecordingFile, RecordingNumber, RemovedSession, Retraction, TaskId,
    TaskStatus,
};

use crate::api::repo::Repo;
use crate::base::address::is_server;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::fork_guard::Opened;
use crate::base::operation::Operation;
use crate::base::options::RepoBuilder;
use crate::base::query_error::QueryError;
use crate::base::schema_parts::REPAIR_OR_RESTORE;
use crate::base::task_list::TaskSummary;
use crate::store::{Conn, query};

pub use crate::base::chunk::Chunk;
pub use crate::base::operation::StoreRole;
pub use crate::base::pruned_task::PrunedTask;
pub use crate::base::task_record::{
    RecordingChange, RowCounts, TaskChange, TaskRecord, TurnSpan, begin_fault, is_on_record,
};
pub use crate::base::usage_rows::UsageRows;

use crate::base::finding::{Check, OPERATION as CHECK, SCHEMA};
pub use turnkeep_schema::TABLES;

/// A store, as one operation reads and writes it in bulk.
#[derive(Debug, Clone, Copy)]
pub struct Bulk<'r> {
    repo: &'r Repo,
    call: Operation<'static>,
}

impl Repo {
    /// Returns the store for an operation on whole tasks. `role` says which of two stores it is.
    #[doc(hidden)]
    pub fn bulk(&self, operation: &'static str, role: Option<StoreRole>) -> Bulk<'_> {
        let call = Operation::on_store(operation);
        let call = role.map_or(call, |role| call.at(role));
        Bulk { repo: self, call }
    }
}

impl RepoBuilder {
    /// See `turnkeep_admin::check_unopened`.
    #[doc(hidden)]
    pub fn check_unopened(mut self) -> Result<Vec<Check>> {
        if let Some(path) = self.path.as_ref().filter(|path| !is_server(path)) {
            let _opened = Opened::new(CHECK)?;
            return crate::sqlite::check::closed(path, self.timeout);
        }
        self.create_if_missing = false;
        self.migrates = false;
        self.open()
            .and_then(|repo| repo.bulk(CHECK, None).check())
            .or_else(|error| match error.kind() {
                // Its tables must not be read, so this is all there is to report.
                ErrorKind::SchemaAltered { what } => {
                    let mut schema = Check::new(SCHEMA, "altered");
                    schema.find(what, REPAIR_OR_RESTORE);
                    Ok(vec![schema])
                }
                _ => Err(error),
            })
    }
}

impl Bulk<'_> {
    /// Runs queries that see the same state of the store. Runs them again if the connection to a
    /// server was lost and the deadline has not passed.
    pub fn read<T, E: From<Error>>(
        &self,
        queries: impl FnMut(&mut Rows<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let call = self.call;
        run(call, queries, |queries| {
            let queries = RefCell::new(queries);
            self.repo
                .store
                .read_snapshot(call, |conn| (queries.borrow_mut())(conn))
        })
    }

    /// Like [`read`](Self::read), but fails with [`ErrorKind::Unavailable`] instead of running the queries
    /// again.
    pub fn read_once<T, E: From<Error>>(
        &self,
        queries: impl FnOnce(&mut Rows<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut queries = Some(queries);
        self.read(|rows| match queries.take() {
            Some(queries) => queries(rows),
            None => Err(E::from(ErrorKind::Unavailable.on(&self.call).with_source(
                "the connection was lost while the data were being read",
            ))),
        })
    }

    /// Writes in a transaction of its own, beside the queue of the store. Runs `write` again if the
    /// transaction could not be committed because of others.
    pub fn write<T, E: From<Error>>(
        &self,
        write: impl FnMut(&mut Rows<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        run(self.call, write, |write| {
            self.repo.store.write_beside(self.call, write)
        })
    }

    /// Makes the error of damaged data, for this reason. `part` names a part of the task.
    pub fn corrupt(&self, task_id: &TaskId, part: Option<String>, reason: String) -> Error {
        let error = ErrorKind::Corrupt.on(&self.call.about(task_id));
        let error = match part {
            Some(part) => error.in_part(part),
            None => error,
        };
        error.with_source(reason)
    }

    /// Makes the error of a value that the operation refuses.
    pub fn invalid(&self, field: &'static str, reason: &'static str) -> Error {
        Error::invalid(self.call.name, field, reason)
    }

    /// Makes the error of a store as a whole that is damaged, for this reason.
    pub fn corrupt_store(&self, reason: &'static str) -> Error {
        ErrorKind::Corrupt.on(&self.call).with_source(reason)
    }

    /// Checks the file or server, the schema and the rows.
    pub fn check(&self) -> Result<Vec<Check>> {
        self.repo.store.check(&self.call)
    }

    /// The function that the errors name.
    pub fn operation(&self) -> &'static str {
        self.call.name
    }
}

/// Runs the caller's code inside the store's transaction and keeps its errors apart from the store's.
fn run<T, E: From<Error>>(
    call: Operation<'static>,
    mut code: impl FnMut(&mut Rows<'_>) -> Result<T, E>,
    transaction: impl FnOnce(&mut dyn FnMut(Conn<'_>) -> Result<T, QueryError>) -> Result<T>,
) -> Result<T, E> {
    let mut stopped = None;
    let result = transaction(&mut |conn| {
        let failure = None;
        let mut rows = Rows {
            conn,
            call,
            failure,
        };
        let result = code(&mut rows);
        match rows.failure {
            Some(failure) => Err(failure),
            None => result.map_err(|error| {
                stopped = Some(error);
                QueryError::Refused(Error::abandoned(&call))
            }),
        }
    });
    match (result, stopped) {
        (Err(_), Some(error)) => Err(error),
        (result, _) => result.map_err(E::from),
    }
}

/// The rows of a store, in a transaction. If a query fails, the transaction fails with its error,
/// whatever the caller's code returns.
#[expect(missing_debug_implementations, reason = "a connection has none")]
pub struct Rows<'c> {
    conn: Conn<'c>,
    call: Operation<'static>,
    /// As the database reported it.
    failure: Option<QueryError>,
}

impl Rows<'_> {
    /// Returns the next task ids after one, in order, at most `limit`.
    pub fn task_ids(&mut self, after: Option<&TaskId>, limit: i64) -> Result<Vec<TaskId>> {
        let ids = query!(&mut self.conn, bulk::task_ids(after, limit));
        self.kept(ids)
    }

    /// Returns all dependencies, each a task and one that it waits for.
    pub fn dependencies(&mut self) -> Result<Vec<(TaskId, TaskId)>> {
        let pairs = query!(&mut self.conn, bulk::all_dependencies());
        self.kept(pairs)
    }

    /// Reads the first of these tasks, as many as fit in a page of about 4 MiB and at least one.
    /// Returns how many of the ids that were, and the tasks in the order of their ids. A task that
    /// does not exist is left out. Fails on a damaged one.
    pub fn tasks(&mut self, ids: &[TaskId]) -> Result<(usize, Vec<TaskRecord>)> {
        let tasks = query!(&mut self.conn, bulk::tasks(self.call, ids));
        let (count, tasks) = self.kept(tasks)?;
        Ok((count, tasks.into_iter().collect::<Result<_>>()?))
    }

    /// Returns the first turns of these spans, as many as fit in a page and at least one, in order of
    /// tasks and seqs. A page has about 4 MiB and at most 4,096 turns. The spans are in order of their
    /// tasks. Fails on a damaged turn.
    pub fn turns(&mut self, spans: &[TurnSpan]) -> Result<Vec<ConversationTurn>> {
        let turns = query!(&mut self.conn, bulk::turns(self.call, spans));
        let turns = self.kept(turns)?.into_iter();
        turns.map(|turn| turn.map_err(|it| it.error)).collect()
    }

    /// Returns the number of rows of each table.
    pub fn counts(&mut self) -> Result<RowCounts> {
        let counts = query!(&mut self.conn, bulk::counts());
        self.kept(counts)
    }

    /// Writes tasks without their turns and retractions, and returns the number of rows that were inserted, changed
    /// or deleted in each table. Returns `None` if a task is no longer in the state that the caller
    /// read; the caller then ends the transaction with an error.
    pub fn put_tasks(&mut self, changes: &[TaskChange<'_>]) -> Result<Option<RowCounts>> {
        let written = query!(&mut self.conn, bulk::put_tasks(self.call, changes));
        self.kept(written)
    }

    /// Appends turns verbatim, in order of their tasks and seqs.
    pub fn append_turns(&mut self, turns: &[ConversationTurn]) -> Result<()> {
        let appended = query!(&mut self.conn, append::append_verbatim(self.call, turns));
        self.kept(appended)
    }

    /// Inserts the retractions that are not stored yet, and returns how many those were. Their turns are stored, and
    /// those of a task stand together and in order.
    pub fn put_retractions(&mut self, retractions: &[&Retraction]) -> Result<u64> {
        let put = query!(
            &mut self.conn,
            bulk::put_retractions(self.call, retractions)
        );
        self.kept(put)
    }

    /// Returns the recordings of these tasks in order of tasks and numbers.
    pub fn recordings(&mut self, ids: &[TaskId]) -> Result<Vec<RecordingFile>> {
        let files = query!(&mut self.conn, recording::list_all(ids));
        self.kept(files)
    }

    /// Returns the first chunks of a recording from an offset on, at most 4 MiB.
    pub fn chunks(&mut self, file: &RecordingFile, from: u64) -> Result<Vec<Chunk>> {
        let chunks = query!(&mut self.conn, recording_rows::chunks(file, from));
        self.kept(chunks)
    }

    /// Writes to recordings, and returns the number of recordings and chunks that were inserted or changed. Returns
    /// `None` if one is no longer in the state that the caller read; the caller then ends the transaction with an
    /// error.
    pub fn put_recordings(&mut self, changes: &[RecordingChange]) -> Result<Option<[u64; 2]>> {
        let written = query!(&mut self.conn, recording_rows::put(self.call, changes));
        self.kept(written)
    }

    /// Drops recordings.
    pub fn drop_recordings(&mut self, files: &[(TaskId, RecordingNumber)]) -> Result<()> {
        let dropped = query!(&mut self.conn, recording_rows::drop_all(self.call, files));
        self.kept(dropped)
    }

    /// Returns the removed sessions after one, in order of their agents and ids, at most `limit`.
    pub fn removed_sessions(
        &mut self,
        after: Option<&RemovedSession>,
        limit: i64,
    ) -> Result<Vec<RemovedSession>> {
        let sessions = query!(&mut self.conn, import::removed_page(after, limit));
        self.kept(sessions)
    }

    /// Returns the sessions among these that are not on record as removed then or later, and that no task has.
    pub fn lacking_removals(&mut self, sessions: &[RemovedSession]) -> Result<Vec<RemovedSession>> {
        let lacking = query!(&mut self.conn, import::lacking(sessions));
        self.kept(lacking)
    }

    /// Inserts removed sessions, each in place of an earlier removal.
    pub fn put_removed_sessions(&mut self, sessions: &[RemovedSession]) -> Result<()> {
        let put = query!(&mut self.conn, import::put_removed(sessions));
        self.kept(put)
    }

    /// Returns how much of the store belongs to which status, agent and day, and its `limit` largest
    /// tasks.
    pub fn usage(&mut self, limit: i64) -> Result<UsageRows> {
        let usage = query!(&mut self.conn, usage::usage(limit));
        self.kept(usage)
    }

    /// Returns the bytes of all texts.
    pub fn text_bytes(&mut self) -> Result<u64> {
        let bytes = query!(&mut self.conn, usage::all_bytes());
        self.kept(bytes).map(i64::unsigned_abs)
    }

    /// Returns the tasks of these ended statuses that no unfinished task needs and that have not been
    /// active for `age`, by the clock of the database, least recently active first.
    pub fn prune_candidates(
        &mut self,
        statuses: &[TaskStatus],
        age: Option<Duration>,
    ) -> Result<Vec<PrunedTask>> {
        let tasks = query!(&mut self.conn, prune::candidates(statuses, age));
        self.kept(tasks)
    }

    /// Deletes the tasks that have not changed since and that no unfinished task needs.
    /// Returns their ids.
    pub fn delete_unneeded(&mut self, tasks: &[PrunedTask]) -> Result<Vec<TaskId>> {
        let deleted = query!(&mut self.conn, prune::delete(tasks));
        self.kept(deleted)
    }

    /// Removes the task if it is still as it was listed. Returns whether it was.
    pub fn remove_unchanged(&mut self, task: &TaskSummary) -> Result<bool> {
        let removed = query!(&mut self.conn, import::remove_unchanged(task));
        self.kept(removed)
    }

    /// Keeps the failure of a query for the end of the transaction, which makes the error of it.
    fn kept<T>(&mut self, result: Result<T, QueryError>) -> Result<T> {
        result.map_err(|failure| {
            self.failure.get_or_insert(failure);
            Error::abandoned(&self.call)
        })
    }
}
