//! Several writes in one transaction of the caller.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use turnkeep_repo::chrono::Utc;
use turnkeep_repo::{
    BackendType, Error, ErrorKind, HistoryPage, MessageKey, NewMessage, NewTask, Result, Role, Seq,
    StatusUpdate, TaskId, TaskStatus, Transaction, WorkerId,
};

use crate::scene::{binding, contents, open_with_task, place, save_task};
use crate::{Harness, Options, Store};

/// Short, so that a rule can wait for it.
const TIMEOUT: Duration = Duration::from_millis(300);

/// A checkpoint stores messages, binding, status and the next task together.
pub fn a_checkpoint_is_one_transaction<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let before = repo.repo().stats();
    let session = binding(BackendType::Claude, "s", Some("/work"))?;
    let id = task.clone();
    let seqs = repo.transaction(move |tx| {
        let messages = ["Is it done?", "Yes."].map(|text| NewMessage::new(Role::User, text));
        let seqs = tx.save_messages(&id, &messages)?;
        tx.save_session(&id, &session)?;
        tx.update_task_status(&id, StatusUpdate::completed("done"))?;
        let next = NewTask::new(TaskId::new("next")?, "Next").depends_on([id]);
        tx.save_task(&next)?;
        Ok::<_, Error>(seqs)
    })?;
    assert_eq!(seqs, [1, 2]);
    assert_eq!(contents(&repo, &task)?, ["Is it done?", "Yes."]);
    assert_eq!(repo.get_session(&task)?.session_id.as_str(), "s");
    assert_eq!(repo.get_task(&task)?.status, TaskStatus::Completed);
    assert_eq!(repo.ready_tasks()?[0].id.as_str(), "next");
    let after = repo.repo().stats();
    assert_eq!(after.batches - before.batches, 1, "one commit");
    assert_eq!(after.writes - before.writes, 1);
    Ok(())
}

/// The error of a host.
#[derive(Debug)]
enum HostError {
    Store(Error),
    Stopped(&'static str),
}

impl From<Error> for HostError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Writes a turn, a binding and a task.
fn write_all(tx: &Transaction<'_>, task: &TaskId) -> anyhow::Result<()> {
    tx.save_message(task, Role::User, "lost")?;
    tx.save_session(task, &binding(BackendType::Codex, "lost", None)?)?;
    tx.save_task(&NewTask::new(TaskId::new("lost")?, "Lost"))?;
    Ok(())
}

/// An error of the closure, of its own type, rolls back and is returned. A panic rolls back and goes on.
pub fn an_error_or_a_panic_rolls_back<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let id = task.clone();
    let stopped: Result<(), HostError> = repo.transaction(move |tx| {
        write_all(tx, &id).unwrap();
        Err(HostError::Stopped("by its user"))
    });
    assert!(matches!(stopped, Err(HostError::Stopped("by its user"))));

    let id = task.clone();
    let refused: Result<(), HostError> = repo.transaction(move |tx| {
        write_all(tx, &id).unwrap();
        tx.save_message(&TaskId::new("none").unwrap(), Role::User, "x")?;
        Ok(())
    });
    let Err(HostError::Store(error)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(*error.kind(), ErrorKind::TaskNotFound);
    assert_eq!(error.operation(), "save_message");

    let id = task.clone();
    let panicking = AssertUnwindSafe(|| {
        repo.transaction(move |tx| -> Result<()> {
            write_all(tx, &id).unwrap();
            panic!("in the middle");
        })
    });
    let panic = catch_unwind(panicking).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"in the middle"));

    assert_eq!(repo.get_tasks()?.len(), 1);
    assert!(repo.find_session(&task)?.is_none());
    assert_eq!(repo.save_message(&task, Role::User, "stored")?, 1);
    assert_eq!(contents(&repo, &task)?, ["stored"]);
    Ok(())
}

/// The reads of a transaction see its writes. Other readers see them after the commit.
pub fn a_transaction_sees_its_own_writes<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let other = store.open()?;
    let id = task.clone();
    repo.transaction(move |tx| -> anyhow::Result<()> {
        assert_eq!(tx.count_history(&id)?, 0);
        tx.save_messages_after(
            &id,
            None,
            &["a", "b"].map(|it| NewMessage::new(Role::User, it)),
        )?;
        tx.save_session(&id, &binding(BackendType::Goose, "s", None)?)?;
        let next = TaskId::new("u")?;
        tx.save_task(&NewTask::new(next.clone(), "U").depends_on([id.clone()]))?;
        assert!(tx.claim_task(&id)?);

        assert_eq!(tx.count_history(&id)?, 2);
        assert_eq!(tx.get_history(&id)?.len(), 2);
        assert_eq!(tx.get_history_last(&id, 1)?[0].content, "b");
        let page = HistoryPage::new(1);
        assert_eq!(tx.get_history_page(&id, page)?[0].content, "a");
        assert_eq!(tx.get_session(&id)?.session_id.as_str(), "s");
        assert!(tx.find_session(&next)?.is_none());
        let other_backend = tx.get_session_for_backend(&id, &BackendType::Codex);
        assert!(matches!(
            other_backend.unwrap_err().kind(),
            ErrorKind::BackendMismatch { .. }
        ));
        assert_eq!(tx.list_sessions()?.len(), 1);
        assert_eq!(tx.list_session_revisions(&id)?.len(), 1);
        assert_eq!(tx.get_task(&id)?.status, TaskStatus::Running);
        assert_eq!(tx.get_tasks()?.len(), 2);
        assert!(tx.ready_tasks()?.is_empty());
        assert_eq!(tx.requeue_running()?, std::slice::from_ref(&id));
        assert!(tx.retire_session(&id, &"s".parse()?, "over")?);
        assert!(tx.delete_task(&next)?);
        let missing = tx.get_task(&next).unwrap_err();
        assert_eq!(missing.to_string(), "get_task: there is no task `u`");

        assert_eq!(other.count_history(&id)?, 0, "not committed");
        Ok(())
    })?;
    assert_eq!(contents(&repo, &task)?, ["a", "b"]);
    Ok(())
}

/// A refused method leaves nothing of itself, and the transaction goes on.
pub fn a_refused_method_is_undone_alone<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let keyed = |text| -> anyhow::Result<_> {
        Ok(NewMessage::new(Role::User, text).key(MessageKey::new("k")?))
    };
    repo.save_messages(&task, &[keyed("first")?])?;
    let id = task.clone();
    let conflicting = [NewMessage::new(Role::User, "undone"), keyed("second")?];
    repo.transaction(move |tx| -> anyhow::Result<()> {
        tx.save_message(&id, Role::User, "before")?;
        let conflict = tx.save_messages(&id, &conflicting).unwrap_err();
        assert!(matches!(
            conflict.kind(),
            ErrorKind::KeyConflict { seq, .. } if *seq == 1
        ));

        let none = TaskId::new("none")?;
        let unknown = tx.save_message(&none, Role::User, "x").unwrap_err();
        assert_eq!(*unknown.kind(), ErrorKind::TaskNotFound);

        let dependent = NewTask::new(TaskId::new("u")?, "U").depends_on([none]);
        let missing = tx.save_task(&dependent).unwrap_err();
        assert!(matches!(
            missing.kind(),
            ErrorKind::DependencyNotFound { .. }
        ));
        assert!(tx.get_task(&dependent.id).is_err(), "the task is undone");

        let late = tx.save_messages_after(&id, place(1), &[]).unwrap_err();
        assert!(matches!(
            late.kind(),
            ErrorKind::SeqConflict { actual, .. } if *actual == place(2)
        ));
        let too_long = "x".repeat(turnkeep_repo::MAX_TEXT_BYTES + 1);
        let too_long = tx.save_message(&id, Role::User, &too_long).unwrap_err();
        assert!(matches!(too_long.kind(), ErrorKind::InvalidInput { .. }));
        assert_eq!(tx.save_message(&id, Role::User, "after")?, 3);
        Ok(())
    })?;
    assert_eq!(contents(&repo, &task)?, ["first", "before", "after"]);
    assert_eq!(repo.get_tasks()?.len(), 1);
    Ok(())
}

/// A transaction's turns get consecutive seqs beside the appends of other handles.
pub fn seqs_stay_right_beside_other_writers<H: Harness>() -> anyhow::Result<()> {
    const EACH: usize = 20;
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let other = store.open()?;
    thread::scope(|scope| {
        for writer in [&repo, &other, &repo] {
            scope.spawn(|| {
                for _ in 0..EACH {
                    writer.save_message(&task, Role::User, "alone").unwrap();
                }
            });
        }
        for writer in [&repo, &other] {
            let id = &task;
            scope.spawn(move || {
                for _ in 0..EACH {
                    let id = id.clone();
                    let append = move |tx: &Transaction<'_>| -> Result<_> {
                        let first = tx.save_message(&id, Role::User, "one")?;
                        Ok((first, tx.save_message(&id, Role::User, "two")?))
                    };
                    let (first, second) = writer.transaction(append).unwrap();
                    assert_eq!(second, first.get() + 1);
                }
            });
        }
    });
    let stored = contents(&repo, &task)?;
    assert_eq!(stored.len(), 7 * EACH);
    let follow = stored.windows(2).filter(|it| it[0] == "one");
    assert!(follow.clone().all(|it| it[1] == "two"));
    assert_eq!(follow.count(), 2 * EACH);
    Ok(())
}

/// Transactions that read a value and write by it do not lose an update.
pub fn transactions_on_one_task_are_serial<H: Harness>() -> anyhow::Result<()> {
    const EACH: usize = 10;
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    thread::scope(|scope| {
        for writer in 0..4 {
            let (repo, task) = (&repo, &task);
            scope.spawn(move || {
                for _ in 0..EACH {
                    let id = task.clone();
                    let count = move |tx: &Transaction<'_>| -> Result<()> {
                        tx.update_task_status(&id, TaskStatus::Running)?;
                        let count = tx.count_history(&id)?;
                        let text = format!("{} by {writer}", count + 1);
                        assert_eq!(tx.save_message(&id, Role::User, &text)?, count + 1);
                        Ok(())
                    };
                    repo.transaction(count).unwrap();
                }
            });
        }
    });
    assert_eq!(contents(&repo, &task)?.len(), 4 * EACH);
    Ok(())
}

/// A write with an old fence is refused, and one with the fence of the claim is stored.
pub fn a_fence_is_checked_in_a_transaction<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let worker = WorkerId::new("w")?;
    let lease = Duration::from_secs(60);
    let stale = repo.claim_ready(&worker, 1, lease)?.remove(0).fence;
    repo.update_task_status(&task, TaskStatus::Pending)?;
    let fence = repo.claim_ready(&worker, 1, lease)?.remove(0).fence;
    let session = binding(BackendType::Claude, "s", None)?;
    let id = task.clone();
    repo.transaction(move |tx| -> Result<()> {
        let old = tx.as_claimed(&id, stale);
        let one = [NewMessage::new(Role::Assistant, "late")];
        for refused in [
            old.save_message(Role::Assistant, "late").map(drop),
            old.save_messages(&one).map(drop),
            old.save_missing_messages(&one).map(drop),
            old.hide_after(None).map(drop),
            old.save_messages_after(None, &one).map(drop),
            old.save_session(&session).map(drop),
            old.retire_session(&session.session_id, "late").map(drop),
            old.update_task_status(TaskStatus::Failed),
            old.renew(lease).map(drop),
        ] {
            let error = refused.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::LeaseLost { .. }),
                "{error:?}"
            );
        }
        let mine = tx.as_claimed(&id, fence);
        mine.renew(lease)?;
        mine.save_session(&session)?;
        assert_eq!(mine.save_message(Role::Assistant, "done")?, 1);
        mine.update_task_status(TaskStatus::Completed)
    })?;
    assert_eq!(contents(&repo, &task)?, ["done"]);
    assert_eq!(repo.get_task(&task)?.status, TaskStatus::Completed);
    Ok(())
}

/// A write through the store in the closure waits for the transaction, and is busy after the timeout.
pub fn a_write_beside_the_transaction_is_busy<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    drop(open_with_task(&store, "t")?);
    let repo = store.open_with(Options::new().timeout(TIMEOUT))?;
    let task = TaskId::new("t")?;
    let (outer, id) = (repo.clone(), task.clone());
    repo.transaction(move |tx| -> Result<()> {
        tx.save_message(&id, Role::User, "within")?;
        let error = outer.save_message(&id, Role::User, "beside").unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Busy { timeout } if *timeout == TIMEOUT),
            "{error:?}"
        );
        let in_another = outer.clone();
        let other = id.clone();
        let nested: Result<Seq> =
            in_another.transaction(move |tx| tx.save_message(&other, Role::User, "nested"));
        assert!(nested.unwrap_err().is_retryable());
        tx.save_message(&id, Role::User, "and on")?;
        Ok(())
    })?;
    assert_eq!(contents(&repo, &task)?, ["within", "and on"]);
    Ok(())
}

/// Other writers wait for a transaction, and are busy after their timeout.
pub fn others_wait_for_a_transaction<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let hasty = store.open_with(Options::new().timeout(TIMEOUT))?;
    let patient = store.open()?;
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (go, may_go) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let id = task.clone();
        let running = scope.spawn(|| {
            repo.transaction(move |tx| -> Result<Seq> {
                let seq = tx.save_message(&id, Role::User, "within")?;
                begun.send(()).unwrap();
                may_go.recv().unwrap();
                Ok(seq)
            })
        });
        has_begun.recv().unwrap();
        let error = hasty.save_message(&task, Role::User, "x").unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Busy { .. }), "{error:?}");
        let save = |handle: &H::Store| handle.save_message(&task, Role::User, "later");
        let waiting = [&patient, &repo, &repo].map(|handle| scope.spawn(move || save(handle)));
        go.send(()).unwrap();
        assert_eq!(running.join().unwrap().unwrap(), 1);
        for waiting in waiting {
            assert!(waiting.join().unwrap().unwrap() > Seq::MIN);
        }
    });
    assert_eq!(contents(&repo, &task)?.len(), 4);
    Ok(())
}

/// A method that panics ends the transaction, also if the closure catches the panic.
pub fn a_panic_in_a_method_ends_the_transaction<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    drop(open_with_task(&store, "t")?);
    let is_broken = Arc::new(AtomicBool::new(false));
    let clock = Arc::clone(&is_broken);
    let options = Options::new().clock(move || {
        assert!(!clock.load(Ordering::Relaxed), "a broken clock");
        Utc::now()
    });
    let repo = store.open_with(options)?;
    let task = TaskId::new("t")?;
    let id = task.clone();
    let result = repo.transaction(move |tx| -> Result<()> {
        tx.save_message(&id, Role::User, "before")?;
        is_broken.store(true, Ordering::Relaxed);
        let save = AssertUnwindSafe(|| tx.save_message(&id, Role::User, "x"));
        assert!(catch_unwind(save).is_err());
        is_broken.store(false, Ordering::Relaxed);
        assert!(tx.save_message(&id, Role::User, "after").is_err());
        assert!(tx.count_history(&id).is_err());
        Ok(())
    });
    let error = result.unwrap_err();
    assert_eq!(error.operation(), "transaction");
    assert!(!error.may_be_stored(), "{error:?}");
    save_task(&repo, "still writable")?;
    assert!(contents(&repo, &task)?.is_empty());
    Ok(())
}
