//! Replaces a store that no process uses by a backup.
//!
//! The names beside the store say how far a restore has come. Each step is synced before the next:
//! 1. The backup is copied to `…-restoring-partial` and checked. The store is unchanged.
//! 2. The copy is renamed to `…-restoring`. From now on opening the store fails.
//! 3. The old file and its side files move into the folder `…-replaced`, one by one.
//! 4. `…-restoring` gets the name of the store, and the folder becomes `….before-restore`.
//!
//! If step 3 is interrupted, the next restore, of any backup, continues there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::backup::{Backup, Partial, copy};
use super::error::{SqliteErrors, from_io};
use super::file::{
    StoreFile, create_folders, create_private, is_filled, is_there, rename_new, sync_folder,
};
use super::filesystem::refuse_network;
use super::identity::FileId;
use super::inspect::{length, refuse_other_files};
use super::locks::{alone, lock_folder};
use super::version::refuse_old_sqlite;
use crate::base::deadline::Deadline;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::finding::SCHEMA;
use crate::base::operation::Operation;
use crate::base::query_error::QueryError;

/// The name of the operation in errors.
pub(crate) const OPERATION: &str = "restore";

/// The result of [`RepoBuilder::restore`](crate::RepoBuilder::restore).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The file of the store, absolute.
    pub path: PathBuf,
    /// The file that the store was in before, in a folder with all that belongs to it. `None` when
    /// there was no store.
    pub kept: Option<PathBuf>,
    /// The size of the store in bytes.
    pub bytes: u64,
    /// How many tasks it has.
    pub tasks: u64,
    /// How many turns it has.
    pub turns: u64,
}

pub(crate) fn restore(path: &Path, backup: &Path, timeout: Duration) -> Result<Restored> {
    refuse_old_sqlite()?;
    let from = StoreFile::new(backup)?;
    let file = StoreFile::new(path)?;
    if cfg!(not(unix)) {
        return Err(ErrorKind::Unsupported {
            reason: "this system can't tell whether a program uses it".into(),
        }
        .on(&Operation::on_file(OPERATION, path)));
    }
    refuse_network(&file)?;
    let Ok(id) = FileId::of(from.path()) else {
        return Err(ErrorKind::StoreNotFound.on(&Operation::on_file(OPERATION, from.path())));
    };
    if FileId::of(file.path()).is_ok_and(|store| store == id) {
        return Err(Error::invalid(OPERATION, "backup", "is the store itself"));
    }
    let store = Target {
        restoring: file.restoring(),
        replaced: file.replaced(),
        file,
        timeout,
    };
    // Keeps other restores out.
    let _locked = store.lock_folder()?;
    length(&store.file)?;
    // Fails before the backup is copied. The exchange asks again.
    store.while_unused(|| ())?;
    let call = Operation::on_file(OPERATION, from.path());
    from.refuse_unfinished_restore(OPERATION)?;
    if !refuse_other_files(&from, timeout, store.deadline())? {
        let reason = "has no store in it";
        return Err(ErrorKind::NotAStore { reason }.on(&call));
    }
    let (partial, made) = store
        .copy(&from, call)
        .map_err(|failure| failure.translate::<SqliteErrors>(&call, timeout))?;
    let kept = store.while_unused(|| store.exchange(partial.0.path()))??;
    Ok(Restored {
        path: store.file.path().into(),
        kept,
        bytes: made.bytes,
        tasks: made.tasks,
        turns: made.turns,
    })
}

/// The store to restore, and the names beside it.
struct Target {
    file: StoreFile,
    restoring: StoreFile,
    replaced: PathBuf,
    timeout: Duration,
}

impl Target {
    fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout)
    }

    /// Makes the folder of the store, if it is missing, and locks it.
    fn lock_folder(&self) -> Result<File> {
        let folder = self.file.path().parent().unwrap_or(Path::new("/"));
        create_folders(folder).map_err(|error| self.failed(error))?;
        let folder = File::open(folder).map_err(|error| self.failed(error))?;
        self.wait_for(|| Ok(lock_folder(&folder)?.then_some(())))?;
        Ok(folder)
    }

    /// Repeats `attempt` until it returns something, or the timeout has passed.
    fn wait_for<T>(&self, mut attempt: impl FnMut() -> io::Result<Option<T>>) -> Result<T> {
        let deadline = self.deadline();
        loop {
            match attempt().map_err(|error| self.failed(error))? {
                Some(output) => return Ok(output),
                None if deadline.remaining().is_zero() => {
                    let timeout = self.timeout;
                    let call = Operation::on_file(OPERATION, self.file.path());
                    return Err(ErrorKind::Busy { timeout }.on(&call));
                }
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Runs `work` once no process has the store open, and while none can open it.
    fn while_unused<T>(&self, mut work: impl FnMut() -> T) -> Result<T> {
        self.wait_for(|| alone(&self.file, &mut work))
    }

    /// Copies the backup, and checks every row of the copy.
    fn copy(&self, from: &StoreFile, call: Operation<'_>) -> Result<(Partial, Backup), QueryError> {
        let corrupt = |what: String| ErrorKind::Corrupt.on(&call).with_source(what).into();
        if is_filled(&from.journal()) {
            let what = "a transaction was interrupted in it, which opening it once takes back";
            return Err(corrupt(what.into()));
        }
        let mut conn = from.connect_read_only(self.deadline())?;
        // Left by a restore that was interrupted before step 2.
        let _ = fs::remove_file(self.restoring.partial().path());
        let (partial, made) = copy(&mut conn, call, &self.restoring)?;
        let mut conn = partial.0.connect_read_only(self.deadline())?;
        // The schema of the backup was accepted above: opening the store migrates an older one, and a
        // schema that another program has altered holds the same rows.
        let checks = super::check::data(&mut conn, call)?;
        let rows = checks.into_iter().filter(|check| check.name != SCHEMA);
        match rows.flat_map(|check| check.findings).next() {
            None => Ok((partial, made)),
            Some(finding) => Err(corrupt(finding.what)),
        }
    }

    /// Moves the old files away and gives the copy the name of the store. Returns the new path of the old file,
    /// if there was one.
    fn exchange(&self, copy: &Path) -> Result<Option<PathBuf>> {
        let resumes = is_there(self.restoring.path());
        let result = self.exchange_files(copy, resumes);
        // If no file was moved, the store is unchanged.
        if result.is_err() && !resumes && fs::remove_dir(&self.replaced).is_ok() {
            let _ = fs::remove_file(self.restoring.path());
        }
        result.map_err(|error| self.failed(error))
    }

    fn exchange_files(&self, copy: &Path, resumes: bool) -> io::Result<Option<PathBuf>> {
        if !resumes {
            // An earlier restore may have ended before it renamed its folder.
            self.name_replaced()?;
        }
        if !is_there(&self.replaced) {
            create_private(&self.replaced)?;
        }
        // Replaces the copy of an interrupted restore.
        fs::rename(copy, self.restoring.path())?;
        self.sync()?;
        for old in self.file.all().into_iter().filter(|old| is_there(old)) {
            let kept = self.replaced.join(old.file_name().unwrap_or_default());
            if is_there(&kept) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(&old, kept)?;
            sync_folder(Some(&self.replaced))?;
            self.sync()?;
        }
        rename_new(self.restoring.path(), self.file.path())?;
        self.sync()?;
        self.name_replaced()
    }

    /// Gives the folder with the old files its final name. Returns the path of the old file in it.
    fn name_replaced(&self) -> io::Result<Option<PathBuf>> {
        // The folder is empty if there was no store.
        if !is_there(&self.replaced) || fs::remove_dir(&self.replaced).is_ok() {
            return Ok(None);
        }
        let folder = self.file.free_sibling(".before-restore");
        fs::rename(&self.replaced, folder.path())?;
        self.sync()?;
        let name = self.file.path().file_name().unwrap_or_default();
        Ok(Some(folder.path().join(name)))
    }

    fn sync(&self) -> io::Result<()> {
        sync_folder(self.file.path().parent())
    }

    fn failed(&self, error: io::Error) -> Error {
        from_io(OPERATION, self.file.path(), error)
    }
}

#[cfg(test)]
mod tests {
    use turnkeep_model::{NewTask, TaskId};

    use super::*;
    use crate::Repo;
    use crate::base::schema_state::later;

    #[test]
    fn an_older_backup_is_restored_and_a_newer_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let repo = Repo::open(at("older.db")).unwrap();
        let task = NewTask::new(TaskId::new("t").unwrap(), "T");
        repo.save_task(&task).unwrap();
        repo.backup(at("backup.db")).unwrap();
        drop(repo);
        let restore = |backup: &str| Repo::builder(at("store.db")).restore(at(backup));
        later::version("CREATE TABLE another (x)", || {
            assert_eq!(restore("backup.db").unwrap().tasks, 1);
            let repo = Repo::open(at("store.db")).unwrap();
            assert_eq!(repo.get_tasks().unwrap().len(), 1);
            repo.backup(at("newer.db")).unwrap();
        });
        let error = restore("newer.db").unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::SchemaTooNew { .. }),
            "{error:?}"
        );
    }
}
