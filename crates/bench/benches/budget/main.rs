//! Budgets independent of the clock: instructions, bytes and prepared statements, compared with
//! `budgets.tsv`. They do not depend on the load of the machine, so a change that makes one worse
//! fails.
//!
//! `cargo bench --bench budget` compares; `-- --renew` writes the file. Needs Linux for the bytes
//! and valgrind for the instructions. `cargo test` runs the parts that need neither.

mod budgets;
mod bytes;
#[expect(unsafe_code, reason = "finds the connections that the library opens")]
mod connections;
mod fixture;
mod instructions;
#[path = "../store/old_schema.rs"]
mod old_schema;
mod operation;
#[path = "../store/sides/raw.rs"]
#[expect(unsafe_code, reason = "calls the C API")]
#[expect(dead_code, reason = "the other benchmark needs more")]
mod raw;
mod raw_side;
mod statements;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};

use budgets::Measured;
use fixture::Fixture;

/// Printed when the arguments are wrong.
const USAGE: &str = "cargo bench --bench budget [-- --renew]";

fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` passes `--bench`. Without it this is `cargo test`, whose arguments are meant
    // for the standard test harness.
    if !args.iter().any(|arg| arg == "--bench") {
        test()?;
        return Ok(ExitCode::SUCCESS);
    }
    let args = args.iter().map(String::as_str);
    let args: Vec<&str> = args.filter(|arg| *arg != "--bench").collect();
    match args.as_slice() {
        [] => {
            if !budgets::compare(&measure()?)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        ["--renew"] => budgets::renew(&measure()?)?,
        ["--profile", side, operation, file] => {
            instructions::profile(side, operation, Path::new(file))?;
        }
        _ => bail!("{args:?} are no arguments\n{USAGE}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn measure() -> Result<Measured> {
    let fixture = Fixture::create()?;
    let mut measured = Measured::default();
    instructions::measure(&fixture, &mut measured)?;
    bytes::measure(&fixture, &mut measured)?;
    // Last, since it watches all connections from then on.
    statements::measure(&fixture, 1000, &mut measured)?;
    Ok(measured)
}

/// Runs the parts that need no other tool, and checks the rule about statements.
fn test() -> Result<()> {
    let fixture = Fixture::create()?;
    instructions::test(&fixture)?;
    let mut measured = Measured::default();
    statements::measure(&fixture, 50, &mut measured)?;
    ensure!(measured.faults.is_empty(), measured.faults.join("\n"));
    budgets::committed()?;
    Ok(())
}
