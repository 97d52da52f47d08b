use diesel::dsl::auto_type;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};
use turnkeep_schema::tasks;

use super::super::clock::clock;

/// Whether the lease of a row of `tasks` is over, by the clock of the database: its end has come, or is
/// further off than the lease is long. In that case the clock was wrong when the lease was given out.
///
/// The query asks the clock itself. A time from an earlier statement may be before the begin of a lease
/// that another transaction has given out since.
#[auto_type(no_type_alias)]
pub(crate) fn lease_is_over() -> _ {
    let now: SqlLiteral<Nullable<BigInt>> = clock();
    let then: SqlLiteral<Nullable<BigInt>> = clock();
    let begins_at = tasks::lease_ends_at - tasks::lease_length;
    tasks::lease_ends_at.le(now).or(begins_at.gt(then))
}
