//! The schema before its constraints were made cheap (commit e463321). A cheaper schema lowers both sides of a
//! ratio, so the C API is measured with this one too.

use std::path::Path;

use anyhow::{Context as _, Result};
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};

const SCHEMA: &str = include_str!("../../schemas/e463321.sql");

/// Makes a database with that schema and the rows of a store.
pub(crate) fn copy(file: &Path, store: &Path) -> Result<()> {
    let path = file.to_str().context("the path is not UTF-8")?;
    let mut conn = SqliteConnection::establish(path)?;
    conn.batch_execute("PRAGMA journal_mode = WAL")?;
    conn.batch_execute(SCHEMA)?;
    conn.batch_execute(&format!(
        "ATTACH '{}' AS store; \
         INSERT INTO tasks \
         SELECT id, name, agent_role, prompt, writes_files, status, failure_mode, result, error, \
         worker, fence, lease_ends_at, created_at, updated_at FROM store.tasks ORDER BY rowid; \
         INSERT INTO session_revisions \
         SELECT task_id, revision, backend_type, session_id, working_dir, saved_at, retired_at, \
         retired_reason FROM store.session_revisions; \
         INSERT INTO sessions \
         SELECT task_id, backend_type, session_id, working_dir, created_at, updated_at \
         FROM store.sessions; \
         INSERT INTO conversation_history \
         SELECT task_id, seq, role, content, timestamp, message_key, checksum \
         FROM store.conversation_history ORDER BY rowid",
        store.display()
    ))?;
    Ok(())
}
