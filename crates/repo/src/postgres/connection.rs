//! One connection to the server: how it is made, checked and set up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use diesel::connection::{CacheSize, Connection as _, SimpleConnection};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::r2d2::R2D2Connection as _;
use diesel::sql_types::{Bool, Integer, Nullable, Text};
use diesel::{ConnectionError, ConnectionResult, PgConnection};
use turnkeep_model::visible;

use super::address::Address;
use super::error::REFUSED;
use crate::base::deadline::Deadline;
use crate::base::options::{Durability, RepoBuilder};

/// The oldest version of PostgreSQL that is tested.
const MIN_SERVER_VERSION: i32 = 150_000;

/// How long after its last answer a server is trusted to be still there.
pub(super) const MAX_SILENCE: Duration = Duration::from_secs(1);

/// The settings of all connections of a store, and the facts learned about the server.
#[derive(Debug)]
pub(crate) struct ConnectionConfig {
    pub(crate) address: Address,
    pub(crate) builder: RepoBuilder,
    /// The value of `search_path` in every transaction. Set once the schema is found.
    pub(crate) search_path: OnceLock<String>,
    /// Whether the address leads to a pooler that lends its server connections for one transaction each.
    pub(crate) is_pooled: AtomicBool,
    /// Grows when a server is lost. Connections of an older generation are dropped.
    pub(crate) generation: AtomicU64,
}

impl ConnectionConfig {
    /// How long a statement outside of a transaction waits for a lock: half of the timeout. The call repeats
    /// such a statement in a transaction, which waits for the rest.
    fn lock_timeout(&self) -> Duration {
        self.builder.timeout / 2
    }
}

/// A connection to the server, or to a pooler before it.
pub(crate) struct Connection {
    conn: PgConnection,
    config: Arc<ConnectionConfig>,
    generation: u64,
    /// Whether the server's session belongs to this connection alone. Otherwise settings and prepared
    /// statements do not outlast a transaction.
    has_session: bool,
    synchronous_commit: String,
    /// When the server last answered.
    used_at: Instant,
    is_discarded: bool,
}

/// The settings of a server that a store depends on.
#[derive(Queryable)]
struct Server {
    token: Option<String>,
    version: i32,
    language: String,
    encoding: String,
    /// The default. Another client of a pooler may have changed the session's value.
    synchronous_commit: String,
    fsync: String,
    is_standby: bool,
}

impl Connection {
    /// Connects to the server that accepts writes, and refuses one that a store can't rely on. The errors of libpq
    /// are without passwords.
    pub(crate) fn open(config: Arc<ConnectionConfig>) -> ConnectionResult<Self> {
        let generation = config.generation.load(Ordering::Acquire);
        let (mut conn, token) = Self::connect(&config)?;
        // Names are qualified because the session may have any search path.
        let server: Server = diesel::select((
            sql::<Nullable<Text>>("pg_catalog.current_setting('turnkeep.session', true)"),
            sql::<Integer>("pg_catalog.current_setting('server_version_num')::integer"),
            sql::<Text>("pg_catalog.current_setting('lc_messages')"),
            sql::<Text>("pg_catalog.current_setting('server_encoding')"),
            sql::<Text>(
                "(SELECT reset_val FROM pg_catalog.pg_settings \
                 WHERE name OPERATOR(pg_catalog.=) 'synchronous_commit'::pg_catalog.text)",
            ),
            sql::<Text>("pg_catalog.current_setting('fsync')"),
            sql::<Bool>("pg_catalog.pg_is_in_recovery()"),
        ))
        .get_result(&mut conn)
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
        let durability = config.builder.durability;
        refuse_server(&server, durability)?;
        // A pooler may run the query in a session that was started for another client.
        let has_session = token.is_some() && server.token == token;
        if !has_session && token.is_some() && config.address.has_options() {
            return Err(refused(
                "a pooler has dropped the `options` of the address; set them for the role or the database \
                 (ALTER ROLE … SET), or leave them out",
            ));
        }
        if !has_session {
            conn.set_prepared_statement_cache_size(CacheSize::Disabled);
            config.is_pooled.store(true, Ordering::Relaxed);
        }
        let mut connection = Self {
            conn,
            generation,
            has_session,
            synchronous_commit: synchronous_commit(durability, server.synchronous_commit),
            used_at: Instant::now(),
            is_discarded: false,
            config,
        };
        connection
            .set_up_session()
            .map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(connection)
    }

    /// Connects, and names the session with a token by which it can be recognised. A pooler refuses or drops
    /// the option that does this.
    fn connect(config: &ConnectionConfig) -> ConnectionResult<(PgConnection, Option<String>)> {
        let seconds = config.builder.timeout.as_secs().clamp(2, 3_600);
        let for_each_host = seconds / u64::from(config.address.host_count);
        // The sessions of the role may be read-only by default. A standby would be behind, and can't listen.
        let session = match config.builder.is_read_only {
            true => "primary",
            false => "read-write",
        };
        let defaults = [
            ("target_session_attrs", session.to_owned()),
            // For each host, so that a silent one leaves time for the next. libpq takes whole seconds,
            // at least 2.
            ("connect_timeout", for_each_host.max(2).to_string()),
            // A host that vanished is noticed in about the same time.
            ("keepalives_idle", seconds.to_string()),
            ("keepalives_interval", "1".to_owned()),
            ("keepalives_count", "3".to_owned()),
            ("tcp_user_timeout", (seconds * 1_000).to_string()),
            ("fallback_application_name", "turnkeep".to_owned()),
        ];
        let establish = |options: Option<&str>| {
            let address = config.address.with(&defaults, options);
            PgConnection::establish(&address).map_err(|error| {
                let text = config.address.redact(&error.to_string(), &address);
                ConnectionError::BadConnection(one_line(&text))
            })
        };
        if !config.is_pooled.load(Ordering::Relaxed) {
            let token = new_token();
            // libpq prints the server's notices until the connection is made.
            let options = format!("-c turnkeep.session={token} -c client_min_messages=error");
            match establish(Some(&options)) {
                Ok(conn) => return Ok((conn, Some(token))),
                Err(error) if refuses_options(&error.to_string()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((establish(None)?, None))
    }

    /// Whether the server's session is this connection's own, so that it can be notified.
    pub(crate) fn has_session(&self) -> bool {
        self.has_session
    }

    pub(crate) fn conn(&mut self) -> &mut PgConnection {
        &mut self.conn
    }

    /// Whether a statement outside of a transaction waits for locks no longer than until `deadline`.
    pub(crate) fn has_time_for_locks(&self, deadline: Deadline) -> bool {
        self.has_session && deadline.remaining() >= self.config.lock_timeout()
    }

    /// Whether a write may be one statement that commits by itself. If the server is lost meanwhile, the
    /// outcome of such a write is unknown, so a connection that was silent for a while begins a transaction
    /// instead: a BEGIN that fails does no harm.
    pub(crate) fn autocommits(&self, deadline: Deadline) -> bool {
        self.used_at.elapsed() < MAX_SILENCE && self.has_time_for_locks(deadline)
    }

    /// Gives a session of its own the settings of a transaction, so that a statement outside of one is as
    /// durable, and sees as much.
    pub(crate) fn set_up_session(&mut self) -> QueryResult<()> {
        if !self.has_session {
            return Ok(());
        }
        let set = self.set("SESSION", self.config.lock_timeout());
        let access = match self.config.builder.is_read_only {
            true => "READ ONLY",
            false => "READ WRITE",
        };
        self.conn.batch_execute(&format!(
            "{set}; \
             SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, {access}"
        ))
    }

    /// Returns the statements that make the settings of a transaction (`LOCAL`) or of the session. A session may be
    /// shared with other clients, so its own settings do not count.
    pub(crate) fn set(&self, scope: &str, lock_timeout: Duration) -> String {
        format!(
            "SET {scope} synchronous_commit = {}; SET {scope} search_path = {}; \
             SET {scope} lock_timeout = {}",
            self.synchronous_commit,
            // The connection that opens the store has yet to find the schema.
            self.config.search_path.get().map_or("DEFAULT", |it| it),
            millis(lock_timeout)
        )
    }

    /// Notes that the server has just answered.
    pub(crate) fn was_used(&mut self) {
        self.used_at = Instant::now();
    }

    /// Makes the pool drop this connection.
    pub(crate) fn discard(&mut self) {
        self.is_discarded = true;
    }

    /// Makes the pool drop all connections of this generation: their server is lost.
    pub(crate) fn lost(&self) {
        // Several connections may notice the same loss. It counts once.
        let _ = self.config.generation.compare_exchange(
            self.generation,
            self.generation + 1,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }

    /// Whether nobody has found the server lost.
    pub(crate) fn is_current(&self) -> bool {
        self.generation == self.config.generation.load(Ordering::Acquire)
    }

    /// Whether nobody has found the connection or its server lost.
    pub(crate) fn is_usable(&mut self) -> bool {
        self.is_current() && !self.is_discarded && !self.conn.is_broken()
    }
}

fn refuse_server(server: &Server, durability: Durability) -> ConnectionResult<()> {
    if server.is_standby {
        return Err(ConnectionError::BadConnection(
            "the server is a standby".into(),
        ));
    }
    let language = &*server.language;
    let is_english = ["", "C", "POSIX"].contains(&language)
        || language.starts_with("en")
        || language.starts_with("C.");
    let reason = if server.version < MIN_SERVER_VERSION {
        let version = server.version / 10_000;
        format!("PostgreSQL {version} is too old, 15 or later is needed")
    } else if server.encoding != "UTF8" {
        let encoding = &server.encoding;
        format!("the encoding of the database is {encoding}, UTF8 is needed")
    } else if !is_english {
        format!(
            "the server's messages are in `{language}`, but errors are recognised by their English text; \
             ALTER ROLE … SET lc_messages = 'C'"
        )
    } else if durability == Durability::Full && server.fsync != "on" {
        "fsync is off, a power loss would lose commits".into()
    } else {
        return Ok(());
    };
    Err(refused(&reason))
}

fn refused(reason: &str) -> ConnectionError {
    ConnectionError::BadConnection(format!("{REFUSED}{reason}"))
}

/// Joins the lines of an error of libpq, one or two for each host.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    visible(&lines.join("; ")).into_owned()
}

/// Returns a duration in milliseconds for the server, at least one: zero would mean no limit.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .clamp(1, i32::MAX as u64)
}

/// Returns the `synchronous_commit` of all writes: the server's own at the time of connecting, unless that
/// would lose acknowledged commits.
fn synchronous_commit(durability: Durability, default: String) -> String {
    match (durability, default.as_str()) {
        (Durability::Full, "off") => "on".into(),
        (Durability::Full, _) => default,
        (Durability::Normal, _) => "off".into(),
    }
}

/// Whether a pooler has refused the startup options.
fn refuses_options(text: &str) -> bool {
    text.contains("startup parameter") || text.contains("options")
}

/// Returns a random name for a session.
fn new_token() -> String {
    use std::hash::{BuildHasher, RandomState};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}", RandomState::new().hash_one(count))
}
