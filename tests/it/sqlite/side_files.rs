//! What lies beside a store, or is a second way to it: refused where opening would destroy something.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use turnkeep_repo::{Error, FileFault, Repo, Role};

use super::{Opened, TempStore};
use crate::sqlite::temp_store::listing;
use crate::support::*;

/// Opens the store, and has it checked, both of which must be refused with every file as it was.
fn refused(store: &TempStore) -> anyhow::Result<(PathBuf, FileFault)> {
    let before = contents_of(store.folder())?;
    let error = store.open().expect_err("must be refused");
    let Error::UnsafeFile { path, fault, .. } = error else {
        panic!("{error:?}");
    };
    let report = Repo::builder(store.path()).check()?;
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
    Ok((path, fault))
}

fn contents_of(folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, Option<Vec<u8>>>> {
    let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|it| it.is_file());
    let read = |path: PathBuf| {
        let content = is_file(&path).then(|| fs::read(&path)).transpose()?;
        Ok((path, content))
    };
    listing(folder)?.into_iter().map(read).collect()
}

/// Makes a store whose process was killed, so that its log is there.
fn crashed(turns: &[&str]) -> anyhow::Result<TempStore> {
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
