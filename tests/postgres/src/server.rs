//! A server.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, ensure};

use crate::address::Address;
use crate::client::Client;
use crate::process::Process;
use crate::{Database, URL_VARIABLE};

/// A PostgreSQL server.
///
/// A server that this process started listens on a socket in a temporary folder, or on TCP with a
/// password. Its databases use an English collation, which does not sort by bytes.
#[derive(Debug)]
pub struct Server {
    client: Client,
    /// `None` if this process did not start the server.
    process: Option<Mutex<Process>>,
}

impl Server {
    /// Returns the server of this test process: the one in the environment variable
    /// `TURNKEEP_TEST_POSTGRES_URL`, or a throwaway one, which the first call starts.
    ///
    /// # Errors
    ///
    /// The server in the variable does not answer or is too old; or the variable is not set and
    /// PostgreSQL 15 or later is not installed or does not start. Later calls repeat the error.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use turnkeep_test_postgres::Server;
    ///
    /// let database = Server::shared()?.database()?;
    /// database.psql("CREATE TABLE numbers (number BIGINT)")?;
    /// # anyhow::Ok(())
    /// ```
    pub fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: OnceLock<Result<Server, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            let server = match std::env::var(URL_VARIABLE) {
                Ok(url) => Self::running(&url).with_context(|| URL_VARIABLE),
                Err(_) => Self::start(&[]),
            };
            server.map_err(|error| format!("{error:#}"))
        });
        shared.as_ref().map_err(|message| anyhow!("{message}"))
    }

    /// Starts a throwaway server with additional settings, for a test that stops or kills it. It
    /// listens on a socket only.
    ///
    /// # Errors
    ///
    /// PostgreSQL 15 or later is not installed or does not start.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use turnkeep_test_postgres::Server;
    ///
    /// let server = Server::start(&[("fsync", "off")])?;
    /// assert_eq!(server.psql("postgres", "SHOW fsync")?, "off");
    /// # anyhow::Ok(())
    /// ```
    pub fn start(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let (mut process, _) = Process::initialised(settings)?;
        process.start()?;
        Self::of_socket(process)
    }

    /// Starts a throwaway server that listens on a port of 127.0.0.1, with a password.
    ///
    /// # Errors
    ///
    /// PostgreSQL 15 or later is not installed or does not start.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use turnkeep_test_postgres::Server;
    ///
    /// let server = Server::start_on_tcp(&[])?;
    /// assert!(server.url("postgres").contains("@127.0.0.1:"));
    /// # anyhow::Ok(())
    /// ```
    pub fn start_on_tcp(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let (mut process, password) = Process::initialised(settings)?;
        let mut tries = 0;
        loop {
            // The port was free a moment ago, but another process may have taken it since.
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            process.listen(port);
            tries += 1;
            match process.start() {
                Ok(()) => return Ok(Self::new(Address::of_port(&password, port)?, process)),
                Err(error) if tries == 5 => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Copies a running server. [`start_again`](Self::start_again) starts the copy as its standby.
    pub(crate) fn copy_of(leader: &Self, port: u16) -> anyhow::Result<Self> {
        let mut process = Process::new(port)?;
        process.copy(leader.address())?;
        Self::of_socket(process)
    }

    /// Replaces the data of a killed server with a copy of a running one.
    pub(crate) fn copy_again(&self, leader: &Self) -> anyhow::Result<()> {
        self.process()?.copy(leader.address())
    }

    fn of_socket(process: Process) -> anyhow::Result<Self> {
        Ok(Self::new(process.socket()?, process))
    }

    fn new(address: Address, process: Process) -> Self {
        let client = Client {
            address,
            of_ours: true,
        };
        Self {
            client,
            process: Some(Mutex::new(process)),
        }
    }

    /// Connects to a server that this process did not start.
    fn running(url: &str) -> anyhow::Result<Self> {
        let client = Client {
            address: Address::parse(url)?,
            of_ours: false,
        };
        let version = client.psql("SHOW server_version_num")?;
        ensure!(
            version.parse::<u32>()? >= 150_000,
            "the server has version {version}, and the store needs PostgreSQL 15 or later"
        );
        let server = Self {
            client,
            process: None,
        };
        server.sweep()?;
        Ok(server)
    }

    /// Drops databases left behind by killed test processes.
    fn sweep(&self) -> anyhow::Result<()> {
        // The name contains the second of creation. A live test may be between connections, so
        // recent ones are kept.
        let left_over = self.client.psql(
            "SELECT datname FROM pg_database \
             WHERE datname ~ '^turnkeep_test_[0-9]{9,11}_[0-9]+_[0-9]+$' \
             AND split_part(datname, '_', 3)::BIGINT < extract(epoch FROM now()) - 3600 \
             AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = pg_database.datname)",
        )?;
        for name in left_over.lines() {
            // Another process may drop it at the same time.
            let _ = self
                .client
                .psql(&format!("DROP DATABASE IF EXISTS {name};"));
        }
        Ok(())
    }

    /// Makes a new database, which is dropped with the returned value.
    ///
    /// # Errors
    ///
    /// The server does not answer or refuses.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use turnkeep_test_postgres::Server;
    ///
    /// let server = Server::shared()?;
    /// assert_ne!(server.database()?.url(), server.database()?.url());
    /// # anyhow::Ok(())
    /// ```
    pub fn database(&self) -> anyhow::Result<Database> {
        // template0 accepts no connections, so it can be copied at any time.
        self.database_from("template0")
    }

    /// Copies a database without open connections. The copy is dropped with the returned value.
    ///
    /// # Errors
    ///
    /// The server does not answer or refuses.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use turnkeep_test_postgres::Server;
    ///
    /// let server = Server::shared()?;
    /// let template = server.database()?;
    /// template.psql("CREATE TABLE numbers (number BIGINT)")?;
    /// let copy = server.copy(&template)?;
    /// assert_eq!(copy.psql("SELECT count(*) FROM numbers")?, "0");
    /// # anyhow::Ok(())
    /// ```
    pub fn copy(&self, template: &Database) -> anyhow::Result<Database> {
        self.database_from(template.name())
    }

    fn database_from(&self, template: &str) -> anyhow::Result<Database> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "turnkeep_test_{}_{}_{}",
            SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
            std::process::id(),
            LAST.fetch_add(1, Ordering::Relaxed)
        );
        Database::create(&self.client, &name, template)
    }

    /// Returns the address of a database.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use turnkeep_test_postgres::Server;
    ///
    /// assert!(Server::shared()?.url("postgres").starts_with("postgres://"));
    /// # anyhow::Ok(())
    /// ```
    pub fn url(&self, database: &str) -> String {
        self.address().with_database(database).url()
    }

    /// Runs statements in a database as another program, each in its own transaction, and returns a
    /// line per row, with columns separated by `|`.
    ///
    /// # Errors
    ///
    /// The message of psql if a statement fails. Later statements are not run.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use turnkeep_test_postgres::Server;
    ///
    /// assert_eq!(Server::shared()?.psql("postgres", "SELECT 1, 'a'; SELECT 2")?, "1|a\n2");
    /// # anyhow::Ok(())
    /// ```
    pub fn psql(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        self.client_of(database).psql(sql)
    }

    pub(crate) fn client_of(&self, database: &str) -> Client {
        Client {
            address: self.address().with_database(database),
            of_ours: self.client.of_ours,
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.client.address
    }

    /// Kills all processes of the server with `SIGKILL` and waits until they are gone.
    ///
    /// # Errors
    ///
    /// The server does not run, or this process did not start it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use turnkeep_test_postgres::Server;
    ///
    /// let server = Server::start(&[])?;
    /// server.kill()?;
    /// assert!(server.psql("postgres", "SELECT 1").is_err());
    /// server.start_again()?;
    /// assert_eq!(server.psql("postgres", "SELECT 1")?, "1");
    /// # anyhow::Ok(())
    /// ```
    pub fn kill(&self) -> anyhow::Result<()> {
        self.process()?.kill()
    }

    /// Shuts the server down fast: rolls transactions back and closes connections.
    ///
    /// # Errors
    ///
    /// The server does not run, or this process did not start it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use turnkeep_test_postgres::Server;
    ///
    /// let server = Server::start(&[])?;
    /// server.stop()?;
    /// server.start_again()?;
    /// # anyhow::Ok(())
    /// ```
    pub fn stop(&self) -> anyhow::Result<()> {
        self.process()?.stop()
    }

    /// Starts the server again after [`kill`](Self::kill) or [`stop`](Self::stop), with the same
    /// data and address.
    ///
    /// # Errors
    ///
    /// The server already runs, does not start, or this process did not start it.
    ///
    /// # Examples
    ///
    /// See [`kill`](Self::kill).
    pub fn start_again(&self) -> anyhow::Result<()> {
        self.process()?.start()
    }

    fn process(&self) -> anyhow::Result<MutexGuard<'_, Process>> {
        let process = self
            .process
            .as_ref()
            .with_context(|| format!("the server of {URL_VARIABLE} was not started here"))?;
        Ok(process.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
