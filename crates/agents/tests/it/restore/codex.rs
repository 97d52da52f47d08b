use std::path::Path;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, RunQueryDsl as _, SqliteConnection, sql_query};
use turnkeep_agents::{RestoreAction, RestoreError, RestoreSource};
use turnkeep_repo::{BackendType, Role};

use super::support::{World, steps};

const THREAD: &str = "01a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";
const PARENT: &str = "11a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";
const REVERT: &str = "21a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";

fn world() -> World {
    World::new(BackendType::Codex, THREAD)
}

fn name(ids: &str) -> String {
    format!("rollout-2026-09-18T07-12-44-{ids}.jsonl")
}

fn path(ids: &str) -> String {
    format!("sessions/2026/09/18/{}", name(ids))
}

fn rollout(id: &str) -> String {
    format!(
        "{{\"timestamp\":\"2026-09-18T05:12:44.000Z\",\"type\":\"session_meta\",\"payload\":{{\"id\":\"{id}\",\
         \"timestamp\":\"2026-09-18T05:12:44Z\",\"cwd\":\"/\",\"originator\":\"x\",\"cli_version\":\"0\"}}}}\n{{}}\n"
    )
}

fn fork(id: &str, parent: &str) -> String {
    let base = format!(
        "\"history_base\":{{\"thread_id\":\"{parent}\",\"end_ordinal_exclusive\":4}},\"cwd\""
    );
    rollout(id).replace("\"cwd\"", &base)
}

#[test]
fn a_rollout_is_put_back_byte_for_byte() {
    let world = world();
    // Codex itself begins a new line after half a line.
    let bytes = format!("{}{{\"type\":\"event", rollout(THREAD));
    world.keep(&path(THREAD), &bytes);
    let restored = world.restore();
    assert_eq!(restored.source, RestoreSource::Files);
    let target = format!("codex/{}", path(THREAD));
    assert_eq!(restored.recording, world.path(&target));
    assert_eq!(world.files(), [(target, bytes.into_bytes())].into());
    assert_eq!(
        steps(&world.restore()),
        [(RestoreAction::Keep, name(THREAD))]
    );
}

#[test]
fn the_last_state_of_a_moved_rollout_is_put_back() {
    let world = world();
    let longer = rollout(THREAD) + "{}\n";
    world.keep(
        &format!("archived_sessions/{}", name(THREAD)),
        rollout(THREAD),
    );
    world.keep(&path(THREAD), &longer);
    let restored = world.restore();
    assert_eq!(std::fs::read_to_string(restored.recording).unwrap(), longer);
}

#[test]
fn an_archived_rollout_goes_to_the_folder_of_its_day() {
    for kept in [
        format!("archived_sessions/{}", name(THREAD)),
        format!("archived_sessions/{}.zst", name(THREAD)),
    ] {
        let world = world();
        world.keep(&kept, rollout(THREAD));
        world.restore();
        let file = kept.replace("archived_sessions", "codex/sessions/2026/09/18");
        assert_eq!(world.files().into_keys().collect::<Vec<_>>(), [file]);
    }
}

/// Codex takes only names with the time and the id.
#[test]
fn a_rollout_of_another_name_gets_its_own() {
    let world = world();
    world.keep(&format!("sessions/x/{THREAD}.jsonl"), rollout(THREAD));
    world.restore();
    let target = format!("codex/sessions/2026/09/18/rollout-2026-09-18T05-12-44-{THREAD}.jsonl");
    assert_eq!(
        world.files(),
        [(target, rollout(THREAD).into_bytes())].into()
    );
}

#[test]
fn a_fork_comes_after_its_parent() {
    let world = world();
    let archived = format!("archived_sessions/{}", name(PARENT));
    world.keep(&path(THREAD), fork(THREAD, PARENT));
    world.keep(&archived, rollout(PARENT));
    let restored = world.restore();
    assert_eq!(
        steps(&restored),
        [
            (RestoreAction::Write, name(PARENT)),
            (RestoreAction::Write, name(THREAD))
        ]
    );
    assert_eq!(
        world.read(&format!("codex/{}", path(PARENT))),
        rollout(PARENT).as_bytes()
    );
}

#[test]
fn a_damaged_parent_stops_a_restore() {
    let world = world();
    world.keep(&path(THREAD), fork(THREAD, PARENT));
    world.keep(&path(PARENT), rollout(PARENT));
    world.write(&format!("codex/{}", path(PARENT)), "{\"rewritten\":1}\n");
    let error = world.try_restore(|_| {}).unwrap_err();
    assert!(matches!(error, RestoreError::Differs { .. }), "{error}");
}

/// The fork takes only the records below an ordinal from it.
#[test]
fn a_parent_that_is_there_stays_as_it_is() {
    for place in [
        path(PARENT),
        format!("{}.zst", path(PARENT)),
        format!("archived_sessions/{}", name(PARENT)),
    ] {
        let world = world();
        world.keep(&path(THREAD), fork(THREAD, PARENT));
        world.keep(&path(PARENT), rollout(PARENT));
        let rewritten = rollout(PARENT) + "{\"rewritten\":1}\n";
        let parent = world.write(&format!("codex/{place}"), rewritten);
        let restored = world.restore();
        assert_eq!(restored.steps[0].action, RestoreAction::KeepLonger);
        assert_eq!(restored.steps[0].path, parent);
        assert_eq!(restored.steps.len(), 2);
        let own = format!("codex/{}", path(THREAD));
        let mut files = world.files();
        assert_eq!(files.remove(&own).unwrap(), fork(THREAD, PARENT).as_bytes());
        assert_eq!(files.len(), 1);
    }
}

#[test]
fn a_reverted_thread_has_both_files() {
    let world = world();
    let second = format!("{THREAD}_{REVERT}");
    world.keep(&path(&second), fork(THREAD, THREAD));
    world.keep(&path(THREAD), rollout(THREAD));
    let restored = world.restore();
    assert_eq!(
        steps(&restored),
        [
            (RestoreAction::Write, name(THREAD)),
            (RestoreAction::Write, name(&second))
        ]
    );
}

#[test]
fn a_fork_without_its_parent_is_made_of_words() {
    let world = world();
    world.keep(&path(THREAD), fork(THREAD, PARENT));
    let error = world.try_restore(|_| {}).unwrap_err();
    assert!(matches!(error, RestoreError::NothingKept { .. }), "{error}");
    world.say(Role::User, "Hello", "k");
    let restored = world.restore();
    assert_eq!(restored.source, RestoreSource::Words);
    assert_eq!(restored.steps[0].action, RestoreAction::LeaveOut);
}

#[test]
fn the_parent_of_a_fork_may_be_in_the_home() {
    let world = world();
    world.keep(&path(THREAD), fork(THREAD, PARENT));
    world.write(
        &format!("codex/archived_sessions/{}", name(PARENT)),
        rollout(PARENT),
    );
    assert_eq!(
        steps(&world.restore()),
        [(RestoreAction::Write, name(THREAD))]
    );
}

/// Codex refuses a rollout without its first line.
#[test]
fn a_rollout_without_its_header_is_made_of_words() {
    let bare = format!("{{\"id\":\"{THREAD}\",\"timestamp\":\"2025-06-01T10:00:00Z\"}}\n{{}}\n");
    for damaged in [
        "",
        "\n",
        "{\"timestamp\"\n{}\n",
        "[1]\n",
        &bare,
        &rollout(THREAD).replace("session_meta", "turn_context"),
        &rollout(THREAD).replace("originator", "other"),
        &rollout(PARENT),
    ] {
        let world = world();
        world.keep(&path(THREAD), damaged);
        world.say(Role::Assistant, "Hello", "msg_1");
        let restored = world.restore();
        assert_eq!(restored.source, RestoreSource::Words, "{damaged}");
    }
    // One on the disk is replaced if the store has all of it.
    for (kept, is_replaced) in [(bare.as_str(), true), (&bare[..9], false)] {
        let world = world();
        world.keep(&path(THREAD), kept);
        world.write(&format!("codex/{}", path(THREAD)), &bare);
        world.say(Role::Assistant, "Hello", "msg_1");
        match world.try_restore(|_| {}) {
            Ok(restored) => assert_eq!(restored.source, RestoreSource::Words),
            Err(error) => assert!(matches!(error, RestoreError::Differs { .. }) && !is_replaced),
        }
        let there = world.read(&format!("codex/{}", path(THREAD)));
        assert_eq!(there != bare.as_bytes(), is_replaced);
    }
}

#[test]
fn an_exact_restore_puts_back_a_rollout_that_codex_refuses() {
    for kept in ["[1]\n{\"half", &rollout(PARENT)] {
        let world = world();
        world.keep(&path(THREAD), kept);
        world.say(Role::Assistant, "Hello", "msg_1");
        let restored = world.try_restore(|options| options.exact = true).unwrap();
        assert_eq!(restored.source, RestoreSource::Files);
        let there = world.read(&format!("codex/{}", path(THREAD)));
        assert_eq!(there, kept.as_bytes());
    }
}

#[test]
fn rollouts_of_an_earlier_session_stay_in_the_store() {
    let world = world();
    world.keep(&path(PARENT), rollout(PARENT));
    world.keep(&path(THREAD), rollout(THREAD));
    assert_eq!(
        steps(&world.restore()),
        [(RestoreAction::Write, name(THREAD))]
    );
}

#[test]
fn a_copy_elsewhere_is_named() {
    let world = world();
    world.keep(&path(THREAD), rollout(THREAD));
    let copy = world.write(&format!("codex/sessions/2020/01/01/{}", name(THREAD)), "");
    let restored = world.restore();
    let last = restored.steps.last().unwrap();
    assert_eq!((last.action, &last.path), (RestoreAction::KeepCopy, &copy));
}

#[test]
fn names_of_a_hostile_store_lead_nowhere_else() {
    let world = world();
    world.keep(&path(THREAD), rollout(THREAD));
    for kept in [
        "config.toml".to_owned(),
        "hooks.json".to_owned(),
        format!("app/{}", name(PARENT)),
        format!("sessions/x/config.toml/{}/y", name(PARENT)),
        format!("sessions/C:/{}", name(REVERT)),
    ] {
        world.keep(&kept, rollout("x"));
    }
    world.restore();
    for file in world.files().into_keys() {
        let name = Path::new(&file).file_name().unwrap().to_str().unwrap();
        assert!(
            file.starts_with("codex/sessions/2026/09/18/rollout-"),
            "{file}"
        );
        assert!(name.ends_with(".jsonl"), "{file}");
    }
}

const TABLE: &str =
    "CREATE TABLE threads (id TEXT PRIMARY KEY, rollout_path TEXT NOT NULL, title TEXT NOT NULL,
    model_provider TEXT NOT NULL, archived INTEGER NOT NULL DEFAULT 0, archived_at INTEGER);";

#[derive(diesel::QueryableByName, Debug, PartialEq)]
struct Row {
    #[diesel(sql_type = diesel::sql_types::Text)]
    rollout_path: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    title: String,
    #[diesel(sql_type = diesel::sql_types::Integer)]
    archived: i32,
}

impl World {
    /// Makes the database of a Codex that is running, with a row for the thread.
    fn database(&self, rollout_path: &str, archived: bool) -> SqliteConnection {
        let path = self.write("codex/state_5.sqlite", "");
        let mut database = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        database.batch_execute("PRAGMA journal_mode = WAL").unwrap();
        database.batch_execute(TABLE).unwrap();
        let archived = i32::from(archived);
        let row = format!(
            "INSERT INTO threads VALUES ('{THREAD}', '{rollout_path}', 'Title', 'openai', {archived}, NULL)"
        );
        database.batch_execute(&row).unwrap();
        database
    }
}

fn row(database: &mut SqliteConnection) -> Row {
    sql_query("SELECT * FROM threads")
        .get_result(database)
        .unwrap()
}

#[test]
fn a_row_of_a_missing_file_is_corrected() {
    let world = world();
    world.keep(&path(THREAD), rollout(THREAD));
    let mut database = world.database("/home/other/.codex/rollout.jsonl", true);
    let planned = world.try_restore(|it| it.dry_run = true).unwrap();
    assert_eq!(row(&mut database).archived, 1, "a dry run changes no row");
    let restored = world.restore();
    assert_eq!(restored, planned);
    assert_eq!(
        restored.steps.last().unwrap().action,
        RestoreAction::CorrectPath
    );
    let expected = Row {
        rollout_path: world
            .path(&format!("codex/{}", path(THREAD)))
            .to_str()
            .unwrap()
            .to_owned(),
        title: "Title".to_owned(),
        archived: 0,
    };
    assert_eq!(row(&mut database), expected);
    assert_eq!(
        steps(&world.restore()),
        [(RestoreAction::Keep, name(THREAD))]
    );
}

/// The session may go on in that file.
/// The home was moved, and no files were kept.
#[test]
fn a_row_is_corrected_to_a_rollout_that_is_there() {
    let world = world();
    world.say(Role::User, "Hi", "1");
    let there = world.write(&format!("codex/{}", path(THREAD)), rollout(THREAD));
    let mut database = world.database("/home/other/.codex/rollout.jsonl", false);
    let restored = world.restore();
    let expected = [
        (RestoreAction::KeepLonger, name(THREAD)),
        (RestoreAction::CorrectPath, "state_5.sqlite".to_owned()),
    ];
    assert_eq!(steps(&restored), expected);
    assert_eq!(row(&mut database).rollout_path, there.to_str().unwrap());
    assert_eq!(std::fs::read_to_string(&there).unwrap(), rollout(THREAD));
    assert_eq!(steps(&world.restore()), expected[..1]);
}

/// A thread has one rollout. Words do not replace what somebody may still repair.
#[test]
fn words_are_no_second_rollout_of_a_thread() {
    let world = world();
    world.say(Role::User, "Hi", "1");
    let there = format!("codex/{}", path(THREAD));
    world.write(&there, fork(THREAD, PARENT));
    let error = world.try_restore(|_| {}).unwrap_err();
    assert!(matches!(error, RestoreError::Differs { .. }), "{error}");
    let forced = world.try_restore(|options| options.force = true).unwrap();
    assert_eq!(forced.source, RestoreSource::Words);
    assert_eq!(world.files().into_keys().collect::<Vec<_>>(), [there]);
}

#[test]
fn a_row_of_a_file_with_more_than_the_store_stays() {
    let world = world();
    world.keep(&path(THREAD), rollout(THREAD));
    let other = world.write("other.jsonl", format!("{}{{}}\n", rollout(THREAD)));
    let mut database = world.database(other.to_str().unwrap(), false);
    let restored = world.restore();
    assert_eq!(
        restored.steps.last().unwrap().action,
        RestoreAction::KeepPath
    );
    assert_eq!(row(&mut database).rollout_path, other.to_str().unwrap());
}

#[test]
fn a_database_of_another_form_stays() {
    for sql in [
        "CREATE TABLE other (x)",
        "CREATE VIEW threads AS SELECT 'x' AS id, 'y' AS rollout_path",
    ] {
        let world = world();
        world.keep(&path(THREAD), rollout(THREAD));
        let database = world.write("codex/state_5.sqlite", "");
        let mut database = SqliteConnection::establish(database.to_str().unwrap()).unwrap();
        database.batch_execute(sql).unwrap();
        drop(database);
        let before = world.read("codex/state_5.sqlite");
        world.restore();
        assert_eq!(world.read("codex/state_5.sqlite"), before);
    }
}
