//! The rule that what runs all the time is prepared once.

use anyhow::{Result, ensure};
use turnkeep_repo::Durability;

use crate::budgets::Measured;
use crate::connections::{self, Seen};
use crate::fixture::{Fixture, open};
use crate::operation::OPERATIONS;

/// Runs before it counts: every operation must have met each of its statements.
const WARM_UP: usize = 16;

/// Runs each operation `rounds` times and finds fault with any statement that is compiled again,
/// or held beside those from before.
///
/// BEGIN and COMMIT are apart: Diesel prepares them at each transaction, and that is a budget
/// instead, the number of all operations together, once each.
pub(crate) fn measure(fixture: &Fixture, rounds: usize, measured: &mut Measured) -> Result<()> {
    connections::watch()?;
    let repo = open(&fixture.copy()?, Durability::Normal)?;
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
    // A statement that was re-prepared was compiled as well, which says nothing more.
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
