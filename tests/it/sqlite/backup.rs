//! Backups beside writers, and refused targets.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use turnkeep_repo::{BackendType, ErrorKind, Repo, Role};

use super::TempStore;
use crate::copy::scene::{name, noise};
use crate::sql::Sql as _;
use crate::sqlite::temp_store::listing;
use crate::support::*;

/// Each backup contains every write acknowledged before it began, in order and without a gap.
/// Writers continue during a backup.
#[test]
fn a_backup_beside_writers_is_a_snapshot() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (_, task) = open_with_task(&store, "t")?;
    let repo = Repo::open(store.path())?;
    let (is_over, acknowledged) = (AtomicBool::new(false), AtomicI64::new(0));
    thread::scope(|scope| -> anyhow::Result<()> {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let seq = repo.save_message(&task, Role::User, "x").expect("a write");
                    acknowledged.fetch_max(seq.get(), Ordering::SeqCst);
                }
            });
        }
        let result = (0..10).try_for_each(|number| -> anyhow::Result<()> {
            let path = store.folder().join(format!("backup-{number}.db"));
            while acknowledged.load(Ordering::SeqCst) < 20 * (number + 1) {
                thread::yield_now();
            }
            let before = acknowledged.load(Ordering::SeqCst);
            let made = repo.backup(&path)?;
            let after = repo.count_history(&task)?;
            let report = turnkeep_admin::check_unopened(Repo::builder(&path))?;
            assert!(report.is_ok(), "{report:?}");
            let turns = Repo::open(&path)?.count_history(&task)?;
            assert!(
                (before..=after).contains(&turns),
                "{before}, {turns}, {after}"
            );
            assert_eq!((made.tasks, made.turns), (1, turns.unsigned_abs()));
            Ok(())
        });
        is_over.store(true, Ordering::Relaxed);
        result
    })
}

#[test]
fn a_store_whose_log_was_deleted_is_not_backed_up() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let repo = Repo::open(store.path())?;
    // The open reader could still read.
    assert_eq!(repo.get_tasks()?, []);
    fs::remove_file(store.folder().join("store.db-wal"))?;
    let copy = store.folder().join("copy.db");
    let result = repo.backup(&copy);
    let error = result.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::FileLost { .. }),
        "{error:?}"
    );
    assert!(!copy.exists());
    Ok(())
}

#[test]
fn a_backup_never_overwrites_a_file() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (_, task) = open_with_task(&store, "t")?;
    let repo = Repo::open(store.path())?;
    repo.save_message(&task, Role::User, "1")?;
    for name in ["file", "new.db-wal", "new.db-journal", "new.db-partial"] {
        fs::write(store.folder().join(name), "mine")?;
        let target = name.strip_prefix("new.db").map_or("file", |_| "new.db");
        let before = listing(store.folder())?;
        let error = repo.backup(store.folder().join(target)).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::FileExists { path } if path.ends_with(name)),
            "{error:?}"
        );
        assert_eq!(fs::read(store.folder().join(name))?, b"mine");
        assert_eq!(listing(store.folder())?, before);
        fs::remove_file(store.folder().join(name))?;
    }
    let itself = repo.backup(store.path()).unwrap_err();
    assert!(
        matches!(itself.kind(), ErrorKind::FileExists { .. }),
        "{itself:?}"
    );
    let nowhere = repo
        .backup(store.folder().join("no/folder.db"))
        .unwrap_err();
    assert!(matches!(nowhere.kind(), ErrorKind::Io), "{nowhere:?}");
    assert_eq!(nowhere.operation(), "backup");
    assert_eq!(contents(&repo, &task)?, ["1"]);
    Ok(())
}

/// A target named like a side file of a store is refused: SQLite deletes a file that it takes for a
/// journal.
#[test]
fn a_backup_cannot_be_named_like_a_side_file() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, _) = open_with_task(&store, "t")?;
    for end in ["wal", "shm", "journal", "partial", "restoring", "replaced"] {
        let target = store.folder().join(format!("store.db-{end}"));
        let before = listing(store.folder())?;
        let error = repo.backup(target).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::InvalidInput { .. }),
            "{error:?}"
        );
        assert_eq!(listing(store.folder())?, before);
    }
    drop(repo);
    assert_eq!(store.open()?.get_tasks()?.len(), 1);
    Ok(())
}

#[test]
fn a_damaged_store_makes_no_backup() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for _ in 0..100 {
        repo.save_message(&task, Role::User, &"x".repeat(2_000))?;
    }
    drop(repo);
    store.damage_second_half()?;
    let repo = Repo::open(store.path())?;
    let error = repo.backup(store.folder().join("backup.db")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt), "{error:?}");
    drop(repo);
    assert_eq!(listing(store.folder())?, [store.path()]);
    Ok(())
}

#[test]
fn a_store_in_memory_can_be_backed_up() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let repo = Repo::open_in_memory()?;
    save_task(&repo, "t")?;
    let path = store.folder().join("odd ?#%41\u{fc}.db");
    assert_eq!(repo.backup(&path)?.tasks, 1);
    assert_eq!(Repo::open(&path)?.get_tasks()?.len(), 1);
    Ok(())
}

/// A backup does not contain deleted rows.
#[test]
fn a_backup_has_no_free_pages() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (_, task) = open_with_task(&store, "t")?;
    let repo = Repo::open(store.path())?;
    repo.save_message(&task, Role::User, &"deleted words ".repeat(10_000))?;
    repo.delete_task(&task)?;
    store.execute("PRAGMA wal_checkpoint(TRUNCATE)")?;
    let has = |path: &Path| -> anyhow::Result<bool> {
        let bytes = fs::read(path)?;
        Ok(bytes.windows(13).any(|window| window == b"deleted words"))
    };
    let path = store.folder().join("backup.db");
    repo.backup(&path)?;
    assert!(has(&store.path())? && !has(&path)?);
    Ok(())
}

/// They are rows as all others. So is a removed session.
#[test]
fn a_backup_has_the_recordings_byte_for_byte() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let file = noise(1, 3 * 1024 * 1024 + 1);
    repo.save_recording(&task, &name("a"), 0, &file)?;
    let gone = save_task(&repo, "gone")?;
    repo.save_session(&gone, &binding(BackendType::Claude, "s", None)?)?;
    repo.remove_task(&gone)?;
    let backup = store.folder().join("backup.db");
    repo.backup(&backup)?;
    repo.delete_recordings(&task)?;
    repo.lift_removal(&gone)?;
    drop(repo);
    Repo::builder(store.path()).restore(&backup)?;
    let repo = store.open()?;
    let mut bytes = Vec::new();
    repo.recording_reader(&task, repo.get_recordings(&task)?[0].number)
        .read_to_end(&mut bytes)?;
    assert!(bytes == file);
    assert_eq!(repo.list_removed_sessions()?.len(), 1);
    Ok(())
}
