//! Brings a database to the schema of this program, or refuses it.

use std::path::Path;

use super::connection::{Connection, Setup};
use super::error::class_of;
use super::schema::refuse_untrusted;
use super::transaction::Transaction;
use super::{Conn, OPEN, queries, verdict};
use crate::base::error::Error;
use crate::base::operation::Deadline;
use crate::base::options::RepoBuilder;
use crate::base::query_error::{ErrorClass, QueryError};
use crate::base::schema_state::{Judgement, Verdict};
use diesel::connection::{
    AnsiTransactionManager as Transactions, SimpleConnection, TransactionManager,
};
use turnkeep_model::visible_path;

/// Looks, and migrates only when there is something to do. Of several programs that start at once
/// one migrates and the others wait for it, through an advisory lock that ends with the transaction.
/// The schema must hold nothing else. Returns the difference that forbids writes, in words, if there is one.
pub(crate) fn migrate(
    connection: &mut Connection,
    setup: &Setup,
    path: &Path,
    builder: &RepoBuilder,
    deadline: Deadline,
) -> Result<Option<String>, QueryError> {
    let mut look = Transaction::read(connection, deadline)?;
    let judgement = judge(look.link().conn(), setup)?;
    drop(look);
    let no_writes = judgement.refuse(path)?;
    match judgement.verdict {
        Verdict::Current => return Ok(no_writes),
        Verdict::Empty if !builder.create_if_missing => {
            return Err(QueryError::Refused(Error::StoreNotFound {
                operation: OPEN,
                path: path.into(),
            }));
        }
        Verdict::Older if !builder.migrates => {
            return Err(QueryError::Refused(Error::Unsupported {
                operation: OPEN,
                subject: visible_path(path),
                reason: "its schema is older than this program; opening it brings it up to date"
                    .into(),
            }));
        }
        _ => {}
    }
    let begin = connection.begin(&connection.begin_write(), deadline);
    let conn = connection.conn();
    // By Diesel's own transactions, which know of each other: those of the migrations would end one
    // that it has not begun.
    Transactions::begin_transaction_sql(conn, &begin)?;
    match run_pending(conn, setup, path) {
        Ok(no_writes) => {
            Transactions::commit_transaction(conn)?;
            Ok(no_writes)
        }
        Err(failure) => match Transactions::rollback_transaction(conn) {
            // The harness of the migrations leaves of an error only its text, which does not say
            // whether the server was lost.
            Err(error) if class_of(&error) == ErrorClass::Lost => Err(QueryError::Database(error)),
            _ => Err(failure),
        },
    }
}

fn run_pending(conn: &mut Conn, setup: &Setup, path: &Path) -> Result<Option<String>, QueryError> {
    // "TKEP", and which schema of the database.
    conn.batch_execute(
        "SELECT pg_advisory_xact_lock(1414219088, hashtext(current_schema()::text))",
    )?;
    let judgement = judge(conn, setup)?;
    let no_writes = judgement.refuse(path)?;
    if judgement.verdict == Verdict::Current {
        return Ok(no_writes);
    }
    queries::migration::run_pending(conn)?;
    Ok(judge(conn, setup)?.refuse(path)?)
}

/// Judges the schema, changing nothing. Refuses one that a role owns which may not.
fn judge(conn: &mut Conn, setup: &Setup) -> Result<Judgement, QueryError> {
    refuse_untrusted(conn, setup)?;
    Ok(verdict::judge(conn)?)
}
