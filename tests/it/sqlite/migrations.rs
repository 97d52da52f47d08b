//! The migrations, the schema file and the views.

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel::sqlite::Sqlite;
use diesel_migrations::MigrationHarness;
use turnkeep_repo::{BackendType, NewMessage, NewTask, Role};
use turnkeep_schema::{SQLITE_APPLICATION_ID, SQLITE_MIGRATIONS};

use super::TempStore;
use crate::support::*;

#[derive(Debug, PartialEq, QueryableByName)]
struct SchemaEntry {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    sql: Option<String>,
}

fn schema(conn: &mut SqliteConnection) -> anyhow::Result<Vec<SchemaEntry>> {
    Ok(sql_query("SELECT name, sql FROM sqlite_master ORDER BY name").load(conn)?)
}

fn boxed<T>(result: Result<T, Box<dyn std::error::Error + Send + Sync>>) -> anyhow::Result<T> {
    result.map_err(|error| anyhow::anyhow!(error))
}

#[test]
fn up_down_up_gives_the_same_schema() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_task(&NewTask::new("u".parse()?, "U").depends_on([task.clone()]))?;
    repo.save_session(&task, &binding(BackendType::Claude, "s", None)?)?;
    repo.save_message(&task, Role::User, "x")?;
    drop(repo);
    let mut conn = store.raw()?;
    let up = schema(&mut conn)?;
    boxed(conn.revert_all_migrations(SQLITE_MIGRATIONS))?;
    let left: Vec<String> = schema(&mut conn)?
        .into_iter()
        .map(|entry| entry.name)
        .filter(|name| !name.contains("__diesel_schema_migrations"))
        .collect();
    assert!(
        left.is_empty(),
        "down leaves nothing, data or not: {left:?}"
    );
    boxed(conn.run_pending_migrations(SQLITE_MIGRATIONS))?;
    assert_eq!(schema(&mut conn)?, up);
    drop(conn);
    assert!(store.open()?.get_tasks()?.is_empty());
    Ok(())
}

#[test]
fn every_migration_can_be_reverted() -> anyhow::Result<()> {
    let migrations: Vec<Box<dyn Migration<Sqlite>>> = boxed(SQLITE_MIGRATIONS.migrations())?;
    assert!(!migrations.is_empty());
    let mut conn = SqliteConnection::establish(":memory:")?;
    // Makes the list of migrations, which running a single one takes for granted.
    assert!(boxed(conn.applied_migrations())?.is_empty());
    for migration in &migrations {
        boxed(conn.run_migration(migration))?;
        let up = schema(&mut conn)?;
        boxed(conn.revert_migration(migration))?;
        boxed(conn.run_migration(migration))?;
        assert_eq!(schema(&mut conn)?, up, "{}", migration.name());
    }
    Ok(())
}

/// A database that the diesel CLI migrated, in whatever journal mode it left it.
#[test]
fn a_store_migrated_from_outside_is_a_store() -> anyhow::Result<()> {
    let store = TempStore::new()?;
    boxed(store.raw()?.run_pending_migrations(SQLITE_MIGRATIONS))?;
    let (repo, task) = open_with_task(&store, "t")?;
    repo.save_message(&task, Role::User, "x")?;
    assert_eq!(contents(&repo, &task)?, ["x"]);
    drop(repo);

    // Reverted to nothing, it is as good as empty.
    boxed(store.raw()?.revert_all_migrations(SQLITE_MIGRATIONS))?;
    assert!(store.open()?.get_tasks()?.is_empty());
    Ok(())
}

/// The schema file names exactly the columns of a migrated database, with types that hold them.
#[test]
fn the_schema_file_matches_a_migrated_database() -> anyhow::Result<()> {
    #[derive(QueryableByName)]
    struct Column {
        #[diesel(sql_type = Text)]
        found: String,
    }
    #[derive(QueryableByName)]
    struct Pragma {
        #[diesel(sql_type = Integer)]
        application_id: i32,
    }

    let store = TempStore::new()?;
    drop(store.open()?);
    let mut conn = store.raw()?;
    let columns: Vec<Column> = sql_query(
        "SELECT m.name || '.' || c.name || ' ' || \
           CASE c.\"notnull\" WHEN 1 THEN c.type ELSE 'Nullable ' || c.type END AS found \
         FROM sqlite_master m JOIN pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND m.name NOT LIKE '\\_\\_diesel%' ESCAPE '\\' \
         ORDER BY m.name, c.cid",
    )
    .load(&mut conn)?;
    let found: Vec<String> = columns.into_iter().map(|column| column.found).collect();
    let declared = declared_columns(include_str!("../../../crates/schema/src/schema.rs"));
    assert_eq!(found, declared);

    let pragma: Pragma = sql_query("PRAGMA application_id").get_result(&mut conn)?;
    assert_eq!(pragma.application_id, SQLITE_APPLICATION_ID);
    Ok(())
}

/// Reads `table! { name (key) { column -> Type, } }` as `name.column TYPE` lines.
fn declared_columns(schema: &str) -> Vec<String> {
    let mut table = "";
    let mut columns = Vec::new();
    for line in schema.lines().map(str::trim) {
        if let Some((name, _)) = line.split_once(" (").filter(|_| line.ends_with('{')) {
            table = name;
        }
        if let Some((column, sql_type)) = line.trim_end_matches(',').split_once(" -> ") {
            if line.starts_with("diesel::") {
                continue;
            }
            let sql_type = sql_type
                .replace("Nullable<Text>", "Nullable TEXT")
                .replace("Nullable<BigInt>", "Nullable BIGINT")
                .replace("BigInt", "BIGINT")
                .replace("Binary", "BLOB")
                .replace("Text", "TEXT");
            columns.push(format!("{table}.{column} {sql_type}"));
        }
    }
    columns
}

#[test]
fn the_views_show_times_in_words() -> anyhow::Result<()> {
    #[derive(QueryableByName)]
    struct Shown {
        #[diesel(sql_type = Nullable<Text>)]
        time: Option<String>,
    }
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }

    let store = TempStore::new()?;
    let (repo, task) = open_with_task(&store, "t")?;
    save_task(&repo, "u")?;
    let times = [
        "2026-11-22T01:02:03.000004Z",
        "1970-01-01T00:00:00.000000Z",
        "1969-12-31T23:59:59.999999Z",
        "1900-02-28T12:00:00.500000Z",
        "0000-01-01T00:00:00.000000Z",
        "9999-12-31T23:59:59.999999Z",
    ];
    for time in times {
        let message = NewMessage::new(Role::User, "x").timestamp(time.parse()?);
        repo.save_messages(&task, &[message])?;
    }
    repo.save_session(&task, &binding(BackendType::Claude, "s", None)?)?;
    let mut conn = store.raw()?;
    conn.batch_execute(
        "INSERT INTO history_retractions VALUES ('t', 1, 5, 6, 0); \
         INSERT INTO recordings VALUES ('t', 1, 'a', 0, 0); \
         INSERT INTO recording_chunks VALUES ('t', 1, 0, 2, 0, x'00'), ('t', 1, 2, 2, 0, x'00'); \
         INSERT INTO removed_sessions VALUES ('b', 's', 'gone', 0); \
         INSERT INTO imported_files VALUES ('h', x'2f', 1, -1, '', 0, 0, 0, 'b', NULL)",
    )?;
    let shown: Vec<Shown> =
        sql_query("SELECT timestamp AS time FROM conversation_history_readable ORDER BY seq")
            .load(&mut conn)?;
    let shown: Vec<_> = shown.into_iter().filter_map(|row| row.time).collect();
    assert_eq!(shown, times);

    let open: Shown = sql_query("SELECT retired_at AS time FROM session_revisions_readable")
        .get_result(&mut conn)?;
    assert_eq!(open.time, None);
    let modified: Shown =
        sql_query("SELECT modified AS time FROM imported_files_readable").get_result(&mut conn)?;
    let before = Some("1969-12-31T23:59:59.999999999Z");
    assert_eq!(modified.time.as_deref(), before);
    let length: Count =
        sql_query("SELECT length AS count FROM recordings_readable").get_result(&mut conn)?;
    assert_eq!(length.count, 4);
    conn.batch_execute("INSERT INTO task_dependencies VALUES ('u', 't')")?;
    for (view, count) in [
        ("tasks_readable", 2),
        ("task_dependencies_readable", 1),
        ("sessions_readable", 1),
        ("session_revisions_readable", 1),
        ("conversation_history_readable", 6),
        ("history_retractions_readable", 1),
        ("recordings_readable", 1),
        ("recording_chunks_readable", 2),
        ("removed_sessions_readable", 1),
        ("imported_files_readable", 1),
    ] {
        let rows: Count =
            sql_query(format!("SELECT count(*) AS count FROM {view}")).get_result(&mut conn)?;
        assert_eq!(rows.count, count, "{view}");
    }
    Ok(())
}
