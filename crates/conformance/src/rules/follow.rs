//! Turns as they come, from the same handle, another one, and another process.

use std::thread;
use std::time::Duration;

use turnkeep_repo::{ConversationTurn, ErrorKind, NewMessage, Result, Role, TaskId};

use crate::scene::{contents, open_with_task, place, save_task};
use crate::{Harness, Store, Worker};

/// Returns the next `count` turns as text.
fn take(
    mut next: impl FnMut() -> Result<ConversationTurn>,
    count: usize,
) -> Result<Vec<(i64, String)>> {
    let turns = (0..count).map(|_| next());
    turns
        .map(|turn| turn.map(|it| (it.seq.get(), it.content)))
        .collect()
}

/// The turns that threads append through one handle come in order, each once, from the middle on too.
pub fn followers_get_each_turn_once_in_order<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for content in ["a", "b", "c"] {
        repo.save_message(&task, Role::User, content)?;
    }
    let followed = thread::scope(|scope| {
        let followers: Vec<_> = [0, 2, 3, 40]
            .into_iter()
            .map(|after| {
                let repo = &repo;
                let task = &task;
                scope.spawn(move || {
                    // Nothing would ever follow on a seq that is not stored yet.
                    while repo.count_history(task)? < after {
                        let known = repo.count_history(task)?;
                        repo.wait_for_turns(task, place(known), Duration::MAX)?;
                    }
                    take(repo.follow(task, place(after)), 103 - after as usize)
                })
            })
            .collect();
        for writer in 0..4 {
            let (repo, task) = (&repo, &task);
            scope.spawn(move || {
                for number in 0..25 {
                    let content = format!("w{writer}-{number}");
                    repo.save_message(task, Role::Assistant, &content).unwrap();
                }
            });
        }
        let ended = followers.into_iter().map(|it| it.join().unwrap());
        ended.collect::<Result<Vec<_>>>()
    })?;
    let stored: Vec<_> = (1..).zip(contents(&repo, &task)?).collect();
    assert_eq!(stored.len(), 103);
    for (turns, after) in followed.iter().zip([0, 2, 3, 40]) {
        assert_eq!(turns, &stored[after..], "after {after}");
    }
    Ok(())
}

/// A long history comes in order, and then the new turns.
pub fn a_long_history_is_followed_in_order<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let contents: Vec<_> = (1..=600).map(|number| number.to_string()).collect();
    let messages = contents.iter().map(|it| NewMessage::new(Role::User, it));
    repo.save_messages(&task, &messages.collect::<Vec<_>>())?;
    let mut next = repo.follow(&task, None);
    let stored: Vec<_> = (1..).zip(contents).collect();
    assert_eq!(take(&mut next, 600)?, stored);
    repo.save_message(&task, Role::User, "new")?;
    assert_eq!(take(&mut next, 1)?, [(601, "new".to_owned())]);
    Ok(())
}

/// A wait ends with the first turn or with its timeout, which may be zero.
pub fn a_wait_ends_with_a_turn_or_its_timeout<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    assert_eq!(repo.wait_for_turns(&task, None, Duration::ZERO)?, []);
    assert_eq!(
        repo.wait_for_turns(&task, None, Duration::from_millis(1))?,
        []
    );
    // Long enough for a look at what others have written.
    assert_eq!(
        repo.wait_for_turns(&task, None, Duration::from_millis(120))?,
        []
    );
    repo.save_message(&task, Role::User, "a")?;
    for timeout in [Duration::ZERO, Duration::MAX] {
        let turns = repo.wait_for_turns(&task, None, timeout)?;
        assert_eq!(turns, repo.get_history(&task)?);
    }
    assert_eq!(repo.wait_for_turns(&task, place(1), Duration::ZERO)?, []);
    Ok(())
}

/// A handle gets the turns that another one appends, for many tasks at the same time.
pub fn another_handle_is_followed<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, other) = (store.open()?, store.open()?);
    let tasks = (0..20)
        .map(|number| save_task(&repo, &format!("t{number}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let followers: Vec<_> = tasks
            .iter()
            .map(|task| (task, repo.follow(task, None)))
            .map(|(task, next)| (task, scope.spawn(move || take(next, 3))))
            .collect();
        for number in 1..=3 {
            for task in &tasks {
                let content = format!("{task}-{number}");
                other.save_message(task, Role::User, &content)?;
            }
        }
        for (task, follower) in followers {
            let expected = (1..=3).map(|number| (number, format!("{task}-{number}")));
            assert!(follower.join().unwrap()?.into_iter().eq(expected));
        }
        Ok(())
    })
}

/// A process gets the turns of another one, in both directions.
pub fn another_process_is_followed<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let mut follower = Worker::start(&store, &["follow", "t", "40"])?;
    let writer = Worker::start(&store, &["append", "t", "w", "20"])?;
    let mut here = repo.follow(&task, None);
    for number in 1..=20 {
        let line = format!("{number} w-{number}");
        assert_eq!(follower.line()?, Some(line.clone()));
        let turn = here()?;
        assert_eq!(format!("{} {}", turn.seq, turn.content), line);
    }
    writer.finish()?;
    for number in 21..=40 {
        repo.save_message(&task, Role::User, &format!("w-{number}"))?;
        assert_eq!(follower.line()?, Some(format!("{number} w-{number}")));
    }
    assert!(follower.finish()?.is_empty());
    Ok(())
}

/// A missing task can't be followed, and a follower gets `TaskNotFound` when its task is deleted, by whichever handle.
pub fn a_deleted_task_ends_the_wait<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let missing = TaskId::new("none")?;
    let is_gone = |result: Result<Vec<ConversationTurn>>| {
        let error = result.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TaskNotFound), "{error:?}");
        assert_eq!(error.operation(), "wait_for_turns");
    };
    is_gone(repo.wait_for_turns(&missing, None, Duration::ZERO));
    is_gone(repo.wait_for_turns(&missing, place(5), Duration::MAX));
    let another = store.open()?;
    for deleter in [&repo, &another] {
        repo.save_message(&task, Role::User, "a")?;
        thread::scope(|scope| {
            let waiting = scope.spawn(|| repo.wait_for_turns(&task, place(1), Duration::MAX));
            assert!(deleter.delete_task(&task)?);
            is_gone(waiting.join().unwrap());
            anyhow::Ok(())
        })?;
        save_task(&repo, "t")?;
    }
    let error = repo.follow(&missing, None)().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::TaskNotFound), "{error:?}");
    Ok(())
}

/// A history that ends before the expected seq is not the one that was read. Its turns would never come.
pub fn a_shorter_history_is_a_conflict<H: Harness>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_message(&task, Role::User, "a")?;
    let mut next = repo.follow(&task, None);
    assert_eq!(next()?.content, "a");
    assert!(repo.delete_task(&task)?);
    save_task(&repo, "t")?;
    for result in [
        next().map(drop),
        repo.wait_for_turns(&task, place(1), Duration::MAX)
            .map(drop),
    ] {
        let error = result.unwrap_err();
        let expected = ErrorKind::SeqConflict {
            expected: place(1),
            actual: None,
        };
        assert_eq!(*error.kind(), expected);
    }
    Ok(())
}
