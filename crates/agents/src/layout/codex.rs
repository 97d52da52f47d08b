//! Codex: `sessions/YYYY/MM/DD/rollout-YYYY-MM-DDThh-mm-ss-<thread>.jsonl`, after a revert
//! `rollout-…-<thread>_<rollout>.jsonl`, either also compressed (`.jsonl.zst`). Archived rollouts are in a flat
//! folder, from which Codex resumes none.

use super::is_uuid;

/// The names of a rollout.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RolloutName {
    /// The id of the thread, and after a revert `_` with the id of the rollout.
    ids: String,
    suffix: &'static str,
}

impl RolloutName {
    /// Reads the last name of a path. `None` if Codex would not take it for a rollout's.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?.strip_prefix("rollout-")?;
        let (stem, suffix) = [".jsonl", ".jsonl.zst"]
            .into_iter()
            .find_map(|suffix| Some((name.strip_suffix(suffix)?, suffix)))?;
        let (_, ids) = stem.split_at_checked("2026-01-02T03-04-05".len())?;
        let ids = ids.strip_prefix('-')?;
        let is_valid = ids.split('_').count() <= 2 && ids.split('_').all(is_uuid);
        is_valid.then(|| Self {
            ids: ids.to_owned(),
            suffix,
        })
    }

    pub(crate) fn thread(&self) -> &str {
        self.ids.split('_').next().unwrap_or_default()
    }

    /// Returns the id by which a fork names the rollout: the thread's, or the own one after a revert.
    pub(crate) fn rollout(&self) -> &str {
        self.ids.rsplit('_').next().unwrap_or_default()
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.suffix.ends_with(".zst")
    }
}
