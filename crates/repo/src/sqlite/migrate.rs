//! Migrates a file to the schema of this program, or refuses it.

use std::path::Path;

use diesel::result::Error as DieselError;

use super::backup::before_upgrade;
use super::file::StoreFile;
use super::schema_state::read_schema_state;
use super::transaction::read_transaction;
use super::{Conn, ops};
use crate::base::deadline::Deadline;
use crate::base::query_error::QueryError;
use crate::base::schema_state::{SchemaVersion, refuse_older};

/// Migrates the database, if it is not up to date. Opening an up-to-date store only reads, and never waits
/// for a
/// writer. Reading the state and migrating share one immediate transaction: Diesel's harness reads it outside
/// of
/// any, and of 16 processes that start at once some would migrate twice.
///
/// An older store gets a backup first, under the same lock. `file` is `None` in memory.
///
/// Returns the difference of the schema that forbids writes, in words, if there is one.
pub(crate) fn migrate(
    conn: &mut Conn,
    path: &Path,
    file: Option<&StoreFile>,
    migrates: bool,
    deadline: Deadline,
) -> Result<Option<String>, QueryError> {
    let (version, no_writes) = read_transaction(conn, |conn| accept(conn, path))?;
    if version == SchemaVersion::Current {
        return Ok(no_writes);
    }
    if !migrates {
        return Err(refuse_older(path).into());
    }
    let mut first_error = None;
    conn.immediate_transaction(|conn| {
        run_pending(conn, path, file, deadline).map_err(|error| {
            first_error = Some(error);
            DieselError::RollbackTransaction
        })
    })
    .map_err(|error| first_error.unwrap_or(QueryError::Database(error)))
}

/// Refuses a database that is no usable store. Returns its kind, and the difference that forbids writes.
fn accept(conn: &mut Conn, path: &Path) -> Result<(SchemaVersion, Option<String>), QueryError> {
    let state = read_schema_state(conn)?;
    let no_writes = state.refuse(path)?;
    Ok((state.version, no_writes))
}

fn run_pending(
    conn: &mut Conn,
    path: &Path,
    file: Option<&StoreFile>,
    deadline: Deadline,
) -> Result<Option<String>, QueryError> {
    let (version, no_writes) = accept(conn, path)?;
    let backup = match (&version, file) {
        (SchemaVersion::Current, _) => return Ok(no_writes),
        (SchemaVersion::Older, Some(file)) => {
            let version = ops::migration::applied(conn)?.pop_last();
            Some(before_upgrade(
                file,
                &version.unwrap_or_default(),
                deadline,
            )?)
        }
        _ => None,
    };
    ops::migration::run_pending(conn).inspect_err(|_| {
        // The store is rolled back, so that the backup is not needed. A program that is started again and
        // again must not fill the disk.
        if let Some(backup) = &backup {
            let _ = std::fs::remove_file(&backup.path);
        }
    })?;
    accept(conn, path).map(|(_, no_writes)| no_writes)
}

#[cfg(test)]
mod tests {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;
    use turnkeep_model::{NewTask, Role, TaskId};

    use super::*;
    use crate::Repo;
    use crate::base::error::ErrorKind;
    use crate::base::schema_state::later;

    fn task() -> TaskId {
        TaskId::new("t").unwrap()
    }

    /// Makes a store of the released schema, with a turn.
    fn older(path: &Path) {
        let repo = Repo::open(path).unwrap();
        repo.save_task(&NewTask::new(task(), "T")).unwrap();
        repo.save_message(&task(), Role::User, "kept").unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_older_store_is_backed_up_before_it_is_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        older(&path);
        let version = ops::migration::known().pop_last().unwrap();
        let backup = format!("store.db.before-upgrade-from-{version}");
        later::version("CREATE TABLE another (x)", || {
            let repo = Repo::open(&path).unwrap();
            assert_eq!(repo.count_history(&task()).unwrap(), 1);
            drop(repo);
            assert!(Repo::open(&path).is_ok(), "the second open makes no backup");
        });
        assert_eq!(names(folder.path()), ["store.db", &backup]);
        // The released program can open it.
        let restored = Repo::open(folder.path().join(&backup)).unwrap();
        assert_eq!(restored.get_history(&task()).unwrap()[0].content, "kept");
        let error = Repo::open(&path).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::SchemaTooNew { .. }),
            "{error:?}"
        );
    }

    #[test]
    fn an_upgrade_that_fails_leaves_the_store_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        older(&path);
        later::version("CREATE TABLE another (x); nonsense", || {
            let error = Repo::open(&path).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Database), "{error:?}");
        });
        let repo = Repo::open(&path).unwrap();
        assert_eq!(repo.count_history(&task()).unwrap(), 1);
        drop(repo);
        assert_eq!(names(folder.path()), ["store.db"]);
    }

    #[test]
    fn an_existing_backup_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        older(&path);
        let version = ops::migration::known().pop_last().unwrap();
        let there = folder
            .path()
            .join(format!("store.db.before-upgrade-from-{version}"));
        std::fs::write(&there, "made before").unwrap();
        later::version("CREATE TABLE another (x)", || {
            drop(Repo::open(&path).unwrap())
        });
        assert_eq!(std::fs::read(&there).unwrap(), b"made before");
        let second = folder
            .path()
            .join(format!("store.db.before-upgrade-from-{version}-2"));
        assert_eq!(
            Repo::open(second).unwrap().count_history(&task()).unwrap(),
            1
        );
    }

    /// A process that is killed again and again must not fill the disk.
    #[test]
    fn an_unfinished_backup_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        older(&path);
        let version = ops::migration::known().pop_last().unwrap();
        let backup = format!("store.db.before-upgrade-from-{version}");
        std::fs::write(folder.path().join(format!("{backup}-partial")), "half").unwrap();
        later::version("CREATE TABLE another (x)", || {
            drop(Repo::open(&path).unwrap())
        });
        assert_eq!(names(folder.path()), ["store.db", &backup]);
        assert_eq!(
            Repo::open(folder.path().join(backup))
                .unwrap()
                .count_history(&task())
                .unwrap(),
            1
        );
    }

    #[test]
    fn a_check_reports_an_older_schema_and_does_not_migrate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        older(&path);
        let bytes = std::fs::read(&path).unwrap();
        later::version("CREATE TABLE another (x)", || {
            let checks = Repo::builder(&path).check_unopened().unwrap();
            let findings: Vec<_> = checks.iter().flat_map(|it| &it.findings).collect();
            assert_eq!(findings.len(), 1, "{checks:?}");
            assert_eq!(findings[0].what, "it is older than this program");
        });
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert_eq!(names(folder.path()), ["store.db"]);
    }

    #[test]
    fn a_viewer_does_not_migrate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        older(&path);
        let bytes = std::fs::read(&path).unwrap();
        later::version("CREATE TABLE another (x)", || {
            let error = Repo::builder(&path).read_only().open().unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Unsupported { reason } if reason.contains("older")),
                "{error:?}"
            );
        });
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        let viewer = Repo::builder(&path).read_only().open().unwrap();
        assert_eq!(viewer.count_history(&task()).unwrap(), 1);
    }

    /// The migration would run another program's trigger.
    #[test]
    fn an_altered_older_store_is_not_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        older(&path);
        let mut conn = Conn::establish(path.to_str().unwrap()).unwrap();
        conn.batch_execute(
            "CREATE TRIGGER theirs BEFORE INSERT ON __diesel_schema_migrations \
             BEGIN SELECT RAISE(IGNORE); END",
        )
        .unwrap();
        drop(conn);
        let bytes = std::fs::read(&path).unwrap();
        later::version("CREATE TABLE another (x)", || {
            let error = Repo::open(&path).unwrap_err();
            let what = "trigger `theirs` on `__diesel_schema_migrations` is not of the store";
            assert!(
                matches!(error.kind(), ErrorKind::SchemaAltered { what: told } if told == what),
                "{error:?}"
            );
        });
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert_eq!(names(folder.path()), ["store.db"]);
    }

    /// Without room for a backup nothing is migrated.
    #[test]
    fn a_store_that_can_not_be_backed_up_is_not_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n".repeat(240));
        older(&path);
        later::version("CREATE TABLE another (x)", || {
            let error = Repo::open(&path).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Io), "{error:?}");
        });
        assert_eq!(
            Repo::open(&path).unwrap().count_history(&task()).unwrap(),
            1
        );
    }
}
