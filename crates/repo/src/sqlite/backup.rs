//! A copy of a file while others write to it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};

use super::Conn;
use super::check::integrity;
use super::error::from_io;
use super::file::{StoreFile, create_private_file, sync_folder};
use super::inspect::connect;
use super::queries::copy::counts;
use crate::backup::Backup;
use crate::call::{Call, Deadline};
use crate::error::Error;
use crate::failure::{Failure, LostFile};

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = BigInt)]
    data_version: i64,
}

/// Writes all that the connection sees as of one moment into a new file, which is on the disk under its
/// name, checked, when this returns `Ok`, and not there at all otherwise.
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
) -> Result<Backup, Failure> {
    check()?;
    let unfinished = Unfinished::claim(call, target)?;
    let before = state(conn)?;
    sql_query("VACUUM INTO ?")
        .bind::<Text, _>(unfinished.file.uri("mode=rw"))
        .execute(conn)?;
    let after = state(conn)?;
    check()?;
    let rows = verify(call, &unfinished.file)?;
    // Where others have written meanwhile the copy may have any of it.
    if before == after && rows != before.1 {
        return Err(differs(call, "it has not as many rows as the store").into());
    }
    let [tasks, _, _, _, turns] = rows.map(i64::unsigned_abs);
    let bytes = unfinished
        .finish()
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
fn verify(call: Call<'_>, file: &StoreFile) -> Result<[i64; 5], Failure> {
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
) -> Result<Backup, Failure> {
    let mut conn = connect(file, "mode=ro", deadline)?;
    let name = format!(".before-upgrade-from-{version}");
    let mut suffix = name.clone();
    let mut number = 1;
    loop {
        let target = file.sibling(&suffix);
        let call = Call::on_file(super::OPEN, target.path());
        match backup(&mut conn, call, &target, || Ok(())) {
            // Nobody else is making one: the process that did was killed.
            Err(Failure::Refused(Error::FileExists { .. })) if is_unfinished(&target) => {
                remove(&target).map_err(|error| failed(call, target.path(), error))?;
            }
            // One that was made before is kept.
            Err(Failure::Refused(Error::FileExists { .. })) => {
                number += 1;
                suffix = format!("{name}-{number}");
            }
            result => return result,
        }
    }
}

/// What stands in the place of a copy until it is whole. It is no database: an empty file would be opened
/// as a store with nothing in it.
const UNFINISHED: &[u8] = b"This backup was not finished.\n";

fn is_unfinished(target: &StoreFile) -> bool {
    let length = fs::metadata(target.path()).map(|metadata| metadata.len());
    length.is_ok_and(|length| length == UNFINISHED.len() as u64)
        && fs::read(target.path()).is_ok_and(|text| text == UNFINISHED)
}

/// Removes a copy that is not finished.
fn remove(target: &StoreFile) -> io::Result<()> {
    match fs::remove_file(target.partial()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::remove_file(target.path()),
    }
}

/// A name that is taken, and a file beside it which gets that name when it is whole.
struct Unfinished {
    file: StoreFile,
    target: PathBuf,
    is_finished: bool,
}

impl Unfinished {
    /// Takes the name, which nobody may have.
    fn claim(call: Call<'_>, target: &StoreFile) -> Result<Self, Error> {
        // With a log or journal of another database beside it, the copy would be read as damaged.
        for path in [target.wal(), target.journal(), target.partial()] {
            if path.exists() {
                return Err(exists(call, path));
            }
        }
        let create = |path: &Path| {
            create_private_file(path).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => exists(call, path.into()),
                _ => failed(call, path, error),
            })
        };
        let mut held = create(target.path())?;
        let file = target.sibling("-partial");
        let made = held
            .write_all(UNFINISHED)
            .map_err(|error| failed(call, target.path(), error))
            .and_then(|()| create(file.path()));
        if let Err(error) = made {
            // Only what is this call's own is taken away.
            let _ = fs::remove_file(target.path());
            return Err(error);
        }
        Ok(Self {
            file,
            target: target.path().into(),
            is_finished: false,
        })
    }

    /// Gives the file its name, and returns its size. SQLite itself syncs nothing of a copy.
    fn finish(mut self) -> io::Result<u64> {
        let file = File::options().write(true).open(self.file.path())?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        fs::rename(self.file.path(), &self.target)?;
        sync_folder(self.target.parent())?;
        self.is_finished = true;
        Ok(bytes)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            // Nothing can be done about a file that stays: the error of the call is on its way.
            let _ = fs::remove_file(self.file.path());
            let _ = fs::remove_file(&self.target);
        }
    }
}

fn exists(call: Call<'_>, path: PathBuf) -> Error {
    Error::FileExists {
        operation: call.operation,
        path,
    }
}

fn failed(call: Call<'_>, path: &Path, error: io::Error) -> Error {
    from_io(call.operation, path, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Repo;

    /// As a process that is killed leaves it.
    #[test]
    fn a_backup_that_is_not_finished_is_no_store() {
        let folder = tempfile::tempdir().unwrap();
        let target = StoreFile::new(&folder.path().join("backup.db")).unwrap();
        let call = Call::on_file("backup", target.path());
        std::mem::forget(Unfinished::claim(call, &target).unwrap());
        let error = Repo::open(target.path()).unwrap_err();
        assert!(matches!(error, Error::NotADatabase { .. }), "{error:?}");
        assert!(is_unfinished(&target));
        remove(&target).unwrap();
        assert!(!target.path().exists() && !target.partial().exists());
    }
}
