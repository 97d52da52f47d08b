//! Both sides in turn, block by block, and what is made of the times.

use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::operation::{Data, Operation};
use crate::pair::{Pair, open_turnkeep};
use crate::plan::{Plan, Side};
use crate::raw_store::RawStore;
use crate::store::Store;
use crate::worker::Worker;

/// The medians of each block, in nanoseconds. Blocks of the same index ran side by side.
#[derive(Default)]
pub(crate) struct Comparison {
    raw: Vec<f64>,
    turnkeep: Vec<f64>,
}

impl Comparison {
    /// Returns the median of the raw side's blocks.
    pub(crate) fn raw(&self) -> f64 {
        quantile(&self.raw, 0.5)
    }

    /// Returns the median of Turnkeep's blocks.
    pub(crate) fn turnkeep(&self) -> f64 {
        quantile(&self.turnkeep, 0.5)
    }

    /// Returns the quartiles of the ratios of blocks that ran side by side: whatever else the
    /// machine did then, it did to both.
    pub(crate) fn ratios(&self) -> [f64; 3] {
        let pairs = self.turnkeep.iter().zip(&self.raw);
        let ratios: Vec<f64> = pairs.map(|(turnkeep, raw)| turnkeep / raw).collect();
        [0.25, 0.5, 0.75].map(|part| quantile(&ratios, part))
    }
}

/// Runs the operation on both sides and ensures that they end up with the same data.
pub(crate) fn compare(operation: &Operation, plan: &Plan) -> Result<Comparison> {
    let pair = Pair::create(operation, plan)?;
    let runs = plan.runs_per_block(operation);
    compare_results(operation, &pair, 0..runs)?;

    let mut raw = Worker::start(operation, Side::Raw, &pair, plan)?;
    let mut turnkeep = Worker::start(operation, Side::Turnkeep, &pair, plan)?;
    // The first block, a warm-up, does not count.
    raw.run_block(runs..2 * runs)?;
    turnkeep.run_block(runs..2 * runs)?;
    let mut comparison = Comparison::default();
    for block in 0..plan.blocks {
        let start = (block + 2) * runs;
        let range = start..start + runs;
        // The order alternates: whoever is second finds the disk as the first one left it.
        if block % 2 == 0 {
            comparison.raw.push(raw.run_block(range.clone())?);
            comparison.turnkeep.push(turnkeep.run_block(range)?);
        } else {
            comparison.turnkeep.push(turnkeep.run_block(range.clone())?);
            comparison.raw.push(raw.run_block(range)?);
        }
    }
    raw.stop()?;
    turnkeep.stop()?;
    pair.ensure_equal(operation.durability)?;
    Ok(comparison)
}

/// Runs the operation on one side, without measuring.
pub(crate) fn profile(operation: &Operation, side: Side, plan: &Plan) -> Result<()> {
    let pair = Pair::create(operation, plan)?;
    let (file, durability) = (pair.file(side), operation.durability);
    match side {
        Side::Raw => {
            let mut store = RawStore::open(&file, durability)?;
            profile_store(operation, &mut store, &pair.data, plan)
        }
        Side::Turnkeep => {
            let mut store = open_turnkeep(&file, durability)?;
            profile_store(operation, &mut store, &pair.data, plan)
        }
    }
}

fn profile_store<S: Store>(
    operation: &Operation,
    store: &mut S,
    data: &Data,
    plan: &Plan,
) -> Result<()> {
    let runs = plan.runs_per_block(operation);
    time_block(operation, store, data, 0..runs)?;
    profiled(operation, store, data, runs..runs + plan.iterations)
}

/// The function for a profiler to collect in.
#[inline(never)]
fn profiled<S: Store>(
    operation: &Operation,
    store: &mut S,
    data: &Data,
    range: Range<usize>,
) -> Result<()> {
    for index in range {
        black_box(operation.run(store, data, index)?);
    }
    Ok(())
}

/// Runs both sides here and compares what each run returns.
fn compare_results(operation: &Operation, pair: &Pair, range: Range<usize>) -> Result<()> {
    let (mut raw, mut turnkeep) = pair.open(operation.durability)?;
    for index in range {
        let raw = operation.run(&mut raw, &pair.data, index)?;
        let turnkeep = operation.run(&mut turnkeep, &pair.data, index)?;
        ensure!(raw == turnkeep, "raw: {raw:?}\nTurnkeep: {turnkeep:?}");
    }
    Ok(())
}

/// Times each run by itself and returns the median. Freeing what a run returned is no part of
/// its time.
pub(crate) fn time_block<S: Store>(
    operation: &Operation,
    store: &mut S,
    data: &Data,
    range: Range<usize>,
) -> Result<f64> {
    let mut nanos = Vec::with_capacity(range.len());
    for index in range {
        let start = Instant::now();
        let outcome = black_box(operation.run(store, data, index)?);
        nanos.push(start.elapsed().as_secs_f64() * 1e9);
        drop(outcome);
    }
    Ok(quantile(&nanos, 0.5))
}

/// Returns the value below which this part of the values lies, between two of them if need be.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = part * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(below), Some(above)) => below + (above - below) * position.fract(),
        _ => f64::NAN,
    }
}
