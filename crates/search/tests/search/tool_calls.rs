//! Tool calls in the kept recordings.

use std::fs;

use anyhow::Result;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{
    BackendType, NewMessage, NewSession, NewTask, RecordingName, Role, SessionId, TaskId,
    WorkingDir,
};
use turnkeep_search::{Error, Query, ToolCallHit};

use crate::support::{Scene, on_each_engine};

on_each_engine!(
    calls_and_results_are_found_with_their_place,
    a_recording_that_grows_or_changes_is_followed,
    calls_of_removed_tasks_and_recordings_are_gone,
);

fn at(minute: i64) -> DateTime<Utc> {
    DateTime::<Utc>::from_timestamp(1_770_000_000 + 60 * minute, 0).unwrap_or_default()
}

/// Saves a task that is bound to the session of its name.
fn session(scene: &Scene, name: &str) -> Result<TaskId> {
    let task = TaskId::new(name)?;
    let new = NewTask::new(task.clone(), format!("The task {name}"));
    scene.repo.save_task(&new)?;
    let session = NewSession::new(BackendType::Claude, SessionId::new(name)?);
    let session = session.working_dir(WorkingDir::new(format!("/srv/{name}"))?);
    scene.repo.save_session(&task, &session)?;
    Ok(task)
}

/// A call, which in minute 0 has no time.
fn call(id: &str, tool: &str, command: &str, minute: i64) -> String {
    let time = match minute {
        0 => "none".to_owned(),
        minute => at(minute).to_rfc3339(),
    };
    format!(
        r#"{{"timestamp":"{time}","message":{{"content":[{{"type":"tool_use","id":"{id}","name":"{tool}","input":{{"command":"{command}"}}}}]}}}}"#
    ) + "\n"
}

fn result(id: &str, output: &str) -> String {
    format!(
        r#"{{"message":{{"content":[{{"type":"tool_result","tool_use_id":"{id}","content":"{output}"}}]}}}}"#
    ) + "\n"
}

/// Appends to the recording of a task.
fn record(scene: &Scene, task: &TaskId, text: &str) -> Result<()> {
    let name = RecordingName::new(format!("projects/-srv/{task}.jsonl"))?;
    let files = scene.repo.get_recordings(task)?;
    let length = files.last().map_or(0, |file| file.length);
    scene
        .repo
        .save_recording(task, &name, length, text.as_bytes())?;
    Ok(())
}

/// Returns the hits after an update, as `task:tool`, sorted.
fn found(scene: &Scene, query: Query) -> Result<Vec<String>> {
    let update = scene.index.update_tool_calls()?;
    assert!(update.unreadable.is_empty(), "{update:?}");
    let hits = scene.index.search_tool_calls(&query)?.hits;
    let of = |hit: &ToolCallHit| format!("{}:{}", hit.task_id, hit.tool);
    let mut found: Vec<_> = hits.iter().map(of).collect();
    found.sort();
    Ok(found)
}

fn calls_and_results_are_found_with_their_place(scene: &Scene) -> Result<()> {
    let task = session(scene, "a")?;
    scene.repo.save_messages(
        &task,
        &[
            NewMessage::new(Role::User, "needle").timestamp(at(1)),
            NewMessage::new(Role::Assistant, "x").timestamp(at(3)),
        ],
    )?;
    let lines = [
        call("1", "Bash", "cargo test", 2),
        result("1", "one needle failed"),
        call("2", "Read", "src/needle.rs", 4),
        call("3", "Needle", "", 0),
        result("3", "nothing"),
    ];
    record(scene, &task, &lines.concat())?;
    let other = session(scene, "b")?;
    record(scene, &other, &call("1", "Bash", "needle", 5))?;

    let all = Query::new("needle");
    let every = ["a:Bash", "a:Needle", "a:Read", "b:Bash"];
    for (query, expected) in [
        (all.clone(), &every[..]),
        (Query::new("\"cargo test\" failed"), &["a:Bash"]),
        (Query::new("needle -cargo"), &every[1..]),
        (all.clone().task(TaskId::new("b")?), &["b:Bash"]),
        (
            all.clone().folders([WorkingDir::new("/srv/a")?]),
            &every[..3],
        ),
        (
            all.clone()
                .folders([WorkingDir::new("/none")?, WorkingDir::new("/srv/b")?]),
            &["b:Bash"],
        ),
        (all.clone().backend(BackendType::Codex), &[]),
        (all.clone().role(Role::User), &[]),
        (all.clone().since(at(4)), &["a:Read", "b:Bash"]),
        (all.clone().until(at(4)), &["a:Bash"]),
        (all.clone().limit(0), &[]),
    ] {
        assert_eq!(found(scene, query.clone())?, expected, "{query:?}");
    }
    let hits = scene.index.search_tool_calls(&Query::new("failed"))?.hits;
    let [hit] = &hits[..] else { panic!("{hits:?}") };
    assert_eq!((&*hit.name, &*hit.tool), ("The task a", "Bash"));
    assert_eq!(hit.backend_type, Some(BackendType::Claude));
    assert_eq!(hit.working_dir, Some(WorkingDir::new("/srv/a")?));
    assert_eq!(hit.timestamp, Some(at(2)));
    assert_eq!(hit.seq.map(|it| it.get()), Some(1));
    assert_eq!(hit.passage.text, "Bash cargo test\none needle failed");
    assert_eq!(crate::support::words(&hit.passage), ["failed"]);
    let timeless = scene.index.search_tool_calls(&Query::new("nothing"))?.hits;
    assert_eq!((timeless[0].timestamp, timeless[0].seq), (None, None));
    // Words of turns are found apart.
    assert_eq!(scene.places("needle")?, ["a:1"]);
    Ok(())
}

fn a_recording_that_grows_or_changes_is_followed(scene: &Scene) -> Result<()> {
    let task = session(scene, "a")?;
    let added = || anyhow::Ok(scene.index.update_tool_calls()?.added_calls);
    assert_eq!(added()?, 0);
    record(scene, &task, &call("1", "Bash", "first", 1))?;
    record(scene, &task, &call("2", "Read", "second", 1))?;
    assert_eq!((added()?, added()?), (2, 0));
    record(scene, &task, &result("1", "needle"))?;
    record(scene, &task, &call("3", "Grep", "third", 1))?;
    assert_eq!((added()?, added()?), (2, 0));
    assert_eq!(found(scene, Query::new("needle"))?, ["a:Bash"]);
    assert_eq!(found(scene, Query::new("first"))?, ["a:Bash"]);
    assert_eq!(found(scene, Query::new("second OR third"))?, [""; 0]);
    assert_eq!(found(scene, Query::new("third"))?, ["a:Grep"]);
    // The agent has written the file anew.
    let name = RecordingName::new("projects/-srv/a.jsonl")?;
    let other = call("9", "Edit", "other", 1);
    scene
        .repo
        .save_recording(&task, &name, 0, other.as_bytes())?;
    assert_eq!(found(scene, Query::new("first"))?, [""; 0]);
    assert_eq!(found(scene, Query::new("other"))?, ["a:Edit"]);
    Ok(())
}

fn calls_of_removed_tasks_and_recordings_are_gone(scene: &Scene) -> Result<()> {
    let index = scene.folder.path();
    let index = fs::read_dir(index)?.find_map(|it| {
        let path = it.ok()?.path();
        (path.extension()? == "search").then_some(path)
    });
    let index = index.unwrap_or_default();
    let has = |word: &str| {
        let bytes = fs::read(&index)?;
        anyhow::Ok(bytes.windows(word.len()).any(|it| it == word.as_bytes()))
    };
    let [gone, dropped] = [session(scene, "gone")?, session(scene, "dropped")?];
    record(scene, &gone, &call("1", "Bash", "qzxsecret", 1))?;
    record(scene, &dropped, &call("1", "Bash", "wvkhidden", 1))?;
    assert_eq!(found(scene, Query::new("qzx*"))?, ["gone:Bash"]);
    assert_eq!(found(scene, Query::new("wvk*"))?, ["dropped:Bash"]);
    assert!(has("qzxsecret")? && has("wvkhidden")?);
    scene.repo.delete_task(&gone)?;
    scene.repo.delete_recordings(&dropped)?;
    let left = scene.index.search_tool_calls(&Query::new("qzx*"))?;
    assert_eq!(left.hits, []);
    assert_eq!(scene.index.update()?.removed_tasks, 1);
    assert!(!has("qzxsecret")? && has("wvkhidden")?);
    assert_eq!(found(scene, Query::new("wvk*"))?, [""; 0]);
    assert!(!has("wvkhidden")?);
    Ok(())
}

#[test]
fn calls_cost_nothing_until_they_are_asked_for() -> Result<()> {
    let scene = Scene::new()?;
    let task = session(&scene, "a")?;
    record(&scene, &task, &call("1", "Bash", "needle", 1))?;
    scene.index.update()?;
    assert!(!scene.index.has_tool_calls()?);
    // A search without an update makes them.
    let hits = scene.index.search_tool_calls(&Query::new("needle"))?.hits;
    assert_eq!(hits.len(), 1);
    assert!(scene.index.has_tool_calls()?);
    scene.index.delete()?;
    assert!(!scene.index.has_tool_calls()?);
    Ok(())
}

#[test]
fn only_the_sessions_own_recording_is_read() -> Result<()> {
    let scene = Scene::new()?;
    let task = session(&scene, "a")?;
    for name in [
        "projects/-srv/a/subagents/agent-a.jsonl",
        "projects/-srv/agent-a.jsonl",
        "projects/-srv/ba.jsonl",
        "projects/-srv/a.json/b.jsonl",
        "projects/-srv/a.txt",
        "sessions/2026_a.json",
        "sessions/ab.jsonl",
        "a",
    ] {
        let name = RecordingName::new(name)?;
        let line = call("1", "Bash", "needle", 1);
        scene
            .repo
            .save_recording(&task, &name, 0, line.as_bytes())?;
    }
    assert_eq!(found(&scene, Query::new("needle"))?, [""; 0]);
    let name = "sessions/2026/10/02/rollout-2026-10-02T09-30-11-a_b.jsonl";
    let line = call("1", "Bash", "needle", 1);
    scene
        .repo
        .save_recording(&task, &RecordingName::new(name)?, 0, line.as_bytes())?;
    assert_eq!(found(&scene, Query::new("needle"))?, ["a:Bash"]);
    Ok(())
}

/// More than one step of an update, and one session whose recording is damaged in the store.
#[test]
fn an_unreadable_recording_stops_only_its_task() -> Result<()> {
    let scene = Scene::new()?;
    let filler = "some filler of the call ".repeat(2_500);
    for name in ["a", "b", "c"] {
        let task = session(&scene, name)?;
        let lines = (0..60).map(|id| call(&id.to_string(), "Bash", &filler, 1));
        record(&scene, &task, &lines.collect::<String>())?;
        record(&scene, &task, &call("last", "Read", "needle", 1))?;
    }
    let url = scene.folder.path().join("store.db");
    let mut conn = SqliteConnection::establish(url.to_str().unwrap_or_default())?;
    conn.batch_execute(
        "INSERT INTO recording_chunks SELECT task_id, number, \"offset\" + length, 5, 0, x'00' \
         FROM recording_chunks WHERE task_id = 'b' ORDER BY \"offset\" DESC LIMIT 1",
    )?;
    for added in [122, 0] {
        let update = scene.index.update_tool_calls()?;
        assert_eq!(update.added_calls, added);
        let [error @ Error::Recording { .. }] = &update.unreadable[..] else {
            panic!("{update:?}");
        };
        assert!(error.to_string().contains("task `b`"), "{error}");
        let hits = scene.index.search_tool_calls(&Query::new("needle"))?.hits;
        assert_eq!(hits.len(), 2);
    }
    Ok(())
}

/// The recording is damaged in the store after it was indexed.
#[test]
fn calls_in_an_unreadable_recording_are_left_out() -> Result<()> {
    let scene = Scene::new()?;
    for name in ["a", "b"] {
        let task = session(&scene, name)?;
        // The second call has no result, so it is read to the end of the recording.
        let lines = [
            call("1", "Bash", "early", 1),
            result("1", "needle"),
            call("2", "Read", "needle", 2),
        ];
        record(&scene, &task, &lines.concat())?;
    }
    assert_eq!(found(&scene, Query::new("needle"))?.len(), 4);
    let url = scene.folder.path().join("store.db");
    let mut conn = SqliteConnection::establish(url.to_str().unwrap_or_default())?;
    conn.batch_execute(
        "INSERT INTO recording_chunks SELECT task_id, number, \"offset\" + length, 5, 0, x'00' \
         FROM recording_chunks WHERE task_id = 'b' ORDER BY \"offset\" DESC LIMIT 1",
    )?;
    // Also if the hits of the damaged one are the best, and another round looks for more.
    for limit in [1, 2, 20] {
        let found = scene
            .index
            .search_tool_calls(&Query::new("needle").limit(limit))?;
        let tasks: Vec<_> = found.hits.iter().map(|hit| hit.task_id.as_str()).collect();
        assert_eq!(tasks, ["a", "a"][..tasks.len()]);
        assert_eq!(tasks.len(), 2.min(limit as usize));
        let [
            error @ Error::Recording {
                task_id, source, ..
            },
        ] = &found.unreadable[..]
        else {
            panic!("{found:?}");
        };
        assert_eq!(task_id.as_str(), "b", "{error}");
        assert!(source.to_string().contains("damaged"), "{source}");
    }
    // No more of it is read than the wanted calls.
    let early = scene.index.search_tool_calls(&Query::new("early"))?;
    assert_eq!((early.hits.len(), early.unreadable.len()), (2, 0));
    Ok(())
}

/// More hits in one recording than are in memory at once.
#[test]
fn all_hits_of_a_recording_are_in_order() -> Result<()> {
    let scene = Scene::new()?;
    let tasks = [session(&scene, "a")?, session(&scene, "b")?];
    for (number, task) in tasks.iter().enumerate() {
        let calls = (0..50).map(|it| {
            let tool = format!("{task}{it}");
            call(&tool, &tool, "needle", 1 + 2 * it + number as i64)
        });
        record(&scene, task, &calls.collect::<String>())?;
    }
    scene.index.update_tool_calls()?;
    let hits = scene
        .index
        .search_tool_calls(&Query::new("needle").limit(90))?
        .hits;
    let tools: Vec<_> = hits.iter().map(|hit| hit.tool.clone()).collect();
    let all = (0..50)
        .rev()
        .flat_map(|it| [format!("b{it}"), format!("a{it}")]);
    assert_eq!(tools, all.take(90).collect::<Vec<_>>());
    Ok(())
}

/// The tables of a damaged index are made anew, with the calls.
#[test]
fn a_damaged_index_of_calls_is_made_anew() -> Result<()> {
    for damage in [
        "DELETE FROM call_words_data WHERE id > 10",
        "DROP TABLE calls",
        "CREATE TRIGGER foreign_one AFTER INSERT ON calls BEGIN DELETE FROM tasks; END",
    ] {
        let scene = Scene::new()?;
        let task = session(&scene, "a")?;
        record(&scene, &task, &call("1", "Bash", "needle", 1))?;
        scene.index.update_tool_calls()?;
        let path = scene.folder.path().join("store.db.search");
        SqliteConnection::establish(path.to_str().unwrap_or_default())?.batch_execute(damage)?;
        let hits = scene.index.search_tool_calls(&Query::new("needle"))?.hits;
        assert_eq!(hits.len(), 1, "{damage}");
    }
    Ok(())
}
