//! Shell completions and manual pages, for packagers. Needs no store.

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Cli;
use crate::completion;
use crate::failure::{Kind, Problem};
use crate::output::Output;

pub(crate) fn completions(shell: Shell, out: &mut Output) -> anyhow::Result<()> {
    Ok(completion::script(shell, out.raw())?)
}

pub(crate) fn man(command: &[String], out: &mut Output) -> anyhow::Result<()> {
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let mut page = &cli;
    for name in command {
        page = page.find_subcommand(name).ok_or_else(|| {
            let message = format!("there is no command `{}`", command.join(" "));
            Problem::new(Kind::USAGE, message).hint("`turnkeep help` lists them")
        })?;
    }
    let version = concat!("turnkeep ", env!("CARGO_PKG_VERSION"));
    Ok(Man::new(page.clone()).source(version).render(out.raw())?)
}
