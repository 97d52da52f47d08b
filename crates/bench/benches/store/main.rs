//! The cost of the store, compared with SQLite's C API as the limit and with common alternatives.
//!
//! All sides start from the same database file with the same settings. Each runs in its own
//! process, and they take turns in small blocks or rounds, so that ratios hold on a busy machine.
//! The raw side is the least code possible: one connection, statements prepared once, texts bound
//! in place, rows copied as bytes. The lean side is the same without CHECKs and triggers. The ratio includes everything Turnkeep adds: its queue and pool,
//! the deadline, checks of every value, and the statement cache. The other sides are
//! straightforward code with Diesel, sqlx or rusqlite, and the JSON lines that agents write.
//!
//! `cargo bench` in this folder runs it; `plan.rs` has the arguments.

mod any_store;
mod crowd;
mod data;
mod files;
mod fill;
mod lean_schema;
mod log;
mod lone;
mod memory;
mod old_schema;
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

/// The sides with many threads. Raw and lean come after Turnkeep, whose batch size they use.
const CROWD: [Side; 7] = [
    Side::Turnkeep,
    Side::Raw,
    Side::Lean,
    Side::Diesel,
    Side::Sqlx,
    Side::Rusqlite,
    Side::Jsonl,
];
/// The sides with many processes.
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
        report::note("Compares the results of the sides only; the times are meaningless.");
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
            let sides = CROWD.map(|side| (side, *threads));
            let figures = crowd::measure(&sides, 1, plan).context(name.clone())?;
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
        let sides = PROCESSES.map(|side| (side, threads));
        let figures = crowd::measure(&sides, processes, plan).context(name.clone())?;
        report::crowd(&name, &figures);
    }
    let (threads, tasks) = plan.size.tokio;
    let name = format!("{tasks} tokio tasks beside {threads} threads, durable");
    if plan.includes(&name) {
        let sides = [(Side::Turnkeep, threads), (Side::Tokio, tasks)];
        let figures = crowd::measure(&sides, 1, plan).context(name.clone())?;
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
