use std::fs;

use serde_json::json;
use turnkeep_agents::{Evidence, Origin};
use turnkeep_repo::{BackendType, NewSession, NewTask, Role, SessionId, WorkingDir};

use crate::support::{CLAUDE, World, going_on, id, jsonl, transcript};

/// The place of a transcript in a home.
fn in_home(home: &str) -> String {
    format!("{home}/projects/-srv-app/{CLAUDE}.jsonl")
}

/// Makes a task of an orchestrator that is bound to a session.
fn bind(world: &World, task: &str, backend: BackendType, session: &str) {
    world
        .repo
        .save_task(&NewTask::new(id(task), "Mine"))
        .unwrap();
    let binding = NewSession::new(backend, SessionId::new(session).unwrap());
    world.repo.save_session(&id(task), &binding).unwrap();
}

fn revisions(world: &World, task: &str) -> usize {
    world.repo.list_session_revisions(&id(task)).unwrap().len()
}

#[test]
fn a_binding_tells_where_its_recording_is() {
    let world = World::new();
    let own = world.file(&in_home(".claude"), transcript(&["a"]));
    let task = format!("claude:{CLAUDE}");
    assert_eq!(world.import(&own).tasks(), [(&*task, 1)]);
    let session = world.session(&task);
    let origin = Origin::of(session.metadata.as_ref()).unwrap();
    assert_eq!(
        origin.imported_from,
        own.canonicalize().unwrap().to_str().unwrap()
    );
    assert_eq!(
        (&*origin.host, origin.evidence),
        ("host-1", Evidence::Place)
    );
    assert_eq!(session.config_dir, None, "the usual home");

    let world = World::new();
    let other = world.file(&in_home("other"), transcript(&["a"]));
    world.import(other);
    let home = world.path("other").canonicalize().unwrap();
    assert_eq!(world.session(&task).config_dir.unwrap().as_path(), home);
}

#[test]
fn equal_copies_do_not_move_a_binding() {
    let world = World::new();
    let task = format!("claude:{CLAUDE}");
    let own = world.file(&in_home(".claude"), transcript(&["a", "b"]));
    let backup = world.file(&in_home("backup"), transcript(&["a", "b"]));
    let shorter = world.file(&in_home("old"), transcript(&["a"]));
    for path in [&own, &backup, &shorter, &own, &backup] {
        world.import(path);
    }
    let outside = world.file(&format!("{CLAUDE}.jsonl"), transcript(&["a", "b", "c"]));
    assert_eq!(world.import(outside).tasks(), [(&*task, 1)]);
    assert_eq!(revisions(&world, &task), 1);
    assert_eq!(world.session(&task).config_dir, None);

    world.file(&in_home("backup"), transcript(&["a", "b", "c"]));
    fs::remove_file(&own).unwrap();
    world.import(&shorter);
    assert_eq!(revisions(&world, &task), 1, "an older copy");
    world.import(&backup);
    let home = world.path("backup").canonicalize().unwrap();
    assert_eq!(world.session(&task).config_dir.unwrap().as_path(), home);
}

#[test]
fn a_claim_keeps_no_task_that_the_session_needs() {
    let world = World::new();
    let line = |uuid, text| {
        json!({"type": "user", "session_id": CLAUDE, "uuid": uuid, "cwd": "/tmp/evil",
            "message": {"role": "user", "content": text}})
    };
    let log = world.file("evil/run.log", jsonl([line("x", "INJECTED")]));
    let rollout = world.file(
        "evil/rollout-x.jsonl",
        jsonl([
            json!({"timestamp": "2026-03-04T10:00:00Z", "type": "session_meta", "payload": {"id": CLAUDE}}),
            json!({"timestamp": "2026-03-04T10:00:00Z", "type": "response_item", "payload":
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "INJECTED"}]}}),
        ]),
    );
    let evil = world.import(world.path("evil"));
    let (task, claims) = (
        format!("claude:{CLAUDE}"),
        [
            format!("codex-log:{CLAUDE}"),
            format!("claude-log:{CLAUDE}"),
        ],
    );
    let made: Vec<_> = evil.sessions.iter().map(|it| it.task_id.as_str()).collect();
    assert_eq!(made, claims);

    let own = world.file(&in_home(".claude"), transcript(&["a"]));
    assert_eq!(world.import(own).tasks(), [(&*task, 1)]);
    assert_eq!(world.history(&task), ["a"]);
    assert_eq!(
        world.session(&task).working_dir,
        Some(WorkingDir::new("/srv/app").unwrap())
    );

    // The log goes on, beside the session.
    world.file(
        "evil/run.log",
        jsonl([line("x", "INJECTED"), line("y", "more")]),
    );
    assert_eq!(
        world.import(world.path("evil")).tasks(),
        [(&*claims[0], 0), (&*claims[1], 1)]
    );
    assert_eq!(world.history(&task), ["a"]);
    drop((log, rollout));
}

#[test]
fn a_removed_claim_keeps_no_session_away() {
    let world = World::new();
    let line = json!({"type": "user", "session_id": CLAUDE, "uuid": "x", "cwd": "/tmp/evil",
        "message": {"role": "user", "content": "INJECTED"}});
    world.file("evil/run.log", jsonl([line]));
    let claim = format!("claude-log:{CLAUDE}");
    let made = world.import(world.path("evil")).sessions;
    assert_eq!(made[0].task_id.as_str(), claim);
    assert!(world.repo.remove_task(&id(&claim)).unwrap());
    assert_eq!(world.import(world.path("evil")).tasks(), []);

    let task = format!("claude:{CLAUDE}");
    let own = world.file(&in_home(".claude"), transcript(&["a"]));
    assert_eq!(world.import(&own).tasks(), [(&*task, 1)]);
    assert!(world.repo.remove_task(&id(&task)).unwrap());
    assert_eq!(world.import(&own).tasks(), []);
    assert_eq!(world.import(world.path("evil")).tasks(), []);
}

#[test]
fn a_removed_session_that_goes_on_is_told() {
    let world = World::new();
    let task = format!("claude:{CLAUDE}");
    let own = world.file(&in_home(".claude"), transcript(&["a"]));
    world.import(&own);
    assert!(world.repo.remove_task(&id(&task)).unwrap());
    // Earlier words that were not imported yet.
    world.file(&in_home(".claude"), transcript(&["a", "b"]));
    assert_eq!(world.import(&own).tasks(), []);

    world.file(&in_home(".claude"), going_on());
    let imported = world.import(&own);
    assert!(imported.sessions.is_empty());
    let warning = format!(
        "{}: session `{CLAUDE}` goes on since its task `{task}` was removed, and is not imported",
        fs::canonicalize(&own).unwrap().display()
    );
    assert_eq!(imported.remarks, [warning]);
    assert!(world.repo.get_tasks().unwrap().is_empty());
    world.repo.lift_removal(&id(&task)).unwrap();
    assert_eq!(world.import(&own).tasks(), [(&*task, 2)]);
}

#[test]
fn prompts_alone_add_to_no_known_session() {
    let history = |texts: &[&str]| {
        let lines = texts.iter().enumerate();
        jsonl(lines.map(|(number, text)| {
            json!({"display": text, "timestamp": 1_770_112_800_500_i64 + number as i64 * 60_000,
                "project": "/tmp/evil", "sessionId": CLAUDE})
        }))
    };
    let task = format!("claude:{CLAUDE}");
    // A task of an orchestrator with turns of its own.
    let world = World::new();
    bind(&world, "review", BackendType::Claude, CLAUDE);
    world
        .repo
        .save_message(&id("review"), Role::User, "mine")
        .unwrap();
    world.file("evil/history.jsonl", history(&["INJECTED"]));
    fs::create_dir_all(world.path("evil/projects")).unwrap();
    assert_eq!(world.import(world.path("evil")).tasks(), []);
    assert_eq!(world.history("review"), ["mine"]);

    // The prompts come first.
    let world = World::new();
    world.file("evil/history.jsonl", history(&["INJECTED"]));
    fs::create_dir_all(world.path("evil/projects")).unwrap();
    assert_eq!(world.import(world.path("evil")).tasks(), [(&*task, 1)]);
    let own = world.file(&in_home(".claude"), transcript(&["a"]));
    let numbered = format!("{task}#2");
    assert_eq!(world.import(own).tasks(), [(&*numbered, 1)]);
    assert_eq!(world.history(&numbered), ["a"]);

    // True prompts of a deleted session, and then a backup of it.
    let world = World::new();
    world.file(".claude/history.jsonl", history(&["a", "b"]));
    fs::create_dir_all(world.path(".claude/projects")).unwrap();
    assert_eq!(world.import(world.path(".claude")).tasks(), [(&*task, 2)]);
    let backup = world.file(&in_home("backup"), transcript(&["a", "b", "c"]));
    assert_eq!(world.import(backup).tasks(), [(&*task, 1)]);
    assert_eq!(world.history(&task), ["a", "b", "c"]);
}

#[test]
fn goose_sessions_of_two_places_do_not_mix() {
    const DATABASE: &str = "goose/sessions/sessions.db";
    let mut world = World::new();
    let own = world.goose(DATABASE, &[("20261001_1", "here")]);
    let other = world.goose(
        "other/data/sessions/sessions.db",
        &[("20261001_1", "there")],
    );
    for count in [1, 0] {
        assert_eq!(world.import(&own).tasks(), [("goose:20261001_1", count)]);
        assert_eq!(
            world.import(&other).tasks(),
            [("goose:20261001_1#2", count)]
        );
    }
    assert_eq!(world.history("goose:20261001_1"), ["here"]);
    assert_eq!(world.history("goose:20261001_1#2"), ["there"]);
    let root = world.path("other").canonicalize().unwrap();
    let session = world.session("goose:20261001_1#2");
    assert_eq!(session.config_dir.unwrap().as_path(), root);

    // Another machine with the same path.
    world.options.host = "host-2".into();
    fs::remove_file(&own).unwrap();
    world.goose(DATABASE, &[("20261001_1", "elsewhere")]);
    assert_eq!(world.import(&own).tasks(), [("goose:20261001_1#3", 1)]);

    // A copy of the first one that went on.
    let moved = [("20261001_1", "here"), ("20261001_1", "and on")];
    let moved = world.goose("moved/sessions/sessions.db", &moved);
    assert_eq!(world.import(moved).tasks(), [("goose:20261001_1", 1)]);
    for task in [
        "goose:20261001_1",
        "goose:20261001_1#2",
        "goose:20261001_1#3",
    ] {
        assert!(revisions(&world, task) <= 2);
    }
}

#[test]
fn a_bound_goose_session_is_the_one_in_the_home_of_its_binding() {
    let world = World::new();
    let own = world.goose("goose/sessions/sessions.db", &[("20261001_1", "here")]);
    let evil = world.goose("work/x/sessions.db", &[("20261001_1", "INJECTED")]);
    for with_turns in [false, true] {
        let world = world.with_empty_store();
        bind(&world, "review", BackendType::Goose, "20261001_1");
        if with_turns {
            world
                .repo
                .save_message(&id("review"), Role::User, "here")
                .unwrap();
        }
        assert_eq!(world.import(&evil).tasks(), [("goose:20261001_1", 1)]);
        assert_eq!(
            world.import(&own).tasks(),
            [("review", i64::from(!with_turns))]
        );
        assert_eq!(world.history("review"), ["here"]);
    }
}

#[test]
fn a_binding_that_is_replaced_meanwhile_stays_replaced() {
    let world = World::new();
    let own = world.file(&in_home(".claude"), transcript(&["a"]));
    bind(&world, "review", BackendType::Claude, CLAUDE);
    let repo = world.repo.clone();
    let orchestrator = std::thread::spawn(move || {
        for round in 0..200 {
            for session in [CLAUDE, &format!("next-{round}")] {
                let session = SessionId::new(session).unwrap();
                let binding = NewSession::new(BackendType::Claude, session.clone());
                repo.save_session(&id("review"), &binding).unwrap();
                std::thread::yield_now();
                assert_eq!(repo.get_session(&id("review")).unwrap().session_id, session);
            }
        }
    });
    while !orchestrator.is_finished() {
        assert_eq!(world.import(&own).sessions[0].task_id, id("review"));
    }
    orchestrator.join().unwrap();
}

#[test]
fn a_title_that_comes_later_names_the_task() {
    let world = World::new();
    let path = format!(".claude/projects/-srv-app/{CLAUDE}.jsonl");
    let task = id(&format!("claude:{CLAUDE}"));
    let name = || world.repo.get_task(&task).unwrap().name;
    let title = |text: &str| {
        format!(
            "{}\n",
            json!({"type": "ai-title", "aiTitle": text, "sessionId": CLAUDE})
        )
    };
    let import = |content: String| world.import(world.file(&path, content));
    import(transcript(&["Why does it fail?"]));
    assert_eq!(name(), "Why does it fail?");
    import(transcript(&["Why does it fail?"]) + &title("The login"));
    assert_eq!(name(), "The login");

    let mut renamed = NewTask::new(task.clone(), "My own").prompt("p");
    renamed.metadata = Some(r#"{"a":1}"#.parse().unwrap());
    world.repo.save_task(&renamed).unwrap();
    let before = world.repo.get_task(&task).unwrap();
    import(transcript(&["Why does it fail?"]) + &title("Another"));
    assert_eq!(world.repo.get_task(&task).unwrap(), before);

    renamed.name = "Why does it fail?".to_owned();
    world.repo.save_task(&renamed).unwrap();
    import(transcript(&["Why does it fail?"]) + &title("Another"));
    let after = world.repo.get_task(&task).unwrap();
    assert_eq!(
        (&*after.name, &after.prompt, &after.metadata),
        ("Another", &renamed.prompt, &renamed.metadata)
    );
}
