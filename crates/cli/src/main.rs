#![doc = include_str!("../README.md")]

mod args;
mod cmd;
mod environment;
mod failure;
mod folder;
mod hash;
mod indexes;
mod interrupt;
mod metadata;
mod output;
mod pager;
mod question;
mod record;
mod relocation;
mod short_id;
mod store;
mod table;
mod units;
mod when;

use std::process::ExitCode;

use args::Cli;
use output::Output;

fn main() -> ExitCode {
    failure::report_panics();
    let cli = match Cli::of_process() {
        Ok(cli) => cli,
        Err(error) => return cmd::end_usage(error),
    };
    let mut out = Output::new(cli.json);
    let result = cmd::run(cli, &mut out);
    // A command that fails flushes its output too.
    match (result, out.finish()) {
        (Ok(code), Ok(())) => code,
        (Ok(_), Err(error)) => failure::end(&error),
        (Err(error), _) => failure::end(&error),
    }
}
