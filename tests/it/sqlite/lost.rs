//! A file that is deleted, moved or replaced while it is open.

use std::fs;
use std::path::{Path, PathBuf};

use turnkeep_repo::{Error, Role};

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
    let Err(error) = result else {
        panic!("nothing can be acknowledged");
    };
    assert!(matches!(error, Error::FileLost { .. }), "{error:?}");
    assert!(!error.is_retryable());
    let end = format!("store.db is not the file that was opened, {reason}");
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

/// What most tools do that write a file anew.
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
