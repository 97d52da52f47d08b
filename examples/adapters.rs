//! How the agents are started and resumed, and what they print.

use std::env;
use std::path::Path;

use serde_json::Value;
use tokio::process::Command;
use turnkeep_repo::{BackendType, SessionId};

/// Returns the command that starts a session, or resumes one.
pub(crate) fn command(
    backend: &BackendType,
    session: Option<SessionId>,
    prompt: &str,
) -> anyhow::Result<Command> {
    let agents = env::var_os("AGENTS").unwrap_or_else(|| "examples/agents".into());
    let agents = Path::new(&agents).canonicalize()?;
    let mut command = Command::new(agents.join(backend.as_str()));
    match backend {
        BackendType::Claude => {
            command.args(["-p", prompt, "--output-format", "stream-json", "--verbose"]);
            session.map(|id| command.args(["--resume", id.as_str()]));
        }
        BackendType::Codex => {
            command.args(["exec", "--json", "--skip-git-repo-check"]);
            session.map(|id| command.args(["resume", id.as_str()]));
            command.arg(prompt);
        }
        _ => anyhow::bail!("there is no adapter for {backend}"),
    }
    Ok(command)
}

/// A line that an agent prints.
pub(crate) enum Event<'a> {
    /// The id of its session.
    Session(&'a str),
    /// An answer.
    Answer(&'a str),
    /// The end of a run, and its tokens.
    Usage(&'a Value),
}

impl<'a> Event<'a> {
    /// Returns `None` for other lines: tool calls, thoughts.
    pub(crate) fn of(line: &'a Value) -> Option<Self> {
        match line["type"].as_str()? {
            // Claude Code
            "system" if line["subtype"] == "init" => line["session_id"].as_str().map(Self::Session),
            "assistant" => line["message"]["content"][0]["text"]
                .as_str()
                .map(Self::Answer),
            // Codex
            "thread.started" => line["thread_id"].as_str().map(Self::Session),
            "item.completed" if line["item"]["type"] == "agent_message" => {
                line["item"]["text"].as_str().map(Self::Answer)
            }
            // Both
            "result" | "turn.completed" => Some(Self::Usage(&line["usage"])),
            _ => None,
        }
    }
}
