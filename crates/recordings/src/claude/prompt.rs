//! Separates the words of a person from texts that Claude Code adds in the user's role.

use std::borrow::Cow;

/// Prefixes of program text. A prompt that a person is known to have typed may begin like this as well.
const PROGRAM_TEXT: &[&str] = &[
    "<local-command-stdout>",
    "<local-command-stderr>",
    "<local-command-caveat>",
    "<bash-input>",
    "<bash-stdout>",
    "<bash-stderr>",
    "<user-prompt-submit-hook>",
    "<user-memory-input>",
    "[Request interrupted",
    "Caveat: The messages below were generated",
];

/// Elements of program text. In a prompt that a person typed, only a block that is one whole element.
const ELEMENTS: &[&str] = &[
    "ide_opened_file",
    "ide_selection",
    "system-reminder",
    "task-notification",
    "agent-notification",
];

/// Elements that other agents and services send, with or without attributes.
const MESSAGES: &[&str] = &[
    "ci-monitor-event",
    "teammate-message",
    "cross-session-message",
];

const OTHER_SESSION: &str = "Another Claude session sent a message:";

/// The elements of a slash command. Their order varies.
const SLASH_COMMAND: &[&str] = &["command-name", "command-message", "command-args"];

/// Returns the part of a text that a person wrote: all of it, nothing, or the name and arguments of a slash
/// command.
pub(super) fn human_text(block: &str, is_typed: bool) -> Option<Cow<'_, str>> {
    let text = block.trim();
    let is_message = MESSAGES.iter().any(|name| opens(text, name));
    if is_message || text.starts_with(OTHER_SESSION) {
        return None;
    }
    if is_typed {
        let command = slash_command(text).filter(|_| closes_with_command(text));
        if let Some(text) = command.and_then(|command| command.with_arguments()) {
            return Some(Cow::Owned(text));
        }
        let is_element = ELEMENTS.iter().any(|name| is_whole_element(text, name));
        return (!is_element).then_some(Cow::Borrowed(block));
    }
    if let Some(command) = slash_command(text) {
        return command.with_arguments().map(Cow::Owned);
    }
    let is_program_text = PROGRAM_TEXT.iter().any(|prefix| text.starts_with(prefix))
        || ELEMENTS.iter().any(|name| element(text, name).is_some());
    (!is_program_text).then_some(Cow::Borrowed(block))
}

/// Returns the words of a prompt that is not known to be typed. `None` for program text and for a slash command
/// without arguments.
pub(crate) fn prompt_text(prompt: &str) -> Option<Cow<'_, str>> {
    let text = human_text(prompt, false)?;
    let mut words = text.split_whitespace();
    let is_command = words.next()?.starts_with('/') && words.next().is_none();
    (!is_command && !text.starts_with("{\"task_id\"")).then_some(text)
}

/// Returns a text as the user typed it: a slash command as its name and arguments.
pub(super) fn typed_text(block: &str) -> Cow<'_, str> {
    match slash_command(block.trim()) {
        Some(command) => Cow::Owned(format!("{} {}", command.name, command.arguments)),
        None => Cow::Borrowed(block),
    }
}

/// Returns the text inside `<channel …>…</channel>`.
pub(super) fn channel_text(text: &str) -> Option<&str> {
    let text = text.trim();
    let (_, inner) = text.split_once('>').filter(|_| opens(text, "channel"))?;
    Some(inner.rsplit_once("</channel>")?.0.trim())
}

struct SlashCommand<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl SlashCommand<'_> {
    fn with_arguments(&self) -> Option<String> {
        let (name, arguments) = (self.name, self.arguments);
        (!arguments.is_empty()).then(|| format!("{name} {arguments}").trim_start().to_owned())
    }
}

fn slash_command(text: &str) -> Option<SlashCommand<'_>> {
    let is_command = SLASH_COMMAND
        .iter()
        .any(|name| element(text, name).is_some());
    is_command.then(|| SlashCommand {
        name: inner(text, "command-name").unwrap_or_default(),
        arguments: inner(text, "command-args").unwrap_or_default(),
    })
}

fn closes_with_command(text: &str) -> bool {
    let mut names = SLASH_COMMAND.iter();
    names.any(|name| closing(text, name).is_some())
}

/// Returns the trimmed text between `<name>` and `</name>`.
fn inner<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = text.split_once(&format!("<{name}>"))?.1;
    let inner = rest.split_once(&format!("</{name}>"));
    Some(inner.map_or(rest, |(inner, _)| inner).trim())
}

/// Returns the rest of a text after `<name>` at its start.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = text.strip_prefix('<')?.strip_prefix(name)?;
    rest.strip_prefix('>')
}

/// Whether a text starts with `<name>` or `<name attributes>`.
fn opens(text: &str, name: &str) -> bool {
    let rest = text
        .strip_prefix('<')
        .and_then(|text| text.strip_prefix(name));
    rest.is_some_and(|rest| rest.starts_with(|c: char| c == '>' || c.is_whitespace()))
}

/// Returns the text before `</name>` at its end.
fn closing<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = text.strip_suffix('>')?.strip_suffix(name)?;
    rest.strip_suffix("</")
}

fn is_whole_element(text: &str, name: &str) -> bool {
    let inner = element(text, name).and_then(|rest| closing(rest, name));
    inner.is_some_and(|inner| !inner.contains(&format!("</{name}>")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_command_without_arguments_is_not_a_turn() {
        let command = "<command-message>review</command-message>\n<command-name>/review</command-name>\n<command-args> the \"cart\" </command-args>";
        for is_typed in [false, true] {
            let text = human_text(command, is_typed).unwrap();
            assert_eq!(text, "/review the \"cart\"");
        }
        assert_eq!(
            human_text(
                "\n <command-name>/model</command-name><command-args> \n</command-args>",
                false
            ),
            None
        );
        assert_eq!(
            human_text("<command-name>/clear</command-name>", false),
            None
        );
        assert_eq!(
            human_text("see <command-name>", false).unwrap(),
            "see <command-name>"
        );
    }

    #[test]
    fn program_text_is_dropped_after_leading_white_space() {
        let elements = ELEMENTS.iter().map(|name| format!("<{name}>"));
        for prefix in PROGRAM_TEXT
            .iter()
            .map(|text| (*text).to_owned())
            .chain(elements)
        {
            assert_eq!(
                human_text(&format!(" \n{prefix} x"), false),
                None,
                "{prefix}"
            );
            assert!(
                human_text(&format!("x {prefix}"), false).is_some(),
                "{prefix}"
            );
            assert!(
                human_text(&format!("{prefix} x"), true).is_some(),
                "{prefix}"
            );
        }
    }

    #[test]
    fn in_a_typed_prompt_only_whole_elements_are_program_text() {
        for name in ELEMENTS {
            let whole = format!(" <{name}>x</{name}>\n");
            assert_eq!(human_text(&whole, true), None, "{name}");
            let around = format!("<{name}>x</{name}> and <{name}>y</{name}>");
            assert_eq!(human_text(&around, true).unwrap(), around);
        }
        let asked = "<command-name> is a tag of what?";
        assert_eq!(human_text(asked, true).unwrap(), asked);
    }

    #[test]
    fn messages_of_other_agents_are_never_typed() {
        for text in [
            "<ci-monitor-event>x",
            "<teammate-message id=\"1\">x</teammate-message>",
            "<cross-session-message from=x>",
            "Another Claude session sent a message: x",
        ] {
            assert_eq!(human_text(text, true), None, "{text}");
            assert_eq!(human_text(text, false), None, "{text}");
        }
        assert!(human_text("<teammate-messages>", false).is_some());
    }

    #[test]
    fn the_text_of_a_channel_is_inside_its_element() {
        let text = "<channel source=\"slack\">\n a </channel> b\n</channel>";
        assert_eq!(channel_text(text), Some("a </channel> b"));
        assert_eq!(channel_text("<channels>a</channel>"), None);
        assert_eq!(channel_text("a"), None);
    }
}
