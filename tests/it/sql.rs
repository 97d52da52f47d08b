//! The store as other programs see it by SQL. It is the same on every engine.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::thread;
use std::time::Duration;

use turnkeep_admin::Prune;
use turnkeep_conformance::Claimed as _;
use turnkeep_repo::chrono::DateTime;
use turnkeep_repo::{
    BackendType, Error, ErrorKind, Metadata, NewMessage, NewTask, RecordingName, RecordingNumber,
    Repo, Role, StatusUpdate, TaskId, TaskOrder, TaskQuery, TaskStatus, WorkerId, WorkingDir,
};

use crate::support::*;

/// A store that other programs reach by SQL.
pub trait Sql: Harness {
    /// The path or the address of the store.
    fn address(&self) -> std::path::PathBuf;

    /// A blob of so many zeros, as an expression.
    fn zeros(count: usize) -> String;

    /// Runs statements as another program.
    fn execute(&self, sql: &str) -> anyhow::Result<()>;

    /// Reads a column of texts as another program. There is no line break in them.
    fn texts(&self, query: &str) -> anyhow::Result<Vec<String>>;

    /// Has rows of a table left out without an error when they are to be inserted, updated or
    /// deleted, as another program's trigger can.
    fn leave_out(&self, event: &str, table: &str) -> anyhow::Result<()>;

    /// Removes what [`leave_out`](Self::leave_out) has made.
    fn take_all(&self, table: &str) -> anyhow::Result<()>;
}

/// The same in a file, as SQL.
pub fn left_out_of_file(event: &str, table: &str) -> String {
    format!("CREATE TRIGGER theirs BEFORE {event} ON {table} BEGIN SELECT RAISE(IGNORE); END")
}

/// The same on a server.
#[cfg(feature = "postgres")]
pub fn left_out_on_server(event: &str, table: &str) -> String {
    format!(
        "CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
         CREATE TRIGGER theirs BEFORE {event} ON {table} \
         FOR EACH ROW EXECUTE FUNCTION theirs()"
    )
}

/// Stamps the tests of this file for one engine.
macro_rules! suite {
    ($harness:ty) => {
        mod sql {
            $crate::sql::suite! { @ super::HarnessOfTheSuite:
                the_database_itself_refuses_what_the_types_forbid,
                a_binding_changed_by_another_program_is_on_record,
                a_record_that_comes_first_is_not_written_again,
                a_binding_that_another_program_saves_again_stays_as_it_is,
                a_replaced_binding_stays_as_it_is,
                an_append_moves_the_last_activity_once_a_minute,
                folders_of_any_size_are_listed,
                a_backend_of_a_newer_program_is_read,
                what_no_engine_can_hold_is_stored_as_something_else,
                a_damaged_task_does_not_keep_the_others_from_being_given_out,
                metadata_of_another_program_are_read,
                a_fence_at_its_end_does_not_stop_the_other_tasks,
                a_lease_that_ends_further_off_than_it_is_long_is_over,
                a_newer_schema_is_refused,
                a_schema_that_has_become_newer_is_noticed_by_the_next_write,
                another_programs_database_is_refused,
                a_row_that_is_left_out_is_told,
                a_damaged_recording_goes_on,
            }
        }
    };
    (@ $harness:ty: $($test:ident,)+) => {
        $(
            #[test]
            fn $test() -> anyhow::Result<()> {
                $crate::sql::$test::<$harness>()
            }
        )+
    };
}

pub(crate) use suite;

/// Runs each statement on a store that has something of everything. All must be refused, by the
/// rules of the database, and change nothing.
///
/// There are the tasks `t`, with two turns (the second has the key `k`) and a binding, `u`, `w`,
/// which waits for `t`, and `leased`, which was given out three times.
pub fn refuses<H: Sql>(statements: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
    const TABLES: [&str; 10] = [
        "tasks",
        "task_dependencies",
        "sessions",
        "session_revisions",
        "conversation_history",
        "history_retractions",
        "recordings",
        "recording_chunks",
        "removed_sessions",
        "imported_files",
    ];

    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    save_task(&repo, "u")?;
    repo.save_message(&task, Role::User, "said")?;
    let keyed = NewMessage::new(Role::User, "keyed").key("k".parse()?);
    repo.save_messages(&task, &[keyed])?;
    repo.save_session(&task, &binding(BackendType::Claude, "s", None)?)?;
    repo.save_task(&NewTask::new("w".parse()?, "W").depends_on([task.clone()]))?;
    save_task(&repo, "leased")?;
    let data = H::zeros(1);
    store.execute(&format!(
        "UPDATE tasks SET fence = 3, worker = 'w', lease_ends_at = 0, lease_length = 1 \
         WHERE id = 'leased'; \
         INSERT INTO history_retractions VALUES ('t', 1, 1, 2, 0); \
         INSERT INTO recordings VALUES ('t', 1, 'a', 0, 0), ('t', 3, '.é/..b/c..', 0, 0); \
         INSERT INTO removed_sessions VALUES ('b', 'x', 't', 0); \
         INSERT INTO imported_files VALUES ('h', {}, 1, -1, '', 1, 1, 0, 'b', NULL); \
         INSERT INTO recording_chunks VALUES ('t', 3, 0, 2, 0, {data}), ('t', 3, 2, 1, 0, {data})",
        H::zeros(2_048),
    ))?;
    let state = || -> turnkeep_repo::Result<_> {
        Ok((
            repo.get_tasks()?,
            repo.list_sessions()?,
            repo.get_history(&task)?,
            repo.list_session_revisions(&task)?,
        ))
    };
    let before = state()?;
    for sql in statements {
        let Err(error) = store.execute(&sql) else {
            panic!("stored: {sql}");
        };
        // A constraint, a trigger or a type; not a slip of this test's pen.
        let told = error.to_string();
        let is_a_rule = told.contains("constraint")
            || [
                "invalid input syntax for type",
                "malformed JSON",
                "unsupported Unicode escape sequence",
            ]
            .iter()
            .any(|how| told.contains(how))
            || TABLES
                .iter()
                .any(|table| told.contains(&format!("{table}: ")));
        assert!(is_a_rule, "{sql}: {told}");
    }
    assert_eq!(state()?, before);
    Ok(())
}

/// The constraints hold for programs that know nothing of this library.
pub fn the_database_itself_refuses_what_the_types_forbid<H: Sql>() -> anyhow::Result<()> {
    let long = "x".repeat(513);
    let new_task = |id: &str, state: &str| {
        format!(
            "INSERT INTO tasks (id, name, prompt, writes_files, status, failure_mode, fence, \
             created_at, updated_at, status_changed_at, last_active_at) \
             VALUES ({id}, '', '', '[]', {state}, 0, 0, 0, 0)"
        )
    };
    let mut refused = vec![
        new_task("''", "'pending', 'hard', 0"),
        new_task(&format!("'{long}'"), "'pending', 'hard', 0"),
        new_task("NULL", "'pending', 'hard', 0"),
        new_task("'t'", "'pending', 'hard', 0"),
        new_task("'new'", "'done', 'hard', 0"),
        new_task("'new'", "'pending', 'none', 0"),
        new_task("'new'", "'pending', 'hard', -1"),
        format!("UPDATE tasks SET worker = '{long}', lease_ends_at = 1, lease_length = 1"),
    ];
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(Metadata::MAX_BYTES - 7));
    refused.extend([
        format!("UPDATE tasks SET metadata = '{long}'"),
        format!("UPDATE sessions SET metadata = '{long}'"),
        format!("INSERT INTO session_revisions VALUES ('u', 1, 'x', 'x', NULL, NULL, '{long}', 1, 0, NULL, NULL)"),
        format!("INSERT INTO conversation_history VALUES ('t', 3, 'user', 0, NULL, 'x', '{long}', NULL)"),
        format!("UPDATE sessions SET config_dir = '{}'", "x".repeat(4_097)),
    ]);
    let long = "x".repeat(1_025);
    for name in [
        "", "/a", "a/", "a//b", ".", "./a", "a/.", "..", "../a", "a/../b", "a\\b", "a\u{1}",
        "a\u{7f}", "\u{9f}", &long,
    ] {
        refused.push(format!(
            "INSERT INTO recordings VALUES ('u', 1, '{name}', 0, 0)"
        ));
    }
    let data = H::zeros(1);
    for chunk in [
        format!("'t', 3, 2, 1, 0, {data}"),
        format!("'t', 3, 4, 1, 0, {data}"),
        format!("'t', 3, NULL, 1, 0, {data}"),
        format!("'t', 2, 0, 1, 0, {data}"),
        format!("'t', 1, 0, 0, 0, {data}"),
        format!("'t', 1, 0, 1048577, 0, {data}"),
        format!("'t', 1, 0, 1, -1, {data}"),
        format!("'t', 1, 0, 1, 4294967296, {data}"),
        format!("'t', 1, 0, 1, 0, {}", H::zeros(0)),
        format!("'t', 1, 0, 1, 0, {}", H::zeros(1_052_673)),
        "'t', 1, 0, 1, 0, NULL".into(),
    ] {
        refused.push(format!("INSERT INTO recording_chunks VALUES ({chunk})"));
    }
    for session in [
        "'', 's', 't', 0",
        "'b', '', 't', 0",
        "'b', 's', '', 0",
        "'b', 's', 't', NULL",
    ] {
        refused.push(format!("INSERT INTO removed_sessions VALUES ({session})"));
    }
    let path = H::zeros(1);
    for file in [
        format!("'', {path}, 1, 1, '', 0, 0, 0, 'b', NULL"),
        format!("'h', {}, 1, 1, '', 0, 0, 0, 'b', NULL", H::zeros(0)),
        format!("'h', {}, 1, 1, '', 0, 0, 0, 'b', NULL", H::zeros(2_049)),
        format!("'h', {path}, -1, 1, '', 0, 0, 0, 'b', NULL"),
        format!("'h', {path}, 1, NULL, '', 0, 0, 0, 'b', NULL"),
        format!("'h', {path}, 1, 1, '', 2, 0, 0, 'b', NULL"),
        format!("'h', {path}, 1, 1, '', 0, 2, 0, 'b', NULL"),
        format!("'h', {path}, 1, 1, '', 0, 0, -1, 'b', NULL"),
        format!("'h', {path}, 1, 1, '', 0, 0, 0, '', NULL"),
        format!("'h', {path}, 1, 1, '', 0, 0, 0, 'b', ''"),
    ] {
        refused.push(format!("INSERT INTO imported_files VALUES ({file})"));
    }
    refused.extend(
        [
            // Turns: never changed, never removed, no gap, no second key.
            "UPDATE conversation_history SET content = 'other'",
            "UPDATE conversation_history SET seq = 7 WHERE seq = 2",
            "DELETE FROM conversation_history",
            "INSERT INTO conversation_history VALUES ('t', 1, 'user', 0, NULL, 'other', NULL, NULL)",
            "INSERT INTO conversation_history VALUES ('t', 3, 'user', 0, 'k', 'other', NULL, NULL)",
            "INSERT INTO conversation_history VALUES ('t', 1, 'user', 0, NULL, 'other', NULL, NULL) \
             ON CONFLICT (task_id, seq) DO UPDATE SET content = excluded.content",
            "INSERT INTO conversation_history VALUES ('t', 4, 'user', 0, NULL, 'gap', NULL, NULL)",
            "INSERT INTO conversation_history VALUES ('t', 0, 'user', 0, NULL, 'zero', NULL, NULL)",
            "INSERT INTO conversation_history VALUES ('none', 1, 'user', 0, NULL, 'x', NULL, NULL)",
            "INSERT INTO conversation_history VALUES ('t', 3, 'robot', 0, NULL, 'x', NULL, NULL)",
            "INSERT INTO conversation_history VALUES ('t', 3, 'user', 0, NULL, NULL, NULL, NULL)",
            "INSERT INTO conversation_history VALUES ('t', 3, 'user', 'now', NULL, 'x', NULL, NULL)",
            "INSERT INTO conversation_history VALUES ('t', 3, 'user', 9223372036854775807, NULL, 'x', NULL, NULL)",
            "INSERT INTO conversation_history VALUES ('t', 3, 'user', 0, '', 'x', NULL, NULL)",
            // Revisions: only retired, once; never removed.
            "DELETE FROM session_revisions",
            "UPDATE session_revisions SET session_id = 'other'",
            "UPDATE session_revisions SET retired_at = 1",
            "INSERT INTO session_revisions VALUES ('t', 3, 'x', 'x', NULL, NULL, NULL, 1, 0, NULL, NULL)",
            "INSERT INTO session_revisions VALUES ('t', 2, 'x', 'x', NULL, NULL, NULL, 1, 0, NULL, NULL)",
            "UPDATE session_revisions SET retired_at = 1, retired_reason = '', config_dir = '/c'",
            "UPDATE session_revisions SET retired_at = 1, retired_reason = '', metadata = '{}'",
            "UPDATE session_revisions SET retired_at = 1, retired_reason = '', first_seq = 1",
            // Retractions: never changed, never removed, no gap, only of turns that there are.
            "UPDATE history_retractions SET after_seq = 0",
            "DELETE FROM history_retractions",
            "INSERT INTO history_retractions VALUES ('t', 1, 0, 2, 0)",
            "INSERT INTO history_retractions VALUES ('t', 3, 0, 2, 0)",
            "INSERT INTO history_retractions VALUES ('t', 2, 0, 3, 0)",
            "INSERT INTO history_retractions VALUES ('t', 2, 2, 2, 0)",
            "INSERT INTO history_retractions VALUES ('t', 2, -1, 2, 0)",
            "INSERT INTO history_retractions VALUES ('t', 2, 0, NULL, 0)",
            "INSERT INTO history_retractions VALUES ('t', 2, 0, 2, 253402300800000000)",
            "INSERT INTO history_retractions VALUES ('none', 1, 0, 1, 0)",
            // Recordings: numbers grow, a chunk follows on the one before.
            "INSERT INTO recordings VALUES ('t', 3, 'b', 0, 0)",
            "INSERT INTO recordings VALUES ('t', 2, 'b', 0, 0)",
            "INSERT INTO recordings VALUES ('u', 0, 'b', 0, 0)",
            "INSERT INTO recordings VALUES ('u', NULL, 'b', 0, 0)",
            "INSERT INTO recordings VALUES ('u', 9007199254740992, 'b', 0, 0)",
            "INSERT INTO recordings VALUES ('none', 1, 'b', 0, 0)",
            "INSERT INTO recordings VALUES ('u', 1, 'b', 0, 253402300800000000)",
            "UPDATE recordings SET name = 'b'",
            "UPDATE recordings SET number = 4 WHERE number = 3",
            "UPDATE recordings SET created_at = 1",
            "UPDATE recordings SET updated_at = NULL",
            "UPDATE recording_chunks SET checksum = 1",
            "DELETE FROM recording_chunks WHERE \"offset\" = 0",
            "UPDATE tasks SET metadata = ''",
            "UPDATE tasks SET metadata = 'x'",
            "UPDATE tasks SET metadata = '[]'",
            "UPDATE sessions SET metadata = 'null'",
            "UPDATE tasks SET metadata = '{\"a\":[{\"b\":\"\\u0000\"}]}'",
            "UPDATE sessions SET metadata = '{\"\\\\\\u0000\":1}'",
            "INSERT INTO session_revisions VALUES ('u', 1, 'x', 'x', NULL, NULL, '[]', 1, 0, NULL, NULL)",
            "INSERT INTO conversation_history VALUES ('t', 3, 'user', 0, NULL, 'x', '{\"a\"}', NULL)",
            // Sessions and tasks.
            "UPDATE sessions SET config_dir = ''",
            "UPDATE tasks SET not_before = 253402300800000000",
            "UPDATE tasks SET last_active_at = NULL",
            "UPDATE tasks SET last_active_at = -62167219200000001",
            "INSERT INTO sessions VALUES ('none', 'claude', 's', NULL, NULL, NULL, 0, 0)",
            "UPDATE sessions SET session_id = ''",
            "UPDATE sessions SET backend_type = ''",
            "UPDATE sessions SET working_dir = ''",
            "UPDATE sessions SET task_id = 'u'",
            "UPDATE tasks SET writes_files = '[1]'",
            "UPDATE tasks SET writes_files = '[\"a\", null]'",
            "UPDATE tasks SET writes_files = 'a,b'",
            "UPDATE tasks SET writes_files = '{}'",
            "UPDATE tasks SET status = 'done'",
            "UPDATE tasks SET failure_mode = 'none'",
            "UPDATE tasks SET id = 'renamed' WHERE id = 't'",
            "UPDATE tasks SET name = NULL",
            // Leases: whole or none, and a number that never comes back.
            "UPDATE tasks SET worker = 'w'",
            "UPDATE tasks SET lease_ends_at = 1",
            "UPDATE tasks SET worker = 'w', lease_ends_at = 1",
            "UPDATE tasks SET worker = 'w', lease_length = 1",
            "UPDATE tasks SET worker = '', lease_ends_at = 1, lease_length = 1",
            "UPDATE tasks SET worker = 'w', lease_ends_at = 253402300800000000, lease_length = 1",
            "UPDATE tasks SET worker = 'w', lease_ends_at = 1, lease_length = 0",
            "UPDATE tasks SET worker = 'w', lease_ends_at = 1, lease_length = 86400000001",
            "UPDATE tasks SET fence = 2 WHERE id = 'leased'",
            "UPDATE tasks SET fence = NULL",
            // Counters: no higher than every JSON reader keeps exact.
            "UPDATE tasks SET fence = 9007199254740992",
            "INSERT INTO session_revisions VALUES ('t', 9007199254740992, 'x', 'x', NULL, NULL, NULL, 1, 0, NULL, NULL)",
            "INSERT INTO conversation_history VALUES ('t', 9007199254740992, 'user', 0, NULL, 'x', NULL, NULL)",
            // Dependencies: known, not on itself, not in a circle.
            "INSERT INTO task_dependencies VALUES ('t', 'none')",
            "INSERT INTO task_dependencies VALUES ('u', 'u')",
            "INSERT INTO task_dependencies VALUES ('t', 'w')",
            "UPDATE task_dependencies SET task_id = 't', depends_on = 'w'",
        ]
        .map(String::from),
    );
    refuses::<H>(refused)
}

/// The tasks of a small folder are looked up one by one, the tasks of a large one are met in the order of the list.
pub fn folders_of_any_size_are_listed<H: Sql>() -> anyhow::Result<()> {
    let store = H::new()?;
    let repo = store.open()?;
    let id = |number| TaskId::new(format!("t{number:04}")).unwrap();
    let plan = (0..1_003).map(|number| {
        let status = if number % 2 == 0 {
            TaskStatus::Failed
        } else {
            TaskStatus::Pending
        };
        NewTask::new(id(number), "T").status(status)
    });
    repo.save_tasks(&plan.collect::<Vec<_>>())?;
    store.execute(
        "INSERT INTO sessions SELECT id, 'codex', id, '/large', NULL, NULL, 0, 0 FROM tasks WHERE id > 't0001'; \
         INSERT INTO sessions SELECT id, 'codex', id, '/small', NULL, NULL, 0, 0 FROM tasks WHERE id <= 't0001'",
    )?;
    for (folder, all) in [("/large", 2..1_003), ("/small", 0..2), ("/none", 0..0)] {
        for order in [TaskOrder::LastActive, TaskOrder::Created, TaskOrder::Id] {
            let query = TaskQuery::new().order(order).limit(1_000);
            let above = query.clone().folders([WorkingDir::new(folder)?]);
            let query = query.working_dir(WorkingDir::new(folder)?);
            let pages = |mut query: TaskQuery| -> turnkeep_repo::Result<Vec<TaskId>> {
                let mut ids = Vec::new();
                loop {
                    let page = repo.list_tasks(&query)?;
                    ids.extend(page.tasks.into_iter().map(|task| task.id));
                    match page.next {
                        Some(next) => query = query.after(next),
                        None => break,
                    }
                }
                if order == TaskOrder::LastActive {
                    ids.reverse();
                }
                Ok(ids)
            };
            let expected: Vec<_> = all.clone().map(id).collect();
            assert_eq!(pages(query.clone())?, expected, "{folder} {order:?}");
            assert_eq!(pages(above)?, expected, "{folder} and below, {order:?}");
            let failed = query.statuses([TaskStatus::Failed]);
            let expected: Vec<_> = all.clone().filter(|it| it % 2 == 0).map(id).collect();
            assert_eq!(pages(failed)?, expected, "{folder} {order:?} failed");
        }
    }

    // Longer than a row of an index on a server, and no compression makes it shorter.
    let letters = (0_u64..4_095).map(|number| {
        let mixed = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (number * number);
        char::from(b'0' + (mixed.wrapping_mul(mixed | 1) >> 58) as u8)
    });
    let longest = format!("/{}", letters.collect::<String>());
    repo.save_session(&id(7), &binding(BackendType::Codex, "s", Some(&longest))?)?;
    let query = TaskQuery::new().working_dir(WorkingDir::new(&*longest)?);
    let page = repo.list_tasks(&query)?;
    assert!(page.tasks.iter().map(|task| &task.id).eq([&id(7)]));
    Ok(())
}

/// The first turn of a minute moves the column that lists are sorted by, and so does a turn before the one whose time
/// would otherwise be lost. Changes of the status move it too, and nothing moves it back.
pub fn an_append_moves_the_last_activity_once_a_minute<H: Sql>() -> anyhow::Result<()> {
    let store = H::new()?;
    let at = |second| DateTime::from_timestamp(second, 0).unwrap();
    let repo_at = |second| store.open_with(Options::new().clock(move || at(second)));
    let moved = || store.texts("SELECT CAST(last_active_at / 1000000 AS TEXT) FROM tasks");
    let task = save_task(&repo_at(10)?, "t")?;
    assert_eq!(moved()?, ["10"]);
    for (turn, expected) in [
        (20, "20"),
        (59, "20"),
        (65, "65"),
        (119, "65"),
        (100, "119"),
        (40, "119"),
        (70, "119"),
    ] {
        repo_at(turn)?.save_message(&task, Role::User, "x")?;
        assert_eq!(moved()?, [expected], "a turn at {turn}");
    }
    for (change, expected) in [(110, "119"), (130, "130")] {
        repo_at(change)?.update_task_status(&task, TaskStatus::Completed)?;
        assert_eq!(moved()?, [expected], "a status at {change}");
    }
    for (turns, expected) in [
        ([190, 181], "190"),
        ([182, 183], "190"),
        ([240, 250], "250"),
    ] {
        let turns = turns.map(|second| NewMessage::new(Role::User, "x").timestamp(at(second)));
        repo_at(0)?.save_messages(&task, &turns)?;
        assert_eq!(moved()?, [expected]);
    }
    repo_at(310)?.update_task_status(&task, TaskStatus::Pending)?;
    let worker = WorkerId::new("w")?;
    let hour = Duration::from_secs(3600);
    let claim = repo_at(320)?
        .claim(&task, &worker, hour)?
        .expect("it is ready");
    H::Store::fenced(&claim).renew(hour)?;
    assert_eq!(moved()?, ["320"], "a renewed lease is no activity");
    Ok(())
}

/// The earlier binding stays on record, also after another program's change.
pub fn a_binding_changed_by_another_program_is_on_record<H: Sql>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let binding = |id| binding(BackendType::Claude, id, None);
    repo.save_session(&task, &binding("first")?)?;
    store.execute("UPDATE sessions SET session_id = 'second', updated_at = updated_at + 1")?;
    repo.save_session(&task, &binding("third")?)?;
    store.execute("DELETE FROM sessions")?;
    let revisions = repo.list_session_revisions(&task)?;
    let seen: Vec<_> = revisions
        .iter()
        .map(|r| {
            (
                r.session_id.as_str(),
                r.retired_reason.as_deref().unwrap_or("open"),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("first", "replaced"),
            ("second", "replaced"),
            ("third", "removed")
        ]
    );
    assert!(revisions[2].retired_at.is_some());
    Ok(())
}

/// A copy of a store writes the revisions as they are, then the binding that is the open one.
pub fn a_record_that_comes_first_is_not_written_again<H: Sql>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    store.execute(
        "INSERT INTO session_revisions VALUES ('t', 1, 'codex', 's', '/a', NULL, NULL, 1, 1, 2, 'replaced'); \
         INSERT INTO session_revisions VALUES ('t', 2, 'codex', 's', NULL, NULL, NULL, 1, 3, NULL, NULL); \
         INSERT INTO sessions VALUES ('t', 'codex', 's', NULL, NULL, NULL, 1, 3)",
    )?;
    let revisions = repo.list_session_revisions(&task)?;
    assert_eq!(revisions.len(), 2);
    assert_eq!(revisions[1].saved_at.timestamp_micros(), 3);
    assert_eq!(revisions[1].retired_at, None);
    let session = repo.get_session(&task)?;
    assert_eq!(session.created_at.timestamp_micros(), 1);
    assert_eq!(session.updated_at.timestamp_micros(), 3);

    // One that differs in anything is recorded.
    let other = save_task(&repo, "other")?;
    store.execute(
        "INSERT INTO session_revisions VALUES ('other', 1, 'codex', 's', NULL, NULL, NULL, 1, 3, NULL, NULL); \
         INSERT INTO sessions VALUES ('other', 'codex', 's', NULL, NULL, NULL, 1, 5)",
    )?;
    let revisions = repo.list_session_revisions(&other)?;
    assert_eq!(revisions.len(), 2);
    assert_eq!(revisions[0].retired_at, Some(revisions[1].saved_at));
    assert_eq!(revisions[1].saved_at, repo.get_session(&other)?.updated_at);
    for (at, columns) in [
        "'claude', 's', NULL, NULL, NULL",
        "'claude', 'u', NULL, NULL, NULL",
        "'claude', 'u', '/a', NULL, NULL",
        "'claude', 'u', '/a', '/c', NULL",
        "'claude', 'u', '/a', '/c', '{}'",
    ]
    .iter()
    .enumerate()
    {
        let sql = format!("INSERT INTO sessions VALUES ('t', {columns}, 1, 6)");
        store.execute(&format!("DELETE FROM sessions WHERE task_id = 't'; {sql}"))?;
        let revisions = repo.list_session_revisions(&task)?;
        assert_eq!(revisions.len(), 3 + at);
        assert_eq!(revisions[1 + at].retired_reason.as_deref(), Some("removed"));
    }
    Ok(())
}

/// As with the library, whose own save of the same binding writes nothing.
pub fn a_binding_that_another_program_saves_again_stays_as_it_is<H: Sql>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_session(&task, &binding(BackendType::Claude, "s", Some("/a"))?)?;
    let state = || -> turnkeep_repo::Result<_> {
        Ok((
            repo.get_session(&task)?,
            repo.list_session_revisions(&task)?,
        ))
    };
    let before = state()?;
    store.execute(
        "INSERT INTO sessions VALUES ('t', 'claude', 's', '/a', NULL, NULL, 1, 1) \
         ON CONFLICT (task_id) DO UPDATE SET session_id = excluded.session_id, \
         working_dir = excluded.working_dir, updated_at = excluded.updated_at; \
         UPDATE sessions SET updated_at = updated_at + 1",
    )?;
    assert_eq!(state()?, before);
    store.execute("UPDATE sessions SET working_dir = NULL, updated_at = updated_at + 1")?;
    let (session, revisions) = state()?;
    assert_eq!(session.updated_at, revisions[1].saved_at);
    assert_eq!(revisions[0].retired_at, Some(revisions[1].saved_at));
    assert!(session.updated_at > before.0.updated_at);

    // Not the same: the row is another one.
    store.execute("UPDATE sessions SET created_at = 5, updated_at = 20")?;
    let (session, revisions) = state()?;
    assert_eq!(session.created_at.timestamp_micros(), 5);
    assert_eq!(session.updated_at.timestamp_micros(), 20);
    assert_eq!(revisions[2].saved_at, session.updated_at);
    Ok(())
}

/// Only the current binding can be retired, and nothing else becomes the current one on record.
pub fn a_replaced_binding_stays_as_it_is<H: Sql>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    for id in ["a", "b"] {
        repo.save_session(&task, &binding(BackendType::Claude, id, Some("/a"))?)?;
    }
    let before = repo.list_session_revisions(&task)?;
    let sql =
        "UPDATE session_revisions SET retired_at = 1, retired_reason = 'x' WHERE revision = 1";
    assert!(store.execute(sql).is_err());
    let at = before[1].saved_at.timestamp_micros();
    for columns in [
        format!("'claude', 'a', '/a', NULL, NULL, 1, {at}, NULL, NULL"),
        format!("'codex', 'b', '/a', NULL, NULL, 1, {at}, NULL, NULL"),
        format!("'claude', 'b', '/b', NULL, NULL, 1, {at}, NULL, NULL"),
        format!("'claude', 'b', NULL, NULL, NULL, 1, {at}, NULL, NULL"),
        format!("'claude', 'b', '/a', '/c', NULL, 1, {at}, NULL, NULL"),
        format!("'claude', 'b', '/a', NULL, '{{}}', 1, {at}, NULL, NULL"),
        format!("'claude', 'b', '/a', NULL, NULL, 1, {at}, {at}, 'x'"),
        "'claude', 'b', '/a', NULL, NULL, 1, 0, NULL, NULL".into(),
    ] {
        let sql = format!("INSERT INTO session_revisions VALUES ('t', 3, {columns})");
        assert!(store.execute(&sql).is_err(), "{sql}");
    }
    assert_eq!(repo.list_session_revisions(&task)?, before);
    Ok(())
}

/// An agent that this library knows by no name of its own.
pub fn a_backend_of_a_newer_program_is_read<H: Sql>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_session(&task, &binding(BackendType::Codex, "s", None)?)?;
    store.execute("UPDATE sessions SET backend_type = 'future' WHERE task_id = 't'")?;
    let stored = store.open()?.get_session(&task)?.backend_type;
    assert!(matches!(&stored, BackendType::Other(name) if name.as_str() == "future"));
    Ok(())
}

/// Not every engine can hold U+0000: no column has one, whatever was said.
pub fn what_no_engine_can_hold_is_stored_as_something_else<H: Sql>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let text = "a\0\u{10}z";
    repo.save_task(
        &NewTask::new(task.clone(), text)
            .prompt(text)
            .agent_role(text)
            .writes_files([text]),
    )?;
    let mut update = StatusUpdate::from(TaskStatus::Failed);
    update.result = Some(text.into());
    update.error = Some(text.into());
    repo.update_task_status(&task, update)?;
    let session = binding(BackendType::Claude, "s", None)?;
    repo.save_session(&task, &session)?;
    repo.retire_session(&task, &session.session_id, text)?;
    let keyed = |text: &'static str| -> anyhow::Result<_> {
        Ok([NewMessage::new(Role::User, text).key("k".parse()?)])
    };
    repo.save_messages(&task, &keyed(text)?)?;
    let as_stored = repo.save_messages(&task, &keyed("a\u{10}0\u{10}\u{10}z")?);
    assert!(matches!(
        as_stored.unwrap_err().kind(),
        ErrorKind::KeyConflict { .. }
    ));

    let stored = store.texts(
        "SELECT name FROM tasks UNION ALL SELECT agent_role FROM tasks \
         UNION ALL SELECT prompt FROM tasks UNION ALL SELECT result FROM tasks \
         UNION ALL SELECT error FROM tasks UNION ALL SELECT content FROM conversation_history \
         UNION ALL SELECT retired_reason FROM session_revisions",
    )?;
    assert_eq!(stored, ["a\u{10}0\u{10}\u{10}z"; 7]);
    Ok(())
}

pub fn a_newer_schema_is_refused<H: Sql>() -> anyhow::Result<()> {
    let store = H::new()?;
    drop(open_with_task(&store, "t")?);
    store.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('99990101000000')")?;
    let error = store.open().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::SchemaTooNew { version, .. } if version == "99990101000000"),
        "{error:?}"
    );
    store.execute(
        "DELETE FROM __diesel_schema_migrations WHERE CAST(version AS TEXT) = '99990101000000'",
    )?;
    assert!(store.open()?.get_task(&TaskId::new("t")?).is_ok());
    Ok(())
}

/// Another process has upgraded the store while this one had it open.
pub fn a_schema_that_has_become_newer_is_noticed_by_the_next_write<H: Sql>() -> anyhow::Result<()> {
    const NEWER: &str = "99990101000000";
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_message(&task, Role::User, "before")?;
    store.execute(&format!(
        "INSERT INTO __diesel_schema_migrations (version) VALUES ('{NEWER}')"
    ))?;
    let refused = |error: Error| match error.kind() {
        ErrorKind::SchemaTooNew { version, .. } if version == NEWER => error.operation(),
        _ => panic!("{error:?}"),
    };
    let append = || repo.save_message(&task, Role::User, "after").unwrap_err();
    let save = repo
        .save_task(&NewTask::new(task.clone(), "Other"))
        .unwrap_err();
    assert_eq!(refused(save), "save_task");
    assert_eq!(refused(repo.delete_task(&task).unwrap_err()), "delete_task");
    assert_eq!(refused(append()), "save_message");
    // Some of them share a transaction.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(refused(append()), "save_message"));
        }
    });
    assert_eq!(contents(&repo, &task)?, ["before"], "it can still be read");
    store.execute(&format!(
        "DELETE FROM __diesel_schema_migrations WHERE CAST(version AS TEXT) = '{NEWER}'"
    ))?;
    repo.save_message(&task, Role::User, "again")?;
    assert_eq!(contents(&repo, &task)?, ["before", "again"]);
    assert_eq!(repo.get_task(&task)?.name, "A task");
    Ok(())
}

pub fn another_programs_database_is_refused<H: Sql>() -> anyhow::Result<()> {
    let store = H::new()?;
    store.execute("CREATE TABLE theirs (x BIGINT); INSERT INTO theirs VALUES (1)")?;
    for _ in 0..2 {
        let error = store.open().unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::NotAStore { .. }),
            "{error:?}"
        );
    }
    store.execute("DROP TABLE theirs")?;
    assert!(store.open()?.get_tasks()?.is_empty());
    Ok(())
}

/// Claims leave out a task that can't be read, however many tasks were asked for.
pub fn a_damaged_task_does_not_keep_the_others_from_being_given_out<H: Sql>() -> anyhow::Result<()>
{
    let store = H::new()?;
    let repo = store.open()?;
    for id in ["bad-1", "bad-2", "bad-3", "good-1", "good-2"] {
        save_task(&repo, id)?;
    }
    // JSON that no text can be made of.
    store.execute(r#"UPDATE tasks SET writes_files = '["\ud800"]' WHERE id LIKE 'bad%'"#)?;
    let worker = WorkerId::new("w")?;
    for (most, expected) in [(1, vec!["good-1"]), (9, vec!["good-2"]), (9, vec![])] {
        let claims = repo.claim_ready(&worker, most, Duration::from_secs(60))?;
        let ids: Vec<&str> = claims.iter().map(|claim| claim.task.id.as_str()).collect();
        assert_eq!(ids, expected);
        for claim in claims {
            assert_eq!(repo.get_task(&claim.task.id)?, claim.task);
        }
    }
    let fences = "SELECT CAST(fence AS TEXT) FROM tasks WHERE id LIKE 'bad%'";
    assert_eq!(store.texts(fences)?, ["0", "0", "0"]);
    let error = repo.ready_tasks().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt), "{error:?}");
    assert_eq!(
        error.to_string(),
        "ready_tasks: the row of task `bad-1` is damaged"
    );
    // No trigger blocks the running tasks.
    store.execute(
        "UPDATE tasks SET status = 'running', worker = NULL, \
         lease_ends_at = NULL, lease_length = NULL",
    )?;
    assert_eq!(repo.requeue_running()?.len(), 5);
    Ok(())
}

/// What the database accepts is read as it is, also what the type of metadata refuses, and is named by `check`.
pub fn metadata_of_another_program_are_read<H: Sql>() -> anyhow::Result<()> {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    for (json, rule) in [
        (r#"{"a":"secret", "a":2}"#, "repeats a key"),
        (&*deep, "is not a JSON object, at line 1 column 132"),
    ] {
        assert!(Metadata::new(json).is_err());
        let store = H::new()?;
        let (repo, task) = open_with_task(&store, "t")?;
        let other = save_task(&repo, "u")?;
        repo.save_session(&task, &binding(BackendType::Claude, "s", None)?)?;
        repo.save_message(&task, Role::User, "before")?;
        store.execute(&format!(
            "UPDATE tasks SET metadata = '{json}' WHERE id = 't'; \
             UPDATE sessions SET metadata = '{json}'; \
             INSERT INTO conversation_history VALUES ('t', 2, 'user', 0, NULL, 'x', '{json}', NULL)"
        ))?;
        repo.save_message(&task, Role::User, "after")?;

        let text = |metadata: &Option<Metadata>| metadata.as_ref().map(|it| it.as_str().to_owned());
        let expected = Some(json.to_owned());
        let stored = repo.get_task(&task)?;
        assert_eq!(text(&stored.metadata), expected);
        assert_eq!(text(&repo.get_session(&task)?.metadata), expected);
        let history = repo.get_history(&task)?;
        assert_eq!(history.len(), 3);
        assert_eq!(text(&history[1].metadata), expected);
        assert_eq!(repo.get_tasks()?.len(), 2);
        let claims = repo.claim_ready(&WorkerId::new("w")?, 9, Duration::from_secs(60))?;
        assert_eq!(claims.len(), 2);
        let metadata = claims[0].task.metadata.as_ref().expect("another program's");
        assert!(metadata.deserialize::<BTreeMap<String, u8>>().is_err());
        drop(claims);
        // It is kept, or replaced by what the type accepts.
        repo.save_task(&NewTask::new(other, "U").metadata("{}".parse()?))?;

        let report = turnkeep_admin::check(repo.repo())?;
        let findings = report.checks.iter().flat_map(|check| &check.findings);
        let found: Vec<&str> = findings.map(|finding| &*finding.what).collect();
        let expected = [
            "task `t`",
            "session revision 2 of task `t`",
            "turn 2 of task `t`",
        ]
        .map(|subject| format!("{subject} has invalid metadata: {rule}"));
        assert_eq!(found, expected);
        let to = tempfile::tempdir()?;
        let to = Repo::open(to.path().join("store.db"))?;
        turnkeep_admin::copy(repo.repo(), &to, |_| ())?;
        assert_eq!(to.get_history(&task)?, repo.get_history(&task)?);
    }
    Ok(())
}

/// A task whose fence has reached its end is claimed no more; the others are, and `check` names it.
pub fn a_fence_at_its_end_does_not_stop_the_other_tasks<H: Sql>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, spent) = open_with_task(&store, "a-spent")?;
    let good = save_task(&repo, "good")?;
    store.execute("UPDATE tasks SET fence = 9007199254740991 WHERE id = 'a-spent'")?;

    let worker = WorkerId::new("w")?;
    let claims = repo.claim_ready(&worker, 1, Duration::from_secs(60))?;
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].task.id, good);
    let error = repo.claim_task(&spent).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt), "{error:?}");
    assert_eq!(
        error.to_string(),
        "claim_task: the fence of task `a-spent` is damaged"
    );
    store.execute(
        "UPDATE tasks SET status = 'running', worker = NULL, \
         lease_ends_at = NULL, lease_length = NULL",
    )?;
    assert_eq!(repo.requeue_running()?, [good]);
    assert!(!repo.claim_task(&spent)?, "it is running");
    assert_eq!(repo.get_task(&spent)?.fence, 9_007_199_254_740_991);

    drop(repo);
    let report = turnkeep_admin::check_unopened(Repo::builder(store.address()))?;
    let findings = report.checks.iter().flat_map(|check| &check.findings);
    let found: Vec<&str> = findings
        .map(|finding| &*finding.what)
        .filter(|what| what.contains("fence"))
        .collect();
    assert_eq!(
        found,
        [
            "task `a-spent` can't be given out any more: its fence is 9007199254740991, the highest there is"
        ]
    );
    Ok(())
}

/// A database that acknowledges a statement and writes nothing is believed by no method.
pub fn a_row_that_is_left_out_is_told<H: Sql>() -> anyhow::Result<()> {
    const LEASE: Duration = Duration::from_secs(600);

    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let [free, running, over, waits, unbound] =
        ["free", "running", "over", "waits", "unbound"].map(|id| id.parse::<TaskId>());
    let (free, running, over, waits, unbound) = (free?, running?, over?, waits?, unbound?);
    for id in [&running, &over, &unbound] {
        save_task(&repo, id.as_str())?;
    }
    let worker = WorkerId::new("w")?;
    let mut claims = repo.claim_ready(&worker, 1, LEASE)?;
    assert_eq!(claims[0].task.id, task);
    let claim = claims.remove(0);
    for id in [&running, &unbound] {
        assert!(repo.claim_task(id)?);
    }
    repo.update_task_status(&over, StatusUpdate::completed("x"))?;
    save_task(&repo, free.as_str())?;
    let plan = NewTask::new(waits.clone(), "W").depends_on([task.clone(), free.clone()]);
    repo.save_task(&plan)?;
    let session = binding(BackendType::Claude, "s", None)?;
    let another = binding(BackendType::Claude, "another", None)?;
    repo.save_session(&task, &session)?;
    repo.save_message(&task, Role::User, "said")?;

    let other_plan = NewTask::new(waits.clone(), "other").depends_on([free.clone()]);
    let new_task = NewTask::new("new".parse()?, "N");
    let waiting = new_task.clone().depends_on([task.clone()]);
    let said = |content| NewMessage::new(Role::User, content);
    let keyed = [said("1").key("k".parse()?), said("2")];
    type Write<'a> = &'a dyn Fn() -> turnkeep_repo::Result<()>;
    let name = RecordingName::new("a")?;
    let keep = |offset, bytes| repo.save_recording(&task, &name, offset, bytes);
    keep(0, b"1")?;
    keep(0, b"2")?;
    let writes: [(&str, &str, Write<'_>); 26] = [
        ("INSERT", "conversation_history", &|| {
            repo.save_message(&task, Role::User, "lost").map(drop)
        }),
        ("INSERT", "conversation_history", &|| {
            repo.save_messages(&task, &keyed).map(drop)
        }),
        ("INSERT", "conversation_history", &|| {
            repo.save_messages_after(&task, place(1), &keyed).map(drop)
        }),
        ("INSERT", "conversation_history", &|| {
            let claimed = H::Store::fenced(&claim);
            claimed.save_message(Role::User, "lost").map(drop)
        }),
        ("INSERT", "tasks", &|| repo.save_task(&new_task)),
        ("UPDATE", "tasks", &|| repo.save_task(&other_plan)),
        ("UPDATE", "tasks", &|| {
            repo.update_task_status(&free, StatusUpdate::failed("x"))
        }),
        ("UPDATE", "tasks", &|| {
            repo.update_task_status(&free, TaskStatus::Running)
        }),
        ("UPDATE", "tasks", &|| repo.claim_task(&free).map(drop)),
        ("UPDATE", "tasks", &|| repo.requeue_running().map(drop)),
        ("UPDATE", "tasks", &|| {
            repo.claim_ready(&worker, 9, LEASE).map(drop)
        }),
        ("UPDATE", "tasks", &|| {
            H::Store::fenced(&claim).renew(LEASE).map(drop)
        }),
        ("DELETE", "tasks", &|| repo.delete_task(&free).map(drop)),
        ("DELETE", "tasks", &|| {
            let rule = Prune::new().status(TaskStatus::Completed);
            turnkeep_admin::prune(repo.repo(), &rule).map(drop)
        }),
        ("INSERT", "task_dependencies", &|| repo.save_task(&waiting)),
        ("DELETE", "task_dependencies", &|| {
            repo.save_task(&other_plan)
        }),
        ("INSERT", "sessions", &|| {
            repo.save_session(&unbound, &session).map(drop)
        }),
        ("UPDATE", "sessions", &|| {
            repo.save_session(&task, &another).map(drop)
        }),
        ("DELETE", "sessions", &|| {
            let id = &session.session_id;
            repo.retire_session(&task, id, "x").map(drop)
        }),
        ("UPDATE", "session_revisions", &|| {
            let id = &session.session_id;
            repo.retire_session(&task, id, "x").map(drop)
        }),
        ("INSERT", "recordings", &|| keep(0, b"3").map(drop)),
        ("UPDATE", "recordings", &|| keep(1, b"3").map(drop)),
        ("DELETE", "recordings", &|| keep(0, b"3").map(drop)),
        ("INSERT", "recording_chunks", &|| keep(0, b"3").map(drop)),
        ("DELETE", "recording_chunks", &|| keep(1, b"3").map(drop)),
        ("INSERT", "conversation_history", &|| {
            thread::scope(|scope| {
                let append = || repo.save_message(&task, Role::User, "lost");
                let threads = [(); 8].map(|()| scope.spawn(append));
                let ended = threads.map(|thread| thread.join().expect("no panic"));
                ended.into_iter().try_for_each(|ended| ended.map(drop))
            })
        }),
    ];
    let state = || -> turnkeep_repo::Result<_> {
        Ok((
            repo.get_tasks()?,
            repo.list_sessions()?,
            repo.get_history(&task)?,
            repo.list_session_revisions(&task)?,
            repo.get_recordings(&task)?,
        ))
    };
    let before = state()?;
    for (at, (event, table, write)) in writes.iter().enumerate() {
        store.leave_out(event, table)?;
        let told = write();
        let error = told.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::SchemaAltered { .. }),
            "{at}: {event} {table}: {error:?}"
        );
        store.take_all(table)?;
        assert_eq!(state()?, before, "{at}: {event} {table}");
    }
    // A statement that writes no row is an error.
    store.leave_out("UPDATE", "sessions")?;
    assert_eq!(
        repo.save_session(&task, &session)?.session_id,
        session.session_id
    );
    store.take_all("sessions")?;
    Ok(())
}

/// A damaged chunk is an error of the calls that need its bytes. The file goes on behind it, and is saved anew from the
/// beginning.
pub fn a_damaged_recording_goes_on<H: Sql>() -> anyhow::Result<()> {
    const MIB: u64 = 1024 * 1024;
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let name = RecordingName::new("a")?;
    let mut file: Vec<u8> = (0..2 * MIB + 100).map(|at| (at / 7 % 251) as u8).collect();
    repo.save_recording(&task, &name, 0, &file)?;
    // A copy with another checksum of the chunks that begin at these places.
    let damage = |number: i64, places: &str| {
        let last = repo.get_recordings(&task)?.pop().map(|file| file.number);
        store.execute(&format!(
            "INSERT INTO recordings VALUES ('t', {number}, 'a', 0, 0); \
             INSERT INTO recording_chunks SELECT task_id, {number}, \"offset\", length, \
                 CASE WHEN \"offset\" IN ({places}) THEN 1 ELSE checksum END, data FROM recording_chunks \
             WHERE number = {} ORDER BY \"offset\"",
            last.map_or(0, i64::from)
        ))
    };
    let read = |number, offset| repo.read_recording(&task, RecordingNumber::new(number)?, offset);
    let is_corrupt = |error: Error, text: &str| {
        assert!(matches!(error.kind(), ErrorKind::Corrupt), "{error:?}");
        assert_eq!(error.to_string(), text);
    };
    damage(5, "1048576")?;
    assert!(read(5, 0)? == file[..MIB as usize]);
    assert!(read(5, 2 * MIB)? == file[2 * MIB as usize..]);
    let told = "byte 1048576 of recording 5 of task `t` is damaged";
    is_corrupt(
        read(5, MIB + 7).unwrap_err(),
        &format!("read_recording: {told}"),
    );
    let rewritten = repo.save_recording(&task, &name, MIB + 7, b"other");
    is_corrupt(rewritten.unwrap_err(), &format!("save_recording: {told}"));
    let length = file.len() as u64;
    file.extend(b"more");
    assert_eq!(
        repo.save_recording(&task, &name, length, b"more")?,
        length + 4
    );
    assert!(read(5, 2 * MIB)? == file[2 * MIB as usize..]);
    assert_eq!(repo.save_recording(&task, &name, 0, &file)?, length + 4);
    let numbers: Vec<i64> = repo
        .get_recordings(&task)?
        .iter()
        .map(|it| it.number.get())
        .collect();
    assert_eq!(numbers, [5, 6]);
    let mut anew = Vec::new();
    repo.repo()
        .recording_reader(&task, RecordingNumber::new(6)?)
        .read_to_end(&mut anew)?;
    assert!(anew == file);

    damage(7, "2097152")?;
    let end = file.len() as u64;
    assert_eq!(repo.save_recording(&task, &name, end, b"1")?, end + 1);
    assert_eq!(repo.save_recording(&task, &name, end + 1, b"2")?, end + 2);
    assert_eq!(read(7, end)?, b"12");
    let rest = vec![b'3'; MIB as usize];
    assert_eq!(
        repo.save_recording(&task, &name, end + 2, &rest)?,
        end + 2 + MIB
    );
    assert_eq!(read(7, end)?, b"12");
    assert_eq!(read(7, end + 2)?[..2], rest[..2]);
    is_corrupt(
        read(7, end - 1).unwrap_err(),
        "read_recording: byte 2097152 of recording 7 of task `t` is damaged",
    );
    assert!(read(7, MIB)? == file[MIB as usize..2 * MIB as usize]);
    Ok(())
}

/// The clock was wrong when such a lease was given out, and may have been wrong by years.
pub fn a_lease_that_ends_further_off_than_it_is_long_is_over<H: Sql>() -> anyhow::Result<()> {
    let store = H::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    let (lost, other) = (WorkerId::new("lost")?, WorkerId::new("other")?);
    let hour = Duration::from_secs(3_600);
    let claim = repo.claim_ready(&lost, 1, hour)?.remove(0);
    assert_eq!(claim.task.lease_length.map(Duration::from), Some(hour));
    H::Store::fenced(&claim).renew(hour * 2)?;
    let renewed = repo.get_task(&task)?;
    assert_eq!(renewed.lease_length.map(Duration::from), Some(hour * 2));
    assert!(repo.claim_ready(&other, 1, hour)?.is_empty(), "it is on");
    assert!(repo.requeue_running()?.is_empty(), "it is on");

    // Ten years off.
    let from_a_wrong_clock = "UPDATE tasks SET lease_ends_at = lease_ends_at + 315360000000000";
    store.execute(from_a_wrong_clock)?;
    let next = repo.claim_ready(&other, 1, hour)?.remove(0);
    assert_eq!(next.fence, 2);
    let late = H::Store::fenced(&claim).renew(hour).unwrap_err();
    assert!(
        matches!(late.kind(), ErrorKind::LeaseLost { .. }),
        "{late:?}"
    );

    store.execute(from_a_wrong_clock)?;
    assert_eq!(repo.requeue_running()?, std::slice::from_ref(&task));
    let requeued = repo.get_task(&task)?;
    assert_eq!((requeued.worker, requeued.lease_length), (None, None));

    // A worker that is still there has it on again, by the clock as it is now.
    let claim = repo.claim_ready(&other, 1, hour)?.remove(0);
    store.execute(from_a_wrong_clock)?;
    H::Store::fenced(&claim).renew(hour)?;
    assert!(repo.claim_ready(&lost, 1, hour)?.is_empty(), "it is on");
    Ok(())
}
