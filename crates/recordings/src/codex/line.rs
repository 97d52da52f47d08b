use serde::Deserialize;

use crate::content::Content;
use crate::lenient::{Lenient, from_object};

/// A line. Before August 2025 it was a header or a bare payload.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Line {
    #[serde(rename = "type")]
    pub(super) kind: Lenient<String>,
    pub(super) timestamp: Lenient<String>,
    pub(super) ordinal: Lenient<i64>,
    pub(super) metadata: Lenient<Metadata>,
    pub(super) payload: Lenient<Payload>,
    // Of a header or a bare payload.
    pub(super) id: Lenient<String>,
    pub(super) role: Lenient<String>,
    pub(super) content: Lenient<Content>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Payload {
    #[serde(rename = "type")]
    pub(super) kind: Lenient<String>,
    pub(super) id: Lenient<String>,
    // Of a header.
    pub(super) cwd: Lenient<String>,
    pub(super) timestamp: Lenient<String>,
    pub(super) history_base: Lenient<HistoryBase>,
    pub(super) forked_from_id: Lenient<String>,
    // Of a message.
    pub(super) role: Lenient<String>,
    pub(super) content: Lenient<Content>,
    pub(super) metadata: Lenient<Metadata>,
    #[serde(rename = "internal_chat_message_metadata_passthrough")]
    pub(super) passthrough: Lenient<Passthrough>,
    /// What was said in a voice conversation.
    pub(super) text: Lenient<String>,
    // Of an event.
    pub(super) item: Lenient<Item>,
    pub(super) thread_name: Lenient<String>,
}

/// The history that a fork begins with: the records of another rollout below an ordinal.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct HistoryBase {
    pub(super) thread_id: Lenient<String>,
    pub(super) end_ordinal_exclusive: Lenient<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    compaction_output: Lenient<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Passthrough {
    /// The origin of each block, such as `user.text`.
    pub(super) content_item_kinds: Lenient<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Item {
    #[serde(rename = "type")]
    pub(super) kind: Lenient<String>,
    pub(super) id: Lenient<String>,
    pub(super) content: Lenient<Content>,
}

from_object!(Payload, HistoryBase, Metadata, Passthrough, Item);

impl Lenient<Metadata> {
    /// Whether the message is the summary of a compaction.
    pub(super) fn is_of_compaction(&self) -> bool {
        let metadata = self.0.as_ref();
        metadata.is_some_and(|it| it.compaction_output.0 == Some(true))
    }
}
