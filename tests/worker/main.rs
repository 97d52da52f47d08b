//! The second process of the tests: `turnkeep-test-worker blocking|async ADDRESS COMMAND…`, or
//! `turnkeep-test-worker copy FROM TO`.

use std::any::Any;

use anyhow::{Context, bail};
use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use turnkeep_conformance::{Blocking, worker};
use turnkeep_repo::Repo;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let handle = args.next().context("blocking or async")?;
    let address = args.next().context("an address")?;
    if handle == "copy" {
        return copy(&address, &args.next().context("another address")?);
    }
    let hold_lock = || write_lock(&address);
    match &*handle {
        "blocking" => worker::run(args, |options| options.builder(&address).open(), hold_lock),
        "async" => worker::run(
            args,
            |options| Blocking::open(options.builder(&address)),
            hold_lock,
        ),
        _ => bail!("unknown handle {handle}"),
    }
}

/// Copies a store. Prints each progress report before it continues.
fn copy(from: &str, to: &str) -> anyhow::Result<()> {
    let (from, to) = (Repo::open(from)?, Repo::open(to)?);
    turnkeep_admin::copy(&from, &to, |told| {
        worker::say(format_args!("{} {}", told.tasks, told.turns)).expect("someone reads");
    })?;
    worker::say("copied")
}

/// Blocks all other writers until the returned guard is dropped.
fn write_lock(address: &str) -> anyhow::Result<Box<dyn Any>> {
    #[cfg(feature = "postgres")]
    if address.contains("://") {
        let mut conn = diesel::PgConnection::establish(address)?;
        // Every writer first locks a row of this table; readers do not.
        conn.batch_execute("BEGIN; LOCK TABLE tasks IN EXCLUSIVE MODE")?;
        return Ok(Box::new(conn));
    }
    let mut conn = SqliteConnection::establish(address)?;
    conn.batch_execute("BEGIN IMMEDIATE")?;
    Ok(Box::new(conn))
}
