//! Prompts that were typed while the agent worked.
//!
//! Claude Code writes an enqueued prompt at once, and mostly repeats it when the agent takes it up: as a
//! line of its own, or joined with others in one. Only a prompt that no later line repeats is a turn.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::claude::prompt;
use crate::key::Fingerprint;

/// The enqueued prompts that no line has repeated yet.
#[derive(Default)]
pub(super) struct Queue {
    seen: HashSet<Fingerprint>,
    /// The prompts by their first lines.
    waiting: HashMap<u64, Vec<Waiting>>,
}

struct Waiting {
    lines: Vec<u64>,
    draft: usize,
}

impl Queue {
    /// Adds a prompt that is the draft with this index, and returns its text and key. `None` if it is no
    /// prompt of a person or was added before.
    pub(super) fn add(
        &mut self,
        content: &str,
        timestamp: &str,
        draft: usize,
    ) -> Option<(String, String)> {
        let text = prompt::prompt_text(content)?;
        let fingerprint = Fingerprint::of_enqueued(timestamp, content);
        if !self.seen.insert(fingerprint) {
            return None;
        }
        let lines = hashed_lines(&text);
        let waiting = self.waiting.entry(*lines.first()?).or_default();
        waiting.push(Waiting { lines, draft });
        Some((text.into_owned(), fingerprint.enqueued_id()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Removes the prompts that a text repeats as whole lines, and returns their drafts in order.
    pub(super) fn take_repeated(&mut self, text: &str) -> Vec<usize> {
        let mut repeated = Vec::new();
        let lines = hashed_lines(text);
        for (index, first) in lines.iter().enumerate() {
            let Some(waiting) = self.waiting.get_mut(first) else {
                continue;
            };
            waiting.retain(|prompt| {
                let is_repeated = lines[index..].starts_with(&prompt.lines);
                repeated.extend(is_repeated.then_some(prompt.draft));
                !is_repeated
            });
            if waiting.is_empty() {
                self.waiting.remove(first);
            }
        }
        repeated.sort_unstable();
        repeated
    }
}

/// Hashes each line without its white space.
fn hashed_lines(text: &str) -> Vec<u64> {
    let hash = |line: &str| {
        let mut hasher = DefaultHasher::new();
        line.split_whitespace()
            .for_each(|word| word.hash(&mut hasher));
        hasher.finish()
    };
    text.trim().lines().map(hash).collect()
}
