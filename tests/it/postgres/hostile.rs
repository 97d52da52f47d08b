//! Schemas that another program has altered: what `check` finds in them, and what they still take.

use turnkeep_repo::{BackendType, ErrorKind, Repo, Role, TaskId};
use turnkeep_test_postgres::{Database, Server};

use crate::support::*;

/// The operations that a store still allows.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Takes {
    Everything,
    Reads,
    Nothing,
}

fn filled() -> anyhow::Result<Database> {
    let database = Server::shared()?.database()?;
    let repo = Repo::open(database.url())?;
    let task = TaskId::new("t")?;
    save_task(&repo, "t")?;
    repo.save_session(&task, &binding(BackendType::Claude, "s", None)?)?;
    repo.save_message(&task, Role::User, "said")?;
    Ok(database)
}

#[track_caller]
fn altered<T: std::fmt::Debug>(result: turnkeep_repo::Result<T>, what: &str) {
    match result.unwrap_err().kind() {
        ErrorKind::SchemaAltered { what: told } => assert_eq!(told, what),
        other => panic!("{other:?}"),
    }
}

/// Opens the store and sees what it takes.
fn takes(database: &Database, what: &str) -> anyhow::Result<Takes> {
    let task = TaskId::new("t")?;
    let repo = match Repo::open(database.url()) {
        Ok(repo) => repo,
        refused => {
            altered(refused, what);
            let report = turnkeep_admin::check_unopened(Repo::builder(database.url()))?;
            let found: Vec<_> = report.checks.iter().flat_map(|it| &it.findings).collect();
            assert!(found.len() == 1 && found[0].what == what, "{report:?}");
            return Ok(Takes::Nothing);
        }
    };
    assert_eq!(repo.get_tasks()?.len(), 1);
    assert_eq!(contents(&repo, &task)?, ["said"]);
    let report = turnkeep_admin::check(&repo)?;
    let found: Vec<_> = report
        .checks
        .iter()
        .flat_map(|check| &check.findings)
        .collect();
    assert!(
        what.is_empty() || found.iter().any(|finding| finding.what == what),
        "{report:?}"
    );
    let appended = repo.save_message(&task, Role::User, "more");
    if appended.is_ok() {
        return Ok(Takes::Everything);
    }
    altered(appended, what);
    altered(repo.delete_task(&task), what);
    altered(
        repo.save_session(&task, &binding(BackendType::Codex, "n", None)?),
        what,
    );
    assert_eq!(contents(&repo, &task)?, ["said"]);
    Ok(Takes::Reads)
}

const ENDLESS: &str = "WITH RECURSIVE r (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r)";

#[test]
fn every_difference_of_the_schema_is_found() -> anyhow::Result<()> {
    let endless_tasks = format!(
        "ALTER TABLE tasks RENAME TO away; CREATE VIEW tasks AS {ENDLESS} SELECT i::text AS id FROM r"
    );
    let endless_list = format!(
        "ALTER TABLE __diesel_schema_migrations RENAME TO away; \
         CREATE VIEW __diesel_schema_migrations AS {ENDLESS} SELECT i::text AS version FROM r"
    );
    let unaltered = filled()?;
    assert_eq!(
        takes(&Server::shared()?.copy(&unaltered)?, "")?,
        Takes::Everything
    );
    for (sql, what, expected) in [
        (
            "CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
             CREATE TRIGGER theirs BEFORE INSERT ON conversation_history \
             FOR EACH ROW EXECUTE FUNCTION theirs()",
            "trigger `theirs` on `conversation_history` is not of the store",
            Takes::Reads,
        ),
        (
            "DROP TRIGGER conversation_history_append_only ON conversation_history",
            "trigger `conversation_history_append_only` on `conversation_history` is missing",
            Takes::Reads,
        ),
        (
            "ALTER TABLE tasks DISABLE TRIGGER tasks_fence_grows",
            "trigger `tasks_fence_grows` on `tasks` is disabled",
            Takes::Reads,
        ),
        (
            "ALTER TABLE tasks ENABLE ALWAYS TRIGGER tasks_fence_grows",
            "trigger `tasks_fence_grows` on `tasks` is not the one that the migrations make",
            Takes::Reads,
        ),
        (
            "ALTER TABLE sessions DISABLE TRIGGER ALL",
            "constraint `sessions_task_id_fkey` on `sessions` is disabled",
            Takes::Reads,
        ),
        (
            "CREATE OR REPLACE FUNCTION turnkeep_check_turns() RETURNS trigger LANGUAGE plpgsql \
             AS 'BEGIN RETURN NULL; END'",
            "function `turnkeep_check_turns()` is not the one that the migrations make",
            Takes::Reads,
        ),
        (
            "ALTER FUNCTION turnkeep_check_turns() SET search_path = pg_temp, public",
            "function `turnkeep_check_turns()` is not the one that the migrations make",
            Takes::Reads,
        ),
        (
            "CREATE FUNCTION turnkeep_refuse(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
            "function `turnkeep_refuse(text)` is not of the store",
            Takes::Reads,
        ),
        (
            "CREATE RULE theirs AS ON INSERT TO conversation_history DO INSTEAD NOTHING",
            "rule `theirs` on `conversation_history` is not of the store",
            Takes::Reads,
        ),
        (
            "ALTER TABLE conversation_history ENABLE ROW LEVEL SECURITY; \
             ALTER TABLE conversation_history FORCE ROW LEVEL SECURITY",
            "row security `conversation_history` is not of the store",
            Takes::Nothing,
        ),
        (
            "CREATE POLICY theirs ON tasks USING (true)",
            "policy `theirs` on `tasks` is not of the store",
            Takes::Everything,
        ),
        (
            "CREATE TABLE theirs () INHERITS (conversation_history)",
            "child table `theirs` on `conversation_history` is not of the store",
            Takes::Nothing,
        ),
        (&endless_tasks, "table `tasks` is missing", Takes::Nothing),
        (
            &endless_list,
            "table `__diesel_schema_migrations` is missing",
            Takes::Nothing,
        ),
        (
            "ALTER TABLE conversation_history SET UNLOGGED",
            "table `conversation_history` is not the one that the migrations make",
            Takes::Nothing,
        ),
        (
            "ALTER TABLE tasks ALTER COLUMN result SET DEFAULT 'evil'",
            "table `tasks` is not the one that the migrations make",
            Takes::Nothing,
        ),
        (
            "ALTER TABLE conversation_history DROP CONSTRAINT conversation_history_task_id_fkey",
            "constraint `conversation_history_task_id_fkey` on `conversation_history` is missing",
            Takes::Reads,
        ),
        (
            "ALTER TABLE tasks DROP CONSTRAINT tasks_status_check",
            "constraint `tasks_status_check` on `tasks` is missing",
            Takes::Everything,
        ),
        (
            "DROP INDEX conversation_history_message_key",
            "index `conversation_history_message_key` on `conversation_history` is missing",
            Takes::Reads,
        ),
        (
            "CREATE UNIQUE INDEX theirs ON conversation_history (role)",
            "index `theirs` on `conversation_history` is not of the store",
            Takes::Reads,
        ),
        (
            "CREATE INDEX theirs ON conversation_history (lower(content))",
            "index `theirs` on `conversation_history` is not of the store",
            Takes::Reads,
        ),
        (
            "CREATE INDEX theirs ON conversation_history (role)",
            "index `theirs` on `conversation_history` is not of the store",
            Takes::Everything,
        ),
        (
            "DROP VIEW sessions_readable",
            "view `sessions_readable` is missing",
            Takes::Everything,
        ),
        (
            "CREATE TABLE theirs (id TEXT REFERENCES tasks (id)); CREATE VIEW mine AS SELECT 1",
            "",
            Takes::Everything,
        ),
    ] {
        let database = Server::shared()?.copy(&unaltered)?;
        database.psql(sql)?;
        assert_eq!(takes(&database, what)?, expected, "{sql}");
    }
    Ok(())
}

/// The functions keep the path of the schema they are in, and `check` expects the one they are in.
#[test]
fn a_schema_of_any_name_is_as_it_should_be() -> anyhow::Result<()> {
    let database = Server::shared()?.database()?;
    database.psql("CREATE SCHEMA \"my\"\"off\"")?;
    let path = "-csearch_path%3D%22my%22%22off%22";
    let url = database.url();
    let separator = if url.contains('?') { '&' } else { '?' };
    let repo = Repo::open(format!("{url}{separator}options={path}"))?;
    save_task(&repo, "t")?;
    assert!(
        turnkeep_admin::check(&repo)?.is_ok(),
        "{:?}",
        turnkeep_admin::check(&repo)?
    );
    assert_eq!(
        database.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")?,
        "0"
    );
    Ok(())
}
