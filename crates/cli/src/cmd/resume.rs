use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode};

use serde_json::json;
use turnkeep_agents::{
    RecordingState, Refusal, RestoreOptions, RestoreSource, ResumeCommand, ResumePlan, restore,
    resume_plan,
};
use turnkeep_model::visible;
use turnkeep_repo::{Repo, TaskId};

use super::session;
use crate::args::ResumeArgs;
use crate::environment;
use crate::failure::{Kind, Problem, warn, with_hint};
use crate::output::Output;
use crate::question::{ask, can_ask};
use crate::short_id::{find, find_to_change};
use crate::store::Store;

pub(crate) fn run(args: &ResumeArgs, store: Store, out: &mut Output) -> anyhow::Result<ExitCode> {
    // The store is closed before the agent starts, which may run for days.
    let (plan, restored) = {
        let repo = store.open()?;
        let task = match args.exec || args.restore {
            true => find_to_change(&repo, &args.task.id, out)?,
            false => find(&repo, &args.task.id, out)?,
        };
        planned(args, &task, &repo, out)?
    };
    let command = match &args.headless {
        Some(prompt) => plan.headless(prompt),
        None => plan.command(),
    };
    let command = command.map(|command| command.options(args.options.iter().map(String::as_str)));
    if out.is_json() && !args.exec {
        print_json(&plan, restored, command.as_ref(), out)?;
    } else if command.is_ok() {
        plan.notes.iter().for_each(warn);
    }
    match command {
        Ok(command) if args.exec => exec(&command),
        Ok(command) => {
            if !out.is_json() {
                print(&command, out)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(refusal) => Err(refused(&plan, restored, refusal).into()),
    }
}

/// Looks at the disk, and puts the recording back if the user wants that. Returns from what it was put back.
fn planned(
    args: &ResumeArgs,
    task: &TaskId,
    repo: &Repo,
    out: &mut Output,
) -> anyhow::Result<(ResumePlan, Option<RestoreSource>)> {
    // A task without a session is another error than a missing task.
    let session = session::current(repo, task)?;
    let homes = environment::agent_homes()?;
    let mut options = RestoreOptions::default();
    options.relocation = args.relocation.relocation()?;
    if options.relocation.home.is_none() {
        options.relocation.home = environment::bound_home(&session)?;
    }
    options.goose = environment::find_program("goose");
    let plan = resume_plan(repo, task, &homes, &options.relocation)?;
    let is_wanted = match args.restore {
        true => plan.needs_restore() || matches!(plan.recording, RecordingState::Older { .. }),
        false => args.exec && plan.needs_restore() && (args.yes || is_agreed(&plan, out)?),
    };
    if !is_wanted {
        return Ok((plan, None));
    }
    let restored = match restore(repo, task, &homes, &options) {
        Err(error) if plan.command().is_ok() => {
            // The agent goes on with the file that it has.
            warn(format!("not put back: {error}"));
            return Ok((plan, None));
        }
        restored => restored?,
    };
    if restored.source == RestoreSource::Words {
        warn("the recording is made of the words: tool calls and their results are missing");
    }
    if !out.is_json() {
        let path = restored.recording.display();
        out.note(format_args!("put back: {path}"))?;
    }
    let plan = resume_plan(repo, task, &homes, &options.relocation)?;
    Ok((plan, Some(restored.source)))
}

/// Asks on a terminal.
fn is_agreed(plan: &ResumePlan, out: &mut Output) -> anyhow::Result<bool> {
    let Err(refusal) = plan.command() else {
        return Ok(false);
    };
    if !can_ask(out) {
        return Ok(false);
    }
    // A row of Codex's database is corrected without either.
    let from = plan
        .restorable
        .map(|from| format!(" from its {}", from.as_str()));
    let from = from.unwrap_or_default();
    Ok(ask(&format!("{refusal}. Put it back{from}?"), out)?)
}

fn print(command: &ResumeCommand, out: &mut Output) -> anyhow::Result<()> {
    let line = command.shell_line();
    if out.is_terminal() && visible(&line) != line {
        // A user would copy the command from the terminal.
        return Err(with_hint(
            "the command has characters that can't be shown",
            "`--exec` runs it, and a pipe gets it as it is",
        ));
    }
    Ok(out.text(&line)?)
}

fn print_json(
    plan: &ResumePlan,
    restored: Option<RestoreSource>,
    command: Result<&ResumeCommand, &Refusal>,
    out: &mut Output,
) -> anyhow::Result<()> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let refusal = command.err();
    let command = command.ok();
    let env = command.and_then(|command| command.env.as_ref());
    let env: BTreeMap<_, _> = env.into_iter().map(|(name, dir)| (name, dir)).collect();
    Ok(out.json(&json!({
        "task_id": plan.session.task_id.as_str(),
        "backend": plan.session.backend_type.as_str(),
        "session_id": plan.session.session_id.as_str(),
        "working_dir": plan.working_dir.as_deref().map(text),
        "has_working_dir": plan.has_working_dir,
        "home": plan.home.as_deref().map(text),
        "recording": plan.recording.as_str(),
        "path": plan.recording.path().map(text),
        "restorable": plan.restorable.map(RestoreSource::as_str),
        "restored": restored.map(RestoreSource::as_str),
        "notes": plan.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "refusal": refusal.map(Refusal::name),
        "reason": refusal.map(ToString::to_string),
        "command": command.map(ResumeCommand::shell_line),
        "program": command.map(|command| command.program),
        "args": command.map(|command| &command.args),
        "env": env,
    }))?)
}

/// Returns the reason why no command is printed.
fn refused(plan: &ResumePlan, restored: Option<RestoreSource>, refusal: Refusal) -> Problem {
    let session = &plan.session;
    let message = match &refusal {
        Refusal::UnknownAgent { .. } => {
            let folder = session.working_dir.as_ref();
            let folder = folder.map_or_else(|| "an unknown folder".into(), ToString::to_string);
            let id = &session.session_id;
            format!("{refusal}; it is session `{id}` in {folder}")
        }
        _ => {
            let task = &session.task_id;
            format!("the session of task `{task}` can't be resumed: {refusal}")
        }
    };
    let needs_restore = plan.needs_restore() && restored.is_none();
    let kind = match needs_restore {
        true => Kind::NEEDS_RESTORE,
        false => Kind::NOT_RESUMABLE,
    };
    let problem = Problem::new(kind, message).task(&session.task_id);
    let hint = match &refusal {
        _ if needs_restore => {
            "`--restore` puts it back first; `turnkeep restore --dry-run` shows what it would write"
        }
        Refusal::MissingParent { .. } | Refusal::Damaged { .. } if plan.restorable.is_some() => {
            "`turnkeep restore --force` replaces it; with `--dry-run` it says with what"
        }
        Refusal::Archived { .. } => "run that command, then resume it again",
        Refusal::UnknownAgent { .. } => {
            "resume it with the agent's own command; turnkeep knows claude, codex and goose"
        }
        Refusal::Lost => "if it is in another folder, name the agent's home with `--home`",
        Refusal::UnknownProvider { .. } => "add the provider to that file",
        _ => return problem,
    };
    problem.hint(hint)
}

/// Replaces this process by the command, or runs it as a child where that is not possible.
fn exec(command: &ResumeCommand) -> anyhow::Result<ExitCode> {
    replace(&mut command.process()).map_err(|error| {
        with_hint(
            format!("cannot run `{}`: {error}", command.program),
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
