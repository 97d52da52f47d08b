//! Tries faults on the store and checks its promises.
//!
//! `turnkeep-faults` runs all rounds of `docs/faults.md`, with `--short` the ones of CI. All random
//! choices come from the printed seed: `--row NAME --seed N --round R` repeats a round, except for
//! the scheduling of processes.

#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod driver;
#[cfg(target_os = "linux")]
mod dying;
#[cfg(target_os = "linux")]
mod image;
#[cfg(target_os = "linux")]
mod interpose;
#[cfg(target_os = "linux")]
mod mount;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod recording;
#[cfg(target_os = "linux")]
mod rows;
#[cfg(target_os = "linux")]
mod sample;
#[cfg(target_os = "linux")]
mod store;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<std::process::ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        // The driver starts this program again for the processes that it kills.
        Some((first, rest)) if first == child::COMMAND => {
            rows::run_child(rest).map(|()| std::process::ExitCode::SUCCESS)
        }
        _ => driver::run(rows::ROWS),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("the faults need Linux, nothing was tried");
    std::process::exit(1);
}
