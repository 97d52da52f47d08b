use std::fs;
use std::path::Path;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use turnkeep_agents::{RestoreAction, RestoreError, RestoreSource};
use turnkeep_recordings::Recording;
use turnkeep_repo::{BackendType, NewSession, NewTask, Role};

use super::support::{World, steps};

const ID: &str = "20261005_1";

const EXPORT: &str = r#"{
  "id": "20261005_1",
  "working_dir": "/home/anna/app",
  "name": "A \"name\"",
  "user_set_name": true,
  "created_at": "2026-10-05T10:00:00Z",
  "updated_at": "2026-10-05T11:00:00Z",
  "extension_data": {"a.b": [1.50]},
  "usage": {"total_tokens": 7},
  "accumulated_cost": 0.25,
  "recipe": null,
  "conversation": [
    {"id": "m1", "role": "user", "created": 1791190800, "content": [{"type": "text", "text": "Why?\u0000\ud83d\ude00"}],
     "metadata": {"userVisible": true, "agentVisible": true}},
    {"id": "m2", "role": "assistant", "created": 1791190801,
     "content": [{"type": "toolRequest", "id": "t"}, {"type": "text", "text": "Because."}], "metadata": {}}
  ]
}"#;

/// The tables of Goose with the schema 17, and with the first one.
const TABLES: [&str; 2] = [
    "CREATE TABLE sessions (id TEXT PRIMARY KEY, name TEXT NOT NULL DEFAULT '', description TEXT NOT NULL DEFAULT '',
        user_set_name BOOLEAN DEFAULT FALSE, session_type TEXT NOT NULL DEFAULT 'user', working_dir TEXT NOT NULL,
        created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        extension_data TEXT DEFAULT '{}', total_tokens INTEGER, accumulated_cost REAL, recipe_json TEXT,
        goose_mode TEXT NOT NULL DEFAULT 'auto');
     CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT,
        session_id TEXT NOT NULL REFERENCES sessions(id), role TEXT NOT NULL, content_json TEXT NOT NULL,
        created_timestamp INTEGER NOT NULL, timestamp TIMESTAMP DEFAULT CURRENT_TIMESTAMP, tokens INTEGER,
        metadata_json TEXT);",
    "CREATE TABLE sessions (id TEXT PRIMARY KEY, description TEXT NOT NULL DEFAULT '', working_dir TEXT NOT NULL,
        created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        extension_data TEXT DEFAULT '{}');
     CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL REFERENCES sessions(id),
        role TEXT NOT NULL, content_json TEXT NOT NULL, created_timestamp INTEGER NOT NULL);",
];

fn world() -> World {
    World::new(BackendType::Goose, ID)
}

impl World {
    fn goose_database(&self, sql: &str) {
        let path = self.write("goose/sessions/sessions.db", "");
        let mut database = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        database.batch_execute(sql).unwrap();
    }
}

fn read(home: &Path) -> Recording {
    let found = turnkeep_recordings::find(home, None).unwrap();
    let mut sessions = found.sources[0].sessions().unwrap();
    let recording = sessions.next().unwrap().unwrap();
    assert!(sessions.next().is_none());
    recording
}

fn said(recording: &Recording) -> Vec<(Role, &str, &str)> {
    let messages = recording.messages.iter();
    messages
        .map(|it| (it.role, &*it.content, it.key.as_str()))
        .collect()
}

const SAID: [(Role, &str, &str); 2] = [
    (Role::User, "Why?\0\u{1f600}", "m1"),
    (Role::Assistant, "Because.", "m2"),
];

#[test]
fn a_session_is_inserted_into_the_database() {
    for tables in TABLES {
        let world = world();
        world.keep(&format!("sessions/{ID}.json"), EXPORT);
        world.goose_database(tables);
        let before = world.files();
        let planned = world.try_restore(|it| it.dry_run = true).unwrap();
        assert_eq!(world.files(), before);
        let restored = world.restore();
        assert_eq!(restored, planned);
        assert_eq!(
            steps(&restored),
            [(RestoreAction::Insert, "sessions.db".to_owned())]
        );
        let recording = read(&restored.home);
        assert_eq!(recording.session_id.as_str(), ID);
        assert_eq!(recording.title.as_deref(), Some("A \"name\""));
        assert_eq!(
            recording.working_dir.as_ref().unwrap().as_path(),
            world.path("app")
        );
        let texts: Vec<_> = said(&recording)
            .iter()
            .map(|it| (it.0, it.1.to_owned()))
            .collect();
        assert_eq!(texts, SAID.map(|it| (it.0, it.1.to_owned())));
        assert_eq!(
            steps(&world.restore()),
            [(RestoreAction::Keep, "sessions.db".to_owned())]
        );
    }
}

/// Exported again, the session has all that was kept.
#[test]
fn all_fields_come_back() {
    let world = world();
    world.keep(&format!("sessions/{ID}.json"), EXPORT);
    world.goose_database(TABLES[0]);
    world.restore();
    let found = turnkeep_recordings::find(&world.path("goose"), None).unwrap();
    let mut exporter = found.sources[0].exporter().unwrap().unwrap();
    let export = exporter.export(&ID.parse().unwrap()).unwrap().unwrap();
    let new: serde_json::Value = serde_json::from_slice(&export.json).unwrap();
    let old: serde_json::Value = serde_json::from_str(EXPORT).unwrap();
    for field in [
        "name",
        "user_set_name",
        "created_at",
        "updated_at",
        "extension_data",
        "accumulated_cost",
        "recipe",
    ] {
        assert_eq!(new[field], old[field], "{field}");
    }
    assert_eq!(new["usage"]["total_tokens"], 7);
    for number in 0..2 {
        let message = |session: &serde_json::Value| session["conversation"][number].clone();
        for field in ["id", "role", "created", "content"] {
            assert_eq!(message(&new)[field], message(&old)[field], "{field}");
        }
    }
}

#[test]
fn without_a_database_the_session_is_a_file() {
    let world = world();
    world.keep(&format!("sessions/{ID}.json"), EXPORT);
    let restored = world.restore();
    assert_eq!(
        steps(&restored),
        [(RestoreAction::Write, format!("{ID}.jsonl"))]
    );
    let recording = read(&restored.home);
    assert_eq!(said(&recording), SAID);
    assert_eq!(recording.working_dir.unwrap().as_path(), world.path("app"));
}

#[test]
fn an_old_file_is_put_back_byte_for_byte_or_inserted() {
    let lines = "{\"working_dir\":\"/old\",\"description\":\"Old\"}\n\
        {\"role\":\"user\",\"created\":1791190800,\"content\":[{\"type\":\"text\",\"text\":\"Hello\"}]}";
    let world = world();
    world.keep(&format!("sessions/{ID}.jsonl"), lines);
    world.restore();
    assert_eq!(
        world.read(&format!("goose/sessions/{ID}.jsonl")),
        lines.as_bytes()
    );

    let world = self::world();
    world.keep(&format!("sessions/{ID}.jsonl"), lines);
    world.goose_database(TABLES[0]);
    let restored = world.restore();
    let recording = read(&restored.home);
    assert_eq!(recording.title.as_deref(), Some("Old"));
    assert_eq!(recording.messages[0].content, "Hello");
}

#[test]
fn the_words_of_a_session_make_one() {
    for tables in [None, Some(TABLES[0])] {
        let world = world();
        if let Some(tables) = tables {
            world.goose_database(tables);
        }
        world.say(Role::User, "Why?", "m1");
        world.say(Role::Assistant, "Because.", "sha256:00#1");
        let restored = world.restore();
        assert_eq!(restored.source, RestoreSource::Words);
        let recording = read(&restored.home);
        let stored = world.repo.get_history(&world.task).unwrap();
        assert!(recording.new_messages(&stored).is_empty());
        assert_eq!(
            said(&recording)[1],
            (Role::Assistant, "Because.", "sha256:00#1")
        );
    }
}

#[test]
fn a_database_of_another_form_is_refused() {
    for sql in [
        "CREATE TABLE sessions (id TEXT); CREATE TABLE messages (id INTEGER)",
        "CREATE TABLE sessions (id TEXT, working_dir TEXT); CREATE TABLE messages (id INTEGER PRIMARY KEY, x TEXT)",
    ] {
        let world = world();
        world.keep(&format!("sessions/{ID}.json"), EXPORT);
        world.goose_database(sql);
        let before = world.files();
        let error = world.try_restore(|_| {}).unwrap_err();
        assert!(matches!(error, RestoreError::Database { .. }), "{error}");
        assert_eq!(world.files(), before, "nothing of it is stored");
    }
}

#[cfg(unix)]
#[test]
fn a_database_behind_a_link_is_refused() {
    for link in ["goose/sessions", "goose/sessions/sessions.db"] {
        let world = world();
        world.keep(&format!("sessions/{ID}.json"), EXPORT);
        world.goose_database(TABLES[0]);
        let (link, target) = (world.path(link), world.path("outside"));
        fs::rename(&link, &target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let error = world.try_restore(|_| {}).unwrap_err();
        assert!(matches!(error, RestoreError::NotAFile { .. }), "{error}");
    }
}

#[test]
fn a_session_id_is_no_path() {
    for id in ["../x", "a/b", "a\\b"] {
        let world = World::new(BackendType::Goose, id);
        world.keep("sessions/x.json", EXPORT.replace(ID, id));
        world.say(Role::User, "Hello", "k");
        let error = world.try_restore(|_| {}).unwrap_err();
        assert!(
            matches!(error, RestoreError::InvalidSessionId { .. }),
            "{error}"
        );
        assert!(world.files().is_empty());
    }
}

/// Stands for Goose: lists what it has imported, under new ids.
#[cfg(unix)]
const PROGRAM: &str = r#"#!/bin/sh
state="$GOOSE_PATH_ROOT/imported"
case "$2" in
list) test -e "$state" && printf '[{"id":"other"},{"id":"20261130_7"}]' || printf '[{"id":"other"}]';;
import) mkdir -p "$GOOSE_PATH_ROOT" && cp "$3" "$state";;
esac
"#;

#[cfg(unix)]
impl World {
    fn program(&self, script: &str) -> std::path::PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.write("goose-program", script);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }
}

#[cfg(unix)]
#[test]
fn goose_imports_the_session_under_a_new_id() {
    let world = world();
    world.keep(&format!("sessions/{ID}.json"), EXPORT);
    let program = world.program(PROGRAM);
    let root = world.path("root");
    let restored = world
        .try_restore(|it| {
            it.goose = Some(program);
            it.relocation.home = Some(root);
        })
        .unwrap();
    assert_eq!(
        steps(&restored),
        [(RestoreAction::Import, "sessions.db".to_owned())]
    );
    assert_eq!(restored.session_id.as_str(), "20261130_7");
    let session = world.repo.get_session(&world.task).unwrap();
    assert_eq!(session.session_id, restored.session_id);
    let imported: serde_json::Value = serde_json::from_slice(&world.read("root/imported")).unwrap();
    assert_eq!(imported["working_dir"], world.path("app").to_str().unwrap());
    assert_eq!(imported["conversation"][0]["id"], "m1");
    let root = world.path("root");
    assert_eq!(
        session.config_dir.unwrap().as_path(),
        root,
        "it is there now"
    );
}

#[cfg(unix)]
#[test]
fn of_several_new_sessions_the_one_with_the_messages_is_bound() {
    let world = world();
    world.keep(&format!("sessions/{ID}.json"), EXPORT);
    world.goose_database(TABLES[0]);
    // The rows as Goose would write them.
    world.restore();
    let root = world.path("root");
    fs::create_dir(&root).unwrap();
    fs::rename(world.path("goose"), root.join("data")).unwrap();
    let database = root.join("data/sessions/sessions.db");
    let mut database = SqliteConnection::establish(database.to_str().unwrap()).unwrap();
    let renamed = "UPDATE sessions SET id = 'new'; UPDATE messages SET session_id = 'new';
        INSERT INTO sessions (id, working_dir) VALUES ('begun', '/')";
    database.batch_execute("PRAGMA foreign_keys = OFF").unwrap();
    database.batch_execute(renamed).unwrap();
    let restore = |script: String| {
        let program = world.program(&script);
        let restored = world.try_restore(|it| {
            it.goose = Some(program);
            it.relocation.home = Some(root.clone());
        });
        restored.map(|it| it.session_id)
    };
    let several = PROGRAM.replace(r#"{"id":"20261130_7"}"#, r#"{"id":"begun"},{"id":"new"}"#);
    assert_eq!(restore(several).unwrap().as_str(), "new");

    // An import that an interrupted restore has made is not repeated.
    let bound = NewSession::new(BackendType::Goose, ID.parse().unwrap());
    let folder = turnkeep_repo::WorkingDir::try_from(world.path("app").as_path()).unwrap();
    let bound = bound.working_dir(folder);
    world.bind(&bound);
    let again = PROGRAM
        .replace("other", "new")
        .replace("import)", "import) exit 1;");
    assert_eq!(restore(again.clone()).unwrap().as_str(), "new");

    // Another session may have the same messages: at another time, or as the session of another task.
    world.bind(&bound);
    let later = |seconds: i64| {
        format!("UPDATE messages SET created_timestamp = created_timestamp + {seconds}")
    };
    database.batch_execute(&later(1)).unwrap();
    restore(again.clone()).unwrap_err();
    database.batch_execute(&later(-1)).unwrap();
    assert_eq!(restore(again.clone()).unwrap().as_str(), "new");
    world.bind(&bound);
    let other = NewTask::new("other".parse().unwrap(), "other");
    world.repo.save_task(&other).unwrap();
    let new = NewSession::new(BackendType::Goose, "new".parse().unwrap());
    world.repo.save_session(&other.id, &new).unwrap();
    restore(again).unwrap_err();
}

#[cfg(unix)]
#[test]
fn a_dry_run_runs_no_program() {
    let world = world();
    world.keep(&format!("sessions/{ID}.json"), EXPORT);
    let mark = world.path("ran");
    let program = world.program(&format!("#!/bin/sh\ntouch {}\necho '[]'\n", mark.display()));
    let dry = |it: &mut turnkeep_agents::RestoreOptions| {
        it.goose = Some(program);
        it.dry_run = true;
    };
    let planned = world.try_restore(dry).unwrap();
    assert_eq!(planned.steps[0].action, RestoreAction::Import);
    assert!(!mark.exists());
}

#[cfg(unix)]
#[test]
fn another_program_of_that_name_is_not_goose() {
    for script in ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho usage\n"] {
        let world = world();
        world.keep(&format!("sessions/{ID}.json"), EXPORT);
        let program = world.program(script);
        let restored = world.try_restore(|it| it.goose = Some(program)).unwrap();
        assert_eq!(
            steps(&restored),
            [(RestoreAction::Write, format!("{ID}.jsonl"))]
        );
    }
}

#[cfg(unix)]
#[test]
fn a_failed_import_binds_nothing() {
    let world = world();
    world.keep(&format!("sessions/{ID}.json"), EXPORT);
    let script = "#!/bin/sh\ncase \"$2\" in list) echo '[]';; *) echo broken >&2; exit 3;; esac\n";
    let program = world.program(script);
    let error = world
        .try_restore(|it| it.goose = Some(program))
        .unwrap_err();
    assert!(error.to_string().ends_with("broken"), "{error}");
    assert_eq!(
        world
            .repo
            .get_session(&world.task)
            .unwrap()
            .session_id
            .as_str(),
        ID
    );
}
