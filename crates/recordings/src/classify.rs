//! Decides whether a file is a recording, by its place and its content.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use turnkeep_model::BackendType;

use crate::claude;
use crate::codex;
use crate::detect::{Format, detect};
use crate::error::Error;
use crate::file_name::{
    RolloutName, file_stem, has_suffix, is_agent_file, is_below_subagents, is_uuid,
};
use crate::goose::{self, Database};
use crate::open::open;
use crate::place::{self, Homes, Place};
use crate::source::{Identity, Source};

/// The extensions that people give to the output of an agent, beside `jsonl`.
const LOG_EXTENSIONS: [&str; 5] = ["json", "log", "ndjson", "out", "txt"];

pub(crate) enum Verdict {
    Recording(Source),
    /// The file of a sub-agent beside the transcript of this session.
    SubAgent {
        session_id: String,
    },
    /// It looks like a session, but is none.
    PassedOver(Error),
    /// Not a recording.
    Other,
}

/// Decides about the files of one search.
pub(crate) struct Classifier<'a> {
    /// The only agent whose files are wanted, if the user named one.
    backend: Option<&'a BackendType>,
    homes: Homes,
    codex_homes: HashMap<PathBuf, Arc<codex::Home>>,
}

impl<'a> Classifier<'a> {
    pub(crate) fn new(backend: Option<&'a BackendType>) -> Self {
        Self {
            backend,
            homes: Homes::default(),
            codex_homes: HashMap::new(),
        }
    }

    fn is_wanted(&self, format: Format) -> bool {
        self.backend.is_none() || self.backend == format.backend().as_ref()
    }

    /// Decides about a file that the search of a folder found. `place` is its real, absolute path.
    pub(crate) fn in_folder(&mut self, path: &Path, place: &Path) -> Result<Verdict, Error> {
        if !has_suffix(path, ".jsonl") && !has_suffix(path, ".jsonl.zst") {
            return database(path, place);
        }
        let Some(format) = detect(path)?.filter(|format| self.is_wanted(*format)) else {
            return Ok(Verdict::Other);
        };
        let owned = path.to_owned();
        let of = |identity| Source::new(owned.clone(), format, identity);
        let in_home = |identity, home| of(identity).in_place(home);
        Ok(match format {
            Format::Claude if is_below_subagents(place) => Verdict::Other,
            Format::Claude if is_agent_file(place) => match claude::parent_of(path)? {
                Some(session_id) => Verdict::SubAgent { session_id },
                None => Verdict::Other,
            },
            Format::Claude => match self.homes.claude(place) {
                Place::Plugin => Verdict::Other,
                Place::Elsewhere => Verdict::PassedOver(Error::Elsewhere { path: owned }),
                _ if !is_uuid(&file_stem(path)) => {
                    Verdict::PassedOver(Error::OtherSession { path: owned })
                }
                Place::Session { home } => {
                    Verdict::Recording(in_home(Identity::Name(file_stem(path)), home))
                }
                Place::Outside => Verdict::Recording(of(Identity::Name(file_stem(path)))),
            },
            Format::ClaudeLog => self.claimed_log(path, place),
            Format::ClaudeHistory => match self.homes.claude(place) {
                Place::Plugin => Verdict::Other,
                _ => history(place, of(Identity::Claim)),
            },
            Format::Codex => match self.homes.codex(place) {
                Place::Elsewhere => Verdict::PassedOver(Error::Elsewhere { path: owned }),
                Place::Session { home } => {
                    let source = in_home(rollout_identity(path), home.clone());
                    Verdict::Recording(source.in_codex_home(self.codex_home(home)))
                }
                _ => Verdict::Recording(of(rollout_identity(path))),
            },
            Format::GooseJsonl => Verdict::Recording(match place::goose(place) {
                Place::Session { home } => in_home(Identity::Name(file_stem(path)), home),
                _ => of(Identity::Claim),
            }),
            _ => Verdict::Other,
        })
    }

    /// Decides about a file with the name of no session. It may be the log of an orchestrator.
    pub(crate) fn log(&mut self, path: &Path, place: &Path) -> Result<Verdict, Error> {
        let extension = path.extension().and_then(OsStr::to_str);
        let is_named_so = extension.is_some_and(|it| LOG_EXTENSIONS.contains(&it));
        if !is_named_so || !begins_like_log(path)? {
            return Ok(Verdict::Other);
        }
        Ok(match detect(path)? {
            Some(format @ Format::ClaudeLog) if self.is_wanted(format) => {
                self.claimed_log(path, place)
            }
            _ => Verdict::Other,
        })
    }

    fn claimed_log(&mut self, path: &Path, place: &Path) -> Verdict {
        match self.homes.claude(place) {
            Place::Outside => {
                let path = path.to_owned();
                Verdict::Recording(Source::new(path, Format::ClaudeLog, Identity::Claim))
            }
            _ => Verdict::Other,
        }
    }

    /// Decides about a file that the user named.
    pub(crate) fn named(&mut self, path: &Path, place: &Path) -> Result<Source, Error> {
        let owned = || path.to_owned();
        if goose::is_sqlite(path)? {
            return match Database::open(path)? {
                Some(_) if self.is_wanted(Format::GooseDatabase) => Ok(goose_database(path, place)),
                _ => Err(Error::UnknownFormat { path: owned() }),
            };
        }
        let format = detect(path)?;
        let requested = match (self.backend, format) {
            (Some(BackendType::Claude), Some(Format::ClaudeLog | Format::ClaudeHistory)) => format,
            (Some(BackendType::Claude), _) => Some(Format::Claude),
            (Some(BackendType::Codex), _) => Some(Format::Codex),
            (Some(BackendType::Goose), _) => Some(Format::GooseJsonl),
            _ => format,
        };
        let Some(requested) = requested else {
            return Err(Error::UnknownFormat { path: owned() });
        };
        let is_sub_agent = match requested {
            Format::Claude => is_agent_file(place) || is_below_subagents(place),
            Format::Codex | Format::CodexSubAgent => format == Some(Format::CodexSubAgent),
            _ => false,
        };
        if is_sub_agent {
            return Err(Error::SubAgent { path: owned() });
        }
        let source = Source::new(owned(), requested, Identity::User);
        match requested {
            Format::ClaudeHistory => match history(place, source) {
                Verdict::Recording(source) => Ok(source),
                _ => Err(Error::UnknownFormat { path: owned() }),
            },
            Format::Claude => Ok(match self.homes.claude(place) {
                Place::Session { home } => source.in_place(home),
                _ => source,
            }),
            Format::Codex => Ok(match self.homes.codex(place) {
                Place::Session { home } => {
                    let codex_home = self.codex_home(home.clone());
                    source.in_place(home).in_codex_home(codex_home)
                }
                _ => source,
            }),
            Format::GooseJsonl => Ok(match place::goose(place) {
                Place::Session { home } => source.in_place(home),
                _ => source,
            }),
            _ => Ok(source),
        }
    }

    /// Returns the home, of which all sources share one.
    fn codex_home(&mut self, root: PathBuf) -> Arc<codex::Home> {
        let home = self.codex_homes.entry(root.clone());
        Arc::clone(home.or_insert_with(|| Arc::new(codex::Home::new(root))))
    }
}

/// Whether a file begins with an object that has a session, so that few files are parsed.
fn begins_like_log(path: &Path) -> Result<bool, Error> {
    let mut start = Vec::new();
    let read = open(path)?.take(4096).read_to_end(&mut start);
    read.map_err(Error::io(path))?;
    let has_session = start.windows(12).any(|text| text == b"\"session_id\"");
    Ok(start.starts_with(b"{") && has_session)
}

/// A rollout is named after its thread. Codex resumes no other.
fn rollout_identity(path: &Path) -> Identity {
    let name = RolloutName::of(path);
    name.map_or(Identity::Claim, |name| Identity::Name(name.thread))
}

/// The history of Claude Code lies beside the projects.
fn history(place: &Path, source: Source) -> Verdict {
    let is_history = place
        .file_name()
        .is_some_and(|name| name == "history.jsonl");
    match place.parent() {
        Some(home) if is_history && home.join("projects").is_dir() => {
            Verdict::Recording(source.in_place(home.to_owned()))
        }
        _ => Verdict::Other,
    }
}

/// A database that can't be read is a source as well. Reading it reports the error.
fn database(path: &Path, place: &Path) -> Result<Verdict, Error> {
    match Database::open(path) {
        Ok(None) => Ok(Verdict::Other),
        Err(error @ (Error::Io { .. } | Error::NotFound { .. })) => Err(error),
        Ok(Some(_)) | Err(_) => Ok(Verdict::Recording(goose_database(path, place))),
    }
}

fn goose_database(path: &Path, place: &Path) -> Source {
    let source = Source::new(path.to_owned(), Format::GooseDatabase, Identity::Many);
    match place::goose(place) {
        Place::Session { home } => source.in_place(home),
        _ => source,
    }
}
