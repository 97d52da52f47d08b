use std::path::Path;

use serde::Deserialize;
use turnkeep_model::BackendType;

use crate::content::Content;
use crate::error::Error;
use crate::file_name::file_stem;
use crate::goose::message::{Metadata, visible_text};
use crate::jsonl;
use crate::lenient::Lenient;
use crate::message::{Draft, turn_role};
use crate::recording::Recording;
use crate::session::Session;
use crate::time;

/// A message, or the header, which may be the first line.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    id: Lenient<String>,
    role: Lenient<String>,
    created: Lenient<i64>,
    content: Lenient<Content>,
    metadata: Lenient<Metadata>,
    working_dir: Lenient<String>,
    description: Lenient<String>,
}

/// Reads a session as Goose stored it before version 1.10.
pub(crate) fn read_jsonl(path: &Path) -> Result<Recording, Error> {
    let mut session = Session::new(BackendType::Goose, file_stem(path), path.to_owned());
    session.unparsable_lines = jsonl::for_each_object(path, |line: Line| {
        let Some(name) = line.role.0 else {
            session.working_dir = session.working_dir.take().or(line.working_dir.0);
            session.title = session.title.take().or(line.description.0);
            return true;
        };
        let content = line.content.0.unwrap_or_default();
        let text = visible_text(&content, &line.metadata.0.unwrap_or_default());
        if let (Some(role), Some(content)) = (turn_role(&name), text) {
            session.drafts.push(Draft {
                role,
                content,
                timestamp: line.created.0.and_then(time::from_goose),
                id: line.id.0,
                earlier_ids: Vec::new(),
            });
        }
        true
    })?;
    session.into_recording()
}
