//! Brings a file to the schema of this program, or refuses it.

use std::path::Path;

use diesel::result::Error as DieselError;

use super::transaction::look;
use super::verdict::judge;
use super::{Conn, queries};
use crate::failure::Failure;
use crate::verdict::Verdict;

/// Looks, and migrates only when there is something to do, so that opening an up-to-date store
/// never waits for a writer. Look and run share one immediate transaction: the harness computes
/// what is pending outside of any, and of 16 starters at once some would run it twice.
pub(crate) fn migrate(conn: &mut Conn, path: &Path) -> Result<(), Failure> {
    if look(conn, |conn| is_up_to_date(conn, path))? {
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
    verdict.refuse(path)?;
    Ok(verdict == Verdict::Current)
}

fn run_pending(conn: &mut Conn, path: &Path) -> Result<(), Failure> {
    if is_up_to_date(conn, path)? {
        return Ok(());
    }
    queries::migration::run_pending(conn)
}
