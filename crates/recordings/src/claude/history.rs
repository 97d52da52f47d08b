//! The prompts of all sessions in `history.jsonl`. Claude Code deletes transcripts, but never these.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::{fs, vec};

use serde::Deserialize;
use turnkeep_model::{BackendType, Role};

use crate::content::is_blank;
use crate::error::Error;
use crate::file_name::file_stem;
use crate::jsonl;
use crate::key;
use crate::lenient::Lenient;
use crate::message::Draft;
use crate::recording::Recording;
use crate::session::Session;
use crate::time;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Line {
    display: Lenient<String>,
    timestamp: Lenient<i64>,
    project: Lenient<String>,
    session_id: Lenient<String>,
}

/// Iterates over the sessions that have no transcript any more, in the order of their first prompts.
pub(crate) struct History(vec::IntoIter<Session>);

impl History {
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let transcripts = transcripts(path);
        let mut sessions: Vec<Session> = Vec::new();
        let mut indexes = HashMap::new();
        jsonl::for_each_object(path, |line: Line| {
            let id = line.session_id.0.filter(|id| !transcripts.contains(id));
            let (Some(id), Some(prompt)) = (id, line.display.0.filter(|text| is_prompt(text)))
            else {
                return true;
            };
            let next = sessions.len();
            let index = *indexes.entry(id.clone()).or_insert(next);
            if index == next {
                sessions.push(Session {
                    working_dir: line.project.0,
                    has_only_prompts: true,
                    ..Session::new(BackendType::Claude, id, path.to_owned())
                });
            }
            sessions[index].drafts.push(Draft {
                role: Role::User,
                content: prompt,
                timestamp: line.timestamp.0.and_then(time::from_millis),
                id: line.timestamp.0.map(key::of_history),
                earlier_ids: Vec::new(),
            });
            true
        })?;
        Ok(Self(sessions.into_iter()))
    }
}

impl Iterator for History {
    type Item = Result<Recording, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(Session::into_recording)
    }
}

/// Whether a text is a prompt for the agent, not a command for Claude Code or for the shell.
fn is_prompt(text: &str) -> bool {
    let text = text.trim();
    let is_command = text.starts_with('/') && !text.contains(char::is_whitespace);
    !is_blank(text) && !is_command && !text.starts_with('!')
}

/// Returns the names of the transcripts beside a history.
fn transcripts(path: &Path) -> HashSet<String> {
    let entries = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
    let projects = entries(path.with_file_name("projects"));
    let files = projects.flat_map(|project| entries(project.path()));
    let files = files.map(|entry| entry.path());
    let transcripts = files.filter(|path| path.extension().is_some_and(|it| it == "jsonl"));
    transcripts.map(|path| file_stem(&path)).collect()
}
