//! Checks that the paths of an open store still lead to the files that SQLite has open.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::file::{StoreFile, is_filled};
use crate::base::error::ErrorKind;

/// The identity of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    /// Device and inode.
    #[cfg(unix)]
    numbers: (u64, u64),
    /// The time of creation, because the inode of a deleted file is used again. `None` on file systems
    /// that do not keep it.
    created: Option<SystemTime>,
}

impl FileId {
    /// Asks for the path. Opens no descriptor: closing it would drop the locks of this process.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            #[cfg(unix)]
            numbers: (metadata.dev(), metadata.ino()),
            created: metadata.created().ok(),
        }
    }
}

/// Whether a descriptor of this process may lead to the file, by whatever name it was opened, by this library
/// or by a host that uses SQLite beside it.
#[cfg(any(target_os = "linux", target_os = "macos"))]
pub(super) fn is_open_here(path: &Path) -> bool {
    const DESCRIPTORS: &str = match cfg!(target_os = "linux") {
        true => "/proc/self/fd",
        false => "/dev/fd",
    };
    let (Ok(id), Ok(descriptors)) = (FileId::of(path), fs::read_dir(DESCRIPTORS)) else {
        return true;
    };
    // A missing descriptor belonged to the listing or to another thread.
    descriptors
        .flatten()
        .any(|descriptor| FileId::of(&descriptor.path()).is_ok_and(|open| open == id))
}

/// Other Unix systems list no descriptors. On Windows a lock belongs to the handle that took it.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub(super) fn is_open_here(_: &Path) -> bool {
    cfg!(unix)
}

/// A path, and the file that it led to when that was opened.
#[derive(Debug, Clone)]
pub(crate) struct OpenedFile {
    pub(crate) path: PathBuf,
    pub(crate) id: FileId,
}

impl OpenedFile {
    pub(crate) fn at(path: PathBuf) -> Result<Self, ErrorKind> {
        let id = FileId::of(&path).map_err(|error| lost(&path, &error))?;
        Ok(Self { path, id })
    }

    /// Fails when the path leads to no file, or to another one.
    pub(crate) fn check(&self) -> Result<(), ErrorKind> {
        match FileId::of(&self.path) {
            Ok(id) if id == self.id => Ok(()),
            Ok(_) => Err(ErrorKind::FileLost {
                path: self.path.clone(),
                reason: "another file is in its place".into(),
            }),
            Err(error) => Err(lost(&self.path, &error)),
        }
    }
}

fn lost(path: &Path, error: &io::Error) -> ErrorKind {
    ErrorKind::FileLost {
        path: path.into(),
        reason: match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                "it was deleted or moved".into()
            }
            _ => format!("it can't be found: {error}"),
        },
    }
}

/// The files that the connections of this process to one store have open: the database, its log and the
/// shared memory of the log. SQLite shares its state of a log among all connections of a process, so they
/// must have the same log open.
#[derive(Debug)]
pub(crate) struct OpenedFiles {
    files: [OpenedFile; 3],
    /// The path of their folder.
    folder: PathBuf,
    /// The folder when the paths were last checked, unless it had changed just before.
    settled: Mutex<Option<Folder>>,
}

/// The open stores of this process. SQLite deletes a log with the last connection of all processes, and the
/// next connection makes another log.
static OPENED: Mutex<Vec<Weak<OpenedFiles>>> = Mutex::new(Vec::new());

fn find(opened: &[Weak<OpenedFiles>], database: FileId) -> Option<Arc<OpenedFiles>> {
    let mut opened = opened.iter().filter_map(Weak::upgrade);
    opened.find(|opened| opened.files[0].id == database)
}

/// Fails when this process has the file open and its log is lost. A new connection would make a new log,
/// and read it by the shared memory of the lost one.
pub(crate) fn check_log(file: &StoreFile) -> Result<(), ErrorKind> {
    // The caller reports a missing file.
    let Ok(id) = FileId::of(file.path()) else {
        return Ok(());
    };
    let opened = OPENED.lock();
    let found = find(&opened, id).map(|files| (files.check(), Arc::strong_count(&files)));
    match found {
        // With a count of 1 the last connection has closed meanwhile, and SQLite has deleted the log.
        Some((Err(lost), count)) if count > 1 => Err(lost),
        _ => Ok(()),
    }
}

impl OpenedFiles {
    /// Returns the files of a connection. The connection must have read, because SQLite opens the log then.
    pub(crate) fn of(database: &OpenedFile, file: &StoreFile) -> Result<Arc<Self>, ErrorKind> {
        let mut opened = OPENED.lock();
        let files = match find(&opened, database.id) {
            Some(files) => files,
            None => {
                let [wal, shm] = [file.wal(), file.shm()].map(OpenedFile::at);
                let files = Arc::new(Self {
                    files: [database.clone(), wal?, shm?],
                    folder: database.path.parent().unwrap_or(&database.path).into(),
                    settled: Mutex::default(),
                });
                opened.retain(|files| files.strong_count() > 0);
                opened.push(Arc::downgrade(&files));
                files
            }
        };
        files.check()?;
        Ok(files)
    }

    /// Returns the path of the database.
    pub(crate) fn path(&self) -> &Path {
        &self.files[0].path
    }

    /// Fails when one of the paths leads elsewhere. While the time of the last change of the folder stays
    /// the same, so do the names in it, and one system call does for three.
    pub(crate) fn check(&self) -> Result<(), ErrorKind> {
        self.check_at(SystemTime::now)
    }

    fn check_at(&self, now: impl FnOnce() -> SystemTime) -> Result<(), ErrorKind> {
        let folder = Folder::at(&self.folder);
        let mut settled = self.settled.lock();
        if folder.is_some() && folder == *settled {
            return Ok(());
        }
        // Read the clock before the files: later changes then have a later time.
        let folder = folder.filter(|folder| folder.is_settled(now()));
        *settled = None;
        self.files.iter().try_for_each(OpenedFile::check)?;
        *settled = folder;
        Ok(())
    }

    /// Whether another process has opened the same database with a log of its own, which is not empty.
    pub(crate) fn log_is_replaced(&self) -> bool {
        let [database, log @ ..] = &self.files;
        let is_replaced = |file: &OpenedFile| is_filled(&file.path) && file.check().is_err();
        log.iter().any(is_replaced) && database.check().is_ok()
    }
}

/// A read-only file without a log, which is read without locks, as it was before it was opened.
#[derive(Debug)]
pub(crate) struct FrozenFile {
    file: StoreFile,
    state: (FileId, u64, Option<SystemTime>),
}

impl FrozenFile {
    pub(crate) fn of(file: StoreFile) -> io::Result<Self> {
        let metadata = fs::metadata(file.path())?;
        let modified = metadata.modified().ok();
        let state = (FileId::from(&metadata), metadata.len(), modified);
        Ok(Self { file, state })
    }

    /// Fails when another process has written to the file, or begun a log.
    pub(crate) fn check(&self) -> Result<(), ErrorKind> {
        let path = self.file.path();
        let now = Self::of(self.file.clone()).map_err(|error| lost(path, &error))?;
        if now.state == self.state && !is_filled(&self.file.wal()) {
            return Ok(());
        }
        Err(ErrorKind::FileLost {
            path: path.into(),
            reason: "others have written to it".into(),
        })
    }
}

/// A folder, and the time since 1970 at which a name in it was last made, removed or given to another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Folder {
    id: FileId,
    changed: Duration,
}

impl Folder {
    /// Takes the time of the last status change. A program that unpacks an archive sets the time of the last
    /// modification back.
    #[cfg(unix)]
    fn at(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(path).ok()?;
        let seconds = u64::try_from(metadata.ctime()).ok()?;
        let nanoseconds = u32::try_from(metadata.ctime_nsec()).ok()?;
        Some(Self {
            id: FileId::from(&metadata),
            changed: Duration::new(seconds, nanoseconds),
        })
    }

    #[cfg(not(unix))]
    fn at(_: &Path) -> Option<Self> {
        None
    }

    /// Whether any later change of the folder has another time. File systems that keep fractions of a second
    /// use the system's clock, which ticks at least a hundred times a second. The coarsest of the others
    /// keep every second second.
    fn is_settled(&self, now: SystemTime) -> bool {
        let settles_after = match self.changed.subsec_micros() % 1000 {
            0 => Duration::from_secs(3),
            _ => Duration::from_millis(100),
        };
        now.duration_since(SystemTime::UNIX_EPOCH)
            .is_ok_and(|now| now.saturating_sub(self.changed) >= settles_after)
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::thread;

    use tempfile::TempDir;

    use super::*;

    const NAMES: [&str; 3] = ["db", "db-wal", "db-shm"];

    fn opened(folder: &TempDir) -> OpenedFiles {
        let [file, wal, shm] = NAMES.map(|name| {
            let path = folder.path().join(name);
            File::create(&path).unwrap();
            OpenedFile::at(path).unwrap()
        });
        OpenedFiles {
            files: [file, wal, shm],
            folder: folder.path().into(),
            settled: Mutex::default(),
        }
    }

    fn changed(folder: &TempDir) -> Duration {
        Folder::at(folder.path()).unwrap().changed
    }

    /// Waits until the file system gives out a later time than the last change.
    fn wait_for_a_later_time(folder: &TempDir) {
        let elsewhere = tempfile::tempdir().unwrap();
        while changed(&elsewhere) <= changed(folder) {
            File::create(elsewhere.path().join("file")).unwrap();
            fs::remove_file(elsewhere.path().join("file")).unwrap();
            thread::yield_now();
        }
    }

    fn in_an_hour() -> SystemTime {
        SystemTime::now() + Duration::from_secs(3600)
    }

    #[test]
    fn in_a_settled_folder_the_files_are_not_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = opened(&folder);
        files.check_at(in_an_hour).unwrap();
        // Asking for this path would fail.
        files.files[0].path = folder.path().join("elsewhere.db");
        files.check().unwrap();
    }

    #[test]
    fn a_change_in_a_settled_folder_is_noticed() {
        for name in NAMES {
            let folder = tempfile::tempdir().unwrap();
            let files = opened(&folder);
            files.check_at(in_an_hour).unwrap();
            wait_for_a_later_time(&folder);
            let modified = fs::metadata(folder.path()).unwrap().modified().unwrap();
            fs::remove_file(folder.path().join(name)).unwrap();
            // Unpacking an archive does the same.
            let handle = File::open(folder.path()).unwrap();
            handle.set_modified(modified).unwrap();
            let lost = files.check().unwrap_err();
            let expected = folder.path().join(name);
            assert!(matches!(lost, ErrorKind::FileLost { path, .. } if path == expected));
        }
    }

    /// The next change may have the same time as the last.
    #[test]
    fn a_folder_is_not_settled_just_after_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let id = FileId::of(folder.path()).unwrap();
        for (changed, settles_after) in [
            (Duration::new(1000, 123_456_789), Duration::from_millis(100)),
            (Duration::new(1000, 0), Duration::from_secs(3)),
            // exFAT keeps units of ten milliseconds.
            (Duration::new(1000, 120_000_000), Duration::from_secs(3)),
        ] {
            let folder = Folder { id, changed };
            let settled = SystemTime::UNIX_EPOCH + changed + settles_after;
            assert!(folder.is_settled(settled));
            assert!(!folder.is_settled(settled - Duration::from_nanos(1)));
            // The clock was set back.
            assert!(!folder.is_settled(SystemTime::UNIX_EPOCH));
        }
    }

    #[test]
    fn in_a_folder_that_is_not_settled_the_files_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = opened(&folder);
        files.check_at(|| SystemTime::UNIX_EPOCH).unwrap();
        files.files[0].path = folder.path().join("elsewhere.db");
        files.check().unwrap_err();
    }

    #[test]
    fn a_write_to_a_frozen_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let [path, log] = ["db", "db-wal"].map(|name| folder.path().join(name));
        fs::write(&path, "1").unwrap();
        let frozen = FrozenFile::of(StoreFile::new(&path).unwrap()).unwrap();
        frozen.check().unwrap();
        fs::write(&log, "").unwrap();
        frozen.check().unwrap();
        fs::write(&log, "begun").unwrap();
        frozen.check().unwrap_err();
        fs::remove_file(&log).unwrap();
        frozen.check().unwrap();
        fs::write(&path, "longer").unwrap();
        let lost = frozen.check().unwrap_err();
        assert!(matches!(
            lost,
            ErrorKind::FileLost { reason, .. } if reason == "others have written to it"
        ));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_open_file_is_recognized() {
        let folder = tempfile::tempdir().unwrap();
        use diesel::Connection as _;

        let path = folder.path().join("a.db");
        std::fs::write(&path, "").unwrap();
        assert!(!is_open_here(&path));
        let conn = crate::sqlite::Conn::establish(path.to_str().unwrap()).unwrap();
        assert!(is_open_here(&path));
        drop(conn);
        assert!(!is_open_here(&path));
    }
}
