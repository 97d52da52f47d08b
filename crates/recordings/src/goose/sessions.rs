use std::collections::HashSet;
use std::path::Path;
use std::{iter, vec};

use turnkeep_model::BackendType;

use crate::content::Content;
use crate::error::Error;
use crate::goose::database::{Database, Index, MessageRow, SessionRow};
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
    /// The number of sessions whose id is not a text. Each fails by itself.
    invalid: iter::RepeatN<()>,
    messages: Index,
}

impl Sessions {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let mut database = open(path)?;
        let (rows, invalid) = database.sessions()?;
        Ok(Self {
            messages: database.index()?,
            database,
            rows: rows.into_iter(),
            invalid: iter::repeat_n((), invalid),
        })
    }

    fn read(&mut self, row: SessionRow) -> Result<Recording, Error> {
        let bytes = row.id.unwrap_or_default();
        let places = self.messages.remove(&bytes).unwrap_or_default();
        let Ok(id) = String::from_utf8(bytes) else {
            return Err(self.invalid_id());
        };
        let path = self.database.path().to_owned();
        let mut session = Session::new(BackendType::Goose, id, path);
        session.title = row.name.or(row.description).map(text);
        session.working_dir = row.working_dir.map(text);
        let mut unparsable = 0;
        let drafts = self.database.messages(&places, |message| {
            let json = message.content_json.as_deref().unwrap_or_default();
            match serde_json::from_slice::<Lenient<Content>>(json) {
                Ok(content) => draft(message, &content.0.unwrap_or_default()),
                Err(_) => {
                    unparsable += 1;
                    None
                }
            }
        })?;
        session.drafts = drafts.into_iter().flatten().collect();
        session.unparsable_lines = unparsable;
        session.into_recording()
    }

    fn invalid_id(&self) -> Error {
        Error::NoTextId {
            path: self.database.path().to_owned(),
        }
    }
}

impl Iterator for Sessions {
    type Item = Result<Recording, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.invalid.next().is_some() {
            return Some(Err(self.invalid_id()));
        }
        let row = self.rows.next()?;
        Some(self.read(row))
    }
}

/// Returns the ids of the sessions in a database. Empty if the database can't be read; reading its sessions
/// reports that error.
pub(crate) fn session_ids(path: &Path) -> HashSet<String> {
    let sessions = open(path).and_then(|mut database| database.sessions());
    let rows = sessions.into_iter().flat_map(|(rows, _)| rows);
    rows.filter_map(|row| row.id).map(text).collect()
}

/// Whether a database of Goose has a session, also one without messages.
///
/// # Errors
/// [`Error::NotFound`] if there is no file, [`Error::UnknownFormat`] if it is no database of Goose, and the errors of
/// a database that can't be read.
///
/// ```no_run
/// let database = "/home/ada/.local/share/goose/sessions/sessions.db";
/// if turnkeep_recordings::has_goose_session(database.as_ref(), "20261005_1")? {
///     println!("goose session --resume --session-id 20261005_1");
/// }
/// # Ok::<(), turnkeep_recordings::Error>(())
/// ```
pub fn has_goose_session(database: &Path, id: &str) -> Result<bool, Error> {
    let (rows, _) = open(database)?.sessions()?;
    Ok(rows
        .iter()
        .any(|row| row.id.as_deref() == Some(id.as_bytes())))
}

pub(super) fn open(path: &Path) -> Result<Database, Error> {
    let database = Database::open(path)?;
    database.ok_or_else(|| Error::UnknownFormat {
        path: path.to_owned(),
    })
}

fn draft(message: MessageRow, content: &Content) -> Option<Draft> {
    let metadata = message.metadata_json.unwrap_or_default();
    let metadata = serde_json::from_slice::<Lenient<Metadata>>(&metadata).unwrap_or_default();
    Some(Draft {
        role: turn_role(&text(message.role?))?,
        content: visible_text(content, &metadata.0.unwrap_or_default())?,
        timestamp: message.created.and_then(time::from_goose),
        id: message.message_id.map(text),
        earlier_ids: Vec::new(),
    })
}

pub(super) fn text(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}
