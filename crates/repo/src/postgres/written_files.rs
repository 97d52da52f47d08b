//! Locks on the files that tasks write: advisory locks of the table `tasks`, by number.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, Integer};

use super::Conn;

/// Waits for the locks, and holds them until the transaction ends. All transactions wait in the order of the
/// numbers, so that none waits in a circle.
pub(crate) fn lock(conn: &mut Conn, locks: &BTreeSet<i32>) -> QueryResult<()> {
    sql_query(
        "SELECT pg_advisory_xact_lock('tasks'::regclass::oid::integer, number) \
         FROM pg_catalog.unnest($1) AS number",
    )
    .bind::<Array<Integer>, _>(locks.iter().collect::<Vec<_>>())
    .execute(conn)
    .map(drop)
}

/// Returns the locks that no other transaction holds, and holds them until the transaction ends.
pub(crate) fn try_lock(conn: &mut Conn, locks: &BTreeSet<i32>) -> QueryResult<Vec<i32>> {
    #[derive(QueryableByName)]
    struct Locked {
        #[diesel(sql_type = Integer)]
        number: i32,
    }
    let locked: Vec<Locked> = sql_query(
        "SELECT number FROM pg_catalog.unnest($1) AS number \
         WHERE pg_try_advisory_xact_lock('tasks'::regclass::oid::integer, number)",
    )
    .bind::<Array<Integer>, _>(locks.iter().collect::<Vec<_>>())
    .get_results(conn)?;
    Ok(locked.into_iter().map(|lock| lock.number).collect())
}
