//! Brings a file to the schema of this program, or refuses it.

use std::path::Path;

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_migrations::MigrationHarness;
use turnkeep_schema::SQLITE_MIGRATIONS;

use super::verdict::{Verdict, judge};
use super::{Conn, OPEN};
use crate::error::Error;
use crate::failure::Failure;

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

/// Returns whether every migration of this program is applied.
fn is_up_to_date(conn: &mut Conn, path: &Path) -> Result<bool, Failure> {
    let verdict = judge(conn)?;
    refuse(&verdict, path)?;
    Ok(verdict == Verdict::Current)
}

/// Refuses what is no store of this program or of an older one.
pub(crate) fn refuse(verdict: &Verdict, path: &Path) -> Result<(), Error> {
    let (operation, path) = (OPEN, path.into());
    match verdict {
        Verdict::Empty | Verdict::Older | Verdict::Current => Ok(()),
        Verdict::Foreign => Err(Error::ForeignDatabase { operation, path }),
        Verdict::Newer(version) => Err(Error::SchemaTooNew {
            operation,
            path,
            version: version.clone(),
        }),
    }
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
