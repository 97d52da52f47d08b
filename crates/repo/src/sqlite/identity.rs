//! Whether paths still lead to the files that were opened.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::file::{StoreFile, is_filled};
use crate::base::query_error::LostFile;

/// Which file a path led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    /// Device and inode.
    #[cfg(unix)]
    numbers: (u64, u64),
    /// Numbers are given out again once a file is gone and closed, hence this. `None` where the file
    /// system does not keep it.
    made: Option<SystemTime>,
}

impl FileId {
    /// Asks the path, which opens nothing: closing a descriptor would drop the locks of this process.
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
            made: metadata.created().ok(),
        }
    }
}

/// A file, and which one its path led to when it was opened.
#[derive(Debug, Clone)]
pub(crate) struct OpenedFile {
    pub(crate) path: PathBuf,
    pub(crate) id: FileId,
}

impl OpenedFile {
    /// Asks the path of a file that is open now.
    pub(crate) fn at(path: PathBuf) -> Result<Self, LostFile> {
        match FileId::of(&path) {
            Ok(id) => Ok(Self { path, id }),
            Err(error) => Err(lost(&path, &error)),
        }
    }

    /// Fails when the path leads elsewhere now. What is written to the opened file would not be
    /// found there again.
    pub(crate) fn check(&self) -> Result<(), LostFile> {
        match FileId::of(&self.path) {
            Ok(id) if id == self.id => Ok(()),
            Ok(_) => Err(LostFile {
                path: self.path.clone(),
                reason: "another file is in its place".into(),
            }),
            Err(error) => Err(lost(&self.path, &error)),
        }
    }
}

/// Fails at the first that is lost.
fn check_all(files: &[OpenedFile]) -> Result<(), LostFile> {
    files.iter().try_for_each(OpenedFile::check)
}

fn lost(path: &Path, error: &io::Error) -> LostFile {
    LostFile {
        path: path.into(),
        reason: match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                "it was deleted or moved".into()
            }
            _ => format!("it can't be found: {error}"),
        },
    }
}

/// Which files the write-ahead log and its shared memory are.
type LogId = [FileId; 2];

/// The logs that this process has open, by the file each belongs to. What SQLite knows of a log it
/// shares among all connections of a process, so they must have the same one. It is deleted with the
/// last connection of all processes, and the next may find another.
static LOGS: Mutex<Vec<(FileId, Weak<LogId>)>> = Mutex::new(Vec::new());

/// Fails when this process has a log of the file open that is lost. Then nobody may look at the file:
/// SQLite would make a new log, or look up in another's what it knows of this one.
pub(crate) fn check_log(file: &StoreFile) -> Result<(), LostFile> {
    // Without a file it is not this that is to be told.
    let Ok(id) = FileId::of(file.path()) else {
        return Ok(());
    };
    let logs = LOGS.lock();
    let Some(log) = find_log(&logs, id) else {
        return Ok(());
    };
    match check_all(&opened_log(file, &log)) {
        // The last connection that had it open has just been closed, and took it along. Nobody else can
        // be asking, which takes the lock.
        Err(_) if Arc::strong_count(&log) == 1 => Ok(()),
        result => result,
    }
}

/// Returns the log of the file, which the caller has a connection to, and has read through it.
fn open_log(file: &StoreFile, id: FileId) -> Result<Arc<LogId>, LostFile> {
    let mut logs = LOGS.lock();
    if let Some(log) = find_log(&logs, id) {
        return Ok(log);
    }
    let [wal, shm] = [file.wal(), file.shm()].map(OpenedFile::at);
    let log = Arc::new([wal?.id, shm?.id]);
    logs.retain(|(_, log)| log.strong_count() > 0);
    logs.push((id, Arc::downgrade(&log)));
    Ok(log)
}

fn find_log(logs: &[(FileId, Weak<LogId>)], id: FileId) -> Option<Arc<LogId>> {
    let mut logs = logs.iter().filter(|(file, _)| *file == id);
    logs.find_map(|(_, log)| log.upgrade())
}

fn opened_log(file: &StoreFile, log: &LogId) -> [OpenedFile; 2] {
    let [wal, shm] = *log;
    [(file.wal(), wal), (file.shm(), shm)].map(|(path, id)| OpenedFile { path, id })
}

/// The files that a connection has open.
#[derive(Debug)]
pub(crate) struct OpenedFiles {
    file: OpenedFile,
    log: [OpenedFile; 2],
    /// What the folder was like when all paths were found to lead where they should, if nothing can
    /// have happened there since without a trace.
    settled: Option<Folder>,
    /// Tells others of this process which log that is.
    _open: Arc<LogId>,
}

impl OpenedFiles {
    /// The connection that asks must have read, which is when SQLite opens the log.
    pub(crate) fn of(opened: &OpenedFile, file: &StoreFile) -> Result<Self, LostFile> {
        let log = open_log(file, opened.id)?;
        let mut files = Self {
            file: opened.clone(),
            log: opened_log(file, &log),
            settled: None,
            _open: log,
        };
        files.check()?;
        Ok(files)
    }

    /// Returns the path of the database.
    pub(crate) fn path(&self) -> &Path {
        &self.file.path
    }

    /// Fails when one of the paths leads elsewhere now. Asks the folder first: as long as it is what it
    /// was, so are the names in it, and one question does for three.
    pub(crate) fn check(&mut self) -> Result<(), LostFile> {
        self.check_at(SystemTime::now)
    }

    fn check_at(&mut self, now: impl FnOnce() -> SystemTime) -> Result<(), LostFile> {
        let folder = self.file.path.parent().and_then(Folder::at);
        if folder.is_some() && folder == self.settled {
            return Ok(());
        }
        // Asked for before the files, so that whatever happens after they were asked is later.
        let settled = folder.filter(|folder| folder.is_settled(now()));
        self.settled = None;
        self.file.check()?;
        check_all(&self.log)?;
        self.settled = settled;
        Ok(())
    }

    /// Whether someone else has opened the file, and with it a log where the opened one was, which may
    /// have something in it.
    pub(crate) fn log_is_replaced(&self) -> bool {
        let is_replaced = |file: &OpenedFile| {
            fs::metadata(&file.path)
                .is_ok_and(|metadata| metadata.len() > 0 && FileId::from(&metadata) != file.id)
        };
        // Where the database is gone as well, SQLite touches neither.
        self.log.iter().any(is_replaced) && self.file.check().is_ok()
    }
}

/// A file without a log that is read without locks, and what shows that nobody has written to it.
#[derive(Debug)]
pub(crate) struct FrozenFile {
    file: StoreFile,
    id: FileId,
    length: u64,
    modified: Option<SystemTime>,
}

impl FrozenFile {
    /// To be asked before the file is opened.
    pub(crate) fn of(file: StoreFile) -> io::Result<Self> {
        let metadata = fs::metadata(file.path())?;
        Ok(Self {
            id: FileId::from(&metadata),
            length: metadata.len(),
            modified: metadata.modified().ok(),
            file,
        })
    }

    pub(crate) fn check(&self) -> Result<(), LostFile> {
        let path = self.file.path();
        let now = Self::of(self.file.clone()).map_err(|error| lost(path, &error))?;
        let is_same = (now.id, now.length, now.modified) == (self.id, self.length, self.modified);
        if is_same && !is_filled(&self.file.wal()) {
            return Ok(());
        }
        Err(LostFile {
            path: path.into(),
            reason: "others have written to it".into(),
        })
    }
}

/// A folder, and when a name in it was last made, taken away or given to another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Folder {
    id: FileId,
    /// Since 1970.
    changed: Duration,
}

impl Folder {
    /// `None` where a folder can't be asked or tells no such time. That of its modification won't do:
    /// who unpacks an archive sets it to an old one.
    fn at(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            id: FileId::from(&metadata),
            changed: changed(&metadata)?,
        })
    }

    /// Whether a change from now on would give it another time.
    fn is_settled(&self, now: SystemTime) -> bool {
        now.duration_since(SystemTime::UNIX_EPOCH)
            .is_ok_and(|now| now.saturating_sub(self.changed) >= self.settles_after())
    }

    /// Longer than two changes can be apart and still have the same time. A file system that keeps
    /// fractions keeps what the clock of the system said, which ticks a hundred times a second or more
    /// often; the coarsest of the others keeps every second second.
    fn settles_after(&self) -> Duration {
        match self.changed.subsec_micros() % 1000 {
            0 => Duration::from_secs(3),
            _ => Duration::from_millis(100),
        }
    }
}

#[cfg(unix)]
fn changed(metadata: &Metadata) -> Option<Duration> {
    use std::os::unix::fs::MetadataExt;
    let seconds = u64::try_from(metadata.ctime()).ok()?;
    let nanoseconds = u32::try_from(metadata.ctime_nsec()).ok()?;
    Some(Duration::new(seconds, nanoseconds))
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> Option<Duration> {
    None
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
        let _open = Arc::new([wal.id, shm.id]);
        OpenedFiles {
            file,
            log: [wal, shm],
            settled: None,
            _open,
        }
    }

    fn changed(folder: &TempDir) -> Duration {
        Folder::at(folder.path()).unwrap().changed
    }

    /// Waits until the file system gives out a later time than that of the last change.
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
    fn a_settled_folder_is_asked_in_the_place_of_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = opened(&folder);
        files.check_at(in_an_hour).unwrap();
        // Were its path asked, it would be lost.
        files.file.path = folder.path().join("elsewhere");
        files.check().unwrap();
    }

    #[test]
    fn a_change_in_a_settled_folder_is_noticed() {
        for name in NAMES {
            let folder = tempfile::tempdir().unwrap();
            let mut files = opened(&folder);
            files.check_at(in_an_hour).unwrap();
            wait_for_a_later_time(&folder);
            let modified = fs::metadata(folder.path()).unwrap().modified().unwrap();
            fs::remove_file(folder.path().join(name)).unwrap();
            // As an archive does that is unpacked.
            let handle = File::open(folder.path()).unwrap();
            handle.set_modified(modified).unwrap();
            let lost = files.check().unwrap_err();
            assert_eq!(lost.path, folder.path().join(name));
        }
    }

    /// The next change may have the same time as the last.
    #[test]
    fn a_folder_that_has_just_changed_is_not_settled() {
        let folder = tempfile::tempdir().unwrap();
        let id = FileId::of(folder.path()).unwrap();
        for (changed, settles_after) in [
            (Duration::new(1000, 123_456_789), Duration::from_millis(100)),
            (Duration::new(1000, 0), Duration::from_secs(3)),
            // Of ten milliseconds each, as exFAT has them.
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
    fn the_files_are_asked_as_long_as_the_folder_is_not_settled() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = opened(&folder);
        files.check_at(|| SystemTime::UNIX_EPOCH).unwrap();
        files.file.path = folder.path().join("elsewhere");
        files.check().unwrap_err();
    }

    #[test]
    fn what_others_write_to_a_frozen_file_is_noticed() {
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
        assert_eq!(lost.reason, "others have written to it");
    }
}
