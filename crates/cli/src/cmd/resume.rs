use std::collections::BTreeMap;
use std::io;
use std::process::{Command, ExitCode};

use anyhow::Context;
use serde_json::json;
use turnkeep_model::visible;
use turnkeep_repo::{ResumeCommand, Session, WorkingDir};

use super::session;
use crate::args::ResumeArgs;
use crate::failure::with_hint;
use crate::output::Output;
use crate::store::Store;

pub(crate) fn run(args: &ResumeArgs, store: Store, out: &mut Output) -> anyhow::Result<ExitCode> {
    let session = {
        // Close the store before the agent starts, which may run for days.
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
    let env = resume.config_dir.as_ref();
    let env: BTreeMap<_, _> = env
        .map(|(name, dir)| (name, dir.as_str()))
        .into_iter()
        .collect();
    if out.is_json() {
        out.json(&json!({
            "task_id": session.task_id.as_str(),
            "backend": session.backend_type.as_str(),
            "session_id": session.session_id.as_str(),
            "working_dir": session.working_dir.as_ref().map(WorkingDir::as_str),
            "command": command,
            "program": resume.program,
            "args": resume.args,
            "env": env,
        }))?;
    } else if out.is_terminal() && visible(&command) != command {
        // A user would copy the command from the terminal.
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
        None => "in an unknown folder".into(),
    };
    with_hint(
        format!(
            "sessions of {} can't be resumed; it is session `{}` {folder}",
            session.backend_type, session.session_id
        ),
        "resume it with the agent's own command; turnkeep knows claude, codex and goose",
    )
}

/// Replaces this process by the command, or runs it as a child where that is not possible.
fn exec(resume: &ResumeCommand) -> anyhow::Result<ExitCode> {
    let mut command = Command::new(resume.program);
    command.args(&resume.args);
    if let Some((variable, dir)) = &resume.config_dir {
        command.env(variable, dir.as_str());
    }
    if let Some(dir) = &resume.working_dir {
        let path = std::path::absolute(dir.as_str())?;
        if !path.is_dir() {
            return Err(with_hint(
                format!("the folder of the session, {dir}, does not exist"),
                "create it, or bind the task to another session (`turnkeep session set`)",
            ));
        }
        // Like `cd` in a shell, PWD keeps the links in the path.
        command.current_dir(&path).env("PWD", &path);
    }
    replace(&mut command).map_err(|error| {
        with_hint(
            format!("cannot run `{}`: {error}", resume.program),
            "install it, and add its folder to PATH",
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
