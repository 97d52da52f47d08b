//! What are tests anyway: run again, and counted.

use std::process::Command;

use anyhow::{Context, ensure};

use crate::driver::{Rounds, Row};

pub(crate) const PATHS: Row = Row {
    name: "paths",
    holds: "odd files and paths, read-only files and folders: refused with an error of its own, or right",
    short: 1,
    full: 1,
    run: |rounds| run(rounds, &["sqlite::files", "sqlite::constraints"]),
};

pub(crate) const TEXTS: Row = Row {
    name: "texts",
    holds: "odd contents, names that look like SQL: byte for byte, and nobody else's",
    short: 1,
    full: 1,
    run: |rounds| run(rounds, &["sqlite::contents", "sqlite::damage"]),
};

fn run(rounds: &mut Rounds<'_>, filters: &[&str]) -> anyhow::Result<()> {
    let mut passed = 0;
    rounds.each(|_, _| {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        // As all tests are run, so that nothing has to be built again.
        let output = Command::new(cargo)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .args(["test", "--workspace", "--test", "it", "--"])
            .args(filters)
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let ends = said
            .lines()
            .filter_map(|line| line.strip_prefix("test result: "));
        for end in ends {
            let words: Vec<&str> = end.split(' ').collect();
            let count = words.get(1).context("how many passed")?;
            passed += count.parse::<u64>()?;
        }
        ensure!(output.status.success(), "{said}");
        ensure!(passed > 0, "no test has these names: {filters:?}");
        Ok(())
    });
    rounds.note(format!("{passed} tests: {}", filters.join(" ")));
    Ok(())
}
