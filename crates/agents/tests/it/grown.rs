//! A file that is imported again and again while it grows. Only its end is read then.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use turnkeep_agents::{
    ImportEvent, KnownFiles, WatchEvent, WatchOptions, WatchStop, save_hook_event, watch,
};
use turnkeep_recordings::HookEvent;
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{
    BackendType, HistoryPage, HostName, NewMessage, NewSession, NewTask, Role, SessionId,
};

use crate::support::{CLAUDE, World, id, jsonl, prompt};

const CODEX: &str = "019f3c5e-7a10-7b42-9c8d-4e1f6a2b7d03";

/// A file is known by its notes if it has more than this.
const LARGE: usize = 1024 * 1024;

fn transcript_name() -> String {
    format!(".claude/projects/-srv-app/{CLAUDE}.jsonl")
}

fn rollout_name() -> String {
    format!(".codex/sessions/2026/10/01/rollout-2026-10-01T08-00-00-{CODEX}.jsonl")
}

fn time(second: u32) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_841_600 + i64::from(second), 0).unwrap()
}

fn written(second: u32) -> String {
    time(second).to_rfc3339()
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = File::options()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    file.write_all(bytes).unwrap();
}

/// What an import of the homes tells: the new turns and bytes of each session, and its warnings.
fn import(world: &World) -> Vec<String> {
    let known = KnownFiles::load(&world.repo, &world.options).unwrap();
    let mut told = Vec::new();
    for home in [".claude", ".codex"].map(|home| world.path(home)) {
        let Ok(found) = known.find(&home, None) else {
            continue;
        };
        turnkeep_agents::import(
            &world.repo,
            &found,
            &world.options,
            &mut |event| match event {
                ImportEvent::Session(it) => {
                    told.push(format!("{} {}", it.added_turns, it.kept_bytes))
                }
                ImportEvent::Warning(warning) => told.push(warning.to_string()),
                ImportEvent::Failed(failure) => panic!("{failure}"),
                _ => {}
            },
        )
        .unwrap();
    }
    told
}

/// Makes the next import read all files from their beginning.
fn forget(world: &World) {
    let host = HostName::new(&*world.options.host).unwrap();
    for mut file in world.repo.list_imported_files(&host).unwrap() {
        file.inode = String::new();
        world.repo.save_imported_file(&file).unwrap();
    }
}

/// What a store has of a session, whatever its task is.
fn stored(world: &World) -> Vec<Value> {
    let tasks = world.repo.get_tasks().unwrap().into_iter();
    let tasks = tasks.map(|task| {
        let whole = HistoryPage::new(u32::MAX).with_hidden();
        let turns = world.repo.get_history_page(&task.id, whole).unwrap();
        let turns = turns.into_iter().map(|turn| {
            let key = turn.message_key.map(|key| key.to_string());
            // The number of a derived key tells nothing.
            let key = key.map(|key| key.split('#').next().unwrap_or_default().to_owned());
            json!([
                turn.role.to_string(),
                turn.content,
                turn.timestamp.to_string(),
                key
            ])
        });
        let session = world.repo.get_session(&task.id).unwrap();
        let files = world
            .repo
            .get_recordings(&task.id)
            .unwrap()
            .into_iter()
            .map(|file| {
                let mut bytes = Vec::new();
                let mut reader = world.repo.recording_reader(&file.task_id, file.number);
                reader.read_to_end(&mut bytes).unwrap();
                json!([
                    file.name.as_str(),
                    file.number.get(),
                    bytes.len(),
                    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(10_000)..])
                ])
            });
        json!({
            "task": task.id.as_str(), "name": task.name, "turns": turns.collect::<Vec<_>>(),
            "session": [session.session_id.as_str(), session.working_dir.map(|it| it.to_string()),
                session.config_dir.map(|it| it.to_string()), session.metadata.map(|it| it.as_str().to_owned())],
            "revisions": world.repo.list_session_revisions(&task.id).unwrap().len(),
            "files": files.collect::<Vec<_>>(),
        })
    });
    tasks.collect()
}

/// Few words, so that messages are often equal.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]",
        Just("go on".to_owned()),
        Just("a\nb".to_owned()),
        Just(" ".to_owned())
    ]
}

/// A line of a transcript.
#[derive(Debug, Clone)]
enum Line {
    User(String),
    /// In another folder, of which Claude Code names the project the same or not.
    Elsewhere(String, bool),
    Enqueue(String),
    Assistant(u32, String),
    /// A title of one of three kinds.
    Title(u8, String),
    /// The summary of an earlier line.
    Summary(u32, String),
    Damaged,
}

fn line() -> impl Strategy<Value = Line> {
    prop_oneof![
        6 => words().prop_map(Line::User),
        1 => (words(), any::<bool>()).prop_map(|(words, is_alike)| Line::Elsewhere(words, is_alike)),
        1 => words().prop_map(Line::Enqueue),
        6 => (0..9_u32, words()).prop_map(|(id, words)| Line::Assistant(id, words)),
        1 => (0..2_u8, words()).prop_map(|(kind, words)| Line::Title(kind, words)),
        1 => (0..24_u32, words()).prop_map(|(line, words)| Line::Summary(line, words)),
        1 => Just(Line::Damaged),
    ]
}

fn uuid(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn transcript(lines: &[Line], pace: u32) -> String {
    let pad = json!({"type": "system", "sessionId": CLAUDE, "pad": "x".repeat(LARGE)});
    let lines = lines.iter().zip(0_u32..).map(|(line, number)| {
        let mut value = json!({
            "sessionId": CLAUDE, "uuid": uuid(number), "timestamp": written(number * pace), "cwd": "/srv/app",
        });
        let fields = match line {
            Line::User(text) => json!({"type": "user", "message": {"content": text}}),
            Line::Elsewhere(text, is_alike) => json!({"type": "user", "message": {"content": text},
                "cwd": if *is_alike { "/srv-app" } else { "/tmp" }}),
            Line::Enqueue(text) => json!({
                "type": "queue-operation", "operation": "enqueue", "content": text, "uuid": null,
            }),
            Line::Assistant(id, text) => json!({"type": "assistant", "message": {
                "id": format!("msg_{}", if *id < 3 { *id } else { number / 2 + 9 }),
                "content": [{"type": "text", "text": text}],
            }}),
            Line::Title(0, text) => {
                json!({"type": "custom-title", "customTitle": text, "uuid": null})
            }
            Line::Title(_, text) => json!({"type": "ai-title", "aiTitle": text, "uuid": null}),
            Line::Summary(line, text) => {
                json!({"type": "summary", "summary": text, "leafUuid": uuid(line % number.max(1)), "uuid": null})
            }
            Line::Damaged => return "{\"type\":\"user\",\n".to_owned(),
        };
        let fields = fields.as_object().unwrap().clone();
        value.as_object_mut().unwrap().extend(fields);
        format!("{value}\n")
    });
    std::iter::once(format!("{pad}\n")).chain(lines).collect()
}

/// A line of a rollout: role, words, and whether the message has an id. Others are titles.
fn rollout(lines: &[(u8, String, bool)], pace: u32) -> String {
    let header = json!({"timestamp": written(0), "type": "session_meta",
        "payload": {"id": CODEX, "cwd": "/srv/app", "source": "cli"}});
    let pad = json!({"timestamp": written(0), "type": "response_item", "payload": {
        "type": "function_call_output", "output": "x".repeat(LARGE)}});
    let lines = lines
        .iter()
        .zip(0_u32..)
        .map(|((kind, words, has_id), number)| {
            let role = ["user", "assistant"].get(usize::from(*kind));
            let id = has_id.then(|| format!("msg_{}", number / 2));
            let (kind, payload) = match role {
                Some(role) => (
                    "response_item",
                    json!({"type": "message", "id": id, "role": role,
                    "content": [{"type": "input_text", "text": words}]}),
                ),
                None => (
                    "event_msg",
                    json!({"type": "thread_name_updated", "thread_name": words}),
                ),
            };
            json!({"timestamp": written(number * pace), "type": kind, "payload": payload})
        });
    jsonl([header, pad].into_iter().chain(lines))
}

/// What happens between two imports.
#[derive(Debug, Clone)]
enum Between {
    Nothing,
    /// A turn that an orchestrator appends, with or without a key.
    Turn(bool, String, bool),
    /// A hook reports a prompt, or an answer without a transcript.
    Hook(bool, String),
    /// Somebody names the task.
    Name,
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        4 => Just(Between::Nothing),
        2 => (any::<bool>(), words(), any::<bool>()).prop_map(|(a, b, c)| Between::Turn(a, b, c)),
        2 => (any::<bool>(), words()).prop_map(|(is_prompt, words)| Between::Hook(is_prompt, words)),
        1 => Just(Between::Name),
    ]
}

fn happen(
    world: &World,
    what: &Between,
    session: (&BackendType, &str),
    path: &Path,
    (number, at): (u32, u32),
) -> String {
    let (backend, session) = session;
    let session_id = SessionId::new(session).unwrap();
    let task = world
        .repo
        .find_task_by_session(backend, &session_id)
        .unwrap();
    match (what, task) {
        (Between::Turn(is_user, words, has_key), Some(task)) => {
            let role = if *is_user {
                Role::User
            } else {
                Role::Assistant
            };
            let mut message = NewMessage::new(role, words.clone()).timestamp(time(at));
            if *has_key {
                message = message.key(format!("mine-{number}").parse().unwrap());
            }
            world.repo.save_messages(&task, &[message]).unwrap();
        }
        (Between::Hook(is_prompt, words), _) => {
            let event = match is_prompt {
                true => json!({"hook_event_name": "UserPromptSubmit", "prompt": words,
                    "transcript_path": path, "session_id": session, "cwd": "/srv/app"}),
                false => json!({"hook_event_name": "Stop", "last_assistant_message": words,
                    "session_id": session, "cwd": "/srv/app"}),
            };
            let event = HookEvent::parse(backend, &event.to_string(), time(at)).unwrap();
            let saved = save_hook_event(&world.repo, &event, &world.options);
            return saved.map_or_else(|error| error.to_string(), |()| String::new());
        }
        (Between::Name, Some(task)) => {
            let task = NewTask::new(task, "Mine");
            world.repo.save_task(&task).unwrap();
        }
        _ => {}
    }
    String::new()
}

/// Lets a file grow to each cut, and imports it into a store that knows what it has read, and into one that reads the
/// whole file each time.
fn grow(
    backend: &BackendType,
    content: &str,
    steps: &[(prop::sample::Index, Between)],
    is_bound: bool,
    pace: u32,
) {
    let (name, session) = match backend {
        BackendType::Claude => (transcript_name(), CLAUDE),
        _ => (rollout_name(), CODEX),
    };
    let world = World::new();
    let whole = world.with_empty_store();
    let stores = [&world, &whole];
    if is_bound {
        for store in stores {
            let mine = NewTask::new(id("mine"), "Mine");
            store.repo.save_task(&mine).unwrap();
            let binding = NewSession::new(backend.clone(), SessionId::new(session).unwrap());
            store.repo.save_session(&id("mine"), &binding).unwrap();
        }
    }
    let start = content.len() - LARGE.min(content.len());
    let mut cuts: Vec<_> = steps
        .iter()
        .map(|(cut, what)| (LARGE + cut.index(start + 1), what))
        .collect();
    cuts.push((content.len(), &Between::Nothing));
    cuts.sort_by_key(|(cut, _)| *cut);
    let path = world.file(&name, "");
    let mut from = 0;
    for ((to, what), number) in cuts.into_iter().zip(0..) {
        append(&path, &content.as_bytes()[from..to]);
        from = to;
        let told = stores.map(|store| {
            let mut told = import(store);
            // The end tells only of its own lines, and a file that is old enough is left out where it is known.
            told.retain(|it| !it.contains("damaged lines") && it != "0 0");
            told
        });
        assert_eq!(told[0], told[1]);
        assert_eq!(stored(&world), stored(&whole));
        forget(&whole);
        let at = (number, 30 + number * pace);
        let told = stores.map(|store| happen(store, what, (backend, session), &path, at));
        assert_eq!(told[0], told[1]);
        forget(&whole);
    }
}

/// Prompts at these minutes. Behind the first one is a long line.
fn prompts(minutes: Range<usize>) -> String {
    let lines = minutes.flat_map(|minute| {
        let pad = json!({"type": "system", "sessionId": CLAUDE, "pad": "x".repeat(LARGE)});
        let pad = Some(pad).filter(|_| minute == 0);
        std::iter::once(prompt(minute, &format!("prompt {minute}"))).chain(pad)
    });
    jsonl(lines)
}

/// Makes another message of the first prompt, in a line of the same length. An import that reads it adds a turn.
fn write_over_first(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let other = text.replacen("prompt 0", "elsewhere", 1);
    let other = other.replacen(&format!("{CLAUDE}-0"), &format!("{CLAUDE}-"), 1);
    assert_eq!(other.len(), text.len());
    fs::write(path, other).unwrap();
}

#[test]
fn only_the_end_of_a_grown_file_is_read() {
    let world = World::new();
    let path = world.file(&transcript_name(), prompts(0..2));
    import(&world);
    write_over_first(&path);
    let mut said = vec!["prompt 0", "prompt 1"];
    let task = format!("claude:{CLAUDE}");

    append(&path, prompts(2..3).as_bytes());
    let told = import(&world);
    assert_eq!(told, [format!("1 {}", prompts(2..3).len())]);
    said.push("prompt 2");
    assert_eq!(world.history(&task), said);

    append(&path, prompts(3..4).as_bytes());
    let imported = world.import(&path);
    let session = &imported.sessions[0];
    assert_eq!((session.added_turns, session.user_turns), (1, 4));
    let first = "2026-02-03T10:00:00.500Z".parse().unwrap();
    assert_eq!(session.first_timestamp, Some(first), "of the stored turns");
    assert_eq!(
        session.working_dir.as_ref().map(|it| it.as_str()),
        Some("/srv/app")
    );
    said.push("prompt 3");
    assert_eq!(world.history(&task), said, "the user has named the file");

    append(&path, prompts(4..5).as_bytes());
    let event = json!({"hook_event_name": "Stop", "session_id": CLAUDE, "transcript_path": path});
    let event = HookEvent::parse(&BackendType::Claude, &event.to_string(), Utc::now()).unwrap();
    save_hook_event(&world.repo, &event, &world.options).unwrap();
    said.push("prompt 4");
    assert_eq!(world.history(&task), said, "after a hook");

    // A copy in its place is another file.
    fs::copy(&path, world.path("copy")).unwrap();
    fs::rename(world.path("copy"), &path).unwrap();
    import(&world);
    said.push("elsewhere");
    assert_eq!(world.history(&task), said);
}

/// The prompts are stored before their lines are written, under keys that no line has.
#[test]
fn with_hooks_only_the_end_of_a_grown_file_is_read() {
    let world = World::new();
    let path = world.file(&transcript_name(), prompts(0..2));
    import(&world);
    write_over_first(&path);
    let mut said = vec!["prompt 0".to_owned(), "prompt 1".to_owned()];
    for minute in 2..6 {
        let time = format!("2026-02-03T10:{minute:02}:00.000Z")
            .parse()
            .unwrap();
        let report = |event: Value| {
            let mut reported =
                json!({"session_id": CLAUDE, "transcript_path": path, "cwd": "/srv/app"});
            let fields = event.as_object().unwrap().clone();
            reported.as_object_mut().unwrap().extend(fields);
            let event =
                HookEvent::parse(&BackendType::Claude, &reported.to_string(), time).unwrap();
            save_hook_event(&world.repo, &event, &world.options).unwrap();
        };
        let [words, answer] = ["prompt", "answer"].map(|it| format!("{it} {minute}"));
        report(json!({"hook_event_name": "UserPromptSubmit", "prompt": words}));
        let mut line = prompt(minute, &answer);
        line["uuid"] = json!(uuid(minute.try_into().unwrap()));
        line["type"] = json!("assistant");
        line["timestamp"] = json!(format!("2026-02-03T10:{minute:02}:20.000Z"));
        line["message"] =
            json!({"id": format!("msg_{minute}"), "content": [{"type": "text", "text": answer}]});
        append(&path, jsonl([prompt(minute, &words), line]).as_bytes());
        report(json!({"hook_event_name": "Stop", "last_assistant_message": answer}));
        import(&world);
        said.extend([words, answer]);
        assert_eq!(world.history(&format!("claude:{CLAUDE}")), said);
    }
}

#[test]
fn a_watch_reads_only_the_end_of_a_grown_file() {
    let world = World::new();
    let path = world.file(&transcript_name(), prompts(0..2));
    import(&world);
    write_over_first(&path);
    append(&path, prompts(2..3).as_bytes());
    let mut options = WatchOptions::new(world.options.clone(), world.options.homes.clone());
    options.interval = Duration::from_secs(1);
    let stop = WatchStop::new();
    let mut added = 0;
    let opened = || Ok(world.repo.clone());
    watch(opened, &options, &stop, |event| match event {
        WatchEvent::Session(session) => {
            added += session.added_turns;
            if added == 2 {
                stop.stop();
            }
        }
        // Other programs have all notifications of the system.
        WatchEvent::Polling(_) => {}
        WatchEvent::CaughtUp => append(&path, prompts(3..4).as_bytes()),
        event => panic!("{event:?}"),
    })
    .unwrap();
    let said: Vec<_> = (0..4).map(|minute| format!("prompt {minute}")).collect();
    assert_eq!(world.history(&format!("claude:{CLAUDE}")), said);
}

/// What an import of the whole file does beyond the words is done as well.
#[test]
fn a_title_at_the_end_names_the_task() {
    let world = World::new();
    let path = world.file(&transcript_name(), prompts(0..2));
    let name = || {
        world
            .repo
            .get_task(&id(&format!("claude:{CLAUDE}")))
            .unwrap()
            .name
    };
    import(&world);
    assert_eq!(name(), "prompt 0");
    for (title, named) in [("The login", "The login"), ("The door", "The login")] {
        let title = json!({"type": "ai-title", "aiTitle": title, "sessionId": CLAUDE});
        append(&path, jsonl([title]).as_bytes());
        import(&world);
        assert_eq!(name(), named);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_end_of_a_transcript_adds_what_the_whole_does(
        lines in prop::collection::vec(line(), 1..24),
        steps in prop::collection::vec((any::<prop::sample::Index>(), between()), 1..6),
        is_bound in any::<bool>(),
        pace in prop::sample::select(vec![1_u32, 40, 200]),
    ) {
        grow(&BackendType::Claude, &transcript(&lines, pace), &steps, is_bound, pace);
    }

    #[test]
    fn the_end_of_a_rollout_adds_what_the_whole_does(
        lines in prop::collection::vec((0_u8..3, words(), any::<bool>()), 1..24),
        steps in prop::collection::vec((any::<prop::sample::Index>(), between()), 1..6),
        is_bound in any::<bool>(),
        pace in prop::sample::select(vec![0_u32, 40, 200]),
    ) {
        grow(&BackendType::Codex, &rollout(&lines, pace), &steps, is_bound, pace);
    }
}
