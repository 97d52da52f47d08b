//! What only a file can have wrong with it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use diesel::connection::{DefaultLoadingMode, SimpleConnection};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Bool, Text};

use turnkeep_model::{visible, visible_path};

use super::Conn;
use super::catalogue::{LIST, read};
use super::connection::{SAME_FOR_ALL, synchronous};
use super::error::{SqliteErrors, class_of};
use super::file::{StoreFile, is_filled};
use super::filesystem::network;
use super::identity::{FileId, check_log};
use super::inspect::{connect, refuse_other_files};
use super::store::check_sqlite_version;
use super::verdict::judge;
use crate::admin::check::{
    Check, Finding, MOST_FINDINGS, OPERATION, RESTORE, SALVAGE, SCHEMA, in_words,
};
use crate::base::error::Error;
use crate::base::operation::{Call, Deadline};
use crate::base::options::Durability;
use crate::base::query_error::{ErrorClass, QueryError};
use crate::base::schema_state::{Judgement, Verdict};

/// With less than this, the next write may be the last.
const LEAST_FREE: u64 = 64 * 1024 * 1024;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// Asks for a pragma as a statement: a view in the file could have the name of the function.
fn number(conn: &mut Conn, pragma: &str) -> QueryResult<i64> {
    sql::<BigInt>(pragma).get_result(conn)
}

/// Looks at the file from outside.
pub(crate) fn outside(file: &StoreFile) -> Vec<Check> {
    vec![permissions(file), file_system(file), space(file)]
}

/// Tells of files that others than the owner can read, and of a folder in which they can put other
/// files in their place.
#[cfg(unix)]
pub(super) fn permissions(file: &StoreFile) -> Check {
    use std::os::unix::fs::PermissionsExt;

    let mode = |metadata: fs::Metadata| metadata.permissions().mode() & 0o7777;
    let look = |path: &Path| fs::metadata(path).ok();
    let mut check = Check::new("permissions", "the owner's alone");
    for path in [file.path().into(), file.wal(), file.shm()] {
        // The advice would harm a folder that was taken for a store.
        let regular = look(&path).filter(fs::Metadata::is_file);
        if let Some(mode) = regular.map(mode).filter(|mode| mode & 0o077 != 0) {
            check.result = "others have access".into();
            check.find(
                format!(
                    "{} has mode {mode:o}, others can get at it",
                    visible_path(&path)
                ),
                "`chmod 600` it, unless you share it on purpose",
            );
        }
    }
    let folder = file.path().parent();
    let is_open = |mode: &u32| mode & 0o022 != 0 && mode & 0o1000 == 0;
    if let Some((folder, mode)) = folder.and_then(|folder| Some((folder, mode(look(folder)?))))
        && is_open(&mode)
    {
        check.result = "others have access".into();
        check.find(
            format!(
                "the folder {} has mode {mode:o}, others can delete and replace the store",
                visible_path(folder)
            ),
            "`chmod go-w` it, or keep the store in a folder of its own",
        );
    }
    check
}

#[cfg(not(unix))]
pub(super) fn permissions(_: &StoreFile) -> Check {
    Check::new("permissions", "not looked at on this system")
}

fn file_system(file: &StoreFile) -> Check {
    let Some(name) = network(file) else {
        return Check::new("file system", "local");
    };
    let mut check = Check::new("file system", &*name);
    check.find(
        format!("the file is on a network file system ({name}), where SQLite's log does not work"),
        "keep it on a local disk, or the store on a server",
    );
    check
}

#[cfg(unix)]
fn space(file: &StoreFile) -> Check {
    let folder = file.path().parent().unwrap_or(Path::new("."));
    match rustix::fs::statvfs(folder) {
        Ok(system) => judge_space(system.f_bavail.saturating_mul(system.f_frsize)),
        Err(error) => Check::new("space", format!("not known: {error}")),
    }
}

#[cfg(not(unix))]
fn space(_: &StoreFile) -> Check {
    Check::new("space", "not looked at on this system")
}

#[cfg(unix)]
fn judge_space(free: u64) -> Check {
    let mut check = Check::new("space", format!("{} MiB free", free / 1024 / 1024));
    if free < LEAST_FREE {
        check.find(
            format!("the file system has {free} bytes left"),
            "make room, before writes fail",
        );
    }
    check
}

/// Reads back what a connection is set to, and its journal mode if that is to be a certain one.
pub(crate) fn settings(
    conn: &mut Conn,
    journal_mode: Option<&str>,
    durability: Durability,
) -> Result<Check, QueryError> {
    let mut expected = format!(
        "synchronous {}, foreign_keys 1, trusted_schema 0",
        synchronous(durability)
    );
    let mut result = format!(
        "synchronous {}, foreign_keys {}, trusted_schema {}",
        number(conn, "PRAGMA synchronous")?,
        number(conn, "PRAGMA foreign_keys")?,
        number(conn, "PRAGMA trusted_schema")?
    );
    if let Some(mode) = journal_mode {
        expected = format!("journal_mode {mode}, {expected}");
        let mode: String = sql::<Text>("PRAGMA journal_mode").get_result(conn)?;
        result = format!("journal_mode {mode}, {result}");
    }
    let mut check = Check::new("settings", result);
    if check.result != expected {
        check.find(
            format!("a connection is set to {}, not {expected}", check.result),
            "use the SQLite that this program brings along; another may leave settings out",
        );
    }
    Ok(check)
}

/// Sets a connection that can't write to what those of a store are set to, and reads it back.
/// Without a log the journal mode says nothing: opening sets it, or is refused.
fn settings_of_closed(conn: &mut Conn, has_log: bool) -> Result<Check, QueryError> {
    let durability = Durability::default();
    conn.batch_execute(SAME_FOR_ALL)?;
    conn.batch_execute(&format!("PRAGMA synchronous = {}", synchronous(durability)))?;
    settings(conn, has_log.then_some("wal"), durability)
}

/// Looks at the database as SQLite knows it, in a transaction. Returns also whether its tables can be
/// read: the schema is known, and the pages of the tables do not lead to each other without an end.
pub(crate) fn database(conn: &mut Conn) -> Result<(Vec<Check>, bool), QueryError> {
    let failed = |name| move |failure| Check::failed(name, failure, is_about_data);
    let judgement = match judge(conn) {
        Ok(judgement) => judgement,
        Err(error) => return Ok((vec![failed(SCHEMA)(error.into())?], false)),
    };
    let mut checks = vec![schema(conn, &judgement)?];
    if judgement.verdict != Verdict::Current || !judgement.is_readable() {
        return Ok((checks, false));
    }
    let mut has_end = true;
    // It would compute what the index does.
    if judgement.has_known_indexes() {
        let integrity = integrity(conn).and_then(|check| with_types(conn, check));
        let integrity = integrity.or_else(failed("integrity"))?;
        has_end = !integrity.findings.iter().any(is_endless);
        checks.push(integrity);
    }
    if has_end {
        checks.push(foreign_keys(conn).or_else(failed("foreign keys"))?);
    }
    Ok((checks, has_end))
}

/// Whether an error says something of the file. Only what others are doing to it does not.
pub(crate) fn is_about_data(error: &DieselError) -> bool {
    class_of(error) != ErrorClass::Busy
}

/// Looks at a file that nobody has to have opened, through connections that can't write.
pub(crate) fn closed(path: &Path, timeout: Duration) -> Result<Vec<Check>, Error> {
    let deadline = Deadline::after(timeout);
    let file = StoreFile::new(path)?;
    check_sqlite_version()?;
    file.refuse_unfinished_restore(OPERATION)?;
    if FileId::of(file.path()).is_err() {
        return Err(Error::StoreNotFound {
            operation: OPERATION,
            path: file.path().into(),
        });
    }
    check_log(&file).map_err(|lost| lost.error(OPERATION))?;
    let call = Call::on_file(OPERATION, file.path());
    let mut checks = outside(&file);
    if let Err(error @ Error::ReadOnly { .. }) = file.check_writable() {
        let mut opening = Check::new("opening", "for reading at most");
        opening.find(
            in_words(&error),
            "give yourself write access to the file and its folder",
        );
        checks.push(opening);
    }
    let refused = refuse_other_files(&file, timeout, deadline).err();
    // The first is a finding already, and the schema is compared below.
    if let Some(error) = refused
        .filter(|error| !matches!(error, Error::ReadOnly { .. } | Error::SchemaAltered { .. }))
    {
        let advice = match &error {
            Error::NotADatabase { .. } | Error::ForeignDatabase { .. } => "choose another file",
            Error::SchemaTooNew { .. } => "update the program",
            Error::Corrupt { .. } => RESTORE,
            Error::UnsafeFile { fault, .. } => fault.advice(),
            _ => return Err(error),
        };
        let mut opening = Check::new("opening", "refused");
        opening.find(in_words(&error), advice);
        checks.push(opening);
        // SQLite would delete the log beside a file that is empty, to read it as well.
        if !matches!(error, Error::Corrupt { .. }) || !is_filled(file.path()) {
            return Ok(checks);
        }
    }
    if is_filled(&file.journal()) {
        let mut journal = Check::new("journal", "a transaction was interrupted");
        journal.find(
            "the file is as a transaction of rollback mode has left it in the middle",
            "open the store once, which takes that back, and check again",
        );
        checks.push(journal);
        return Ok(checks);
    }
    // With a log that comes while this is looking, what was read may be of different moments.
    let mut has_log = is_filled(&file.wal());
    let mut found = inside(&file, has_log, deadline);
    if !has_log && is_filled(&file.wal()) {
        has_log = true;
        found = inside(&file, has_log, deadline);
    }
    checks.extend(found.map_err(|failure| failure.translate::<SqliteErrors>(&call, timeout))?);
    Ok(checks)
}

fn inside(file: &StoreFile, has_log: bool, deadline: Deadline) -> Result<Vec<Check>, QueryError> {
    let parameters = match has_log {
        true => "mode=ro",
        // Anything else would leave a log behind.
        false => "mode=ro&immutable=1",
    };
    let look = || -> Result<_, QueryError> {
        let mut conn = connect(file, parameters, deadline)?;
        let settings = settings_of_closed(&mut conn, has_log)?;
        let size = size(&mut conn, file)?;
        // One snapshot, which ends with the connection: of a damaged file even a COMMIT may fail.
        conn.batch_execute("BEGIN")?;
        let call = Call::on_file(OPERATION, file.path());
        let mut checks =
            crate::admin::check::data(crate::commit::engine::Conn::Sqlite(&mut conn), call)?;
        checks.splice(0..0, [settings, size]);
        Ok(checks)
    };
    look().or_else(|failure| Ok(vec![Check::failed("reading", failure, is_about_data)?]))
}

fn schema(conn: &mut Conn, judgement: &Judgement) -> Result<Check, QueryError> {
    let newest = match judgement.verdict {
        Verdict::Empty | Verdict::Foreign | Verdict::Unknown => None,
        _ => super::queries::migration::applied(conn)?.pop_last(),
    };
    let mut check = Check::new(SCHEMA, newest.unwrap_or_else(|| "none".into()));
    match judgement.verdict {
        Verdict::Current | Verdict::Unknown => {}
        Verdict::Empty => check.find(
            "nothing is in it yet",
            "save a task in it, which makes a store of it, or choose another file",
        ),
        Verdict::Older => check.find(
            "it is older than this program",
            "open it, which makes a backup and brings it up to date, and check again",
        ),
        Verdict::Newer(_) => check.find("it is newer than this program", "update the program"),
        Verdict::Foreign => check.find("it is another program's database", "choose another file"),
    }
    check.find_differences(&judgement.differences);
    Ok(check)
}

/// The tables of a store.
const TABLES: [&str; 6] = [
    "tasks",
    "task_dependencies",
    "sessions",
    "session_revisions",
    "conversation_history",
    LIST,
];

/// A connection that can't write leaves out the CHECK constraints; [`with_types`] and reading the rows show what
/// those keep out. Tables of another program are left out: their constraints and indexes may compute anything.
pub(super) fn integrity(conn: &mut Conn) -> Result<Check, QueryError> {
    let mut check = Check::new("integrity", "ok");
    let has_others = read(conn)?.iter().any(|entry| {
        entry.is_table() && entry.is_content() && !TABLES.iter().any(|table| entry.is_on(table))
    });
    if !has_others {
        find_damage(
            conn,
            &format!("PRAGMA integrity_check({MOST_FINDINGS})"),
            &mut check,
        )?;
        return Ok(check);
    }
    check.result = "ok, but for other programs' tables, which were not looked at".into();
    for table in TABLES {
        find_damage(
            conn,
            &format!("PRAGMA integrity_check({table})"),
            &mut check,
        )?;
    }
    Ok(check)
}

/// Adds the values that have not the type of their column, unless the file is damaged. CHECK constraints
/// keep such values out. SQLite reads a text or a blob as 0 where a number is asked for.
fn with_types(conn: &mut Conn, mut check: Check) -> Result<Check, QueryError> {
    #[derive(QueryableByName)]
    struct Column {
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = Bool)]
        is_number: bool,
    }

    #[derive(QueryableByName)]
    struct Wrong {
        #[diesel(sql_type = Binary)]
        task_id: Vec<u8>,
        #[diesel(sql_type = Text)]
        wrong: String,
    }

    // Only a connection that may write looks at the constraints.
    let is_of_constraint = |it: &Finding| it.what.starts_with("CHECK constraint failed");
    if !check.findings.iter().all(is_of_constraint) {
        return Ok(check);
    }
    for table in TABLES.into_iter().filter(|table| *table != LIST) {
        let columns: Vec<Column> = sql_query(format!(
            "SELECT name, type = 'BIGINT' AS is_number FROM pragma_table_info('{table}')"
        ))
        .load(conn)?;
        let cases = columns.iter().map(|Column { name, is_number }| {
            let (storage, kind) = match is_number {
                true => ("integer", "number"),
                false => ("text", "text"),
            };
            format!(
                " WHEN typeof(\"{name}\") NOT IN ('{storage}', 'null') THEN '`{name}` is no {kind}'"
            )
        });
        let cases = cases.collect::<String>();
        let key = columns.first().map_or("", |column| &column.name);
        let rows: Vec<Wrong> = sql_query(format!(
            "SELECT CAST({key} AS BLOB) AS task_id, CASE{cases} END AS wrong \
             FROM {table} WHERE wrong IS NOT NULL LIMIT {MOST_FINDINGS}"
        ))
        .load(conn)?;
        for Wrong { task_id, wrong } in rows {
            let id = String::from_utf8_lossy(&task_id);
            check.result = "damaged".into();
            check.find(
                format!("{wrong} in the row of task `{}` in `{table}`", visible(&id)),
                SALVAGE,
            );
        }
    }
    Ok(check)
}

/// Runs a check of SQLite and adds its findings.
fn find_damage(conn: &mut Conn, pragma: &str, check: &mut Check) -> Result<(), QueryError> {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        integrity_check: String,
    }

    for line in sql_query(pragma).load_iter::<Line, DefaultLoadingMode>(conn)? {
        let line = match line {
            Ok(line) => line.integrity_check,
            // After what it has found it may fail as well, and would again and again.
            Err(error) if is_about_data(&error) => {
                check.result = "damaged".into();
                check.find(error.to_string(), RESTORE);
                break;
            }
            Err(error) => return Err(error.into()),
        };
        if line != "ok" {
            check.result = "damaged".into();
            check.find(line, RESTORE);
        }
        if check.findings.last().is_some_and(is_endless) {
            break;
        }
    }
    Ok(())
}

/// Whether SQLite has found a page that is in several places. Pages that lead to each other so can make
/// a table of more rows than anybody can read. With too many findings others of that kind may not be
/// among them.
fn is_endless(finding: &Finding) -> bool {
    let lines = finding.what.lines();
    finding.what.contains("2nd reference to page") || lines.count() as i64 >= MOST_FINDINGS
}

fn foreign_keys(conn: &mut Conn) -> Result<Check, QueryError> {
    let lines: Vec<Line> = sql_query(format!(
        "SELECT 'row ' || coalesce(rowid, '?') || ' of ' || \"table\" || ' is without its row of ' \
           || parent AS line \
         FROM (VALUES ('task_dependencies'), ('sessions'), ('session_revisions'), \
           ('conversation_history')) AS ours, pragma_foreign_key_check(ours.column1) \
         LIMIT {MOST_FINDINGS}"
    ))
    .load(conn)?;
    let mut check = Check::new("foreign keys", "ok");
    for line in lines {
        check.result = "broken".into();
        check.find(line.line, SALVAGE);
    }
    Ok(check)
}

/// Compares the size of the file with the number of its pages. While there is a log some of them are
/// there only.
pub(crate) fn size(conn: &mut Conn, file: &StoreFile) -> Result<Check, QueryError> {
    let pages = number(conn, "PRAGMA page_count")?;
    let free = number(conn, "PRAGMA freelist_count")?;
    let page_size = number(conn, "PRAGMA page_size")?;
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let (size, log) = (length(file.path()), length(&file.wal()));
    let mut check = Check::new(
        "size",
        format!("{size} bytes, {pages} pages of which {free} are free; log: {log} bytes"),
    );
    let expected = (pages * page_size).unsigned_abs();
    if log == 0 && size != expected {
        check.find(
            format!("the file has {size} bytes, its pages should take {expected}"),
            RESTORE,
        );
    }
    Ok(check)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_is_almost_full_is_told() {
        assert_eq!(judge_space(LEAST_FREE).findings, []);
        assert_eq!(judge_space(LEAST_FREE - 1).findings.len(), 1);
    }
}
