use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};
use turnkeep_model::{MessageKey, Role};

use crate::message::{Draft, KeyOrigin, RecordedMessage};

/// Gives every turn its key: the agent's own id where it is a usable one that no turn before has
/// taken, else one derived from what was said.
///
/// Derived keys count equal turns (same role, same content, white space at the end aside), from
/// one up. So a key depends on nothing but the equal turns before it: a line that is damaged now and
/// repaired later, or a file that was cut and has grown, changes no other key.
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
        });
    }
    messages
}

/// Half of a SHA-256, the part of a derived key that stands for what was said.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// White space at the end is not part of what was said: a message that has grown by nothing
    /// else is the same one.
    pub(crate) fn of_turn(role: Role, content: &str) -> Self {
        Self::of(&[role.as_str(), content.trim_end()])
    }

    /// For another text of a message whose id already stands for a different text.
    pub(crate) fn of_revision(id: &MessageKey, role: Role, content: &str) -> Self {
        Self::of(&["revision", id.as_str(), role.as_str(), content])
    }

    /// Hashes the parts with a NUL between them. Neither an id nor a role can contain one, and
    /// no role is `revision`, so no two lists of parts look the same.
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

    /// The key of the turn that is the `number`th of its kind: `sha256:<32 hex digits>#<number>`.
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

/// Whether a key has the form of those that [`Fingerprint::key`] makes.
pub(crate) fn is_derived(key: &str) -> bool {
    let Some((hex, number)) = key
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('#'))
    else {
        return false;
    };
    hex.len() == 32
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        && number.parse::<u64>().is_ok()
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
        });
        assign(drafts.collect())
            .into_iter()
            .map(|message| message.key.to_string())
            .collect()
    }

    #[test]
    fn a_derived_key_is_stable_for_ever() {
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
    fn ids_that_are_unusable_or_taken_are_replaced() {
        let long = "x".repeat(513);
        let keys = keys(&[
            ("a", Some("m")),
            ("b", Some("m")),
            ("c", Some("")),
            ("d", Some("\0")),
            ("e", Some(&long)),
        ]);
        assert_eq!(keys[0], "m");
        assert!(keys[1..].iter().all(|key| is_derived(key)), "{keys:?}");
    }

    #[test]
    fn only_the_exact_form_is_taken_for_a_derived_key() {
        assert!(is_derived(Fingerprint([0; 16]).key(1).as_str()));
        for other in ["sha256:", "sha256:00#1", "msg_1#2", "md5:00#1"] {
            assert!(!is_derived(other), "{other}");
        }
    }
}
