//! Brings a file to the schema of this program, or refuses it.

use std::path::Path;

use diesel::result::Error as DieselError;

use super::backup::before_upgrade;
use super::file::StoreFile;
use super::schema_state::read_schema_state;
use super::transaction::look;
use super::{Conn, queries};
use crate::base::operation::Deadline;
use crate::base::query_error::QueryError;
use crate::base::schema_state::Verdict;

/// Looks, and migrates only when there is something to do, so that opening an up-to-date store
/// never waits for a writer. Look and run share one immediate transaction: the harness computes
/// what is pending outside of any, and of 16 starters at once some would run it twice.
///
/// An older store is backed up first, by whoever migrates it, while nobody else can write. `file` is
/// `None` in memory.
///
/// Returns the difference of the schema that forbids writes, in words, if there is one.
pub(crate) fn migrate(
    conn: &mut Conn,
    path: &Path,
    file: Option<&StoreFile>,
    deadline: Deadline,
) -> Result<Option<String>, QueryError> {
    let (verdict, no_writes) = look(conn, |conn| accepted(conn, path))?;
    if verdict == Verdict::Current {
        return Ok(no_writes);
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

/// Refuses a store that can't be used. Returns the verdict and the difference that forbids writes.
fn accepted(conn: &mut Conn, path: &Path) -> Result<(Verdict, Option<String>), QueryError> {
    let judgement = read_schema_state(conn)?;
    let no_writes = judgement.refuse(path)?;
    Ok((judgement.verdict, no_writes))
}

fn run_pending(
    conn: &mut Conn,
    path: &Path,
    file: Option<&StoreFile>,
    deadline: Deadline,
) -> Result<Option<String>, QueryError> {
    match (accepted(conn, path)?, file) {
        ((Verdict::Current, no_writes), _) => return Ok(no_writes),
        ((Verdict::Older, _), Some(file)) => {
            let version = queries::migration::applied(conn)?.pop_last();
            let made = before_upgrade(file, &version.unwrap_or_default(), deadline)?;
            queries::migration::run_pending(conn).inspect_err(|_| {
                // The store is rolled back to what it was. A program that tries again and again must
                // not fill the disk.
                let _ = std::fs::remove_file(&made.path);
            })?;
        }
        _ => queries::migration::run_pending(conn)?,
    }
    accepted(conn, path).map(|(_, no_writes)| no_writes)
}

#[cfg(test)]
mod tests {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;
    use turnkeep_model::{NewTask, Role, TaskId};

    use super::*;
    use crate::Repo;
    use crate::base::error::Error;
    use crate::base::schema_state::later;

    fn task() -> TaskId {
        TaskId::new("t").unwrap()
    }

    /// A store of the released schema, with a turn.
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
        let version = queries::migration::known().pop_last().unwrap();
        let backup = format!("store.db.before-upgrade-from-{version}");
        later::version("CREATE TABLE another (x)", || {
            let repo = Repo::open(&path).unwrap();
            assert_eq!(repo.count_history(&task()).unwrap(), 1);
            drop(repo);
            assert!(Repo::open(&path).is_ok(), "and is no more than once");
        });
        assert_eq!(names(folder.path()), ["store.db", &backup]);
        // It has the schema that the released program knows.
        let restored = Repo::open(folder.path().join(&backup)).unwrap();
        assert_eq!(restored.get_history(&task()).unwrap()[0].content, "kept");
        let error = Repo::open(&path).unwrap_err();
        assert!(matches!(error, Error::SchemaTooNew { .. }), "{error:?}");
    }

    #[test]
    fn an_upgrade_that_fails_leaves_the_store_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        older(&path);
        later::version("CREATE TABLE another (x); nonsense", || {
            let error = Repo::open(&path).unwrap_err();
            assert!(matches!(error, Error::Database { .. }), "{error:?}");
        });
        let repo = Repo::open(&path).unwrap();
        assert_eq!(repo.count_history(&task()).unwrap(), 1);
        drop(repo);
        assert_eq!(names(folder.path()), ["store.db"]);
    }

    #[test]
    fn a_backup_that_is_there_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        older(&path);
        let version = queries::migration::known().pop_last().unwrap();
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

    /// Killed on the way, and killed again, must not fill the disk.
    #[test]
    fn a_backup_that_was_not_finished_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        older(&path);
        let version = queries::migration::known().pop_last().unwrap();
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
    fn a_check_tells_of_an_older_schema_and_leaves_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        older(&path);
        let bytes = std::fs::read(&path).unwrap();
        later::version("CREATE TABLE another (x)", || {
            let report = Repo::builder(&path).check().unwrap();
            let findings: Vec<_> = report.checks.iter().flat_map(|it| &it.findings).collect();
            assert_eq!(findings.len(), 1, "{report:?}");
            assert_eq!(findings[0].what, "it is older than this program");
        });
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert_eq!(names(folder.path()), ["store.db"]);
    }

    /// A migration would write, and another program's trigger would have its say.
    #[test]
    fn an_older_store_that_was_altered_is_not_migrated() {
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
                matches!(&error, Error::SchemaAltered { what: told, .. } if told == what),
                "{error:?}"
            );
        });
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert_eq!(names(folder.path()), ["store.db"]);
    }

    /// Without room for a backup nothing is migrated.
    #[test]
    fn a_store_that_can_not_be_backed_up_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n".repeat(240));
        older(&path);
        later::version("CREATE TABLE another (x)", || {
            let error = Repo::open(&path).unwrap_err();
            assert!(matches!(error, Error::Io { .. }), "{error:?}");
        });
        assert_eq!(
            Repo::open(&path).unwrap().count_history(&task()).unwrap(),
            1
        );
    }
}
