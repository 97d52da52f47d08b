use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use turnkeep_model::Role;

use crate::claude::line::{Author, Line, Message};
use crate::claude::prompt;
use crate::claude::queue::Queue;
use crate::content::{Content, push};
use crate::key::Fingerprint;
use crate::message::Draft;

/// Makes the turns of a session from its lines.
#[derive(Default)]
pub(super) struct Turns {
    pub(super) drafts: Vec<Draft>,
    pub(super) uuids: HashSet<String>,
    queue: Queue,
    /// The ids of enqueued prompts that a line repeats which is no turn.
    pub(super) withdrawn: Vec<String>,
    /// Whether the last line was a turn of the user, and no earlier line concerns a later one.
    pub(super) is_settled: bool,
    /// The index in `drafts` of each assistant message since the last turn of the user.
    open: HashMap<String, usize>,
    /// The ids of all assistant messages. Some gateways give every message the same.
    message_ids: HashSet<String>,
    /// The texts of each assistant message, by its index.
    assistant_texts: HashSet<(usize, Fingerprint)>,
}

impl Turns {
    pub(super) fn line(&mut self, mut line: Line) {
        self.is_settled = false;
        let uuid = line.uuid.0.take().filter(|uuid| !uuid.is_empty());
        if uuid.clone().is_some_and(|uuid| !self.uuids.insert(uuid)) {
            return;
        }
        match line.kind.0.as_deref() {
            Some("user") => {
                let content = line.message.0.take().and_then(|message| message.content.0);
                self.user_line(line, content.unwrap_or_default(), uuid);
            }
            Some("attachment") => {
                let queued = line.attachment.0.as_mut().filter(|it| it.is_queued());
                if let Some(content) = queued.and_then(|it| it.prompt.0.take()) {
                    self.user_line(line, content, uuid);
                }
            }
            Some("queue-operation") if line.operation.0.as_deref() == Some("enqueue") => {
                self.enqueued(&line);
            }
            Some("assistant") => {
                let message = line.message.0.take().unwrap_or_default();
                if line.is_answer(&message) {
                    self.assistant_line(message, line.time(), uuid);
                }
            }
            _ => {}
        }
    }

    fn user_line(&mut self, mut line: Line, content: Content, uuid: Option<String>) {
        let repeated = match line.is_aside() {
            true => Vec::new(),
            false => self.drop_repeated(&content),
        };
        let mut said = String::new();
        match line.author() {
            Author::Program => {}
            Author::Channel => {
                let text = content.texts().find_map(prompt::channel_text);
                push(&mut said, text.unwrap_or_default());
            }
            Author::Person => {
                for answer in line.answers() {
                    push(&mut said, &answer);
                }
                for part in content.parts() {
                    let human = match part.is_refusal {
                        true => Some(part.text.into()),
                        false => prompt::human_text(part.text, line.is_typed()),
                    };
                    push(&mut said, &human.unwrap_or_default());
                }
            }
        }
        if said.is_empty() {
            self.withdrawn.extend(repeated);
            return;
        }
        self.open.clear();
        let timestamp = line.time();
        self.is_settled = self.queue.is_empty() && uuid.is_some() && timestamp.is_some();
        self.drafts.push(Draft {
            role: Role::User,
            content: said,
            timestamp,
            id: uuid,
            earlier_ids: repeated,
        });
    }

    fn enqueued(&mut self, line: &Line) {
        let content = line.content.0.as_deref().unwrap_or_default();
        let timestamp = line.timestamp.0.as_deref().unwrap_or_default();
        let added = self.queue.add(content, timestamp, self.drafts.len());
        self.drafts.extend(added.map(|(content, id)| Draft {
            role: Role::User,
            content,
            timestamp: line.time(),
            id: Some(id),
            earlier_ids: Vec::new(),
        }));
    }

    /// Drops the enqueued prompts that a line repeats, and returns their ids.
    fn drop_repeated(&mut self, content: &Content) -> Vec<String> {
        let mut ids = Vec::new();
        if self.queue.is_empty() {
            return ids;
        }
        let mut text = String::new();
        for part in content.texts() {
            push(&mut text, &prompt::typed_text(part));
        }
        for index in self.queue.take_repeated(&text) {
            self.drafts[index].content.clear();
            ids.extend(self.drafts[index].id.take());
        }
        ids
    }

    /// Adds the texts of a line to the turn of its message.
    ///
    /// Claude Code spreads one API message over several lines, and repeats lines under a new uuid when it
    /// resumes a session. Each different text of a message counts once.
    fn assistant_line(
        &mut self,
        message: Message,
        timestamp: Option<DateTime<Utc>>,
        uuid: Option<String>,
    ) {
        let content = message.content.0.unwrap_or_default();
        let mut texts = content.texts().peekable();
        if texts.peek().is_none() {
            return;
        }
        let message_id = message.id.0.filter(|id| !id.is_empty());
        let next = self.drafts.len();
        let index = match &message_id {
            Some(id) => *self.open.entry(id.clone()).or_insert(next),
            None => next,
        };
        if index == next {
            let new_id = message_id.filter(|id| self.message_ids.insert(id.clone()));
            self.drafts.push(Draft {
                role: Role::Assistant,
                content: String::new(),
                timestamp,
                id: new_id.or(uuid),
                earlier_ids: Vec::new(),
            });
        }
        for text in texts {
            let fingerprint = Fingerprint::of_turn(Role::Assistant, text);
            if self.assistant_texts.insert((index, fingerprint)) {
                push(&mut self.drafts[index].content, text);
            }
        }
    }
}
