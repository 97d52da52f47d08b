//! The committed values and their comparison.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, ensure};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/budgets.tsv");
const RENEW: &str = "cargo bench --bench budget -- --renew";

/// By how much a value may get worse, or better without renewing the file.
const TOLERANCE: f64 = 0.03;

/// The measured values.
#[derive(Default)]
pub(crate) struct Measured {
    budgets: Vec<Budget>,
    /// Findings that fail whatever the committed values are.
    pub(crate) faults: Vec<String>,
}

/// A value that must not grow.
struct Budget {
    name: String,
    value: f64,
}

impl Measured {
    /// Adds a value, rounded as it is written.
    pub(crate) fn push(&mut self, name: impl Into<String>, value: f64) {
        self.budgets.push(Budget {
            name: name.into(),
            value: (value * 10_000.0).round() / 10_000.0,
        });
    }
}

/// Prints the values beside the committed ones and names the worse ones. Returns whether none
/// did.
pub(crate) fn compare(measured: &Measured) -> Result<bool> {
    let committed = committed()?;
    println!("\n| budget | value | committed | change |");
    println!("|---|---:|---:|---:|");
    let mut worse = String::new();
    let mut better = String::new();
    for Budget { name, value } in &measured.budgets {
        let Some(&old) = committed.get(name) else {
            println!("| {name} | {value} | | |");
            writeln!(worse, "  {name}: no committed value")?;
            continue;
        };
        let change = change(old, *value);
        println!("| {name} | {value} | {old} | {:+.2} % |", change * 100.0);
        if change > TOLERANCE {
            writeln!(worse, "  {name}: {value} instead of {old}")?;
        } else if change < -TOLERANCE {
            writeln!(better, "  {name}: {value} instead of {old}")?;
        }
    }
    for name in committed.keys() {
        if !measured.budgets.iter().any(|budget| budget.name == *name) {
            writeln!(worse, "  {name}: committed but not measured")?;
        }
    }
    if !better.is_empty() {
        println!("\nbetter by more than 3 %, renew with `{RENEW}`:\n{better}");
    }
    if !worse.is_empty() {
        println!(
            "\nworse by more than 3 %:\n{worse}If it is worth that, say why in the commit and \
             renew with `{RENEW}`."
        );
    }
    if !measured.faults.is_empty() {
        println!("\nnot prepared once:\n  {}", measured.faults.join("\n  "));
    }
    Ok(worse.is_empty() && measured.faults.is_empty())
}

/// Writes the values as the committed ones.
pub(crate) fn renew(measured: &Measured) -> Result<()> {
    ensure!(measured.faults.is_empty(), measured.faults.join("\n"));
    let mut text = format!("# Renew with: {RENEW}\n# budget\tvalue\n");
    for Budget { name, value } in &measured.budgets {
        writeln!(text, "{name}\t{value}")?;
    }
    fs::write(FILE, text)?;
    println!("{FILE} is renewed");
    Ok(())
}

/// Reads the committed values.
pub(crate) fn committed() -> Result<BTreeMap<String, f64>> {
    let text = fs::read_to_string(FILE).with_context(|| format!("read {FILE}"))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.split_once('\t').with_context(|| line.to_owned())?;
            let value = value.parse().with_context(|| line.to_owned())?;
            Ok((name.to_owned(), value))
        })
        .collect()
}

/// Returns the relative growth of a value. Growth from 0 is infinite.
fn change(old: f64, new: f64) -> f64 {
    if old == new { 0.0 } else { (new - old) / old }
}
