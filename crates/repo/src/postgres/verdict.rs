//! Whether a schema is empty, a store of this or another version, or another program's.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool};

use super::Conn;
use super::catalogue::{differences, differences_of_list, read};
use super::queries::migration::{applied, known, verdict};
use crate::base::schema_state::{Judgement, Verdict};

#[derive(QueryableByName)]
struct Schema {
    /// Tables, views and the like, but for those of extensions and the list of migrations, which
    /// the diesel CLI makes before any of them.
    #[diesel(sql_type = BigInt)]
    entries: i64,
    #[diesel(sql_type = Bool)]
    has_list: bool,
}

/// Reads what the schema is, changing nothing. To be called inside a transaction: the answer is put
/// together from several reads. No table is read before it is known to be one of the store's.
pub(crate) fn judge(conn: &mut Conn) -> QueryResult<Judgement> {
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
    let found = read(conn)?;
    let of_list = differences_of_list(&found);
    let applied = match schema.has_list {
        true if of_list.is_empty() => applied(conn)?,
        true if found.iter().any(|part| part.kind == "function") => {
            return Ok(Judgement {
                verdict: Verdict::Unknown,
                differences: of_list,
            });
        }
        true => return Ok(Verdict::Foreign.into()),
        false => BTreeSet::new(),
    };
    if schema.entries == 0 && applied.is_empty() {
        return Ok(Verdict::Empty.into());
    }
    // All stores have had the first migration.
    if known().first().is_none_or(|first| !applied.contains(first)) {
        return Ok(Verdict::Foreign.into());
    }
    Ok(Judgement {
        verdict: verdict(&applied),
        differences: differences(found, &applied),
    })
}
