use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::{Connection, RunQueryDsl, SqliteConnection};
use turnkeep_model::Role;
use turnkeep_recordings::{Error, find, has_goose_session};

use crate::support::{Folder, keys, read, read_all, stored, turns};

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
    let source = find(&path, None).unwrap().sources.remove(0);
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
    let source = find(&path, None).unwrap().sources.remove(0);
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
    assert!(find(folder.path(), None).unwrap().sources.is_empty());
}

#[test]
fn a_session_has_the_name_that_goose_shows() {
    for (columns, row, title) in [
        ("name TEXT, description TEXT", "'a', 'b'", Some("a")),
        ("description TEXT", "'b'", Some("b")),
        ("description TEXT", "' '", None),
    ] {
        let folder = Folder::new();
        let (path, _) = database(
            &folder,
            &format!(
                "CREATE TABLE sessions (id TEXT PRIMARY KEY, {columns});
                CREATE TABLE messages (id INTEGER PRIMARY KEY, session_id TEXT, role TEXT,
                    content_json TEXT, created_timestamp INTEGER);
                INSERT INTO sessions VALUES ('s', {row});"
            ),
        );
        assert_eq!(read(&path).title.as_deref(), title);
    }
}

#[test]
fn only_real_tables_are_read() {
    let endless = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r)";
    let messages = "CREATE TABLE messages (id, session_id, role, content_json, created_timestamp);";
    for sql in [
        format!("{messages} CREATE VIEW sessions(id) AS {endless} SELECT i FROM r"),
        format!(
            "CREATE TABLE sessions (id); CREATE VIEW messages(id, session_id) AS {endless}
            SELECT i, 's' FROM r WHERE i < 0"
        ),
        format!("{messages} CREATE VIRTUAL TABLE sessions USING fts5(id)"),
        "CREATE TABLE sessions (id); CREATE TABLE messages (id, session_id,
            content_json AS (hex(zeroblob(250000000))))"
            .to_owned(),
        // Each query by row would find all rows.
        "CREATE TABLE sessions (id); CREATE TABLE messages (RowId, session_id, role, content_json)"
            .to_owned(),
    ] {
        let folder = Folder::new();
        let (path, _) = database(&folder, &sql);
        let error = find(&path, None).unwrap_err();
        assert!(matches!(error, Error::NoTables { .. }), "{error:?}");
        assert!(matches!(
            read_all(folder.path()),
            Err(Error::NoTables { .. })
        ));
    }
}

#[test]
fn a_session_that_stands_in_many_rows_is_read_once() {
    let folder = Folder::new();
    let (path, _) = database(
        &folder,
        "CREATE TABLE sessions (id, working_dir);
        CREATE TABLE messages (id, session_id, role, content_json, created_timestamp);
        WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT 1500)
            INSERT INTO sessions SELECT 's', '/' || i FROM r;
        WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT 1500)
            INSERT INTO messages SELECT i, 's', 'user', '\"' || i || '\"', i % 2 FROM r;",
    );
    let recording = read(&path);
    assert_eq!(recording.working_dir.as_ref().unwrap().as_str(), "/1");
    let said: Vec<_> = recording
        .messages
        .iter()
        .map(|message| &*message.content)
        .collect();
    assert_eq!(
        (said.len(), said[0], said[749], said[750], said[1499]),
        (1500, "2", "1500", "1", "1499")
    );
}

#[test]
fn a_tree_with_more_rows_than_bytes_is_not_walked_to_its_end() {
    let folder = Folder::new();
    let error = read_all(&tree(&folder, 9)).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
}

/// 3,600 rows of 400 bytes are fewer rows than the file has bytes.
#[test]
fn rows_that_share_their_bytes_are_not_all_read() {
    let folder = Folder::new();
    let error = read_all(&tree(&folder, 2)).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
}

/// Makes a database in which the table of messages is a tree, and all children of a page are the same page. A
/// walk through it has 60 rows for the first level, and 60 times as many for each further one.
fn tree(folder: &Folder, levels: usize) -> PathBuf {
    const PAGE: usize = 512;
    let (path, mut connection) = database(
        folder,
        &format!(
            "PRAGMA page_size = {PAGE}; {SCHEMA} CREATE TABLE filler (bytes);
            INSERT INTO sessions VALUES ('s', '/', 'user');
            INSERT INTO messages VALUES (1, 'm1', 's', 'user', printf('\"%0400d\"', 1), 1, NULL);
            WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT 12)
                INSERT INTO filler SELECT zeroblob(400) FROM r;"
        ),
    );
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'messages'";
    let root = diesel::dsl::sql::<diesel::sql_types::Integer>(root);
    let root: i32 = root.get_result(&mut connection).unwrap();
    drop(connection);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() / PAGE;
    let root = usize::try_from(root).unwrap();
    let range = |page: usize| (page - 1) * PAGE..page * PAGE;
    let leaf = bytes[range(root)].to_vec();
    let pages: Vec<_> = std::iter::once(root)
        .chain(last + 1 - levels..=last)
        .collect();
    for pair in pages.windows(2) {
        let child = u32::try_from(pair[1]).unwrap().to_be_bytes();
        bytes[range(pair[0])].copy_from_slice(&interior_page(PAGE, child));
    }
    bytes[range(last)].copy_from_slice(&leaf);
    fs::write(&path, bytes).unwrap();
    path
}

/// Returns an interior page of a table (<https://sqlite.org/fileformat2.html#b_tree_pages>) with one child.
fn interior_page(size: usize, child: [u8; 4]) -> Vec<u8> {
    const CELLS: u8 = 60;
    let mut page = vec![0; size];
    (page[0], page[4]) = (5, CELLS);
    page[8..12].copy_from_slice(&child);
    for number in 0..usize::from(CELLS) {
        let cell = size - 5 * (number + 1);
        page[cell..cell + 4].copy_from_slice(&child);
        let offset = u16::try_from(cell).unwrap().to_be_bytes();
        page[12 + 2 * number..14 + 2 * number].copy_from_slice(&offset);
        page[5..7].copy_from_slice(&offset);
    }
    page
}

#[test]
fn an_id_that_is_not_a_text_is_no_id() {
    let folder = Folder::new();
    let (path, _) = database(
        &folder,
        "CREATE TABLE sessions (id);
        CREATE TABLE messages (id, session_id, role, content_json, created_timestamp);
        INSERT INTO sessions VALUES ('1'), (1), (x'31'), (CAST(x'ff' AS TEXT));
        INSERT INTO messages VALUES (1, '1', 'user', '\"text\"', 1), (2, 1, 'user', '\"number\"', 1),
            (3, x'31', 'user', '\"bytes\"', 1);",
    );
    let source = find(&path, None).unwrap().sources.remove(0);
    let (read, failed): (Vec<_>, Vec<_>) = source.sessions().unwrap().partition(Result::is_ok);
    assert_eq!(turns(read[0].as_ref().unwrap()), ["user: text"]);
    assert_eq!(read.len(), 1);
    let is_known = |it: &Result<_, _>| matches!(it, Err(Error::NoTextId { .. }));
    assert!(
        failed.len() == 3 && failed.iter().all(is_known),
        "{failed:?}"
    );
}

#[cfg(unix)]
#[test]
fn side_files_that_are_no_files_are_not_opened() {
    for side in ["sessions.db-wal", "sessions.db-shm", "sessions.db-journal"] {
        let folder = Folder::new();
        let (path, _) = database(&folder, SCHEMA);
        std::os::unix::fs::symlink("/dev/zero", folder.path().join(side)).unwrap();
        assert!(
            matches!(find(&path, None), Err(Error::NotAFile { .. })),
            "{side}"
        );
    }
}

#[test]
fn a_message_with_a_new_id_is_not_stored_again() {
    let folder = Folder::new();
    let insert = |id: i64, message: &str| {
        format!(
            "INSERT INTO messages VALUES ({id}, '{message}', 's', 'user', {}, {id}, NULL);",
            text("go on")
        )
    };
    let (path, mut goose) = database(
        &folder,
        &format!(
            "{SCHEMA} INSERT INTO sessions VALUES ('s', '/', 'user'); {} {}",
            insert(1, "m1"),
            insert(2, "m2")
        ),
    );
    let before = stored(&read(&path), &[]);
    let compacted = [insert(1, "n1"), insert(2, "n2"), insert(3, "n3")].concat();
    goose
        .batch_execute(&format!("DELETE FROM messages; {compacted}"))
        .unwrap();
    let after = stored(&read(&path), &before);
    assert_eq!(after.len(), 3, "{after:?}");
}

#[test]
fn a_session_is_found_by_its_id() {
    let folder = Folder::new();
    let sql = format!("{SCHEMA} INSERT INTO sessions VALUES ('20261005_1', '/srv/a', 'user');");
    let (path, _) = database(&folder, &sql);
    assert!(has_goose_session(&path, "20261005_1").unwrap());
    assert!(!has_goose_session(&path, "20261005_2").unwrap());
    let missing = has_goose_session(&folder.path().join("none.db"), "1").unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
    let other = folder.file("other.db", "no database");
    let error = has_goose_session(&other, "1").unwrap_err();
    assert!(matches!(error, Error::UnknownFormat { .. }), "{error}");
}
