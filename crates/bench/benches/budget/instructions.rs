//! Instructions per call, counted by callgrind, as a ratio to the C API.
//!
//! The ratio does not depend on the compiler, libc or processor, which affect both sides.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use turnkeep_repo::Durability;

use crate::budgets::Measured;
use crate::fixture::{BATCH, Data, Database, Fixture, open};
use crate::operation::Operation;
use crate::raw_side::RawSide;

/// The counted operations.
const OPERATIONS: [Operation; 6] = [
    Operation::SaveMessage,
    Operation::SaveMessageWithKey,
    Operation::SaveSession,
    Operation::GetSession,
    Operation::GetHistory,
    Operation::GetHistoryLast,
];

/// Runs before counting: once per task, which prepares every statement and fills the cache.
const WARM_UP: usize = 256;

/// Counted runs. That many appends include some checkpoints.
const COUNTED: usize = 1000;

/// Makes glibc copy memory the same way on every x86 processor. Otherwise it uses `rep movsb` on
/// some, of which valgrind counts every byte.
const PLAIN_COPIES: &str =
    "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM";

/// The operations that the constraints and triggers of the schema affect.
const WRITES: [Operation; 3] = [
    Operation::SaveMessage,
    Operation::SaveMessageWithKey,
    Operation::SaveSession,
];

/// Returns how often an operation runs instead of `calls` times. A few batches include some checkpoints too.
fn times(operation: Operation, calls: usize) -> usize {
    match operation {
        Operation::AppendBatch => calls / 10,
        _ => calls,
    }
}

#[derive(Clone, Copy)]
enum Side {
    Raw,
    /// The C API with the schema of e463321.
    RawOldSchema,
    Turnkeep,
}

impl Side {
    const ALL: [Self; 3] = [Self::Raw, Self::RawOldSchema, Self::Turnkeep];

    fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::RawOldSchema => "raw-old-schema",
            Self::Turnkeep => "turnkeep",
        }
    }

    /// Returns the database that the operation starts from.
    fn database(self, operation: Operation) -> Database {
        match (self, operation) {
            (Self::RawOldSchema, Operation::AppendBatch) => Database::BatchOldSchema,
            (Self::RawOldSchema, _) => Database::OldSchema,
            (Self::Raw | Self::Turnkeep, Operation::AppendBatch) => Database::Batch,
            (Self::Raw | Self::Turnkeep, _) => Database::Store,
        }
    }
}

/// Counts all sides of every operation.
pub(crate) fn measure(fixture: &Fixture, measured: &mut Measured) -> Result<()> {
    for operation in OPERATIONS {
        let raw = count(fixture, Side::Raw, operation)?;
        let turnkeep = count(fixture, Side::Turnkeep, operation)?;
        let name = operation.name();
        println!("{name}: {turnkeep:.0} instructions, raw {raw:.0}");
        measured.push(format!("{name}: instructions / raw"), turnkeep / raw);
        if WRITES.contains(&operation) {
            let old = count(fixture, Side::RawOldSchema, operation)?;
            println!("{name}: raw with the schema of e463321 {old:.0}");
            measured.push(
                format!("{name}: instructions / raw with the schema of e463321"),
                turnkeep / old,
            );
        }
    }
    let batch = Operation::AppendBatch;
    let now = count(fixture, Side::Raw, batch)? / BATCH as f64;
    let old = count(fixture, Side::RawOldSchema, batch)? / BATCH as f64;
    let name = batch.name();
    println!("{name}, raw: {now:.0} instructions a turn, with the schema of e463321 {old:.0}");
    measured.push(
        format!("{name}, raw: instructions / with the schema of e463321"),
        now / old,
    );
    Ok(())
}

/// Runs all sides of every operation a few times, without counting.
pub(crate) fn test(fixture: &Fixture) -> Result<()> {
    let a_few_times = |side: Side, operation| {
        let file = fixture.copy(side.database(operation))?;
        run(side, operation, &file, 0..0, 0..3)
    };
    for side in Side::ALL {
        for operation in OPERATIONS {
            a_few_times(side, operation)?;
        }
    }
    a_few_times(Side::Raw, Operation::AppendBatch)?;
    a_few_times(Side::RawOldSchema, Operation::AppendBatch)
}

/// Runs the process that callgrind watches.
pub(crate) fn profile(side: &str, operation: &str, file: &Path) -> Result<()> {
    let mut sides = Side::ALL.into_iter();
    let side = sides.find(|other| other.name() == side);
    let side = side.context("there is no such side")?;
    let operation = Operation::named(operation)?;
    let warm_up = times(operation, WARM_UP);
    let counted = warm_up..warm_up + times(operation, COUNTED);
    run(side, operation, file, 0..warm_up, counted)
}

/// Opens a side and runs the operation; the counted part is in `profiled`.
fn run(
    side: Side,
    operation: Operation,
    file: &Path,
    warm_up: Range<usize>,
    counted: Range<usize>,
) -> Result<()> {
    let data = Data::new()?;
    let warm_up_and_count = |run: &mut dyn FnMut(usize) -> Result<()>| {
        warm_up.into_iter().try_for_each(&mut *run)?;
        profiled(run, counted)
    };
    match side {
        Side::Raw | Side::RawOldSchema => {
            let mut raw = RawSide::open(file)?;
            warm_up_and_count(&mut |index| raw.run(operation, &data, index))
        }
        Side::Turnkeep => {
            let repo = open(file, Durability::Normal)?;
            warm_up_and_count(&mut |index| operation.run(&repo, &data, index))
        }
    }
}

/// The function that callgrind collects in.
#[inline(never)]
fn profiled(run: &mut dyn FnMut(usize) -> Result<()>, range: Range<usize>) -> Result<()> {
    for index in range {
        run(index)?;
    }
    Ok(())
}

/// Returns the instructions per call. Starts this program again under callgrind.
fn count(fixture: &Fixture, side: Side, operation: Operation) -> Result<f64> {
    let counts = fixture.file("callgrind.out");
    let output = Command::new("valgrind")
        .env("GLIBC_TUNABLES", PLAIN_COPIES)
        .args(["--tool=callgrind", "--toggle-collect=*profiled*"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(std::env::current_exe()?)
        .args(["--bench", "--profile", side.name(), operation.name()])
        .arg(fixture.copy(side.database(operation))?)
        .output()
        .context("valgrind is needed to count instructions")?;
    ensure!(
        output.status.success(),
        "{} under callgrind: {}",
        operation.name(),
        String::from_utf8_lossy(&output.stderr)
    );
    let counts = fs::read_to_string(counts)?;
    let total = counts
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .context("callgrind wrote no total")?;
    let total: f64 = total.trim().parse()?;
    ensure!(total > 0.0, "callgrind did not see `profiled`");
    Ok(total / times(operation, COUNTED) as f64)
}
