//! Separates the words of a person from texts that Codex adds in the user's role.
//!
//! Codex knows such a text by its start and its end; a prompt may begin like one.

/// Elements of program text, with or without attributes.
const ELEMENTS: &[&str] = &[
    "environment_context",
    "user_instructions",
    "permissions instructions",
    "collaboration_mode",
    "skills_instructions",
    "apps_instructions",
    "plugins_instructions",
    "personality_spec",
    "turn_aborted",
    "subagent_notification",
    "user_shell_command",
    "user_action",
    "skill",
    "model_switch",
    "instructions",
    "ide_context",
    "memory",
    "recommended_plugins",
    "goal_context",
    "hook_prompt",
    "realtime_conversation",
    "multi_agent_mode",
    "codex_internal_context",
    "extension_context",
    "agent_message_board_notification",
    "component_context",
    "persistent_mode",
    "image_resize_notice",
];

/// The start of the name of further elements.
const EXTERNAL: &str = "external_";

/// Tags around an attachment. Each stands alone in a text.
const ATTACHMENTS: &[&str] = &["image", "audio"];

const WARNINGS: &[&str] = &[
    "warning: apply_patch was requested via ",
    "warning: the maximum number of unified exec processes you can keep open is",
    "warning: your account was flagged for potentially high-risk cyber activity",
];

/// Returns the words of a prompt. `None` for program text.
pub(crate) fn prompt_text(prompt: &str) -> Option<&str> {
    (!is_program_text(prompt)).then_some(prompt)
}

/// Whether Codex added a text of the user's role, by the text alone.
pub(super) fn is_program_text(text: &str) -> bool {
    let text = text.trim();
    if !text.starts_with(['<', '#', 'w', 'W']) {
        return false;
    }
    let text = text.to_ascii_lowercase();
    ELEMENTS.iter().any(|name| is_element(&text, name))
        || external_name(&text).is_some_and(|name| is_element(&text, name))
        || text.starts_with("# agents.md instructions") && text.ends_with("</instructions>")
        || is_attachment_tag(&text)
        || WARNINGS.iter().any(|start| text.starts_with(start))
}

/// Whether a text is nothing but one tag of an attachment.
pub(super) fn is_attachment_tag(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    let Some(inner) = text
        .strip_prefix('<')
        .and_then(|text| text.strip_suffix('>'))
    else {
        return false;
    };
    ATTACHMENTS.iter().any(|name| {
        let is_opening = inner.strip_prefix(name).is_some_and(is_end_of_name);
        let is_closing = inner.strip_prefix('/') == Some(name);
        (is_opening || is_closing) && !inner.contains('>')
    })
}

/// Whether a text goes from `<name>` or `<name attributes>` to `</name>`.
fn is_element(text: &str, name: &str) -> bool {
    let rest = text
        .strip_prefix('<')
        .and_then(|text| text.strip_prefix(name));
    let opens = rest
        .is_some_and(|rest| rest.starts_with('>') || is_end_of_name(rest) && rest.contains('>'));
    let before = text
        .strip_suffix('>')
        .and_then(|text| text.strip_suffix(name));
    opens && before.is_some_and(|before| before.ends_with("</"))
}

/// Whether attributes follow, or nothing.
fn is_end_of_name(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(char::is_whitespace)
}

fn external_name(text: &str) -> Option<&str> {
    let name = text.strip_prefix('<')?;
    let end = name.find(|c: char| c == '>' || c.is_whitespace())?;
    name.get(..end).filter(|name| name.starts_with(EXTERNAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_of_the_program_has_a_start_and_an_end() {
        for name in ELEMENTS.iter().chain(&["external_slack", "INSTRUCTIONS"]) {
            for whole in [
                format!("<{name}>x</{name}>"),
                format!(" \n<{name} a=\"b\">\nx\n</{name}>\n"),
                format!("<{}>x</{}>", name.to_uppercase(), name),
            ] {
                assert!(is_program_text(&whole), "{whole}");
            }
            for other in [
                format!("<{name}>x"),
                format!("<{name}> is a tag"),
                format!("<{name}s>x</{name}s2>"),
                format!("see <{name}>x</{name}>"),
                format!("<{name}>x</{name}> done?"),
            ] {
                assert!(!is_program_text(&other), "{other}");
            }
        }
    }

    #[test]
    fn instructions_and_warnings_are_program_text() {
        let instructions =
            "# AGENTS.md instructions for /srv\n\n<INSTRUCTIONS>\nx\n</INSTRUCTIONS>";
        assert!(is_program_text(instructions));
        assert!(!is_program_text("# AGENTS.md instructions are too long"));
        assert!(is_program_text(
            "Warning: apply_patch was requested via shell. Use x."
        ));
        assert!(!is_program_text("Warning: apply_patch failed"));
    }

    #[test]
    fn a_tag_of_an_attachment_stands_alone() {
        for tag in [
            "<image>",
            "</image>",
            "<audio name=[Audio #1]>",
            " </AUDIO>\n",
        ] {
            assert!(is_program_text(tag), "{tag}");
        }
        for text in [
            "<image> shows what?",
            "<images>",
            "<image><audio>",
            "<image",
        ] {
            assert!(!is_program_text(text), "{text}");
        }
    }
}
