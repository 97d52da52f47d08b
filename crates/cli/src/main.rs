#![doc = include_str!("../README.md")]

mod args;
mod cmd;
mod completion;
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
mod tasks;
mod units;
mod when;

use std::process::ExitCode;

use args::{Cli, Form};
use output::Output;

fn main() -> ExitCode {
    if completion::answer() {
        return ExitCode::SUCCESS;
    }
    failure::report_panics();
    let args: Vec<_> = std::env::args_os().collect();
    choose(Form::of(&args));
    let cli = match Cli::parse(args) {
        Ok(cli) => cli,
        Err(error) => return cmd::end_usage(error),
    };
    choose(cli.form());
    let mut out = Output::new(cli.json);
    let result = cmd::run(cli, &mut out);
    // A command that fails flushes its output too.
    match (result, out.finish()) {
        (Ok(code), Ok(())) => code,
        (Ok(code), Err(error)) if failure::is_closed_output(&error) => code,
        (Ok(_), Err(error)) => failure::end(&error),
        (Err(error), _) => failure::end(&error),
    }
}

/// Chooses the form of all messages and the colours of both streams.
fn choose(form: Form) {
    failure::set_json(form.is_json);
    let color = match form.color {
        clap::ColorChoice::Auto => anstream::ColorChoice::Auto,
        clap::ColorChoice::Always => anstream::ColorChoice::Always,
        clap::ColorChoice::Never => anstream::ColorChoice::Never,
    };
    color.write_global();
}
