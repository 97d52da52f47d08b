//! Budgets that need no clock: what the store costs in instructions, bytes and prepared
//! statements, held against the values in `budgets.tsv`. The same code gives the same figures on
//! a busy machine, so a change that makes one of them worse fails.
//!
//! `cargo bench --bench budget` compares, and with `-- --renew` writes the file
//! anew. Needs Linux, for the count of bytes, and valgrind, for that of instructions. `cargo test`
//! runs what needs neither.

mod budgets;
mod bytes;
#[expect(unsafe_code, reason = "finds the connections that the library opens")]
mod connections;
mod fixture;
mod instructions;
mod operation;
#[path = "../store/sides/raw.rs"]
#[expect(unsafe_code, reason = "calls the C API")]
#[expect(dead_code, reason = "the other benchmark prints the version")]
mod raw;
mod raw_side;
mod statements;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};

use budgets::Measured;
use fixture::Fixture;

/// Arguments of the program, which are part of its output when they are wrong.
const USAGE: &str = "cargo bench --bench budget [-- --renew]";

fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` adds `--bench`. Without it this is a test run, where the arguments are meant
    // for the test harness that this program does not have.
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
    // Last, because from then on connections are watched.
    statements::measure(&fixture, 1000, &mut measured)?;
    Ok(measured)
}

/// Runs everything once that needs no other tool, so that it can't rot, and holds the rule about
/// statements.
fn test() -> Result<()> {
    let fixture = Fixture::create()?;
    instructions::test(&fixture)?;
    let mut measured = Measured::default();
    statements::measure(&fixture, 50, &mut measured)?;
    ensure!(measured.faults.is_empty(), measured.faults.join("\n"));
    budgets::committed()?;
    Ok(())
}
