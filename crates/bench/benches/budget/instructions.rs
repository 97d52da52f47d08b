//! Instructions per call, counted by callgrind, as a ratio to the C API.
//!
//! The ratio does not depend on the compiler, libc or processor, which affect both sides.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use turnkeep_repo::Durability;

use crate::budgets::Measured;
use crate::fixture::{Data, Fixture, open};
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

#[derive(Clone, Copy)]
enum Side {
    Raw,
    Turnkeep,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Turnkeep => "turnkeep",
        }
    }
}

/// Counts both sides of every operation.
pub(crate) fn measure(fixture: &Fixture, measured: &mut Measured) -> Result<()> {
    for operation in OPERATIONS {
        let raw = count(fixture, Side::Raw, operation)?;
        let turnkeep = count(fixture, Side::Turnkeep, operation)?;
        let name = operation.name();
        println!("{name}: {turnkeep:.0} instructions, raw {raw:.0}");
        measured.push(format!("{name}: instructions / raw"), turnkeep / raw);
    }
    Ok(())
}

/// Runs both sides of every operation a few times, without counting.
pub(crate) fn test(fixture: &Fixture) -> Result<()> {
    for operation in OPERATIONS {
        run(Side::Raw, operation, &fixture.copy()?, 0..0, 0..3)?;
        run(Side::Turnkeep, operation, &fixture.copy()?, 0..0, 0..3)?;
    }
    Ok(())
}

/// Runs the process that callgrind watches.
pub(crate) fn profile(side: &str, operation: &str, file: &Path) -> Result<()> {
    let side = match side {
        "raw" => Side::Raw,
        "turnkeep" => Side::Turnkeep,
        _ => bail!("{side} is no side"),
    };
    let counted = WARM_UP..WARM_UP + COUNTED;
    run(
        side,
        Operation::named(operation)?,
        file,
        0..WARM_UP,
        counted,
    )
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
        Side::Raw => {
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
        .arg(fixture.copy()?)
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
    Ok(total / COUNTED as f64)
}
