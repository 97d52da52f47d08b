//! The tool calls in the kept files of a session.

use std::io::Read;
use std::iter::Peekable;
use std::path::Path;
use std::vec::IntoIter;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use turnkeep_recordings::{Error, ToolCall, for_each_tool_call, transcript};
use turnkeep_render::{ToolCall as ShownCall, Turn};
use turnkeep_repo::{Error as StoreError, Repo, TaskId};

use crate::failure::warn;

/// The most memory that the calls of a session take, in bytes.
const LONGEST_SUM: usize = 64 * 1024 * 1024;

/// Reads the tool calls of the task's present session. `None` if the store has no file of it.
pub(crate) fn of_task(repo: &Repo, id: &TaskId) -> anyhow::Result<Option<Vec<ToolCall>>> {
    let session = repo.find_session(id)?;
    let files = repo.get_recordings(id)?;
    let own = session.and_then(|session| transcript(&files, &session.session_id));
    let Some(file) = own else {
        return Ok(None);
    };
    let name = Path::new(file.name.as_str());
    let calls = bounded(name, repo.recording_reader(id, file.number), file.length);
    let calls = calls.map_err(|error| match error {
        Error::Io { source, .. } => match source.downcast::<StoreError>() {
            Ok(error) => error.into(),
            Err(error) => error.into(),
        },
        error => anyhow::Error::from(error),
    });
    calls
        .map(Some)
        .with_context(|| format!("cannot read the kept file {}", file.name))
}

/// Reads the first calls of a file.
fn bounded(name: &Path, file: impl Read, length: u64) -> Result<Vec<ToolCall>, Error> {
    let mut calls = Vec::new();
    let (mut size, mut left_out) = (0, 0_u64);
    for_each_tool_call(name, file, length, |number, call| {
        let texts =
            call.name.len() + call.input.len() + call.output.as_ref().map_or(0, String::len);
        size += size_of::<ToolCall>() + texts;
        match size <= LONGEST_SUM {
            true => calls.push((number, call)),
            false => left_out += 1,
        }
        true
    })?;
    if left_out > 0 {
        warn(format_args!(
            "{left_out} tool calls are left out, because the others take 64 MiB"
        ));
    }
    calls.sort_by_key(|(number, _)| *number);
    Ok(calls.into_iter().map(|(_, call)| call).collect())
}

/// Adds the calls before the next turn, or before the first.
pub(crate) fn add(
    calls: &mut Peekable<IntoIter<ToolCall>>,
    turn: &mut Turn<'static>,
    next: Option<DateTime<Utc>>,
) {
    let is_of_turn = |call: &ToolCall| {
        let is_later = |next: DateTime<Utc>| call.timestamp.is_some_and(|time| next <= time);
        !next.is_some_and(is_later)
    };
    while let Some(call) = calls.next_if(is_of_turn) {
        let output = call.output.map(Into::into);
        turn.tools
            .push(ShownCall::new(call.name, call.input, output));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_calls_together_have_a_limit() {
        let text = "x".repeat(64 * 1024);
        let line = format!(
            r#"{{"message":{{"content":[{{"type":"tool_use","name":"x","input":"{text}"}}]}}}}"#
        );
        let lines = (line + "\n").repeat(1_100);
        let calls = bounded("a.jsonl".as_ref(), lines.as_bytes(), lines.len() as u64).unwrap();
        assert!((1_000..1_024).contains(&calls.len()), "{}", calls.len());
    }
}
