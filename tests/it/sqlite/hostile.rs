//! Files with a schema changed by another program: the findings, the operations that still work,
//! and bounded reads.

use std::fs;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Integer;
use turnkeep_repo::{BackendType, ErrorKind, Repo, Role, TaskId};

use super::TempStore;
use crate::sql::Sql as _;
use crate::support::*;

/// The operations that a store accepts.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Takes {
    Everything,
    Reads,
    Nothing,
}

fn filled() -> anyhow::Result<TempStore> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_session(&task, &binding(BackendType::Claude, "s", None)?)?;
    repo.save_message(&task, Role::User, "said")?;
    Ok(store)
}

/// Returns the schema findings of a closed file.
fn found(store: &TempStore) -> anyhow::Result<Vec<String>> {
    let report = turnkeep_admin::check_unopened(Repo::builder(store.path()))?;
    let checks = report.checks.iter();
    let findings = checks.flat_map(|check| {
        let findings = check.findings.iter();
        findings.map(|finding| format!("{}: {}", check.name, finding.what))
    });
    Ok(findings.collect())
}

#[track_caller]
fn altered<T: std::fmt::Debug>(result: turnkeep_repo::Result<T>, what: &str) {
    match result.unwrap_err().kind() {
        ErrorKind::SchemaAltered { what: told } => assert_eq!(told, what),
        other => panic!("{other:?}"),
    }
}

/// Opens the store and tries reads and writes.
fn takes(store: &TempStore, what: &str) -> anyhow::Result<Takes> {
    let task = TaskId::new("t")?;
    let before = fs::read(store.path())?;
    let repo = match store.open() {
        Ok(repo) => repo,
        refused => {
            altered(refused, what);
            assert!(fs::read(store.path())? == before, "nothing is changed");
            return Ok(Takes::Nothing);
        }
    };
    assert_eq!(repo.get_tasks()?.len(), 1);
    assert_eq!(contents(&repo, &task)?, ["said"]);
    let mut text = Vec::new();
    turnkeep_admin::export_jsonl(&repo, &mut text, |_| ())?;
    assert!(
        String::from_utf8(text)?.contains("said"),
        "it can be exported"
    );
    let report = turnkeep_admin::check(&repo)?;
    let is_told = |what: &str| {
        let mut checks = report.checks.iter();
        checks.any(|check| check.findings.iter().any(|finding| finding.what == what))
    };
    assert!(what.is_empty() || is_told(what), "{report:?}");
    let appended = repo.save_message(&task, Role::User, "more");
    if appended.is_ok() {
        return Ok(Takes::Everything);
    }
    altered(appended, what);
    altered(repo.delete_task(&task), what);
    altered(repo.vacuum(), what);
    assert_eq!(contents(&repo, &task)?, ["said"]);
    Ok(Takes::Reads)
}

#[test]
fn every_difference_of_the_schema_is_found() -> anyhow::Result<()> {
    const OLD_TABLE: &str = "PRAGMA legacy_alter_table = ON; PRAGMA foreign_keys = OFF;";
    for (sql, what, expected) in [
        (
            "CREATE TRIGGER theirs AFTER INSERT ON conversation_history BEGIN \
             UPDATE sessions SET session_id = 'evil'; END",
            "trigger `theirs` on `conversation_history` is not of the store",
            Takes::Reads,
        ),
        (
            "CREATE TABLE notes (task_id REFERENCES tasks (id) ON DELETE CASCADE); \
             CREATE TRIGGER theirs AFTER DELETE ON notes BEGIN DELETE FROM sessions; END",
            "trigger `theirs` on `notes` is not of the store",
            Takes::Reads,
        ),
        (
            "CREATE TRIGGER theirs INSTEAD OF INSERT ON tasks_readable BEGIN SELECT 1; END",
            "trigger `theirs` on `tasks_readable` is not of the store",
            Takes::Reads,
        ),
        (
            "DROP TRIGGER conversation_history_append_only",
            "trigger `conversation_history_append_only` on `conversation_history` is missing",
            Takes::Reads,
        ),
        (
            "DROP TRIGGER task_dependencies_no_cycle; \
             CREATE TRIGGER task_dependencies_no_cycle BEFORE INSERT ON task_dependencies \
             BEGIN SELECT 1; END",
            "trigger `task_dependencies_no_cycle` on `task_dependencies` is not the one that the \
             migrations make",
            Takes::Reads,
        ),
        (
            "DROP INDEX conversation_history_message_key",
            "index `conversation_history_message_key` on `conversation_history` is missing",
            Takes::Reads,
        ),
        (
            "DROP INDEX tasks_status",
            "index `tasks_status` on `tasks` is missing",
            Takes::Everything,
        ),
        (
            "DROP INDEX tasks_status; CREATE UNIQUE INDEX tasks_status ON tasks (status)",
            "index `tasks_status` on `tasks` is not the one that the migrations make",
            Takes::Reads,
        ),
        (
            "DROP INDEX tasks_status; CREATE INDEX tasks_status ON tasks (hex(id))",
            "index `tasks_status` on `tasks` is not the one that the migrations make",
            Takes::Reads,
        ),
        (
            "CREATE INDEX theirs ON conversation_history (timestamp)",
            "index `theirs` on `conversation_history` is not of the store",
            Takes::Everything,
        ),
        (
            "CREATE UNIQUE INDEX theirs ON conversation_history (timestamp)",
            "index `theirs` on `conversation_history` is not of the store",
            Takes::Reads,
        ),
        (
            "CREATE INDEX theirs ON tasks (id) WHERE length(name) > 9",
            "index `theirs` on `tasks` is not of the store",
            Takes::Reads,
        ),
        (
            "CREATE INDEX theirs ON TASKS (hex(name))",
            "index `theirs` on `tasks` is not of the store",
            Takes::Reads,
        ),
        (
            "DROP VIEW tasks_readable",
            "view `tasks_readable` is missing",
            Takes::Everything,
        ),
        (
            "DROP VIEW tasks_readable; CREATE VIEW tasks_readable AS SELECT 1",
            "view `tasks_readable` is not the one that the migrations make",
            Takes::Everything,
        ),
        (
            "ALTER TABLE sessions ADD COLUMN theirs",
            "table `sessions` is not the one that the migrations make",
            Takes::Nothing,
        ),
        (
            "CREATE TABLE json_each (type)",
            "table `json_each` is not of the store",
            Takes::Nothing,
        ),
        (
            "CREATE VIEW pragma_page_count AS SELECT 1 AS page_count",
            "view `pragma_page_count` is not of the store",
            Takes::Nothing,
        ),
        (
            "CREATE TRIGGER theirs AFTER INSERT ON __diesel_schema_migrations BEGIN SELECT 1; END",
            "trigger `theirs` on `__diesel_schema_migrations` is not of the store",
            Takes::Reads,
        ),
        (
            "CREATE TABLE notes (x CHECK (length(x) < 9), y AS (hex(x))); INSERT INTO notes VALUES (1); \
             CREATE UNIQUE INDEX by_x ON notes (lower(x)); CREATE VIEW mine AS SELECT * FROM notes",
            "",
            Takes::Everything,
        ),
        (
            "CREATE TRIGGER \"a\nhint: b\" AFTER INSERT ON tasks BEGIN SELECT 1; END",
            "trigger `a\u{240a}hint: b` on `tasks` is not of the store",
            Takes::Reads,
        ),
        ("ANALYZE", "", Takes::Everything),
        ("VACUUM", "", Takes::Everything),
    ] {
        let store = filled()?;
        store.execute(&format!("{OLD_TABLE} {sql}"))?;
        let told = found(&store)?;
        let expected_findings: Vec<String> = match what {
            "" => vec![],
            what => vec![format!("schema: {what}")],
        };
        assert_eq!(told, expected_findings, "{sql}");
        let report = turnkeep_admin::check_unopened(Repo::builder(store.path()))?;
        let mut advice = report.checks.iter().flat_map(|it| &it.findings);
        let says_export = advice.any(|finding| finding.advice.contains("export"));
        assert_eq!(takes(&store, what)?, expected, "{sql}");
        assert!(!says_export || expected != Takes::Nothing, "{sql}");
    }
    Ok(())
}

/// No rows are read from an object that replaces a table.
#[test]
fn reads_of_a_hostile_file_are_bounded() -> anyhow::Result<()> {
    const ENDLESS: &str = "WITH RECURSIVE r (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) SELECT";
    const UNCHECKED: &str = "PRAGMA legacy_alter_table = ON; PRAGMA foreign_keys = OFF;";
    for (table, columns) in [
        (
            "tasks",
            "'t' || i AS id, 'n' AS name, NULL AS agent_role, '' AS prompt, '[]' AS writes_files, \
             'pending' AS status, 'hard' AS failure_mode, NULL AS not_before, NULL AS metadata, NULL AS result, NULL AS error, \
             NULL AS worker, 0 AS fence, NULL AS lease_ends_at, NULL AS lease_length, \
             1 AS created_at, 1 AS updated_at, 1 AS status_changed_at, 1 AS last_active_at",
        ),
        (
            "conversation_history",
            "'t' AS task_id, i AS seq, 'user' AS role, 1 AS timestamp, NULL AS message_key, \
             '' AS content, NULL AS metadata, NULL AS checksum",
        ),
        (
            "task_dependencies",
            "'t' || i AS task_id, 't' AS depends_on",
        ),
        (
            "__diesel_schema_migrations",
            "'v' || i AS version, 0 AS run_on",
        ),
    ] {
        let store = filled()?;
        store.execute(&format!(
            "{UNCHECKED} ALTER TABLE {table} RENAME TO theirs; \
             CREATE VIEW {table} AS {ENDLESS} {columns} FROM r"
        ))?;
        let told = found(&store)?;
        // Without the list of migrations the file is no store.
        let what = match table {
            "__diesel_schema_migrations" => "opening: ".to_owned(),
            table => format!("schema: table `{table}` is missing"),
        };
        assert!(told.iter().any(|told| told.starts_with(&what)), "{told:?}");
        assert!(store.open().is_err(), "{table}");
    }
    // SQLite refuses these entries, which only a direct edit of its catalogue can make.
    for entry in [
        "'view', 'sqlite_master', 'sqlite_master', 0, 'CREATE VIEW sqlite_master AS SELECT 1'",
        "'view', 'tasks', 'tasks', 0, 'CREATE VIEW tasks AS SELECT 1'",
        "'table', 'theirs', 'theirs', 0, 'CREATE VIEW theirs AS SELECT 1'",
    ] {
        let store = filled()?;
        store.execute(&format!(
            "PRAGMA writable_schema = ON; INSERT INTO sqlite_master VALUES ({entry})"
        ))?;
        let error = store.open().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Corrupt), "{error:?}");
        assert!(found(&store)?[0].starts_with("opening: "));
    }
    // A generated column, and lists of migrations made or filled by hand.
    let store = filled()?;
    store.execute(&format!(
        "{UNCHECKED} DROP TABLE conversation_history; \
         CREATE TABLE conversation_history (task_id, seq INTEGER, role TEXT DEFAULT 'user', \
         timestamp BIGINT DEFAULT 1, message_key TEXT, checksum BIGINT, \
         content TEXT AS (hex(zeroblob(400000000)))); \
         INSERT INTO conversation_history (task_id, seq) VALUES ('t', 1), ('t', 2)"
    ))?;
    let changed = "table `conversation_history` is not the one that the migrations make";
    assert!(found(&store)?.contains(&format!("schema: {changed}")));
    assert_eq!(takes_nothing(&store)?, changed);

    let store = filled()?;
    store.execute(
        "DROP TABLE __diesel_schema_migrations; \
         CREATE TABLE __diesel_schema_migrations (version AS (hex(zeroblob(400000000))), x); \
         INSERT INTO __diesel_schema_migrations (x) VALUES (1), (2), (3)",
    )?;
    let told = "table `__diesel_schema_migrations` is not the one that the migrations make";
    assert_eq!(takes_nothing(&store)?, told);

    let store = filled()?;
    store.execute(
        "WITH RECURSIVE r (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT 100000) \
         INSERT INTO __diesel_schema_migrations (version) SELECT '9' || i FROM r",
    )?;
    let error = store.open().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::SchemaTooNew { .. }),
        "{error:?}"
    );
    Ok(())
}

fn takes_nothing(store: &TempStore) -> anyhow::Result<String> {
    match store.open().unwrap_err().kind() {
        ErrorKind::SchemaAltered { what } => Ok(what.clone()),
        other => anyhow::bail!("{other:?}"),
    }
}

/// Pages that refer to each other repeatedly: SQLite would read 400 to the power of 12 rows from a
/// few kilobytes.
#[test]
fn a_check_of_cyclic_pages_ends() -> anyhow::Result<()> {
    const PAGE: usize = 4_096;
    const CELLS: u16 = 400;

    let store = filled()?;
    let mut conn = store.raw()?;
    let root: i32 = sql::<Integer>("SELECT rootpage FROM sqlite_master WHERE name = 'tasks'")
        .get_result(&mut conn)?;
    drop(conn);
    let mut bytes = fs::read(store.path())?;
    let root = usize::try_from(root)? - 1;
    let leaf = bytes[root * PAGE..][..PAGE].to_vec();
    let pages = bytes.len() / PAGE;
    // An interior page of a table: a header, an array of cell offsets, and cells of a page number
    // and a key.
    let interior = |child: usize| -> anyhow::Result<Vec<u8>> {
        let child = u32::try_from(child)?.to_be_bytes();
        let start = PAGE - 5 * usize::from(CELLS);
        let mut page = vec![5, 0, 0];
        page.extend(CELLS.to_be_bytes());
        page.extend(u16::try_from(start)?.to_be_bytes());
        page.push(0);
        page.extend(child);
        for cell in 0..usize::from(CELLS) {
            page.extend(u16::try_from(start + 5 * cell)?.to_be_bytes());
        }
        page.resize(start, 0);
        for _ in 0..CELLS {
            page.extend(child);
            page.push(1);
        }
        Ok(page)
    };
    // SQLite counts pages from 1.
    let levels = 12;
    bytes[root * PAGE..][..PAGE].copy_from_slice(&interior(pages + 1)?);
    for level in 1..levels {
        bytes.extend(interior(pages + level + 1)?);
    }
    bytes.extend(leaf);
    let count = u32::try_from(pages + levels)?.to_be_bytes();
    bytes[28..32].copy_from_slice(&count);
    fs::write(store.path(), &bytes)?;
    let told = found(&store)?;
    assert!(
        told.iter()
            .any(|told| told.contains("2nd reference to page")),
        "{told:?}"
    );
    Ok(())
}

/// SQLite would sort ids by other bytes than the store, so that a copy or an export would miss
/// histories.
#[test]
fn a_store_in_another_encoding_is_refused() -> anyhow::Result<()> {
    let what = "encoding `UTF-16le` is not the one that the migrations make";
    let store = TempStore::new()?;
    store.execute("PRAGMA encoding = 'UTF-16le'; CREATE TABLE x (y); DROP TABLE x; VACUUM")?;
    assert_eq!(takes(&store, what)?, Takes::Nothing);
    let is_told = |told: &String| *told == format!("schema: {what}");
    assert!(found(&store)?.iter().any(is_told));
    Ok(())
}
