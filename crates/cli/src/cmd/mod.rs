//! The commands, one module each.

mod append;
mod backup;
mod check;
mod copy;
mod export;
mod export_html;
mod generate;
mod history;
mod hook;
mod import;
mod list;
mod prune;
mod recording;
mod removed;
mod restore;
mod resume;
mod rm;
mod search;
mod session;
mod show;
mod stats;
mod task;
mod tool_calls;
mod watch;

use std::process::ExitCode;

pub(crate) use hook::{HookAgent, end_usage};

use crate::args::{Cli, Command};
use crate::failure;
use crate::output::Output;
use crate::store::Store;

pub(crate) fn run(cli: Cli, out: &mut Output) -> anyhow::Result<ExitCode> {
    let is_db_given = cli.db.is_some();
    let owner = cli.owner;
    let store = Store::new(cli.db.clone(), owner.clone());
    if changes_much(&cli.command) {
        out.go_on_without_reader();
    }
    match cli.command {
        Command::Hook(args) => return hook::run(args, cli.db, owner),
        Command::Import(args) => return import::run(&args, store, out),
        Command::Watch(args) => watch::run(args, store, out)?,
        Command::Export(args) => export::run(&args, store, out)?,
        Command::Task(command) => task::run(command, store, out)?,
        Command::List(args) => list::run(args, &store.open()?, out)?,
        Command::Show(args) => show::run(args, store, out)?,
        Command::History(args) => history::run(&args, store, out)?,
        Command::Search(args) => search::run(args, store, out)?,
        Command::Session(command) => session::run(command, store, out)?,
        Command::Recording(command) => recording::run(command, store, out)?,
        Command::Append(args) => append::run(args, store, out)?,
        Command::Restore(args) => restore::run(&args, store, out)?,
        Command::Resume(args) => return resume::run(&args, store, out),
        Command::Copy(args) if !is_db_given => copy::run(args, owner, out)?,
        Command::Copy(_) => return Ok(failure::end_usage(copy::db_given())),
        Command::Stats(args) => stats::run(&args, store, out)?,
        Command::Prune(args) => prune::run(&args, store, out)?,
        Command::Rm(args) => return rm::run(args, store, out),
        Command::Removed(args) => removed::run(args, store, out)?,
        Command::Backup(args) => backup::run(&args, store, out)?,
        Command::Check => return check::run(store, out),
        Command::Completions { shell } => generate::completions(shell, out)?,
        Command::Man { command } => generate::man(&command, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the command changes the store or files in several steps.
fn changes_much(command: &Command) -> bool {
    matches!(
        command,
        Command::Import(_) | Command::Restore(_) | Command::Rm(_) | Command::Prune(_)
    )
}
