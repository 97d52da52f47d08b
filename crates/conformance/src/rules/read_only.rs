//! A store that was opened for reads only.

use std::time::Duration;

use turnkeep_repo::{
    BackendType, Error, ErrorKind, Fence, HostName, ImportedFile, NewMessage, NewTask, Result,
    Role, TaskId, TaskStatus, WorkerId,
};

use crate::scene::{binding, contents, open_with_task, place};
use crate::{Claimed as _, Harness, Options, Store, Worker};

const LEASE: Duration = Duration::from_secs(3_600);

fn open_viewer<H: Harness>(store: &H) -> Result<H::Store> {
    store.open_with(Options::new().read_only())
}

/// Every write fails with `ReadOnly` and its own name, and leaves the store as it was. Reads see the writes of others.
pub fn a_viewer_reads_all_and_writes_nothing<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, id) = open_with_task(&store, "t")?;
    let (worker, session) = (WorkerId::new("w")?, binding(BackendType::Codex, "s", None)?);
    repo.save_message(&id, Role::User, "said")?;
    repo.save_session(&id, &session)?;
    let held = repo.claim(&id, &worker, LEASE)?.unwrap();
    let viewer = open_viewer(&store)?;

    let task = NewTask::new(id.clone(), "Another name");
    let new = NewTask::new(TaskId::new("u")?, "U");
    let message = [NewMessage::new(Role::User, "x")];
    let file = ImportedFile::new(HostName::new("laptop")?, "/f", BackendType::Claude);
    let claim = viewer.get_claim(&id, held.fence)?;
    let claimed = H::Store::fenced(&claim);
    let in_transaction = viewer.transaction(|_| Ok::<_, Error>(()));
    let refused: Vec<(&str, Result<()>)> = vec![
        ("save_task", viewer.save_task(&task)),
        ("save_tasks", viewer.save_tasks(&[task, new])),
        (
            "update_task_status",
            viewer.update_task_status(&id, TaskStatus::Failed),
        ),
        ("claim_task", viewer.claim_task(&id).map(drop)),
        ("requeue_running", viewer.requeue_running().map(drop)),
        (
            "claim_ready",
            viewer.claim_ready(&worker, 1, LEASE).map(drop),
        ),
        ("claim", viewer.claim(&id, &worker, LEASE).map(drop)),
        ("reclaim", viewer.reclaim(&worker, LEASE).map(drop)),
        ("delete_task", viewer.delete_task(&id).map(drop)),
        ("remove_task", viewer.remove_task(&id).map(drop)),
        ("lift_removal", viewer.lift_removal(&id).map(drop)),
        ("save_imported_file", viewer.save_imported_file(&file)),
        ("save_session", viewer.save_session(&id, &session).map(drop)),
        (
            "retire_session",
            viewer
                .retire_session(&id, &session.session_id, "dead")
                .map(drop),
        ),
        (
            "save_message",
            viewer.save_message(&id, Role::User, "x").map(drop),
        ),
        (
            "save_messages",
            viewer.save_messages(&id, &message).map(drop),
        ),
        ("save_messages", viewer.save_messages(&id, &[]).map(drop)),
        (
            "save_missing_messages",
            viewer.save_missing_messages(&id, &message).map(drop),
        ),
        (
            "save_messages_after",
            viewer
                .save_messages_after(&id, place(1), &message)
                .map(drop),
        ),
        (
            "save_recording",
            viewer.save_recording(&id, &"a".parse()?, 0, b"x").map(drop),
        ),
        ("delete_recordings", viewer.delete_recordings(&id).map(drop)),
        ("transaction", in_transaction),
        (
            "save_message",
            claimed.save_message(Role::User, "x").map(drop),
        ),
        (
            "update_task_status",
            claimed.update_task_status(TaskStatus::Completed),
        ),
        ("renew", claimed.renew(LEASE * 2).map(drop)),
        ("release", claimed.release()),
    ];
    for (name, refused) in refused {
        let error = refused.expect_err(name);
        assert!(matches!(error.kind(), ErrorKind::ReadOnly), "{error:?}");
        assert_eq!(error.operation(), name);
        assert!(!error.is_retryable() && !error.may_be_stored());
    }

    assert!(!claimed.lost()?);
    assert_eq!(viewer.get_task(&id)?, held.task);
    assert_eq!(viewer.get_tasks()?, repo.get_tasks()?);
    assert_eq!(viewer.list_sessions()?, [repo.get_session(&id)?]);
    assert_eq!(viewer.list_session_revisions(&id)?.len(), 1);
    assert_eq!(viewer.progress()?, repo.progress()?);
    repo.save_recording(&id, &"a".parse()?, 0, b"line")?;
    let number = viewer.get_recordings(&id)?[0].number;
    assert_eq!(viewer.read_recording(&id, number, 0)?, b"line");
    assert_eq!(contents(&viewer, &id)?, ["said"]);
    assert_eq!(viewer.get_task(&id)?.fence, Fence::MIN.get() + 1);
    repo.save_message(&id, Role::Assistant, "answered")?;
    assert_eq!(contents(&viewer, &id)?, ["said", "answered"]);
    Ok(())
}

/// A viewer gets the turns of another handle and of another process as they come.
pub fn a_viewer_follows_writers<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let mut next = open_viewer(&store)?.follow(&task, None);
    repo.save_message(&task, Role::User, "here")?;
    assert_eq!(next()?.content, "here");
    let writer = Worker::start(&store, &["append", "t", "w", "2"])?;
    assert_eq!([next()?.content, next()?.content], ["w-1", "w-2"]);
    writer.finish()?;
    Ok(())
}

/// A viewer makes no store, whatever else the options say.
pub fn a_viewer_makes_no_store<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    for _ in 0..2 {
        let error = store
            .open_with(Options::new().read_only().create_if_missing(true))
            .unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::StoreNotFound),
            "{error:?}"
        );
    }
    let (repo, task) = open_with_task(&store, "t")?;
    drop(repo);
    // Every other handle is closed.
    let viewer = open_viewer(&store)?;
    assert_eq!(viewer.get_tasks()?.len(), 1);
    // A writer that comes later.
    store.open()?.save_message(&task, Role::User, "late")?;
    assert_eq!(contents(&viewer, &task)?, ["late"]);
    Ok(())
}
