//! The schema that holds the store: its name, and the owners of the objects in it.
//!
//! A pooler lends a session to other clients, whose `SET search_path` and temporary tables stay in it. So
//! the schema is found once, when the store is opened, and every transaction begins by setting
//! `search_path` to it.

use diesel::PgConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, Bool, Nullable, Text};
use turnkeep_schema::{MIGRATIONS_TABLE, TABLES};

use super::connection::{Connection, ConnectionConfig};
use super::transaction::Transaction;
use crate::base::deadline::Deadline;
use crate::base::error::ErrorKind;
use crate::base::operation::{OPEN, Operation};
use crate::base::query_error::QueryError;

/// Finds the schema, and sets the search path of this and all later connections to it.
///
/// The schema is the first existing one in the search path of the address, or else in the default of a new
/// session of the role. The store sets a path that it found in the address, because some poolers drop libpq's
/// `options` silently.
pub(crate) fn enter(
    connection: &mut Connection,
    config: &ConnectionConfig,
    deadline: Deadline,
) -> Result<(), QueryError> {
    let mut transaction = Transaction::read(connection, deadline)?;
    let conn = transaction.conn();
    // Names are qualified because the search path is not yet known.
    if let Some(path) = &config.address.search_path {
        sql_query("SELECT pg_catalog.set_config('search_path', $1, true)")
            .bind::<Text, _>(path)
            .execute(conn)?;
    }
    let name = sql::<Nullable<Text>>("pg_catalog.current_schema()::pg_catalog.text");
    let name: Option<String> = diesel::select(name).get_result(conn)?;
    drop(transaction);
    // Only the schemas of the system, including the temporary one, begin with `pg_`.
    let Some(name) = name.filter(|name| !name.starts_with("pg_")) else {
        return Err(ErrorKind::Unsupported {
            reason: "its search_path names no schema that exists".into(),
        }
        .on(&Operation::on_named(OPEN, &config.address.to_string()))
        .into());
    };
    // Unless pg_temp is named, the temporary tables of the session come first.
    let path = format!("\"{}\", pg_temp", name.replace('"', "\"\""));
    config.search_path.get_or_init(|| path);
    Ok(connection.set_up_session()?)
}

/// The schema, or a table or function of the store, and its owner.
#[derive(QueryableByName)]
pub(crate) struct OwnedObject {
    /// `schema`, `table` or `function`, and the name.
    #[diesel(sql_type = Text)]
    pub(crate) object: String,
    #[diesel(sql_type = Text)]
    pub(crate) owner: String,
    /// Whether the owner is one of the roles that may own a store.
    #[diesel(sql_type = Bool)]
    pub(crate) is_trusted: bool,
}

/// Returns the owners of the schema, which comes first, and of the store's tables and functions in it.
///
/// Trusted are the current role, the roles it is a member of, the owner of the database, superusers,
/// and `owner`, the role that was named when the store was opened. `pg_has_role` is no test of membership:
/// it is always true for a superuser.
pub(crate) fn owners(
    conn: &mut PgConnection,
    owner: Option<&str>,
) -> QueryResult<Vec<OwnedObject>> {
    sql_query(
        "WITH RECURSIVE own (oid) AS ( \
           SELECT oid FROM pg_roles WHERE rolname = current_user \
           UNION \
           SELECT roleid FROM pg_auth_members JOIN own ON own.oid = member \
         ), objects (place, kind, name, owner) AS ( \
           SELECT 1, 'schema', nspname::text, nspowner FROM pg_namespace \
           WHERE nspname = current_schema() \
           UNION ALL \
           SELECT 2, 'table', relname::text, relowner \
           FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
           WHERE nspname = current_schema() \
             AND relname::text = ANY ($2) \
           UNION ALL \
           SELECT 3, 'function', proname::text, proowner \
           FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace \
           WHERE nspname = current_schema() AND starts_with(proname::text, 'turnkeep_') \
         ) \
         SELECT kind || ' \"' || name || '\"' AS object, rolname::text AS owner, coalesce( \
             rolsuper OR rolname IN ($1, 'pg_database_owner') \
             OR EXISTS (SELECT 1 FROM own WHERE own.oid = objects.owner) \
             OR EXISTS (SELECT 1 FROM pg_database \
               WHERE datname = current_database() AND datdba = objects.owner), \
           false) AS is_trusted \
         FROM objects JOIN pg_roles ON pg_roles.oid = objects.owner \
         ORDER BY place, kind, name",
    )
    .bind::<Nullable<Text>, _>(owner)
    .bind::<Array<Text>, _>([&TABLES[..], &[MIGRATIONS_TABLE]].concat())
    .load(conn)
}

/// Fails if an untrusted role owns a part of the store: it may have planted the store, and could change it.
pub(crate) fn refuse_untrusted(
    conn: &mut PgConnection,
    config: &ConnectionConfig,
) -> Result<(), QueryError> {
    let owners = owners(conn, config.builder.owner.as_deref())?;
    match owners.into_iter().find(|owned| !owned.is_trusted) {
        None => Ok(()),
        Some(owned) => Err(ErrorKind::UntrustedOwner {
            object: owned.object,
            owner: owned.owner,
        }
        .on(&Operation::on_named(OPEN, &config.address.to_string()))
        .into()),
    }
}
