//! Isolation of tasks whose random ids look like patterns, like SQL and like each other.

use std::collections::BTreeSet;

use anyhow::anyhow;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use turnkeep_repo::{
    BackendType, Durability, ErrorKind, HistoryPage, MessageKey, NewMessage, NewTask, Role,
    SessionId, TaskId,
};

use crate::scene::binding;
use crate::{Harness, Options, Store};

/// Reads by a task id return only rows of that task, and deleting a task deletes only its rows.
pub fn tasks_are_isolated<H: Harness>() -> anyhow::Result<()> {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 48,
        // Print failing cases instead of writing them into the source tree.
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let store = H::new()?;
    let options = Options::new().durability(Durability::Normal);
    let repo = store.open_with(options)?;
    let result = runner.run(&(crowd(), crowd()), |(stored, mut missing)| {
        missing.retain(|id| !stored.contains(id));
        for task in &stored {
            fill(&repo, task);
        }
        assert_eq!(repo.get_tasks().unwrap().len(), stored.len());
        for task in &stored {
            only_its_own(&repo, task);
        }
        for task in &missing {
            nothing(&repo, task);
        }
        let mut left: Vec<&TaskId> = stored.iter().collect();
        while let Some(gone) = left.pop() {
            assert!(repo.delete_task(gone).unwrap());
            nothing(&repo, gone);
            for task in &left {
                only_its_own(&repo, task);
            }
        }
        Ok(())
    });
    result.map_err(|error| anyhow!("{error}"))
}

/// Ids that a pattern, a collation or a careless comparison would confuse.
fn crowd() -> impl Strategy<Value = BTreeSet<TaskId>> {
    let base = "[abAB%_*?'\"\\\\ /:;.0éßiİаａ\u{301}\u{200b}-]{1,3}";
    let twin = (base, 0..8u8).prop_map(|(id, twin)| match twin {
        0 => id.to_uppercase(),
        1 => id.to_lowercase(),
        2 => format!("{id}%"),
        3 => format!("{id} "),
        4 => id.replace('a', "_"),
        5 => id.replace('é', "e\u{301}"),
        _ => id,
    });
    prop::collection::btree_set(
        twin.prop_filter_map("no id", |id| TaskId::new(id).ok()),
        1..8,
    )
}

/// Saves a row of every kind, with the id in its texts. All tasks use the same session and keys.
fn fill(repo: &impl Store, task: &TaskId) {
    let own = task.as_str();
    repo.save_task(&NewTask::new(task.clone(), own).prompt(own))
        .unwrap();
    let session = binding(BackendType::Claude, "shared", Some(own)).unwrap();
    repo.save_session(task, &session).unwrap();
    let keyed = NewMessage::new(Role::User, own).key(MessageKey::new("k").unwrap());
    let messages = [keyed, NewMessage::new(Role::Assistant, own)];
    assert_eq!(repo.save_messages(task, &messages).unwrap(), [1, 2]);
    let name = "shared".parse().unwrap();
    repo.save_recording(task, &name, 0, own.as_bytes()).unwrap();
}

fn only_its_own(repo: &impl Store, task: &TaskId) {
    let own = task.as_str();
    let row = repo.get_task(task).unwrap();
    assert_eq!((row.id.as_str(), &*row.name, &*row.prompt), (own, own, own));
    let session = repo.get_session(task).unwrap();
    assert_eq!(&session.task_id, task);
    assert_eq!(session.working_dir.unwrap().as_str(), own);
    let revisions = repo.list_session_revisions(task).unwrap();
    assert_eq!(revisions.len(), 1);
    assert_eq!(revisions[0].working_dir.as_ref().unwrap().as_str(), own);
    let page = HistoryPage::new(9);
    for turns in [
        repo.get_history(task).unwrap(),
        repo.get_history_last(task, 9).unwrap(),
        repo.get_history_page(task, page).unwrap(),
    ] {
        assert_eq!(turns.len(), 2);
        assert!(
            turns
                .iter()
                .all(|it| &it.task_id == task && it.content == own)
        );
    }
    assert_eq!(repo.count_history(task).unwrap(), 2);
    let files = repo.get_recordings(task).unwrap();
    let [file] = &files[..] else {
        panic!("{files:?}")
    };
    let bytes = repo.read_recording(task, file.number, 0).unwrap();
    assert_eq!((&file.task_id, &bytes[..]), (task, own.as_bytes()));
}

fn nothing(repo: &impl Store, task: &TaskId) {
    let session = SessionId::new("shared").unwrap();
    for error in [
        repo.get_task(task).unwrap_err(),
        repo.save_message(task, Role::User, "x").unwrap_err(),
        repo.claim_task(task).unwrap_err(),
    ] {
        assert!(matches!(error.kind(), ErrorKind::TaskNotFound), "{error:?}");
    }
    assert!(repo.find_session(task).unwrap().is_none());
    assert!(repo.get_history(task).unwrap().is_empty());
    assert!(repo.get_recordings(task).unwrap().is_empty());
    assert_eq!(repo.count_history(task).unwrap(), 0);
    assert!(repo.list_session_revisions(task).unwrap().is_empty());
    assert!(!repo.retire_session(task, &session, "gone").unwrap());
    assert!(!repo.delete_task(task).unwrap());
}
