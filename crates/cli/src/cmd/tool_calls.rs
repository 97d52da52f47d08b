//! The tool calls in the kept files of a session.

use std::collections::BTreeMap;
use std::io;

use anyhow::Context as _;
use turnkeep_recordings::{ToolCall, tool_calls};
use turnkeep_render::{ToolCall as ShownCall, Turn};
use turnkeep_repo::{RecordingFile, Repo, SessionId, TaskId};

use crate::failure::warn;

/// Reads the tool calls of the task's present session.
pub(crate) fn of_task(repo: &Repo, id: &TaskId) -> anyhow::Result<Vec<ToolCall>> {
    let session = repo.find_session(id)?;
    let files = repo.get_recordings(id)?;
    // The last of a name is its present state.
    let files: BTreeMap<_, _> = files
        .iter()
        .map(|file| (file.name.as_str(), file))
        .collect();
    let own = session.and_then(|session| {
        let mut files = files.into_values();
        files.find(|file| is_of(file, &session.session_id))
    });
    let Some(file) = own else {
        warn("the store has no file of the session, in which its tool calls would be");
        return Ok(Vec::new());
    };
    let read = || -> anyhow::Result<Vec<ToolCall>> {
        let suffix = suffix(file.name.as_str());
        let mut copy = tempfile::Builder::new().suffix(suffix).tempfile()?;
        io::copy(&mut repo.recording_reader(id, file.number), &mut copy)?;
        Ok(tool_calls(copy.path())?)
    };
    read().with_context(|| format!("cannot read the kept file {}", file.name))
}

/// Whether it is the transcript of the session, and not one of a sub-agent or a parent.
fn is_of(file: &RecordingFile, session: &SessionId) -> bool {
    let name = file.name.as_str();
    let last = name.rsplit('/').next().unwrap_or(name);
    suffix(last).starts_with(".json") && last.contains(session.as_str())
}

/// Returns the extensions of a file: `.jsonl.zst`.
fn suffix(name: &str) -> &str {
    name.find(".json").map_or("", |at| &name[at..])
}

/// Adds each call to the last turn before it.
pub(crate) fn add(calls: Vec<ToolCall>, turns: &mut [Turn<'static>]) {
    let mut at = 0;
    for call in calls {
        while let (Some(time), Some(next)) = (call.timestamp, turns.get(at + 1))
            && next.time <= time
        {
            at += 1;
        }
        if let Some(turn) = turns.get_mut(at) {
            let output = call.output.map(Into::into);
            turn.tools
                .push(ShownCall::new(call.name, call.input, output));
        }
    }
}
