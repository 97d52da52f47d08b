//! The output: a table in Markdown, and what it was measured on.

use std::process::Command;

use turnkeep_repo::chrono::Utc;

use crate::measure::Comparison;
use crate::raw;

pub(crate) fn print_head() {
    println!("| operation | raw p50 | turnkeep p50 | ratio (median) | ratio (quartiles) |");
    println!("|---|---:|---:|---:|---:|");
}

pub(crate) fn print_line(name: &str, comparison: &Comparison) {
    let [low, median, high] = comparison.ratios();
    println!(
        "| {name} | {} | {} | {median:.2} | {low:.2} to {high:.2} |",
        duration(comparison.raw()),
        duration(comparison.turnkeep()),
    );
}

pub(crate) fn print_machine() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "\nSQLite {}; {}; {}; {cores} cores; {} UTC",
        raw::version(),
        first_line("uname", &["-sr"]).unwrap_or_else(|| std::env::consts::OS.into()),
        processor().unwrap_or_else(|| std::env::consts::ARCH.into()),
        Utc::now().date_naive(),
    );
}

fn duration(nanos: f64) -> String {
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        1e3..1e6 => format!("{:.2} µs", nanos / 1e3),
        _ => format!("{:.2} ms", nanos / 1e6),
    }
}

/// Returns the processor's name on Linux and macOS.
fn processor() -> Option<String> {
    if let Ok(text) = std::fs::read_to_string("/proc/cpuinfo") {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        let (_, name) = line.split_once(':')?;
        return Some(name.trim().into());
    }
    first_line("sysctl", &["-n", "machdep.cpu.brand_string"])
}

fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let line = String::from_utf8(output.stdout)
        .ok()?
        .lines()
        .next()?
        .to_owned();
    (!line.is_empty()).then_some(line)
}
