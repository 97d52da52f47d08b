//! What a database is to this program.

use std::collections::BTreeSet;

use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Integer, Text};
use turnkeep_schema::{SQLITE_APPLICATION_ID, SQLITE_MIGRATIONS};

use super::{Conn, Db};

/// What a database is to this program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is in it yet.
    Empty,
    /// A store, of an older version of this program.
    Older,
    /// A store that can be used as it is.
    Current,
    /// A store of a newer version, by the name of a migration that is not known here.
    Newer(String),
    /// Another program's.
    Foreign,
}

#[derive(QueryableByName)]
struct Header {
    #[diesel(sql_type = Integer)]
    application_id: i32,
    #[diesel(sql_type = Integer)]
    user_version: i32,
    /// Tables, views and the like, but for SQLite's own and the list of migrations, which the
    /// diesel CLI makes before any of them.
    #[diesel(sql_type = BigInt)]
    entries: i64,
    #[diesel(sql_type = BigInt)]
    lists: i64,
}

#[derive(QueryableByName)]
struct Applied {
    #[diesel(sql_type = Text)]
    version: String,
}

/// Reads what the database is, changing nothing. To be called inside a transaction: the answer is
/// put together from several reads.
pub(crate) fn judge(conn: &mut Conn) -> QueryResult<Verdict> {
    let header: Header = sql_query(
        "SELECT application_id, user_version, \
           (SELECT count(*) FROM sqlite_master \
            WHERE tbl_name <> '__diesel_schema_migrations' \
              AND substr(name, 1, 7) <> 'sqlite_') AS entries, \
           (SELECT count(*) FROM sqlite_master \
            WHERE type = 'table' AND name = '__diesel_schema_migrations') AS lists \
         FROM pragma_application_id, pragma_user_version",
    )
    .get_result(conn)?;
    // Asked of the list itself and not of Diesel's harness, which would create it in any file.
    let applied: BTreeSet<String> = if header.lists == 0 {
        BTreeSet::new()
    } else {
        let applied: Vec<Applied> =
            sql_query("SELECT version FROM __diesel_schema_migrations").load(conn)?;
        applied.into_iter().map(|row| row.version).collect()
    };
    let is_untouched = header.application_id == 0 && header.user_version == 0;
    if is_untouched && header.entries == 0 && applied.is_empty() {
        return Ok(Verdict::Empty);
    }
    if header.application_id != SQLITE_APPLICATION_ID || applied.is_empty() {
        return Ok(Verdict::Foreign);
    }
    let known = known_versions();
    Ok(match applied.difference(&known).last() {
        Some(version) => Verdict::Newer(version.clone()),
        None if applied == known => Verdict::Current,
        None => Verdict::Older,
    })
}

fn known_versions() -> BTreeSet<String> {
    let migrations: Vec<Box<dyn Migration<Db>>> =
        SQLITE_MIGRATIONS.migrations().unwrap_or_default();
    migrations
        .iter()
        .map(|migration| migration.name().version().to_string())
        .collect()
}
