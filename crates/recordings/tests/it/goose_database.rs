use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use turnkeep_model::Role;
use turnkeep_recordings::{Error, find};

use crate::support::{Folder, keys, read, read_all, turns};

const SCHEMA: &str = "
    CREATE TABLE sessions (id TEXT PRIMARY KEY, working_dir TEXT NOT NULL, session_type TEXT);
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT, session_id TEXT NOT NULL,
        role TEXT NOT NULL, content_json TEXT NOT NULL, created_timestamp INTEGER NOT NULL,
        metadata_json TEXT
    );";

/// The `content_json` of a text.
const TEXT: &str = r#"'[{"type":"text","text":"%"}]'"#;

fn text(text: &str) -> String {
    TEXT.replace('%', text)
}

fn database(folder: &Folder, sql: &str) -> (PathBuf, SqliteConnection) {
    let path = folder.path().join("sessions.db");
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute(sql).unwrap();
    (path, connection)
}

/// Returns the files of a folder with their content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn all_sessions_are_listed_and_their_messages_filtered_and_ordered() {
    let folder = Folder::new();
    let (path, _) = database(
        &folder,
        &format!(
            "{SCHEMA}
            INSERT INTO sessions VALUES
                ('20261005_2', '/srv/b', 'hidden'), ('20261005_1', '/srv/a', 'user');
            INSERT INTO messages VALUES
                (1, 'm1', '20261005_1', 'assistant', {b}, 1791190801000, NULL),
                (2, 'm2', '20261005_1', 'user', {a}, 1791190800, '{{\"userVisible\":true}}'),
                (3, NULL, '20261005_1', 'assistant', {c}, 1791190801, 'no JSON'),
                (4, 'm4', '20261005_1', 'user', {x}, 1791190802, '{{\"userVisible\":false}}'),
                (5, 'm5', '20261005_1', 'user', {x}, 1791190802, '{{\"turnContext\":true}}'),
                (6, 'm6', '20261005_1', 'system', {x}, 1791190802, NULL),
                (7, '', '20261005_1', 'user', '[{{\"type\":', 1791190802, NULL),
                (8, 'm1', '20261005_1', 'user', {d}, 1791190803, NULL);",
            a = text("a"),
            b = text("b"),
            c = text("c"),
            d = text("d"),
            x = text("x"),
        ),
    );
    let recordings = read_all(&path).unwrap();
    let ids: Vec<_> = recordings.iter().map(|r| r.session_id.as_str()).collect();
    assert_eq!(ids, ["20261005_1", "20261005_2"]);
    assert_eq!(recordings[1].messages, []);
    assert_eq!(recordings[1].first_timestamp(), None);

    let first = &recordings[0];
    assert_eq!(first.working_dir.as_ref().unwrap().as_str(), "/srv/a");
    assert_eq!(
        turns(first),
        ["user: a", "assistant: b", "assistant: c", "user: d"]
    );
    assert_eq!(
        (first.count(Role::User), first.count(Role::Assistant)),
        (2, 2)
    );
    assert_eq!(first.unparsable_lines, 1);
    assert_eq!(keys(first)[..2], ["m2", "m1"]);
    assert!(
        keys(first)[2..]
            .iter()
            .all(|key| key.starts_with("sha256:")),
        "{:?}",
        keys(first)
    );
}

#[test]
fn columns_of_later_versions_may_be_missing() {
    let folder = Folder::new();
    let (path, _) = database(
        &folder,
        &format!(
            "CREATE TABLE sessions (id TEXT PRIMARY KEY);
            CREATE TABLE messages (id INTEGER PRIMARY KEY, session_id TEXT, role TEXT,
                content_json TEXT, timestamp TIMESTAMP);
            INSERT INTO sessions VALUES ('s');
            INSERT INTO messages VALUES (1, 's', 'user', {}, '2026-10-05 09:00:00');",
            text("a"),
        ),
    );
    let recording = read(&path);
    assert_eq!(turns(&recording), ["user: a"]);
    let time = recording.first_timestamp().unwrap();
    assert_eq!(time.to_rfc3339(), "2026-10-05T09:00:00+00:00");
}

#[test]
fn invalid_utf_8_damages_only_its_own_field() {
    let folder = Folder::new();
    let (path, _) = database(
        &folder,
        &format!(
            "{SCHEMA}
            INSERT INTO sessions VALUES ('s', CAST(x'2fff' AS TEXT), 'user');
            INSERT INTO messages VALUES
                (1, CAST(x'ff' AS TEXT), 's', 'user', {}, 1, CAST(x'ff' AS TEXT)),
                (2, 'm2', 's', 'user', CAST(x'5b22ff225d' AS TEXT), 2, NULL);",
            text("a"),
        ),
    );
    let recording = read(&path);
    assert_eq!(turns(&recording), ["user: a"]);
    assert_eq!(recording.unparsable_lines, 1);
}

#[test]
fn a_session_with_an_invalid_id_stops_no_other() {
    let folder = Folder::new();
    let (path, _) = database(
        &folder,
        &format!("{SCHEMA} INSERT INTO sessions VALUES ('', '/', 'user'), ('s', '/', 'user');"),
    );
    let source = find(&path, None).unwrap().remove(0);
    let sessions: Vec<_> = source.sessions().unwrap().collect();
    assert!(
        matches!(sessions[0], Err(Error::InvalidId { .. })),
        "{sessions:?}"
    );
    assert_eq!(sessions[1].as_ref().unwrap().session_id.as_str(), "s");
}

#[test]
fn a_session_with_a_control_character_stops_no_other() {
    let folder = Folder::new();
    let (path, _) = database(
        &folder,
        &format!(
            "{SCHEMA} INSERT INTO sessions VALUES ('a' || char(27) || 'b', '/', 'user'),
            ('c', '/srv' || char(10) || 'rm -rf ~', 'user'), ('d' || char(155), '/', 'user'),
            ('s', '/', 'user');"
        ),
    );
    let source = find(&path, None).unwrap().remove(0);
    let sessions: Vec<_> = source.sessions().unwrap().collect();
    for session in [&sessions[0], &sessions[2]] {
        assert!(
            matches!(session, Err(Error::InvalidId { .. })),
            "{session:?}"
        );
    }
    match &sessions[1] {
        Err(Error::InvalidFolder { session_id, .. }) => assert_eq!(session_id.as_str(), "c"),
        other => panic!("{other:?}"),
    }
    assert_eq!(sessions[3].as_ref().unwrap().session_id.as_str(), "s");
}

/// A database in WAL mode with its open connection. The second message is only in the log.
fn wal_database(folder: &Folder) -> (PathBuf, SqliteConnection) {
    let (path, mut connection) = database(
        folder,
        &format!(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; {SCHEMA}
            INSERT INTO sessions VALUES ('s', '/srv', 'user');
            INSERT INTO messages VALUES (1, 'm1', 's', 'user', {}, 1, NULL);
            PRAGMA wal_checkpoint(TRUNCATE);",
            text("in the file"),
        ),
    );
    let message = text("in the log");
    let insert =
        format!("INSERT INTO messages VALUES (2, 'm2', 's', 'assistant', {message}, 2, NULL)");
    connection.batch_execute(&insert).unwrap();
    (path, connection)
}

const BOTH: [&str; 2] = ["user: in the file", "assistant: in the log"];

#[test]
fn the_write_ahead_log_is_read_without_changing_a_file() {
    let live = Folder::new();
    let (path, _goose) = wal_database(&live);
    let log = fs::read(live.path().join("sessions.db-wal")).unwrap();

    let left = Folder::new();
    // A name with special characters of a URI, not in UTF-8.
    let name = odd_name();
    let copy = left.path().join(name);
    fs::create_dir(&copy).unwrap();
    fs::copy(&path, copy.join("sessions.db")).unwrap();
    fs::write(copy.join("sessions.db-wal"), log).unwrap();
    let before = files(&copy);
    assert_eq!(turns(&read(&copy)), BOTH);
    assert_eq!(files(&copy), before);
}

#[cfg(unix)]
fn odd_name() -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(b"a ?mode=rwc&%20#\xff".to_vec())
}

#[cfg(not(unix))]
fn odd_name() -> std::ffi::OsString {
    "a %20#".into()
}

#[test]
fn a_database_in_use_is_read_in_place() {
    let folder = Folder::new();
    let (path, goose) = wal_database(&folder);
    let content = |name| fs::read(folder.path().join(name)).unwrap();
    let names = |folder: &Folder| files(folder.path()).into_keys().collect::<Vec<_>>();
    let before = (
        names(&folder),
        content("sessions.db"),
        content("sessions.db-wal"),
    );
    assert_eq!(turns(&read(&path)), BOTH);
    let after = (
        names(&folder),
        content("sessions.db"),
        content("sessions.db-wal"),
    );
    assert_eq!(after, before);
    drop(goose);
    assert_eq!(names(&folder), [path], "Goose removes its log");
}

#[test]
fn the_log_of_a_crashed_program_is_read_and_kept() {
    let live = Folder::new();
    let (_, _goose) = wal_database(&live);
    let crashed = Folder::new();
    for (path, bytes) in files(live.path()) {
        crashed.file(path.file_name().unwrap().to_str().unwrap(), bytes);
    }
    let before = files(crashed.path());
    assert_eq!(before.len(), 3);
    assert_eq!(turns(&read(crashed.path())), BOTH);
    let after = files(crashed.path());
    assert!(after.keys().eq(before.keys()));
    // SQLite rebuilds the shared-memory file when it opens the database.
    let lasting = |name: &&PathBuf| !name.to_str().unwrap().ends_with("-shm");
    for name in before.keys().filter(lasting) {
        assert_eq!(after[name], before[name]);
    }
}

#[test]
fn a_closed_database_is_not_changed() {
    let folder = Folder::new();
    let (path, goose) = wal_database(&folder);
    drop(goose);
    let before = files(folder.path());
    assert_eq!(before.len(), 1);
    assert_eq!(turns(&read(&path)), BOTH);
    assert_eq!(files(folder.path()), before);
}

#[test]
fn a_database_of_another_program_is_not_a_recording() {
    let folder = Folder::new();
    let (path, _) = database(&folder, "CREATE TABLE sessions (id TEXT)");
    assert!(matches!(
        find(&path, None),
        Err(Error::UnknownFormat { .. })
    ));
    assert_eq!(find(folder.path(), None).unwrap(), []);
}
