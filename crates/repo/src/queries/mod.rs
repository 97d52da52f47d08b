//! The queries, one file per aggregate. They name no engine: `Conn` and `Db` are whatever the
//! parent module says they are. Transactions are begun by the caller.
//!
//! What runs for every message and every session save is a [`QueryFragment`] of its own with a
//! static id, because Diesel prepares anew at each call what it can't prove to be always the same
//! text: upserts with `do_update`, every `update`, and anything with a bound LIMIT inside SQLite.
//!
//! [`QueryFragment`]: diesel::query_builder::QueryFragment

/// Makes a query fragment that always has the same text known as such, so that each connection
/// prepares it once.
macro_rules! hot_statement {
    ($name:ident) => {
        impl ::diesel::query_builder::QueryId for $name<'_> {
            type QueryId = $name<'static>;
            const HAS_STATIC_QUERY_ID: bool = true;
        }

        impl ::diesel::RunQueryDsl<super::Conn> for $name<'_> {}
    };
}

use super::{Conn, Db};

pub(crate) mod history;
pub(crate) mod session;
pub(crate) mod task;
