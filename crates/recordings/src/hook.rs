//! What an agent tells a hook: the words before they are in the recording, or instead of a recording.

use std::borrow::Cow;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use turnkeep_model::{BackendType, Role};

use crate::claude;
use crate::codex;
use crate::error::Error;
use crate::jsonl;
use crate::key::Fingerprint;
use crate::lenient::Lenient;
use crate::message::{Draft, KeyOrigin};
use crate::recording::Recording;
use crate::session::Session;

/// An event of a session, as its agent reported it to a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HookEvent {
    /// The session, its folder, and the words of this event: none, a prompt, an answer, or both.
    ///
    /// [`Recording::new_messages`] leaves out words that the history has already. A later import of the
    /// agent's file repeats none of them.
    pub recording: Recording,
    /// The file that holds the session, or will: agents report it before it exists, and also where they keep
    /// none. `None` if the event does not name it.
    pub transcript: Option<PathBuf>,
}

impl HookEvent {
    /// Reads the JSON that an agent gives a hook: Claude Code and Codex on standard input, Codex also as the
    /// argument of its `notify` command. `received_at` is the time of its words, UTC.
    ///
    /// Words are taken from the prompt of `UserPromptSubmit`, the last answer of `Stop`, and from
    /// `agent-turn-complete`. Texts that the program puts in the user's role are left out, and so are slash
    /// commands without arguments. Every other event has no words, and neither has one of a sub-agent.
    ///
    /// # Errors
    /// [`Error::NoEvent`] if the text is not an object with the id of a session.
    /// [`Error::UnsupportedBackend`] for another agent than these two. [`Error::InvalidId`] and
    /// [`Error::InvalidFolder`] as in a recording.
    ///
    /// ```
    /// use turnkeep_model::BackendType;
    /// use turnkeep_recordings::HookEvent;
    ///
    /// let json = r#"{"hook_event_name": "UserPromptSubmit", "session_id": "6f1d2c3b", "prompt": "Why?"}"#;
    /// let event = HookEvent::parse(&BackendType::Claude, json, chrono::Utc::now())?;
    /// assert_eq!(event.recording.messages[0].content, "Why?");
    /// # Ok::<(), turnkeep_recordings::Error>(())
    /// ```
    pub fn parse(
        backend: &BackendType,
        json: &str,
        received_at: DateTime<Utc>,
    ) -> Result<Self, Error> {
        if !matches!(backend, BackendType::Claude | BackendType::Codex) {
            let backend = backend.clone();
            return Err(Error::UnsupportedBackend { backend });
        }
        let payload: Payload = jsonl::parse(json).ok_or(Error::NoEvent)?;
        let id = payload.session_id.0.or(payload.thread_id.0);
        let id = id.filter(|id| !id.is_empty()).ok_or(Error::NoEvent)?;
        let transcript = payload.transcript_path.0.filter(|path| !path.is_empty());
        let transcript = transcript.map(PathBuf::from);
        let (prompts, answer) = match (payload.event.0.as_deref(), payload.kind.0.as_deref()) {
            // A sub-agent's own events name the session of its parent.
            _ if payload.agent_id.0.is_some() => (Vec::new(), None),
            (Some("UserPromptSubmit"), _) => (payload.prompt.0.into_iter().collect(), None),
            (Some("Stop"), _) => (Vec::new(), payload.answer.0),
            (None, Some("agent-turn-complete")) => {
                (payload.prompts.0.unwrap_or_default(), payload.answer.0)
            }
            _ => (Vec::new(), None),
        };
        let prompts = prompts
            .iter()
            .filter_map(|prompt| match backend {
                BackendType::Codex => codex::prompt_text(prompt).map(Cow::Borrowed),
                _ => claude::prompt_text(prompt),
            })
            .map(|prompt| (Role::User, prompt.into_owned()));
        let answer = answer.map(|answer| (Role::Assistant, answer));
        let moment = payload.turn_id.0.or(payload.prompt_id.0);
        let moment = moment.unwrap_or_else(|| received_at.to_rfc3339());
        let drafts = prompts.chain(answer).map(|(role, content)| Draft {
            id: Some(Fingerprint::of_hook(&moment, role, &content).hook_id()),
            role,
            content: match content.trim().is_empty() {
                true => String::new(),
                false => content,
            },
            timestamp: Some(received_at),
            earlier_ids: Vec::new(),
        });
        let path = transcript.clone().unwrap_or_default();
        let session = Session {
            working_dir: payload.cwd.0,
            drafts: drafts.collect(),
            ..Session::new(backend.clone(), id, path)
        };
        let mut recording = session.into_recording()?;
        for message in &mut recording.messages {
            message.origin = KeyOrigin::Hook;
        }
        Ok(Self {
            recording,
            transcript,
        })
    }
}

/// The fields of the events of both agents. Codex' `notify` writes its names with hyphens.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Payload {
    #[serde(rename = "hook_event_name")]
    event: Lenient<String>,
    #[serde(rename = "type")]
    kind: Lenient<String>,
    session_id: Lenient<String>,
    #[serde(rename = "thread-id")]
    thread_id: Lenient<String>,
    prompt_id: Lenient<String>,
    #[serde(alias = "turn-id")]
    turn_id: Lenient<String>,
    agent_id: Lenient<String>,
    transcript_path: Lenient<String>,
    cwd: Lenient<String>,
    prompt: Lenient<String>,
    #[serde(rename = "input-messages")]
    prompts: Lenient<Vec<String>>,
    #[serde(rename = "last_assistant_message", alias = "last-assistant-message")]
    answer: Lenient<String>,
}
