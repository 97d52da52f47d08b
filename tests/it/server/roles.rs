//! Owners of a store, and the privileges of its users.

use turnkeep_admin::CheckReport;
use turnkeep_repo::{ErrorKind, Repo, Role};
use turnkeep_test_postgres::{Database, Server};

use crate::support::save_task;

/// Roles belong to the whole server, so each test has a server.
fn server_with(roles: &str) -> anyhow::Result<(Server, Database)> {
    let server = Server::start(&[])?;
    let database = server.database()?;
    database.psql(roles)?;
    Ok((server, database))
}

fn url_as(database: &Database, role: &str) -> String {
    database.url().replacen("postgres@", &format!("{role}@"), 1)
}

fn is_refused(result: turnkeep_repo::Result<Repo>, expected: &str) {
    let error = result.unwrap_err();
    let ErrorKind::UntrustedOwner { object, owner } = error.kind() else {
        panic!("{error:?}");
    };
    assert_eq!(format!("{object} of {owner}"), expected);
}

fn findings(report: &CheckReport) -> Vec<&str> {
    let findings = report.checks.iter().flat_map(|check| &check.findings);
    findings.map(|finding| &*finding.what).collect()
}

/// `"$user"` is the first name of the default search path.
#[test]
fn a_schema_named_after_the_role_does_not_take_the_store_over() -> anyhow::Result<()> {
    let (_server, database) = server_with(
        "CREATE ROLE app LOGIN; CREATE ROLE evil; \
         CREATE SCHEMA app AUTHORIZATION evil; GRANT ALL ON SCHEMA app TO app; \
         CREATE SCHEMA postgres AUTHORIZATION evil",
    )?;
    is_refused(
        Repo::open(url_as(&database, "app")),
        "schema \"app\" of evil",
    );
    // To a superuser every role looks like one of its own.
    is_refused(Repo::open(database.url()), "schema \"postgres\" of evil");
    let tables = "SELECT count(*) FROM pg_class WHERE relname = 'tasks'";
    assert_eq!(database.psql(tables)?, "0");

    let named = Repo::builder(url_as(&database, "app"))
        .owner("evil")
        .open()?;
    save_task(&named, "t")?;
    let report = turnkeep_admin::check(&named)?;
    assert_eq!(findings(&report), [""; 0]);
    let checks = report.checks.iter();
    let results: Vec<_> = checks.map(|check| (check.name, &*check.result)).collect();
    assert!(
        results.contains(&("owner", "schema \"app\", owned by evil")),
        "{results:?}"
    );
    Ok(())
}

#[test]
fn nothing_of_a_store_may_belong_to_a_stranger() -> anyhow::Result<()> {
    let (_server, database) = server_with("CREATE ROLE evil")?;
    let repo = Repo::open(database.url())?;
    for (object, signature) in [
        (
            "table \"conversation_history\"",
            "TABLE conversation_history",
        ),
        (
            "table \"__diesel_schema_migrations\"",
            "TABLE __diesel_schema_migrations",
        ),
        (
            "function \"turnkeep_check_turns\"",
            "FUNCTION turnkeep_check_turns()",
        ),
        ("schema \"public\"", "SCHEMA public"),
    ] {
        database.psql(&format!("ALTER {signature} OWNER TO evil"))?;
        is_refused(Repo::open(database.url()), &format!("{object} of evil"));
        let what = format!("{object} is owned by the role `evil`");
        assert_eq!(findings(&turnkeep_admin::check(&repo)?), [what]);
        Repo::builder(database.url()).owner("evil").open()?;
        database.psql(&format!("ALTER {signature} OWNER TO postgres"))?;
    }
    Ok(())
}

/// Tables that wait in a schema where everybody may make some, as in databases of PostgreSQL 14.
#[test]
fn planted_tables_are_no_store() -> anyhow::Result<()> {
    let (_server, database) = server_with(
        "CREATE ROLE app LOGIN; CREATE ROLE evil LOGIN; GRANT CREATE ON SCHEMA public TO app, evil",
    )?;
    Repo::builder(url_as(&database, "evil")).open()?;
    is_refused(
        Repo::open(url_as(&database, "app")),
        "table \"__diesel_schema_migrations\" of evil",
    );
    Ok(())
}

#[test]
fn roles_that_may_own_a_store() -> anyhow::Result<()> {
    let (server, _) = server_with(
        "CREATE ROLE app LOGIN; CREATE ROLE team; CREATE ROLE teams; GRANT teams TO team; \
         GRANT team TO app; CREATE ROLE owner; CREATE ROLE super SUPERUSER",
    )?;
    for owner in ["app", "teams", "super", "pg_database_owner", "owner"] {
        let database = server.database()?;
        database.psql(&format!(
            "CREATE SCHEMA app AUTHORIZATION {owner}; GRANT ALL ON SCHEMA app TO app; \
             ALTER DATABASE {} OWNER TO owner",
            database.name()
        ))?;
        let repo = Repo::open(url_as(&database, "app"))?;
        let task = save_task(&repo, "t")?;
        assert_eq!(repo.save_message(&task, Role::User, "x")?, 1);
        let rows = "SELECT count(*) FROM app.conversation_history";
        assert_eq!(database.psql(rows)?, "1", "{owner}");
        assert_eq!(findings(&turnkeep_admin::check(&repo)?), [""; 0], "{owner}");
    }
    Ok(())
}
