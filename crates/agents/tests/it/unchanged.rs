use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use turnkeep_agents::{ImportEvent, KnownFiles, import};

use crate::support::{CLAUDE, World, going_on, id, transcript};

fn task() -> String {
    format!("claude:{CLAUDE}")
}

fn name() -> String {
    format!(".claude/projects/-srv-app/{CLAUDE}.jsonl")
}

/// Makes a file an hour old, so that its time settles it.
fn age(path: &Path) {
    let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(hour_ago).unwrap();
}

/// What an import does: `unchanged`, `removed`, or the numbers of new turns and new bytes.
fn events(world: &World) -> Vec<String> {
    let known = KnownFiles::load(&world.repo, &world.options).unwrap();
    let found = known.find(&world.path(""), None).unwrap();
    let mut events = Vec::new();
    import(
        &world.repo,
        &found,
        &world.options,
        &mut |event| match event {
            ImportEvent::Unchanged(_) => events.push("unchanged".to_owned()),
            ImportEvent::Removed(_) => events.push("removed".to_owned()),
            ImportEvent::Session(it) => {
                events.push(format!("{} {}", it.added_turns, it.kept_bytes))
            }
            ImportEvent::Warning(warning) => events.push(warning.to_string()),
            ImportEvent::Failed(failure) => panic!("{failure}"),
            _ => {}
        },
    )
    .unwrap();
    events
}

#[test]
fn an_unchanged_file_is_not_read_again() {
    let world = World::new();
    let content = transcript(&["a"]);
    let own = world.file(&name(), &content);
    // However slow the machine is.
    let later = SystemTime::now() + Duration::from_secs(3_600);
    let file = File::options().write(true).open(&own).unwrap();
    file.set_modified(later).unwrap();
    assert_eq!(events(&world), [format!("1 {}", content.len())]);
    assert_eq!(
        events(&world),
        ["0 0"],
        "it may change within the step of the clock"
    );
    age(&own);
    assert_eq!(events(&world), ["0 0"]);
    assert_eq!(events(&world), ["unchanged"]);
    // An equal length and time: it is not opened.
    fs::write(&own, "x".repeat(content.len())).unwrap();
    let time = File::open(&own)
        .unwrap()
        .metadata()
        .unwrap()
        .modified()
        .unwrap();
    assert!(time.elapsed().unwrap() < Duration::from_secs(60));
    age_like(&world, &own);
    assert_eq!(events(&world), ["unchanged"]);

    let grown = transcript(&["a", "b"]);
    fs::write(&own, &grown).unwrap();
    age(&own);
    assert_eq!(
        events(&world),
        [format!("1 {}", grown.len() - content.len())]
    );
    assert_eq!(events(&world), ["unchanged"]);
    // Another file of that name.
    let other = world.file("other", &grown);
    fs::rename(&other, &own).unwrap();
    age_like(&world, &own);
    assert_eq!(events(&world), ["0 0"]);
}

/// Gives a file the time that the store knows of it.
fn age_like(world: &World, path: &Path) {
    let host = turnkeep_repo::HostName::new(&*world.options.host).unwrap();
    let known = world.repo.list_imported_files(&host).unwrap();
    let nanos = u64::try_from(known[0].modified_ns).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos))
        .unwrap();
}

#[test]
fn a_change_beside_a_transcript_is_noticed() {
    let said = format!("{{\"type\":\"user\",\"sessionId\":\"{CLAUDE}\",\"isSidechain\":true}}\n");
    for agent in [
        format!("{CLAUDE}/subagents/agent-1.jsonl"),
        // As in version 2.0.
        "agent-1.jsonl".to_owned(),
    ] {
        let mut world = World::new();
        age(&world.file(&name(), transcript(&["a"])));
        let agent = world.file(&format!(".claude/projects/-srv-app/{agent}"), &said);
        age(&agent);
        world.options.words_only = true;
        assert_eq!(events(&world), ["1 0"]);
        assert_eq!(events(&world), ["unchanged"]);
        world.options.words_only = false;
        assert_eq!(
            events(&world),
            [format!("0 {}", transcript(&["a"]).len() + said.len())],
            "kept from now on"
        );
        assert_eq!(events(&world), ["unchanged"]);
        fs::write(&agent, format!("{said}{{}}\n")).unwrap();
        age(&agent);
        assert_eq!(events(&world), ["0 3"]);
        assert_eq!(events(&world), ["unchanged"]);
        let result = world.file(
            &format!(".claude/projects/-srv-app/{CLAUDE}/tool-results/1.txt"),
            "x",
        );
        age(&result);
        assert_eq!(events(&world), ["0 1"]);
    }
}

#[test]
fn all_files_of_a_session_are_read_if_one_has_changed() {
    let world = World::new();
    let first = transcript(&["a"]);
    age(&world.file(&name(), &first));
    let second = world.file(
        &format!(".claude/projects/-srv-new/{CLAUDE}.jsonl"),
        transcript(&["a", "b"]),
    );
    age(&second);
    assert_eq!(events(&world).len(), 1);
    assert_eq!(events(&world), ["unchanged"], "one session");
    fs::write(&second, transcript(&["a", "b", "c"])).unwrap();
    let known = KnownFiles::load(&world.repo, &world.options).unwrap();
    let found = known.find(&world.path(".claude"), None).unwrap();
    assert_eq!(
        (found.sources[0].files().len(), found.unchanged.len()),
        (2, 0)
    );
}

/// Also those that have not changed, as the files of sub-agents that version 2.0 put beside the transcript.
#[test]
fn dropped_files_are_kept_again() {
    let world = World::new();
    let own = world.file(&name(), transcript(&["a"]));
    let line = format!("{{\"type\":\"user\",\"sessionId\":\"{CLAUDE}\",\"isSidechain\":true}}\n");
    let agent = world.file(".claude/projects/-srv-app/agent-1.jsonl", &line);
    for path in [&own, &agent] {
        age(path);
    }
    let whole = transcript(&["a"]).len() + line.len();
    assert_eq!(events(&world), [format!("1 {whole}")]);
    assert_eq!(events(&world), ["unchanged"]);
    assert_eq!(world.repo.delete_recordings(&id(&task())).unwrap(), 2);
    assert_eq!(events(&world), [format!("0 {whole}")]);
    assert_eq!(events(&world), ["unchanged"]);
}

#[test]
fn a_removed_session_is_not_imported_again() {
    let world = World::new();
    let own = world.file(&name(), transcript(&["a"]));
    age(&own);
    events(&world);
    assert!(world.repo.remove_task(&id(&task())).unwrap());
    assert_eq!(events(&world), ["removed"], "it is read");
    assert_eq!(events(&world), ["removed"], "it is not");
    assert_eq!(world.repo.lift_removal(&id(&task())).unwrap(), 1);
    assert_eq!(events(&world), [format!("1 {}", transcript(&["a"]).len())]);
    // A deleted task is imported again.
    assert_eq!(events(&world), ["unchanged"]);
    assert!(world.repo.delete_task(&id(&task())).unwrap());
    assert_eq!(events(&world), [format!("1 {}", transcript(&["a"]).len())]);
}

#[test]
fn files_beside_a_removed_session_are_read_once() {
    let world = World::new();
    let own = world.file(&name(), going_on());
    let beside = format!(".claude/projects/-srv-app/{CLAUDE}/tool-results/1.txt");
    let beside = world.file(&beside, "1");
    for path in [&own, &beside] {
        age(path);
    }
    events(&world);
    assert!(world.repo.remove_task(&id(&task())).unwrap());
    let read = events(&world);
    assert_eq!(read.len(), 2, "it goes on: {read:?}");
    assert_eq!(events(&world), ["removed"]);
    std::fs::write(&beside, "12").unwrap();
    assert_eq!(events(&world), read);
}

#[test]
fn a_database_is_unchanged_with_its_log() {
    let world = World::new();
    let database = world.goose(
        "goose/sessions/sessions.db",
        &[("20261001_1", "a"), ("20261001_2", "b")],
    );
    age(&database);
    assert_eq!(events(&world).len(), 2);
    assert_eq!(events(&world), ["unchanged", "unchanged"]);
    // SQLite reads no log whose header is not its own.
    age(&world.file("goose/sessions/sessions.db-wal", "not a log"));
    assert!(!events(&world).contains(&"unchanged".to_owned()));
}

/// Imports the recordings that have changed, whatever comes of them.
fn import_changed(world: &World, path: &Path) {
    let known = KnownFiles::load(&world.repo, &world.options).unwrap();
    let found = known.find(path, None).unwrap();
    import(&world.repo, &found, &world.options, &mut |_| {}).unwrap();
}

/// A rollout of Codex with one prompt, behind the whole of another one if it is a fork.
fn rollout(id: &str, fork_of: Option<&str>, prompt: &str) -> String {
    let base = fork_of.map_or_else(String::new, |parent| {
        format!(r#","history_base":{{"thread_id":"{parent}","end_ordinal_exclusive":9}}"#)
    });
    let time = r#""timestamp":"2026-10-01T08:00:00.000Z""#;
    format!(
        r#"{{{time},"ordinal":0,"type":"session_meta","payload":{{"id":"{id}",{time},"cwd":"/srv"{base}}}}}
{{{time},"ordinal":1,"type":"response_item","payload":{{"type":"message","role":"user","content":[{{"type":"input_text","text":"{prompt}"}}]}}}}
"#
    )
}

const PARENT: &str = "019f3c5e-7a10-7b42-9c8d-4e1f6a2b7d03";
const FORK: &str = "019f3c5e-7a10-7b42-9c8d-4e1f6a2b7d04";

fn rollout_name(id: &str) -> String {
    format!(".codex/sessions/2026/10/01/rollout-2026-10-01T08-00-00-{id}.jsonl")
}

#[test]
fn the_parent_of_a_fork_is_a_session_of_its_own() {
    let world = World::new();
    age(&world.file(&rollout_name(PARENT), rollout(PARENT, None, "a")));
    let fork = world.file(&rollout_name(FORK), rollout(FORK, Some(PARENT), "b"));
    age(&fork);
    import_changed(&world, &fork);

    let own = rollout(PARENT, None, "a").len();
    assert_eq!(events(&world), ["unchanged".to_owned(), format!("1 {own}")]);
    assert_eq!(events(&world), ["unchanged", "unchanged"]);
    let parent = id(&format!("codex:{PARENT}"));
    assert!(world.repo.delete_task(&parent).unwrap());
    assert_eq!(events(&world), ["unchanged".to_owned(), format!("1 {own}")]);
}

#[test]
fn a_fork_waits_for_its_parent() {
    let world = World::new();
    age(&world.file(&rollout_name(FORK), rollout(FORK, Some(PARENT), "b")));
    import_changed(&world, &world.path(""));
    age(&world.file(&rollout_name(PARENT), rollout(PARENT, None, "a")));
    import_changed(&world, &world.path(""));
    let fork = id(&format!("codex:{FORK}"));
    assert_eq!(world.repo.get_history(&fork).unwrap().len(), 2);
}

#[test]
fn a_copy_is_followed_once_the_first_file_is_gone() {
    let world = World::new();
    age(&world.file(&name(), transcript(&["a"])));
    let copy = format!("copy/projects/-srv-app/{CLAUDE}.jsonl");
    let copy = world.file(&copy, transcript(&["a"]));
    age(&copy);
    import_changed(&world, &world.path(".claude"));
    import_changed(&world, &world.path("copy"));
    fs::remove_dir_all(world.path(".claude")).unwrap();
    import_changed(&world, &world.path("copy"));
    let binding = world.repo.get_session(&id(&task())).unwrap();
    let origin = turnkeep_agents::Origin::of(binding.metadata.as_ref()).unwrap();
    assert_eq!(
        Path::new(&origin.imported_from),
        copy.canonicalize().unwrap()
    );
}

#[test]
fn a_strangers_file_does_not_take_a_binding_over() {
    let world = World::new();
    let own = world.file(&name(), transcript(&["a"]));
    import_changed(&world, &world.path(".claude"));
    let before = world.repo.get_session(&id(&task())).unwrap();
    fs::remove_file(own).unwrap();
    world.file(
        &format!("clone/{CLAUDE}.jsonl"),
        transcript(&["x"]).replace("uuid", "other"),
    );
    import_changed(&world, &world.path("clone"));
    assert_eq!(world.repo.get_session(&id(&task())).unwrap(), before);
}

#[test]
fn a_named_file_is_read_again() {
    let world = World::new();
    let other = "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f61";
    let named = world.file(&format!("files/{other}.jsonl"), transcript(&["a"]));
    age(&named);
    import_changed(&world, &world.path("files"));
    assert!(world.repo.get_tasks().unwrap().is_empty());
    import_changed(&world, &named);
    assert_eq!(world.repo.get_history(&id(&task())).unwrap().len(), 1);
}
