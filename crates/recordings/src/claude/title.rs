use std::collections::HashSet;

use crate::claude::line::Line;

/// The titles of a session: one that the user chose, one that the model wrote, or the summary of a part.
#[derive(Default)]
pub(super) struct Titles {
    custom: Option<String>,
    by_model: Option<String>,
    /// The summaries with the last line of what they sum up, which may be in another session.
    summaries: Vec<(String, String)>,
}

impl Titles {
    pub(super) fn line(&mut self, line: &mut Line) {
        match line.kind.0.as_deref() {
            Some("custom-title") => self.custom = line.custom_title.0.take().or(self.custom.take()),
            Some("ai-title") => self.by_model = line.ai_title.0.take().or(self.by_model.take()),
            Some("summary") => {
                let summary = line.leaf_uuid.0.take().zip(line.summary.0.take());
                self.summaries.extend(summary);
            }
            _ => {}
        }
    }

    /// Adds the titles of a later file.
    pub(super) fn add(&mut self, later: Self) {
        self.custom = later.custom.or(self.custom.take());
        self.by_model = later.by_model.or(self.by_model.take());
        self.summaries.extend(later.summaries);
    }

    /// Whether each summary is of these lines.
    pub(super) fn are_of(&self, uuids: &HashSet<String>) -> bool {
        self.summaries.iter().all(|(leaf, _)| uuids.contains(leaf))
    }

    /// Returns the latest title of the best kind.
    pub(super) fn best(self, uuids: &HashSet<String>) -> Option<String> {
        let mut summaries = self.summaries.into_iter().rev();
        let own = summaries.find(|(leaf, _)| uuids.contains(leaf));
        self.custom.or(self.by_model).or(own.map(|(_, text)| text))
    }
}
