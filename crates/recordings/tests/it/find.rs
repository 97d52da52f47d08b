use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use serde_json::{Value, json};
use turnkeep_model::BackendType;
use turnkeep_recordings::{Error, find};

use crate::support::{Folder, read_all};

fn claude() -> Value {
    json!({"type": "user", "uuid": "u", "sessionId": "s", "message": {"content": "a"}})
}

fn codex() -> Value {
    json!({"type": "session_meta", "payload": {"id": "c", "source": "cli"}})
}

fn codex_sub_agent() -> Value {
    json!({"type": "session_meta", "payload": {"id": "c", "source": {"subagent": "review"}}})
}

fn goose() -> Value {
    json!({"role": "user", "created": 1, "content": [{"type": "text", "text": "a"}]})
}

/// The sources below a folder as `backend path`.
fn found(folder: &Path, backend: Option<&BackendType>) -> Vec<String> {
    let sources = find(folder, backend).unwrap();
    let shown = sources.iter().map(|source| {
        let path = source.path().strip_prefix(folder).unwrap();
        format!("{} {}", source.backend().unwrap(), path.display())
    });
    shown.collect()
}

fn home() -> Folder {
    let folder = Folder::new();
    let project = "claude/projects/-srv";
    folder.jsonl(&format!("{project}/b.jsonl"), &[claude()]);
    folder.jsonl(&format!("{project}/a.jsonl"), &[claude()]);
    folder.jsonl(&format!("{project}/agent-1.jsonl"), &[claude()]);
    folder.jsonl(&format!("{project}/a/subagents/agent-2.jsonl"), &[claude()]);
    folder.jsonl(&format!("{project}/a/subagents/x/other.jsonl"), &[claude()]);
    folder.jsonl(&format!("{project}/a/tool-results/t.jsonl"), &[claude()]);
    folder.jsonl("claude/history.jsonl", &[claude()]);
    folder.jsonl("codex/sessions/rollout-1.jsonl", &[codex()]);
    folder.file("codex/sessions/rollout-1.jsonl.zst", "x");
    folder.jsonl("codex/sessions/rollout-2.jsonl", &[codex_sub_agent()]);
    folder.file("codex/sessions/rollout-3.jsonl", "nothing readable\n");
    folder.jsonl(
        "codex/session_index.jsonl",
        &[json!({"id": "c", "thread_name": "x"})],
    );
    folder.jsonl("goose/history.jsonl", &[goose()]);
    folder.jsonl("goose/agent-x.jsonl", &[goose()]);
    folder.jsonl("other/data.jsonl", &[json!({"a": 1}), json!([1])]);
    folder.file("other/empty.jsonl", "");
    folder.file("other/notes.txt", "x");
    folder
}

#[test]
fn a_folder_gives_its_sessions_in_order() {
    assert_eq!(
        found(home().path(), None),
        [
            "claude claude/projects/-srv/a.jsonl",
            "claude claude/projects/-srv/b.jsonl",
            "codex codex/sessions/rollout-1.jsonl",
            "codex codex/sessions/rollout-3.jsonl",
            "goose goose/agent-x.jsonl",
            "goose goose/history.jsonl",
        ]
    );
}

#[test]
fn a_backend_filters_the_files() {
    let home = home();
    for (backend, count) in [
        (BackendType::Claude, 2),
        (BackendType::Codex, 2),
        (BackendType::Goose, 2),
    ] {
        let found = found(home.path(), Some(&backend));
        assert_eq!(found.len(), count, "{found:?}");
        assert!(
            found.iter().all(|line| line.starts_with(backend.as_str())),
            "{found:?}"
        );
    }
}

#[test]
fn a_file_is_one_source() {
    let home = home();
    let file = |name: &str| home.path().join(name);
    assert_eq!(find(&file("goose/history.jsonl"), None).unwrap().len(), 1);
    let requested = find(&file("other/data.jsonl"), Some(&BackendType::Claude)).unwrap();
    assert_eq!(requested[0].backend(), Some(&BackendType::Claude));
    let contradicted = find(
        &file("codex/sessions/rollout-1.jsonl"),
        Some(&BackendType::Goose),
    );
    assert_eq!(
        contradicted.unwrap()[0].backend(),
        Some(&BackendType::Goose)
    );
}

#[test]
fn paths_without_a_session_fail_with_a_typed_error() {
    let home = home();
    let error = |name: &str| find(&home.path().join(name), None).unwrap_err();
    assert!(matches!(error("no such file"), Error::NotFound { .. }));
    assert!(matches!(
        error("other/data.jsonl"),
        Error::UnknownFormat { .. }
    ));
    assert!(matches!(
        error("other/notes.txt"),
        Error::UnknownFormat { .. }
    ));
    for sub_agent in [
        "claude/projects/-srv/agent-1.jsonl",
        "claude/projects/-srv/a/subagents/x/other.jsonl",
        "codex/sessions/rollout-2.jsonl",
    ] {
        assert!(
            matches!(error(sub_agent), Error::SubAgent { .. }),
            "{sub_agent}"
        );
    }
    let gemini: BackendType = "gemini".parse().unwrap();
    let error = find(home.path(), Some(&gemini)).unwrap_err();
    assert!(matches!(error, Error::UnsupportedBackend { .. }));
}

#[test]
fn the_goose_database_replaces_its_old_files() {
    let folder = Folder::new();
    let database = folder.path().join("sessions.db");
    SqliteConnection::establish(database.to_str().unwrap())
        .unwrap()
        .batch_execute(
            "CREATE TABLE sessions (id TEXT PRIMARY KEY, working_dir TEXT);
            CREATE TABLE messages (id INTEGER PRIMARY KEY, session_id TEXT, role TEXT,
                content_json TEXT, created_timestamp INTEGER);
            INSERT INTO sessions VALUES ('moved', '/');",
        )
        .unwrap();
    folder.jsonl("moved.jsonl", &[goose()]);
    folder.jsonl("left.jsonl", &[goose()]);
    folder.jsonl("elsewhere/moved.jsonl", &[goose()]);
    assert_eq!(
        found(folder.path(), None),
        [
            "goose elsewhere/moved.jsonl",
            "goose left.jsonl",
            "goose sessions.db"
        ]
    );
    assert_eq!(found(folder.path(), Some(&BackendType::Codex)), [""; 0]);
    let as_codex = find(&database, Some(&BackendType::Codex));
    assert!(matches!(as_codex, Err(Error::UnknownFormat { .. })));
    let recordings = read_all(folder.path()).unwrap();
    let ids: Vec<_> = recordings.iter().map(|r| r.session_id.as_str()).collect();
    assert_eq!(ids, ["moved", "left", "moved"]);
}

#[test]
fn reading_a_damaged_database_reports_it() {
    let folder = Folder::new();
    let mut bytes = b"SQLite format 3\0".to_vec();
    bytes.resize(4096, 0xff);
    folder.file("sessions.db", bytes);
    assert_eq!(found(folder.path(), None), ["goose sessions.db"]);
    assert!(read_all(folder.path()).is_err());
}

#[cfg(unix)]
#[test]
fn symlinks_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    let target = Folder::new();
    target.jsonl("a.jsonl", &[goose()]);
    symlink(target.path(), folder.path().join("folder")).unwrap();
    symlink(folder.path(), folder.path().join("circle")).unwrap();
    symlink(target.path().join("a.jsonl"), folder.path().join("z.jsonl")).unwrap();
    symlink("nowhere", folder.path().join("dangling.jsonl")).unwrap();
    assert_eq!(found(folder.path(), None), ["goose folder/a.jsonl"]);
}

#[cfg(unix)]
#[test]
fn a_pipe_is_not_waited_for() {
    let folder = Folder::new();
    let pipe = folder.path().join("a.jsonl");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    assert_eq!(found(folder.path(), None), [""; 0]);
    assert!(matches!(find(&pipe, None), Err(Error::NotAFile { .. })));
    assert!(matches!(
        find("/dev/zero".as_ref(), None),
        Err(Error::NotAFile { .. })
    ));
}

/// A path that is too long for the file system stands for a file without read permission, which root could
/// read anyway.
#[cfg(unix)]
#[test]
fn an_unreadable_file_stops_no_other() {
    let folder = Folder::new();
    folder.jsonl("a.jsonl", &[goose()]);
    let endless = "x".repeat(5_000);
    std::os::unix::fs::symlink(&endless[..4_000], folder.path().join("b.jsonl")).unwrap();
    let sources = turnkeep_recordings::find(folder.path(), None).unwrap();
    assert_eq!(sources.len(), 2);
    assert!(sources[0].sessions().is_ok());
    assert_eq!(sources[1].backend(), None);
    assert!(matches!(
        sources[1].sessions().err(),
        Some(turnkeep_recordings::Error::Io { .. })
    ));
}
