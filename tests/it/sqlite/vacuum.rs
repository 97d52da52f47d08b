//! Remains of deleted tasks in the files.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use turnkeep_admin::Prune;
use turnkeep_repo::{
    BackendType, ErrorKind, HistoryPage, MessageKey, NewMessage, NewTask, Repo, Role, SessionId,
    StatusUpdate, TaskId, TaskStatus,
};

use crate::copy::scene::{name, noise};
use crate::support::{Harness as _, binding, open_with_task, save_task};

type TempStore = super::temp_store::TempStore<Repo>;

/// A text that no file may contain, from any column but the ids of the task and its sessions: these stay, so that no
/// import brings them back.
const SECRET: &[u8] = b"sEcReT";

fn files(store: &TempStore) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.folder()).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The files that have the secret, by the ends of their names.
fn found(store: &TempStore) -> Vec<String> {
    let has_secret = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        bytes.windows(SECRET.len()).any(|bytes| bytes == SECRET)
    };
    let mut found: Vec<_> = files(store)
        .into_iter()
        .filter(has_secret)
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    found.sort_unstable();
    found
}

/// Tasks that grow side by side, so that rows move from page to page, and are changed again and again.
fn scene(repo: &Repo) -> anyhow::Result<TaskId> {
    let task = TaskId::new("removed")?;
    let kept = save_task(repo, "kept")?;
    for number in 0..60 {
        for (task, text) in [(&task, "sEcReT"), (&kept, "harmless")] {
            let long = text.repeat(1 + number * 40 % 900);
            repo.save_task(&NewTask::new(task.clone(), text).prompt(&*long))?;
            repo.update_task_status(task, StatusUpdate::completed(&*long))?;
            let key = MessageKey::new(format!("{text} {number}"))?;
            repo.save_messages(task, &[NewMessage::new(Role::User, long).key(key)])?;
            let id = format!("{task} {number}");
            repo.save_session(task, &binding(BackendType::Claude, &id, Some(text))?)?;
            repo.retire_session(task, &SessionId::new(id)?, text)?;
        }
    }
    repo.save_task(&NewTask::new(task.clone(), "no longer").prompt(""))?;
    Ok(task)
}

#[test]
fn nothing_readable_is_left_of_a_task_that_is_deleted_securely() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let repo = store.open()?;
    let task = scene(&repo)?;
    assert!(!found(&store).is_empty(), "this test finds what there is");
    // An ordinary delete leaves the text in the file.
    repo.delete_task(&task)?;
    assert!(!found(&store).is_empty());

    // The task is gone already, and is erased all the same.
    assert!(!repo.delete_task_securely(&task)?);
    assert_eq!(found(&store), [""; 0]);
    let task = scene(&repo)?;
    assert!(repo.delete_task_securely(&task)?);
    assert_eq!(found(&store), [""; 0]);
    assert_eq!(fs::metadata(store.folder().join("store.db-wal"))?.len(), 0);
    let kept = TaskId::new("kept")?;
    assert_eq!(repo.count_history(&kept)?, 60);
    assert_eq!(repo.list_session_revisions(&kept)?.len(), 120);
    drop(repo);
    assert_eq!(found(&store), [""; 0]);
    assert_eq!(store.open()?.count_history(&kept)?, 60);
    Ok(())
}

#[test]
fn a_reader_that_goes_on_is_told() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let repo = Repo::builder(store.path())
        .timeout(Duration::from_millis(200))
        .open()?;
    let task = scene(&repo)?;
    let mut reader = store.raw()?;
    diesel::connection::SimpleConnection::batch_execute(
        &mut reader,
        "BEGIN; SELECT count(*) FROM tasks",
    )?;
    let error = repo.delete_task_securely(&task).unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let shown = "delete_task_securely: the log with what is left of task `removed` was kept busy by \
                 others for 200ms";
    assert_eq!(error.to_string(), shown);
    assert!(!found(&store).is_empty(), "that is what the error says");
    // It can be used as before, and called again when the reader is done.
    repo.save_message(&TaskId::new("kept")?, Role::User, "more")?;
    diesel::connection::SimpleConnection::batch_execute(&mut reader, "COMMIT")?;
    assert!(!repo.delete_task_securely(&task)?);
    assert_eq!(found(&store), [""; 0]);
    Ok(())
}

#[test]
fn a_writer_that_goes_on_is_waited_for_and_told() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let repo = Repo::builder(store.path())
        .timeout(Duration::from_millis(200))
        .open()?;
    let task = save_task(&repo, "t")?;
    let mut writer = store.raw()?;
    diesel::connection::SimpleConnection::batch_execute(&mut writer, "BEGIN IMMEDIATE")?;
    let error = repo.vacuum().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
    assert_eq!(error.operation(), "vacuum");
    let error = repo.delete_task_securely(&task).unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(repo.get_task(&task).is_ok(), "nothing was deleted");
    diesel::connection::SimpleConnection::batch_execute(&mut writer, "COMMIT")?;
    assert!(repo.delete_task_securely(&task)?);
    Ok(())
}

/// A hundred tasks that are over, of 20,000 bytes each.
fn fill(repo: &Repo, first: u32) -> anyhow::Result<()> {
    for number in first..first + 100 {
        let task = TaskId::new(number.to_string())?;
        repo.save_task(&NewTask::new(task.clone(), "T").status(TaskStatus::Completed))?;
        repo.save_message(&task, Role::User, &"x".repeat(20_000))?;
    }
    Ok(())
}

#[test]
fn the_space_of_deleted_tasks_is_used_again_or_given_back() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let repo = store.open()?;
    fill(&repo, 0)?;
    let before = turnkeep_admin::usage(&repo)?.disk_bytes;
    assert!(before > 2_000_000, "{before}");
    let report = turnkeep_admin::prune(&repo, &Prune::new().keep_bytes(500_000))?;
    assert_eq!(report.tasks.len(), 76);
    let usage = turnkeep_admin::usage(&repo)?;
    assert_eq!(usage.disk_bytes, before, "it is free in the file");
    assert!(usage.free_bytes > Some(1_500_000), "{usage:?}");

    // What is there by size is what the texts take, however large the file is.
    let again = turnkeep_admin::prune(&repo, &Prune::new().keep_bytes(500_000))?;
    assert!(again.tasks.is_empty(), "{again:?}");
    fill(&repo, 100)?;
    let grown = turnkeep_admin::usage(&repo)?.disk_bytes;
    assert!(grown < before + 600_000, "{grown}");

    turnkeep_admin::prune(&repo, &Prune::new().keep_bytes(500_000))?;
    repo.vacuum()?;
    let usage = turnkeep_admin::usage(&repo)?;
    assert!(usage.disk_bytes < 700_000, "{usage:?}");
    assert_eq!(usage.free_bytes, Some(0));
    assert_eq!(usage.disk_bytes, fs::metadata(store.path())?.len());
    assert!(turnkeep_admin::check(&repo)?.is_ok());
    let page = HistoryPage::new(1);
    assert_eq!(repo.get_history_page(&TaskId::new("199")?, page)?.len(), 1);
    Ok(())
}

#[test]
fn in_memory_there_is_nothing_to_erase() -> anyhow::Result<()> {
    let repo = Repo::open_in_memory()?;
    let task = save_task(&repo, "t")?;
    assert!(repo.delete_task_securely(&task)?);
    repo.vacuum()?;
    Ok(())
}

#[test]
fn a_file_whose_log_was_deleted_is_not_written_anew() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let log = store.folder().join("store.db-wal");
    fs::remove_file(&log)?;
    for result in [repo.vacuum(), repo.delete_task_securely(&task).map(drop)] {
        let error = result.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::FileLost { .. }),
            "{error:?}"
        );
    }
    Ok(())
}

/// Neither its bytes nor their frame of zstd. Bytes that can't be compressed stand in it as they are.
#[test]
fn no_byte_of_a_recording_is_left_of_a_task_that_is_deleted_securely() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let file = noise(1, 2 * 1024 * 1024);
    let name = name("secret.bin");
    repo.save_recording(&task, &name, 0, &file[..1_500_000])?;
    repo.save_recording(&task, &name, 1_500_000, &file[1_500_000..])?;
    repo.save_recording(&task, &name, 0, &file[1..])?;
    // In pieces, because a page ends anywhere.
    let is_there = || -> anyhow::Result<bool> {
        let mut all = fs::read(store.path())?;
        all.extend(fs::read(store.folder().join("store.db-wal")).unwrap_or_default());
        let pieces: HashSet<&[u8]> = file.windows(32).step_by(1_000).collect();
        Ok(all.windows(32).any(|bytes| pieces.contains(bytes)))
    };
    assert!(is_there()?);
    assert!(repo.delete_task_securely(&task)?);
    assert!(!is_there()?);
    drop(repo);
    assert!(!is_there()?);
    Ok(())
}
