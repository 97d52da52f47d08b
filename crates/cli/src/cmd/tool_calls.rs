//! The tool calls in the kept files of a session.

use std::io;
use std::iter::Peekable;
use std::path::Path;
use std::vec::IntoIter;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use turnkeep_recordings::{Error, ToolCall, for_each_tool_call, transcript};
use turnkeep_render::{ToolCall as ShownCall, Turn};
use turnkeep_repo::{Repo, TaskId};

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
    let read = || -> anyhow::Result<_> {
        let suffix = suffix(file.name.as_str());
        let mut copy = tempfile::Builder::new().suffix(suffix).tempfile()?;
        io::copy(&mut repo.recording_reader(id, file.number), &mut copy)?;
        Ok(Some(bounded(copy.path())?))
    };
    read().with_context(|| format!("cannot read the kept file {}", file.name))
}

/// Reads the first calls of a file.
fn bounded(path: &Path) -> Result<Vec<ToolCall>, Error> {
    let mut calls = Vec::new();
    let (mut size, mut left_out) = (0, 0_u64);
    for_each_tool_call(path, |number, call| {
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

/// Returns the extensions of a file: `.jsonl.zst`.
fn suffix(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.rfind(".json").map_or("", |at| &name[at..])
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
    use std::io::Write as _;

    use super::*;

    #[test]
    fn all_calls_together_have_a_limit() {
        let text = "x".repeat(64 * 1024);
        let line = format!(
            r#"{{"message":{{"content":[{{"type":"tool_use","name":"x","input":"{text}"}}]}}}}"#
        );
        let mut file = tempfile::Builder::new()
            .suffix(".jsonl")
            .tempfile()
            .unwrap();
        for _ in 0..1_100 {
            writeln!(file, "{line}").unwrap();
        }
        let calls = bounded(file.path()).unwrap();
        assert!((1_000..1_024).contains(&calls.len()), "{}", calls.len());
    }

    #[test]
    fn suffixes_are_those_of_the_last_name() {
        for (name, expected) in [
            ("sessions/a.jsonl.zst", ".jsonl.zst"),
            ("a.json/b.jsonl", ".jsonl"),
            ("a.json/b", ""),
            ("a.jsonx.json", ".json"),
        ] {
            assert_eq!(suffix(name), expected);
        }
    }
}
