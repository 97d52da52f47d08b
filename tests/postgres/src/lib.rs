//! PostgreSQL for tests: a [`Server`] with a [`Database`] per test, a [`Cluster`] with failover, a
//! [`Pooler`] in front of a server.
//!
//! The crate runs the installed programs (`postgres`, `psql`, `pg_basebackup`, `pgbouncer`), so it
//! builds without PostgreSQL. A missing program is an error that names the package to install; no
//! test is skipped.
//!
//! A server and its temporary folder end with the test process, even after `SIGKILL`. If the
//! process runs as root, the servers run as `postgres` or `nobody`.

mod account;
mod address;
mod client;
mod cluster;
mod database;
mod keeper;
mod pooler;
mod process;
mod programs;
mod server;

pub use cluster::Cluster;
pub use database::Database;
pub use pooler::Pooler;
pub use server::Server;

/// The environment variable with the address of the server of the tests.
pub const URL_VARIABLE: &str = "TURNKEEP_TEST_POSTGRES_URL";
