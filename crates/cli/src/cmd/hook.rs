//! Takes what an agent reports to its hooks. The agent waits for this command, and must never fail or hang
//! because of it.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use turnkeep_agents::{find_rollout, save_hook_event};
use turnkeep_model::visible;
use turnkeep_recordings::HookEvent;
use turnkeep_repo::BackendType;
use turnkeep_repo::chrono::{SecondsFormat, Utc};

use crate::args::{HookArgs, is_command};
use crate::environment::{agent_homes, import_options};
use crate::failure;
use crate::store::Store;

/// The time after which the agent goes on, while a process in the background completes the work.
const AGENT_WAITS: Duration = Duration::from_millis(150);

/// The time in which an event must be complete. An agent writes it at once.
const INPUT_WAITS: Duration = Duration::from_secs(10);

/// The longest wait for the store. An agent may report many events meanwhile.
const STORE_WAITS: Duration = Duration::from_secs(10);

/// The longest event.
const MAX_EVENT: u64 = 16 * 1024 * 1024;

/// The size of the log after which a new one is begun.
const MAX_LOG: u64 = 1024 * 1024;

/// Starts a process that stores the event, and waits for it for a short time. Always succeeds.
pub(crate) fn run(
    args: HookArgs,
    db: Option<PathBuf>,
    owner: Option<String>,
) -> anyhow::Result<ExitCode> {
    // A person who tries the command sees its errors.
    if args.wait || args.event.is_none() && io::stdin().is_terminal() {
        let agent = args.agent.name();
        let time = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
        save(args, Store::new(db, owner)).with_context(|| format!("{time} hook {agent}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Err(error) = start(&args, db, owner) {
        log(&error);
    }
    Ok(ExitCode::SUCCESS)
}

/// Reports wrong usage. Of this command the exit code is 0 then too: Claude Code takes the code 2 of a hook as a
/// refusal of the prompt.
pub(crate) fn end_usage(error: clap::Error) -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if !is_command(&args, "hook") {
        return failure::end_usage(error);
    }
    if error.use_stderr() {
        // The whole text may show an address with a password.
        log(&format_args!("wrong usage: {}", error.kind()));
    }
    failure::end_usage(error);
    ExitCode::SUCCESS
}

/// Notes an error that nobody would see otherwise.
fn log(error: &dyn Display) {
    let time = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let text = visible(&error.to_string()).into_owned();
    // Where there is no log, there is no place for its error either.
    let _ = open_log().map(|mut log| writeln!(log, "error: {time} hook: {text}"));
}

fn start(args: &HookArgs, db: Option<PathBuf>, owner: Option<String>) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    let db = db.map(PathBuf::into_os_string);
    for (name, value) in [("--db", db), ("--owner", owner.map(OsString::from))] {
        if let Some(value) = value {
            command.arg(name).arg(value);
        }
    }
    command.args(["hook", "--wait", args.agent.name()]);
    if let Some(event) = &args.event {
        command.arg("--").arg(event).stdin(Stdio::null());
    }
    // Claude Code reads the output of a hook.
    command.stdout(Stdio::null());
    command.stderr(open_log().map_or_else(|_| Stdio::null(), Stdio::from));
    // Ctrl-C in the agent's terminal is for the agent.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().context("cannot start a process")?;
    let (done, waiting) = mpsc::channel();
    thread::spawn(move || {
        let _ = child.wait();
        // The receiver may have left.
        let _ = done.send(());
    });
    // When the time is over the child goes on alone.
    let _ = waiting.recv_timeout(AGENT_WAITS);
    Ok(())
}

fn save(args: HookArgs, store: Store) -> anyhow::Result<()> {
    let received_at = Utc::now();
    let json = match args.event {
        Some(event) => event.to_string_lossy().into_owned(),
        None => read_event()?,
    };
    let backend = args.agent.backend();
    let mut event = HookEvent::parse(&backend, &json, received_at)?;
    if backend == BackendType::Codex && event.transcript.is_none() {
        let thread = event.recording.session_id.as_str();
        event.transcript = find_rollout(&agent_homes()?.codex, thread);
    }
    let options = import_options()?;
    let repo = store.builder()?.timeout(STORE_WAITS).open()?;
    Ok(save_hook_event(&repo, &event, &options)?)
}

/// Reads an event from standard input. It ends with the input, which has to end in time.
fn read_event() -> anyhow::Result<String> {
    let (done, waiting) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = io::stdin()
            .lock()
            .take(MAX_EVENT + 1)
            .read_to_end(&mut bytes);
        let _ = done.send(read.map(|_| bytes));
    });
    let bytes = waiting
        .recv_timeout(INPUT_WAITS)
        .context("the event on standard input does not end")??;
    if bytes.len() as u64 > MAX_EVENT {
        bail!("the event is larger than {} MiB", MAX_EVENT >> 20);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Opens the log of hooks, `turnkeep/hook.log` in the data folder. One that is too large is kept as `hook.log.1`.
fn open_log() -> anyhow::Result<File> {
    let path = Store::default_folder()?.join("hook.log");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let is_full = fs::metadata(&path).is_ok_and(|metadata| metadata.len() > MAX_LOG);
    if is_full {
        fs::rename(&path, path.with_extension("log.1"))?;
    }
    let mut options = File::options();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok(options.open(path)?)
}

/// An agent with hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HookAgent {
    /// Claude Code
    Claude,
    /// Codex
    Codex,
}

impl HookAgent {
    fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
        }
    }

    fn backend(self) -> BackendType {
        match self {
            Self::Claude => BackendType::Claude,
            Self::Codex => BackendType::Codex,
        }
    }
}
