//! Runs the rows and reports their results.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::ensure;
use clap::Parser;
use fastrand::Rng;

/// Tries faults on the store. Prints a line per row and exits with 1 if a round failed.
#[derive(Debug, Parser)]
struct Args {
    /// Runs as many rounds as CI instead of all
    #[arg(long)]
    short: bool,
    /// Runs only this row; may be repeated
    #[arg(long = "row", value_name = "NAME")]
    rows: Vec<String>,
    /// Seed of the random choices, to repeat a run (default: random)
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Runs only this round of each row
    #[arg(long, value_name = "R")]
    round: Option<u64>,
    /// Runs this number of rounds
    #[arg(long, value_name = "COUNT")]
    rounds: Option<u64>,
    /// Skips faults that this machine does not support: `mount`
    #[arg(long, value_name = "WHAT")]
    without: Vec<String>,
    /// Lists the rows
    #[arg(long)]
    list: bool,
}

/// A row of `docs/faults.md`: one kind of fault.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The promise under test.
    pub(crate) holds: &'static str,
    /// Rounds in CI; 0 if another step of CI does the same.
    pub(crate) short: u64,
    /// Rounds of a full run.
    pub(crate) full: u64,
    pub(crate) run: fn(&mut Rounds<'_>) -> anyhow::Result<()>,
}

/// The rounds of a row and their results.
pub(crate) struct Rounds<'a> {
    args: &'a Args,
    name: &'static str,
    seed: u64,
    count: u64,
    done: u64,
    failures: u64,
    notes: Vec<String>,
}

impl Rounds<'_> {
    pub(crate) fn is_short(&self) -> bool {
        self.args.short
    }

    /// Returns the number of rounds.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the seed of random choices that several rounds share.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns whether `--without` names `what`.
    pub(crate) fn is_without(&self, what: &str) -> bool {
        self.args.without.iter().any(|without| without == what)
    }

    /// Runs every round with its own random numbers.
    pub(crate) fn each(&mut self, mut round: impl FnMut(u64, &mut Rng) -> anyhow::Result<()>) {
        for number in 0..self.count {
            self.one(number, |rng| round(number, rng));
        }
    }

    /// Runs one round, unless `--round` selects another.
    pub(crate) fn one(&mut self, number: u64, round: impl FnOnce(&mut Rng) -> anyhow::Result<()>) {
        if self.args.round.is_some_and(|only| only != number) {
            return;
        }
        self.done += 1;
        // Spreads the seeds, so that no two rounds of different runs share one.
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if let Err(error) = round(&mut Rng::with_seed(self.seed ^ spread)) {
            self.failures += 1;
            println!(
                "FAILED {} --seed {} --round {number}: {error:#}",
                self.name, self.seed
            );
        }
    }

    /// Adds a figure to the end of the row's line.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

/// Runs the rows that the command line names.
pub(crate) fn run(rows: &[Row]) -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if args.list {
        for row in rows {
            println!(
                "{:<8} {:>5} {:>6}  {}",
                row.name, row.short, row.full, row.holds
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    for name in &args.rows {
        let is_known = rows.iter().any(|row| row.name == name);
        ensure!(is_known, "there is no row `{name}`, --list names them");
    }
    let seed = args.seed.unwrap_or_else(|| u64::from(fastrand::u32(..)));
    println!("seed {seed}, SQLite {}", crate::store::sqlite_version()?);
    let wanted = |row: &&Row| match args.rows.is_empty() {
        true => !args.short || row.short > 0,
        false => args.rows.iter().any(|name| name == row.name),
    };
    let mut failures = 0;
    for row in rows.iter().filter(wanted) {
        failures += run_row(row, &args, seed);
    }
    Ok(match failures {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Runs a row and returns the number of failed rounds.
fn run_row(row: &Row, args: &Args, seed: u64) -> u64 {
    let column = if args.short { row.short } else { row.full };
    let mut rounds = Rounds {
        args,
        name: row.name,
        seed,
        count: args.rounds.unwrap_or(column),
        done: 0,
        failures: 0,
        notes: Vec::new(),
    };
    let start = Instant::now();
    if let Err(error) = (row.run)(&mut rounds) {
        rounds.failures += 1;
        println!("FAILED {} --seed {seed}: {error:#}", row.name);
    }
    println!(
        "{:<8} {:>6} rounds {:>4} failures  seed {seed}  {:>7.1} s  {}",
        row.name,
        rounds.done,
        rounds.failures,
        start.elapsed().as_secs_f64(),
        rounds.notes.join(", "),
    );
    rounds.failures
}
