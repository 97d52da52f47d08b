//! pgbouncer in front of a server.

use std::fs;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{bail, ensure};

use crate::address::Address;
use crate::client::Client;
use crate::keeper::{Keeper, LIMIT};
use crate::process::PAUSE;
use crate::{Database, Server, programs};

/// pgbouncer with transaction pooling.
///
/// All settings are defaults, except that it retries a lost server every second.
#[derive(Debug)]
pub struct Pooler {
    address: Address,
    /// Ends pgbouncer on drop.
    _keeper: Mutex<Keeper>,
}

impl Pooler {
    /// Starts pgbouncer with this number of connections to each database of the server.
    ///
    /// # Errors
    ///
    /// pgbouncer is not installed or does not start.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use turnkeep_test_postgres::{Pooler, Server};
    ///
    /// let server = Server::shared()?;
    /// let database = server.database()?;
    /// let pooler = Pooler::start(server, 2)?;
    /// assert_ne!(pooler.url(&database), database.url());
    /// assert_eq!(pooler.psql(&database, "SELECT 1")?, "1");
    /// # anyhow::Ok(())
    /// ```
    pub fn start(server: &Server, connections: u32) -> anyhow::Result<Self> {
        Self::start_with(server, connections, &[])
    }

    /// Starts pgbouncer with additional settings.
    ///
    /// # Errors
    ///
    /// pgbouncer is not installed or does not start.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use turnkeep_test_postgres::{Pooler, Server};
    ///
    /// let server = Server::shared()?;
    /// let pooler = Pooler::start_with(server, 2, &[("ignore_startup_parameters", "options")])?;
    /// # anyhow::Ok(())
    /// ```
    pub fn start_with(
        server: &Server,
        connections: u32,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let program = programs::pgbouncer()?;
        let mut keeper = Keeper::new()?;
        let address = Address::of_socket(keeper.folder(), 6432)?;
        // Other users cannot read the folder.
        let file = keeper.folder().join("pgbouncer.ini");
        let mut text = configuration(server.address(), &keeper.folder().display(), connections)?;
        for (name, value) in settings {
            text += &format!("{name} = {value}\n");
        }
        fs::write(&file, text)?;
        // pgbouncer needs no shutdown, and no other signal ends all its versions at once.
        keeper.start("KILL", &program, [&file])?;
        let console = client(&address, "pgbouncer");
        let begun = Instant::now();
        while console.psql("SHOW VERSION").is_err() {
            if keeper.ended_within(PAUSE)?.is_some() {
                bail!("pgbouncer doesn't start{}", keeper.log());
            }
            ensure!(
                begun.elapsed() < LIMIT,
                "pgbouncer is not ready{}",
                keeper.log()
            );
        }
        Ok(Self {
            address,
            _keeper: Mutex::new(keeper),
        })
    }

    /// Returns the address of a database through the pooler.
    pub fn url(&self, database: &Database) -> String {
        self.address.with_database(database.name()).url()
    }

    /// Runs statements through the pooler, otherwise as [`Database::psql`].
    ///
    /// # Errors
    ///
    /// The message of psql if a statement fails. Later statements are not run.
    pub fn psql(&self, database: &Database, sql: &str) -> anyhow::Result<String> {
        client(&self.address, database.name()).psql(sql)
    }

    /// Runs a command of the pooler itself, for example `SHOW POOLS`.
    ///
    /// # Errors
    ///
    /// The message of psql if the pooler refuses the command.
    pub fn console(&self, command: &str) -> anyhow::Result<String> {
        client(&self.address, "pgbouncer").psql(command)
    }
}

fn client(pooler: &Address, database: &str) -> Client {
    Client {
        address: pooler.with_database(database),
        of_ours: true,
    }
}

/// Accepts every client that can open its socket, as the user of the server's address.
fn configuration(
    server: &Address,
    folder: &dyn std::fmt::Display,
    connections: u32,
) -> anyhow::Result<String> {
    let (host, port) = server.host_and_port()?;
    let mut target = format!("* = host={} port={port}", quoted(&host));
    target += &format!(
        " user={}",
        quoted(&server.user().unwrap_or("postgres".to_owned()))
    );
    if let Some(password) = server.password() {
        target += &format!(" password={}", quoted(&password));
    }
    Ok(format!(
        "[databases]
{target}

[pgbouncer]
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 1000
unix_socket_dir = {folder}
listen_port = 6432
auth_type = any
server_login_retry = 1
admin_users = postgres
"
    ))
}

/// Quotes a value of a connection string.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_of_an_address_stands_in_the_file() {
        let server = Address::parse("postgres://u:it%27s@db.example:5433/x").unwrap();
        let text = configuration(&server, &"/tmp/tk-a", 2).unwrap();
        let target = "* = host='db.example' port=5433 user='u' password='it''s'\n";
        assert!(text.contains(target), "{text}");
        assert!(text.contains("default_pool_size = 2\n"), "{text}");

        let two = Address::parse("postgres://a,b").unwrap();
        assert!(configuration(&two, &"/tmp/tk-a", 2).is_err());
    }
}
