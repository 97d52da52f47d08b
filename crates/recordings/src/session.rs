use std::path::Path;

use turnkeep_model::{BackendType, InvalidValue, SessionId, WorkingDir};

use crate::error::Error;
use crate::key;
use crate::message::Draft;
use crate::recording::Recording;

/// A session as it was read, before its values are checked.
pub(crate) struct Session {
    pub(crate) backend_type: BackendType,
    pub(crate) id: String,
    pub(crate) working_dir: Option<String>,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) unparsable_lines: u64,
}

impl Session {
    /// Checks the values. Fails if the id is not valid, or if id or folder has a control character, because
    /// both become part of a shell command. A folder that is invalid for another reason is left out.
    pub(crate) fn into_recording(self, path: &Path) -> Result<Recording, Error> {
        let session_id = InvalidValue::check_printable("session id", &self.id)
            .and_then(|()| SessionId::new(self.id))
            .map_err(|source| Error::InvalidId {
                path: path.to_owned(),
                source,
            })?;
        if let Some(dir) = &self.working_dir {
            InvalidValue::check_printable("working folder", dir).map_err(|source| {
                Error::InvalidFolder {
                    path: path.to_owned(),
                    session_id: session_id.clone(),
                    source,
                }
            })?;
        }
        Ok(Recording {
            backend_type: self.backend_type,
            session_id,
            working_dir: self.working_dir.and_then(|dir| WorkingDir::new(dir).ok()),
            messages: key::assign(self.drafts),
            unparsable_lines: self.unparsable_lines,
            path: path.to_owned(),
        })
    }
}
