//! Findings of a check on a server.

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use turnkeep_admin::CheckReport;
use turnkeep_repo::{ErrorKind, Repo, Role};

use super::TempDatabase;
use crate::support::*;

fn findings(report: &CheckReport) -> Vec<&str> {
    let findings = report.checks.iter().flat_map(|check| &check.findings);
    findings.map(|finding| &*finding.what).collect()
}

#[test]
fn changes_by_other_programs_are_found() -> anyhow::Result<()> {
    let database = TempDatabase::new()?;
    let (repo, task) = open_with_task(&database, "t")?;
    for content in ["1", "2", "3"] {
        repo.save_message(&task, Role::User, content)?;
    }
    let repo = Repo::open(database.url())?;
    let report = turnkeep_admin::check(&repo)?;
    assert_eq!(findings(&report), [""; 0]);
    let names: Vec<_> = report.checks.iter().map(|check| check.name).collect();
    assert_eq!(
        names,
        [
            "owner",
            "schema",
            "foreign keys",
            "rows",
            "histories",
            "sessions",
            "recordings"
        ]
    );

    let mut other = PgConnection::establish(&database.url())?;
    other.batch_execute(
        "SET session_replication_role = replica; \
         DELETE FROM conversation_history WHERE seq = 2; \
         UPDATE conversation_history SET content = '4' WHERE seq = 3; \
         INSERT INTO task_dependencies VALUES ('t', 'nobody')",
    )?;
    let report = turnkeep_admin::check_unopened(Repo::builder(database.url()))?;
    assert_eq!(
        findings(&report),
        [
            "task_dependencies.depends_on: 1 rows name a task that does not exist",
            "turn 3 of task `t` is damaged: its checksum is that of something else",
            "task `t` has 2 turns, the last of which is number 3"
        ]
    );
    Ok(())
}

#[test]
fn a_backup_is_left_to_the_server() -> anyhow::Result<()> {
    let database = TempDatabase::new()?;
    let repo = Repo::builder(database.url()).open()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("backup.db");
    let error = repo.backup(&path).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unsupported { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("pg_dump"), "{error}");
    assert!(!path.exists());
    Ok(())
}
