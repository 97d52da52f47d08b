use serde::Deserialize;
use serde::de::SeqAccess;

use crate::lenient::{FromJson, Lenient, from_object};

/// The texts of a message. All three agents store content as an array of blocks or as one text.
///
/// The texts stand in one buffer: a line may hold a million blocks.
#[derive(Default)]
pub(crate) struct Content {
    buffer: String,
    texts: Vec<Text>,
    /// The number of blocks, blocks without a text included.
    pub(crate) blocks: usize,
}

struct Text {
    /// The index after the text in the buffer.
    end: usize,
    block: usize,
    is_refusal: bool,
}

/// A block that has a text.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) text: &'a str,
    /// The index of the block.
    pub(crate) block: usize,
    /// Whether it is the reason for which the user refused a tool call.
    pub(crate) is_refusal: bool,
}

impl Content {
    /// Returns the texts that are not blank, in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let starts = std::iter::once(0).chain(self.texts.iter().map(|text| text.end));
        let parts = self.texts.iter().zip(starts).map(|(text, start)| Part {
            text: &self.buffer[start..text.end],
            block: text.block,
            is_refusal: text.is_refusal,
        });
        parts.filter(|part| !is_blank(part.text))
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts().map(|part| part.text)
    }

    fn push(&mut self, text: &str, is_refusal: bool) {
        if self.buffer.is_empty() {
            self.buffer.reserve_exact(text.len());
        }
        self.buffer.push_str(text);
        self.texts.push(Text {
            end: self.buffer.len(),
            block: self.blocks,
            is_refusal,
        });
    }
}

impl<'de> FromJson<'de> for Content {
    fn from_text(text: &str) -> Option<Self> {
        let mut content = Self::default();
        content.push(text, false);
        content.blocks = 1;
        Some(content)
    }

    fn from_list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut content = Self::default();
        while let Some(block) = list.next_element::<Lenient<Block>>()? {
            let block = block.0.unwrap_or_default();
            if let Some(text) = block.refusal() {
                content.push(text, true);
            } else if let Some(text) = block.text() {
                content.push(text, false);
            }
            content.blocks += 1;
        }
        Ok(Some(content))
    }
}

/// A block with the fields that some agent gives it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Block {
    #[serde(rename = "type")]
    kind: Lenient<Kind>,
    text: Lenient<String>,
    annotations: Lenient<Annotations>,
    /// The result of a tool call of Claude Code.
    content: Lenient<Refusal>,
    is_error: Lenient<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    audience: Lenient<Vec<String>>,
}

from_object!(Block, Annotations);

#[derive(PartialEq)]
enum Kind {
    Text,
    ToolResult,
    Other,
}

impl FromJson<'_> for Kind {
    fn from_text(name: &str) -> Option<Self> {
        Some(match name {
            "text" | "Text" | "input_text" | "output_text" => Self::Text,
            "tool_result" => Self::ToolResult,
            _ => Self::Other,
        })
    }
}

impl Block {
    /// Returns the text if it is for people. A block of Goose before version 1.0 has no type.
    fn text(&self) -> Option<&str> {
        let is_text = matches!(self.kind.0, None | Some(Kind::Text));
        let audience = self
            .annotations
            .0
            .as_ref()
            .and_then(|it| it.audience.0.as_ref());
        let is_for_user = audience.is_none_or(|names| names.iter().any(|name| name == "user"));
        self.text.0.as_deref().filter(|_| is_text && is_for_user)
    }

    fn refusal(&self) -> Option<&str> {
        let is_refused = self.kind.0 == Some(Kind::ToolResult) && self.is_error.0 == Some(true);
        let refusal = self.content.0.as_ref().filter(|_| is_refused)?;
        Some(&refusal.0)
    }
}

/// The reason in the result of a tool call that the user refused.
struct Refusal(String);

impl<'de> FromJson<'de> for Refusal {
    fn from_text(result: &str) -> Option<Self> {
        const REFUSED: &str = "The user doesn't want to proceed with this tool use.";
        /// The beginning of a template of Claude Code.
        const TEMPLATE: &str = "The user wants to clarify these questions.";
        let said = result
            .strip_prefix(REFUSED)?
            .split_once("the user said:\n")?
            .1;
        let reason = said.trim();
        (!reason.starts_with(TEMPLATE)).then(|| Self(reason.to_owned()))
    }

    fn from_list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut found = None;
        while let Some(block) = list.next_element::<Lenient<Nested>>()? {
            found = found.or(block.0.and_then(|block| block.text.0));
        }
        Ok(found)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Nested {
    text: Lenient<Refusal>,
}

from_object!(Nested);

/// Joins the texts of a message with newlines, without the blank ones.
pub(crate) fn join<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let mut joined = String::new();
    for text in texts {
        push(&mut joined, text.as_ref());
    }
    joined
}

/// Appends a text to the content of a message on a new line. A blank text is skipped.
pub(crate) fn push(content: &mut String, text: &str) {
    if is_blank(text) {
        return;
    }
    if content.is_empty() {
        content.reserve_exact(text.len());
    } else {
        content.push('\n');
    }
    content.push_str(text);
}

pub(crate) fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}
