//! Files beside a store and second names of it, refused where opening would destroy data.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use turnkeep_repo::{Error, ErrorKind, FileFault, Repo, Role, TaskId};

use super::{Opened, TempStore};
use crate::sqlite::temp_store::listing;
use crate::support::*;

/// Opens the store, and has it checked, both of which must be refused with every file as it was.
fn refused(store: &TempStore) -> anyhow::Result<(PathBuf, FileFault)> {
    let before = contents_of(store.folder())?;
    let error = store.open().expect_err("must be refused");
    let ErrorKind::UnsafeFile { path, fault } = error.kind() else {
        panic!("{error:?}");
    };
    let report = turnkeep_admin::check_unopened(Repo::builder(store.path()))?;
    let finding = report
        .checks
        .iter()
        .flat_map(|check| &check.findings)
        .last();
    assert_eq!(
        finding.map(|it| it.advice),
        Some(fault.advice()),
        "{report:?}"
    );
    assert!(contents_of(store.folder())? == before, "all as it was");
    Ok((path.clone(), fault.clone()))
}

pub(super) fn contents_of(folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, Option<Vec<u8>>>> {
    let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|it| it.is_file());
    let read = |path: PathBuf| {
        let content = is_file(&path).then(|| fs::read(&path)).transpose()?;
        Ok((path, content))
    };
    listing(folder)?.into_iter().map(read).collect()
}

/// Makes a store whose process was killed, so that its log is there.
pub(super) fn crashed(turns: &[&str]) -> anyhow::Result<TempStore> {
    let live = TempStore::new()?;
    let (repo, task) = open_with_task(&live, "t")?;
    for turn in turns {
        repo.save_message(&task, Role::User, turn)?;
    }
    let crashed = TempStore::new()?;
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        fs::copy(live.folder().join(name), crashed.folder().join(name))?;
    }
    Ok(crashed)
}

/// SQLite reads the log over whatever file is there: of 40 backups copied over stores that had crashed, 33 were
/// not seen at all and 7 read as damaged.
#[test]
fn a_backup_beside_the_log_of_what_it_replaced_is_refused() -> anyhow::Result<()> {
    let store = crashed(&["before"])?;
    let backup = store.folder().join("backup.db");
    store.open()?.backup(&backup)?;
    let store = crashed(&["before", "after"])?;
    fs::copy(&backup, store.path())?;
    let (path, fault) = refused(&store)?;
    let [wal, shm] = ["store.db-wal", "store.db-shm"].map(|name| store.folder().join(name));
    assert_eq!(path, store.path());
    assert_eq!(
        fault,
        FileFault::OtherLog {
            wal: wal.clone(),
            shm: shm.clone()
        }
    );
    let said = store.open().unwrap_err().to_string();
    for named in [&wal, &shm] {
        assert!(said.contains(&*named.to_string_lossy()), "{said}");
    }
    fs::remove_file(wal)?;
    fs::remove_file(shm)?;
    let task = turnkeep_repo::TaskId::new("t")?;
    assert_eq!(contents(&store.open()?, &task)?, ["before"]);
    Ok(())
}

/// One whose log is empty, as SQLite leaves it where it could not delete it, is no danger.
#[test]
fn a_backup_beside_an_empty_log_is_opened() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_message(&task, Role::User, "kept")?;
    let copy = TempStore::new()?;
    repo.backup(copy.path())?;
    fs::write(copy.folder().join("store.db-wal"), "")?;
    assert_eq!(contents(&Opened::open_at(copy.path())?, &task)?, ["kept"]);
    Ok(())
}

/// As a transaction on two databases leaves it that was killed: a journal that names `victim` as the file
/// that the transaction is committed with. SQLite deletes that file.
fn plant_journal(store: &TempStore, victim: &Path) -> anyhow::Result<PathBuf> {
    const MAGIC: &[u8] = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7";
    let name = victim.to_string_lossy();
    let pages = u32::try_from(fs::metadata(store.path())?.len() / 4_096)?;
    let length = u32::try_from(name.len())?;
    let checksum = name.bytes().map(u32::from).sum::<u32>();
    let mut header = MAGIC.to_vec();
    // No pages kept, no nonce, the size of the file, sectors of 512 bytes, pages of 4,096.
    for number in [0, 0, pages, 512, 4_096] {
        header.extend(number.to_be_bytes());
    }
    header.resize(512, 0);
    let locking_page = 0x4000_0000_u32 / 4_096 + 1;
    let name = [&locking_page.to_be_bytes(), name.as_bytes()].concat();
    let numbers = [length, checksum].map(u32::to_be_bytes).concat();
    let path = store.folder().join("store.db-journal");
    fs::write(&path, [&header, &name, &numbers[..], MAGIC].concat())?;
    Ok(path)
}

fn closed() -> anyhow::Result<TempStore> {
    let store = TempStore::new()?;
    drop(open_with_task(&store, "t")?);
    Ok(store)
}

#[test]
fn a_journal_that_names_another_file_is_refused() -> anyhow::Result<()> {
    let victim = tempfile::NamedTempFile::new()?;
    fs::write(&victim, "precious")?;
    for store in [closed()?, crashed(&["in the log"])?] {
        let journal = plant_journal(&store, victim.path())?;
        assert_eq!(refused(&store)?, (journal.clone(), FileFault::SuperJournal));
        assert_eq!(fs::read(&victim)?, b"precious");
        fs::remove_file(journal)?;
        assert_eq!(store.open()?.get_tasks()?.len(), 1);
    }
    Ok(())
}

/// SQLite takes whatever begins with anything but zero for a journal of a transaction that was
/// interrupted, finds nothing in it and deletes it.
#[test]
fn a_file_that_is_no_journal_is_not_deleted() -> anyhow::Result<()> {
    let store = closed()?;
    let path = store.folder().join("store.db-journal");
    for contents in [&b"precious"[..], b"p", b"SQLite format 3\0"] {
        fs::write(&path, contents)?;
        assert_eq!(refused(&store)?, (path.clone(), FileFault::NoJournal));
        assert_eq!(fs::read(&path)?, contents);
    }
    for contents in [&b""[..], &[0; 600]] {
        fs::write(&path, contents)?;
        assert_eq!(store.open()?.get_tasks()?.len(), 1);
    }
    Ok(())
}

/// Before there is a store it is not even looked at what SQLite would do.
#[test]
fn a_journal_that_names_another_file_is_refused_where_a_store_is_to_be_made() -> anyhow::Result<()>
{
    let victim = tempfile::NamedTempFile::new()?;
    let store = TempStore::new()?;
    fs::write(store.path(), "")?;
    let journal = plant_journal(&store, victim.path())?;
    let is_refused = |error: Error| matches!(error.kind(), ErrorKind::UnsafeFile { path, .. } if *path == journal);
    assert!(is_refused(store.open().unwrap_err()));
    fs::remove_file(store.path())?;
    assert!(is_refused(store.open().unwrap_err()));
    assert_eq!(listing(store.folder())?, std::slice::from_ref(&journal));
    assert!(victim.path().exists());
    Ok(())
}

/// One that is planted while the store is open is not read by the connections that are made later.
#[test]
fn a_journal_is_looked_at_before_each_connection() -> anyhow::Result<()> {
    let victim = tempfile::NamedTempFile::new()?;
    let store = closed()?;
    let repo = Opened::open_with(Repo::builder(store.path()).timeout(Duration::from_millis(300)))?;
    // Takes the connection that opened the store.
    repo.save_message(&TaskId::new("t")?, Role::User, "1")?;
    let journal = plant_journal(&store, victim.path())?;
    let error = repo.get_tasks().unwrap_err();
    let said = format!("{:#}", anyhow::Error::from(error));
    assert!(
        said.contains(&FileFault::SuperJournal.to_string()),
        "{said}"
    );
    assert!(victim.path().exists() && journal.exists());
    fs::remove_file(journal)?;
    assert_eq!(repo.get_tasks()?.len(), 1);
    Ok(())
}

const SIDE_FILES: [&str; 3] = ["store.db-journal", "store.db-wal", "store.db-shm"];

#[test]
#[cfg(unix)]
fn what_is_no_regular_file_is_refused_in_place_of_a_side_file() -> anyhow::Result<()> {
    for name in SIDE_FILES {
        let store = closed()?;
        let path = store.folder().join(name);
        let elsewhere = tempfile::NamedTempFile::new()?;
        fs::write(&elsewhere, "precious")?;
        let is_refused = || -> anyhow::Result<()> {
            assert_eq!(refused(&store)?, (path.clone(), FileFault::NotRegular));
            Ok(())
        };
        assert!(Command::new("mkfifo").arg(&path).status()?.success());
        is_refused()?;
        fs::remove_file(&path)?;
        fs::create_dir(&path)?;
        is_refused()?;
        fs::remove_dir(&path)?;
        for end in ["/dev/zero".as_ref(), elsewhere.path(), "nowhere".as_ref()] {
            std::os::unix::fs::symlink(end, &path)?;
            is_refused()?;
            fs::remove_file(&path)?;
        }
        assert_eq!(fs::read(&elsewhere)?, b"precious");
        assert_eq!(store.open()?.get_tasks()?.len(), 1);
    }
    Ok(())
}

/// Two processes that open it by different names would each write a log of their own over the file.
#[test]
#[cfg(unix)]
fn a_store_with_another_name_is_refused() -> anyhow::Result<()> {
    let store = crashed(&["kept"])?;
    let elsewhere = TempStore::new()?;
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        let (path, other) = (store.folder().join(name), elsewhere.folder().join(name));
        fs::hard_link(&path, &other)?;
        assert_eq!(
            refused(&store)?,
            (path, FileFault::SeveralNames { names: 2 })
        );
        if name == "store.db" {
            assert_eq!(
                refused(&elsewhere)?,
                (other.clone(), FileFault::SeveralNames { names: 2 })
            );
        }
        fs::remove_file(other)?;
    }
    let task = turnkeep_repo::TaskId::new("t")?;
    assert_eq!(contents(&store.open()?, &task)?, ["kept"]);
    Ok(())
}

#[test]
#[cfg(unix)]
fn a_store_that_gets_another_name_is_refused_by_the_next_process() -> anyhow::Result<()> {
    let store = closed()?;
    let _repo = store.open()?;
    fs::hard_link(store.path(), store.folder().join("other.db"))?;
    let error = store.open().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::UnsafeFile { .. }),
        "{error:?}"
    );
    Ok(())
}
