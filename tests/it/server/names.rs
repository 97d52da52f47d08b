//! No name depends on what other clients of a pooler have left in a session.

use std::time::Duration;

use turnkeep_repo::{BackendType, ErrorKind, MessageKey, NewMessage, Repo, Role, StatusUpdate};
use turnkeep_test_postgres::{Pooler, Server};

use crate::support::{binding, contents, place, save_task};

const TABLES: [&str; 11] = [
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
    "__diesel_schema_migrations",
];

fn open(url: &str) -> turnkeep_repo::Result<Repo> {
    Repo::builder(url).timeout(Duration::from_secs(60)).open()
}

/// The address with a search path, as the README writes it.
fn in_schema(url: &str, schema: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}options=-csearch_path%3D{schema}")
}

/// Each of these would take what is written, or answer what is read, if a name were looked up in the
/// session.
#[test]
fn what_other_clients_leave_in_a_session_takes_no_write() -> anyhow::Result<()> {
    let server = Server::shared()?;
    let database = server.database()?;
    let direct = Repo::open(database.url())?;
    // Another store, whose tables would take anything.
    database.psql("CREATE SCHEMA other")?;
    let other = Repo::open(in_schema(&database.url(), "other"))?;
    save_task(&other, "t")?;

    let temporary_tables =
        TABLES.map(|table| format!("CREATE TEMP TABLE {table} (LIKE public.{table});"));
    let attacks = [
        temporary_tables.concat() + "INSERT INTO tasks SELECT * FROM other.tasks",
        "SET search_path = other".into(),
        "SET search_path = other, pg_catalog".into(),
        "SET search_path = pg_temp, other".into(),
        "SET search_path = missing".into(),
    ];
    for (attack, number) in attacks.iter().zip(1..) {
        let pooler = Pooler::start(server, 1)?;
        let opened_before = open(&pooler.url(&database))?;
        let task = save_task(&direct, &format!("task-{number}"))?;
        opened_before.save_message(&task, Role::User, "before")?;
        pooler.psql(&database, attack)?;
        let opened_after = open(&pooler.url(&database))?;
        for (repo, seq) in [(&opened_before, 2), (&opened_after, 6)] {
            assert_eq!(repo.save_message(&task, Role::User, "x")?, seq, "{attack}");
            let key = MessageKey::new(format!("key-{seq}"))?;
            let messages = [NewMessage::new(Role::User, "x").key(key)];
            assert_eq!(repo.save_messages(&task, &messages)?, [seq + 1]);
            assert_eq!(repo.save_messages(&task, &messages)?, [seq + 1]);
            let messages = [
                NewMessage::new(Role::User, "x"),
                NewMessage::new(Role::User, "x"),
            ];
            let seqs = repo.save_messages_after(&task, place(seq + 1), &messages)?;
            assert_eq!(seqs, [seq + 2, seq + 3]);
            assert_eq!(direct.count_history(&task)?, seq + 3, "{attack}");
            assert_eq!(contents(repo, &task)?, contents(&direct, &task)?);
            let session = format!("session-{seq}");
            repo.save_session(&task, &binding(BackendType::Codex, &session, None)?)?;
            assert_eq!(direct.get_session(&task)?.session_id.as_str(), session);
            assert_eq!(repo.get_session(&task)?.session_id.as_str(), session);
            let new = save_task(repo, &format!("new-{number}-{seq}"))?;
            assert_eq!(direct.get_task(&new)?.id, new);
            repo.update_task_status(&new, StatusUpdate::completed("done"))?;
            assert_eq!(direct.get_task(&new)?.result.as_deref(), Some("done"));
            assert_eq!(repo.get_tasks()?.len(), direct.get_tasks()?.len());
            assert!(turnkeep_admin::check(repo)?.is_ok());
        }
    }
    assert_eq!(other.get_tasks()?.len(), 1);
    assert_eq!(other.count_history(&"t".parse()?)?, 0);
    Ok(())
}

/// pgbouncer refuses startup options, or drops them with `ignore_startup_parameters = options`.
#[test]
fn the_schema_of_the_address_is_used_behind_every_pooler() -> anyhow::Result<()> {
    let server = Server::shared()?;
    let dropping: &[(&str, &str)] = &[("ignore_startup_parameters", "options")];
    for settings in [&[], dropping] {
        let database = server.database()?;
        database.psql("CREATE SCHEMA turnkeep")?;
        let pooler = Pooler::start_with(server, 1, settings)?;
        let repo = open(&in_schema(&pooler.url(&database), "turnkeep"))?;
        let task = save_task(&repo, "t")?;
        repo.save_message(&task, Role::User, "x")?;
        let rows = "SELECT count(*) FROM turnkeep.conversation_history";
        assert_eq!(database.psql(rows)?, "1");
        assert_eq!(database.psql("SELECT to_regclass('public.tasks')")?, "");
    }
    Ok(())
}

#[test]
fn options_that_a_pooler_drops_are_told() -> anyhow::Result<()> {
    let server = Server::shared()?;
    let database = server.database()?;
    // The server applies a search path that stands among other options.
    database.psql("CREATE SCHEMA other")?;
    let mixture = "other%20-cwork_mem%3D1MB";
    save_task(&open(&in_schema(&database.url(), mixture))?, "t")?;
    assert_eq!(database.psql("SELECT count(*) FROM other.tasks")?, "1");
    let pooler = Pooler::start_with(server, 1, &[("ignore_startup_parameters", "options")])?;
    let error = open(&in_schema(&pooler.url(&database), mixture)).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unsupported { .. }),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("a pooler has dropped"),
        "{error}"
    );
    Ok(())
}
