//! What a call of the store costs, as a ratio to SQLite's own C API doing the same.
//!
//! Both sides have a database of the same bytes and the same settings, run the same statements
//! in the same transactions, each in a process of its own, and take turns in small blocks, so
//! that a ratio holds even on a machine that does other things as well. The raw side is the least that could be written: one
//! connection, statements prepared once, texts bound in place, rows copied as bytes. Everything
//! Turnkeep does beyond that (its queue and pool, the deadline, checks of every value read, one
//! prepared statement per connection found by its type) is in the ratio.
//!
//! `cargo bench -p turnkeep-bench` runs it; the arguments are in `plan.rs`.

mod measure;
mod operation;
mod pair;
mod plan;
#[expect(unsafe_code, reason = "calls the C API")]
mod raw;
mod raw_store;
mod report;
mod store;
mod worker;

use anyhow::{Context as _, Result};

use operation::OPERATIONS;
use plan::Plan;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let plan = Plan::from_args(&args)?;
    let mut asked_for = OPERATIONS
        .iter()
        .filter(|operation| plan.includes(operation));
    if let Some(side) = plan.side {
        return asked_for.try_for_each(|operation| {
            match &plan.serve {
                Some(file) => worker::serve(operation, side, file, &plan),
                None => measure::profile(operation, side, &plan),
            }
            .context(operation.name)
        });
    }
    if plan.is_test {
        return asked_for.try_for_each(|operation| {
            measure::compare(operation, &plan).context(operation.name)?;
            println!("{}: same results", operation.name);
            Ok(())
        });
    }
    report::print_head();
    for operation in asked_for {
        let comparison = measure::compare(operation, &plan).context(operation.name)?;
        report::print_line(operation.name, &comparison);
    }
    report::print_machine();
    Ok(())
}
