use std::collections::HashSet;
use std::path::Path;
use std::vec;

use turnkeep_model::BackendType;

use crate::content::Content;
use crate::error::Error;
use crate::goose::database::{Database, MessageRow, SessionRow};
use crate::goose::message::{Metadata, visible_text};
use crate::lenient::Lenient;
use crate::message::{Draft, turn_role};
use crate::recording::Recording;
use crate::session::Session;
use crate::time;

/// Iterates over the sessions of a database and reads each when it comes to it.
pub(crate) struct Sessions {
    database: Database,
    rows: vec::IntoIter<SessionRow>,
}

impl Sessions {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let Some(mut database) = Database::open(path)? else {
            let path = path.to_owned();
            return Err(Error::UnknownFormat { path });
        };
        let rows = database.sessions()?.into_iter();
        Ok(Self { database, rows })
    }

    fn read(&mut self, row: SessionRow) -> Result<Recording, Error> {
        let mut drafts = Vec::new();
        let mut unparsable = 0;
        self.database.for_each_message(&row.id, |message| {
            let json = message.content_json.as_deref().unwrap_or_default();
            match serde_json::from_slice::<Lenient<Content>>(json) {
                Ok(content) => drafts.extend(draft(message, &content.0.unwrap_or_default())),
                Err(_) => unparsable += 1,
            }
        })?;
        Session {
            backend_type: BackendType::Goose,
            id: text(row.id),
            working_dir: row.working_dir.map(text),
            drafts,
            unparsable_lines: unparsable,
        }
        .into_recording(self.database.path())
    }
}

impl Iterator for Sessions {
    type Item = Result<Recording, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        Some(self.read(row))
    }
}

/// Returns the ids of the sessions in a database. Empty if the database can't be read; reading its sessions
/// reports that error.
pub(crate) fn session_ids(path: &Path) -> HashSet<String> {
    let sessions = Sessions::open(path).map(|sessions| sessions.rows);
    let rows = sessions.into_iter().flatten();
    rows.map(|row| text(row.id)).collect()
}

fn draft(message: MessageRow, content: &Content) -> Option<Draft> {
    let metadata = message.metadata_json.unwrap_or_default();
    let metadata = serde_json::from_slice::<Lenient<Metadata>>(&metadata).unwrap_or_default();
    Some(Draft {
        role: turn_role(&text(message.role?))?,
        content: visible_text(content, &metadata.0.unwrap_or_default())?,
        timestamp: message.created.and_then(time::from_goose),
        id: message.message_id.map(text),
    })
}

fn text(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}
