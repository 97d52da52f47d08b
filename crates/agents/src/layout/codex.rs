//! Codex: `sessions/YYYY/MM/DD/rollout-YYYY-MM-DDThh-mm-ss-<thread>.jsonl`, after a revert
//! `rollout-…-<thread>_<rollout>.jsonl`, either also compressed (`.jsonl.zst`). Archived rollouts are in a flat
//! folder, from which Codex resumes none.

use std::path::PathBuf;

use turnkeep_repo::chrono::{DateTime, NaiveDateTime, Utc};

use super::{below, is_uuid};

/// The names of a rollout.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RolloutName {
    /// The time in the file name, which is local.
    time: NaiveDateTime,
    /// The id of the thread, and after a revert `_` with the id of the rollout.
    ids: String,
    suffix: &'static str,
}

const TIME: &str = "%Y-%m-%dT%H-%M-%S";

impl RolloutName {
    /// Reads the last name of a path. `None` if Codex would not take it for a rollout's.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?.strip_prefix("rollout-")?;
        let (stem, suffix) = [".jsonl", ".jsonl.zst"]
            .into_iter()
            .find_map(|suffix| Some((name.strip_suffix(suffix)?, suffix)))?;
        let (time, ids) = stem.split_at_checked("2026-01-02T03-04-05".len())?;
        let ids = ids.strip_prefix('-')?;
        let is_valid = ids.split('_').count() <= 2 && ids.split('_').all(is_uuid);
        is_valid.then_some(())?;
        Some(Self {
            time: NaiveDateTime::parse_from_str(time, TIME).ok()?,
            ids: ids.to_owned(),
            suffix,
        })
    }

    /// Makes the name of the only rollout of a thread.
    pub(crate) fn new(thread: &str, time: DateTime<Utc>) -> Self {
        Self {
            time: time.naive_utc(),
            ids: thread.to_owned(),
            suffix: ".jsonl",
        }
    }

    pub(crate) fn thread(&self) -> &str {
        self.ids.split('_').next().unwrap_or_default()
    }

    /// Returns the id by which a fork names the rollout: the thread's, or the own one after a revert.
    pub(crate) fn rollout(&self) -> &str {
        self.ids.rsplit('_').next().unwrap_or_default()
    }

    /// Whether this is the rollout or the thread of an id, as a fork names its parent.
    pub(crate) fn is_of(&self, id: &str) -> bool {
        self.rollout() == id || self.thread() == id
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.suffix.ends_with(".zst")
    }

    /// Returns the path below the home where Codex puts a rollout of this name.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let folder = self.time.format("sessions/%Y/%m/%d");
        let time = self.time.format(TIME);
        below(&format!(
            "{folder}/rollout-{time}-{}{}",
            self.ids, self.suffix
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const THREAD: &str = "01a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";
    const ROLLOUT: &str = "11a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";

    #[test]
    fn a_rollout_goes_to_the_folder_of_its_day() {
        for name in [
            format!("rollout-2026-09-18T07-12-44-{THREAD}.jsonl"),
            format!("rollout-2026-09-18T07-12-44-{THREAD}_{ROLLOUT}.jsonl"),
            format!("rollout-2026-09-18T07-12-44-{THREAD}.jsonl.zst"),
        ] {
            let kept = format!("archived_sessions/{name}");
            let rollout = RolloutName::of(&kept).unwrap();
            assert_eq!(rollout.thread(), THREAD);
            let path = format!("sessions/2026/09/18/{name}");
            assert_eq!(rollout.path().unwrap(), Path::new(&path));
        }
    }

    #[test]
    fn other_names_are_no_rollouts() {
        for name in [
            format!("{THREAD}.jsonl"),
            format!("rollout-{THREAD}.jsonl"),
            format!("rollout-2026-13-18T07-12-44-{THREAD}.jsonl"),
            format!("rollout-2026-09-18T07-12-44-{THREAD}_{ROLLOUT}_{ROLLOUT}.jsonl"),
            "rollout-2026-09-18T07-12-44-x.jsonl".to_owned(),
            format!("rollout-2026-09-18T07-12-44-{THREAD}.json"),
            "rollout-2026-09-18T07-12-4é".to_owned(),
            "config.toml".to_owned(),
        ] {
            assert_eq!(RolloutName::of(&name), None, "{name}");
        }
    }
}
