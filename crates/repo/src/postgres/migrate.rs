//! Brings a database to the schema of this program, or refuses it.

use std::path::Path;

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use diesel::r2d2::R2D2Connection as _;
use diesel::result::Error as DieselError;

use super::connection::{Connection, ConnectionConfig};
use super::ops;
use super::schema::refuse_untrusted;
use super::schema_state::read_schema_state;
use super::transaction::Transaction;
use crate::base::deadline::Deadline;
use crate::base::error::ErrorKind;
use crate::base::operation::{OPEN, Operation};
use crate::base::query_error::QueryError;
use crate::base::schema_state::{SchemaState, SchemaVersion, refuse_older};

/// Reads the state of the schema, and migrates it if that is needed. Of several programs that start at once
/// one migrates and the others wait for it, by an advisory lock that ends with the transaction. Refuses a
/// schema that holds anything else. Returns the difference that forbids writes, in words, if there is one.
pub(crate) fn migrate(
    connection: &mut Connection,
    config: &ConnectionConfig,
    path: &Path,
    deadline: Deadline,
) -> Result<Option<String>, QueryError> {
    let mut transaction = Transaction::read(connection, deadline)?;
    let state = read_trusted_state(transaction.conn(), config)?;
    drop(transaction);
    let no_writes = state.refuse(path)?;
    match state.version {
        SchemaVersion::Current => return Ok(no_writes),
        SchemaVersion::Empty if !config.builder.create_if_missing => {
            return Err(ErrorKind::StoreNotFound
                .on(&Operation::on_file(OPEN, path))
                .into());
        }
        SchemaVersion::Older if !config.builder.migrates => {
            return Err(refuse_older(path).into());
        }
        _ => {}
    }
    let set = connection.set("LOCAL", deadline.remaining());
    let conn = connection.conn();
    // Diesel's own transactions nest. The transactions of the migrations would end one that Diesel did not
    // begin.
    let migrated = conn
        .build_transaction()
        .read_committed()
        .read_write()
        .run(|conn| {
            conn.batch_execute(&set)?;
            run_pending(conn, config, path)
        });
    match migrated {
        // The migration harness keeps only the text of an error, which does not say whether the server was
        // lost.
        Err(_) if conn.is_broken() => Err(DieselError::BrokenTransactionManager.into()),
        migrated => migrated,
    }
}

fn run_pending(
    conn: &mut PgConnection,
    config: &ConnectionConfig,
    path: &Path,
) -> Result<Option<String>, QueryError> {
    // The key is "TKEP" and the schema.
    conn.batch_execute(
        "SELECT pg_advisory_xact_lock(1414219088, hashtext(current_schema()::text))",
    )?;
    let state = read_trusted_state(conn, config)?;
    let no_writes = state.refuse(path)?;
    if state.version == SchemaVersion::Current {
        return Ok(no_writes);
    }
    ops::migration::run_pending(conn)?;
    Ok(read_trusted_state(conn, config)?.refuse(path)?)
}

/// Reads the state of the schema. Fails if a role owns it that is not trusted.
fn read_trusted_state(
    conn: &mut PgConnection,
    config: &ConnectionConfig,
) -> Result<SchemaState, QueryError> {
    refuse_untrusted(conn, config)?;
    Ok(read_schema_state(conn)?)
}
