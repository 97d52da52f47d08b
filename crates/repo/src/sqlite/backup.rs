//! A copy of a file while others write to it.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
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
use crate::base::error::ErrorKind;
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
/// `check` fails when the files of the connection are lost.
pub(crate) fn backup(
    conn: &mut Conn,
    call: Operation<'_>,
    target: &StoreFile,
    check: impl Fn() -> Result<(), ErrorKind>,
) -> Result<Backup, QueryError> {
    check()?;
    // SQLite would read the copy through a log or journal that is there.
    for path in [target.path().into(), target.wal(), target.journal()] {
        if is_there(&path) {
            return Err(from_io(call.name, &path, io::ErrorKind::AlreadyExists.into()).into());
        }
    }
    target.refuse_unfinished_restore(call.name)?;
    let (partial, backup) = copy(conn, call, target)?;
    check()?;
    let publish = || {
        rename_new(partial.0.path(), target.path())?;
        sync_folder(target.path().parent()).inspect_err(|_| {
            // The caller gets the first error.
            let _ = fs::remove_file(target.path());
        })
    };
    publish().map_err(|error| from_io(call.name, target.path(), error))?;
    Ok(backup)
}

/// A copy that has not got its name yet. The file is removed if it is not renamed.
pub(super) struct Partial(pub(super) StoreFile);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0.path());
    }
}

/// Writes the state that the connection sees into the partial file of the target. The copy is checked and synced.
///
/// `VACUUM INTO` reads in one transaction, which blocks no writer, and writes no free page. SQLite's backup API
/// would copy page by page and begin again after every write of another connection, perhaps without an end.
pub(super) fn copy(
    conn: &mut Conn,
    call: Operation<'_>,
    target: &StoreFile,
) -> Result<(Partial, Backup), QueryError> {
    let file = target.partial();
    create_private_file(file.path()).map_err(|error| from_io(call.name, file.path(), error))?;
    let partial = Partial(file);
    let Partial(file) = &partial;
    sql_query("VACUUM INTO ?")
        .bind::<Text, _>(file.uri("mode=rw"))
        .execute(conn)
        .map_err(|error| full_disk_error(error.into(), file))?;
    // No other process uses the copy.
    let mut copy = file.connect_read_only(Deadline::after(Duration::ZERO))?;
    if let Some(finding) = integrity(&mut copy)?.findings.first() {
        return Err(ErrorKind::Corrupt
            .on(&Operation::on_named(call.name, "the copy that was made"))
            .with_source(finding.what.as_str())
            .into());
    }
    let [tasks, _, _, _, turns, ..] = counts(&mut copy)?;
    drop(copy);
    // SQLite does not sync the file.
    let sync = || {
        let file = File::options().write(true).open(file.path())?;
        file.sync_all()?;
        file.metadata()
    };
    let synced = sync().map_err(|error| from_io(call.name, file.path(), error))?;
    let backup = Backup {
        path: target.path().into(),
        bytes: synced.len(),
        tasks,
        turns,
    };
    Ok((partial, backup))
}

/// Makes a backup beside a file that is about to be migrated. The caller holds the write lock.
pub(crate) fn before_upgrade(
    file: &StoreFile,
    version: &str,
    deadline: Deadline,
) -> Result<Backup, QueryError> {
    let mut conn = file.connect_to_read("mode=ro", deadline)?;
    let target = file.free_sibling(&format!(".before-upgrade-from-{version}"));
    // Left by a process that was killed: no other makes a backup under this lock.
    let _ = fs::remove_file(target.partial().path());
    let call = Operation::on_file(OPEN, target.path());
    backup(&mut conn, call, &target, || Ok(()))
}
