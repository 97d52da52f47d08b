use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, FixedOffset};
use turnkeep_model::Role;

/// The facts about a conversation, shown above its turns.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header<'a> {
    /// The name of the conversation.
    pub title: Cow<'a, str>,
    /// The agent.
    pub agent: Option<Cow<'a, str>>,
    /// The folder of the session, as it is to be shown.
    pub folder: Option<Cow<'a, str>>,
    /// The number of turns in the store.
    pub turns: u64,
    /// The times of the first and the last turn.
    pub span: Option<(DateTime<FixedOffset>, DateTime<FixedOffset>)>,
    /// The command that resumes the session.
    pub resume: Option<Cow<'a, str>>,
}

impl<'a> Header<'a> {
    /// Makes a header with a title only.
    #[must_use]
    pub fn new(title: impl Into<Cow<'a, str>>) -> Self {
        Self {
            title: title.into(),
            agent: None,
            folder: None,
            turns: 0,
            span: None,
            resume: None,
        }
    }

    /// Returns the lines below the title as names and values.
    pub(crate) fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = Vec::new();
        let texts = [("agent", &self.agent), ("folder", &self.folder)];
        for (name, text) in texts {
            fields.extend(text.as_ref().map(|text| (name, text.to_string())));
        }
        fields.push(("turns", self.turns.to_string()));
        if let Some((first, last)) = &self.span {
            let until = match first.date_naive() == last.date_naive() {
                true => last.format("%H:%M").to_string(),
                false => minute(last),
            };
            fields.push(("time", format!("{} to {until}", minute(first))));
        }
        fields.extend(self.resume.as_ref().map(|it| ("resume", it.to_string())));
        fields
    }
}

/// A time in its own zone: `2026-11-28 14:02`.
pub(crate) fn minute(time: &DateTime<FixedOffset>) -> String {
    time.format("%Y-%m-%d %H:%M").to_string()
}

/// A turn of a conversation.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn<'a> {
    /// Its number in the task.
    pub seq: i64,
    /// The speaker. Answers of the assistant are Markdown. Other texts are shown as they were written, because a
    /// prompt often contains logs and code without marks around them.
    pub role: Role,
    /// The time, in the zone in which it is shown.
    pub time: DateTime<FixedOffset>,
    /// The words.
    pub text: Cow<'a, str>,
    /// The tool calls after the words.
    pub tools: Vec<ToolCall<'a>>,
}

impl<'a> Turn<'a> {
    /// Makes a turn without tool calls.
    #[must_use]
    pub fn new(
        seq: i64,
        role: Role,
        time: DateTime<FixedOffset>,
        text: impl Into<Cow<'a, str>>,
    ) -> Self {
        Self {
            seq,
            role,
            time,
            text: text.into(),
            tools: Vec::new(),
        }
    }
}

/// A call of a tool, shown folded.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToolCall<'a> {
    /// The name of the tool.
    pub name: Cow<'a, str>,
    /// The command, or other input.
    pub input: Cow<'a, str>,
    /// The result, if there is one.
    pub output: Option<Cow<'a, str>>,
}

impl<'a> ToolCall<'a> {
    /// Makes a call.
    #[must_use]
    pub fn new(
        name: impl Into<Cow<'a, str>>,
        input: impl Into<Cow<'a, str>>,
        output: Option<Cow<'a, str>>,
    ) -> Self {
        Self {
            name: name.into(),
            input: input.into(),
            output,
        }
    }
}

// Contents never show in a `Debug` output.

impl fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("agent", &self.agent)
            .field("turns", &self.turns)
            .field("span", &self.span)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("seq", &self.seq)
            .field("role", &self.role)
            .field("time", &self.time)
            .field("text_bytes", &self.text.len())
            .field("tools", &self.tools.len())
            .finish()
    }
}

impl fmt::Debug for ToolCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolCall")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
