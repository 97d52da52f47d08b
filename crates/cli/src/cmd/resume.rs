use std::io;
use std::process::{Command, ExitCode};

use anyhow::Context;
use serde::Serialize;
use turnkeep_model::visible;
use turnkeep_repo::{ResumeCommand, Session};

use super::session;
use crate::args::ResumeArgs;
use crate::failure::with_hint;
use crate::output::Output;
use crate::store::Store;

#[derive(Serialize)]
struct ResumeRecord<'a> {
    task_id: &'a str,
    backend: &'a str,
    session_id: &'a str,
    working_dir: Option<&'a str>,
    command: &'a str,
    program: &'a str,
    args: &'a [String],
}

pub(crate) fn run(args: &ResumeArgs, store: Store, out: &mut Output) -> anyhow::Result<ExitCode> {
    let session = {
        // Closed before an agent takes over, which may run for days.
        let repo = store.open()?;
        session::current(&repo, &args.task.id)?
    };
    let resume = session
        .resume_command()
        .with_context(|| format!("the session of task `{}` can't be resumed", session.task_id))?
        .ok_or_else(|| unknown_agent(&session))?;
    if args.exec {
        return exec(&resume);
    }
    let command = resume.shell_line();
    if out.is_json() {
        out.json(&ResumeRecord {
            task_id: session.task_id.as_str(),
            backend: session.backend_type.as_str(),
            session_id: session.session_id.as_str(),
            working_dir: session.working_dir.as_ref().map(AsRef::as_ref),
            command: &command,
            program: resume.program,
            args: &resume.args,
        })?;
    } else if out.is_terminal() && visible(&command) != command {
        // It would be copied from there.
        return Err(with_hint(
            "the command has characters that can't be shown",
            "`--exec` runs it, and a pipe gets it as it is",
        ));
    } else {
        out.text(&command)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown_agent(session: &Session) -> anyhow::Error {
    let folder = match &session.working_dir {
        Some(dir) => format!("in {dir}"),
        None => "in a folder that is not known".into(),
    };
    with_hint(
        format!(
            "how to resume a session of {} is not known; it is session `{}` {folder}",
            session.backend_type, session.session_id
        ),
        "see the agent's own help; known are claude, codex and goose",
    )
}

/// Runs the command instead of this program, or, where there is no such thing, in it.
fn exec(resume: &ResumeCommand) -> anyhow::Result<ExitCode> {
    let mut command = Command::new(resume.program);
    command.args(&resume.args);
    if let Some(dir) = &resume.working_dir {
        let path = std::path::absolute(dir.as_str())?;
        if !path.is_dir() {
            return Err(with_hint(
                format!("the folder of the session, {dir}, does not exist"),
                "make it again, or bind the task to a session elsewhere (`turnkeep session set`)",
            ));
        }
        // PWD as `cd` in a shell would leave it: with the links in the path.
        command.current_dir(&path).env("PWD", &path);
    }
    replace(&mut command).map_err(|error| {
        with_hint(
            format!("cannot run `{}`: {error}", resume.program),
            "is it installed, and its folder in PATH?",
        )
    })
}

#[cfg(unix)]
fn replace(command: &mut Command) -> io::Result<ExitCode> {
    Err(std::os::unix::process::CommandExt::exec(command))
}

#[cfg(not(unix))]
fn replace(command: &mut Command) -> io::Result<ExitCode> {
    let code = command.status()?.code();
    let code = code.and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
