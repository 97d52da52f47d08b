//! PostgreSQL for tests: a [`Server`] with a [`Database`] per test, a [`Cluster`] whose leader can
//! be killed, a [`Pooler`] in front of a server.
//!
//! Everything is done by the installed programs (`postgres`, `psql`, `pg_basebackup`, `pgbouncer`),
//! run as processes, so that this crate builds where PostgreSQL is not installed. What is missing
//! at run time is an error that says what to install, never a skipped test.
//!
//! A server has a temporary folder of its own, and both go when the test process ends, however it
//! ends, `SIGKILL` included. In a process of root the servers run as `postgres` or `nobody`.

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

/// The environment variable that names the server of the tests.
pub const URL_VARIABLE: &str = "TURNKEEP_TEST_POSTGRES_URL";
