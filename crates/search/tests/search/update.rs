//! How the index follows the store.

use std::fs;

use anyhow::Result;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{NewMessage, NewTask, Role, TaskId};
use turnkeep_search::{Index, Query};

use crate::support::{Scene, on_each_engine};

on_each_engine!(
    new_turns_and_tasks_are_added_once,
    every_task_is_compared,
    a_task_made_anew_is_indexed_anew,
);

fn new_turns_and_tasks_are_added_once(scene: &Scene) -> Result<()> {
    scene.say("a", &["needle"; 250])?;
    scene.say("b", &[])?;
    assert_eq!(scene.index.update()?.added_turns, 250);
    assert_eq!(scene.index.update()?.added_turns, 0);
    scene.say("a", &["needle", "other"])?;
    scene.say("b", &["needle"])?;
    assert_eq!(scene.index.update()?.added_turns, 3);
    assert_eq!(
        scene
            .index
            .search(&Query::new("needle").limit(1_000))?
            .len(),
        252
    );
    Ok(())
}

/// More tasks than a page of the list has.
fn every_task_is_compared(scene: &Scene) -> Result<()> {
    let ids: Vec<_> = (0..2_100)
        .map(|number| TaskId::new(format!("t{number:04}")))
        .collect::<Result<_, _>>()?;
    let plan: Vec<_> = ids
        .iter()
        .map(|id| NewTask::new(id.clone(), "Task"))
        .collect();
    scene.repo.save_tasks(&plan)?;
    let said = ["t0000", "t0999", "t1000", "t2000", "t2099"];
    for task in said {
        scene
            .repo
            .save_message(&TaskId::new(task)?, Role::User, "needle")?;
    }
    assert_eq!(
        scene.places("needle")?,
        said.map(|task| format!("{task}:1"))
    );
    for task in ["t0000", "t0999", "t2099"] {
        scene.repo.delete_task(&TaskId::new(task)?)?;
    }
    assert_eq!(scene.index.update()?.removed_tasks, 3);
    assert_eq!(scene.places("needle")?, ["t1000:1", "t2000:1"]);
    Ok(())
}

#[test]
fn removed_tasks_are_gone_at_once_and_their_words_after_an_update() -> Result<()> {
    let scene = Scene::new()?;
    let path = scene.folder.path().join("store.db.search");
    let words = || -> Result<bool> {
        let bytes = fs::read(&path)?;
        // A word is stored without the letters that it shares with the one before it.
        Ok(bytes.windows(9).any(|it| it == b"qzxsecret")
            || bytes.windows(8).any(|it| it == b"The task"))
    };
    scene.say("kept", &["needle"])?;
    let task = scene.say("gone", &["needle qzxsecret"])?;
    assert_eq!(scene.places("needle")?, ["gone:1", "kept:1"]);
    assert!(words()?);
    scene.repo.delete_task(&task)?;
    assert_eq!(scene.index.search(&Query::new("needle"))?.len(), 1);
    assert_eq!(scene.index.update()?.removed_tasks, 1);
    scene.repo.delete_task(&TaskId::new("kept")?)?;
    assert_eq!(scene.index.update()?.removed_tasks, 1);
    assert!(!words()?);
    // The numbers of removed rows are used again.
    scene.say("new", &["needle"])?;
    assert_eq!(scene.places("needle")?, ["new:1"]);
    Ok(())
}

fn a_task_made_anew_is_indexed_anew(scene: &Scene) -> Result<()> {
    let task = scene.say("t", &["old", "old"])?;
    scene.index.update()?;
    scene.repo.delete_task(&task)?;
    scene.say("t", &["new", "new"])?;
    assert_eq!(
        (scene.places("old")?.len(), scene.places("new")?.len()),
        (0, 2)
    );
    Ok(())
}

/// An import gives a task the times of its recording.
#[test]
fn a_task_made_anew_with_the_same_time_is_indexed_anew() -> Result<()> {
    let scene = Scene::new()?;
    let at = |seconds| DateTime::<Utc>::from_timestamp(seconds, 0).unwrap_or_default();
    let task = TaskId::new("t")?;
    let say = |text: &str, times: &[i64]| -> Result<()> {
        scene
            .repo
            .save_task(&NewTask::new(task.clone(), "T").recorded(at(0), at(0)))?;
        for time in times {
            scene.repo.save_messages(
                &task,
                &[NewMessage::new(Role::User, text).timestamp(at(*time))],
            )?;
        }
        Ok(())
    };
    say("old", &[1, 2])?;
    scene.index.update()?;
    for times in [&[1, 3, 4][..], &[5]] {
        scene.repo.delete_task(&task)?;
        say("new", times)?;
        assert_eq!(
            (scene.places("old")?.len(), scene.places("new")?.len()),
            (0, times.len())
        );
        scene.repo.delete_task(&task)?;
        say("old", times)?;
    }
    Ok(())
}

/// A recording whose text was edited has the times of the one before.
#[test]
fn a_task_made_anew_with_all_times_is_not_found_by_its_old_words() -> Result<()> {
    let scene = Scene::new()?;
    let at = |seconds| DateTime::<Utc>::from_timestamp(seconds, 0).unwrap_or_default();
    let task = TaskId::new("t")?;
    let say = |text: &str, times: &[i64]| -> Result<()> {
        scene
            .repo
            .save_task(&NewTask::new(task.clone(), "T").recorded(at(0), at(0)))?;
        let messages = times
            .iter()
            .map(|time| NewMessage::new(Role::User, text).timestamp(at(*time)));
        scene
            .repo
            .save_messages(&task, &messages.collect::<Vec<_>>())?;
        Ok(())
    };
    say("old", &[1, 2])?;
    scene.index.update()?;
    scene.repo.delete_task(&task)?;
    say("new", &[1, 2])?;
    assert_eq!(scene.places("old")?, [""; 0]);
    say("newest", &[3])?;
    assert_eq!(scene.places("new*")?, ["t:1", "t:2", "t:3"]);
    Ok(())
}

/// More than one step of a merge, after one that was interrupted.
#[test]
fn words_of_removed_tasks_leave_a_large_index() -> Result<()> {
    let scene = Scene::new()?;
    let path = scene.folder.path().join("store.db.search");
    let is_word = || anyhow::Ok(fs::read(&path)?.windows(9).any(|it| it == b"qzxsecret"));
    let text: String = (0..100_000).map(|it| format!("{it:x} ")).collect();
    for task in ["a", "b", "c", "d", "e"] {
        scene.say(task, &[&text])?;
        scene.index.update()?;
    }
    let task = scene.say("gone", &["qzxsecret"])?;
    scene.index.update()?;
    assert!(is_word()?);
    scene.repo.delete_task(&task)?;
    let mut conn = SqliteConnection::establish(path.to_str().unwrap_or_default())?;
    conn.batch_execute(
        "INSERT INTO unmerged DEFAULT VALUES; DELETE FROM tasks WHERE id = 'gone'; \
         DELETE FROM words WHERE rowid = 6; DELETE FROM turns WHERE row = 6; \
         INSERT INTO words (words, rank) VALUES ('merge', -100)",
    )?;
    drop(conn);
    assert!(is_word()?);
    assert_eq!(scene.index.update()?.removed_tasks, 0);
    assert!(!is_word()?);
    assert_eq!(scene.hits(Query::new("1869f"))?.len(), 5);
    Ok(())
}

#[test]
fn another_store_replaces_all() -> Result<()> {
    let (scene, other) = (Scene::new()?, Scene::new()?);
    scene.say("a", &["needle"])?;
    scene.say("b", &["needle"])?;
    scene.index.update()?;
    other.say("b", &["other", "needle"])?;
    let index = Index::open(&other.repo, scene.folder.path().join("store.db.search"))?;
    index.update()?;
    assert_eq!(
        crate::support::places(&index.search(&Query::new("needle"))?),
        ["b:2"]
    );
    Ok(())
}

#[test]
fn names_agents_and_folders_follow_the_store() -> Result<()> {
    let scene = Scene::new()?;
    let task = scene.say("t", &["needle"])?;
    scene.index.update()?;
    scene.repo.save_task(&NewTask::new(task, "Another name"))?;
    assert_eq!(scene.hits(Query::new("needle"))?[0].name, "Another name");
    Ok(())
}

/// The store's own errors say which turn it is.
#[test]
fn a_damaged_turn_stops_only_its_task() -> Result<()> {
    let scene = Scene::new()?;
    let [first, second] = ["a", "b"].map(|task| scene.say(task, &["needle"]));
    scene.index.update()?;
    scene.say("b", &["needle"])?;
    let url = scene.folder.path().join("store.db");
    let mut conn = SqliteConnection::establish(url.to_str().unwrap_or_default())?;
    conn.batch_execute(
        "INSERT INTO conversation_history VALUES ('a', 2, 'user', 0, NULL, 'needle', NULL, NULL); \
         INSERT INTO conversation_history VALUES ('a', 3, 'user', 0, NULL, CAST(x'ff' AS TEXT), NULL, NULL)",
    )?;
    for _ in 0..2 {
        let update = scene.index.update()?;
        let errors: Vec<_> = update.unreadable.iter().map(ToString::to_string).collect();
        assert_eq!(errors, ["get_history_page: turn 3 of task `a` is damaged"]);
        assert_eq!(scene.places("needle")?, ["a:1", "a:2", "b:1", "b:2"]);
    }
    scene.repo.delete_task(&first?)?;
    assert!(scene.index.update()?.unreadable.is_empty());
    assert_eq!(scene.repo.count_history(&second?)?, 2);
    Ok(())
}
