use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use turnkeep_model::BackendType;

use crate::error::Error;
use crate::file_name::file_stem;
use crate::goose::message::{role, visible_text};
use crate::jsonl;
use crate::lenient::lenient;
use crate::message::Draft;
use crate::recording::Recording;
use crate::session::Session;
use crate::time;

/// A message, or the header that may stand in the first line.
#[derive(Deserialize)]
struct Line {
    #[serde(default, deserialize_with = "lenient")]
    id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    role: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    created: Option<i64>,
    #[serde(default)]
    content: Value,
    #[serde(default)]
    metadata: Value,
    #[serde(default, deserialize_with = "lenient")]
    working_dir: Option<String>,
}

/// Reads a session as Goose kept it before version 1.10.
pub(crate) fn read_jsonl(path: &Path) -> Result<Recording, Error> {
    let mut working_dir = None;
    let mut drafts = Vec::new();
    let unparsable_lines = jsonl::for_each_object(path, |line: Line| {
        let Some(name) = line.role else {
            working_dir = working_dir.take().or(line.working_dir);
            return true;
        };
        let text = visible_text(&line.content, &line.metadata);
        if let (Some(role), Some(content)) = (role(&name), text) {
            drafts.push(Draft {
                role,
                content,
                timestamp: line.created.and_then(time::from_goose),
                id: line.id,
            });
        }
        true
    })?;
    Session {
        backend_type: BackendType::Goose,
        id: file_stem(path),
        working_dir,
        drafts,
        unparsable_lines,
    }
    .into_recording(path)
}
