//! Claude Code: `projects/<folder>/<session id>.jsonl`, and beside it `<session id>/` with the transcripts of
//! sub-agents and large results of tools. Version 2.0 put the sub-agents beside the transcript.

use std::borrow::Cow;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::below;

/// The folder with the sessions of all working folders.
pub(crate) const PROJECTS: &str = "projects";

/// A kept file of a session, by its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    /// The transcript, with the project folder that it was in.
    Transcript { project: &'a str },
    /// A file that belongs to it, with its path below the project folder.
    Side { inside: &'a str },
}

impl<'a> Name<'a> {
    /// Returns `None` for a name that is none of the session's.
    pub(crate) fn of(name: &'a str, session_id: &str) -> Option<Self> {
        let (project, inside) = name.strip_prefix("projects/")?.split_once('/')?;
        if inside.strip_suffix(".jsonl") == Some(session_id) {
            return Some(Self::Transcript { project });
        }
        let is_below = inside
            .strip_prefix(session_id)
            .is_some_and(|rest| rest.starts_with('/'));
        let is_flat =
            inside.starts_with("agent-") && inside.ends_with(".jsonl") && !inside.contains('/');
        (is_below || is_flat).then_some(Self::Side { inside })
    }
}

/// Returns the path of a transcript below the home.
pub(crate) fn transcript(project: &str, session_id: &str) -> Option<PathBuf> {
    side(project, &format!("{session_id}.jsonl"))
}

/// Returns the path below the home of a file in a project folder.
pub(crate) fn side(project: &str, inside: &str) -> Option<PathBuf> {
    below(&format!("{PROJECTS}/{project}/{inside}"))
}

/// Whether a transcript has a message. Without one Claude Code finds no conversation.
pub(crate) fn has_message(transcript: impl Read) -> io::Result<bool> {
    /// The bytes in which a message must be found. A longer transcript has one.
    const MAX_HEAD: u64 = 16 * 1024 * 1024;
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        #[serde(rename = "message")]
        _message: IgnoredAny,
        #[serde(rename = "timestamp")]
        _timestamp: IgnoredAny,
    }
    let mut lines = BufReader::new(transcript.take(MAX_HEAD));
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let is_turn = |line: Line<'_>| matches!(&*line.kind, "user" | "assistant");
        if serde_json::from_slice(&line).is_ok_and(is_turn) {
            return Ok(true);
        }
        line.clear();
    }
    Ok(lines.get_ref().limit() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_session_are_its() {
        for (name, is) in [
            (
                "projects/-app/1.jsonl",
                Some(Name::Transcript { project: "-app" }),
            ),
            (
                "projects/-app/1/subagents/agent-2.jsonl",
                Some(Name::Side {
                    inside: "1/subagents/agent-2.jsonl",
                }),
            ),
            (
                "projects/-app/agent-2.jsonl",
                Some(Name::Side {
                    inside: "agent-2.jsonl",
                }),
            ),
            ("projects/-app/2.jsonl", None),
            ("projects/-app/12/x", None),
            ("projects/-app/1", None),
            ("projects/-app/memory/MEMORY.md", None),
            ("projects/-app/x/agent-2.jsonl", None),
            ("projects/1.jsonl", None),
            ("settings.json", None),
            ("plugins/projects/-app/1.jsonl", None),
        ] {
            assert_eq!(Name::of(name, "1"), is, "{name}");
        }
    }

    #[test]
    fn no_project_leads_out_of_the_projects() {
        assert!(transcript("-app", "1").is_some());
        assert_eq!(transcript("..", "1"), None);
        assert_eq!(side("-app", "1/../../../settings.json"), None);
    }
}
