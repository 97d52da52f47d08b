//! A copy of a file while others write to it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};

use super::Conn;
use super::check::integrity;
use super::error::from_io;
use super::file::{StoreFile, create_private_file, is_there, sync_folder};
use super::full::told_if_full;
use super::inspect::connect;
use super::queries::copy::counts;
use super::rename::rename_new;
use crate::base::error::Error;
use crate::base::operation::{Call, Deadline};
use crate::base::query_error::{LostFile, QueryError};

/// What [`Repo::backup`](crate::Repo::backup) has made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// The file, absolute.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// How many tasks it has.
    pub tasks: u64,
    /// How many turns it has.
    pub turns: u64,
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = BigInt)]
    data_version: i64,
}

/// Writes all that the connection sees as of one moment into a new file. The file has its name only
/// when it is whole, checked and synced; after an error it is not there at all.
///
/// `VACUUM INTO` reads in one transaction, which keeps no writer waiting, and writes no page that is
/// free. SQLite's backup API would copy page by page and begin again whenever someone else has
/// written, so that it may never end.
///
/// `check` fails when the files that the connection has open are lost.
pub(crate) fn backup(
    conn: &mut Conn,
    call: Call<'_>,
    target: &StoreFile,
    check: impl Fn() -> Result<(), LostFile>,
) -> Result<Backup, QueryError> {
    check()?;
    let unfinished = Unfinished::create(call, target)?;
    let before = state(conn)?;
    sql_query("VACUUM INTO ?")
        .bind::<Text, _>(unfinished.file.uri("mode=rw"))
        .execute(conn)
        .map_err(|error| told_if_full(error.into(), &unfinished.file))?;
    let after = state(conn)?;
    check()?;
    let rows = verify(call, &unfinished.file)?;
    // Where others have written meanwhile the copy may have any of it.
    if before == after && rows != before.1 {
        return Err(differs(call, "it has not as many rows as the store").into());
    }
    let [tasks, _, _, _, turns] = rows.map(i64::unsigned_abs);
    let bytes = unfinished
        .finish(target)
        .map_err(|error| failed(call, target.path(), error))?;
    Ok(Backup {
        path: target.path().into(),
        bytes,
        tasks,
        turns,
    })
}

/// Returns which state of the database the connection sees, and how many rows that has.
fn state(conn: &mut Conn) -> QueryResult<(i64, [i64; 5])> {
    let version: Version = sql_query("PRAGMA data_version").get_result(conn)?;
    Ok((version.data_version, counts(conn)?))
}

/// Reads the copy back, and returns how many rows it has.
fn verify(call: Call<'_>, file: &StoreFile) -> Result<[i64; 5], QueryError> {
    // Nobody else knows of it.
    let deadline = Deadline::after(std::time::Duration::ZERO);
    let mut conn = connect(file, "mode=ro&immutable=1", deadline)?;
    match integrity(&mut conn)?.findings.first() {
        None => Ok(counts(&mut conn)?),
        Some(finding) => Err(differs(call, &finding.what).into()),
    }
}

fn differs(call: Call<'_>, what: &str) -> Error {
    Error::Corrupt {
        operation: call.operation,
        subject: "the copy that was made".into(),
        source: what.into(),
    }
}

/// Backs a file up beside itself that is about to get another schema. Whoever calls this keeps all
/// others from writing.
pub(crate) fn before_upgrade(
    file: &StoreFile,
    version: &str,
    deadline: Deadline,
) -> Result<Backup, QueryError> {
    let mut conn = connect(file, "mode=ro", deadline)?;
    let name = format!(".before-upgrade-from-{version}");
    let mut suffix = name.clone();
    let mut number = 1;
    loop {
        let target = file.sibling(&suffix);
        let call = Call::on_file(super::OPEN, target.path());
        match backup(&mut conn, call, &target, || Ok(())) {
            // Nobody else is making one: the process that did was killed.
            Err(QueryError::Refused(Error::FileExists { path, .. }))
                if path == target.partial().path() =>
            {
                fs::remove_file(&path).map_err(|error| failed(call, &path, error))?;
            }
            // One that was made before is kept.
            Err(QueryError::Refused(Error::FileExists { .. })) => {
                number += 1;
                suffix = format!("{name}-{number}");
            }
            result => return result,
        }
    }
}

/// A copy under another name, which gets its own when it is whole.
struct Unfinished {
    file: StoreFile,
    is_finished: bool,
}

impl Unfinished {
    /// Creates the file for the copy. Fails when a file of the target's name exists.
    fn create(call: Call<'_>, target: &StoreFile) -> Result<Self, Error> {
        // With a log or journal of another database beside it, the copy would be read as damaged.
        for path in [target.path().into(), target.wal(), target.journal()] {
            if is_there(&path) {
                return Err(exists(call, &path));
            }
        }
        target.refuse_unfinished_restore(call.operation)?;
        let file = target.partial();
        create_private_file(file.path()).map_err(|error| failed(call, file.path(), error))?;
        Ok(Self {
            file,
            is_finished: false,
        })
    }

    /// Syncs the file, which SQLite does not do, gives it its name, and returns its size.
    fn finish(mut self, target: &StoreFile) -> io::Result<u64> {
        let file = File::options().write(true).open(self.file.path())?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        rename_new(self.file.path(), target.path())?;
        self.is_finished = true;
        sync_folder(target.path().parent()).inspect_err(|_| {
            // Nothing can be done about a file that stays, here and below: the error of the call is
            // on its way.
            let _ = fs::remove_file(target.path());
        })?;
        Ok(bytes)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = fs::remove_file(self.file.path());
        }
    }
}

fn failed(call: Call<'_>, path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => exists(call, path),
        _ => from_io(call.operation, path, error),
    }
}

fn exists(call: Call<'_>, path: &Path) -> Error {
    Error::FileExists {
        operation: call.operation,
        path: path.into(),
    }
}
