use std::collections::BTreeSet;

use diesel::connection::DefaultLoadingMode;
use diesel::dsl::sql;
use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::Text;
use diesel_migrations::MigrationHarness;

use super::{Conn, Db, MIGRATIONS};
use crate::base::query_error::QueryError;
use crate::base::schema_state::SchemaVersion;

/// The migrations of this program. Tests add one of their own.
struct Migrations;

impl MigrationSource<Db> for Migrations {
    fn migrations(&self) -> diesel::migration::Result<Vec<Box<dyn Migration<Db>>>> {
        let migrations = MIGRATIONS.migrations();
        #[cfg(test)]
        let migrations = migrations.map(tests::add);
        migrations
    }
}

/// Returns the migrations that a database has had, whose list of them there must be. Asked of the
/// list itself and not of Diesel's harness, which would create it in any database.
///
/// Bounded, because another program may have filled the list: the newest 1,000 that have the length of a
/// version.
pub(crate) fn applied(conn: &mut Conn) -> QueryResult<BTreeSet<String>> {
    sql::<Text>(
        "SELECT version FROM __diesel_schema_migrations WHERE octet_length(CAST(version AS TEXT)) <= 50 \
         ORDER BY version DESC LIMIT 1000",
    )
    .load_iter::<String, DefaultLoadingMode>(conn)?
    .collect()
}

/// Returns what a store with these migrations is.
pub(crate) fn version(applied: &BTreeSet<String>) -> SchemaVersion {
    let known = known();
    match applied.difference(&known).last() {
        Some(version) => SchemaVersion::Newer(version.clone()),
        None if *applied == known => SchemaVersion::Current,
        None => SchemaVersion::Older,
    }
}

/// Returns the migrations of this program, in order.
pub(crate) fn migrations() -> diesel::migration::Result<Vec<Box<dyn Migration<Db>>>> {
    Migrations.migrations()
}

/// Returns the names of the migrations of this program.
pub(crate) fn known() -> BTreeSet<String> {
    let migrations = migrations().unwrap_or_default();
    migrations
        .iter()
        .map(|migration| migration.name().version().to_string())
        .collect()
}

/// Runs the missing migrations in the caller's transaction.
pub(crate) fn run_pending(conn: &mut Conn) -> Result<(), QueryError> {
    match conn.run_pending_migrations(Migrations) {
        Ok(_) => Ok(()),
        Err(error) => Err(QueryError::Database(
            match error.downcast::<DieselError>() {
                Ok(error) => *error,
                Err(error) => {
                    // The harness hides its error type and gives no source: only its text, "Failed
                    // to run … with: …", says what the database said.
                    let text = error.to_string();
                    let cause = text
                        .rsplit_once(" with: ")
                        .map_or(&*text, |(_, cause)| cause);
                    DieselError::DatabaseError(
                        DatabaseErrorKind::Unknown,
                        Box::new(cause.to_owned()),
                    )
                }
            },
        )),
    }
}

#[cfg(test)]
mod tests {
    use diesel::connection::BoxableConnection;
    use diesel::migration::{MigrationMetadata, MigrationName, MigrationVersion, Result};

    use super::*;
    use crate::base::schema_state::later;

    pub(super) fn add(mut migrations: Vec<Box<dyn Migration<Db>>>) -> Vec<Box<dyn Migration<Db>>> {
        if let Some(sql) = later::sql() {
            migrations.push(Box::new(Another(sql)));
        }
        migrations
    }

    struct Another(&'static str);

    impl Migration<Db> for Another {
        fn run(&self, conn: &mut dyn BoxableConnection<Db>) -> Result<()> {
            Ok(conn.batch_execute(self.0)?)
        }

        fn revert(&self, _: &mut dyn BoxableConnection<Db>) -> Result<()> {
            Ok(())
        }

        fn metadata(&self) -> &dyn MigrationMetadata {
            &InTransaction
        }

        fn name(&self) -> &dyn MigrationName {
            &Name
        }
    }

    struct InTransaction;

    impl MigrationMetadata for InTransaction {
        fn run_in_transaction(&self) -> bool {
            true
        }
    }

    struct Name;

    impl MigrationName for Name {
        fn version(&self) -> MigrationVersion<'_> {
            MigrationVersion::from("99990101000000")
        }
    }

    impl std::fmt::Display for Name {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("99990101000000_another")
        }
    }
}
