use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::json;
use turnkeep_agents::{HomeCheck, check_homes};
use turnkeep_repo::BackendType;

use crate::support::{CLAUDE, World, going_on, id, jsonl, transcript};

const OTHER: &str = "7f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f60";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn check(world: &World) -> Vec<HomeCheck> {
    check_homes(&world.repo, &world.options.homes, SystemTime::now()).unwrap()
}

fn claude(world: &World) -> HomeCheck {
    let mut checks = check(world);
    assert_eq!(checks.len(), 1);
    let check = checks.remove(0);
    assert_eq!(
        (&check.backend_type, &check.home),
        (&BackendType::Claude, &world.options.homes.claude)
    );
    check
}

fn set_age(path: &Path, age: Duration) {
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn a_home_that_does_not_exist_is_left_out() {
    assert!(check(&World::new()).is_empty());
}

#[test]
fn sessions_are_counted_until_they_are_kept_whole() {
    let mut world = World::new();
    let name = format!("projects/-srv-app/{CLAUDE}.jsonl");
    let path = world.file(&format!(".claude/{name}"), transcript(&["a"]));
    world.file(
        &format!(".claude/projects/-srv-app/{OTHER}.jsonl"),
        transcript(&["a"]).replace(CLAUDE, OTHER),
    );
    world.file(
        &format!(".claude/projects/-srv-app/{CLAUDE}/subagents/agent-1.jsonl"),
        transcript(&["x"]),
    );
    let before = claude(&world);
    assert_eq!((before.sessions, before.not_kept, before.grown), (2, 2, 0));

    world.options.words_only = true;
    world.import(&path);
    let words = claude(&world);
    assert_eq!((words.not_kept, words.words_only, words.grown), (1, 1, 0));
    world.options.words_only = false;
    world.import(&path);
    let whole = claude(&world);
    assert_eq!((whole.not_kept, whole.words_only, whole.grown), (1, 0, 0));

    world.file(&format!(".claude/{name}"), transcript(&["a", "b"]));
    assert_eq!(claude(&world).grown, 1);
    world.import(&path);
    assert_eq!(claude(&world).grown, 0);
}

#[test]
fn a_file_of_another_name_or_beside_the_transcript_is_not_kept_yet() {
    let world = World::new();
    let project = world.path(".claude/projects/-srv-app");
    let own = format!("{CLAUDE}.jsonl");
    world.file(
        &format!(".claude/projects/-srv-app/{own}"),
        transcript(&["a"]),
    );
    let grown = || {
        let grown = claude(&world).grown;
        world.import(world.path(".claude"));
        (grown, claude(&world).grown)
    };
    world.import(world.path(".claude"));
    assert_eq!(grown(), (0, 0));
    let moved = world.path(".claude/projects/-srv-moved");
    std::fs::rename(&project, &moved).unwrap();
    std::fs::write(moved.join(&own), transcript(&["a", "b"])).unwrap();
    assert_eq!(grown(), (1, 0));
    let line = format!("{{\"type\":\"user\",\"sessionId\":\"{CLAUDE}\",\"isSidechain\":true}}\n");
    for side in [
        format!("{CLAUDE}/tool-results/1.txt"),
        "agent-1.jsonl".to_owned(),
    ] {
        let side = format!(".claude/projects/-srv-moved/{side}");
        world.file(&side, &line);
        assert_eq!(grown(), (1, 0), "{side}");
        world.file(&side, line.repeat(2));
        assert_eq!(grown(), (1, 0), "{side}");
    }
    assert_eq!(claude(&world).expiring_unkept, 0);
    // Moved to the archive.
    let name = format!("rollout-2026-02-03T10-00-00-{OTHER}.jsonl");
    let meta = json!({"type": "session_meta", "payload": {"id": OTHER, "cwd": "/srv"}});
    let said = json!({"timestamp": "2026-02-03T10:00:00Z", "type": "response_item", "payload":
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]}});
    let rollout = format!(".codex/sessions/2026/02/03/{name}");
    let rollout = world.file(&rollout, jsonl([meta, said]));
    world.import(world.path(".codex"));
    let archived = world.file(&format!(".codex/archived_sessions/{name}"), "");
    std::fs::rename(rollout, archived).unwrap();
    assert_eq!(check(&world)[1].grown, 1);
    world.import(world.path(".codex"));
    assert_eq!(check(&world)[1].grown, 0);
}

#[test]
fn a_removed_session_is_not_missed() {
    let world = World::new();
    let transcript = transcript(&["a"]);
    let path = world.file(
        &format!(".claude/projects/-srv-app/{CLAUDE}.jsonl"),
        transcript,
    );
    world.import(&path);
    let task = id(&format!("claude:{CLAUDE}"));
    world.repo.delete_task(&task).unwrap();
    assert_eq!(claude(&world).not_kept, 1);
    world.import(&path);
    world.repo.remove_task(&task).unwrap();
    assert_eq!(claude(&world).not_kept, 0);
    // Its file has changed, but nothing more was said.
    let tomorrow = SystemTime::now() + DAY;
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(tomorrow).unwrap();
    assert_eq!(claude(&world).not_kept, 0);
    std::fs::write(&path, going_on()).unwrap();
    assert_eq!(claude(&world).not_kept, 1);
    // The clock of the file system lags.
    let removed_at = world.repo.list_removed_sessions().unwrap()[0].removed_at;
    let just_before = SystemTime::from(removed_at) - Duration::from_millis(10);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(just_before).unwrap();
    assert_eq!(claude(&world).not_kept, 1);
}

#[test]
fn sessions_that_will_be_deleted_soon_are_counted() {
    let world = World::new();
    let path = world.file(
        &format!(".claude/projects/-srv-app/{CLAUDE}.jsonl"),
        transcript(&["a"]),
    );
    let expiring = |age: Duration| {
        set_age(&path, age);
        let check = claude(&world);
        (check.expiring, check.expiring_unkept)
    };
    assert_eq!(expiring(22 * DAY), (0, 0));
    assert_eq!(expiring(24 * DAY), (1, 1));
    assert_eq!(expiring(400 * DAY), (1, 1));
    world.import(&path);
    assert_eq!(expiring(400 * DAY), (1, 0));
    for (settings, expected) in [
        (r#"{"cleanupPeriodDays": 99999, "hooks": {}}"#, 0),
        (r#"{"cleanupPeriodDays": 18446744073709551615}"#, 0),
        (r#"{"cleanupPeriodDays": 0}"#, 1),
        (r#"{"cleanupPeriodDays": "x"}"#, 1),
        ("{", 1),
        ("{}", 1),
    ] {
        world.file(".claude/settings.json", settings);
        assert_eq!(expiring(400 * DAY).0, expected, "{settings}");
    }
    world.file(".claude/settings.json", r#"{"cleanupPeriodDays": 10}"#);
    assert_eq!(expiring(4 * DAY), (1, 0));
    assert_eq!(expiring(2 * DAY), (0, 0));
}

#[test]
fn sessions_of_codex_and_goose_are_counted() {
    let world = World::new();
    let database = world.goose(
        "goose/sessions/sessions.db",
        &[("20260203_1", "a"), ("20260203_2", "b")],
    );
    let rollout = format!(".codex/sessions/2026/02/03/rollout-2026-02-03T10-00-00-{OTHER}.jsonl");
    let meta = format!(r#"{{"type":"session_meta","payload":{{"id":"{OTHER}","cwd":"/srv"}}}}"#);
    world.file(&rollout, meta + "\n");
    set_age(&database, 400 * DAY);
    let counts = |world: &World| -> Vec<_> {
        let checks = check(world).into_iter();
        checks
            .map(|it| {
                (
                    it.backend_type.to_string(),
                    it.sessions,
                    it.not_kept,
                    it.expiring,
                )
            })
            .collect()
    };
    assert_eq!(
        counts(&world),
        [("codex".into(), 1, 1, 0), ("goose".into(), 2, 2, 0)]
    );
    world.import(&database);
    world.import(world.path(".codex"));
    assert_eq!(
        counts(&world),
        [("codex".into(), 1, 0, 0), ("goose".into(), 2, 0, 0)]
    );
}
