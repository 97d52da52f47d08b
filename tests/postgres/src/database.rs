//! The database of a test.

use crate::client::Client;

/// A new database, dropped at the end.
#[derive(Debug)]
pub struct Database {
    name: String,
    /// The client that creates and drops it.
    outside: Client,
    inside: Client,
}

impl Database {
    pub(crate) fn create(server: &Client, name: &str, template: &str) -> anyhow::Result<Self> {
        server.psql(&format!(
            "CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8';"
        ))?;
        Ok(Self {
            name: name.to_owned(),
            outside: server.clone(),
            inside: Client {
                address: server.address.with_database(name),
                of_ours: server.of_ours,
            },
        })
    }

    /// Returns the unique name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the address.
    pub fn url(&self) -> String {
        self.inside.address.url()
    }

    /// Runs statements as another program, each in its own transaction, and returns a line per row,
    /// with columns separated by `|`.
    ///
    /// # Errors
    ///
    /// The message of psql if a statement fails. Later statements are not run.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let database = turnkeep_test_postgres::Server::shared()?.database()?;
    /// database.psql("CREATE TABLE numbers (number BIGINT); INSERT INTO numbers VALUES (1), (2)")?;
    /// assert_eq!(database.psql("SELECT * FROM numbers")?, "1\n2");
    /// # anyhow::Ok(())
    /// ```
    pub fn psql(&self, sql: &str) -> anyhow::Result<String> {
        self.inside.psql(sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may be gone. Otherwise the next test process drops the database.
        let _ = self.outside.psql(&format!(
            "DROP DATABASE IF EXISTS {} WITH (FORCE);",
            self.name
        ));
    }
}
