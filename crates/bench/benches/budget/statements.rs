//! The rule that frequent statements are prepared once.

use anyhow::{Result, ensure};
use turnkeep_repo::Durability;

use crate::budgets::Measured;
use crate::connections::{self, Seen};
use crate::fixture::{Database, Fixture, open};
use crate::operation::OPERATIONS;

/// Runs before counting, so that every operation has prepared its statements: two for each task with a history,
/// because the first append to it needs others.
const WARM_UP: usize = 32;

/// Runs each operation `rounds` times and reports every statement that is compiled again or added.
///
/// BEGIN and COMMIT are counted apart: Diesel prepares them for each transaction. Their number over
/// all operations is a budget.
pub(crate) fn measure(fixture: &Fixture, rounds: usize, measured: &mut Measured) -> Result<()> {
    connections::watch()?;
    let repo = open(&fixture.copy(Database::Store)?, Durability::Normal)?;
    for operation in OPERATIONS {
        for index in 0..WARM_UP {
            operation.run(&repo, &fixture.data, index)?;
        }
    }
    let mut before = connections::look();
    ensure!(
        before.held.len() >= 2,
        "a writer and a reader were to be seen"
    );
    let mut transactions = 0;
    for operation in OPERATIONS {
        for index in WARM_UP..WARM_UP + rounds {
            operation.run(&repo, &fixture.data, index)?;
        }
        let after = connections::look();
        transactions += after.compiled_transaction;
        measured
            .faults
            .extend(faults_of(operation.name(), &before, &after));
        before = after;
    }
    println!(
        "{} operations, {rounds} times each: faults: {}; statements held by each connection: {:?}",
        OPERATIONS.len(),
        measured.faults.len(),
        before.held,
    );
    measured.push(
        "every operation once: BEGIN and COMMIT prepared",
        transactions as f64 / rounds as f64,
    );
    Ok(())
}

fn faults_of(name: &str, before: &Seen, after: &Seen) -> Vec<String> {
    let mut faults: Vec<String> = after
        .re_prepared
        .iter()
        .map(|(text, times)| format!("{name}: re-prepared {times} times: {text}"))
        .collect();
    // A re-prepared statement was also compiled; report it once.
    if after.compiled > 0 && faults.is_empty() {
        faults.push(format!(
            "{name}: SQLite compiled statements ({} questions to the authorizer)",
            after.compiled
        ));
    }
    if after.held != before.held {
        faults.push(format!(
            "{name}: connections held {:?} statements and now {:?}",
            before.held, after.held
        ));
    }
    faults
}
