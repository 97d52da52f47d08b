//! The file of an index, and files that are none.

use std::fs;
use std::path::Path;

use anyhow::Result;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use turnkeep_search::{Error, Index};

use crate::support::Scene;

fn execute(path: &Path, sql: &str) -> Result<()> {
    let mut conn = SqliteConnection::establish(path.to_str().unwrap_or_default())?;
    Ok(conn.batch_execute(sql)?)
}

#[cfg(unix)]
#[test]
fn only_the_user_can_read_it() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    let scene = Scene::new()?;
    scene.say("t", &["needle"])?;
    scene.index.update()?;
    let path = scene.folder.path().join("store.db.search");
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    let files = fs::read_dir(scene.folder.path())?.filter(|it| {
        it.as_ref().is_ok_and(|it| {
            it.file_name()
                .to_string_lossy()
                .starts_with("store.db.search")
        })
    });
    assert_eq!(files.count(), 1, "no file is left beside it");
    Ok(())
}

#[test]
fn another_file_is_refused_and_unchanged() -> Result<()> {
    let scene = Scene::new()?;
    let place = |name: &str| scene.folder.path().join(name);
    fs::write(
        place("text"),
        "not a database, but quite a long text\n".repeat(100),
    )?;
    fs::write(place("short"), "x")?;
    execute(
        &place("database"),
        "CREATE TABLE words (body); INSERT INTO words VALUES ('mine')",
    )?;
    fs::write(place("half"), &fs::read(place("database"))?[..1_000])?;
    fs::create_dir(place("folder"))?;
    for name in ["text", "short", "database", "half", "folder", "store.db"] {
        let before = fs::read(place(name)).ok();
        let error = Index::open(&scene.repo, place(name)).unwrap_err();
        assert!(
            matches!(error, Error::NotAnIndex { .. }),
            "{name}: {error:?}"
        );
        assert!(error.to_string().starts_with("open: `/"), "{error}");
        assert_eq!(fs::read(place(name)).ok(), before, "{name}");
        assert!(!place(&format!("{name}-journal")).exists());
    }
    let missing = Index::open(&scene.repo, place("none").join("index")).unwrap_err();
    assert!(matches!(missing, Error::File { .. }), "{missing:?}");
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_link_or_a_pipe_is_refused() -> Result<()> {
    let scene = Scene::new()?;
    let link = scene.folder.path().join("link");
    std::os::unix::fs::symlink(scene.folder.path().join("target"), &link)?;
    let error = Index::open(&scene.repo, &link).unwrap_err();
    assert!(matches!(error, Error::NotAnIndex { .. }), "{error:?}");
    assert!(!scene.folder.path().join("target").exists());
    Ok(())
}

#[cfg(unix)]
#[test]
fn an_index_that_others_could_read_becomes_private() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    let scene = Scene::new()?;
    let path = scene.folder.path().join("store.db.search");
    let mode = || anyhow::Ok(fs::metadata(&path)?.permissions().mode() & 0o777);
    scene.say("t", &["needle"])?;
    scene.index.update()?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    assert_eq!(scene.places("needle")?, ["t:1"]);
    assert_eq!(mode()?, 0o600);
    fs::write(&path, "")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    assert_eq!(scene.places("needle")?, ["t:1"]);
    assert_eq!(mode()?, 0o600);
    // A file that is no index keeps its mode.
    fs::write(&path, "mine")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    assert!(scene.index.update().is_err());
    assert_eq!(mode()?, 0o644);
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_hard_link_is_refused() -> Result<()> {
    let scene = Scene::new()?;
    let path = scene.folder.path().join("store.db.search");
    scene.say("t", &["needle"])?;
    let before = fs::read(&path)?;
    fs::hard_link(&path, scene.folder.path().join("link"))?;
    for error in [
        scene.index.update().unwrap_err(),
        scene.index.delete().unwrap_err(),
    ] {
        assert!(matches!(error, Error::NotAnIndex { .. }), "{error:?}");
    }
    assert_eq!(fs::read(&path)?, before);
    Ok(())
}

#[cfg(unix)]
#[test]
fn another_users_file_is_refused() -> Result<()> {
    use std::os::unix::fs::{MetadataExt as _, chown};

    let scene = Scene::new()?;
    let mut path = scene.folder.path().join("another");
    fs::write(&path, "")?;
    // Only root can give a file away. Others have this one of root's.
    match fs::metadata(&path)?.uid() {
        0 => chown(&path, Some(1), None)?,
        _ => path = "/etc/passwd".into(),
    }
    let before = fs::read(&path)?;
    let error = Index::open(&scene.repo, &path).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error:?}");
    assert_eq!(fs::read(&path)?, before);
    Ok(())
}

/// SQLite would delete the file that the journal names.
#[test]
fn a_planted_journal_deletes_no_file() -> Result<()> {
    const MAGIC: [u8; 8] = *b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7";
    let scene = Scene::new()?;
    let place = |name: &str| scene.folder.path().join(name);
    let victim = place("victim");
    fs::write(&victim, "mine")?;
    let name = victim.to_str().unwrap_or_default().as_bytes();
    let mut journal = MAGIC.to_vec();
    journal.resize(512, 0);
    journal.extend([0, 0, 0, 1]);
    journal.extend(name);
    journal.extend(u32::try_from(name.len())?.to_be_bytes());
    let sum = name
        .iter()
        .fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    journal.extend(sum.to_be_bytes());
    journal.extend(MAGIC);
    fs::write(place("store.db.search-journal"), &journal)?;
    for error in [
        scene.index.update().unwrap_err(),
        scene.index.delete().unwrap_err(),
    ] {
        assert!(matches!(error, Error::NotAnIndex { .. }), "{error:?}");
    }
    assert_eq!(fs::read(&victim)?, b"mine");
    Ok(())
}

/// SQLite would delete or read them.
#[test]
fn files_beside_the_index_that_are_not_its_own_stay() -> Result<()> {
    for suffix in ["-journal", "-wal", "-shm"] {
        for has_index in [true, false] {
            let scene = Scene::new()?;
            let path = scene.folder.path().join("store.db.search");
            scene.say("t", &["needle"])?;
            scene.index.update()?;
            if !has_index {
                fs::remove_file(&path)?;
            }
            let beside = scene.folder.path().join(format!("store.db.search{suffix}"));
            fs::write(&beside, "mine, and of some length")?;
            let error = scene.index.update().unwrap_err();
            assert!(matches!(error, Error::NotAnIndex { .. }), "{error:?}");
            assert!(error.to_string().contains(suffix), "{error}");
            assert_eq!(fs::read(&beside)?, b"mine, and of some length");
            assert!(scene.index.delete().is_err() || !path.exists());
            assert_eq!(fs::read(&beside)?, b"mine, and of some length");
            fs::remove_file(&beside)?;
            assert_eq!(scene.places("needle")?, ["t:1"]);
        }
    }
    Ok(())
}

#[test]
fn an_index_in_wal_mode_leaves_it() -> Result<()> {
    let scene = Scene::new()?;
    let path = scene.folder.path().join("store.db.search");
    scene.say("t", &["needle"])?;
    scene.index.update()?;
    execute(&path, "PRAGMA journal_mode = WAL")?;
    assert_eq!(scene.places("needle")?, ["t:1"]);
    assert_eq!(fs::read(&path)?[18..20], [1, 1], "a rollback journal");
    Ok(())
}

#[test]
fn a_damaged_or_foreign_index_is_made_anew() -> Result<()> {
    for damage in [
        "PRAGMA writable_schema = ON; DELETE FROM sqlite_master WHERE name = 'turns'",
        "DROP TABLE tasks",
        "DELETE FROM words_data WHERE id > 10",
        "DELETE FROM words_config",
        "PRAGMA user_version = 2",
        "CREATE TRIGGER foreign_one AFTER INSERT ON turns BEGIN DELETE FROM tasks; END",
    ] {
        for is_search in [true, false] {
            let scene = Scene::new()?;
            let path = scene.folder.path().join("store.db.search");
            scene.say("t", &["needle"])?;
            scene.index.update()?;
            execute(&path, damage)?;
            if !is_search {
                scene.say("t", &["needle"])?;
                scene.index.update()?;
            }
            let hits = scene.index.search(&turnkeep_search::Query::new("needle"))?;
            assert_eq!(hits.len(), if is_search { 1 } else { 2 }, "{damage}");
        }
    }
    Ok(())
}

#[test]
fn a_truncated_or_overwritten_index_is_made_anew() -> Result<()> {
    for damage in [
        |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2),
        |bytes: &mut Vec<u8>| bytes[4_096..].fill(0x55),
        |bytes: &mut Vec<u8>| bytes[100..4_096].fill(0xff),
    ] {
        let scene = Scene::new()?;
        let path = scene.folder.path().join("store.db.search");
        scene.say("t", &["needle"; 300])?;
        scene.index.update()?;
        let mut bytes = fs::read(&path)?;
        damage(&mut bytes);
        fs::write(&path, &bytes)?;
        scene.say("u", &["needle"])?;
        scene.index.update()?;
        assert_eq!(
            scene
                .hits(turnkeep_search::Query::new("needle").limit(400))?
                .len(),
            301
        );
    }
    Ok(())
}

#[test]
fn a_deleted_index_is_made_anew() -> Result<()> {
    let scene = Scene::new()?;
    let path = scene.folder.path().join("store.db.search");
    scene.say("t", &["needle"])?;
    assert_eq!(scene.places("needle")?, ["t:1"]);
    fs::remove_file(&path)?;
    assert_eq!(
        scene
            .index
            .search(&turnkeep_search::Query::new("needle"))?
            .len(),
        1
    );
    fs::remove_file(&path)?;
    assert_eq!(scene.index.update()?.added_turns, 1);
    fs::write(&path, "")?;
    assert_eq!(
        scene.index.update()?.added_turns,
        1,
        "an empty file is a new index"
    );
    Ok(())
}

#[test]
fn only_an_index_is_deleted() -> Result<()> {
    let scene = Scene::new()?;
    let path = scene.folder.path().join("store.db.search");
    scene.say("t", &["needle"])?;
    assert_eq!(scene.places("needle")?, ["t:1"]);
    scene.index.delete()?;
    scene.index.delete()?;
    assert!(!path.exists());
    assert_eq!(scene.places("needle")?, ["t:1"]);
    fs::write(&path, "mine")?;
    let error = scene.index.delete().unwrap_err();
    assert!(matches!(error, Error::NotAnIndex { .. }), "{error:?}");
    assert_eq!(fs::read(&path)?, b"mine");
    Ok(())
}

#[test]
fn a_locked_index_is_busy() -> Result<()> {
    let scene = Scene::new()?;
    scene.say("t", &["needle"])?;
    let path = scene.folder.path().join("store.db.search");
    let mut other = SqliteConnection::establish(path.to_str().unwrap_or_default())?;
    other.batch_execute("BEGIN EXCLUSIVE")?;
    let error = scene.index.update().unwrap_err();
    assert!(
        matches!(error, Error::Busy { .. }) && error.is_retryable(),
        "{error:?}"
    );
    other.batch_execute("ROLLBACK")?;
    assert_eq!(scene.places("needle")?, ["t:1"]);
    Ok(())
}

#[test]
fn an_update_without_a_change_and_a_search_wait_for_no_writer() -> Result<()> {
    let scene = Scene::new()?;
    scene.say("t", &["needle"])?;
    scene.index.update()?;
    let path = scene.folder.path().join("store.db.search");
    let mut other = SqliteConnection::establish(path.to_str().unwrap_or_default())?;
    other.batch_execute("BEGIN IMMEDIATE")?;
    assert_eq!(scene.places("needle")?, ["t:1"]);
    Ok(())
}

#[test]
fn any_path_is_a_path() -> Result<()> {
    let scene = Scene::new()?;
    scene.say("t", &["needle"])?;
    for name in ["what?mode=memory#x%41 y", "ü ß", "file:x"] {
        let path = scene.folder.path().join(name);
        let index = Index::open(&scene.repo, &path)?;
        assert_eq!(index.update()?.added_turns, 1);
        assert!(path.is_file());
    }
    Ok(())
}
