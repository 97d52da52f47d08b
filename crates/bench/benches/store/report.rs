//! The output: Markdown tables and a description of the machine.

use std::process::Command;

use turnkeep_repo::chrono::Utc;

use crate::crowd::Figures;
use crate::lone::Comparison;
use crate::side::Side;
use crate::sides::raw;

/// Prints a table. The first column is text, the others are numbers.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    println!("\n| {} |", head.join(" | "));
    println!("|---{}|", "|---:".repeat(head.len() - 1));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}

/// Prints a sentence.
pub(crate) fn note(text: &str) {
    println!("\n{text}");
}

/// Prints the latency of one caller on all sides, and Turnkeep's ratio to each.
pub(crate) fn lone(comparisons: &[(&str, Comparison)]) {
    let mut rows = Vec::new();
    let mut ratios = Vec::new();
    for (name, comparison) in comparisons {
        let mut row = vec![(*name).to_owned()];
        let mut ratio_row = row.clone();
        for side in Side::ALL {
            row.push(
                match comparison
                    .ratios(side, Side::Raw)
                    .zip(comparison.median(side))
                {
                    Some((_, nanos)) if side == Side::Raw => duration(nanos),
                    Some(([_, ratio, _], nanos)) => format!("{}, {ratio:.2}×", duration(nanos)),
                    None => "–".into(),
                },
            );
            if side != Side::Turnkeep {
                ratio_row.push(match comparison.ratios(Side::Turnkeep, side) {
                    Some([low, ratio, high]) => format!("{ratio:.2} ({low:.2} to {high:.2})"),
                    None => "–".into(),
                });
            }
        }
        rows.push(row);
        ratios.push(ratio_row);
    }
    let mut head = vec!["one caller, p50"];
    head.extend(Side::ALL.map(Side::name));
    table(&head, &rows);
    head[0] = "turnkeep as a multiple of";
    head.retain(|side| *side != Side::Turnkeep.name());
    table(&head, &ratios);
}

/// Returns the name of a side among many callers.
pub(crate) fn crowd_name(side: Side) -> &'static str {
    match side {
        Side::Raw => "raw batches",
        Side::Lean => "lean batches",
        side => side.name(),
    }
}

/// Prints a table of many callers with a line per side.
pub(crate) fn crowd(name: &str, all: &[Figures]) {
    let turnkeep = all.iter().find(|figures| figures.side == Side::Turnkeep);
    let mut rows = Vec::new();
    for figures in all {
        let [low, rate, high] = figures.rate();
        let (p50, longest) = figures.waits();
        let is_raw = matches!(figures.side, Side::Raw | Side::Lean);
        let ratio = turnkeep.map_or(f64::NAN, |turnkeep| turnkeep.ratios(figures)[1]);
        rows.push(vec![
            crowd_name(figures.side).into(),
            thousands(rate),
            format!("{} to {}", thousands(low), thousands(high)),
            format!("{ratio:.2}"),
            if is_raw {
                "–".into()
            } else {
                format!("{:.2}", figures.fairness())
            },
            duration(p50),
            duration(longest),
            figures.errors.to_string(),
        ]);
    }
    let head = [
        name,
        "appends/s",
        "quartiles",
        "turnkeep/this",
        "slowest/fastest",
        "p50",
        "longest wait",
        "errors",
    ];
    table(&head, &rows);
    for figures in all {
        if let Some(error) = &figures.error {
            note(&format!(
                "The first error of {}: {error}",
                figures.side.name()
            ));
        }
        if let Some(batch) = figures.batch {
            note(&format!(
                "{} put {batch:.1} appends into a commit.",
                figures.side.name()
            ));
        }
    }
}

/// Describes the machine and the version of SQLite.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "SQLite {}; {}; {}; {cores} cores; {} UTC",
        raw::version(),
        first_line("uname", &["-sr"]).unwrap_or_else(|| std::env::consts::OS.into()),
        processor().unwrap_or_else(|| std::env::consts::ARCH.into()),
        Utc::now().date_naive(),
    )
}

/// Formats nanoseconds in a suitable unit.
pub(crate) fn duration(nanos: f64) -> String {
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        1e3..1e6 => format!("{:.2} µs", nanos / 1e3),
        1e6..1e9 => format!("{:.2} ms", nanos / 1e6),
        _ => format!("{:.2} s", nanos / 1e9),
    }
}

/// Formats bytes in megabytes.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Formats a whole number with commas.
pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns the name of the processor on Linux and macOS.
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
