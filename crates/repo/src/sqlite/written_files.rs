//! Locks on the files that tasks write. SQLite has one writer, so nothing is to do.

use std::collections::BTreeSet;

use diesel::prelude::*;

use super::Conn;

/// Waits for the locks, and holds them until the transaction ends.
pub(crate) fn lock(_: &mut Conn, _: &BTreeSet<i32>) -> QueryResult<()> {
    Ok(())
}

/// Returns the locks that no other transaction holds, and holds them until the transaction ends.
pub(crate) fn try_lock(_: &mut Conn, locks: &BTreeSet<i32>) -> QueryResult<Vec<i32>> {
    Ok(locks.iter().copied().collect())
}
