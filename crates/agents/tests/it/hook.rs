use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use turnkeep_agents::{HookError, Origin, find_rollout, save_hook_event};
use turnkeep_recordings::HookEvent;
use turnkeep_repo::chrono::DateTime;
use turnkeep_repo::{BackendType, NewSession, NewTask, TaskStatus};

use crate::support::{CLAUDE, World, going_on, id, jsonl, prompt, transcript};

const THREAD: &str = "01a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";

/// Reports an event of the session [`CLAUDE`] at a minute of the hour of [`transcript`].
fn report(world: &World, minute: i64, fields: &Value) -> Result<(), HookError> {
    let path = world.path(&format!(".claude/projects/-srv-app/{CLAUDE}.jsonl"));
    let mut event = json!({"session_id": CLAUDE, "transcript_path": path, "cwd": "/srv/app"});
    for (name, value) in fields.as_object().unwrap() {
        event[name] = value.clone();
    }
    let time = DateTime::from_timestamp(1_770_112_800 + 60 * minute, 0).unwrap();
    let event = HookEvent::parse(&BackendType::Claude, &event.to_string(), time).unwrap();
    save_hook_event(&world.repo, &event, &world.options)
}

fn submit(world: &World, minute: i64, text: &str) {
    let fields = json!({"hook_event_name": "UserPromptSubmit", "prompt": text});
    report(world, minute, &fields).unwrap();
}

fn stop(world: &World, minute: i64, text: &str) {
    let fields = json!({"hook_event_name": "Stop", "last_assistant_message": text});
    report(world, minute, &fields).unwrap();
}

fn write(world: &World, lines: &str) -> std::path::PathBuf {
    world.file(&format!(".claude/projects/-srv-app/{CLAUDE}.jsonl"), lines)
}

fn answer(minute: usize, text: &str) -> Value {
    let mut line = prompt(minute, "");
    line["type"] = json!("assistant");
    line["message"] = json!({"role": "assistant", "id": format!("msg_{minute}"), "model": "m",
        "content": [{"type": "text", "text": text}]});
    line
}

fn task() -> String {
    format!("claude:{CLAUDE}")
}

#[test]
fn a_prompt_makes_the_task_that_an_import_would_make() {
    let world = World::new();
    submit(&world, 0, "Why does the login fail?");
    let stored = world.repo.get_task(&id(&task())).unwrap();
    assert_eq!(stored.name, "Why does the login fail?");
    assert_eq!(stored.status, TaskStatus::Completed);
    let reported = world.session(&task());
    assert_eq!(reported.working_dir.clone().unwrap().as_str(), "/srv/app");
    assert_eq!(reported.config_dir, None, "it is the usual home");

    // Claude Code writes the line a little later.
    let file = write(&world, &transcript(&["Why does the login fail?"]));
    assert_eq!(world.import(&file).tasks(), [(task().as_str(), 0)]);
    assert_eq!(world.history(&task()), ["Why does the login fail?"]);
    let origin = Origin::of(world.session(&task()).metadata.as_ref()).unwrap();
    assert_eq!(
        Path::new(&origin.imported_from),
        fs::canonicalize(file).unwrap()
    );
}

#[test]
fn words_of_the_recording_come_before_those_of_the_event() {
    let world = World::new();
    submit(&world, 0, "Why?");
    let lines = [prompt(0, "Why?"), answer(1, "I read the file.")];
    write(&world, &jsonl(lines.clone()));
    stop(&world, 2, "Because.");
    stop(&world, 2, "Because.");
    let said = ["Why?", "I read the file.", "Because."];
    assert_eq!(world.history(&task()), said);

    let file = write(
        &world,
        &jsonl(lines.into_iter().chain([answer(2, "Because.")])),
    );
    assert_eq!(world.import(&file).tasks(), [(task().as_str(), 0)]);
    stop(&world, 2, "Because.");
    assert_eq!(world.history(&task()), said);
}

#[test]
fn an_event_without_words_imports_the_recording() {
    let world = World::new();
    let start = json!({"hook_event_name": "SessionStart", "source": "startup"});
    report(&world, 0, &start).unwrap();
    assert_eq!(
        world
            .repo
            .find_task_by_session(&BackendType::Claude, &CLAUDE.parse().unwrap())
            .unwrap(),
        None
    );
    write(&world, &transcript(&["Why?"]));
    let end = json!({"hook_event_name": "SessionEnd", "reason": "other"});
    report(&world, 1, &end).unwrap();
    assert_eq!(world.history(&task()), ["Why?"]);
}

#[test]
fn the_next_import_keeps_the_files() {
    let world = World::new();
    let file = write(&world, &transcript(&["Why?"]));
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let opened = fs::File::options().append(true).open(&file).unwrap();
    opened.set_modified(old).unwrap();
    let end = json!({"hook_event_name": "SessionEnd", "reason": "other"});
    report(&world, 1, &end).unwrap();
    assert!(world.repo.get_recordings(&id(&task())).unwrap().is_empty());
    let imported = world.import(world.path(".claude"));
    assert_eq!(
        imported.sessions[0].kept_bytes,
        fs::metadata(file).unwrap().len()
    );
}

#[test]
fn words_go_to_the_task_that_is_bound_to_the_session() {
    let world = World::new();
    let mine = id("mine");
    world
        .repo
        .save_task(&NewTask::new(mine.clone(), "Mine"))
        .unwrap();
    let session = NewSession::new(BackendType::Claude, CLAUDE.parse().unwrap());
    world.repo.save_session(&mine, &session).unwrap();
    submit(&world, 0, "Why?");
    write(&world, &transcript(&["Why?"]));
    stop(&world, 1, "Because.");
    assert_eq!(world.history("mine"), ["Why?", "Because."]);
    assert!(world.repo.get_task(&id(&task())).is_err());
}

#[test]
fn an_event_is_stored_though_the_recording_cannot_be_read() {
    let world = World::new();
    let mut other = prompt(1, "Mine?");
    other["sessionId"] = json!(THREAD);
    let mixed = world.file("mixed.jsonl", jsonl([prompt(0, "Who?"), other]));
    let event =
        json!({"hook_event_name": "UserPromptSubmit", "prompt": "Why?", "transcript_path": mixed});
    let error = report(&world, 0, &event).unwrap_err();
    assert!(matches!(error, HookError::Import(_)), "{error}");
    assert_eq!(world.history(&task()), ["Why?"]);
}

#[test]
fn a_folder_is_not_searched() {
    let world = World::new();
    write(&world, &transcript(&["Who?"]));
    let event = json!({"hook_event_name": "UserPromptSubmit", "prompt": "Why?",
        "transcript_path": world.path("")});
    report(&world, 0, &event).unwrap();
    assert_eq!(world.history(&task()), ["Why?"]);
}

fn rollout(world: &World, name: &str, source: Value) -> std::path::PathBuf {
    let message = |role: &str, kind: &str, text: &str| {
        json!({"timestamp": "2026-02-03T10:00:00.250Z", "type": "response_item", "payload":
            {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}})
    };
    let meta = json!({"timestamp": "2026-02-03T10:00:00.250Z", "type": "session_meta",
        "payload": {"id": THREAD, "cwd": "/srv/app", "source": source}});
    world.file(
        name,
        jsonl([
            meta,
            message("user", "input_text", "Why?"),
            message("assistant", "output_text", "I read the file."),
            message("assistant", "output_text", "Because."),
        ]),
    )
}

fn notify(world: &World) {
    let event = json!({"type": "agent-turn-complete", "thread-id": THREAD, "turn-id": "1", "cwd": "/srv/app",
        "input-messages": ["Why?"], "last-assistant-message": "Because."});
    let time = DateTime::from_timestamp(1_770_112_800, 0).unwrap();
    let mut event = HookEvent::parse(&BackendType::Codex, &event.to_string(), time).unwrap();
    event.transcript = find_rollout(&world.options.homes.codex, THREAD);
    save_hook_event(&world.repo, &event, &world.options).unwrap();
}

#[test]
fn the_rollout_of_a_thread_has_all_words() {
    let world = World::new();
    rollout(
        &world,
        &format!(".codex/sessions/2026/02/03/rollout-2026-02-03T10-00-00-{THREAD}.jsonl"),
        json!("cli"),
    );
    notify(&world);
    notify(&world);
    assert_eq!(
        world.history(&format!("codex:{THREAD}")),
        ["Why?", "I read the file.", "Because."]
    );
}

#[test]
fn a_thread_without_a_rollout_has_the_words_of_its_events() {
    let world = World::new();
    notify(&world);
    notify(&world);
    assert_eq!(
        world.history(&format!("codex:{THREAD}")),
        ["Why?", "Because."]
    );
}

#[test]
fn a_sub_agent_has_no_session() {
    let world = World::new();
    let name = format!(".codex/sessions/2026/02/03/rollout-2026-02-03T10-00-00-{THREAD}.jsonl");
    rollout(&world, &name, json!({"subagent": "review"}));
    notify(&world);
    assert!(world.repo.get_tasks().unwrap().is_empty());
}

#[test]
fn a_rollout_is_found_by_its_thread() {
    let world = World::new();
    let home = world.path(".codex");
    assert_eq!(find_rollout(&home, THREAD), None);
    let name = |day: &str, name: &str| {
        format!(".codex/sessions/2026/02/{day}/rollout-2026-02-03T10-00-00-{name}.jsonl")
    };
    let other = "01a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c06";
    world.file(&name("03", other), "");
    world.file(&name("03", &format!("{other}_{THREAD}")), "");
    assert_eq!(find_rollout(&home, THREAD), None);
    let first = world.file(&name("03", THREAD), "");
    assert_eq!(find_rollout(&home, THREAD), Some(first));
    let reverted = world.file(&name("04", &format!("{THREAD}_{other}")), "");
    assert_eq!(find_rollout(&home, THREAD), Some(reverted.clone()));
    fs::write(reverted.with_extension("jsonl.zst"), "").unwrap();
    assert_eq!(find_rollout(&home, THREAD), Some(reverted.clone()));
    fs::remove_file(&reverted).unwrap();
    let compressed = reverted.with_extension("jsonl.zst");
    assert_eq!(find_rollout(&home, THREAD), Some(compressed));
}

#[test]
fn a_removed_session_that_goes_on_is_told() {
    let world = World::new();
    submit(&world, 0, "a");
    world.repo.remove_task(&id(&task())).unwrap();
    let earlier = json!({"hook_event_name": "UserPromptSubmit", "prompt": "a"});
    report(&world, 0, &earlier).unwrap();

    // In the year 2200.
    let minute = 174 * 365 * 24 * 60;
    let later = json!({"hook_event_name": "UserPromptSubmit", "prompt": "later"});
    let error = report(&world, minute, &later).unwrap_err();
    assert!(matches!(error, HookError::Removed(_)), "{error}");
    // The same from the recording, of an event without words.
    write(&world, &going_on());
    let end = json!({"hook_event_name": "SessionEnd"});
    let error = report(&world, minute, &end).unwrap_err();
    assert!(matches!(error, HookError::Removed(_)), "{error}");
    assert!(world.repo.get_tasks().unwrap().is_empty());
}
