use anyhow::Context;
use clap::CommandFactory;
use clap::error::ErrorKind as UsageError;
use indicatif::ProgressBar;
use serde::Serialize;
use turnkeep_admin::{CopiedTable, CopyProgress, CopyReport, CopyStage, Error, copy};

use crate::args::{Cli, CopyArgs};
use crate::output::{Output, progress_bar};
use crate::store::Store;

#[derive(Serialize)]
struct TableRecord<'a> {
    table: &'a str,
    from_rows: u64,
    from_sha256: &'a str,
    to_rows: u64,
    to_sha256: &'a str,
    same: bool,
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
    match result {
        Ok(report) => print(&report, out),
        Err(error) => {
            if let Error::Conflict {
                report: Some(report),
                ..
            } = &error
            {
                print(report, out)?;
            }
            Err(error.into())
        }
    }
}

/// The error of a command line with a store that would not be used.
pub(crate) fn db_given() -> clap::Error {
    Cli::command().error(
        UsageError::ArgumentConflict,
        "`copy` has `--from` and `--to`, and takes no `--db`",
    )
}

fn print(report: &CopyReport, out: &mut Output) -> anyhow::Result<()> {
    if out.is_json() {
        for table in &report.tables {
            out.json(&TableRecord {
                table: table.name,
                from_rows: table.source.rows,
                from_sha256: &table.source.hex(),
                to_rows: table.destination.rows,
                to_sha256: &table.destination.hex(),
                same: table.is_same(),
                written_rows: table.written,
                other_rows: table.left_alone,
            })?;
        }
        return Ok(());
    }
    let titles = ["TABLE", "STORE", "ROWS#", "WRITTEN#", "SHA-256"];
    out.table(titles, report.tables.iter().flat_map(rows))?;
    let is_same = report.tables.iter().all(CopiedTable::is_same);
    if is_same {
        out.line("the same in both stores")?;
    }
    if let Some(tasks) = report.tables.first().filter(|tasks| tasks.left_alone > 0) {
        let count = tasks.left_alone;
        out.line(&format!(
            "tasks that only the second store has, left alone: {count}"
        ))?;
    }
    Ok(())
}

fn rows(table: &CopiedTable) -> [[String; 5]; 2] {
    let from = table.source;
    let to = table.destination;
    [
        [
            table.name.into(),
            "from".into(),
            from.rows.to_string(),
            String::new(),
            from.hex(),
        ],
        [
            table.name.into(),
            "to".into(),
            to.rows.to_string(),
            table.written.to_string(),
            to.hex(),
        ],
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
