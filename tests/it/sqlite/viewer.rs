//! A store in a file that was opened for reads only.

use std::fs;

use turnkeep_repo::{ErrorKind, Repo, Role};

use super::TempStore;
use super::temp_store::listing;
use crate::support::*;

/// A viewer leaves each file of the store byte for byte as it was, whether a writer is there or not.
#[test]
fn a_viewer_changes_no_file() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_message(&task, Role::User, "kept")?;
    let look = || -> anyhow::Result<()> {
        let viewer = Repo::builder(store.path()).read_only().open()?;
        assert_eq!(contents(&viewer, &task)?, ["kept"]);
        for refused in [
            viewer.save_message(&task, Role::User, "x").map(drop),
            viewer.delete_task_securely(&task).map(drop),
            viewer.vacuum(),
        ] {
            let error = refused.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::ReadOnly), "{error:?}");
        }
        assert_eq!(contents(&viewer, &task)?, ["kept"]);
        Ok(())
    };
    let data = || -> anyhow::Result<[Vec<u8>; 2]> {
        let log = store.folder().join("store.db-wal");
        Ok([fs::read(store.path())?, fs::read(log).unwrap_or_default()])
    };
    let before = data()?;
    assert!(!before[1].is_empty(), "the writer has a log");
    look()?;
    assert_eq!(data()?, before);

    drop(repo);
    let before = data()?;
    look()?;
    assert_eq!(data()?, before);
    // The log and the shared memory that the viewer may have left are no obstacle for a writer, which removes them.
    let (repo, backup) = (store.open()?, store.folder().join("backup.db"));
    repo.save_message(&task, Role::User, "later")?;
    drop(repo);
    assert_eq!(listing(store.folder())?, [store.path()]);

    let viewer = Repo::builder(store.path()).read_only().open()?;
    viewer.backup(&backup)?;
    assert_eq!(contents(&Repo::open(&backup)?, &task)?, ["kept", "later"]);
    Ok(())
}

/// A viewer takes up the log of a process that was killed.
#[test]
fn a_viewer_reads_the_log_of_a_killed_writer() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    drop(repo);
    let mut writer = Worker::start(&store, &["append", "t", "w", "0"])?;
    writer.line()?;
    writer.kill()?;
    fs::remove_file(store.folder().join("store.db-shm"))?;
    let file = fs::read(store.path())?;
    let viewer = Repo::builder(store.path()).read_only().open()?;
    let turns = contents(&viewer, &task)?;
    assert_eq!(turns[0], "w-1");
    drop(viewer);
    assert_eq!(fs::read(store.path())?, file);
    Ok(())
}

/// A file that is no store is refused and left alone.
#[test]
fn a_viewer_makes_no_store_of_another_file() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    for content in ["", "text"] {
        fs::write(store.path(), content)?;
        let error = Repo::builder(store.path()).read_only().open().unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::NotAStore { .. }),
            "{error:?}"
        );
        assert_eq!(fs::read_to_string(store.path())?, content);
        assert_eq!(listing(store.folder())?, [store.path()]);
    }
    Ok(())
}
