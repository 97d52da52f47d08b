//! Goose resumes the sessions of its database, in whatever folder it is started. Before version 1.10 it had a file
//! for each session.

use std::path::Path;

use turnkeep_recordings::{Error, has_goose_session};

use crate::plan::{Look, RecordingState, Refusal, Target};

pub(super) fn look(home: &Path, id: &str) -> Look {
    let database = home.join("sessions").join("sessions.db");
    let path = match has_goose_session(&database, id) {
        Ok(true) => database,
        Ok(false) => return Look::missing(),
        Err(Error::NotFound { .. }) => {
            match crate::layout::below(&format!("sessions/{id}.jsonl")) {
                Some(legacy) if home.join(&legacy).is_file() => home.join(legacy),
                _ => return Look::missing(),
            }
        }
        Err(_) => {
            let kind = std::io::ErrorKind::InvalidData;
            let path = database.clone();
            return Look {
                target: Err(Refusal::Unreadable { path, kind }),
                ..Look::missing()
            };
        }
    };
    Look {
        recording: RecordingState::Present { path },
        notes: Vec::new(),
        target: Ok(Target::Goose),
    }
}
