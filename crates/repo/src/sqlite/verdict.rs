//! What a file is to this program.

use std::collections::BTreeSet;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Integer;
use turnkeep_schema::SQLITE_APPLICATION_ID;

use super::Conn;
use super::catalogue::{Entry, differences, differences_of_encoding, differences_of_list, read};
use super::queries::migration::{applied, verdict};
use crate::base::schema_state::{Judgement, Verdict};

/// Reads what the database is, changing nothing. To be called inside a transaction: the answer is
/// put together from several reads.
///
/// The file may be anyone's. Pragmas are asked for as statements, since a view could have the name of the
/// function, and no table is read before it is known to be one of the store's.
pub(crate) fn judge(conn: &mut Conn) -> QueryResult<Judgement> {
    let number = |pragma, conn: &mut Conn| sql::<Integer>(pragma).get_result::<i32>(conn);
    let application_id = number("PRAGMA application_id", conn)?;
    let user_version = number("PRAGMA user_version", conn)?;
    let entries = read(conn)?;
    let is_ours = application_id == SQLITE_APPLICATION_ID;
    let of_list = differences_of_list(&entries);
    let applied = match entries.iter().any(Entry::is_list) {
        true if of_list.is_empty() => applied(conn)?,
        true if is_ours => {
            return Ok(Judgement {
                verdict: Verdict::Unknown,
                differences: of_list,
            });
        }
        true => return Ok(Verdict::Foreign.into()),
        false => BTreeSet::new(),
    };
    let of_encoding = differences_of_encoding(conn)?;
    let is_untouched = application_id == 0 && user_version == 0;
    if is_untouched && !entries.iter().any(Entry::is_content) && applied.is_empty() {
        return Ok(Judgement {
            verdict: Verdict::Empty,
            differences: of_encoding,
        });
    }
    if !is_ours || applied.is_empty() {
        return Ok(Verdict::Foreign.into());
    }
    let verdict = verdict(&applied);
    let differences = match verdict {
        Verdict::Newer(_) => Vec::new(),
        _ => [of_encoding, differences(conn, &entries, &applied)?].concat(),
    };
    Ok(Judgement {
        verdict,
        differences,
    })
}
