use serde_json::Value;

use crate::content::{Block, blocks, join};

/// Returns the text that the user sees, `None` if the message is hidden from the user. Compaction hides its
/// summaries from the user, and the original messages only from the agent.
pub(super) fn visible_text(content: &Value, metadata: &Value) -> Option<String> {
    let hidden = metadata.get("userVisible") == Some(&Value::Bool(false));
    let turn_context = metadata.get("turnContext") == Some(&Value::Bool(true));
    if hidden || turn_context {
        return None;
    }
    // Blocks have no type before version 1.0.
    let texts = blocks(content)
        .filter(|block| matches!(block.kind, None | Some("text")) && is_for_user(block))
        .map(|block| block.text);
    Some(join(texts))
}

fn is_for_user(block: &Block<'_>) -> bool {
    match block.annotations.get("audience") {
        Some(Value::Array(audience)) => audience.iter().any(|who| who == "user"),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
        assert_eq!(visible_text(&content, &Value::Null).unwrap(), "a\nb\nd\nf");
        assert_eq!(visible_text(&json!(7), &Value::Null).unwrap(), "");
    }

    #[test]
    fn metadata_hides_a_message() {
        let content = json!([{"type": "text", "text": "a"}]);
        for (metadata, is_visible) in [
            (json!({"userVisible": true, "agentVisible": false}), true),
            (json!({}), true),
            (json!({"userVisible": false}), false),
            (json!({"userVisible": true, "turnContext": true}), false),
        ] {
            let text = visible_text(&content, &metadata);
            assert_eq!(text.is_some(), is_visible, "{metadata}");
        }
    }
}
