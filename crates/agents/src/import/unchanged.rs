//! Tells of the sessions in files that have not changed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use turnkeep_repo::{BackendType, Repo, Result, Session, SessionId};

use super::ImportOptions;
use super::event::{ImportEvent, SkippedSession};
use super::known::KnownFiles;
use super::origin::Origin;
use super::place::real;

pub(super) fn tell(
    repo: &Repo,
    options: &ImportOptions,
    paths: &[PathBuf],
    on_event: &mut dyn FnMut(ImportEvent),
) -> Result<()> {
    let known = KnownFiles::load(repo, options)?;
    let removed = repo.list_removed_sessions()?.into_iter();
    let removed: HashSet<_> = removed.map(|it| (it.backend_type, it.session_id)).collect();
    let mut bound = None;
    let mut told = HashSet::new();
    for path in paths {
        let Some(file) = known.get(path) else {
            continue;
        };
        let sessions = match &file.session_id {
            Some(session) => vec![session.clone()],
            None => {
                let bound = match &mut bound {
                    Some(bound) => bound,
                    none => none.insert(repo.list_sessions()?),
                };
                sessions_in(path, bound, options)
            }
        };
        for session_id in sessions {
            let session = (file.backend_type.clone(), session_id);
            // A session may have several files. In several databases of Goose it is another one.
            if session.0 != BackendType::Goose && !told.insert(session.clone()) {
                continue;
            }
            let is_removed = removed.contains(&session);
            let (backend_type, session_id) = session;
            let skipped = SkippedSession {
                backend_type,
                session_id,
                path: path.clone(),
            };
            on_event(match is_removed {
                true => ImportEvent::Removed(skipped),
                false => ImportEvent::Unchanged(skipped),
            });
        }
    }
    Ok(())
}

/// Returns the sessions that were imported from a file of several.
fn sessions_in(path: &Path, bound: &[Session], options: &ImportOptions) -> Vec<SessionId> {
    let path = real(path);
    let is_from = |session: &&Session| {
        Origin::of(session.metadata.as_ref()).is_some_and(|origin| {
            origin.host == options.host && Path::new(&origin.imported_from) == path
        })
    };
    let sessions = bound.iter().filter(is_from);
    sessions.map(|session| session.session_id.clone()).collect()
}
