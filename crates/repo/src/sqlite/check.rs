//! What only a file can have wrong with it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use diesel::connection::{DefaultLoadingMode, SimpleConnection};
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};

use turnkeep_model::visible_path;

use super::Conn;
use super::connection::{SAME_FOR_ALL, synchronous};
use super::error::kind_of;
use super::file::{StoreFile, is_filled};
use super::filesystem::network;
use super::identity::{FileId, check_log};
use super::inspect::{connect, refuse_other_files};
use super::store::check_sqlite_version;
use super::verdict::judge;
use super::writer::Sqlite;
use crate::call::{Call, Deadline};
use crate::check::{Check, MOST_FINDINGS, OPERATION, RESTORE, SALVAGE, SCHEMA, in_words};
use crate::error::Error;
use crate::failure::{Failure, Kind};
use crate::options::Durability;
use crate::verdict::Verdict;

/// With less than this, the next write may be the last.
const LEAST_FREE: u64 = 64 * 1024 * 1024;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

#[derive(QueryableByName)]
struct Pages {
    #[diesel(sql_type = BigInt)]
    pages: i64,
    #[diesel(sql_type = BigInt)]
    free: i64,
    #[diesel(sql_type = BigInt)]
    page_size: i64,
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

    let mode = |path: &Path| Some(fs::metadata(path).ok()?.permissions().mode() & 0o7777);
    let mut check = Check::new("permissions", "the owner's alone");
    for path in [file.path().into(), file.wal(), file.shm()] {
        if let Some(mode) = mode(&path).filter(|mode| mode & 0o077 != 0) {
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
    if let Some((folder, mode)) = folder.and_then(|folder| Some((folder, mode(folder)?)))
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
) -> Result<Check, Failure> {
    let mut expected = format!(
        "synchronous {}, foreign_keys 1, trusted_schema 0",
        synchronous(durability)
    );
    let line: Line = sql_query(
        "SELECT 'synchronous ' || synchronous || ', foreign_keys ' || foreign_keys \
           || ', trusted_schema ' || trusted_schema AS line \
         FROM pragma_synchronous, pragma_foreign_keys, pragma_trusted_schema",
    )
    .get_result(conn)?;
    let mut result = line.line;
    if let Some(mode) = journal_mode {
        expected = format!("journal_mode {mode}, {expected}");
        let line: Line =
            sql_query("SELECT journal_mode AS line FROM pragma_journal_mode").get_result(conn)?;
        result = format!("journal_mode {}, {result}", line.line);
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
fn settings_of_closed(conn: &mut Conn, has_log: bool) -> Result<Check, Failure> {
    let durability = Durability::default();
    conn.batch_execute(SAME_FOR_ALL)?;
    conn.batch_execute(&format!("PRAGMA synchronous = {}", synchronous(durability)))?;
    settings(conn, has_log.then_some("wal"), durability)
}

/// Looks at one thing.
type Look = fn(&mut Conn) -> Result<Check, Failure>;

/// Looks at the database as SQLite knows it, in a transaction.
pub(crate) fn database(conn: &mut Conn) -> Result<Vec<Check>, Failure> {
    let looks: [(_, Look); 3] = [
        (SCHEMA, schema),
        ("integrity", integrity),
        ("foreign keys", foreign_keys),
    ];
    let looks = looks.into_iter();
    looks
        .map(|(name, look)| {
            look(conn).or_else(|failure| Check::failed(name, failure, is_about_data))
        })
        .collect()
}

/// Whether an error says something of the file. Only what others are doing to it does not.
pub(crate) fn is_about_data(error: &DieselError) -> bool {
    kind_of(error) != Kind::Busy
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
    // That is told already.
    if let Some(error) = refused.filter(|error| !matches!(error, Error::ReadOnly { .. })) {
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
        if !matches!(error, Error::Corrupt { .. }) {
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
    checks.extend(found.map_err(|failure| failure.translate::<Sqlite>(&call, timeout))?);
    Ok(checks)
}

fn inside(file: &StoreFile, has_log: bool, deadline: Deadline) -> Result<Vec<Check>, Failure> {
    let parameters = match has_log {
        true => "mode=ro",
        // Anything else would leave a log behind.
        false => "mode=ro&immutable=1",
    };
    let look = || -> Result<_, Failure> {
        let mut conn = connect(file, parameters, deadline)?;
        let settings = settings_of_closed(&mut conn, has_log)?;
        let size = size(&mut conn, file)?;
        // One snapshot, which ends with the connection: of a damaged file even a COMMIT may fail.
        conn.batch_execute("BEGIN")?;
        let call = Call::on_file(OPERATION, file.path());
        let mut checks = crate::check::data(crate::engine::Conn::Sqlite(&mut conn), call)?;
        checks.splice(0..0, [settings, size]);
        Ok(checks)
    };
    look().or_else(|failure| Ok(vec![Check::failed("reading", failure, is_about_data)?]))
}

fn schema(conn: &mut Conn) -> Result<Check, Failure> {
    let verdict = judge(conn)?;
    let newest = match verdict {
        Verdict::Empty | Verdict::Foreign => None,
        _ => super::queries::migration::applied(conn)?.pop_last(),
    };
    let mut check = Check::new(SCHEMA, newest.unwrap_or_else(|| "none".into()));
    match verdict {
        Verdict::Current => {}
        Verdict::Empty => check.find("nothing is in it yet", "open it, which makes a store of it"),
        Verdict::Older => check.find(
            "it is older than this program",
            "open it, which makes a backup and brings it up to date, and check again",
        ),
        Verdict::Newer(_) => check.find("it is newer than this program", "update the program"),
        Verdict::Foreign => check.find("it is another program's database", "choose another file"),
    }
    Ok(check)
}

/// A connection that can't write leaves out the CHECK constraints; what they keep out shows when the
/// rows are read.
pub(super) fn integrity(conn: &mut Conn) -> Result<Check, Failure> {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        integrity_check: String,
    }

    let query = sql_query(format!("PRAGMA integrity_check({MOST_FINDINGS})"));
    let mut check = Check::new("integrity", "ok");
    for line in query.load_iter::<Line, DefaultLoadingMode>(conn)? {
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
    }
    Ok(check)
}

fn foreign_keys(conn: &mut Conn) -> Result<Check, Failure> {
    let lines: Vec<Line> = sql_query(format!(
        "SELECT 'row ' || coalesce(rowid, '?') || ' of ' || \"table\" || ' is without its row of ' \
           || parent AS line FROM pragma_foreign_key_check LIMIT {MOST_FINDINGS}"
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
pub(crate) fn size(conn: &mut Conn, file: &StoreFile) -> Result<Check, Failure> {
    let pages: Pages = sql_query(
        "SELECT page_count AS pages, freelist_count AS free, page_size \
         FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
    )
    .get_result(conn)?;
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let (size, log) = (length(file.path()), length(&file.wal()));
    let mut check = Check::new(
        "size",
        format!(
            "{size} bytes, {} pages of which {} are free; log: {log} bytes",
            pages.pages, pages.free
        ),
    );
    let expected = (pages.pages * pages.page_size).unsigned_abs();
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
