//! Codex CLI: one JSONL "rollout" per session, `sessions/YYYY/MM/DD/rollout-<time>-<id>.jsonl`.
//!
//! Each line is an envelope `{timestamp, type, payload}`. Before August 2025 a file was a header line and
//! bare payloads.

mod home;
mod line;
mod prompt;
mod rollout;
mod state;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use turnkeep_model::BackendType;

use crate::by_time::by_time;
use crate::codex::rollout::Rollout;
use crate::error::Error;
use crate::file_name::RolloutName;
use crate::key::Fingerprint;
use crate::message::Draft;
use crate::recording::Recording;
use crate::session::Session;

pub(crate) use home::Home;
pub(crate) use prompt::prompt_text;
pub use state::{CodexThread, codex_thread};

/// Reads the rollouts of one thread: a revert begins another file, and so may a second machine. `home` is
/// the Codex home that has them, if any. Only a file in the home of its agent (`is_in_place`) tells the working
/// folder, if there is one.
pub(crate) fn read(
    files: &[PathBuf],
    is_in_place: impl Fn(&Path) -> bool,
    home: Option<&Home>,
) -> Result<Recording, Error> {
    let mut rollouts = Vec::new();
    let mut passed_over = Vec::new();
    let mut thread = None;
    for path in files {
        let rollout = Rollout::read(path, None)?;
        match rollout.thread_id() {
            Some(id) => {
                thread.get_or_insert(id);
                rollouts.push(rollout);
            }
            None => passed_over.push(path.clone()),
        }
    }
    let rank = |it: &&Rollout| (is_in_place(&it.path), it.latest);
    let (Some(thread), Some(latest)) = (thread, rollouts.iter().max_by_key(rank)) else {
        let path = passed_over.swap_remove(0);
        return Err(Error::OtherSession { path });
    };
    let mut session = Session::new(BackendType::Codex, thread, latest.path.clone());
    session.working_dir = latest.working_dir().map(str::to_owned);
    session.title = latest.title.clone();
    if let [rollout] = rollouts.as_slice()
        && rollout.base().is_none()
    {
        session.settled = rollout.settled;
    }
    session.forked_from = latest.forked_from().map(str::to_owned);
    session.passed_over = passed_over;
    if let Some(home) = home {
        let indexed = || home.name(&session.id).map(str::to_owned);
        session.title = session.title.take().or_else(indexed);
    }
    let mut bases = HashSet::new();
    for rollout in &rollouts {
        session.unparsable_lines += rollout.unparsable_lines;
        if bases.insert(rollout.base()) {
            add_inherited(rollout, home, &mut session);
        }
    }
    // After a revert, a thread is its own base.
    session.forked_from = session.forked_from.filter(|id| *id != session.id);
    session.drafts.extend(merged(rollouts));
    session.into_recording()
}

/// Reads the end of a rollout, from the line of a turn of the user on. `None` if no line begins there, or
/// its name has no thread.
pub(crate) fn read_tail(
    path: &Path,
    offset: u64,
    home: Option<&Home>,
) -> Result<Option<Recording>, Error> {
    let rollout = Rollout::read_tail(path, offset)?;
    let name = RolloutName::of(path).filter(|_| rollout.first == Some(offset));
    let Some(RolloutName { thread, .. }) = name else {
        return Ok(None);
    };
    let mut session = Session::new(BackendType::Codex, thread, path.to_owned());
    let indexed = || home?.name(&session.id).map(str::to_owned);
    session.title = rollout.title.clone().or_else(indexed);
    session.unparsable_lines = rollout.unparsable_lines;
    session.settled = rollout.settled;
    session.drafts = merged(vec![rollout]);
    session.into_recording().map(Some)
}

/// Adds what a fork inherits: the rollout that it refers to, with what that one inherits itself. A reverted
/// thread refers to its own first file, which is read anyway.
fn add_inherited(fork: &Rollout, home: Option<&Home>, session: &mut Session) {
    let mut chain: Vec<Rollout> = Vec::new();
    let mut visited = HashSet::new();
    while let Some((id, end)) = chain.last().unwrap_or(fork).base() {
        let path = home.and_then(|home| home.rollout(id));
        if path.is_some_and(|path| !visited.insert(path.to_owned())) {
            // A circle, which no version of Codex makes.
            break;
        }
        let parent = path.and_then(|path| Rollout::read(path, Some(end)).ok());
        // The own messages of a fork count, whatever has become of its parent.
        let Some((parent, thread)) = parent.and_then(|it| it.thread_id().map(|id| (it, id))) else {
            session.missing_parent = Some(id.to_owned());
            session.forked_from.get_or_insert_with(|| id.to_owned());
            break;
        };
        session.ancestors.push(parent.path.clone());
        if thread == session.id {
            break;
        }
        session.forked_from.get_or_insert(thread);
        chain.push(parent);
    }
    let inherited = chain.into_iter().rev().flat_map(|parent| parent.drafts);
    session.drafts.extend(inherited.map(|timed| timed.item));
}

/// Merges the files of a thread by time. A message that stands in several counts once.
fn merged(rollouts: Vec<Rollout>) -> Vec<Draft> {
    let is_several = rollouts.len() > 1;
    let mut counts: HashMap<_, u64> = HashMap::new();
    let mut own_counts: HashMap<_, u64> = HashMap::new();
    let files = rollouts.into_iter().map(|rollout| rollout.drafts).collect();
    let mut drafts = Vec::new();
    for (file, draft) in by_time(files) {
        if is_several {
            let text = Fingerprint::of_turn(draft.role, &draft.content);
            let message = (text, draft.timestamp);
            let count = counts.entry(message).or_default();
            let own = own_counts.entry((file, message)).or_default();
            *own += 1;
            if *own <= *count {
                continue;
            }
            *count += 1;
        }
        drafts.push(draft);
    }
    drafts
}
