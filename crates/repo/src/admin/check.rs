//! Whether a store is as it should be.

use diesel::QueryableByName;
use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Text};
use turnkeep_model::{Counter, TaskId, visible};

use crate::api::repo::Repo;
use crate::base::address::is_server;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::fork_guard::Opened;
use crate::base::operation::Operation;
use crate::base::options::RepoBuilder;
use crate::base::query_error::QueryError;
use crate::base::schema_parts::{Difference, REPAIR_OR_RESTORE};
use crate::store::{Conn, query};

pub(crate) const OPERATION: &str = "check";

/// The check that says whether the schema is the one that this program knows.
pub(crate) const SCHEMA: &str = "schema";

/// Most findings of one kind that are told one by one.
pub(crate) const MOST_FINDINGS: i64 = 100;

/// Most tasks, and most turns of a task, that are read at a time.
const MOST_TASKS: i64 = 256;
const MOST_TURNS: i64 = 4_096;

/// What a check of a store has looked at, and what it has found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// What was looked at, in that order. What makes no sense for the store or can't be looked at
    /// because of what was found before is left out.
    pub checks: Vec<Check>,
}

/// One thing that a check has looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// Its name, one or two words.
    pub name: &'static str,
    /// What there is, in words: `5 tasks, 120 turns`.
    pub result: String,
    /// What is wrong with it. Empty when all is well.
    pub findings: Vec<Finding>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What is wrong, in words. Never what was said in a conversation.
    pub what: String,
    /// What to do about it.
    pub advice: &'static str,
}

impl CheckReport {
    /// Returns whether nothing was found.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.checks.iter().all(|check| check.findings.is_empty())
    }
}

/// Numbers that should be 1, 2, 3, … and are not.
#[derive(QueryableByName)]
pub(crate) struct Gap {
    #[diesel(sql_type = Text)]
    pub(crate) task_id: String,
    /// How many there are.
    #[diesel(sql_type = BigInt)]
    pub(crate) rows: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) last: i64,
}

pub(crate) const RESTORE: &str =
    "restore a backup; without one, `sqlite3 FILE .recover` reads what is left";
pub(crate) const SALVAGE: &str = "another program wrote it; mend it by hand, or restore a backup";

impl Check {
    pub(crate) fn new(name: &'static str, result: impl Into<String>) -> Self {
        Self {
            name,
            result: result.into(),
            findings: Vec::new(),
        }
    }

    pub(crate) fn find(&mut self, what: impl Into<String>, advice: &'static str) {
        self.findings.push(Finding {
            what: what.into(),
            advice,
        });
    }

    /// Adds the differences of the schema as findings.
    pub(crate) fn find_differences(&mut self, differences: &[Difference]) {
        for difference in differences.iter().take(MOST_FINDINGS as usize) {
            self.find(difference.to_string(), difference.advice());
        }
    }

    /// A check that could not be done, which is a finding as well, if the data are the reason.
    pub(crate) fn failed(
        name: &'static str,
        failure: QueryError,
        is_about_data: impl Fn(&DieselError) -> bool,
    ) -> Result<Self, QueryError> {
        let what = match failure {
            QueryError::Database(error) if is_about_data(&error) => error.to_string(),
            QueryError::Refused(error) if *error.kind() == ErrorKind::Corrupt => in_words(&error),
            other => return Err(other),
        };
        let mut check = Self::new(name, "can't be read");
        check.find(what, RESTORE);
        Ok(check)
    }
}

/// Whether an error says something of the data, and not of the way to them. After any other error of
/// a server the transaction can't go on.
fn is_about_data(conn: &Conn<'_>, error: &DieselError) -> bool {
    match conn {
        Conn::Sqlite(_) => crate::sqlite::check::is_about_data(error),
        #[cfg(feature = "postgres")]
        Conn::Postgres(_) => matches!(error, DieselError::DeserializationError(_)),
    }
}

/// Returns the damage with its causes, without the operation.
pub(crate) fn in_words(error: &Error) -> String {
    let text = error.to_string();
    let mut words = text
        .split_once(": ")
        .map_or(&*text, |(_, text)| text)
        .to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        words.push_str(": ");
        words.push_str(&source.to_string());
        cause = source.source();
    }
    words
}

impl Repo {
    /// Looks whether the store is as it should be, and changes nothing.
    ///
    /// All data are read as of one moment: every row as the type it stands for, histories and session
    /// revisions without gaps, sessions as they are on record, nothing without its task. The schema is
    /// compared with the one that the migrations make: tables, indexes, triggers, views and, on a server,
    /// constraints, rules, policies and functions that are missing, changed or another program's. Where the
    /// tables are not the store's, or pages lead to each other without an end, they are not read. Of a file
    /// the report also has SQLite's own findings (`integrity_check`), its size, the free space, and which
    /// users may read it. That takes as long as reading everything does. Others
    /// may write meanwhile; the log can't be cut back until it is done.
    ///
    /// A file that is refused by [`open`](Self::open) can be looked at with
    /// [`RepoBuilder::check`](crate::RepoBuilder::check).
    ///
    /// # Errors
    /// What is wrong with the store is in the report. An error says that it could not be looked at:
    /// [`ErrorKind::Busy`], [`ErrorKind::FileLost`], [`ErrorKind::Forked`], [`ErrorKind::NoConnection`],
    /// [`ErrorKind::Unavailable`].
    ///
    /// ```
    /// use turnkeep_repo::Repo;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let repo = Repo::open(folder.path().join("store.db"))?;
    /// let report = repo.check()?;
    /// for check in &report.checks {
    ///     for finding in &check.findings {
    ///         println!("{}: {}; {}", check.name, finding.what, finding.advice);
    ///     }
    /// }
    /// assert!(report.is_ok());
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn check(&self) -> Result<CheckReport> {
        let call = Operation::on_store(OPERATION);
        let mut checks = self.store.check_outside(&call)?;
        let data = self.store.read_snapshot(call, |conn| data(conn, call))?;
        checks.extend(data);
        Ok(CheckReport { checks })
    }
}

impl RepoBuilder {
    /// Looks whether the store at the path or address is as it should be, without opening it for
    /// writing, making or migrating anything. See [`Repo::check`]. Of the settings only the timeout
    /// counts.
    ///
    /// What [`open`](Self::open) would refuse is told as a finding, with as much as can be said about
    /// it. Beside a file that a crash has left a log of, SQLite makes a `-shm`, which holds no data.
    ///
    /// # Errors
    /// - [`ErrorKind::StoreNotFound`]: there is nothing to look at.
    /// - [`ErrorKind::Busy`], [`ErrorKind::Forked`], [`ErrorKind::InvalidInput`], [`ErrorKind::Io`],
    ///   [`ErrorKind::Unsupported`], and on a server all others of [`open`](Self::open): it could not be
    ///   looked at.
    ///
    /// ```
    /// use turnkeep_repo::Repo;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("store.db");
    /// std::fs::write(&path, "no database, but long enough to be looked at as one")?;
    /// let report = Repo::builder(&path).check()?;
    /// assert!(!report.is_ok());
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn check(mut self) -> Result<CheckReport> {
        match &self.path {
            Some(path) if !is_server(path) => {
                let _opened = Opened::new(OPERATION)?;
                let checks = crate::sqlite::check::closed(path, self.timeout)?;
                Ok(CheckReport { checks })
            }
            _ => {
                self.create_if_missing = false;
                self.migrates = false;
                match self.open() {
                    Ok(repo) => repo.check(),
                    // Its tables must not be read, so this is all there is to report.
                    Err(error) => {
                        let ErrorKind::SchemaAltered { what } = error.kind() else {
                            return Err(error);
                        };
                        let mut schema = Check::new(SCHEMA, "altered");
                        schema.find(what, REPAIR_OR_RESTORE);
                        Ok(CheckReport {
                            checks: vec![schema],
                        })
                    }
                }
            }
        }
    }
}

/// Looks at one thing.
type Look = fn(Conn<'_>, Operation<'_>) -> Result<Check, QueryError>;

/// Looks at all data, in a transaction that sees one state of them.
pub(crate) fn data(mut conn: Conn<'_>, call: Operation<'_>) -> Result<Vec<Check>, QueryError> {
    let (mut checks, is_readable) = match conn.reborrow() {
        Conn::Sqlite(conn) => crate::sqlite::check::database(conn)?,
        #[cfg(feature = "postgres")]
        Conn::Postgres(link) => crate::postgres::check::database(link)?,
    };
    // Another schema may have other tables, and a damaged one has no end.
    if !is_readable {
        return Ok(checks);
    }
    let looks: [(_, Look); 3] = [
        ("rows", rows),
        ("histories", histories),
        ("sessions", sessions),
    ];
    for (name, look) in looks {
        let check = look(conn.reborrow(), call);
        let is_about_data = |error: &DieselError| is_about_data(&conn, error);
        checks.push(check.or_else(|failure| Check::failed(name, failure, is_about_data))?);
    }
    Ok(checks)
}

/// Reads every row as what it stands for.
fn rows(mut conn: Conn<'_>, call: Operation<'_>) -> Result<Check, QueryError> {
    let [tasks, dependencies, sessions, revisions, turns] =
        query!(conn.reborrow(), copy::counts())?;
    let mut check = Check::new(
        "rows",
        format!(
            "tasks: {tasks}, dependencies: {dependencies}, sessions: {sessions}, \
             session revisions: {revisions}, turns: {turns}"
        ),
    );
    let mut after: Option<TaskId> = None;
    loop {
        let ids = query!(
            conn.reborrow(),
            copy::page_of_ids(after.as_ref(), MOST_TASKS)
        )?;
        let Some(last) = ids.last() else {
            break;
        };
        read_tasks(conn.reborrow(), call, &ids, &mut check)?;
        after = Some(last.clone());
    }
    for id in query!(conn.reborrow(), check::spent_fences(MOST_FINDINGS))? {
        check.find(
            format!(
                "task `{}` can't be given out any more: its fence is {}, the highest there is",
                visible(id.as_str()),
                Counter::MAX
            ),
            "delete the task and save it again, then its fence counts from 0",
        );
    }
    Ok(check)
}

fn read_tasks(
    mut conn: Conn<'_>,
    call: Operation<'_>,
    ids: &[TaskId],
    check: &mut Check,
) -> Result<(), QueryError> {
    let all: Vec<&TaskId> = ids.iter().collect();
    if is_damaged(query!(conn.reborrow(), copy::snapshots(call, &all)))?.is_some() {
        for id in &all {
            let read = query!(conn.reborrow(), copy::snapshots(call, &[*id]));
            if let Some(damage) = is_damaged(read)? {
                check.find(damage, SALVAGE);
            }
        }
    }
    for id in ids {
        // From each turn there is to the next: a damaged number may be far away.
        let mut after = i64::MIN;
        while let Some(next) = query!(conn.reborrow(), check::next_seq(id, after))? {
            let start = next.saturating_sub(1);
            let end = start.saturating_add(MOST_TURNS);
            read_turns(conn.reborrow(), call, id, start..end, check)?;
            after = end;
        }
    }
    Ok(())
}

/// Reads the turns after the first of these seqs up to and with the last.
fn read_turns(
    mut conn: Conn<'_>,
    call: Operation<'_>,
    id: &TaskId,
    seqs: std::ops::Range<i64>,
    check: &mut Check,
) -> Result<(), QueryError> {
    let mut after = seqs.start;
    while after < seqs.end {
        let page = query!(
            conn.reborrow(),
            copy::page_of_turns(call, &[id], after, seqs.end)
        );
        match page {
            // Nothing more is there, or only what a gap has left out.
            Ok(turns) => match turns.last() {
                Some(last) => after = last.seq,
                None => return Ok(()),
            },
            Err(failure) => {
                is_damaged::<()>(Err(failure))?;
                break;
            }
        }
    }
    // One by one, so that each of the damaged ones is named.
    for seq in after..seqs.end {
        let turn = query!(
            conn.reborrow(),
            copy::page_of_turns(call, &[id], seq, seq + 1)
        );
        if let Some(damage) = is_damaged(turn)? {
            check.find(damage, SALVAGE);
        }
    }
    Ok(())
}

/// Returns what is damaged, if that is why it failed.
fn is_damaged<T>(result: Result<T, QueryError>) -> Result<Option<String>, QueryError> {
    match result {
        Ok(_) => Ok(None),
        Err(QueryError::Refused(error)) if *error.kind() == ErrorKind::Corrupt => {
            Ok(Some(in_words(&error)))
        }
        Err(failure) => Err(failure),
    }
}

/// Looks for turns that are missing.
fn histories(mut conn: Conn<'_>, _: Operation<'_>) -> Result<Check, QueryError> {
    let gaps = query!(conn.reborrow(), check::gaps_in_histories(MOST_FINDINGS))?;
    let mut check = Check::new("histories", "without gaps");
    for gap in gaps {
        check.result = "with gaps".into();
        check.find(
            format!(
                "task `{}` has {} turns, the last of which is number {}",
                visible(&gap.task_id),
                gap.rows,
                gap.last
            ),
            SALVAGE,
        );
    }
    Ok(check)
}

/// Compares the current sessions with the record of them.
fn sessions(mut conn: Conn<'_>, _: Operation<'_>) -> Result<Check, QueryError> {
    let gaps = query!(conn.reborrow(), check::gaps_in_revisions(MOST_FINDINGS))?;
    let off_record = query!(conn.reborrow(), check::sessions_off_record(MOST_FINDINGS))?;
    let mut check = Check::new("sessions", "as they are on record");
    for gap in gaps {
        check.find(
            format!(
                "task `{}` has {} session revisions, the last of which is number {}",
                visible(&gap.task_id),
                gap.rows,
                gap.last
            ),
            SALVAGE,
        );
    }
    for task_id in off_record {
        check.find(
            format!(
                "the session of task `{}` is not the one on record as the current one",
                visible(&task_id)
            ),
            "see `turnkeep session log`, and set the right one with `turnkeep session set`",
        );
    }
    if !check.findings.is_empty() {
        check.result = "not as they are on record".into();
    }
    Ok(check)
}
