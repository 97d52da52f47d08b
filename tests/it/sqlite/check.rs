//! The findings of `check` in damaged stores. A check changes no file.

use std::fs;
use std::path::Path;

use chrono::DateTime;
use turnkeep_admin::CheckReport;
use turnkeep_repo::{
    BackendType, ErrorKind, MessageKey, NewMessage, NewTask, Repo, Role, SessionId, StatusUpdate,
    TaskId,
};

use super::TempStore;
use crate::copy::scene::{name, noise};
use crate::sql::Sql as _;
use crate::support::*;

const SOUND: [&str; 9] = [
    "permissions",
    "size",
    "schema",
    "integrity",
    "foreign keys",
    "rows",
    "histories",
    "sessions",
    "recordings",
];

/// A store in a private folder.
fn filled() -> anyhow::Result<TempStore> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    save_task(&repo, "u")?;
    for session in ["s1", "s2"] {
        repo.save_session(&task, &binding(BackendType::Claude, session, Some("/tmp"))?)?;
    }
    for content in ["1", "2", "3"] {
        repo.save_message(&task, Role::User, content)?;
    }
    repo.save_recording(&task, &name("a.jsonl"), 0, &noise(1, 3 * 1024 * 1024))?;
    let gone = save_task(&repo, "gone")?;
    repo.save_session(&gone, &binding(BackendType::Claude, "gone", None)?)?;
    repo.remove_task(&gone)?;
    Ok(store)
}

/// Returns the findings, each after the name of its check.
fn findings(report: &CheckReport) -> Vec<String> {
    let checks = report.checks.iter();
    checks
        .flat_map(|check| {
            let findings = check.findings.iter();
            findings.map(|finding| {
                assert!(!finding.advice.is_empty());
                format!("{}: {}", check.name, finding.what)
            })
        })
        .collect()
}

fn check(path: &Path) -> anyhow::Result<CheckReport> {
    Ok(turnkeep_admin::check_unopened(Repo::builder(path))?)
}

fn names(report: &CheckReport) -> Vec<&str> {
    report.checks.iter().map(|check| check.name).collect()
}

#[test]
fn a_sound_store_is_sound_open_or_closed() -> anyhow::Result<()> {
    let store = filled()?;
    let open = Repo::open(store.path())?;
    let report = turnkeep_admin::check(&open)?;
    assert_eq!(findings(&report), [""; 0]);
    assert!(report.is_ok());
    assert_eq!(names(&report), SOUND);
    assert_eq!(
        report.checks[5].result,
        "tasks: 2, dependencies: 0, sessions: 1, session revisions: 2, turns: 3, retractions: 0, \
         recordings: 1, chunks: 3, removed sessions: 1"
    );
    // Another handle has the store open and may be writing.
    open.save_message(&"t".parse()?, Role::User, "4")?;
    let beside = check(&store.path())?;
    assert_eq!(findings(&beside), [""; 0]);
    assert_eq!(names(&beside), SOUND);
    assert!(beside.checks[5].result.contains("turns: 4"));
    drop(open);

    let before = fs::read(store.path())?;
    let closed = check(&store.path())?;
    assert_eq!(findings(&closed), [""; 0]);
    assert_eq!(names(&closed), SOUND);
    assert!(fs::read(store.path())? == before);
    assert_eq!(fs::read_dir(store.folder())?.count(), 1, "nothing came");
    Ok(())
}

#[test]
fn a_store_with_a_deleted_log_is_not_checked() -> anyhow::Result<()> {
    let store = filled()?;
    let repo = Repo::open(store.path())?;
    fs::remove_file(store.folder().join("store.db-wal"))?;
    let result = turnkeep_admin::check(&repo);
    let error = result.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::FileLost { .. }),
        "{error:?}"
    );
    Ok(())
}

#[test]
fn a_store_in_memory_is_sound() -> anyhow::Result<()> {
    let report = turnkeep_admin::check(&Repo::open_in_memory()?)?;
    assert_eq!(findings(&report), [""; 0]);
    assert_eq!(names(&report)[0], "schema");
    Ok(())
}

#[test]
fn changes_by_other_programs_are_found() -> anyhow::Result<()> {
    const FREE: &str = "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;";
    for (sql, found) in [
        (
            "DROP TRIGGER conversation_history_no_delete; \
             DELETE FROM conversation_history WHERE seq = 2",
            &["histories: task `t` has 2 turns, the last of which is number 3"][..],
        ),
        (
            "DROP TRIGGER conversation_history_no_update; \
             UPDATE conversation_history SET content = '4' WHERE seq = 2; \
             UPDATE conversation_history SET timestamp = timestamp + 1 WHERE seq = 3; \
             UPDATE conversation_history SET metadata = '{}' WHERE seq = 1",
            &[
                "rows: turn 1 of task `t` is damaged: its checksum is that of something else",
                "rows: turn 2 of task `t` is damaged: its checksum is that of something else",
                "rows: turn 3 of task `t` is damaged: its checksum is that of something else",
            ],
        ),
        (
            "DELETE FROM sessions; \
             UPDATE session_revisions SET retired_at = NULL, retired_reason = NULL WHERE revision = 2",
            &["sessions: the session of task `t` is not the one on record as the current one"],
        ),
        (
            "UPDATE session_revisions SET session_id = 'other' WHERE revision = 2",
            &["sessions: the session of task `t` is not the one on record as the current one"],
        ),
        (
            "UPDATE session_revisions SET config_dir = '/c' WHERE revision = 2",
            &["sessions: the session of task `t` is not the one on record as the current one"],
        ),
        (
            "UPDATE session_revisions SET metadata = '{}' WHERE revision = 2",
            &["sessions: the session of task `t` is not the one on record as the current one"],
        ),
        (
            "DROP TRIGGER sessions_keep_time; DROP TRIGGER sessions_record_update; \
             UPDATE sessions SET updated_at = updated_at + 1",
            &["sessions: the session of task `t` is not the one on record as the current one"],
        ),
        (
            "UPDATE session_revisions SET first_seq = 5 WHERE revision = 2",
            &["sessions: task `t`: session revision 2 begins with turn 5, but there are 3 turns"],
        ),
        (
            "UPDATE session_revisions SET first_seq = 2 WHERE revision = 1",
            &["sessions: task `t`: session revision 2 begins before an earlier one"],
        ),
        (
            "DELETE FROM session_revisions WHERE revision = 1",
            &["sessions: task `t`: session revision 1 is missing"],
        ),
        (
            "INSERT INTO conversation_history VALUES ('t', 4, 'user', 0, NULL, CAST(x'ff' AS TEXT), NULL, NULL); \
             INSERT INTO conversation_history VALUES ('t', 5, 'user', 0, NULL, 'good', NULL, NULL); \
             INSERT INTO conversation_history VALUES ('t', 6, 'user', 0, NULL, CAST(x'fe' AS TEXT), NULL, NULL)",
            &[
                "rows: turn 4 of task `t` is damaged: Error deserializing field 'content'",
                "rows: turn 6 of task `t` is damaged: ",
            ],
        ),
        (
            "DROP TRIGGER conversation_history_append_only; \
             INSERT INTO conversation_history VALUES ('t', 4611686018427387904, 'user', 0, NULL, 'x', NULL, NULL)",
            &[
                "rows: turn 4611686018427387904 of task `t` is damaged: ",
                "histories: task `t` has 4 turns, the last of which is number 4611686018427387904",
            ],
        ),
        // SQLite converts a text to 0 in place of a number, and a blob to a text.
        (
            "UPDATE tasks SET fence = 'much' WHERE id = 't'; \
             UPDATE tasks SET name = x'41' WHERE id = 'u'",
            &[
                "integrity: `fence` is no integer in the row of task `t` in `tasks`",
                "integrity: `name` is no text in the row of task `u` in `tasks`",
            ],
        ),
        (
            "UPDATE sessions SET created_at = 'late'; \
             INSERT INTO conversation_history VALUES ('t', 4, 'user', 1.5, NULL, 'x', NULL, NULL)",
            &[
                "integrity: `created_at` is no integer in the row of task `t` in `sessions`",
                "integrity: `timestamp` is no integer in the row of task `t` in `conversation_history`",
            ],
        ),
        (
            "UPDATE tasks SET name = CAST(x'ff' AS TEXT) WHERE id = 'u'",
            &["rows: task `u` is damaged: "],
        ),
        (
            "INSERT INTO conversation_history VALUES ('t', 4, 'robot', 0, NULL, 'x', NULL, NULL)",
            &[
                "rows: turn 4 of task `t` is damaged: Error deserializing field 'role': invalid role",
            ],
        ),
        (
            "INSERT INTO task_dependencies VALUES ('t', 'nobody')",
            &["foreign keys: task_dependencies.depends_on: 1 rows name a task that does not exist"],
        ),
        (
            "DROP TRIGGER history_retractions_append_only; \
             INSERT INTO history_retractions VALUES ('t', 2, 1, 3, 0), ('u', 1, 0, 1, 0), ('nobody', 1, 0, 1, 0)",
            &[
                "foreign keys: history_retractions.task_id: 1 rows name a task that does not exist",
                "histories: task `t`: retraction 1 is missing",
                "histories: task `u`: retraction 1 goes beyond the last turn, 0",
            ],
        ),
        (
            "INSERT INTO history_retractions VALUES ('t', 1, 1, 3, 0), ('t', 2, 0, 2, 0)",
            &["histories: task `t`: retraction 2 ends before an earlier one"],
        ),
        (
            "INSERT INTO __diesel_schema_migrations (version) VALUES ('99990101000000')",
            &["opening: has schema"],
        ),
    ] {
        let store = filled()?;
        let drop_triggers = "DROP TRIGGER session_revisions_no_update; \
             DROP TRIGGER session_revisions_no_delete; DROP TRIGGER sessions_record_delete;";
        store.execute(&format!("{FREE} {drop_triggers} {sql}"))?;
        let report = check(&store.path())?;
        let all = findings(&report);
        assert!(!report.is_ok());
        // The dropped triggers are findings as well.
        let is_guard = |told: &&String| told.starts_with("schema: trigger `");
        let told: Vec<_> = all.iter().filter(|told| !is_guard(told)).collect();
        assert_eq!(told.len(), found.len(), "{sql}: {told:#?}");
        for (told, found) in told.iter().zip(found) {
            let found = found
                .strip_prefix("opening: has")
                .map_or(*found, |_| "opening: ");
            assert!(told.starts_with(found), "{sql}: {told}");
        }
        if !told[0].starts_with("opening") {
            let open = findings(&turnkeep_admin::check(&Repo::open(store.path())?)?);
            assert_eq!(open, all, "{sql}");
        }
    }
    Ok(())
}

/// Damage in a page that opening does not read.
#[test]
fn a_damaged_page_is_found() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for _ in 0..100 {
        repo.save_message(&task, Role::User, &"x".repeat(2_000))?;
    }
    drop(repo);
    store.damage_second_half()?;
    let bytes = fs::read(store.path())?;
    let told = findings(&check(&store.path())?);
    assert!(
        told.iter().any(|told| told.starts_with("integrity: ")),
        "{told:?}"
    );
    assert!(fs::read(store.path())? == bytes, "the file did not change");
    let repo = Repo::open(store.path())?;
    assert!(findings(&turnkeep_admin::check(&repo)?).len() > 1);
    assert_eq!(repo.get_tasks()?.len(), 1, "the reader still works");
    Ok(())
}

/// A copy over a larger file leaves such a file.
#[test]
fn a_file_that_is_longer_than_its_pages_is_found() -> anyhow::Result<()> {
    let store = filled()?;
    let mut bytes = fs::read(store.path())?;
    let pages = bytes.len();
    bytes.extend([0; 4_096]);
    fs::write(store.path(), &bytes)?;
    let what = format!(
        "the file has {} bytes, its pages should take {pages}",
        bytes.len()
    );
    assert_eq!(findings(&check(&store.path())?), [format!("size: {what}")]);
    Ok(())
}

/// Every changed text or time in the file is found.
#[test]
fn a_changed_value_is_found() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let task = TaskId::new("zebra id")?;
    let now = DateTime::from_timestamp_micros(1_795_000_123_456_789).unwrap_or_default();
    let repo = Repo::builder(store.path()).clock(move || now).open()?;
    let new = NewTask::new(task.clone(), "zebra name")
        .prompt("zebra prompt")
        .metadata(r#"{"zebra":"of a task"}"#.parse()?);
    repo.save_task(&new.agent_role("zebra role").writes_files(["zebra file"]))?;
    repo.save_session(
        &task,
        &binding(BackendType::Claude, "zebra one session", Some("/a"))?,
    )?;
    repo.retire_session(&task, &SessionId::new("zebra one session")?, "zebra reason")?;
    repo.save_session(
        &task,
        &binding(BackendType::Codex, "zebra other session", Some("/b"))?
            .config_dir("zebra config folder".parse()?)
            .metadata(r#"{"zebra":"of a session"}"#.parse()?),
    )?;
    let key = MessageKey::new("zebra key")?;
    repo.save_messages(
        &task,
        &[NewMessage::new(Role::User, "zebra message")
            .key(key)
            .metadata(r#"{"zebra":"of a turn"}"#.parse()?)],
    )?;
    repo.update_task_status(&task, StatusUpdate::completed("zebra result"))?;
    // Removes older copies of the values from free space.
    repo.vacuum()?;
    drop(repo);
    let bytes = fs::read(store.path())?;
    let mut values = vec![now.timestamp_micros().to_be_bytes().to_vec()];
    values.extend(
        [
            "zebra id",
            "zebra name",
            "zebra prompt",
            "zebra role",
            "zebra file",
            "zebra one session",
            "zebra reason",
            "zebra other session",
            "zebra config folder",
            r#"{"zebra":"of a session"}"#,
            r#"{"zebra":"of a task"}"#,
            "zebra key",
            "zebra message",
            r#"{"zebra":"of a turn"}"#,
            "zebra result",
        ]
        .map(|text| text.as_bytes().to_vec()),
    );
    for value in values {
        let places: Vec<usize> = bytes
            .windows(value.len())
            .enumerate()
            .filter_map(|(place, bytes)| (bytes == value).then_some(place))
            .collect();
        assert!(!places.is_empty(), "{value:?}");
        for place in places {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            fs::write(store.path(), &changed)?;
            let report = check(&store.path())?;
            assert!(!report.is_ok(), "{value:?}, byte {place}");
        }
    }
    fs::write(store.path(), &bytes)?;
    assert_eq!(findings(&check(&store.path())?), [""; 0]);
    Ok(())
}

#[test]
fn a_file_that_cannot_be_opened_is_a_finding() -> anyhow::Result<()> {
    let cases: [(&[u8], &str); 3] = [
        (
            b"this is no database, but long enough to be one",
            "opening: ",
        ),
        (b"x", "opening: "),
        (b"", "schema: nothing is in it yet"),
    ];
    for (bytes, found) in cases {
        let store = TempStore::new()?;
        fs::write(store.path(), bytes)?;
        private(&store.path())?;
        let told = findings(&check(&store.path())?);
        assert!(told.len() == 1 && told[0].starts_with(found), "{told:?}");
        assert_eq!(fs::read(store.path())?, bytes);
    }
    // A folder is reported only as a folder, without its mode.
    let store = TempStore::new()?;
    fs::create_dir(store.path())?;
    let told = findings(&check(&store.path())?);
    assert!(
        told.len() == 1 && told[0].ends_with("is a folder"),
        "{told:?}"
    );
    let store = filled()?;
    let whole = fs::read(store.path())?;
    fs::write(store.path(), &whole[..whole.len() / 2])?;
    let told = findings(&check(&store.path())?);
    assert!(
        told.iter().any(|told| told.starts_with("opening: ")),
        "{told:?}"
    );
    assert!(told.len() > 1, "further findings: {told:?}");

    let store = TempStore::new()?;
    let error = turnkeep_admin::check_unopened(Repo::builder(store.path())).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::StoreNotFound));
    assert_eq!(error.operation(), "check");
    assert!(!store.path().exists());
    Ok(())
}

fn private(path: &Path) -> anyhow::Result<()> {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(())
}

#[test]
#[cfg(unix)]
fn a_file_readable_by_others_is_found() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    let store = filled()?;
    mode(&store.path(), 0o644)?;
    mode(store.folder(), 0o770)?;
    let told = findings(&check(&store.path())?);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].ends_with("store.db has mode 644, others can get at it"),
        "{told:?}"
    );
    assert!(
        told[1].contains("has mode 770, others can delete and replace"),
        "{told:?}"
    );
    mode(&store.path(), 0o600)?;
    mode(store.folder(), 0o1777)?;
    assert_eq!(findings(&check(&store.path())?), [""; 0]);
    Ok(())
}

/// SQLite deletes a log beside an empty file. A check must not open such a file.
#[test]
fn a_check_keeps_a_log_beside_an_empty_file() -> anyhow::Result<()> {
    let live = filled()?;
    let repo = Repo::open(live.path())?;
    repo.save_message(&"t".parse()?, Role::User, "only in the log")?;
    let store = TempStore::new()?;
    let log = store.folder().join("store.db-wal");
    fs::copy(live.folder().join("store.db-wal"), &log)?;
    fs::write(store.path(), "")?;
    let before = fs::read(&log)?;
    let told = findings(&check(&store.path())?);
    assert!(
        told.iter().any(|it| it.starts_with("opening: ")),
        "{told:?}"
    );
    assert!(fs::read(&log)? == before);
    Ok(())
}

/// A check reads the log of a crashed process without a checkpoint.
#[test]
fn a_check_does_not_checkpoint_the_log() -> anyhow::Result<()> {
    let live = filled()?;
    let repo = Repo::open(live.path())?;
    repo.save_message(&"t".parse()?, Role::User, "only in the log")?;
    let crashed = TempStore::new()?;
    for name in ["store.db", "store.db-wal"] {
        fs::copy(live.folder().join(name), crashed.folder().join(name))?;
    }
    let read = || -> anyhow::Result<_> {
        let log = crashed.folder().join("store.db-wal");
        Ok((fs::read(crashed.path())?, fs::read(log)?))
    };
    let before = read()?;
    let report = check(&crashed.path())?;
    assert_eq!(findings(&report), [""; 0]);
    assert!(
        report
            .checks
            .iter()
            .any(|check| check.result.contains("turns: 4"))
    );
    assert!(read()? == before);
    Ok(())
}

#[test]
fn damage_of_a_recording_is_named() -> anyhow::Result<()> {
    for (damage, expected) in [
        (
            "DROP TRIGGER recording_chunks_no_update; \
             UPDATE recording_chunks SET data = zeroblob(40) WHERE \"offset\" = 1048576",
            "recordings: recording 1 of task `t` is damaged at byte 1048576: ",
        ),
        (
            "DROP TRIGGER recording_chunks_no_update; \
             UPDATE recording_chunks SET checksum = 1 WHERE \"offset\" = 2097152",
            "recordings: recording 1 of task `t` is damaged at byte 2097152: \
             its checksum is that of something else (`a.jsonl`)",
        ),
        (
            "DROP TRIGGER recording_chunks_no_gap; DELETE FROM recording_chunks WHERE \"offset\" = 0",
            "recordings: recording 1 of task `t` is damaged at byte 0: the next chunk is missing (`a.jsonl`)",
        ),
        (
            "PRAGMA ignore_check_constraints = ON; DROP TRIGGER recordings_no_update; \
             UPDATE recordings SET name = '../x'",
            "recordings: a recording of task `t` is damaged: ",
        ),
        (
            "PRAGMA ignore_check_constraints = ON; UPDATE removed_sessions SET session_id = ''",
            "rows: a removed session",
        ),
        (
            "PRAGMA foreign_keys = OFF; DROP TRIGGER recordings_take_chunks; DELETE FROM recordings",
            "foreign keys: recording_chunks.number: 3 rows name a recording that does not exist",
        ),
    ] {
        let store = filled()?;
        store.execute(damage)?;
        let found = findings(&check(&store.path())?);
        assert!(
            found.iter().any(|it| it.starts_with(expected)),
            "{damage}: {found:?}"
        );
    }
    Ok(())
}
