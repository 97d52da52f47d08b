use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use serde_json::{Value, json};
use turnkeep_model::BackendType;
use turnkeep_recordings::{Error, find, find_among};

use crate::support::{Folder, read_all};

const A: &str = "0a1e4b52-93d8-4f0a-8a6e-2f5b9d3c1e70";
const B: &str = "0b1e4b52-93d8-4f0a-8a6e-2f5b9d3c1e70";

fn claude(id: &str) -> Value {
    json!({"type": "user", "uuid": "u", "sessionId": id, "message": {"content": "a"}})
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
    let sources = find(folder, backend).unwrap().sources;
    let shown = sources.iter().map(|source| {
        let path = source.path().strip_prefix(folder).unwrap();
        format!("{} {}", source.backend().unwrap(), path.display())
    });
    shown.collect()
}

/// The messages about what was passed over below a folder.
fn passed_over(folder: &Path) -> Vec<String> {
    let errors = find(folder, None).unwrap().passed_over;
    let prefix = format!("{}/", folder.display());
    let mut shown: Vec<_> = errors
        .iter()
        .map(|error| error.to_string().replace(&prefix, ""))
        .collect();
    shown.sort();
    shown
}

fn home() -> Folder {
    let folder = Folder::new();
    let project = "claude/projects/-srv";
    folder.jsonl(&format!("{project}/{B}.jsonl"), &[claude(B)]);
    folder.jsonl(&format!("{project}/{A}.jsonl"), &[claude(A)]);
    folder.jsonl(&format!("{project}/agent-1.jsonl"), &[claude(A)]);
    folder.jsonl(
        &format!("{project}/{A}/subagents/agent-2.jsonl"),
        &[claude(A)],
    );
    folder.jsonl(
        &format!("{project}/{A}/subagents/x/{B}.jsonl"),
        &[claude(B)],
    );
    folder.jsonl(
        "claude/history.jsonl",
        &[json!({"display": "a", "timestamp": 1})],
    );
    folder.jsonl(
        &format!("claude/plugins/x/fixtures/{B}.jsonl"),
        &[claude(B)],
    );
    folder.jsonl("codex/sessions/rollout-1.jsonl", &[codex()]);
    folder.file("codex/sessions/rollout-1.jsonl.zst", "x");
    folder.jsonl("codex/sessions/rollout-2.jsonl", &[codex_sub_agent()]);
    folder.file("codex/sessions/rollout-3.jsonl", "nothing readable\n");
    folder.jsonl(
        "codex/session_index.jsonl",
        &[json!({"id": "c", "thread_name": "x"})],
    );
    folder.jsonl("goose/sessions/history.jsonl", &[goose()]);
    folder.jsonl("goose/sessions/agent-x.jsonl", &[goose()]);
    folder.jsonl("other/data.jsonl", &[json!({"a": 1}), json!([1])]);
    folder.file("other/empty.jsonl", "");
    folder.file("other/notes.txt", "x");
    folder
}

#[test]
fn a_folder_gives_its_sessions_in_order() {
    let home = home();
    assert_eq!(
        found(home.path(), None),
        [
            &*format!("claude claude/projects/-srv/{A}.jsonl"),
            &*format!("claude claude/projects/-srv/{B}.jsonl"),
            "goose goose/sessions/agent-x.jsonl",
            "goose goose/sessions/history.jsonl",
            "codex codex/sessions/rollout-1.jsonl",
            "codex codex/sessions/rollout-3.jsonl",
            "claude claude/history.jsonl",
        ]
    );
    assert_eq!(passed_over(home.path()), [""; 0]);
}

#[test]
fn files_at_other_places_of_a_home_are_passed_over() {
    let home = home();
    home.jsonl(
        "claude/hooks/log.jsonl",
        &[json!({"type": "Stop", "sessionId": A})],
    );
    home.jsonl(&format!("claude/old/{A}.jsonl"), &[claude(A)]);
    home.jsonl("claude/projects/-srv/notes.jsonl", &[claude(A)]);
    let id = format!("019f3c5e-7a10-7b42-9c8d-{:012}", 1);
    home.jsonl(&format!("codex/backup/rollout-{id}.jsonl"), &[codex()]);
    home.jsonl("evil/notes.jsonl", &[claude(A)]);
    let place = "is no session: its agent keeps sessions in another place";
    let name = "is no session: its name is not the id of the session in its lines";
    assert_eq!(
        passed_over(home.path()),
        [
            format!("claude/hooks/log.jsonl {place}"),
            format!("claude/old/{A}.jsonl {place}"),
            format!("claude/projects/-srv/notes.jsonl {place}"),
            format!("codex/backup/rollout-{id}.jsonl {place}"),
            format!("evil/notes.jsonl {name}"),
        ]
    );
    assert_eq!(found(home.path(), None).len(), 7);
    let of_codex = find(home.path(), Some(&BackendType::Codex)).unwrap();
    assert_eq!(
        of_codex.passed_over.len(),
        1,
        "of the others nothing is said"
    );
    // Also where the search begins inside of the home.
    assert_eq!(found(&home.path().join("claude/old"), None), [""; 0]);
    assert_eq!(found(&home.path().join("claude/plugins"), None), [""; 0]);
    assert_eq!(
        found(&home.path().join("claude/projects/-srv"), None).len(),
        2
    );
}

#[test]
fn sessions_may_lie_anywhere_outside_of_homes() {
    let folder = Folder::new();
    folder.jsonl(&format!("subagents/{A}.jsonl"), &[claude(A)]);
    folder.jsonl(
        &format!("subagents/claude/projects/-srv/{B}.jsonl"),
        &[claude(B)],
    );
    assert_eq!(
        found(folder.path(), None),
        [
            format!("claude subagents/{A}.jsonl"),
            format!("claude subagents/claude/projects/-srv/{B}.jsonl"),
        ]
    );
}

#[test]
fn a_backend_filters_the_files() {
    let home = home();
    for (backend, count) in [
        (BackendType::Claude, 3),
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
    let goose = find(&file("goose/sessions/history.jsonl"), None).unwrap();
    assert_eq!(goose.sources.len(), 1);
    let requested = find(&file("other/data.jsonl"), Some(&BackendType::Claude)).unwrap();
    assert_eq!(requested.sources[0].backend(), Some(&BackendType::Claude));
    let contradicted = find(
        &file("codex/sessions/rollout-1.jsonl"),
        Some(&BackendType::Goose),
    );
    assert_eq!(
        contradicted.unwrap().sources[0].backend(),
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
        &format!("claude/projects/-srv/{A}/subagents/x/{B}.jsonl"),
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
    let database = folder.file("sessions/sessions.db", "");
    SqliteConnection::establish(database.to_str().unwrap())
        .unwrap()
        .batch_execute(
            "CREATE TABLE sessions (id TEXT PRIMARY KEY, working_dir TEXT);
            CREATE TABLE messages (id INTEGER PRIMARY KEY, session_id TEXT, role TEXT,
                content_json TEXT, created_timestamp INTEGER);
            INSERT INTO sessions VALUES ('moved', '/');",
        )
        .unwrap();
    folder.jsonl("sessions/moved.jsonl", &[goose()]);
    folder.jsonl("sessions/left.jsonl", &[goose()]);
    folder.jsonl("elsewhere/moved.jsonl", &[goose()]);
    assert_eq!(
        found(folder.path(), None),
        ["goose sessions/left.jsonl", "goose sessions/sessions.db"]
    );
    assert_eq!(found(folder.path(), Some(&BackendType::Codex)), [""; 0]);
    let as_codex = find(&database, Some(&BackendType::Codex));
    assert!(matches!(as_codex, Err(Error::UnknownFormat { .. })));
    let recordings = read_all(folder.path()).unwrap();
    let ids: Vec<_> = recordings.iter().map(|r| r.session_id.as_str()).collect();
    assert_eq!(ids, ["left", "moved"]);
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
fn links_are_not_followed_and_those_that_lead_out_are_named() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    let target = Folder::new();
    target.jsonl("a.jsonl", &[goose()]);
    folder.jsonl("real/b.jsonl", &[goose()]);
    symlink(folder.path().join("real"), folder.path().join("inside")).unwrap();
    symlink(folder.path(), folder.path().join("circle")).unwrap();
    symlink(target.path(), folder.path().join("projects")).unwrap();
    let other = Folder::new();
    symlink(other.path(), folder.path().join("not where sessions are")).unwrap();
    other.jsonl("home/sessions/a.jsonl", &[goose()]);
    symlink(other.path().join("home"), folder.path().join(".codex")).unwrap();
    symlink(target.path().join("a.jsonl"), folder.path().join("z.jsonl")).unwrap();
    symlink("/dev/zero", folder.path().join("zero.jsonl")).unwrap();
    symlink("nowhere", folder.path().join("dangling.jsonl")).unwrap();
    assert_eq!(found(folder.path(), None), ["goose real/b.jsonl"]);
    let out = "leads out of the folder";
    assert_eq!(
        passed_over(folder.path()),
        [
            format!(".codex {out}"),
            format!("projects {out}"),
            format!("z.jsonl {out}"),
            format!("zero.jsonl {out}"),
        ]
    );
    // The user may name a link.
    assert_eq!(
        found(&folder.path().join("projects"), None),
        ["goose a.jsonl"]
    );
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
    folder.jsonl("sessions/a.jsonl", &[goose()]);
    let endless = "x".repeat(5_000);
    std::os::unix::fs::symlink(&endless[..4_000], folder.path().join("sessions/b.jsonl")).unwrap();
    let sources = find(folder.path(), None).unwrap().sources;
    assert_eq!(sources.len(), 2);
    assert!(sources[0].sessions().is_ok());
    assert_eq!(sources[1].backend(), None);
    assert!(matches!(
        sources[1].sessions().err(),
        Some(Error::Io { .. })
    ));
}

/// The sources among files of a folder as paths.
fn among(folder: &Path, files: &[&str]) -> Vec<String> {
    let files = files.iter().map(|file| folder.join(file));
    let sources = find_among(folder, files).unwrap().sources;
    let paths = sources
        .iter()
        .map(|it| it.path().strip_prefix(folder).unwrap());
    paths.map(|path| path.display().to_string()).collect()
}

#[test]
fn changed_files_are_found_as_the_search_of_the_folder_finds_them() {
    let folder = home();
    let all = found(folder.path(), None).len();
    assert!(all > 2);
    let a = format!("claude/projects/-srv/{A}.jsonl");
    let b = format!("claude/projects/-srv/{B}.jsonl");
    let side = format!("claude/projects/-srv/{A}/subagents/agent-2.jsonl");
    assert_eq!(among(folder.path(), &[&a]), [&*a]);
    assert_eq!(among(folder.path(), &[&b, &side, &a]), [&*a, &*b]);
    let sub_agent = "claude/projects/-srv/agent-1.jsonl";
    assert!(among(folder.path(), &[sub_agent, "gone.jsonl", "claude"]).is_empty());
    let missing = find_among(&folder.path().join("none"), [&a]);
    assert!(matches!(missing, Err(Error::NotFound { .. })));
}

#[cfg(unix)]
#[test]
fn no_changed_file_is_read_through_a_link_out_of_the_folder() {
    let (folder, other) = (Folder::new(), home());
    let projects = other.path().join("claude/projects");
    std::fs::create_dir(folder.path().join("claude")).unwrap();
    std::os::unix::fs::symlink(projects, folder.path().join("claude/projects")).unwrap();
    let file = format!("-srv/{A}.jsonl");
    std::os::unix::fs::symlink(
        other.path().join("claude/projects").join(&file),
        folder.path().join("link.jsonl"),
    )
    .unwrap();
    let through = format!("claude/projects/{file}");
    assert!(among(folder.path(), &[&through, "link.jsonl"]).is_empty());
}
