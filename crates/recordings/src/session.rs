use std::path::PathBuf;

use turnkeep_model::{BackendType, InvalidValue, SessionId, WorkingDir};

use crate::error::Error;
use crate::key;
use crate::message::Draft;
use crate::recording::Recording;

/// A session as it was read, before its values are checked.
pub(crate) struct Session {
    pub(crate) backend_type: BackendType,
    pub(crate) id: String,
    pub(crate) title: Option<String>,
    pub(crate) working_dir: Option<String>,
    pub(crate) drafts: Vec<Draft>,
    /// The ids of messages that an earlier reading had, and that turned out to be none.
    pub(crate) withdrawn: Vec<String>,
    pub(crate) unparsable_lines: u64,
    pub(crate) path: PathBuf,
    pub(crate) passed_over: Vec<PathBuf>,
    pub(crate) missing_parent: Option<String>,
    pub(crate) forked_from: Option<String>,
    pub(crate) ancestors: Vec<PathBuf>,
    pub(crate) has_only_prompts: bool,
    pub(crate) settled: u64,
}

impl Session {
    pub(crate) fn new(backend_type: BackendType, id: String, path: PathBuf) -> Self {
        Self {
            backend_type,
            id,
            title: None,
            working_dir: None,
            drafts: Vec::new(),
            withdrawn: Vec::new(),
            unparsable_lines: 0,
            path,
            passed_over: Vec::new(),
            missing_parent: None,
            forked_from: None,
            ancestors: Vec::new(),
            has_only_prompts: false,
            settled: 0,
        }
    }

    /// Checks the values. Fails if the id is not valid, or if id or folder has a control character, because
    /// both become part of a shell command. A folder that is invalid for another reason is left out.
    pub(crate) fn into_recording(self) -> Result<Recording, Error> {
        let session_id = InvalidValue::check_printable("session id", &self.id)
            .and_then(|()| SessionId::new(self.id))
            .map_err(|source| Error::InvalidId {
                path: self.path.clone(),
                source,
            })?;
        if let Some(dir) = &self.working_dir {
            InvalidValue::check_printable("working folder", dir).map_err(|source| {
                Error::InvalidFolder {
                    path: self.path.clone(),
                    session_id: session_id.clone(),
                    source,
                }
            })?;
        }
        Ok(Recording {
            backend_type: self.backend_type,
            session_id,
            title: self.title.filter(|title| !title.trim().is_empty()),
            working_dir: self.working_dir.and_then(|dir| WorkingDir::new(dir).ok()),
            messages: key::assign(self.drafts),
            withdrawn: key::keys(self.withdrawn),
            unparsable_lines: self.unparsable_lines,
            path: self.path,
            passed_over: self.passed_over,
            missing_parent: self.missing_parent,
            forked_from: self.forked_from,
            ancestors: self.ancestors,
            has_only_prompts: self.has_only_prompts,
            settled: self.settled,
        })
    }
}
