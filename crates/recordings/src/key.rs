use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};
use turnkeep_model::{MessageKey, Role};

use crate::file_name::is_uuid;
use crate::message::{Draft, KeyOrigin, RecordedMessage};

/// Assigns a key to each turn and drops drafts without text.
///
/// The key is the agent's id of the message, if it is valid and not the key of an earlier turn. Otherwise it
/// is derived from role and content, without trailing white space, and numbered from 1 among equal turns. A
/// derived key depends only on the equal turns before it: a line that is repaired later, or a file that was
/// cut and has grown, changes no other key.
pub(crate) fn assign(drafts: Vec<Draft>) -> Vec<RecordedMessage> {
    let mut taken = HashSet::new();
    let mut numbers: HashMap<Fingerprint, u64> = HashMap::new();
    let mut messages = Vec::with_capacity(drafts.len());
    for draft in drafts.into_iter().filter(|it| !it.content.is_empty()) {
        let own = draft.id.and_then(|id| MessageKey::new(id).ok());
        let own = own.filter(|id| taken.insert(id.clone()));
        let (key, origin) = match own {
            Some(id) => (id, KeyOrigin::Agent),
            None => {
                let fingerprint = Fingerprint::of_turn(draft.role, &draft.content);
                let number = numbers.entry(fingerprint).or_default();
                *number += 1;
                (fingerprint.key(*number), KeyOrigin::Content)
            }
        };
        messages.push(RecordedMessage {
            role: draft.role,
            content: draft.content,
            timestamp: draft.timestamp,
            key,
            origin,
            earlier_keys: keys(draft.earlier_ids),
        });
    }
    messages
}

/// Makes keys of ids. An invalid one is left out.
pub(crate) fn keys(ids: Vec<String>) -> Vec<MessageKey> {
    let keys = ids.into_iter().map(MessageKey::new);
    keys.filter_map(Result::ok).collect()
}

/// The first half of a SHA-256, which identifies the content in a derived key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Ignores trailing white space: a message that has grown only by that is the same message.
    pub(crate) fn of_turn(role: Role, content: &str) -> Self {
        Self::of(&[role.as_str(), content.trim_end()])
    }

    /// For a message with the id of a turn that has a different text.
    pub(crate) fn of_revision(id: &MessageKey, role: Role, content: &str) -> Self {
        Self::of(&["revision", id.as_str(), role.as_str(), content])
    }

    /// Returns the fingerprint and the number of a derived key.
    pub(crate) fn of_key(key: &str) -> Option<(Self, u64)> {
        let (hex, number) = key.strip_prefix(PREFIX)?.split_once('#')?;
        let is_hex = hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let half = u128::from_str_radix(hex, 16).ok().filter(|_| is_hex)?;
        Some((Self(half.to_be_bytes()), number.parse().ok()?))
    }

    /// For a prompt of Claude Code that has no id.
    pub(crate) fn of_enqueued(timestamp: &str, content: &str) -> Self {
        Self::of(&["enqueued", timestamp, content])
    }

    /// Returns the id of an enqueued prompt.
    pub(crate) fn enqueued_id(self) -> String {
        format!("{ENQUEUED}{:032x}", u128::from_be_bytes(self.0))
    }

    /// For words that were reported to a hook, in a moment: the id of a turn, or a time.
    pub(crate) fn of_hook(moment: &str, role: Role, content: &str) -> Self {
        Self::of(&["hook", moment, role.as_str(), content])
    }

    /// Returns the id of a message that was reported to a hook.
    pub(crate) fn hook_id(self) -> String {
        format!("{HOOK}{:032x}", u128::from_be_bytes(self.0))
    }

    /// Hashes the parts with NUL between them. The hash is unambiguous: neither ids nor roles contain NUL,
    /// and no role is `revision`, `enqueued` or
    /// `hook`.
    fn of(parts: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                hasher.update([0]);
            }
            hasher.update(part);
        }
        let mut half = [0; 16];
        half.copy_from_slice(&hasher.finalize()[..16]);
        Self(half)
    }

    /// Returns the key of the `number`th turn with this fingerprint: `sha256:<32 hex digits>#<number>`.
    #[expect(
        clippy::expect_used,
        reason = "an ASCII text of at most 60 bytes is a valid key"
    )]
    pub(crate) fn key(self, number: u64) -> MessageKey {
        let hex = u128::from_be_bytes(self.0);
        MessageKey::new(format!("{PREFIX}{hex:032x}#{number}")).expect("derived keys are valid")
    }
}

const PREFIX: &str = "sha256:";

const HISTORY: &str = "history:";

/// Returns the id of a prompt in the history of Claude Code, from its time in milliseconds.
pub(crate) fn of_history(millis: i64) -> String {
    format!("{HISTORY}{millis}")
}

pub(crate) fn is_of_history(key: &str) -> bool {
    key.starts_with(HISTORY)
}

/// Whether a key has the form of an id that agents give their messages: a UUID or `msg_…`.
pub(crate) fn is_agent_id(key: &str) -> bool {
    is_uuid(key.split('#').next().unwrap_or(key)) || key.starts_with("msg_")
}

const HOOK: &str = "hook:";

/// Whether a turn was reported to a hook. The recording has it under another key.
pub(crate) fn is_of_hook(key: &str) -> bool {
    key.starts_with(HOOK)
}

const ENQUEUED: &str = "enqueued:";

/// Whether a message is an enqueued prompt of Claude Code. Another line may repeat it.
pub(crate) fn is_enqueued(key: &str) -> bool {
    key.starts_with(ENQUEUED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(drafts: &[(&str, Option<&str>)]) -> Vec<String> {
        let drafts = drafts.iter().map(|(content, id)| Draft {
            role: Role::User,
            content: (*content).to_owned(),
            timestamp: None,
            id: id.map(str::to_owned),
            earlier_ids: Vec::new(),
        });
        assign(drafts.collect())
            .into_iter()
            .map(|message| message.key.to_string())
            .collect()
    }

    #[test]
    fn derived_keys_never_change() {
        // printf 'user\0go on' | sha256sum | cut -c-32
        assert_eq!(
            keys(&[("go on", None), ("go on", None)]),
            [
                "sha256:e8906d96fdab68dfe804c3cda70a0a3a#1",
                "sha256:e8906d96fdab68dfe804c3cda70a0a3a#2"
            ]
        );
    }

    #[test]
    fn invalid_and_repeated_ids_are_replaced() {
        let long = "x".repeat(513);
        let keys = keys(&[
            ("a", Some("m")),
            ("b", Some("m")),
            ("c", Some("")),
            ("d", Some("\0")),
            ("e", Some(&long)),
        ]);
        assert_eq!(keys[0], "m");
        assert!(
            keys[1..].iter().all(|key| key.starts_with(PREFIX)),
            "{keys:?}"
        );
    }

    #[test]
    fn a_derived_key_tells_its_content_and_number() {
        let content = Fingerprint::of_turn(Role::User, "a");
        assert_eq!(
            Fingerprint::of_key(content.key(12).as_str()),
            Some((content, 12))
        );
        let hex = "0".repeat(32);
        for key in [
            "sha256:",
            "sha256:0#1",
            "msg_1#2",
            &format!("sha256:{hex}"),
            &format!("sha256:{hex}#x"),
        ] {
            assert_eq!(Fingerprint::of_key(key), None, "{key}");
        }
    }
}
