//! One caller: all sides in turn, block by block.

use std::ops::Range;

use anyhow::{Result, ensure};

use crate::files::Files;
use crate::operation::Operation;
use crate::plan::Plan;
use crate::side::Side;
use crate::sides;
use crate::stats::{quantile, ratios};
use crate::worker::{Job, Worker};

/// The median of each block of each side, in nanoseconds. Blocks with the same index ran next to
/// each other.
pub(crate) struct Comparison(Vec<(Side, Vec<f64>)>);

impl Comparison {
    /// Returns the median of a side's blocks.
    pub(crate) fn median(&self, side: Side) -> Option<f64> {
        Some(quantile(self.blocks(side)?, 0.5))
    }

    /// Returns the quartiles of the ratio of one side's blocks to the other's.
    pub(crate) fn ratios(&self, side: Side, other: Side) -> Option<[f64; 3]> {
        Some(ratios(self.blocks(side)?, self.blocks(other)?))
    }

    fn blocks(&self, side: Side) -> Option<&[f64]> {
        let (_, blocks) = self.0.iter().find(|(of, _)| *of == side)?;
        Some(blocks)
    }
}

/// Runs the operation on all sides and ensures that all end up with the same data.
pub(crate) fn compare(operation: &Operation, plan: &Plan) -> Result<Comparison> {
    let files = files(operation, operation.sides(), plan)?;
    let runs = plan.size.runs_per_block(operation);
    compare_outcomes(operation, &files, 0..runs)?;

    let mut sides = Vec::new();
    for side in operation.sides() {
        let job = Job::Lone {
            operation: operation.name.into(),
            tasks: files.data.tasks.len(),
        };
        let mut worker = Worker::start(*side, &files.path(*side), job)?;
        // The first block is a warm-up.
        worker.ask::<f64>(&(runs..2 * runs))?;
        sides.push((*side, worker, Vec::new()));
    }
    for block in 0..plan.size.blocks {
        let start = (block + 2) * runs;
        for (_, worker, medians) in &mut sides {
            medians.push(worker.ask(&(start..start + runs))?);
        }
        // Alternate the order, since each side finds the disk as the previous one left it.
        sides.reverse();
    }
    let mut comparison = Comparison(Vec::new());
    for (side, worker, medians) in sides {
        worker.stop()?;
        comparison.0.push((side, medians));
    }
    files.ensure_equal(operation.durability)?;
    Ok(comparison)
}

/// Runs the operation on one side, without measuring.
pub(crate) fn profile(operation: &Operation, side: Side, plan: &Plan) -> Result<()> {
    let files = files(operation, &[side], plan)?;
    let mut store = sides::open(side, &files.path(side), operation.durability)?;
    let runs = plan.size.runs_per_block(operation);
    store.time_block(operation, &files.data, 0..runs)?;
    store.repeat(operation, &files.data, runs..runs + plan.iterations)
}

fn files(operation: &Operation, sides: &[Side], plan: &Plan) -> Result<Files> {
    let tasks = plan.size.tasks(operation);
    Files::create(&plan.folder, sides, tasks, plan.size.turns(operation))
}

/// Runs all sides in this process and compares the outcome of each run.
fn compare_outcomes(operation: &Operation, files: &Files, range: Range<usize>) -> Result<()> {
    let mut stores = Vec::new();
    for side in operation.sides() {
        let store = sides::open(*side, &files.path(*side), operation.durability)?;
        stores.push((*side, store));
    }
    for index in range {
        let mut first = None;
        for (side, store) in &mut stores {
            let outcome = store.outcome(operation, &files.data, index)?;
            let first = first.get_or_insert_with(|| outcome.clone());
            ensure!(
                outcome == *first,
                "{}: {outcome:?}\nnot {first:?}",
                side.name()
            );
        }
    }
    Ok(())
}
