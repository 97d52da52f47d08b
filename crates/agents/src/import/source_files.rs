use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use turnkeep_recordings::{Exporter, Recording, Source};
use turnkeep_repo::{BackendType, ImportedFile, SessionId};

use super::ImportOptions;
use super::event::KeepError;
use super::known::{KnownFiles, MAY_CHANGE, note};
use super::place::real;

/// The files of a source while it is imported.
pub(super) struct SourceFiles<'a> {
    options: &'a ImportOptions,
    /// What earlier imports have noted.
    known: Rc<KnownFiles>,
    /// The real paths of the recordings.
    recordings: Vec<PathBuf>,
    /// Each file as it was before it was read.
    notes: Vec<ImportedFile>,
    sessions: Vec<SessionId>,
    /// Whether all was imported and kept.
    pub(super) is_complete: bool,
    exporter: Option<Exporter>,
}

impl<'a> SourceFiles<'a> {
    pub(super) fn before_reading(
        source: &Source,
        options: &'a ImportOptions,
        known: Rc<KnownFiles>,
    ) -> Self {
        let noted =
            |path: &PathBuf| note(path, &fs::metadata(path).ok()?, source.backend()?, options);
        Self {
            options,
            known,
            recordings: source.files().iter().map(|path| real(path)).collect(),
            notes: source.files().iter().filter_map(noted).collect(),
            sessions: Vec::new(),
            is_complete: true,
            exporter: None,
        }
    }

    /// Returns the session in the only file and how many bytes of its words are settled, if the file can only have grown
    /// since an earlier import.
    pub(super) fn settled_end(&self) -> Option<(&SessionId, u64)> {
        let [file] = &self.notes[..] else {
            return None;
        };
        let (session, settled) = self.known.settled_end(file)?;
        Some((session, settled.try_into().ok()?))
    }

    /// Notes which session was read, before its files are kept.
    pub(super) fn add_session(&mut self, recording: &Recording) {
        self.sessions.push(recording.session_id.clone());
        if let [file] = &mut self.notes[..] {
            file.settled = recording.settled.try_into().unwrap_or(0);
        }
    }

    /// Notes a file beside a transcript before it is kept. The recordings were noted before their words were read, or
    /// not at all. The rollout that a fork of Codex begins with is a recording of another session.
    ///
    /// Returns how many bytes of the file earlier imports have kept, if it can only have grown since.
    pub(super) fn before_keeping(
        &mut self,
        path: &Path,
        metadata: &Metadata,
        recording: &Recording,
    ) -> Option<u64> {
        let noted = note(path, metadata, &recording.backend_type, self.options)?;
        let end = self.known.kept_end(&noted, &recording.session_id);
        if self.recordings.iter().any(|recording| recording == path) {
            let before = self.notes.iter_mut().find(|it| it.path == noted.path);
            if let Some(before) = before.filter(|before| before.size < noted.size) {
                // More is kept than was read.
                before.size = noted.size;
                before.modified_ns = MAY_CHANGE;
            }
        } else if recording.backend_type == BackendType::Claude {
            self.notes.push(noted);
        }
        end?.try_into().ok()
    }

    /// Exports a session of a Goose database, which is opened for the first one. `None` for another source.
    pub(super) fn export(
        &mut self,
        source: &Source,
        recording: &Recording,
    ) -> Result<Option<turnkeep_recordings::Export>, KeepError> {
        if self.exporter.is_none() {
            self.exporter = source.exporter()?;
        }
        match &mut self.exporter {
            Some(exporter) => Ok(exporter.export(&recording.session_id)?),
            None => Ok(None),
        }
    }

    /// Returns the files that the next import need not read.
    pub(super) fn into_known(self) -> impl Iterator<Item = ImportedFile> {
        // A file of several sessions is noted without one.
        let session = match &self.sessions[..] {
            [session] => Some(session.clone()),
            _ => None,
        };
        let words_only = self.options.words_only;
        let notes = self.notes.into_iter().filter(move |_| self.is_complete);
        notes.map(move |mut file| {
            file.session_id = session.clone();
            if file.settled > file.size {
                // It was longer when its words were read.
                file.settled = 0;
            }
            file.kept = match (words_only, &session) {
                (false, _) => file.size,
                // What an earlier import has kept is kept.
                (true, Some(session)) => self.known.kept_end(&file, session).unwrap_or(0),
                (true, None) => 0,
            };
            file
        })
    }
}
