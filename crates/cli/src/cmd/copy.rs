use anyhow::Context;
use clap::CommandFactory;
use clap::error::ErrorKind as UsageError;
use indicatif::ProgressBar;
use serde::Serialize;
use turnkeep_admin::{CopiedTable, CopyProgress, CopyStage, copy};

use crate::args::{Cli, CopyArgs};
use crate::output::{Output, progress_bar};
use crate::store::Store;

#[derive(Serialize)]
struct TableRecord<'a> {
    table: &'a str,
    rows: u64,
    written_rows: u64,
    other_rows: u64,
}

pub(crate) fn run(args: CopyArgs, owner: Option<String>, out: &mut Output) -> anyhow::Result<()> {
    // Where there is nothing to copy, nothing is made.
    let from = Store::new(Some(args.from), owner.clone()).open_patiently();
    let from = from.context("the store to copy from")?;
    let to = Store::new(Some(args.to), owner).open_or_create_patiently();
    let to = to.context("the store to copy to")?;
    let progress = Progress::new(!out.is_json());
    let result = copy(&from, &to, |now| progress.show(now));
    progress.bar.finish_and_clear();
    print(&result?, out)
}

/// The error of a command line with a store that would not be used.
pub(crate) fn db_given() -> clap::Error {
    Cli::command().error(
        UsageError::ArgumentConflict,
        "`copy` has `--from` and `--to`, and takes no `--db`",
    )
}

fn print(tables: &[CopiedTable], out: &mut Output) -> anyhow::Result<()> {
    if out.is_json() {
        for table in tables {
            out.json(&TableRecord {
                table: table.name,
                rows: table.rows,
                written_rows: table.written,
                other_rows: table.left_alone,
            })?;
        }
        return Ok(());
    }
    out.table(["TABLE", "ROWS#", "WRITTEN#"], tables.iter().map(row))?;
    out.line("the same in both stores")?;
    if let Some(tasks) = tables.first().filter(|tasks| tasks.left_alone > 0) {
        let count = tasks.left_alone;
        out.line(&format!(
            "tasks that only the second store has, left alone: {count}"
        ))?;
    }
    Ok(())
}

fn row(table: &CopiedTable) -> [String; 3] {
    [
        table.name.into(),
        table.rows.to_string(),
        table.written.to_string(),
    ]
}

/// How far a copy has come, on standard error.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    const TEMPLATE: &str = "{spinner} {prefix} [{bar:30}] {pos}/{len} turns{msg}";

    fn new(is_wanted: bool) -> Self {
        Self {
            bar: progress_bar(0, Self::TEMPLATE, is_wanted),
        }
    }

    fn show(&self, now: CopyProgress) {
        self.bar.set_prefix(match now.stage {
            CopyStage::Verifying => "verifying",
            _ => "copying",
        });
        self.bar.set_length(now.all_turns);
        self.bar.set_position(now.turns);
        self.bar
            .set_message(format!(", {}/{} tasks", now.tasks, now.all_tasks));
    }
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressStyle;

    use super::*;

    #[test]
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template(Progress::TEMPLATE).is_ok());
    }
}
