//! What the store costs: beside SQLite's own C API doing the same, which is the limit, and beside
//! the usual ways to do without it.
//!
//! All sides have a database of the same bytes and the same settings, each in a process of its own,
//! and take turns in small blocks or rounds, so that a ratio holds even on a machine that does
//! other things as well. The raw side is the least that could be written: one connection,
//! statements prepared once, texts bound in place, rows copied as bytes. Everything Turnkeep does
//! beyond that (its queue and pool, the deadline, checks of every value read, one prepared
//! statement per connection found by its type) is in the ratio. The others are what one would write
//! in an afternoon with Diesel, sqlx or rusqlite, and the lines of JSON that agents write by
//! themselves.
//!
//! `cargo bench`, here, runs it; the arguments are in `plan.rs`.

mod any_store;
mod crowd;
mod data;
mod files;
mod fill;
mod log;
mod lone;
mod memory;
mod operation;
mod plain;
mod plan;
mod plot;
mod report;
mod scale;
mod serve;
mod side;
mod sides;
mod size;
mod stats;
mod store;
mod worker;

use anyhow::{Context as _, Result};

use operation::{OPERATIONS, Operation};
use plan::Plan;
use side::Side;

/// Who takes part when many threads append. The raw side makes batches of the size that Turnkeep's
/// had last, so it comes after it.
const CROWD: [Side; 6] = [
    Side::Turnkeep,
    Side::Raw,
    Side::Diesel,
    Side::Sqlx,
    Side::Rusqlite,
    Side::Jsonl,
];
/// Who takes part when many processes do.
const PROCESSES: [Side; 3] = [Side::Turnkeep, Side::Diesel, Side::Sqlx];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let plan = Plan::from_args(&args)?;
    if let Some(order) = &plan.work {
        return serve::serve(order).with_context(|| format!("{order:?}"));
    }
    if let Some(side) = plan.side {
        return operations(&plan).try_for_each(|operation| {
            lone::profile(operation, side, &plan).context(operation.name)
        });
    }
    if plan.is_scale {
        scale::measure(&plan)?;
    } else {
        measure(&plan)?;
    }
    report::note(&report::machine());
    Ok(())
}

fn operations(plan: &Plan) -> impl Iterator<Item = &'static Operation> {
    OPERATIONS
        .iter()
        .filter(|operation| plan.includes(operation.name))
}

fn measure(plan: &Plan) -> Result<()> {
    if plan.is_test {
        report::note("Only what the sides end up with is compared; the times mean nothing.");
    }
    let mut comparisons = Vec::new();
    for operation in operations(plan) {
        let comparison = lone::compare(operation, plan).context(operation.name)?;
        comparisons.push((operation.name, comparison));
    }
    if !comparisons.is_empty() {
        report::lone(&comparisons);
    }
    let mut points = Vec::new();
    for threads in plan.size.threads {
        let plural = if *threads == 1 { "" } else { "s" };
        let name = format!("{threads} thread{plural}, durable");
        if plan.includes(&name) {
            let figures = crowd::measure(&CROWD, 1, *threads, plan).context(name.clone())?;
            report::crowd(&name, &figures);
            points.push((*threads, figures));
        }
    }
    if let Some(file) = &plan.svg {
        plot::draw(file, &points, &report::machine())?;
    }
    let (processes, threads) = plan.size.processes;
    let name = format!("{processes} processes of {threads} threads, durable");
    if plan.includes(&name) {
        let figures = crowd::measure(&PROCESSES, processes, threads, plan).context(name.clone())?;
        report::crowd(&name, &figures);
    }
    if plan.includes("memory") {
        memory::weigh(plan).context("memory")?;
    }
    if plan.includes("log") {
        log::measure(plan).context("log")?;
    }
    if plan.is_test {
        scale::measure(plan).context("scale")?;
        let folder = files::temporary_folder(&plan.folder)?;
        plot::draw(&folder.path().join("plot.svg"), &points, "here")?;
    }
    Ok(())
}
