use std::fs;
use std::path::{Path, PathBuf};

use turnkeep_recordings::{Recording, Source};
use turnkeep_repo::{BackendType, ConfigDir};

use super::ImportOptions;
use super::origin::{Evidence, Origin};
use crate::layout;

/// The place of a recording, and what it proves.
pub(super) struct Place<'a> {
    /// Real.
    pub(super) path: PathBuf,
    pub(super) evidence: Evidence,
    /// The home of the agent, if the recording lies where the agent keeps sessions.
    home: Option<PathBuf>,
    options: &'a ImportOptions,
}

impl<'a> Place<'a> {
    pub(super) fn of(source: &Source, recording: &Recording, options: &'a ImportOptions) -> Self {
        let path = layout::real(&recording.path);
        let evidence = match recording.has_only_prompts {
            true => Evidence::Prompts,
            false if source.is_claim() => Evidence::Claim,
            false => Evidence::Place,
        };
        Self {
            home: source.home_of(&recording.path).map(layout::real),
            path,
            evidence,
            options,
        }
    }

    /// Returns the place of a file that its agent may not have written yet.
    pub(super) fn expected(recording: &Recording, options: &'a ImportOptions) -> Self {
        let path = layout::real(&recording.path);
        let projects = path.ancestors().nth(2);
        let is_transcript = projects.is_some_and(|folder| folder.ends_with("projects"));
        let home = projects.and_then(Path::parent).filter(|_| is_transcript);
        Self {
            home: home.map(layout::real),
            path,
            evidence: Evidence::Place,
            options,
        }
    }

    pub(super) fn origin(&self) -> Origin {
        Origin {
            imported_from: self.path.to_string_lossy().into_owned(),
            host: self.options.host.clone(),
            evidence: self.evidence,
        }
    }

    /// Whether the origin is on this machine.
    pub(super) fn is_on_host(&self, origin: &Origin) -> bool {
        origin.host == self.options.host
    }

    /// Whether the origin is this very file.
    pub(super) fn is_file(&self, origin: &Origin) -> bool {
        self.is_on_host(origin) && origin.imported_from == self.path.to_string_lossy()
    }

    /// Whether the origin lies in the same folder. An orchestrator may keep a log of each run there.
    pub(super) fn is_folder(&self, origin: &Origin) -> bool {
        let folder = Path::new(&origin.imported_from).parent();
        self.is_on_host(origin) && folder == self.path.parent()
    }

    /// Whether the recording lies where the agent keeps its sessions.
    pub(super) fn is_in_home(&self) -> bool {
        self.home.is_some()
    }

    /// Returns the home as a binding names it: not if it is the usual one.
    pub(super) fn config_dir(&self, backend: &BackendType) -> Option<ConfigDir> {
        let home = self.home.as_deref()?;
        if self.is_usual_home(backend) {
            return None;
        }
        let folder = match backend {
            // Goose takes the folder around its data.
            BackendType::Goose => home.parent().filter(|_| home.ends_with("data"))?,
            _ => home,
        };
        ConfigDir::try_from(folder).ok()
    }

    /// Whether the recording lies in the home that a binding names, by default the usual one.
    pub(super) fn is_home(&self, backend: &BackendType, named: Option<&ConfigDir>) -> bool {
        match named {
            Some(named) => {
                let config_dir = self.config_dir(backend);
                config_dir.is_some_and(|folder| folder.as_path() == layout::real(named.as_path()))
            }
            None => self.is_usual_home(backend),
        }
    }

    fn is_usual_home(&self, backend: &BackendType) -> bool {
        let homes = &self.options.homes;
        let usual = match backend {
            BackendType::Claude => &homes.claude,
            BackendType::Codex => &homes.codex,
            BackendType::Goose => &homes.goose,
            _ => return false,
        };
        self.home.as_deref() == Some(&layout::real(usual))
    }
}

/// Returns the real path as the system writes it, or a path that does not exist unchanged.
pub(super) fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}
