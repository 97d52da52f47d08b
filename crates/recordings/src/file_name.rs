use std::path::Path;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// Returns the name of the file without its extension.
pub(crate) fn file_stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// The characters of an id that may not stand in a component of a name, and the percent sign.
const SPECIAL: &AsciiSet = &CONTROLS.add(b'/').add(b'\\').add(b'%');

/// Makes an id a part of a file name.
pub(crate) fn component(id: &str) -> String {
    utf8_percent_encode(id, SPECIAL).to_string()
}

/// Whether a text has the form `8-4-4-4-12` of hexadecimal digits.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Whether the name is one of a sub-agent. Claude Code 2.0 stored them beside the sessions.
pub(crate) fn is_agent_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b"agent-")
}

/// Whether the file lies below `<session id>/subagents/`, where Claude Code stores sub-agents.
pub(crate) fn is_below_subagents(path: &Path) -> bool {
    let names: Vec<_> = path.iter().map(|name| name.to_string_lossy()).collect();
    names
        .windows(2)
        .any(|pair| is_uuid(&pair[0]) && pair[1] == "subagents")
}

pub(crate) fn has_suffix(path: &Path, suffix: &str) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().ends_with(suffix.as_bytes())
}

/// The folders of a Codex home that hold its rollouts.
pub(crate) const ROLLOUT_FOLDERS: [&str; 2] = ["sessions", "archived_sessions"];

/// The ids in the name of a rollout: `rollout-<time>-<thread>.jsonl`, or `rollout-<time>-<thread>_<rollout>.jsonl`
/// after a revert, either also compressed.
pub(crate) struct RolloutName {
    pub(crate) thread: String,
    /// Equal to the thread if the thread was not reverted.
    pub(crate) rollout: String,
}

impl RolloutName {
    /// Returns `None` for a name without a UUID at its end.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_prefix("rollout-")?;
        let stem = name
            .strip_suffix(".zst")
            .unwrap_or(name)
            .strip_suffix(".jsonl")?;
        let (thread, rollout) = stem.split_once('_').unwrap_or((stem, stem));
        let uuid = |text: &str| {
            let id = text.get(text.len().checked_sub(36)?..)?;
            is_uuid(id).then(|| id.to_owned())
        };
        Some(Self {
            thread: uuid(thread)?,
            rollout: uuid(rollout)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_has_the_ids_of_its_thread_and_its_own() {
        const THREAD: &str = "01a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";
        const ROLLOUT: &str = "11a0f3b1-5c2e-7a41-9d37-2b6e4f8a1c05";
        let ids = |name: String| {
            let name = RolloutName::of(Path::new(&name))?;
            Some((name.thread, name.rollout))
        };
        let of = |thread: &str, rollout: &str| Some((thread.to_owned(), rollout.to_owned()));
        let start = "rollout-2026-09-18T07-12-44";
        assert_eq!(ids(format!("{start}-{THREAD}.jsonl")), of(THREAD, THREAD));
        assert_eq!(
            ids(format!("{start}-{THREAD}.jsonl.zst")),
            of(THREAD, THREAD)
        );
        let reverted = format!("{start}-{THREAD}_{ROLLOUT}.jsonl");
        assert_eq!(ids(reverted), of(THREAD, ROLLOUT));
        assert_eq!(ids("rollout-é.jsonl".to_owned()), None);
        assert_eq!(ids(format!("{THREAD}.jsonl")), None);
    }
}
