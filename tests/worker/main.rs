//! The other process of the integration tests. What it prints is what the store acknowledged:
//! a line stands on the pipe only after the call returned `Ok`.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, bail};
use chrono::DateTime;
use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use turnkeep_repo::{Durability, Repo, Role, TaskId};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        // Appends `count` messages (0: until killed), acknowledging each as `ack SEQ CONTENT`.
        ["append", db, task, writer, count] => append(db, task, writer, count.parse()?),
        // Appends one message, stamped with a clock that stands at a Unix second.
        ["append-at", db, task, second, content] => append_at(db, task, second.parse()?, content),
        ["claim", db, task] => say(Repo::open(db)?.claim_task(&TaskId::new(task)?)?),
        ["open", db] => {
            wait_for_start()?;
            Repo::open(db)?;
            say("opened")
        }
        // Holds SQLite's write lock until standard input ends.
        ["hold-lock", db] => hold_lock(db),
        _ => bail!("unknown arguments {args:?}"),
    }
}

fn append(db: &str, task: &str, writer: &str, count: u64) -> anyhow::Result<()> {
    let repo = Repo::builder(Path::new(db))
        .durability(Durability::Full)
        .open()?;
    let task = TaskId::new(task)?;
    for number in 1.. {
        let content = format!("{writer}-{number}");
        let seq = repo.save_message(&task, Role::User, &content)?;
        say(format_args!("ack {seq} {content}"))?;
        if number == count {
            break;
        }
    }
    Ok(())
}

fn append_at(db: &str, task: &str, second: i64, content: &str) -> anyhow::Result<()> {
    let time = DateTime::from_timestamp(second, 0).context("no such second")?;
    let repo = Repo::builder(db).clock(move || time).open()?;
    say(repo.save_message(&TaskId::new(task)?, Role::User, content)?)
}

fn hold_lock(db: &str) -> anyhow::Result<()> {
    let mut conn = SqliteConnection::establish(db)?;
    conn.batch_execute("BEGIN IMMEDIATE")?;
    say("held")?;
    wait_for_start()
}

/// Waits until standard input ends, so that a test can start many workers at one moment.
fn wait_for_start() -> anyhow::Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn say(what: impl std::fmt::Display) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}")?;
    Ok(out.flush()?)
}
