use std::cell::LazyCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use turnkeep_recordings::{Error as RecordingError, Source, find};
use turnkeep_repo::chrono::{DateTime, Utc};
use turnkeep_repo::{BackendType, RecordingFile, Repo, SessionId};

use crate::AgentHomes;
use crate::kept::present_files;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The time before a deletion in which [`HomeCheck::expiring`] counts a session.
const SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// File systems take times from clocks that lag: by some milliseconds on Linux, by up to two seconds on FAT.
const COARSEST_CLOCK: Duration = Duration::from_secs(2);

/// The days after which Claude Code deletes a recording, unless its settings say otherwise.
const CLEANUP_DAYS: u64 = 30;

/// The most bytes of settings that are read.
const MAX_SETTINGS: u64 = 1024 * 1024;

/// What a store has of the sessions in the home of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HomeCheck {
    /// The agent.
    pub backend_type: BackendType,
    /// The home.
    pub home: PathBuf,
    /// The number of sessions in the home, without those that only a log or a history of prompts claims.
    pub sessions: u64,
    /// The number of sessions that the store has not.
    pub not_kept: u64,
    /// The number of sessions of which the store has only words, after an import without files or by a hook.
    pub words_only: u64,
    /// The number of sessions of which a file is not kept under its present name, or has grown since. Counts files of
    /// sub-agents and tools, and files that the agent has moved. Not known of sessions in a database.
    pub grown: u64,
    /// The number of sessions that the agent will delete within seven days. Only Claude Code deletes any: when it
    /// starts, files older than `cleanupPeriodDays` of its settings, by default 30 days.
    pub expiring: u64,
    /// The number of sessions about to be deleted that the store has not, or not whole.
    pub expiring_unkept: u64,
}

/// Compares the sessions in the homes of the agents with a store, one result for each home that exists. `now` is the
/// present time.
///
/// Only names, sizes and times of files are compared, except in databases of Goose, whose list of sessions is read.
/// A session whose task was removed counts as kept, and as not kept when it goes on: it has a turn from after the removal.
/// Only files that have changed since are read for that, and a database of Goose each time.
///
/// # Errors
/// [`HomeCheckError::Recordings`] if a home can't be searched, [`HomeCheckError::Store`] if the store fails.
///
/// ```
/// use std::time::SystemTime;
/// use turnkeep_agents::{AgentHomes, check_homes};
/// use turnkeep_repo::Repo;
///
/// let homes = AgentHomes::new("/none/.claude", "/none/.codex", "/none/goose");
/// assert!(check_homes(&Repo::open_in_memory()?, &homes, SystemTime::now())?.is_empty());
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn check_homes(
    repo: &Repo,
    homes: &AgentHomes,
    now: SystemTime,
) -> Result<Vec<HomeCheck>, HomeCheckError> {
    let homes = [
        (BackendType::Claude, &homes.claude),
        (BackendType::Codex, &homes.codex),
        (BackendType::Goose, &homes.goose),
    ];
    let existing = homes.into_iter().filter(|(_, home)| home.is_dir());
    let checks = existing.map(|(backend, home)| check_home(repo, backend, home, now));
    checks.collect()
}

/// The reason for which homes could not be compared with a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeCheckError {
    /// A home could not be searched.
    #[error(transparent)]
    Recordings(#[from] RecordingError),
    /// A call to the store failed.
    #[error(transparent)]
    Store(#[from] turnkeep_repo::Error),
}

fn check_home(
    repo: &Repo,
    backend: BackendType,
    home: &Path,
    now: SystemTime,
) -> Result<HomeCheck, HomeCheckError> {
    let oldest = match backend {
        BackendType::Claude => now.checked_sub(cleanup_period(home).saturating_sub(SOON)),
        _ => None,
    };
    let sources = find(home, Some(&backend))?.sources;
    let mut check = HomeCheck {
        backend_type: backend,
        home: home.to_owned(),
        sessions: 0,
        not_kept: 0,
        words_only: 0,
        grown: 0,
        expiring: 0,
        expiring_unkept: 0,
    };
    let removed = repo.list_removed_sessions()?.into_iter();
    let removed = removed.filter(|it| it.backend_type == check.backend_type);
    let removed: HashMap<_, _> = removed.map(|it| (it.session_id, it.removed_at)).collect();
    for source in sources.iter().filter(|source| !source.is_claim()) {
        let last_turns = LazyCell::new(|| last_turns(source));
        for id in source.session_ids() {
            // No import takes another id.
            let Ok(id) = SessionId::new(id) else {
                continue;
            };
            let kept = match removed.get(&id) {
                Some(at) if may_have_changed(source, *at) && last_turns.get(&id) > Some(at) => {
                    Kept::Nothing
                }
                Some(_) => Kept::All,
                None => kept(repo, &check.backend_type, &id, source)?,
            };
            check.sessions += 1;
            check.not_kept += u64::from(kept == Kept::Nothing);
            check.words_only += u64::from(kept == Kept::Words);
            check.grown += u64::from(kept == Kept::Part);
            if oldest.is_some_and(|oldest| latest_change(source) < Some(oldest)) {
                check.expiring += 1;
                check.expiring_unkept += u64::from(kept != Kept::All);
            }
        }
    }
    Ok(check)
}

#[derive(PartialEq, Eq)]
enum Kept {
    Nothing,
    Words,
    Part,
    All,
}

fn kept(
    repo: &Repo,
    backend: &BackendType,
    id: &SessionId,
    source: &Source,
) -> Result<Kept, turnkeep_repo::Error> {
    let tasks = repo.list_tasks_by_session(backend, id)?;
    if tasks.is_empty() {
        return Ok(Kept::Nothing);
    }
    let mut best = Kept::Words;
    for task in &tasks {
        let files = present_files(repo, task)?;
        if files.is_empty() {
            continue;
        }
        if is_whole(&files, source) {
            return Ok(Kept::All);
        }
        best = Kept::Part;
    }
    Ok(best)
}

/// Whether the kept files reach to the ends of the files on disk. Also true of a session in a database, which has
/// no file of its own.
fn is_whole(kept: &[RecordingFile], source: &Source) -> bool {
    let lengths = kept.iter().map(|file| (file.name.as_str(), file.length));
    let lengths: HashMap<&str, u64> = lengths.collect();
    source.files_in_home().iter().all(|file| {
        let now = fs::metadata(&file.path).map(|now| now.len());
        // Deleted meanwhile.
        now.map_or(true, |now| lengths.get(&*file.name) >= Some(&now))
    })
}

/// Whether a source may have turns from after this time. The files of a database do not show it.
fn may_have_changed(source: &Source, time: DateTime<Utc>) -> bool {
    let may_be_after = |change: SystemTime| {
        let latest = change.checked_add(COARSEST_CLOCK);
        latest.is_none_or(|latest| latest > time.into())
    };
    source.backend() == Some(&BackendType::Goose) || latest_change(source).is_some_and(may_be_after)
}

/// Returns the time of the last turn of each session that can be read.
fn last_turns(source: &Source) -> HashMap<SessionId, DateTime<Utc>> {
    let sessions = source.sessions().into_iter().flatten().flatten();
    let last_turns = sessions.filter_map(|it| Some((it.session_id.clone(), it.last_timestamp()?)));
    last_turns.collect()
}

fn latest_change(source: &Source) -> Option<SystemTime> {
    let files = source.files().iter();
    files
        .filter_map(|path| fs::metadata(path).ok()?.modified().ok())
        .max()
}

/// Returns the time after which Claude Code deletes a recording.
pub(crate) fn cleanup_period(home: &Path) -> Duration {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Settings {
        cleanup_period_days: Option<u64>,
    }
    let settings = || {
        let path = home.join("settings.json");
        // Opening a pipe would wait.
        fs::metadata(&path).ok().filter(|it| it.is_file())?;
        let file = File::open(path).ok()?.take(MAX_SETTINGS);
        let settings: Settings = serde_json::from_reader(file).ok()?;
        settings.cleanup_period_days
    };
    let days = settings().unwrap_or(CLEANUP_DAYS);
    DAY.checked_mul(u32::try_from(days).unwrap_or(u32::MAX))
        .unwrap_or(Duration::MAX)
}
