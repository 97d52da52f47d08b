//! A copy of a file while others write to it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;

use super::Conn;
use super::check::integrity;
use super::error::from_io;
use super::file::{StoreFile, create_private_file, is_there, rename_new, sync_folder};
use super::full::full_disk_error;
use super::ops::bulk::counts;
use crate::base::deadline::Deadline;
use crate::base::error::{Error, ErrorKind};
use crate::base::operation::{OPEN, Operation};
use crate::base::query_error::QueryError;

/// The file that [`Repo::backup`](crate::Repo::backup) has made.
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

/// Writes the state that the connection sees into a new file. The file gets its name when the copy is whole,
/// checked and synced. After an error there is no file.
///
/// `VACUUM INTO` reads in one transaction, which blocks no writer, and writes no free page. SQLite's backup API
/// would copy page by page and begin again after every write of another connection, perhaps without an end.
///
/// `check` fails when the files of the connection are lost.
pub(crate) fn backup(
    conn: &mut Conn,
    call: Operation<'_>,
    target: &StoreFile,
    check: impl Fn() -> Result<(), ErrorKind>,
) -> Result<Backup, QueryError> {
    check()?;
    let unfinished = Unfinished::create(call, target)?;
    sql_query("VACUUM INTO ?")
        .bind::<Text, _>(unfinished.file.uri("mode=rw"))
        .execute(conn)
        .map_err(|error| full_disk_error(error.into(), &unfinished.file))?;
    check()?;
    // Read back without locks: no other process uses the copy.
    let mut copy = unfinished
        .file
        .connect_to_read("mode=ro&immutable=1", Deadline::after(Duration::ZERO))?;
    if let Some(finding) = integrity(&mut copy)?.findings.first() {
        return Err(ErrorKind::Corrupt
            .on(&Operation::on_named(call.name, "the copy that was made"))
            .with_source(finding.what.as_str())
            .into());
    }
    let [tasks, _, _, _, turns] = counts(&mut copy)?;
    drop(copy);
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

/// Makes a backup beside a file that is about to be migrated. The caller holds the write lock.
pub(crate) fn before_upgrade(
    file: &StoreFile,
    version: &str,
    deadline: Deadline,
) -> Result<Backup, QueryError> {
    let mut conn = file.connect_to_read("mode=ro", deadline)?;
    let mut number = 1;
    loop {
        let suffix = match number {
            1 => String::new(),
            _ => format!("-{number}"),
        };
        let target = file.sibling(&format!(".before-upgrade-from-{version}{suffix}"));
        let call = Operation::on_file(OPEN, target.path());
        // Left by a process that was killed: no other makes a backup under this lock.
        let partial = target.partial();
        match fs::remove_file(partial.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(call, partial.path(), error).into());
            }
            _ => {}
        }
        match backup(&mut conn, call, &target, || Ok(())) {
            // Earlier backups are kept.
            Err(QueryError::Refused(error))
                if matches!(error.kind(), ErrorKind::FileExists { .. }) =>
            {
                number += 1;
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
    fn create(call: Operation<'_>, target: &StoreFile) -> Result<Self, Error> {
        // SQLite would read the copy through a log or journal that is there.
        for path in [target.path().into(), target.wal(), target.journal()] {
            if is_there(&path) {
                return Err(failed(call, &path, io::ErrorKind::AlreadyExists.into()));
            }
        }
        target.refuse_unfinished_restore(call.name)?;
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
            // The caller gets the first error.
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

/// Makes an error of the file system one of the call.
fn failed(call: Operation<'_>, path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => ErrorKind::FileExists { path: path.into() }.on(&call),
        _ => from_io(call.name, path, error),
    }
}
