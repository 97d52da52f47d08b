use serde::Deserialize;

use crate::content::{Content, join};
use crate::lenient::{Lenient, from_object};

/// What Goose says about a message.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    user_visible: Lenient<bool>,
    turn_context: Lenient<bool>,
}

from_object!(Metadata);

/// Returns the text that the user sees, `None` if the message is hidden from the user. Compaction hides its
/// summaries from the user, and the original messages only from the agent.
pub(super) fn visible_text(content: &Content, metadata: &Metadata) -> Option<String> {
    let is_hidden = metadata.user_visible.0 == Some(false) || metadata.turn_context.0 == Some(true);
    (!is_hidden).then(|| join(content.texts()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read<T: for<'de> Deserialize<'de> + Default>(value: serde_json::Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn text(content: serde_json::Value) -> String {
        let content = read::<Lenient<Content>>(content).0.unwrap_or_default();
        visible_text(&content, &Metadata::default()).unwrap()
    }

    #[test]
    fn only_blocks_for_the_user_are_text() {
        let content = json!([
            {"type": "text", "text": "a"},
            {"text": "b"},
            {"type": "text", "text": "c", "annotations": {"audience": ["assistant"]}},
            {"type": "text", "text": "d", "annotations": {"audience": ["assistant", "user"]}},
            {"type": "text", "text": "e", "annotations": {"audience": []}},
            {"type": "text", "text": "f", "annotations": {"audience": null}},
            {"type": "thinking", "thinking": "g", "text": "g"},
            {"type": "a type of the future", "text": "h"},
            "i",
        ]);
        assert_eq!(text(content), "a\nb\nd\nf");
        assert_eq!(text(json!(7)), "");
        assert_eq!(text(json!("one text")), "one text");
    }

    #[test]
    fn metadata_hides_a_message() {
        let content = Lenient::<Content>::default().0.unwrap_or_default();
        for (metadata, is_visible) in [
            (json!({"userVisible": true, "agentVisible": false}), true),
            (json!({}), true),
            (json!({"userVisible": false}), false),
            (json!({"userVisible": true, "turnContext": true}), false),
        ] {
            let text = visible_text(&content, &read(metadata.clone()));
            assert_eq!(text.is_some(), is_visible, "{metadata}");
        }
    }
}
