//! The schema that holds the store: its name, and the owners of the objects in it.
//!
//! A session is no place to look names up in. A pooler lends it to other clients, whose `SET
//! search_path` and temporary tables stay in it. So the schema is found once, when the store is
//! opened, and every transaction begins by setting `search_path` to it.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Bool, Nullable, Text};

use super::connection::{Connection, Setup};
use super::transaction::Transaction;
use super::{Conn, OPEN};
use crate::base::error::Error;
use crate::base::operation::Deadline;
use crate::base::query_error::QueryError;

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
}

/// Finds the schema, and has this and all later connections look names up there.
///
/// It is the first one that exists of the search path that the address asks for, else of the one
/// that a new session of the role would have. The path is applied here and not left to libpq's
/// `options`, which some poolers drop without a word.
pub(crate) fn enter(
    connection: &mut Connection,
    setup: &Setup,
    deadline: Deadline,
) -> Result<(), QueryError> {
    let name = find(connection, setup.address.search_path(), deadline)?;
    // Schemas of the system, the temporary one among them, begin like this, and no others.
    let Some(name) = name.filter(|name| !name.starts_with("pg_")) else {
        return Err(QueryError::Refused(Error::Unsupported {
            operation: OPEN,
            subject: setup.address.to_string(),
            reason: "its search_path names no schema that exists".into(),
        }));
    };
    // Unless pg_temp is named, the temporary tables of the session come first.
    let path = format!("\"{}\", pg_temp", name.replace('"', "\"\""));
    let path = setup.search_path.get_or_init(|| path);
    Ok(connection.set_search_path(path)?)
}

/// Returns the name of the schema. Every name in these statements is qualified, because the search
/// path is not yet known.
fn find(
    connection: &mut Connection,
    asked: Option<&str>,
    deadline: Deadline,
) -> QueryResult<Option<String>> {
    let mut look = Transaction::read(connection, deadline)?;
    let conn = look.link().conn();
    if let Some(path) = asked {
        sql_query("SELECT pg_catalog.set_config('search_path', $1, true)")
            .bind::<Text, _>(path)
            .execute(conn)?;
    }
    let found: Found = sql_query("SELECT pg_catalog.current_schema()::pg_catalog.text AS name")
        .get_result(conn)?;
    Ok(found.name)
}

/// The schema, or a table or function of the store, and the role that owns it.
#[derive(QueryableByName)]
pub(crate) struct Owned {
    /// `schema`, `table` or `function`.
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    pub(crate) owner: String,
    /// Whether the owner is one of the roles that may own a store.
    #[diesel(sql_type = Bool)]
    pub(crate) is_trusted: bool,
}

impl Owned {
    /// Returns what is owned, in words.
    pub(crate) fn object(&self) -> String {
        format!("{} \"{}\"", self.kind, self.name)
    }
}

/// Returns the owners of the schema, which comes first, and of the store's tables and functions in it.
///
/// Trusted are the current role, the roles it is a member of, the owner of the database, superusers,
/// and `owner`, the role that was named when the store was opened. `pg_has_role` does not tell
/// membership: for a superuser it is always true.
pub(crate) fn owners(conn: &mut Conn, owner: Option<&str>) -> QueryResult<Vec<Owned>> {
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
             AND relname IN ('tasks', 'task_dependencies', 'sessions', 'session_revisions', \
               'conversation_history', '__diesel_schema_migrations') \
           UNION ALL \
           SELECT 3, 'function', proname::text, proowner \
           FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace \
           WHERE nspname = current_schema() AND starts_with(proname::text, 'turnkeep_') \
         ) \
         SELECT kind, name, rolname::text AS owner, coalesce( \
             rolsuper OR rolname IN ($1, 'pg_database_owner') \
             OR EXISTS (SELECT 1 FROM own WHERE own.oid = objects.owner) \
             OR EXISTS (SELECT 1 FROM pg_database \
               WHERE datname = current_database() AND datdba = objects.owner), \
           false) AS is_trusted \
         FROM objects JOIN pg_roles ON pg_roles.oid = objects.owner \
         ORDER BY place, kind, name",
    )
    .bind::<Nullable<Text>, _>(owner)
    .load(conn)
}

/// Refuses a store that a role might have planted, or could change under this one.
pub(crate) fn refuse_untrusted(conn: &mut Conn, setup: &Setup) -> Result<(), QueryError> {
    let owners = owners(conn, setup.owner.as_deref())?;
    match owners.into_iter().find(|owned| !owned.is_trusted) {
        None => Ok(()),
        Some(owned) => Err(QueryError::Refused(Error::UntrustedOwner {
            operation: OPEN,
            object: owned.object(),
            owner: owned.owner,
            path: setup.address.to_string().into(),
        })),
    }
}
