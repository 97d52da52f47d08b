use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use turnkeep_recordings::{Exporter, Recording, Source};
use turnkeep_repo::{BackendType, ImportedFile, SessionId};

use super::ImportOptions;
use super::event::KeepError;
use super::known::note;
use super::place::real;

/// The files of a source while it is imported.
pub(super) struct SourceFiles<'a> {
    options: &'a ImportOptions,
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
    pub(super) fn before_reading(source: &Source, options: &'a ImportOptions) -> Self {
        let noted =
            |path: &PathBuf| note(path, &fs::metadata(path).ok()?, source.backend()?, options);
        Self {
            options,
            recordings: source.files().iter().map(|path| real(path)).collect(),
            notes: source.files().iter().filter_map(noted).collect(),
            sessions: Vec::new(),
            is_complete: true,
            exporter: None,
        }
    }

    pub(super) fn add_session(&mut self, session: &SessionId) {
        self.sessions.push(session.clone());
    }

    /// Notes a file beside a transcript before it is kept. The recordings were noted before their words were read, or
    /// not at all. The rollout that a fork of Codex begins with is a recording of another session.
    pub(super) fn add_beside(&mut self, path: &Path, metadata: &Metadata, recording: &Recording) {
        let has_files_beside = recording.backend_type == BackendType::Claude;
        if has_files_beside && !self.recordings.iter().any(|recording| recording == path) {
            let noted = note(path, metadata, &recording.backend_type, self.options);
            self.notes.extend(noted);
        }
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
            file.settled = if words_only { 0 } else { file.size };
            file
        })
    }
}
