//! A backup in the place of a store.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use turnkeep_repo::{Error, ErrorKind, Repo, Restored, Role};

use super::TempStore;
use super::side_files::{contents_of, crashed};
use crate::sql::Sql as _;
use crate::sqlite::temp_store::listing;
use crate::support::*;

/// Makes a backup with one turn, and returns its path.
fn backup(folder: &TempStore, turn: &str) -> anyhow::Result<PathBuf> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_message(&task, Role::User, turn)?;
    let path = folder.folder().join("backup.db");
    repo.backup(&path)?;
    Ok(path)
}

fn restore(store: &TempStore, backup: &Path) -> turnkeep_repo::Result<Restored> {
    let timeout = Duration::from_millis(50);
    Repo::builder(store.path()).timeout(timeout).restore(backup)
}

fn turns(path: &Path) -> anyhow::Result<Vec<String>> {
    let repo = Repo::builder(path).create_if_missing(false).open()?;
    contents(&repo, &repo.get_tasks()?[0].id)
}

fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let names = listing(folder)?.into_iter().map(|path| {
        let name = path.strip_prefix(folder)?;
        Ok(name.to_string_lossy().into_owned())
    });
    names.collect()
}

/// Fails, with all as it was.
fn refused(store: &TempStore, backup: &Path) -> anyhow::Result<Error> {
    let before = contents_of(store.folder())?;
    let error = restore(store, backup).expect_err("must be refused");
    assert!(contents_of(store.folder())? == before, "{error:?}");
    Ok(error)
}

/// Copied over it, the backup was not seen at all, or read as damaged.
#[test]
fn a_backup_takes_the_place_of_a_store_that_crashed() -> anyhow::Result<()> {
    let store = crashed(&["old 1", "old 2"])?;
    let old = contents_of(store.folder())?;
    let backup = backup(&store, "new")?;
    let bytes = fs::read(&backup)?;
    let restored = restore(&store, &backup)?;
    assert_eq!((restored.tasks, restored.turns), (1, 1));
    assert_eq!(restored.bytes, fs::metadata(store.path())?.len());
    assert_eq!(restored.path, store.path());
    assert_eq!(
        names(store.folder())?,
        ["backup.db", "store.db", "store.db.before-restore"]
    );
    let folder = store.folder().join("store.db.before-restore");
    let kept = contents_of(&folder)?;
    let names_of = |it: &PathBuf| it.file_name().map(|name| name.to_owned());
    assert!(kept.keys().map(names_of).eq(old.keys().map(names_of)));
    assert!(kept.values().eq(old.values()), "byte for byte");
    assert_eq!(restored.kept.as_deref(), Some(&*folder.join("store.db")));
    assert_eq!(turns(&store.path())?, ["new"]);
    // With the log that a crash has left.
    assert_eq!(turns(&folder.join("store.db"))?, ["old 1", "old 2"]);
    assert_eq!(fs::read(&backup)?, bytes);
    assert!(turnkeep_admin::check_unopened(Repo::builder(store.path()))?.is_ok());
    Ok(())
}

#[test]
fn each_old_store_is_kept() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let backup = backup(&store, "new")?;
    let restored = restore(&store, &backup)?;
    assert_eq!(restored.kept, None);
    assert_eq!(names(store.folder())?, ["backup.db", "store.db"]);
    for (number, suffix) in [(1, ""), (2, "-2"), (3, "-3")] {
        let repo = Repo::open(store.path())?;
        repo.save_message(&repo.get_tasks()?[0].id, Role::User, &number.to_string())?;
        drop(repo);
        let kept = restore(&store, &backup)?.kept.expect("an old store");
        let folder = format!("store.db.before-restore{suffix}");
        assert_eq!(kept, store.folder().join(folder).join("store.db"));
        assert_eq!(turns(&kept)?, ["new", &number.to_string()]);
    }
    Ok(())
}

#[test]
fn a_store_that_is_in_use_is_not_replaced() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_message(&task, Role::User, "old")?;
    let backup = backup(&store, "new")?;
    let error = restore(&store, &backup).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
    drop(repo);
    let mut worker = Worker::start(&store, &["history-later", "t"])?;
    assert_eq!(worker.line()?.as_deref(), Some("open"));
    let error = restore(&store, &backup).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
    assert_eq!(worker.finish()?, ["old"]);
    // Another program, as `sqlite3` in the middle of a transaction.
    let mut conn = store.raw()?;
    diesel::connection::SimpleConnection::batch_execute(
        &mut conn,
        "BEGIN; SELECT count(*) FROM tasks",
    )?;
    let error = restore(&store, &backup).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
    drop(conn);
    assert_eq!(turns(&store.path())?, ["old"]);
    restore(&store, &backup)?;
    assert_eq!(turns(&store.path())?, ["new"]);
    Ok(())
}

#[test]
fn a_damaged_store_is_replaced_and_kept() -> anyhow::Result<()> {
    for damage in [&b"no database"[..], &[0xa5; 5_000], b""] {
        let store = TempStore::new()?;
        fs::write(store.path(), damage)?;
        let backup = backup(&store, "new")?;
        let kept = restore(&store, &backup)?.kept.expect("an old file");
        assert_eq!(fs::read(kept)?, damage);
        assert_eq!(turns(&store.path())?, ["new"]);
    }
    Ok(())
}

#[test]
fn what_is_no_whole_store_is_not_restored() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_message(&task, Role::User, "old")?;
    drop(repo);
    let at = |name: &str| store.folder().join(name);

    let error = refused(&store, &at("missing"))?;
    assert!(
        matches!(error.kind(), ErrorKind::StoreNotFound),
        "{error:?}"
    );
    for (name, content) in [("empty", &b""[..]), ("text", b"no database at all")] {
        fs::write(at(name), content)?;
        let error = refused(&store, &at(name))?;
        assert!(
            matches!(error.kind(), ErrorKind::NotAStore { .. }),
            "{error:?}"
        );
    }
    let error = refused(&store, store.folder())?;
    assert!(
        matches!(error.kind(), ErrorKind::NotAStore { .. }),
        "{error:?}"
    );
    let error = refused(&store, &store.path())?;
    assert!(
        matches!(error.kind(), ErrorKind::InvalidInput { .. }),
        "{error:?}"
    );
    fs::hard_link(store.path(), at("another name"))?;
    let error = refused(&store, &at("another name"))?;
    assert!(
        matches!(error.kind(), ErrorKind::InvalidInput { .. }),
        "{error:?}"
    );
    fs::remove_file(at("another name"))?;

    let other = TempStore::new()?;
    other.execute("CREATE TABLE mine (x)")?;
    let error = refused(&store, &other.path())?;
    assert!(
        matches!(error.kind(), ErrorKind::NotAStore { .. }),
        "{error:?}"
    );

    // A letter of a turn, which SQLite does not notice.
    let backup = backup(&store, "precious words")?;
    let mut bytes = fs::read(&backup)?;
    let place = bytes.windows(8).position(|bytes| bytes == b"precious");
    bytes[place.expect("it is there")] = b'P';
    fs::write(&backup, bytes)?;
    let error = refused(&store, &backup)?;
    assert!(matches!(error.kind(), ErrorKind::Corrupt), "{error:?}");
    assert_eq!(turns(&store.path())?, ["old"]);
    Ok(())
}

/// As a process that is killed, or a power loss, leaves it while the files are exchanged.
#[test]
fn a_restore_that_was_interrupted_is_told_and_finished_by_another() -> anyhow::Result<()> {
    for moved in [&[][..], &["store.db"], &["store.db", "store.db-wal"]] {
        let store = crashed(&["old"])?;
        let backup = backup(&store, "new")?;
        let at = |name: &str| store.folder().join(name);
        fs::copy(&backup, at("store.db-restoring"))?;
        fs::create_dir(at("store.db-replaced"))?;
        for name in moved {
            fs::rename(at(name), at("store.db-replaced").join(name))?;
        }
        let before = contents_of(store.folder())?;
        let check = turnkeep_admin::check_unopened(Repo::builder(store.path())).map(|_| ());
        for result in [store.open().map(|_: Repo| ()), check] {
            let error = result.expect_err("must be refused");
            assert!(
                matches!(error.kind(), ErrorKind::RestoreUnfinished),
                "{error:?}"
            );
        }
        let onto = TempStore::new()?;
        let error = open_with_task(&onto, "t")?.0.backup(store.path());
        assert!(error.is_err(), "a backup would be taken for the old store");
        assert!(contents_of(store.folder())? == before);
        let kept = restore(&store, &backup)?.kept.expect("an old store");
        assert_eq!(turns(&store.path())?, ["new"]);
        assert_eq!(turns(&kept)?, ["old"]);
        assert_eq!(
            names(store.folder())?,
            ["backup.db", "store.db", "store.db.before-restore"]
        );
    }
    Ok(())
}

/// Nothing had been changed by then, or all of it.
#[test]
fn what_an_interrupted_restore_leaves_is_taken_away_by_the_next() -> anyhow::Result<()> {
    let store = crashed(&["old"])?;
    let backup = backup(&store, "new")?;
    let at = |name: &str| store.folder().join(name);
    fs::write(at("store.db-restoring-partial"), "left")?;
    fs::create_dir(at("store.db-replaced"))?;
    fs::write(at("store.db-replaced").join("store.db"), "older")?;
    assert_eq!(turns(&store.path())?, ["old"]);
    let kept = restore(&store, &backup)?.kept.expect("an old store");
    assert_eq!(turns(&kept)?, ["old"]);
    assert_eq!(
        fs::read(at("store.db.before-restore").join("store.db"))?,
        b"older"
    );
    assert_eq!(
        names(store.folder())?,
        [
            "backup.db",
            "store.db",
            "store.db.before-restore",
            "store.db.before-restore-2"
        ]
    );
    Ok(())
}

/// A backup must not have a name that a restore uses for its own files and deletes.
#[test]
fn a_restore_deletes_no_file_that_someone_else_has_made() -> anyhow::Result<()> {
    let store = crashed(&["old"])?;
    let backup = backup(&store, "new")?;
    let at = |name: &str| store.folder().join(name);
    fs::copy(&backup, at("store.db-restored"))?;
    fs::write(at("store.db-restored-partial"), "mine")?;
    restore(&store, &at("store.db-restored"))?;
    assert_eq!(turns(&store.path())?, ["new"]);
    assert!(fs::read(at("store.db-restored"))? == fs::read(&backup)?);
    assert_eq!(fs::read(at("store.db-restored-partial"))?, b"mine");
    for name in ["store.db-restoring-partial", "store.db-restoring"] {
        fs::copy(&backup, at(name))?;
        let error = refused(&store, &at(name))?;
        assert!(
            matches!(error.kind(), ErrorKind::InvalidInput { .. }),
            "{error:?}"
        );
        assert!(at(name).exists());
        fs::remove_file(at(name))?;
    }
    Ok(())
}

#[test]
fn only_a_file_is_restored() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let backup = backup(&store, "new")?;
    for place in ["postgres://host/db", "postgresql://host/db"] {
        let error = Repo::builder(place).restore(&backup).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Unsupported { .. }),
            "{error:?}"
        );
    }
    let error = refused(&store, Path::new("postgres://host/db"))?;
    assert!(
        matches!(error.kind(), ErrorKind::InvalidInput { .. }),
        "{error:?}"
    );
    fs::create_dir(store.path())?;
    let error = refused(&store, &backup)?;
    assert!(
        matches!(error.kind(), ErrorKind::NotAStore { .. }),
        "{error:?}"
    );
    Ok(())
}
