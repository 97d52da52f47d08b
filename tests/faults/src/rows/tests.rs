//! Rows that run existing tests.

use std::process::Command;

use anyhow::{Context, ensure};

use crate::driver::{Rounds, Row};

pub(crate) const PATHS: Row = Row {
    name: "paths",
    holds: "odd files and paths, read-only files and folders: a specific error, or correct",
    short: 0,
    full: 1,
    run: |rounds| run(rounds, &[("it", &["sqlite::files", "sqlite::constraints"])]),
};

pub(crate) const TEXTS: Row = Row {
    name: "texts",
    holds: "odd contents, names that look like SQL: stored byte for byte, and separate",
    short: 0,
    full: 1,
    run: |rounds| run(rounds, &[("it", &["sqlite::contents", "sqlite::damage"])]),
};

pub(crate) const LOST: Row = Row {
    name: "lost",
    holds: "file or log deleted, moved or replaced, process forked: refused, no acknowledged write lost",
    short: 0,
    full: 1,
    run: |rounds| run(rounds, &[("it", &["sqlite::lost"]), ("fork", &[])]),
};

/// Runs tests, given by target and filters.
fn run(rounds: &mut Rounds<'_>, targets: &[(&str, &[&str])]) -> anyhow::Result<()> {
    let mut passed = 0;
    rounds.each(|_, _| {
        for (target, filters) in targets {
            passed += passed_of(target, filters)?;
        }
        Ok(())
    });
    let names: Vec<String> = targets
        .iter()
        .map(|(target, filters)| [&[*target], *filters].concat().join(" "))
        .collect();
    rounds.note(format!("{passed} tests: {}", names.join(", ")));
    Ok(())
}

/// Returns the number of passed tests. Fails if there is none or one fails.
fn passed_of(target: &str, filters: &[&str]) -> anyhow::Result<u64> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    // The same arguments as for all tests, so that nothing is rebuilt.
    let output = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(["test", "--workspace", "--test", target, "--"])
        .args(filters)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let ends = said
        .lines()
        .filter_map(|line| line.strip_prefix("test result: "));
    let mut passed = 0;
    for end in ends {
        let words: Vec<&str> = end.split(' ').collect();
        let count = words.get(1).context("how many passed")?;
        passed += count.parse::<u64>()?;
    }
    ensure!(output.status.success(), "{said}");
    ensure!(
        passed > 0,
        "no test of {target} has these names: {filters:?}"
    );
    Ok(passed)
}
