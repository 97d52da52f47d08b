//! The checks that only a file needs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use diesel::connection::{DefaultLoadingMode, SimpleConnection};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{Binary, Text};
use turnkeep_model::{visible, visible_path};
use turnkeep_schema::{MIGRATIONS_TABLE, TABLES};

use super::Conn;
use super::catalogue::{is_content, read};
use super::error::{SqliteErrors, class_of};
use super::file::{StoreFile, is_filled};
use super::filesystem::refuse_network;
use super::identity::{FileId, check_log};
use super::inspect::refuse_other_files;
use super::ops;
use super::schema_state::read_schema_state;
use super::space::pragma;
use super::version::refuse_old_sqlite;
use crate::base::deadline::Deadline;
use crate::base::error::{Error, ErrorKind};
use crate::base::finding::{
    Check, Finding, MAX_FINDINGS, OPERATION, RESTORE, SALVAGE, SCHEMA, in_words,
};
use crate::base::operation::Operation;
use crate::base::query_error::{ErrorClass, QueryError};
use crate::base::schema_state::SchemaVersion;

/// Finds files that other users can read, and a folder in which they can replace them.
#[cfg(unix)]
pub(super) fn permissions(file: &StoreFile) -> Check {
    use std::fs::Metadata;
    use std::os::unix::fs::PermissionsExt;

    // The advice is wrong for a folder that was taken for a store.
    let mode = |path: &Path, is_expected: fn(&Metadata) -> bool| {
        let metadata = fs::metadata(path).ok().filter(is_expected)?;
        Some(metadata.permissions().mode() & 0o7777)
    };
    let mut check = Check::new("permissions", "the owner's alone");
    for path in [file.path(), &file.wal(), &file.shm()] {
        if let Some(mode) = mode(path, Metadata::is_file)
            && mode & 0o077 != 0
        {
            let path = visible_path(path);
            check.find(
                format!("{path} has mode {mode:o}, others can get at it"),
                "`chmod 600` it, unless you share it on purpose",
            );
        }
    }
    if let Some(folder) = file.path().parent()
        && let Some(mode) = mode(folder, Metadata::is_dir)
        && mode & 0o022 != 0
        && mode & 0o1000 == 0
    {
        let folder = visible_path(folder);
        check.find(
            format!(
                "the folder {folder} has mode {mode:o}, others can delete and replace the store"
            ),
            "`chmod go-w` it, or keep the store in a folder of its own",
        );
    }
    if !check.findings.is_empty() {
        check.result = "others have access".into();
    }
    check
}

#[cfg(not(unix))]
pub(super) fn permissions(_: &StoreFile) -> Check {
    Check::new("permissions", "not looked at on this system")
}

/// Checks the schema, the database as a whole and all rows, in a transaction that sees one state of them.
pub(super) fn data(conn: &mut Conn, call: Operation<'_>) -> Result<Vec<Check>, QueryError> {
    let state = match read_schema_state(conn) {
        Ok(state) => state,
        Err(error) => return Ok(vec![Check::failed(SCHEMA, error.into(), is_about_data)?]),
    };
    let mut checks = vec![ops::check::schema(conn, &state)?];
    // Another schema may have other tables.
    if state.version != SchemaVersion::Current || !state.is_readable() {
        return Ok(checks);
    }
    // The expressions of another program's index would run.
    if state.has_known_indexes() {
        let integrity = integrity(conn).and_then(|check| with_types(conn, check));
        let integrity =
            integrity.or_else(|failure| Check::failed("integrity", failure, is_about_data))?;
        let has_end = !integrity.findings.iter().any(is_endless);
        checks.push(integrity);
        if !has_end {
            return Ok(checks);
        }
    }
    checks.extend(ops::check::data(conn, call, is_about_data)?);
    Ok(checks)
}

/// Whether an error is a property of the file, and not of another process's use of it.
fn is_about_data(error: &DieselError) -> bool {
    class_of(error) != ErrorClass::Busy
}

/// Checks a file, through connections that can't write. No store of this process needs to have it open.
pub(crate) fn closed(path: &Path, timeout: Duration) -> Result<Vec<Check>, Error> {
    let deadline = Deadline::after(timeout);
    let file = StoreFile::new(path)?;
    refuse_old_sqlite()?;
    file.refuse_unfinished_restore(OPERATION)?;
    if FileId::of(file.path()).is_err() {
        return Err(ErrorKind::StoreNotFound.on(&Operation::on_file(OPERATION, file.path())));
    }
    check_log(&file).map_err(|lost| lost.on(&Operation::on_store(OPERATION)))?;
    let call = Operation::on_file(OPERATION, file.path());
    let mut checks = vec![permissions(&file)];
    let opening = [
        refuse_network(&file),
        refuse_other_files(&file, timeout, deadline).and_then(|_| file.check_writable()),
    ];
    for error in opening.into_iter().filter_map(Result::err) {
        let (advice, goes_on) = match error.kind() {
            ErrorKind::Unsupported { .. } => ("move it to a local disk", true),
            ErrorKind::ReadOnly => (
                "give yourself write access to the file and its folder",
                true,
            ),
            // A finding of the schema below.
            ErrorKind::SchemaAltered { .. } => continue,
            // A damaged file is checked further. SQLite would delete the log beside an empty file, even
            // to read.
            ErrorKind::Corrupt => (RESTORE, is_filled(file.path())),
            ErrorKind::NotAStore { .. } => ("choose another file", false),
            ErrorKind::SchemaTooNew { .. } => ("update the program", false),
            ErrorKind::UnsafeFile { fault, .. } => (fault.advice(), false),
            _ => return Err(error),
        };
        let result = match error.kind() {
            ErrorKind::ReadOnly => "for reading at most",
            _ => "refused",
        };
        let mut check = Check::new("opening", result);
        check.find(in_words(&error), advice);
        checks.push(check);
        if !goes_on {
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
    // A log that another process begins meanwhile makes the first check a mixture of two states.
    let had_log = is_filled(&file.wal());
    let mut found = inside(&file, call, deadline);
    if !had_log && is_filled(&file.wal()) {
        found = inside(&file, call, deadline);
    }
    let found = found
        .or_else(|failure| Ok(vec![Check::failed("reading", failure, is_about_data)?]))
        .map_err(|failure: QueryError| failure.translate::<SqliteErrors>(&call, timeout))?;
    checks.extend(found);
    Ok(checks)
}

fn inside(
    file: &StoreFile,
    call: Operation<'_>,
    deadline: Deadline,
) -> Result<Vec<Check>, QueryError> {
    let mut conn = file.connect_read_only(deadline)?;
    // The snapshot ends with the connection: on a damaged file even a COMMIT may fail.
    conn.batch_execute("PRAGMA trusted_schema = OFF; BEGIN")?;
    let mut checks = vec![size(&mut conn, file)?];
    checks.extend(data(&mut conn, call)?);
    Ok(checks)
}

/// Runs SQLite's integrity check on the tables of the store. Constraints and indexes of other programs' tables
/// may run any function. On a connection that can't write SQLite checks no CHECK constraints;
/// [`with_types`] and reading the rows find the values that those refuse.
pub(super) fn integrity(conn: &mut Conn) -> Result<Check, QueryError> {
    let is_ours = |name: &str| TABLES.iter().any(|table| table.eq_ignore_ascii_case(name));
    let parts = read(conn)?;
    let mut tables = parts.iter().filter(|part| part.kind == "table");
    let has_others = tables.any(|table| is_content(table) && !is_ours(&table.name));
    let mut check = Check::new("integrity", "ok");
    if !has_others {
        find_damage(conn, &MAX_FINDINGS.to_string(), &mut check)?;
        return Ok(check);
    }
    check.result = "ok, but for other programs' tables, which were not looked at".into();
    for table in TABLES.into_iter().chain([MIGRATIONS_TABLE]) {
        find_damage(conn, table, &mut check)?;
    }
    Ok(check)
}

/// Adds the values that do not have the type of their column, unless the file is damaged. CHECK constraints
/// refuse
/// such values. SQLite reads a text or a blob as 0 where a number is expected.
fn with_types(conn: &mut Conn, mut check: Check) -> Result<Check, QueryError> {
    let is_of_constraint = |it: &Finding| it.what.starts_with("CHECK constraint failed");
    if !check.findings.iter().all(is_of_constraint) {
        return Ok(check);
    }
    for table in TABLES {
        let columns: Vec<(String, String)> = sql::<(Text, Text)>(&format!(
            "SELECT name, CASE type WHEN 'BIGINT' THEN 'integer' WHEN 'BLOB' THEN 'blob' ELSE 'text' END FROM pragma_table_info('{table}')"
        ))
        .load(conn)?;
        let key = columns.first().map_or("", |(name, _)| name);
        let of = if key.ends_with("id") { "task " } else { "" };
        let cases = columns.iter().map(|(name, kind)| {
            format!(" WHEN typeof({name}) NOT IN ('{kind}', 'null') THEN '`{name}` is no {kind}'")
        });
        let cases = cases.collect::<String>();
        let rows: Vec<(Vec<u8>, String)> = sql::<(Binary, Text)>(&format!(
            "SELECT CAST({key} AS BLOB), CASE{cases} END AS wrong \
             FROM {table} WHERE wrong IS NOT NULL LIMIT {MAX_FINDINGS}"
        ))
        .load(conn)?;
        for (task_id, wrong) in rows {
            let id = String::from_utf8_lossy(&task_id);
            check.result = "damaged".into();
            check.find(
                format!("{wrong} in the row of {of}`{}` in `{table}`", visible(&id)),
                SALVAGE,
            );
        }
    }
    Ok(check)
}

/// Runs SQLite's integrity check on all tables, up to a number of findings, or on one table. Adds its findings.
fn find_damage(conn: &mut Conn, what: &str, check: &mut Check) -> Result<(), QueryError> {
    let pragma = sql::<Text>(&format!("PRAGMA integrity_check({what})"));
    for line in pragma.load_iter::<String, DefaultLoadingMode>(conn)? {
        let is_last = line.is_err();
        let line = match line {
            Ok(line) if line == "ok" => continue,
            Ok(line) => line,
            // The check itself may fail after what it has found, and would fail again and again.
            Err(error) if is_about_data(&error) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        check.result = "damaged".into();
        check.find(line, RESTORE);
        if is_last || check.findings.last().is_some_and(is_endless) {
            break;
        }
    }
    Ok(())
}

/// Whether SQLite has found a page that is used twice. Such pages can form a circle, a table of more rows than
/// anybody can read. Among too many findings one of this kind may be left out.
fn is_endless(finding: &Finding) -> bool {
    let lines = finding.what.lines();
    finding.what.contains("2nd reference to page") || lines.count() as i64 >= MAX_FINDINGS
}

/// Compares the size of the file with the number of its pages. While there is a log, new pages may be in the
/// log
/// alone.
fn size(conn: &mut Conn, file: &StoreFile) -> Result<Check, QueryError> {
    let pages = pragma(conn, "page_count")?;
    let free = pragma(conn, "freelist_count")?;
    let expected = (pages * pragma(conn, "page_size")?).unsigned_abs();
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let (size, log) = (length(file.path()), length(&file.wal()));
    let mut check = Check::new(
        "size",
        format!("{size} bytes, {pages} pages of which {free} are free; log: {log} bytes"),
    );
    if log == 0 && size != expected {
        check.find(
            format!("the file has {size} bytes, its pages should take {expected}"),
            RESTORE,
        );
    }
    Ok(check)
}
