//! Brings a database to the schema of this program, or refuses it.

use std::collections::BTreeSet;
use std::path::Path;

use super::connection::{Connection, Setup};
use super::error::kind_of;
use super::schema::refuse_untrusted;
use super::transaction::Transaction;
use super::{Conn, OPEN, queries};
use crate::call::Deadline;
use crate::error::Error;
use crate::failure::{Failure, Kind};
use crate::options::RepoBuilder;
use crate::verdict::Verdict;
use diesel::connection::{
    AnsiTransactionManager as Transactions, SimpleConnection, TransactionManager,
};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool};
use turnkeep_model::visible_path;

#[derive(QueryableByName)]
struct Schema {
    /// Tables, views and the like, but for those of extensions and the list of migrations, which
    /// the diesel CLI makes before any of them.
    #[diesel(sql_type = BigInt)]
    entries: i64,
    #[diesel(sql_type = Bool)]
    has_list: bool,
}

/// Looks, and migrates only when there is something to do. Of several programs that start at once
/// one migrates and the others wait for it, through an advisory lock that ends with the transaction.
/// The schema must hold nothing else.
pub(crate) fn migrate(
    connection: &mut Connection,
    setup: &Setup,
    path: &Path,
    builder: &RepoBuilder,
    deadline: Deadline,
) -> Result<(), Failure> {
    let mut look = Transaction::read(connection, deadline)?;
    let verdict = judge(look.link().conn(), setup)?;
    drop(look);
    verdict.refuse(path)?;
    match verdict {
        Verdict::Current => return Ok(()),
        Verdict::Empty if !builder.create_if_missing => {
            return Err(Failure::Refused(Error::StoreNotFound {
                operation: OPEN,
                path: path.into(),
            }));
        }
        Verdict::Older if !builder.migrates => {
            return Err(Failure::Refused(Error::Unsupported {
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
        Ok(()) => Ok(Transactions::commit_transaction(conn)?),
        Err(failure) => match Transactions::rollback_transaction(conn) {
            // The harness of the migrations leaves of an error only its text, which does not say
            // whether the server was lost.
            Err(error) if kind_of(&error) == Kind::Lost => Err(Failure::Database(error)),
            _ => Err(failure),
        },
    }
}

fn run_pending(conn: &mut Conn, setup: &Setup, path: &Path) -> Result<(), Failure> {
    // "TKEP", and which schema of the database.
    conn.batch_execute(
        "SELECT pg_advisory_xact_lock(1414219088, hashtext(current_schema()::text))",
    )?;
    let verdict = judge(conn, setup)?;
    verdict.refuse(path)?;
    match verdict {
        Verdict::Current => Ok(()),
        _ => queries::migration::run_pending(conn),
    }
}

/// Reads what the schema is to this program, changing nothing. Refuses one that others own.
fn judge(conn: &mut Conn, setup: &Setup) -> Result<Verdict, Failure> {
    refuse_untrusted(conn, setup)?;
    let schema: Schema = sql_query(
        "SELECT count(*) FILTER (WHERE relname <> '__diesel_schema_migrations') AS entries, \
           count(*) FILTER (WHERE relname = '__diesel_schema_migrations') > 0 AS has_list \
         FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
         WHERE nspname = current_schema() AND relkind IN ('r', 'v', 'm', 'f', 'p', 'S') \
           AND NOT EXISTS (SELECT 1 FROM pg_depend \
             WHERE classid = 'pg_class'::regclass::oid AND objid = pg_class.oid \
               AND deptype = 'e')",
    )
    .get_result(conn)?;
    let applied = match schema.has_list {
        true => queries::migration::applied(conn)?,
        false => BTreeSet::new(),
    };
    let known = queries::migration::known();
    Ok(match (schema.entries, applied.is_empty()) {
        (0, true) => Verdict::Empty,
        (_, true) => Verdict::Foreign,
        // All stores have had the first migration.
        _ if known.first().is_none_or(|first| !applied.contains(first)) => Verdict::Foreign,
        _ => queries::migration::verdict(&applied),
    })
}
