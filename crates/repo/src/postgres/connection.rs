//! One connection: made, looked at, and what is said on it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use diesel::connection::{CacheSize, Connection as _, SimpleConnection};
use diesel::prelude::*;
use diesel::r2d2::R2D2Connection as _;
use diesel::sql_types::{Bool, Integer, Nullable, Text};
use diesel::{ConnectionError, sql_query};
use turnkeep_model::visible;

use super::Conn;
use super::address::Address;
use super::append::Link;
use super::error::{REFUSED, class_of, connect_class, refuse_newer};
use super::queries::migration::known;
use super::transaction::millis;
use crate::base::operation::Deadline;
use crate::base::options::Durability;
use crate::base::query_error::{ErrorClass, QueryError};

/// Oldest PostgreSQL that is tested.
const OLDEST_SERVER: i32 = 150_000;

/// Where connections lead, and how they are set up.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) address: Address,
    pub(crate) durability: Durability,
    pub(crate) timeout: Duration,
    /// A role that may own the store, besides those that always may: see
    /// [`RepoBuilder::owner`](crate::RepoBuilder::owner).
    pub(crate) owner: Option<String>,
    /// The value of `search_path` in every transaction, once the schema was found.
    pub(crate) search_path: OnceLock<String>,
    /// The difference of the schema that forbids writes, in words, once the schema was found.
    pub(crate) no_writes: OnceLock<String>,
    /// Whether a pooler was found that lends its connections for one transaction each.
    pub(crate) is_pooled: AtomicBool,
    /// Grows when a server is lost, with which all older connections are.
    pub(crate) generation: AtomicU64,
}

impl Setup {
    /// Fails when a difference of the schema forbids writes: they may not be stored as they were meant.
    pub(crate) fn check_writes(&self) -> Result<(), QueryError> {
        match self.no_writes.get() {
            None => Ok(()),
            Some(what) => Err(QueryError::Altered(what.clone())),
        }
    }
}

/// A connection to the server, or to a pooler before it.
pub(crate) struct Connection {
    link: Link,
    generation: u64,
    /// Whether the server's session is this connection's own, so that what is set or prepared in it
    /// stays and is nobody else's business.
    has_session: bool,
    /// How long a statement outside of a transaction waits for a lock, in a session of its own.
    lock_timeout: Duration,
    synchronous_commit: String,
    search_path: String,
    /// The statement that fails where the schema is newer than this program.
    refuse_newer: String,
    /// Whether a statement by itself is as durable, and sees as much, as a transaction that writes.
    writes_at_once: bool,
    /// When it was last seen alive.
    used_at: Instant,
    is_given_up: bool,
}

/// Why there is no connection. Never shows a password. r2d2 keeps only its text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0}")]
    Connect(String),
    #[error(transparent)]
    Query(#[from] diesel::result::Error),
    #[error("{REFUSED}{0}")]
    Refused(String),
    #[error("the server was lost meanwhile")]
    Outdated,
}

impl ConnectError {
    pub(crate) fn kind(&self) -> ErrorClass {
        match self {
            Self::Connect(text) => connect_class(text),
            Self::Query(error) => class_of(error),
            Self::Refused(_) => ErrorClass::Other,
            Self::Outdated => ErrorClass::Lost,
        }
    }
}

/// What a server says of itself.
#[derive(QueryableByName)]
struct Server {
    #[diesel(sql_type = Nullable<Text>)]
    session: Option<String>,
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = Text)]
    version_text: String,
    #[diesel(sql_type = Text)]
    language: String,
    #[diesel(sql_type = Text)]
    encoding: String,
    /// What it is by default: another client of a pooler may have set it for the session.
    #[diesel(sql_type = Text)]
    synchronous_commit: String,
    #[diesel(sql_type = Text)]
    fsync: String,
    #[diesel(sql_type = Text)]
    isolation: String,
    #[diesel(sql_type = Text)]
    read_only: String,
    #[diesel(sql_type = Bool)]
    is_standby: bool,
}

impl Connection {
    /// Connects, to the server that takes writes if the address has several, and looks whether it
    /// is one that a store can rely on.
    pub(crate) fn open(setup: &Setup) -> Result<Self, ConnectError> {
        let generation = setup.generation.load(Ordering::Acquire);
        let (mut conn, token) = Self::connect(setup)?;
        // Whatever search path the session has: every name is qualified.
        let server: Server = sql_query(
            "SELECT pg_catalog.current_setting('turnkeep.session', true) AS session, \
               pg_catalog.current_setting('server_version_num')::integer AS version, \
               pg_catalog.current_setting('server_version') AS version_text, \
               pg_catalog.current_setting('lc_messages') AS language, \
               pg_catalog.current_setting('server_encoding') AS encoding, \
               (SELECT reset_val FROM pg_catalog.pg_settings \
                WHERE name OPERATOR(pg_catalog.=) 'synchronous_commit'::pg_catalog.text) \
                 AS synchronous_commit, \
               pg_catalog.current_setting('fsync') AS fsync, \
               pg_catalog.current_setting('default_transaction_isolation') AS isolation, \
               pg_catalog.current_setting('default_transaction_read_only') AS read_only, \
               pg_catalog.pg_is_in_recovery() AS is_standby",
        )
        .get_result(&mut conn)?;
        refuse_server(&server, setup.durability)?;
        // A pooler passes the query on to a session that was begun for someone else.
        let has_session = token.is_some() && server.session == token;
        if !has_session && token.is_some() && setup.address.has_options() {
            return Err(ConnectError::Refused(
                "a pooler has dropped the `options` of the address; set them for the role or the \
                 database (ALTER ROLE … SET), or leave them out"
                    .into(),
            ));
        }
        if !has_session {
            conn.set_prepared_statement_cache_size(CacheSize::Disabled);
            setup.is_pooled.store(true, Ordering::Relaxed);
        }
        let synchronous_commit = synchronous_commit(setup.durability, server.synchronous_commit);
        if has_session {
            // For statements outside of a transaction, whatever becomes of the server's settings.
            conn.batch_execute(&format!("SET synchronous_commit = {synchronous_commit}"))?;
        }
        let known = known();
        let mut connection = Self {
            link: Link::new(conn, known.len()),
            generation,
            has_session,
            lock_timeout: lock_timeout(setup),
            synchronous_commit,
            search_path: "DEFAULT".into(),
            refuse_newer: refuse_newer(&known),
            writes_at_once: has_session
                && server.isolation == "read committed"
                && server.read_only == "off",
            used_at: Instant::now(),
            is_given_up: false,
        };
        // The one that opens the store has to find the schema first.
        if let Some(path) = setup.search_path.get() {
            connection.set_search_path(path)?;
        }
        Ok(connection)
    }

    /// Connects, giving the session a name by which it can be known again. A pooler that lends
    /// sessions out refuses to name them.
    fn connect(setup: &Setup) -> Result<(Conn, Option<String>), ConnectError> {
        let seconds = setup.timeout.as_secs().clamp(2, 3_600);
        let for_each_host = seconds / u64::from(setup.address.count_hosts());
        let defaults = [
            ("target_session_attrs", "read-write".to_owned()),
            // For each host, so that one that is silent leaves time for the next. libpq takes whole
            // seconds, and 1 for 2.
            ("connect_timeout", for_each_host.max(2).to_string()),
            // A host that is gone without a word is noticed in about the same time.
            ("keepalives_idle", seconds.to_string()),
            ("keepalives_interval", "1".to_owned()),
            ("keepalives_count", "3".to_owned()),
            ("tcp_user_timeout", (seconds * 1_000).to_string()),
            ("fallback_application_name", "turnkeep".to_owned()),
        ];
        let establish = |options: Option<&str>| {
            let address = setup.address.with(&defaults, options);
            Conn::establish(&address).map_err(|error| {
                let text = match error {
                    ConnectionError::BadConnection(text) => text,
                    error => error.to_string(),
                };
                ConnectError::Connect(one_line(&setup.address.redact(&text, &address)))
            })
        };
        if !setup.is_pooled.load(Ordering::Relaxed) {
            let token = new_token();
            // libpq prints the server's notices until the connection is made.
            let options = format!(
                "-c turnkeep.session={token} -c client_min_messages=error -c lock_timeout={}",
                millis(lock_timeout(setup))
            );
            match establish(Some(&options)) {
                Ok(conn) => return Ok((conn, Some(token))),
                Err(ConnectError::Connect(text)) if refuses_options(&text) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((establish(None)?, None))
    }

    pub(crate) fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Whether a statement outside of a transaction waits for locks, and no longer than until
    /// `deadline`.
    pub(crate) fn is_in_time(&self, deadline: Deadline) -> bool {
        self.has_session && deadline.remaining() >= self.lock_timeout
    }

    pub(crate) fn conn(&mut self) -> &mut Conn {
        self.link.conn()
    }

    /// Has every transaction look its names up in this path, and so every statement outside of one
    /// in a session of its own.
    pub(crate) fn set_search_path(&mut self, path: &str) -> QueryResult<()> {
        path.clone_into(&mut self.search_path);
        match self.has_session {
            true => self
                .conn()
                .batch_execute(&format!("SET search_path = {path}")),
            false => Ok(()),
        }
    }

    /// Returns what each transaction begins with, in the words that begin it.
    pub(crate) fn begin(&self, begin: &str, deadline: Deadline) -> String {
        format!(
            "{begin}; SET LOCAL search_path = {}; SET LOCAL lock_timeout = {}",
            self.search_path,
            millis(deadline.remaining())
        )
    }

    /// Returns what begins a transaction that writes. In a session that others have too, anything may
    /// be set.
    pub(crate) fn begin_write(&self) -> String {
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; SET LOCAL synchronous_commit = {}",
            self.synchronous_commit
        )
    }

    /// Returns what is to follow on that, and fails where the schema is newer than this program.
    pub(crate) fn refuse_newer(&self) -> &str {
        &self.refuse_newer
    }

    /// Returns whether a write may be one statement that commits by itself. Not if nobody knows
    /// that the server is still there: it would not be known either what became of the write. A
    /// BEGIN that fails does no harm. And not if it might wait longer than until `deadline`.
    pub(crate) fn writes_at_once(&self, deadline: Deadline) -> bool {
        self.writes_at_once && self.used_at.elapsed() < FRESH && self.is_in_time(deadline)
    }

    /// Notes that the server has just answered.
    pub(crate) fn was_used(&mut self) {
        self.used_at = Instant::now();
    }

    /// Has the pool drop this connection instead of lending it again.
    pub(crate) fn give_up(&mut self) {
        self.is_given_up = true;
    }

    pub(crate) fn is_given_up(&mut self) -> bool {
        self.is_given_up || self.link.conn().is_broken()
    }

    pub(crate) fn is_outdated(&self, setup: &Setup) -> bool {
        self.generation != setup.generation.load(Ordering::Acquire)
    }

    /// Gives up this connection, and all that were made before now with it: one server is lost.
    pub(crate) fn lost(&mut self, setup: &Setup) {
        self.give_up();
        // Of many that find out only one counts.
        let _ = setup.generation.compare_exchange(
            self.generation,
            self.generation + 1,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("generation", &self.generation)
            .field("has_session", &self.has_session)
            .finish_non_exhaustive()
    }
}

fn refuse_server(server: &Server, durability: Durability) -> Result<(), ConnectError> {
    let refuse = |text: String| Err(ConnectError::Refused(text));
    if server.is_standby {
        return Err(ConnectError::Connect("the server is a standby".into()));
    }
    if server.version < OLDEST_SERVER {
        return refuse(format!(
            "PostgreSQL {} is too old, 15 or later is needed",
            server.version_text
        ));
    }
    if server.encoding != "UTF8" {
        return refuse(format!(
            "the encoding of the database is {}, UTF8 is needed",
            server.encoding
        ));
    }
    let is_english = ["", "C", "POSIX"].contains(&server.language.as_str())
        || server.language.starts_with("en")
        || server.language.starts_with("C.");
    if !is_english {
        return refuse(format!(
            "the server's messages are in `{}`, by which errors can't be told apart; \
             ALTER ROLE … SET lc_messages = 'C'",
            server.language
        ));
    }
    if durability == Durability::Full && server.fsync != "on" {
        return refuse("fsync is off, what is committed would be lost with the power".into());
    }
    Ok(())
}

/// Joins the lines of an error of libpq, which has one or two for each host.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    visible(&lines.join("; ")).into_owned()
}

/// Half of the time a call has: what waits in vain is done again in a transaction, which waits for the
/// rest, and so is what has waited for something else before.
fn lock_timeout(setup: &Setup) -> Duration {
    setup.timeout / 2
}

/// For how long a connection that was used is taken to lead somewhere.
const FRESH: Duration = Duration::from_secs(1);

/// Returns the `synchronous_commit` of all that is written: the server's own, as it was when it was
/// connected to, if that keeps what is acknowledged.
fn synchronous_commit(durability: Durability, default: String) -> String {
    match (durability, default.as_str()) {
        (Durability::Full, "off") => "on".into(),
        (Durability::Full, _) => default,
        (Durability::Normal, _) => "off".into(),
    }
}

/// Whether a pooler said that it takes none.
fn refuses_options(text: &str) -> bool {
    text.contains("startup parameter") || text.contains("options")
}

/// Returns a name that no other session has.
fn new_token() -> String {
    use std::hash::{BuildHasher, RandomState};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}", RandomState::new().hash_one(count))
}

/// Shared by all connections of a store.
pub(crate) type SharedSetup = Arc<Setup>;
