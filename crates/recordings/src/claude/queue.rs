//! Prompts that were typed while the agent worked.
//!
//! Claude Code writes an enqueued prompt at once, and mostly repeats it when the agent takes it up: as a
//! line of its own, or joined with others in one. Only a prompt that no later line repeats is a turn.

use std::collections::HashSet;

use crate::claude::prompt;
use crate::key::Fingerprint;
use crate::repeats::Repeats;

/// The enqueued prompts that no line has repeated yet.
#[derive(Default)]
pub(super) struct Queue {
    seen: HashSet<Fingerprint>,
    waiting: Repeats,
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
        self.waiting.add(&text, draft);
        Some((text.into_owned(), fingerprint.enqueued_id()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Removes the prompts that a text repeats as whole lines, and returns their drafts in order.
    pub(super) fn take_repeated(&mut self, text: &str) -> Vec<usize> {
        self.waiting.take(text, |_| true)
    }
}
