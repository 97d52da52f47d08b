//! Refuses an SQLite that may damage a store.

use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;

use super::error::SqliteErrors;
use super::file::in_memory;
use crate::base::error::{ErrorKind, Result};
use crate::base::operation::{OPEN, Operation};
use crate::base::query_error::QueryError;

/// The oldest SQLite in which a write and a checkpoint at the same instant can't damage a database with a
/// write-ahead log (<https://sqlite.org/changes.html>, 3.51.3).
const OLDEST: [u32; 3] = [3, 51, 3];

pub(super) fn refuse_old_sqlite() -> Result<()> {
    let version = || -> Result<String, QueryError> {
        let mut conn = in_memory()?;
        Ok(diesel::select(sql::<Text>("sqlite_version()")).get_result(&mut conn)?)
    };
    let call = Operation::on_store(OPEN);
    refuse(&version().map_err(|error| error.translate::<SqliteErrors>(&call, Duration::ZERO))?)
}

fn refuse(version: &str) -> Result<()> {
    let numbers: Vec<u32> = version
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect();
    if numbers.as_slice() >= OLDEST.as_slice() {
        return Ok(());
    }
    let [major, minor, patch] = OLDEST;
    Err(ErrorKind::Unsupported {
        reason: format!("{major}.{minor}.{patch} is the oldest without a known corruption fault"),
    }
    .on(&Operation::on_named(OPEN, &format!("SQLite {version}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_sqlite_would_be_refused() {
        for new_enough in ["3.51.3", "3.53.0", "4.0.0"] {
            assert!(refuse(new_enough).is_ok(), "{new_enough}");
        }
        for old in ["3.51.2", "3.40.1", "3.9.99", "3.51", ""] {
            let error = refuse(old).unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Unsupported { .. }),
                "{old}"
            );
            assert_eq!(
                error.to_string(),
                format!(
                    "open: SQLite {old} can't be used: \
                     3.51.3 is the oldest without a known corruption fault"
                )
            );
        }
    }
}
