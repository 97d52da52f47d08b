//! Brings a file to the schema of this program, or refuses it.

use std::collections::BTreeSet;
use std::path::Path;

use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_query;
use diesel::sql_types::Text;
use diesel_migrations::MigrationHarness;
use turnkeep_schema::{SQLITE_APPLICATION_ID, SQLITE_MIGRATIONS};

use super::inspect::{application_id, count_foreign_tables};
use super::{Conn, Db, OPEN};
use crate::error::{Error, Failure};

#[derive(QueryableByName)]
struct Applied {
    #[diesel(sql_type = Text)]
    version: String,
}

/// Looks, and migrates only when there is something to do, so that opening an up-to-date store
/// never waits for a writer. Look and run share one immediate transaction: the harness computes
/// what is pending outside of any, and of 16 starters at once some would run it twice.
pub(crate) fn migrate(conn: &mut Conn, path: &Path) -> Result<(), Failure> {
    #[expect(clippy::disallowed_methods, reason = "reads only, in one snapshot")]
    let up_to_date = conn.transaction(|conn| is_up_to_date(conn, path))?;
    if up_to_date {
        return Ok(());
    }
    let mut first_error = None;
    conn.immediate_transaction(|conn| {
        run_pending(conn, path).map_err(|error| {
            first_error = Some(error);
            DieselError::RollbackTransaction
        })
    })
    .map_err(|error| first_error.unwrap_or(Failure::Database(error)))
}

fn run_pending(conn: &mut Conn, path: &Path) -> Result<(), Failure> {
    if is_up_to_date(conn, path)? {
        return Ok(());
    }
    match conn.run_pending_migrations(SQLITE_MIGRATIONS) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::Database(match error.downcast::<DieselError>() {
            Ok(error) => *error,
            Err(error) => {
                // The harness hides its error type and gives no source: only its text, "Failed
                // to run … with: …", says what SQLite said.
                let text = error.to_string();
                let cause = text
                    .rsplit_once(" with: ")
                    .map_or(&*text, |(_, cause)| cause);
                DieselError::DatabaseError(DatabaseErrorKind::Unknown, Box::new(cause.to_owned()))
            }
        })),
    }
}

/// Returns whether every migration of this program is applied, and refuses what is no store of
/// this program or of an older one.
fn is_up_to_date(conn: &mut Conn, path: &Path) -> Result<bool, Failure> {
    let foreign = || Error::ForeignDatabase {
        operation: OPEN,
        path: path.into(),
    };
    let known = known_versions();
    let applied = applied_versions(conn)?;
    if let Some(version) = applied.difference(&known).last() {
        // Only a store's own migrations say anything about its age.
        return Err(if application_id(conn)? == SQLITE_APPLICATION_ID {
            let version = version.clone();
            Error::SchemaTooNew {
                operation: OPEN,
                path: path.into(),
                version,
            }
            .into()
        } else {
            foreign().into()
        });
    }
    match application_id(conn)? {
        SQLITE_APPLICATION_ID if !applied.is_empty() => Ok(applied == known),
        0 if applied.is_empty() && count_foreign_tables(conn)? == 0 => Ok(false),
        _ => Err(foreign().into()),
    }
}

fn known_versions() -> BTreeSet<String> {
    let migrations: Vec<Box<dyn Migration<Db>>> =
        SQLITE_MIGRATIONS.migrations().unwrap_or_default();
    migrations
        .iter()
        .map(|migration| migration.name().version().to_string())
        .collect()
}

fn applied_versions(conn: &mut Conn) -> QueryResult<BTreeSet<String>> {
    // Asked of the list itself and not of the harness, which would create it in any file.
    let has_list = sql_query(
        "SELECT name AS version FROM sqlite_master \
         WHERE type = 'table' AND name = '__diesel_schema_migrations'",
    )
    .get_result::<Applied>(conn)
    .optional()?
    .is_some();
    if !has_list {
        return Ok(BTreeSet::new());
    }
    let applied: Vec<Applied> =
        sql_query("SELECT version FROM __diesel_schema_migrations").load(conn)?;
    Ok(applied.into_iter().map(|row| row.version).collect())
}
