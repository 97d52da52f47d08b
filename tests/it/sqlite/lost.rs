//! A file, or its log, that is deleted, moved or replaced while it is open.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use turnkeep_repo::{ErrorKind, Repo, Role};

use super::{Opened, TempStore};
use crate::support::*;

/// What this file and its log hold, a turn of a task `t` each.
fn turns_in(path: &Path) -> anyhow::Result<Vec<String>> {
    contents(&Opened::open_at(path)?, &"t".parse()?)
}

fn with_log(path: &Path) -> [PathBuf; 2] {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    [path.into(), log.into()]
}

/// The contents that another process reads, after this process can no longer open the file.
fn turns_in_copy(store: &TempStore) -> anyhow::Result<Vec<String>> {
    let copy = store.folder().join("copy.db");
    for (from, to) in with_log(&store.path()).iter().zip(with_log(&copy)) {
        fs::copy(from, to)?;
    }
    turns_in(&copy)
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    for (from, to) in with_log(from).iter().zip(with_log(to)) {
        if from.exists() {
            fs::rename(from, to)?;
        }
    }
    Ok(())
}

#[track_caller]
fn is_lost<T>(result: turnkeep_repo::Result<T>, reason: &str) {
    is_lost_file(result, "store.db", reason);
}

#[track_caller]
fn is_lost_file<T>(result: turnkeep_repo::Result<T>, name: &str, reason: &str) {
    let Err(error) = result else {
        panic!("nothing can be acknowledged");
    };
    assert!(
        matches!(error.kind(), ErrorKind::FileLost { .. }),
        "{error:?}"
    );
    assert!(!error.is_retryable());
    let end = format!("{name} is not the file that was opened, {reason}");
    assert!(error.to_string().ends_with(&end), "{error}");
}

const GONE: &str = "it was deleted or moved";
const ANOTHER: &str = "another file is in its place";

#[test]
fn a_deleted_file_takes_no_more() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_message(&task, Role::User, "1")?;
    for file in with_log(&store.path()) {
        fs::remove_file(file)?;
    }
    is_lost(repo.save_message(&task, Role::User, "2"), GONE);
    is_lost(repo.save_task(&repo_task("u")?), GONE);
    // A handle that has written, and would have to connect to read.
    is_lost(repo.get_history(&task), GONE);
    drop(repo);
    assert!(!store.path().exists(), "nothing is made in its place");
    Ok(())
}

fn repo_task(id: &str) -> anyhow::Result<turnkeep_repo::NewTask> {
    Ok(turnkeep_repo::NewTask::new(id.parse()?, id))
}

#[test]
fn a_moved_file_takes_no_more_until_it_is_back() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_message(&task, Role::User, "1")?;
    let elsewhere = store.folder().join("elsewhere.db");
    rename(&store.path(), &elsewhere)?;
    is_lost(repo.save_message(&task, Role::User, "lost"), GONE);
    rename(&elsewhere, &store.path())?;
    assert_eq!(repo.save_message(&task, Role::User, "2")?, 2);
    rename(&store.path(), &elsewhere)?;
    is_lost(repo.save_message(&task, Role::User, "lost"), GONE);
    drop(repo);
    assert_eq!(turns_in(&elsewhere)?, ["1", "2"], "what was acknowledged");
    assert!(!store.path().exists());
    Ok(())
}

/// A restored copy, put in the place of a store that is open: nothing is written to either, and the
/// store that goes does not take the log of the one that came.
#[test]
fn a_replaced_file_takes_no_more_and_the_new_one_is_unharmed() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (old, task) = open_with_task(&store, "t")?;
    old.save_message(&task, Role::User, "old")?;
    let elsewhere = store.folder().join("elsewhere.db");
    rename(&store.path(), &elsewhere)?;

    let (new, _) = open_with_task(&store, "t")?;
    new.save_message(&task, Role::User, "new 1")?;
    is_lost(old.save_message(&task, Role::User, "lost"), ANOTHER);
    is_lost(old.delete_task(&task), ANOTHER);
    new.save_message(&task, Role::User, "new 2")?;
    drop(old);
    assert_eq!(new.save_message(&task, Role::User, "new 3")?, 3);
    assert_eq!(contents(&new, &task)?, ["new 1", "new 2", "new 3"]);
    drop(new);
    assert_eq!(turns_in(&store.path())?, ["new 1", "new 2", "new 3"]);
    assert_eq!(turns_in(&elsewhere)?, ["old"]);
    Ok(())
}

/// The way in which most tools rewrite a file.
#[test]
fn a_copy_renamed_over_the_file_is_another_file() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let copy = store.folder().join("copy");
    fs::copy(store.path(), &copy)?;
    fs::rename(&copy, store.path())?;
    is_lost(repo.save_message(&task, Role::User, "lost"), ANOTHER);
    Ok(())
}

#[test]
fn a_moved_folder_takes_its_store_along() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (folder, moved) = (store.folder().join("a"), store.folder().join("b"));
    let path = folder.join("store.db");
    let repo = Opened::open_at(&path)?;
    let task = save_task(&repo, "t")?;
    repo.save_message(&task, Role::User, "1")?;
    fs::rename(&folder, &moved)?;
    is_lost(repo.save_message(&task, Role::User, "lost"), GONE);
    drop(repo);
    assert_eq!(turns_in(&moved.join("store.db"))?, ["1"]);
    Ok(())
}

/// A name that leads elsewhere now is no reason: the file was looked up when it was opened.
#[test]
#[cfg(unix)]
fn a_link_that_changes_is_not_the_file() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    drop(open_with_task(&store, "t")?);
    let link = store.folder().join("link.db");
    std::os::unix::fs::symlink(store.path(), &link)?;
    let repo = Opened::open_at(&link)?;
    fs::remove_file(&link)?;
    assert_eq!(repo.save_message(&"t".parse()?, Role::User, "1")?, 1);
    Ok(())
}

/// The log and its shared memory.
const LOG: [&str; 2] = ["store.db-wal", "store.db-shm"];

/// Taken for rubbish and deleted, say. Another process would make a new one, and neither would see what
/// the other writes.
#[test]
fn a_file_whose_log_was_deleted_takes_no_more() -> anyhow::Result<()> {
    for name in LOG {
        let store = TempStore::new()?;
        let (repo, task) = open_with_task(&store, "t")?;
        repo.save_message(&task, Role::User, "1")?;
        assert_eq!(contents(&repo, &task)?, ["1"]);
        fs::remove_file(store.folder().join(name))?;
        is_lost_file(repo.save_message(&task, Role::User, "lost"), name, GONE);
        is_lost_file(repo.delete_task(&task), name, GONE);
        assert_eq!(contents(&repo, &task)?, ["1"], "what was acknowledged");
        drop(repo);
        // SQLite has moved the log that it had open into the file.
        assert_eq!(turns_in(&store.path())?, ["1"]);
    }
    Ok(())
}

/// Nobody makes a new log beside the one that is open.
#[test]
fn a_file_whose_log_was_deleted_is_opened_no_further() -> anyhow::Result<()> {
    for name in LOG {
        let store = TempStore::new()?;
        let (repo, task) = open_with_task(&store, "t")?;
        repo.save_message(&task, Role::User, "1")?;
        fs::remove_file(store.folder().join(name))?;
        // A handle that has written, and would have to connect to read.
        is_lost_file(repo.get_history(&task), name, GONE);
        is_lost_file(Opened::open_at(store.path()), name, GONE);
        assert!(!store.folder().join(name).exists());
        drop(repo);
        assert_eq!(turns_in(&store.path())?, ["1"]);
    }
    Ok(())
}

/// Another process, which knows nothing of the log that is open here.
#[test]
fn nobody_writes_to_a_new_log_beside_the_one_that_is_open() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    drop(open_with_task(&store, "t")?);
    let repo = store.open()?;
    let task = "t".parse()?;
    repo.save_message(&task, Role::User, "1")?;
    fs::remove_file(store.folder().join("store.db-wal"))?;
    let other = store.worker().args(["append", "t", "w", "1"]).output()?;
    let error = String::from_utf8(other.stderr)?;
    let reason = "it was deleted while another process had it open";
    let end = format!("store.db-wal is not the file that was opened, {reason}");
    assert!(error.contains(&end), "{error}");
    assert_eq!(other.stdout, b"");
    drop(repo);
    assert_eq!(turns_in(&store.path())?, ["1"]);
    Ok(())
}

/// Where the whole log was deleted, another process can't know that there was one. What that is told
/// to be stored stays, also when the process that has the deleted log goes after it.
#[test]
fn a_new_log_is_left_to_those_who_made_it() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    drop(open_with_task(&store, "t")?);
    let repo = store.open()?;
    let task = "t".parse()?;
    // So much that the first page of the file is in the log as well.
    repo.save_message(&task, Role::User, &"1".repeat(100_000))?;
    for name in LOG {
        fs::remove_file(store.folder().join(name))?;
    }
    let said = Worker::start(&store, &["append", "t", "w", "2"])?.finish()?;
    assert_eq!(said, ["ack 1 w-1", "ack 2 w-2"]);
    let name = "store.db-wal";
    is_lost_file(repo.save_message(&task, Role::User, "lost"), name, ANOTHER);
    is_lost_file(Opened::open_at(store.path()), name, ANOTHER);
    is_lost_file(
        turnkeep_admin::check_unopened(Repo::builder(store.path())),
        name,
        ANOTHER,
    );
    drop(repo);
    is_lost_file(Opened::open_at(store.path()), name, ANOTHER);
    assert_eq!(turns_in_copy(&store)?, ["w-1", "w-2"]);
    Ok(())
}

/// With new shared memory others go on with the log as it is, and know nothing of who has the old one.
#[test]
fn what_others_add_to_a_log_with_new_shared_memory_stays() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_message(&task, Role::User, "1")?;
    fs::remove_file(store.folder().join("store.db-shm"))?;
    let said = Worker::start(&store, &["append", "t", "w", "2"])?.finish()?;
    assert_eq!(said, ["ack 2 w-1", "ack 3 w-2"]);
    let name = "store.db-shm";
    is_lost_file(repo.save_message(&task, Role::User, "lost"), name, ANOTHER);
    drop(repo);
    assert_eq!(turns_in_copy(&store)?, ["1", "w-1", "w-2"]);
    Ok(())
}

/// The files are asked at first, later only the folder.
#[test]
fn a_log_that_is_deleted_later_is_noticed_as_well() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    while fs::metadata(store.folder())?.modified()?.elapsed()? < Duration::from_millis(200) {
        repo.save_message(&task, Role::User, "1")?;
    }
    repo.save_message(&task, Role::User, "2")?;
    fs::remove_file(store.folder().join("store.db-wal"))?;
    is_lost_file(
        repo.save_message(&task, Role::User, "lost"),
        "store.db-wal",
        GONE,
    );
    Ok(())
}

#[test]
fn a_file_whose_log_was_moved_takes_no_more_until_it_is_back() -> anyhow::Result<()> {
    for name in LOG {
        let store = TempStore::new()?;
        let (repo, task) = open_with_task(&store, "t")?;
        repo.save_message(&task, Role::User, "1")?;
        let (place, elsewhere) = (store.folder().join(name), store.folder().join("elsewhere"));
        fs::rename(&place, &elsewhere)?;
        is_lost_file(repo.save_message(&task, Role::User, "lost"), name, GONE);
        fs::write(&place, "")?;
        is_lost_file(repo.save_message(&task, Role::User, "lost"), name, ANOTHER);
        fs::rename(&elsewhere, &place)?;
        assert_eq!(repo.save_message(&task, Role::User, "2")?, 2);
        drop(repo);
        assert_eq!(turns_in(&store.path())?, ["1", "2"]);
    }
    Ok(())
}
