use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use turnkeep_agents::{RestoreAction, RestoreError, RestoreSource};
use turnkeep_repo::chrono::DateTime;
use turnkeep_repo::{BackendType, NewSession, Repo, Role};

use super::support::{ID, World, steps};

/// A line of which Claude Code reads a message.
const SAID: &str = "{\"type\":\"user\",\"timestamp\":\"2026-11-30T10:00:00Z\",\"message\":{}}\n";

const LINES: &str = "{\"type\":\"user\",\"timestamp\":\"2026-11-30T10:00:00Z\",\"message\":{}}\n\
    {\"type\":\"assistant\"}\n";

fn world() -> World {
    World::new(BackendType::Claude, ID)
}

fn transcript(folder: &str) -> String {
    format!("projects/{folder}/{ID}.jsonl")
}

impl World {
    /// The place of the transcript, from the folder of the test.
    fn target(&self) -> String {
        format!("claude/{}", transcript(&self.project("app")))
    }
}

#[test]
fn files_are_put_back_byte_for_byte() {
    let world = world();
    let large = SAID.to_owned() + &"{\"x\":\"ü\u{2028}\"}\n".repeat(1_000);
    world.keep(&transcript("-any"), &large);
    world.keep(&format!("projects/-any/{ID}/subagents/agent-1.jsonl"), "{}");
    world.keep(
        &format!("projects/-any/{ID}/tool-results/b/2.txt"),
        b"\xff\0\r\n",
    );
    world.keep(&format!("projects/-any/{ID}/empty"), "");

    let restored = world.restore();

    assert_eq!(restored.source, RestoreSource::Files);
    assert_eq!(restored.recording, world.path(&world.target()));
    assert_eq!(
        restored.working_dir.as_deref(),
        Some(world.path("app").as_path())
    );
    let folder = format!("claude/projects/{}/{ID}", world.project("app"));
    let expected = [
        (format!("{folder}.jsonl"), large.into_bytes()),
        (format!("{folder}/empty"), Vec::new()),
        (format!("{folder}/subagents/agent-1.jsonl"), b"{}".to_vec()),
        (
            format!("{folder}/tool-results/b/2.txt"),
            b"\xff\0\r\n".to_vec(),
        ),
    ];
    assert_eq!(world.files(), expected.into());
    let write = RestoreAction::Write;
    let last = (write, format!("{ID}.jsonl"));
    assert_eq!(
        steps(&restored).last(),
        Some(&last),
        "the transcript comes last"
    );

    // A second restore finds all of them.
    let repeated = world.restore();
    assert_eq!(repeated.steps.len(), 4);
    assert!(
        repeated
            .steps
            .iter()
            .all(|step| step.action == RestoreAction::Keep)
    );
}

/// The clock may be set back before a rewrite.
#[test]
fn the_last_state_of_a_file_is_put_back_whatever_its_time() {
    let second = Arc::new(AtomicI64::new(2_000_000_000));
    let clock = Arc::clone(&second);
    let now = move || DateTime::from_timestamp(clock.load(Ordering::Relaxed), 0).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let repo = Repo::builder(folder.path().join("s.db"))
        .clock(now)
        .open()
        .unwrap();
    let world = World::with_store(repo, BackendType::Claude, ID);
    world.keep(&transcript("-any"), SAID);
    second.store(1_000_000_000, Ordering::Relaxed);
    world.keep(&transcript("-any"), LINES.replace("10:00", "11:00"));
    world.restore();
    let restored = world.read(&world.target());
    assert_eq!(restored, LINES.replace("10:00", "11:00").as_bytes());
}

#[cfg(unix)]
#[test]
fn only_the_user_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let world = world();
    world.keep(&transcript("-any"), LINES);
    world.restore();
    let mode = |inside: &str| {
        fs::metadata(world.path(inside))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(&world.target()), 0o600);
    assert_eq!((mode("claude"), mode("claude/projects")), (0o700, 0o700));
}

/// Claude Code deletes recordings whose files are older than 30 days.
#[test]
fn a_transcript_that_is_there_gets_the_present_as_its_time() {
    let world = world();
    world.keep(&transcript("-any"), LINES);
    world.restore();
    let path = world.path(&world.target());
    let old = SystemTime::now() - Duration::from_secs(60 * 24 * 60 * 60);
    let file = fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(old).unwrap();
    world.try_restore(|it| it.dry_run = true).unwrap();
    let age = || {
        fs::metadata(&path)
            .unwrap()
            .modified()
            .unwrap()
            .elapsed()
            .unwrap()
    };
    assert!(
        age() > Duration::from_secs(24 * 60 * 60),
        "a dry run changes no time"
    );
    world.restore();
    assert!(age() < Duration::from_secs(24 * 60 * 60));
}

#[test]
fn a_transcript_ends_with_a_whole_line() {
    for (kept, expected) in [
        ("{\"a\":1}\n{\"b\":2}", "{\"a\":1}\n{\"b\":2}\n"),
        ("{\"a\":1}\n{\"b\":", "{\"a\":1}\n"),
        ("{\"a\":1}\n\u{fc}", "{\"a\":1}\n"),
        ("{\"a\":1}", "{\"a\":1}\n"),
        ("no json\n", "no json\n"),
    ] {
        let world = world();
        world.keep(&transcript("-any"), format!("{SAID}{kept}"));
        world.restore();
        let expected = format!("{SAID}{expected}");
        assert_eq!(world.read(&world.target()), expected.as_bytes(), "{kept}");
    }
    let world = world();
    world.keep(&transcript("-any"), SAID.trim_end());
    world.restore();
    assert_eq!(world.read(&world.target()), SAID.as_bytes());
}

#[test]
fn another_working_folder_has_another_project_folder() {
    let world = world();
    world.keep(&transcript("-any"), LINES);
    let restored = world
        .try_restore(|it| {
            let new = (world.path("").to_str().unwrap().to_owned(), "/srv".into());
            it.relocation.prefixes = vec![new];
        })
        .unwrap();
    assert_eq!(
        restored.working_dir.unwrap(),
        std::path::Path::new("/srv/app")
    );
    let target = format!("claude/{}", transcript("-srv-app"));
    assert_eq!(world.read(&target), LINES.as_bytes());

    let home = world.path("other");
    world
        .try_restore(|it| it.relocation.home = Some(home))
        .unwrap();
    let target = format!("other/{}", transcript(&world.project("app")));
    assert_eq!(world.read(&target), LINES.as_bytes());
}

/// Claude Code names the project folder after the real path.
#[cfg(unix)]
#[test]
fn a_linked_working_folder_has_the_project_folder_of_its_target() {
    let world = world();
    world.keep(&transcript("-any"), LINES);
    std::os::unix::fs::symlink(world.path("app"), world.path("link")).unwrap();
    let link = world.path("link");
    world
        .try_restore(|it| it.relocation.working_dir = Some(link))
        .unwrap();
    assert_eq!(world.read(&world.target()), LINES.as_bytes());
}

#[test]
fn without_a_working_folder_the_project_folder_stays() {
    let world = world();
    world.bind(&NewSession::new(BackendType::Claude, ID.parse().unwrap()));
    let error = world.try_restore(|_| {}).unwrap_err();
    assert!(
        matches!(error, RestoreError::NoWorkingDir { .. }),
        "{error}"
    );
    world.keep(&transcript("-any"), LINES);
    world.restore();
    assert_eq!(
        world.read(&format!("claude/{}", transcript("-any"))),
        LINES.as_bytes()
    );
}

#[test]
fn a_file_with_more_than_the_store_is_never_replaced() {
    let world = world();
    world.keep(&transcript("-any"), LINES);
    let longer = format!("{LINES}{{\"type\":\"user\"}}\n");
    world.write(&world.target(), &longer);
    let restored = world.restore();
    assert_eq!(
        steps(&restored),
        [(RestoreAction::KeepLonger, format!("{ID}.jsonl"))]
    );
    assert_eq!(world.read(&world.target()), longer.as_bytes());

    world.try_restore(|it| it.force = true).unwrap();
    assert_eq!(world.read(&world.target()), LINES.as_bytes());
}

/// Claude Code finds no conversation in it.
#[test]
fn a_transcript_without_a_message_is_made_of_words() {
    let queued = "{\"type\":\"queue-operation\",\"timestamp\":\"x\",\"content\":\"Hello\"}\n";
    for kept in [queued, "", "no JSON\n", &SAID[..SAID.len() - 2]] {
        let world = world();
        world.keep(&transcript("-any"), kept);
        let error = world.try_restore(|_| {}).unwrap_err();
        assert!(matches!(error, RestoreError::NothingKept { .. }), "{error}");
        world.say(Role::User, "Hello", "k");
        let restored = world.restore();
        assert_eq!(restored.source, RestoreSource::Words, "{kept}");
        assert_eq!(restored.steps[0].action, RestoreAction::LeaveOut);
    }
    // Neither is one on the disk worth more than the words.
    for there in ["app", "moved"] {
        let world = world();
        world.say(Role::User, "Hello", "k");
        let there = format!("claude/{}", transcript(&world.project(there)));
        world.write(&there, queued);
        assert_eq!(world.restore().source, RestoreSource::Words, "{there}");
        let text = String::from_utf8(world.read(&world.target())).unwrap();
        assert!(text.contains("\"message\""), "{text}");
    }
}

/// It has the tool calls, which words lack.
#[test]
fn a_transcript_that_is_there_is_not_replaced_by_words() {
    let world = world();
    world.say(Role::User, "Hello", "k");
    world.write(&world.target(), LINES);
    let restored = world.restore();
    assert_eq!(restored.source, RestoreSource::Files);
    let kept = (RestoreAction::KeepLonger, format!("{ID}.jsonl"));
    assert_eq!(steps(&restored), [kept]);
    assert_eq!(world.read(&world.target()), LINES.as_bytes());
    let forced = world.try_restore(|it| it.force = true).unwrap();
    assert_eq!(forced.source, RestoreSource::Words);
}

#[test]
fn a_session_that_went_on_keeps_its_other_files() {
    let world = world();
    world.keep(&transcript("-any"), LINES);
    world.keep(&format!("projects/-any/{ID}/a.txt"), "a");
    world.write(&world.target(), format!("{LINES}{LINES}"));
    let side = format!("claude/projects/{}/{ID}/a.txt", world.project("app"));
    world.write(&side, "b");
    let before = world.files();
    world.restore();
    assert_eq!(world.files(), before);
}

#[test]
fn the_beginning_of_a_file_is_completed() {
    for beginning in ["", "{\"type\":", &LINES[..16]] {
        let world = world();
        world.keep(&transcript("-any"), LINES);
        world.write(&world.target(), beginning);
        let restored = world.restore();
        assert_eq!(
            steps(&restored),
            [(RestoreAction::Replace, format!("{ID}.jsonl"))]
        );
        assert_eq!(world.read(&world.target()), LINES.as_bytes());
    }
}

#[test]
fn a_file_that_differs_stops_a_restore_before_its_first_write() {
    let world = world();
    world.keep(&transcript("-any"), LINES);
    world.keep(&format!("projects/-any/{ID}/a.txt"), "a");
    for other in ["{\"type\":\"x\"}\n", "x", &"y".repeat(5_000)] {
        world.write(&world.target(), other);
        let before = world.files();
        let error = world.try_restore(|_| {}).unwrap_err();
        let target = world.path(&world.target());
        assert!(matches!(error, RestoreError::Differs { path } if path == target));
        assert_eq!(world.files(), before);
    }
    world.try_restore(|it| it.force = true).unwrap();
    assert_eq!(world.read(&world.target()), LINES.as_bytes());
}

#[test]
fn a_second_copy_is_named_and_only_removed_with_force() {
    let world = world();
    world.keep(&transcript("-any"), LINES);
    let copy = format!("claude/{}", transcript("-moved"));
    world.write(&copy, &LINES[..16]);
    world.write(
        &format!("claude/projects/-moved/{ID}/tool-results/1.txt"),
        "",
    );
    let restored = world.restore();
    let named = restored.steps.last().unwrap();
    assert_eq!(named.action, RestoreAction::KeepCopy);
    assert_eq!(named.path, world.path(&copy));

    let dry = |it: &mut turnkeep_agents::RestoreOptions| {
        it.force = true;
        it.dry_run = true;
    };
    let planned = world.try_restore(dry).unwrap();
    assert!(world.path(&copy).exists());
    let removed = world.try_restore(|it| it.force = true).unwrap();
    assert_eq!(removed, planned);
    assert_eq!(
        removed.steps.last().unwrap().action,
        RestoreAction::RemoveCopy
    );
    assert!(!world.path(&copy).exists());
}

/// The session went on in another folder. A second copy would begin another branch.
#[test]
fn a_copy_with_more_than_the_store_stops_a_restore() {
    let world = world();
    world.keep(&transcript("-any"), LINES);
    let copy = format!("claude/{}", transcript("-moved"));
    world.write(&copy, format!("{LINES}{LINES}"));
    let before = world.files();
    let error = world.try_restore(|_| {}).unwrap_err();
    assert!(matches!(error, RestoreError::OtherCopy { path } if path == world.path(&copy)));
    assert_eq!(world.files(), before);
    world.try_restore(|it| it.force = true).unwrap();
    assert_eq!(world.read(&copy), before[&copy], "no words are deleted");
}

#[test]
fn of_several_transcripts_the_latest_is_put_back() {
    let world = world();
    world.keep(&transcript("-a"), LINES);
    world.keep(&transcript("-b"), SAID);
    let restored = world.restore();
    assert_eq!(world.read(&world.target()), SAID.as_bytes());
    let left = restored
        .steps
        .iter()
        .find(|it| it.action == RestoreAction::LeaveOut);
    assert_eq!(left.unwrap().path.to_str(), Some(&*transcript("-a")));
}

#[test]
fn names_of_a_hostile_store_lead_nowhere_else() {
    let world = world();
    world.keep(&transcript("-any"), LINES);
    // A name with `..` is no recording's name.
    for name in [
        "settings.json".to_owned(),
        "app/x".to_owned(),
        "plugins/x/projects/-any/x.jsonl".to_owned(),
        "projects/-any/CLAUDE.md".to_owned(),
        "projects/-any/memory/MEMORY.md".to_owned(),
        transcript("-any").replace(ID, "11111111-4a59-4e68-8f70-1b2c3d4e5f60"),
        format!("projects/-any/{ID}/C:x"),
        format!("projects/-any/{ID}/{}", vec!["a"; 50].join("/")),
        format!("projects/-any/{ID}/{}", "a".repeat(300)),
    ] {
        world.keep(&name, "hostile");
    }
    world.restore();
    let files = world.files();
    assert_eq!(files.keys().collect::<Vec<_>>(), [&world.target()]);
    assert_eq!(files[&world.target()], LINES.as_bytes());
}

#[test]
fn a_session_id_is_no_path() {
    for id in ["../../x", "..", "a/b", " "] {
        let world = World::new(BackendType::Claude, id);
        world.say(Role::User, "Hello", "k");
        let error = world.try_restore(|_| {}).unwrap_err();
        assert!(
            matches!(error, RestoreError::InvalidSessionId { .. }),
            "{id}"
        );
        assert!(world.files().is_empty());
    }
}

#[cfg(unix)]
#[test]
fn no_link_below_the_home_is_followed() {
    use std::os::unix::fs::symlink;
    let outside = |world: &World, link: &str| {
        fs::create_dir(world.path("outside")).unwrap();
        let link = world.path(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(world.path("outside"), link).unwrap();
    };
    let project = |world: &World| format!("claude/projects/{}", world.project("app"));
    let places: [fn(&World) -> String; 3] = [
        |_| "claude/projects".to_owned(),
        |world| format!("claude/projects/{}", world.project("app")),
        |world| format!("claude/projects/{}/{ID}", world.project("app")),
    ];
    for place in places {
        let world = world();
        world.keep(&transcript("-any"), LINES);
        world.keep(&format!("projects/-any/{ID}/a.txt"), "a");
        outside(&world, &place(&world));
        for force in [false, true] {
            let error = world.try_restore(|it| it.force = force).unwrap_err();
            assert!(matches!(error, RestoreError::NotAFile { .. }), "{error}");
        }
        assert_eq!(fs::read_dir(world.path("outside")).unwrap().count(), 0);
    }
    // A file that is a link.
    let world = world();
    world.keep(&transcript("-any"), LINES);
    let victim = world.write("victim", "");
    fs::create_dir_all(world.path(&project(&world))).unwrap();
    symlink(victim, world.path(&world.target())).unwrap();
    let error = world.try_restore(|it| it.force = true).unwrap_err();
    assert!(matches!(error, RestoreError::NotAFile { .. }), "{error}");
    assert_eq!(world.read("victim"), b"");
    // The home itself may be a link.
    let world = self::world();
    world.keep(&transcript("-any"), LINES);
    outside(&world, "claude");
    world.restore();
    let target = world.target().replace("claude/", "outside/");
    assert_eq!(world.read(&target), LINES.as_bytes());
}

#[test]
fn a_dry_run_names_all_steps_and_writes_nothing() {
    let world = world();
    world.keep(&transcript("-any"), LINES);
    world.keep(&format!("projects/-any/{ID}/a.txt"), "a");
    let planned = world.try_restore(|it| it.dry_run = true).unwrap();
    assert!(!world.path("claude").exists());
    assert_eq!(world.restore(), planned);
}

/// A killed restore may leave such a file.
#[test]
fn an_unfinished_file_is_no_session() {
    let world = world();
    world.keep(&transcript("-any"), LINES);
    let folder = format!("claude/projects/{}", world.project("app"));
    world.write(&format!("{folder}/.turnkeep-abc-partial"), &LINES[..9]);
    let found = turnkeep_recordings::find(&world.path("claude"), None).unwrap();
    assert!(found.sources.is_empty());
    let restored = world.restore();
    assert_eq!(
        steps(&restored),
        [(RestoreAction::Write, format!("{ID}.jsonl"))]
    );
}

#[test]
fn a_session_without_files_and_words_is_lost() {
    let world = world();
    let error = world.try_restore(|_| {}).unwrap_err();
    assert!(matches!(error, RestoreError::NothingKept { .. }), "{error}");
    assert!(world.files().is_empty());
}

#[test]
fn an_exact_restore_changes_no_byte() {
    let half_line = format!("{SAID}{{\"type\":\"assis");
    let no_newline = LINES.trim_end();
    let no_message = "{\"type\":\"summary\"}\n";
    for kept in [&*half_line, no_newline, no_message] {
        let world = world();
        world.keep(&transcript("-any"), kept);
        world.say(Role::User, "Why?", "6f1d2c3b-4a59-4e68-8f70-1b2c3d4e5f61");
        let restored = world.try_restore(|options| options.exact = true).unwrap();
        assert_eq!(restored.source, RestoreSource::Files);
        assert_eq!(world.read(&world.target()), kept.as_bytes());
        // Without it Claude Code could not go on, or not read it.
        world.try_restore(|options| options.force = true).unwrap();
        assert_ne!(world.read(&world.target()), kept.as_bytes());
    }
}
