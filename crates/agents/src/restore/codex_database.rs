//! The row of a thread in the database of a Codex home. Codex looks for the rollout only where the row says, and
//! refuses one that the row calls archived.

use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use turnkeep_recordings::{CodexThread, codex_thread};

use super::write::{State, compare};
use super::{Planned, Restore, RestoreAction, RestoreStep};
use crate::layout::codex::RolloutName;

/// Corrects the rows of the threads whose rollouts are put back. A row that leads to a file with more than the store
/// has is left, and so is a database that can't be written; the session is there all the same.
pub(super) fn correct(
    restore: &Restore<'_>,
    files: &[(RolloutName, Planned<'_>)],
) -> Vec<RestoreStep> {
    let mut steps = Vec::new();
    // After a revert a thread has several rollouts, the current one last.
    let mut threads: Vec<&str> = files.iter().map(|(name, _)| name.thread()).collect();
    threads.sort_unstable();
    threads.dedup();
    for thread in threads {
        let mut own = files.iter().filter(|(name, _)| name.thread() == thread);
        let row = match codex_thread(restore.home, thread) {
            Ok(Some(row)) => row,
            Ok(None) => continue,
            Err(_) => {
                steps.push(RestoreStep {
                    action: RestoreAction::KeepPath,
                    path: restore.home.to_owned(),
                });
                continue;
            }
        };
        let named = own
            .clone()
            .find(|(_, file)| file.inside.file_name() == row.rollout_path.file_name());
        let Some((_, file)) = named.or_else(|| own.next_back()) else {
            continue;
        };
        let target = target(restore.home, &file.inside);
        if row.rollout_path == target && !row.is_archived {
            continue;
        }
        let has_more = row.rollout_path != target
            && !matches!(
                compare(&row.rollout_path, &file.content),
                Ok(State::Missing | State::Equal | State::Shorter)
            );
        let is_corrected =
            !has_more && (restore.options.dry_run || update(&row, thread, &target).is_some());
        steps.push(RestoreStep {
            action: match is_corrected {
                true => RestoreAction::CorrectPath,
                false => RestoreAction::KeepPath,
            },
            path: row.database,
        });
    }
    steps
}

/// Corrects the row of a thread that leads to no file, while this rollout of the thread lies in the home.
pub(super) fn point_to(restore: &Restore<'_>, thread: &str, inside: &Path) -> Option<RestoreStep> {
    let row = codex_thread(restore.home, thread).ok().flatten()?;
    if row.rollout_path.exists() {
        return None;
    }
    let target = target(restore.home, inside);
    let is_corrected = restore.options.dry_run || update(&row, thread, &target).is_some();
    Some(RestoreStep {
        action: match is_corrected {
            true => RestoreAction::CorrectPath,
            false => RestoreAction::KeepPath,
        },
        path: row.database,
    })
}

/// Returns the path of a rollout as Codex writes it, which is absolute and without links.
fn target(home: &Path, inside: &Path) -> PathBuf {
    let real = std::fs::canonicalize(home).or_else(|_| std::path::absolute(home));
    real.unwrap_or_else(|_| home.to_owned()).join(inside)
}

/// Changes the row, unless another program has changed it meanwhile. Codex may be running: the database is locked for this one
/// statement, and no other row or column is touched.
fn update(row: &CodexThread, thread: &str, target: &Path) -> Option<()> {
    let mut database = SqliteConnection::establish(row.database.to_str()?).ok()?;
    database
        .batch_execute("PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF")
        .ok()?;
    let has_archive = sql_query("SELECT archived_at FROM threads WHERE 0").execute(&mut database);
    let archive = match has_archive {
        Ok(_) => ", archived = 0, archived_at = NULL",
        Err(_) => "",
    };
    let changed = sql_query(format!(
        "UPDATE threads SET rollout_path = ?{archive} WHERE id = ? AND rollout_path = ?"
    ))
    .bind::<Text, _>(target.to_str()?)
    .bind::<Text, _>(thread)
    .bind::<Text, _>(row.rollout_path.to_str()?)
    .execute(&mut database);
    (changed == Ok(1)).then_some(())
}
