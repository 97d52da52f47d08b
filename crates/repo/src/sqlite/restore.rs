//! Replaces a store that no process uses by a backup.
//!
//! The names beside the store say how far a restore has come, each step synced before the next:
//! 1. `…-restoring-partial` is the whole, checked copy of the backup. The store is as it was.
//! 2. It is renamed to `…-restoring`. From now on opening the store fails.
//! 3. The old file and what belongs to it go into the folder `…-replaced`, one by one.
//! 4. `…-restoring` gets the name of the store. The folder becomes `….before-restore`.
//!
//! The next restore, of any backup, goes on where one was interrupted in step 3.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use turnkeep_model::visible_path;

use super::backup::{Backup, backup};
use super::error::{SqliteErrors, from_io};
use super::file::{
    StoreFile, create_folders, create_private, is_filled, is_there, rename_new, sync_folder,
};
use super::filesystem::refuse_network;
use super::identity::FileId;
use super::inspect::{connect, length, refuse_other_files};
use super::locks::{alone, lock_folder};
use super::schema_state::read_schema_state;
use super::store::check_sqlite_version;
use super::transaction::look;
use crate::admin::check::{SCHEMA, data};
use crate::base::error::{Error, Result};
use crate::base::operation::{Call, Deadline};
use crate::base::query_error::{QueryError, busy};
use crate::base::schema_state::Verdict;
use crate::commit::engine::Conn;

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
    check_sqlite_version()?;
    let from = StoreFile::new(backup)?;
    let store = Target::new(StoreFile::new(path)?, timeout);
    if cfg!(not(unix)) {
        return Err(Error::Unsupported {
            operation: OPERATION,
            subject: visible_path(path),
            reason: "this system can't tell whether a program uses it".into(),
        });
    }
    refuse_network(&store.file)?;
    store.refuse_itself(&from)?;
    let _only = store.lock_folder()?;
    length(&store.file)?;
    // Fails before all of the backup is copied. The exchange of the files asks once more.
    store.while_unused(|| ())?;
    store.tidy()?;
    let made = store.copy(&from)?;
    let exchanged = store
        .while_unused(|| store.exchange())
        .and_then(|done| done);
    let kept = exchanged.inspect_err(|_| {
        // The error is on its way; what stays is removed by the next restore.
        let _ = store.tidy();
    })?;
    Ok(Restored {
        path: store.file.path().into(),
        kept,
        bytes: made.bytes,
        tasks: made.tasks,
        turns: made.turns,
    })
}

/// The store that is restored, and what lies beside it meanwhile.
struct Target {
    file: StoreFile,
    restored: StoreFile,
    restoring: PathBuf,
    replaced: PathBuf,
    timeout: Duration,
}

impl Target {
    fn new(file: StoreFile, timeout: Duration) -> Self {
        Self {
            restored: file.sibling("-restoring-partial"),
            restoring: file.restoring(),
            replaced: file.replaced(),
            file,
            timeout,
        }
    }

    fn call(&self) -> Call<'_> {
        Call::on_file(OPERATION, self.file.path())
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout)
    }

    fn refuse_itself(&self, from: &StoreFile) -> Result<()> {
        let Ok(id) = FileId::of(from.path()) else {
            return Err(Error::StoreNotFound {
                operation: OPERATION,
                path: from.path().into(),
            });
        };
        match FileId::of(self.file.path()) {
            Ok(store) if store == id => Err(Error::InvalidInput {
                operation: OPERATION,
                field: "backup",
                reason: "is the store itself".into(),
            }),
            _ => Ok(()),
        }
    }

    /// Makes the folder of the store, if it is missing, and keeps other restores out of it.
    fn lock_folder(&self) -> Result<File> {
        let folder = self.file.path().parent().unwrap_or(Path::new("/"));
        create_folders(folder).map_err(|error| self.failed(error))?;
        let folder = File::open(folder).map_err(|error| self.failed(error))?;
        self.wait_for(|| Ok(lock_folder(&folder)?.then_some(())))?;
        Ok(folder)
    }

    /// Asks until there is an answer, or the timeout has passed.
    fn wait_for<T>(&self, mut ask: impl FnMut() -> io::Result<Option<T>>) -> Result<T> {
        let deadline = self.deadline();
        loop {
            match ask().map_err(|error| self.failed(error))? {
                Some(answer) => return Ok(answer),
                None if deadline.remaining().is_zero() => {
                    return Err(busy(&self.call(), self.timeout));
                }
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Runs `work` while no process has the store open or can open it. Waits for processes that have.
    fn while_unused<T>(&self, mut work: impl FnMut() -> T) -> Result<T> {
        self.wait_for(|| alone(&self.file, &mut work))
    }

    /// Removes the copies of a restore that was interrupted before it changed anything.
    fn tidy(&self) -> Result<()> {
        for left in [self.restored.path(), self.restored.partial().path()] {
            if is_there(left) {
                fs::remove_file(left).map_err(|error| self.failed(error))?;
            }
        }
        Ok(())
    }

    /// Copies the backup and reads the copy back.
    fn copy(&self, from: &StoreFile) -> Result<Backup> {
        let call = Call::on_file(OPERATION, from.path());
        from.refuse_unfinished_restore(OPERATION)?;
        refuse_other_files(from, self.timeout, self.deadline())?;
        let made = self
            .copy_checked(from, call)
            .map_err(|failure| failure.translate::<SqliteErrors>(&call, self.timeout))?;
        Ok(made)
    }

    fn copy_checked(&self, from: &StoreFile, call: Call<'_>) -> Result<Backup, QueryError> {
        if is_filled(&from.journal()) {
            let source = "a transaction was interrupted in it, which opening it once takes back";
            return Err(QueryError::Refused(corrupt(from, source.into())));
        }
        // Without a log nothing is made beside it.
        let parameters = match is_filled(&from.wal()) {
            true => "mode=ro",
            false => "mode=ro&immutable=1",
        };
        let mut conn = connect(from, parameters, self.deadline())?;
        let judgement = look(&mut conn, read_schema_state)?;
        if judgement.verdict == Verdict::Empty {
            return Err(QueryError::Refused(Error::NotADatabase {
                operation: OPERATION,
                path: from.path().into(),
                reason: "has no store in it",
            }));
        }
        judgement.refuse(from.path())?;
        let made = backup(&mut conn, call, &self.restored, || Ok(()))?;
        let checked = self.check_copy(from, call);
        if checked.is_err() {
            let _ = fs::remove_file(self.restored.path());
        }
        checked.map(|()| made)
    }

    /// Reads every row of the copy, and compares the turns with their checksums.
    fn check_copy(&self, from: &StoreFile, call: Call<'_>) -> Result<(), QueryError> {
        let mut conn = connect(&self.restored, "mode=ro&immutable=1", self.deadline())?;
        let checks = data(Conn::Sqlite(&mut conn), call)?;
        // The schema of the backup was accepted before: opening the store brings an older one up to date,
        // and the rows of one that another program has altered are worth as much.
        let mut findings = checks
            .into_iter()
            .filter(|check| check.name != SCHEMA)
            .flat_map(|check| check.findings);
        match findings.next() {
            None => Ok(()),
            Some(finding) => Err(QueryError::Refused(corrupt(from, finding.what))),
        }
    }

    /// Moves the old files away and gives the copy the name of the store. Returns where the old files
    /// are, if there were any.
    fn exchange(&self) -> Result<Option<PathBuf>> {
        let resumes = is_there(&self.restoring);
        let result = self.exchange_files(resumes);
        // Where nothing has been moved the store is as it was.
        if result.is_err() && !resumes && fs::remove_dir(&self.replaced).is_ok() {
            let _ = fs::remove_file(&self.restoring);
        }
        result.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::FileExists {
                operation: OPERATION,
                path: self.file.path().into(),
            },
            _ => self.failed(error),
        })
    }

    fn exchange_files(&self, resumes: bool) -> io::Result<Option<PathBuf>> {
        if !resumes {
            // The folder of an earlier restore, which could not give it its name.
            self.name_replaced()?;
        }
        if !is_there(&self.replaced) {
            create_private(&self.replaced)?;
        }
        // A restore that is resumed has left its copy here; the new copy replaces it.
        fs::rename(self.restored.path(), &self.restoring)?;
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
        rename_new(&self.restoring, self.file.path())?;
        self.sync()?;
        self.name_replaced()
    }

    /// Gives the folder with the old files its name. Returns the path of the old file in it.
    fn name_replaced(&self) -> io::Result<Option<PathBuf>> {
        // It is empty where there was no store.
        if !is_there(&self.replaced) || fs::remove_dir(&self.replaced).is_ok() {
            return Ok(None);
        }
        let first = self.file.sibling(".before-restore");
        let others =
            (2_u64..).map(|number| self.file.sibling(&format!(".before-restore-{number}")));
        let mut free = std::iter::once(first).chain(others);
        let Some(folder) = free.find(|folder| !is_there(folder.path())) else {
            return Ok(None);
        };
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

fn corrupt(from: &StoreFile, what: String) -> Error {
    Error::Corrupt {
        operation: OPERATION,
        subject: visible_path(from.path()),
        source: what.into(),
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
            assert_eq!(repo.list_tasks().unwrap().len(), 1);
            repo.backup(at("newer.db")).unwrap();
        });
        let error = restore("newer.db").unwrap_err();
        assert!(matches!(error, Error::SchemaTooNew { .. }), "{error:?}");
    }
}
