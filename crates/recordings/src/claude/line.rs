use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess};

use crate::content::Content;
use crate::lenient::{FromJson, Lenient, MAX_ITEMS, from_object};
use crate::time;

/// A line of a transcript, or of a log of `claude -p --output-format stream-json`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Line {
    #[serde(rename = "type")]
    pub(super) kind: Lenient<String>,
    pub(super) uuid: Lenient<String>,
    pub(super) session_id: Lenient<String>,
    pub(super) cwd: Lenient<String>,
    pub(super) timestamp: Lenient<String>,
    pub(super) message: Lenient<Message>,

    is_sidechain: Lenient<bool>,
    is_meta: Lenient<bool>,
    is_compact_summary: Lenient<bool>,
    is_visible_in_transcript_only: Lenient<bool>,
    is_synthetic: Lenient<bool>,
    is_api_error_message: Lenient<bool>,
    origin: Lenient<Origin>,
    prompt_source: Lenient<String>,

    /// The answers to questions of the agent.
    tool_use_result: Lenient<Answers>,
    pub(super) attachment: Lenient<Attachment>,
    /// `enqueue`, with the prompt as content.
    pub(super) operation: Lenient<String>,
    pub(super) content: Lenient<String>,

    pub(super) summary: Lenient<String>,
    pub(super) leaf_uuid: Lenient<String>,
    pub(super) custom_title: Lenient<String>,
    pub(super) ai_title: Lenient<String>,

    // A log has its own names.
    #[serde(rename = "session_id")]
    pub(super) log_session_id: Lenient<String>,
    #[serde(rename = "tool_use_result")]
    log_tool_use_result: Lenient<Answers>,
    /// Set in what a sub-agent says or hears.
    #[serde(rename = "parent_tool_use_id")]
    parent_tool_use_id: Lenient<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    pub(super) id: Lenient<String>,
    pub(super) model: Lenient<String>,
    pub(super) content: Lenient<Content>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Origin {
    kind: Lenient<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Attachment {
    #[serde(rename = "type")]
    kind: Lenient<String>,
    command_mode: Lenient<String>,
    pub(super) prompt: Lenient<Content>,
    is_meta: Lenient<bool>,
    origin: Lenient<Origin>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answers {
    questions: Lenient<Vec<Question>>,
    answers: Lenient<Vec<Answer>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Question {
    question: Lenient<String>,
}

from_object!(Message, Origin, Attachment, Answers, Question);

/// A question with its answer, which is a text or a list of labels.
struct Answer(String, String);

impl<'de> FromJson<'de> for Vec<Answer> {
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut answers = Self::new();
        while answers.len() < MAX_ITEMS
            && let Some((question, answer)) = object.next_entry::<String, Lenient<Labels>>()?
        {
            answers.extend(answer.0.map(|labels| Answer(question, labels.0)));
        }
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Some(answers))
    }
}

struct Labels(String);

impl<'de> FromJson<'de> for Labels {
    fn from_text(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }

    fn from_list<A: serde::de::SeqAccess<'de>>(list: A) -> Result<Option<Self>, A::Error> {
        let labels = Vec::<String>::from_list(list)?;
        Ok(labels.map(|labels| Self(labels.join(", "))))
    }
}

/// The writer of a message in the user's role.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    Person,
    /// A person who writes from elsewhere, such as a phone.
    Channel,
    Program,
}

impl Line {
    pub(super) fn time(&self) -> Option<DateTime<Utc>> {
        self.timestamp.0.as_deref().and_then(time::from_rfc3339)
    }

    /// Whether a turn may come from the line, or the line may repeat a prompt.
    pub(super) fn is_said(&self) -> bool {
        let kinds = ["user", "assistant", "attachment", "queue-operation"];
        self.kind
            .0
            .as_deref()
            .is_some_and(|kind| kinds.contains(&kind))
    }

    /// Whether the line belongs to a sub-agent or to a compaction.
    pub(super) fn is_aside(&self) -> bool {
        let flags = [&self.is_sidechain, &self.is_compact_summary];
        flags.iter().any(|flag| flag.0 == Some(true))
    }

    /// Whether the line has text that may be words of a turn.
    pub(super) fn has_words(&self) -> bool {
        let message = self.message.0.as_ref();
        let content = message.and_then(|message| message.content.0.as_ref());
        content.is_some_and(|content| content.texts().next().is_some())
            || self
                .tool_use_result
                .0
                .as_ref()
                .is_some_and(|it| it.answers.0.is_some())
            || self
                .attachment
                .0
                .as_ref()
                .is_some_and(Attachment::is_queued)
            || self.content.0.is_some()
    }

    pub(super) fn author(&self) -> Author {
        let attachment = self.attachment.0.as_ref();
        let flags = [
            Some(&self.is_sidechain),
            Some(&self.is_compact_summary),
            Some(&self.is_visible_in_transcript_only),
            Some(&self.is_synthetic),
        ];
        let is_meta = [Some(&self.is_meta), attachment.map(|it| &it.is_meta)];
        let is_set = |flags: &[Option<&Lenient<bool>>]| {
            flags.iter().flatten().any(|flag| flag.0 == Some(true))
        };
        let is_prompt = attachment.is_none_or(Attachment::is_prompt);
        if is_set(&flags) || self.parent_tool_use_id.0.is_some() || !is_prompt {
            return Author::Program;
        }
        let origin = attachment.map_or(&self.origin, |it| &it.origin).0.as_ref();
        match origin.and_then(|origin| origin.kind.0.as_deref()) {
            Some("channel") => Author::Channel,
            None | Some("human") if !is_set(&is_meta) => Author::Person,
            _ => Author::Program,
        }
    }

    /// Whether a person typed the prompt, whatever it begins with.
    pub(super) fn is_typed(&self) -> bool {
        let source = self.prompt_source.0.as_deref();
        matches!(source, Some("typed" | "sdk" | "queued"))
    }

    /// Whether the model, and not the program, wrote an assistant line.
    pub(super) fn is_answer(&self, message: &Message) -> bool {
        const NO_ANSWER: [&str; 2] = ["No response requested.", "(no content)"];
        let is_synthetic = message.model.0.as_deref() == Some("<synthetic>");
        let content = message.content.0.iter();
        let is_placeholder = is_synthetic
            && content
                .flat_map(Content::texts)
                .all(|text| NO_ANSWER.contains(&text.trim()));
        self.author() == Author::Person
            && self.is_api_error_message.0 != Some(true)
            && !is_placeholder
    }

    /// Returns the answers to the agent's questions, in the order of the questions.
    pub(super) fn answers(&mut self) -> Vec<String> {
        let result = self.tool_use_result.0.take();
        let result = result.or_else(|| self.log_tool_use_result.0.take());
        let Some((questions, mut answers)) = result.and_then(|it| it.questions.0.zip(it.answers.0))
        else {
            return Vec::new();
        };
        let mut ordered = Vec::new();
        for question in questions.into_iter().filter_map(|it| it.question.0) {
            let index = answers.iter().position(|answer| answer.0 == question);
            ordered.extend(index.map(|index| answers.remove(index).1));
        }
        ordered.extend(answers.into_iter().map(|answer| answer.1));
        ordered
    }
}

impl Attachment {
    /// Whether this reached the agent while it worked.
    pub(super) fn is_queued(&self) -> bool {
        self.kind.0.as_deref() == Some("queued_command")
    }

    /// Whether it is a prompt, and not a notification or a command for the shell.
    fn is_prompt(&self) -> bool {
        self.command_mode.0.as_deref() == Some("prompt")
    }
}
