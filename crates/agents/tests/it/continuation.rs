//! Sessions that go on under a new id, as in versions 1.0 of Claude Code.

use serde_json::{Value, json};
use turnkeep_repo::chrono::{SecondsFormat, TimeDelta};
use turnkeep_repo::{BackendType, Metadata, NewSession, NewTask, SessionId};

use crate::support::{CLAUDE, World, id, jsonl};

const SECOND: &str = "7f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f61";
const THIRD: &str = "8f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f62";

/// A year after any binding that a test saves.
const LATER: i32 = 2999;

/// A prompt as it is first written, in the session of this id.
fn said(session: &str, year: i32, text: &str) -> Value {
    json!({
        "type": "user", "uuid": format!("uuid of {text}"), "sessionId": session, "cwd": "/srv/app",
        "timestamp": format!("{year}-02-03T10:{:02}:00.500Z", text.len()),
        "message": {"role": "user", "content": text},
    })
}

/// Writes a transcript of lines, each with the session that it names.
fn write(world: &World, session: &str, lines: &[(&str, &str)], year: i32) {
    let lines = lines.iter();
    let lines = lines.map(|(session, text)| said(session, year, text));
    world.file(
        &format!(".claude/projects/-srv-app/{session}.jsonl"),
        jsonl(lines),
    );
}

fn import(world: &World) -> Vec<(String, i64)> {
    let imported = world.import(world.path(".claude"));
    let tasks = imported.tasks().into_iter();
    let mut tasks: Vec<_> = tasks
        .map(|(task, added)| (task.to_owned(), added))
        .collect();
    tasks.sort();
    tasks
}

/// Binds a task to the first session, as an orchestrator would.
fn bind(world: &World, session: &str) {
    let task = NewTask::new(id("t"), "Task");
    world.repo.save_task(&task).unwrap();
    let session = SessionId::new(session).unwrap();
    let binding = NewSession::new(BackendType::Claude, session);
    let binding = binding.metadata(Metadata::new(r#"{"model":"opus"}"#).unwrap());
    world.repo.save_session(&id("t"), &binding).unwrap();
}

fn session(world: &World, task: &str) -> String {
    world.session(task).session_id.to_string()
}

fn of(session: &str) -> String {
    format!("claude:{session}")
}

#[test]
fn a_resume_under_a_new_id_is_a_new_binding_of_the_task() {
    let world = World::new();
    bind(&world, CLAUDE);
    write(&world, CLAUDE, &[(CLAUDE, "1"), (CLAUDE, "22")], LATER);
    import(&world);
    let copy = [(CLAUDE, "1"), (CLAUDE, "22"), (SECOND, "333")];
    write(&world, SECOND, &copy, LATER);
    assert_eq!(import(&world), [("t".into(), 0), ("t".into(), 1)]);
    assert_eq!(world.history("t"), ["1", "22", "333"]);
    let current = world.session("t");
    assert_eq!(current.session_id.as_str(), SECOND);
    assert_eq!(current.metadata.unwrap().as_str(), r#"{"model":"opus"}"#);
    assert_eq!(current.working_dir.unwrap().as_str(), "/srv/app");
    // A repeated import changes nothing.
    assert_eq!(import(&world), [("t".into(), 0), ("t".into(), 0)]);
    let revisions = world.repo.list_session_revisions(&id("t")).unwrap();
    let sessions: Vec<_> = revisions.iter().map(|it| it.session_id.as_str()).collect();
    assert_eq!(sessions.last(), Some(&SECOND));
    assert_eq!(world.repo.get_tasks().unwrap().len(), 1);
}

/// The ids of the copied lines are those of the first session, or each of its own.
#[test]
fn several_resumes_are_one_task_in_any_order_of_names() {
    for (first, second, third) in [(CLAUDE, SECOND, THIRD), (THIRD, SECOND, CLAUDE)] {
        for copied in [first, second] {
            for is_bound in [false, true] {
                let world = World::new();
                let task = if is_bound { "t".to_owned() } else { of(first) };
                if is_bound {
                    bind(&world, first);
                }
                write(&world, first, &[(first, "1")], LATER);
                write(&world, second, &[(first, "1"), (second, "22")], LATER);
                let last = [(first, "1"), (copied, "22"), (third, "333")];
                write(&world, third, &last, LATER);
                let added = import(&world).into_iter();
                assert_eq!(added.map(|(of, _)| of).collect::<Vec<_>>(), [&*task; 3]);
                assert_eq!(world.history(&task), ["1", "22", "333"]);
                assert_eq!(session(&world, &task), third);
            }
        }
    }
}

/// The first one is imported, and so bound, after the second began.
#[test]
fn several_resumes_after_the_task_was_bound_are_its_bindings() {
    let world = World::new();
    bind(&world, CLAUDE);
    let bound_at = world.session("t").updated_at;
    let at = |session: &str, text: &str| {
        let mut line = said(session, LATER, text);
        let micros = i64::try_from(text.len()).unwrap();
        let time = bound_at + TimeDelta::microseconds(micros);
        line["timestamp"] = json!(time.to_rfc3339_opts(SecondsFormat::Micros, true));
        line
    };
    for (session, lines) in [
        (CLAUDE, &[(CLAUDE, "1")][..]),
        (SECOND, &[(CLAUDE, "1"), (SECOND, "22")]),
        (THIRD, &[(CLAUDE, "1"), (SECOND, "22"), (THIRD, "333")]),
    ] {
        let path = format!(".claude/projects/-srv-app/{session}.jsonl");
        world.file(&path, jsonl(lines.iter().map(|(id, text)| at(id, text))));
    }
    import(&world);
    assert_eq!(world.history("t"), ["1", "22", "333"]);
    assert_eq!(session(&world, "t"), THIRD);
}

#[test]
fn a_copy_of_a_session_that_went_on_is_a_task_of_its_own() {
    let world = World::new();
    write(&world, CLAUDE, &[(CLAUDE, "1"), (CLAUDE, "22")], LATER);
    write(&world, SECOND, &[(CLAUDE, "1"), (SECOND, "333")], LATER);
    assert_eq!(import(&world), [(of(CLAUDE), 2), (of(SECOND), 2)]);
    assert_eq!(session(&world, &of(CLAUDE)), CLAUDE);
    assert_eq!(world.history(&of(CLAUDE)), ["1", "22"]);
}

/// The copy is written before the new words.
#[test]
fn a_copy_in_which_nothing_was_said_waits() {
    let world = World::new();
    write(&world, CLAUDE, &[(CLAUDE, "1")], LATER);
    let begun = [
        said(CLAUDE, LATER, "1"),
        json!({"type": "system", "sessionId": SECOND}),
    ];
    world.file(
        &format!(".claude/projects/-srv-app/{SECOND}.jsonl"),
        jsonl(begun),
    );
    assert_eq!(import(&world), [(of(CLAUDE), 1)]);
    write(&world, SECOND, &[(CLAUDE, "1"), (SECOND, "22")], LATER);
    assert_eq!(import(&world), [(of(CLAUDE), 0), (of(CLAUDE), 1)]);
    assert_eq!(session(&world, &of(CLAUDE)), SECOND);
}

#[test]
fn a_task_that_somebody_bound_elsewhere_or_later_keeps_its_binding() {
    for (rebound, year) in [(THIRD, LATER), (CLAUDE, 2026)] {
        let world = World::new();
        bind(&world, CLAUDE);
        write(&world, CLAUDE, &[(CLAUDE, "1")], year);
        import(&world);
        bind(&world, rebound);
        write(&world, SECOND, &[(CLAUDE, "1"), (SECOND, "22")], year);
        assert_eq!(import(&world), [(of(SECOND), 2), ("t".into(), 0)]);
        assert_eq!(session(&world, "t"), rebound);
    }
    let world = World::new();
    bind(&world, CLAUDE);
    write(&world, CLAUDE, &[(CLAUDE, "1")], LATER);
    import(&world);
    let session = SessionId::new(CLAUDE).unwrap();
    let retired = world.repo.retire_session(&id("t"), &session, "gone");
    assert!(retired.unwrap());
    write(&world, SECOND, &[(CLAUDE, "1"), (SECOND, "22")], LATER);
    assert_eq!(import(&world), [(of(SECOND), 2), ("t".into(), 0)]);
}

/// A repository may have a folder like a home, whose working folder a resume would go to.
#[test]
fn a_copy_in_another_home_is_a_task_of_its_own() {
    let world = World::new();
    write(&world, CLAUDE, &[(CLAUDE, "1")], LATER);
    import(&world);
    let lines = [said(CLAUDE, LATER, "1"), said(SECOND, LATER, "22")];
    let other = format!("repository/.claude/projects/-evil/{SECOND}.jsonl");
    let other = world.file(&other, jsonl(lines));
    assert_eq!(world.import(other).tasks(), [(&*of(SECOND), 2)]);
    assert_eq!(session(&world, &of(CLAUDE)), CLAUDE);
}

/// Codex keeps the id at a resume. Somebody asked for the fork.
#[test]
fn a_fork_of_codex_is_a_task_of_its_own() {
    let world = World::new();
    let rollout = |session: &str, forked: &str, texts: &[&str]| {
        let header = json!({"type": "session_meta", "timestamp": "2999-01-01T00:00:00Z", "payload": {
            "id": session, "forked_from_id": forked, "cwd": "/srv/app"}});
        let message = |text: &&str| {
            json!({"type": "response_item", "timestamp": "2999-01-01T00:00:01Z",
            "payload": {"type": "message", "role": "user", "id": format!("msg_{text}"),
            "content": [{"type": "input_text", "text": text}]}})
        };
        let lines = std::iter::once(header).chain(texts.iter().map(message));
        let name = format!("rollout-2026-09-18T07-12-44-{session}.jsonl");
        world.file(&format!(".codex/sessions/2026/09/18/{name}"), jsonl(lines));
    };
    rollout(CLAUDE, "", &["1"]);
    rollout(SECOND, CLAUDE, &["1", "22"]);
    let imported = world.import(world.path(".codex"));
    let tasks = imported.tasks();
    assert_eq!(tasks.len(), 2);
    assert!(
        tasks.contains(&(&*format!("codex:{SECOND}"), 2)),
        "{tasks:?}"
    );
}
