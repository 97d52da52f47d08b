//! Imports into a store with the same tasks.

use turnkeep_admin::Error;
use turnkeep_repo::{
    BackendType, MessageKey, NewMessage, NewTask, Repo, Result, Role, StatusUpdate, TaskId,
};

use super::{export, import};
use crate::copy::{Place, from_each_to_each};
use crate::support::{binding, save_task};

from_each_to_each![
    a_task_that_differs_is_refused,
    a_task_is_stored_as_a_whole_or_not_at_all,
    those_who_import_at_once_do_it_once,
];

/// A task with two turns and a binding, between two others.
fn scene(repo: &Repo) -> anyhow::Result<TaskId> {
    save_task(repo, "a")?;
    save_task(repo, "c")?;
    let task: TaskId = "b".parse()?;
    repo.save_task(&NewTask::new(task.clone(), "B").depends_on(["a".parse()?]))?;
    repo.save_session(&task, &binding(BackendType::Claude, "1", None)?)?;
    repo.save_message(&task, Role::User, "1")?;
    repo.save_message(&task, Role::User, "2")?;
    Ok(task)
}

type Change = fn(&Repo, &TaskId) -> Result<()>;

/// Changes at one of both, so that the task is another one, an earlier or a later state.
const CHANGES: [Change; 6] = [
    |repo, task| repo.update_task_status(task, StatusUpdate::completed("done")),
    |repo, task| repo.save_message(task, Role::User, "3").map(drop),
    |repo, task| repo.retire_session(task, &"1".parse()?, "dead").map(drop),
    |repo, task| repo.save_task(&NewTask::new(task.clone(), "B")),
    |repo, task| {
        let both = ["a".parse()?, "c".parse()?];
        repo.save_task(&NewTask::new(task.clone(), "B").depends_on(both))
    },
    |repo, task| {
        repo.delete_task(task)?;
        repo.save_task(&NewTask::new(task.clone(), "B").depends_on(["a".parse()?]))
    },
];

fn a_task_that_differs_is_refused(from: &Place, to: &Place) -> anyhow::Result<()> {
    for (number, change) in CHANGES.into_iter().enumerate() {
        for is_newer_there in [false, true] {
            let (from, to) = (from.another()?, to.another()?);
            let (source, destination) = (from.open()?, to.open()?);
            let task = scene(&source)?;
            import(&destination, export(&source)?)?;
            change(
                if is_newer_there {
                    &destination
                } else {
                    &source
                },
                &task,
            )?;
            let before = to.rows()?;
            let error = import(&destination, export(&source)?).unwrap_err();
            assert!(
                matches!(&error, Error::Conflict { task_id, .. } if *task_id == task),
                "{number}, {is_newer_there}: {error:?}"
            );
            assert_eq!(to.rows()?, before, "{number}, {is_newer_there}");
        }
    }
    Ok(())
}

/// Constraints fail after many turns were written already.
fn a_task_is_stored_as_a_whole_or_not_at_all(from: &Place, to: &Place) -> anyhow::Result<()> {
    let (source, destination) = (from.open()?, to.open()?);
    save_task(&source, "a")?;
    let task = save_task(&source, "b")?;
    let said: Vec<_> = (1..=2_500)
        .map(|number| {
            let key = MessageKey::new(format!("key {number}")).expect("a key");
            NewMessage::new(Role::Tool, format!("turn {number}")).key(key)
        })
        .collect();
    source.save_messages(&task, &said)?;
    let text = export(&source)?;
    let damaged = text.replace("\"key 2400\"", "\"key 7\"");
    let error = import(&destination, damaged).unwrap_err();
    assert_eq!(
        error.to_string(),
        "import_jsonl: line 2403 has the message key `key 7`, which turn 7 has already"
    );
    let tasks = destination.get_tasks()?;
    assert_eq!(tasks.len(), 1, "the one before");
    assert_eq!(destination.count_history(&task)?, 0);
    let done = import(&destination, &text)?;
    assert_eq!((done.tasks, done.left_alone, done.turns), (1, 1, 2_500));
    assert_eq!(export(&destination)?, text);
    Ok(())
}

fn those_who_import_at_once_do_it_once(from: &Place, to: &Place) -> anyhow::Result<()> {
    let source = from.open()?;
    for number in 0..40 {
        let task = save_task(&source, &format!("t{number}"))?;
        source.save_message(&task, Role::User, "said")?;
    }
    let text = export(&source)?;
    let all = std::thread::scope(|scope| {
        let import = || import(&to.open().expect("a store"), &text);
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(import)).collect();
        let done = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        done.collect::<Result<Vec<_>, Error>>()
    })?;
    assert_eq!(all.iter().map(|done| done.tasks).sum::<u64>(), 40);
    assert!(all.iter().all(|done| done.tasks + done.left_alone == 40));
    assert_eq!(export(&to.open()?)?, text);
    Ok(())
}
