//! The tool calls of a session, for people who read it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::io::Read as _;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::error::Error;
use crate::jsonl::for_each_object;
use crate::open::open;

/// A longer input or result is cut to so many bytes: some tools print megabytes.
const LONGEST: usize = 64 * 1024;

/// The longest file that is one JSON value, a session of Goose, in bytes.
const LONGEST_FILE: u64 = 256 * 1024 * 1024;

/// A call of a tool by an agent.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToolCall {
    /// The name of the tool.
    pub name: String,
    /// The command, or the arguments as lines `name: value`. At most 64 KiB.
    pub input: String,
    /// The text of the result. `None` if the recording has none. At most 64 KiB.
    pub output: Option<String>,
    /// The time of the call, UTC. `None` if the recording has no valid one.
    pub timestamp: Option<DateTime<Utc>>,
}

impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolCall")
            .field("name", &self.name)
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}

/// Reads the tool calls of a transcript of Claude Code, a rollout of Codex, or a session of Goose (JSONL or export), in
/// their order. Damaged lines, and the calls of sub-agents in a transcript, are skipped.
///
/// # Errors
///
/// [`Error::NotFound`], [`Error::NotAFile`], [`Error::TooLarge`] and [`Error::Io`] if the file can't be read.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("session.jsonl");
/// std::fs::write(&path, concat!(
///     r#"{"message":{"content":[{"type":"tool_use","id":"1","name":"Bash","input":{"command":"ls"}}]}}"#, "\n",
///     r#"{"message":{"content":[{"type":"tool_result","tool_use_id":"1","content":"a.txt"}]}}"#, "\n",
/// ))?;
/// let call = &turnkeep_recordings::tool_calls(&path)?[0];
/// assert_eq!((&*call.name, &*call.input, call.output.as_deref()), ("Bash", "ls", Some("a.txt")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn tool_calls(path: &Path) -> Result<Vec<ToolCall>, Error> {
    let mut calls = Calls::default();
    if path.extension() == Some(OsStr::new("json")) {
        let mut text = Vec::new();
        let file = open(path)?.take(LONGEST_FILE + 1);
        { file }.read_to_end(&mut text).map_err(Error::io(path))?;
        if text.len() as u64 > LONGEST_FILE {
            let path = path.to_owned();
            return Err(Error::TooLarge { path });
        }
        let session: Value = serde_json::from_slice(&text).unwrap_or_default();
        let messages = ["conversation", "messages"].map(|name| session[name].as_array());
        let messages = messages.into_iter().flatten().flatten();
        messages.for_each(|message| calls.line(message));
    } else {
        for_each_object(path, |line: Value| {
            calls.line(&line);
            true
        })?;
    }
    Ok(calls.calls)
}

#[derive(Default)]
struct Calls {
    calls: Vec<ToolCall>,
    /// The places of the calls without a result, by their ids.
    open: HashMap<String, usize>,
}

impl Calls {
    /// Reads a line, or a message of Goose.
    fn line(&mut self, line: &Value) {
        if line["isSidechain"] == true {
            return;
        }
        let timestamp = line["timestamp"].as_str().and_then(|it| it.parse().ok());
        let created = line["created"].as_i64();
        let timestamp = timestamp.or_else(|| DateTime::from_timestamp(created?, 0));
        let contents = [&line["message"]["content"], &line["content"]];
        for block in contents.into_iter().filter_map(Value::as_array).flatten() {
            self.block(block, timestamp);
        }
        self.payload(&line["payload"], timestamp);
    }

    /// Reads a block of Claude Code or Goose.
    fn block(&mut self, block: &Value, timestamp: Option<DateTime<Utc>>) {
        match block["type"].as_str() {
            Some("tool_use") => {
                self.begin(&block["id"], &block["name"], &block["input"], timestamp)
            }
            Some("tool_result") => self.end(&block["tool_use_id"], &block["content"]),
            Some("toolRequest") => {
                let call = &block["toolCall"]["value"];
                self.begin(&block["id"], &call["name"], &call["arguments"], timestamp);
            }
            Some("toolResponse") => {
                let result = &block["toolResult"];
                self.end(
                    &block["id"],
                    result.get("value").unwrap_or(&result["error"]),
                );
            }
            _ => {}
        }
    }

    /// Reads an item of Codex.
    fn payload(&mut self, item: &Value, timestamp: Option<DateTime<Utc>>) {
        let (id, name) = (&item["call_id"], &item["name"]);
        match item["type"].as_str() {
            Some("function_call") => self.begin(id, name, &item["arguments"], timestamp),
            Some("custom_tool_call") => self.begin(id, name, &item["input"], timestamp),
            Some("local_shell_call") => {
                self.begin(id, &Value::from("shell"), &item["action"], timestamp);
            }
            Some("function_call_output" | "custom_tool_call_output") => {
                self.end(id, &item["output"])
            }
            _ => {}
        }
    }

    fn begin(&mut self, id: &Value, name: &Value, input: &Value, timestamp: Option<DateTime<Utc>>) {
        if let Some(id) = id.as_str() {
            self.open.insert(id.to_owned(), self.calls.len());
        }
        self.calls.push(ToolCall {
            name: cut(name.as_str().unwrap_or("tool").to_owned()),
            input: cut(in_words(input)),
            output: None,
            timestamp,
        });
    }

    fn end(&mut self, id: &Value, output: &Value) {
        let place = id.as_str().and_then(|id| self.open.remove(id));
        if let Some(call) = place.and_then(|place| self.calls.get_mut(place)) {
            call.output = Some(cut(result(output)));
        }
    }
}

/// Returns the command among the arguments, or all of them as lines.
fn in_words(input: &Value) -> String {
    if let Some(text) = input.as_str() {
        // Codex has the arguments as JSON in a text.
        let parsed: Option<Value> = serde_json::from_str(text).ok();
        return match parsed.filter(Value::is_object) {
            Some(arguments) => in_words(&arguments),
            None => text.to_owned(),
        };
    }
    let Some(arguments) = input.as_object() else {
        return plain(input);
    };
    if let Some(command) = ["command", "cmd"]
        .iter()
        .find_map(|name| arguments.get(*name))
    {
        return plain(command);
    }
    let lines = arguments
        .iter()
        .map(|(name, value)| format!("{name}: {}", plain(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns a text as it is, a list of texts as one, and other values as JSON.
fn plain(value: &Value) -> String {
    let words = value.as_array().map(|list| list.iter().map(Value::as_str));
    match (
        value,
        words.and_then(|words| words.collect::<Option<Vec<_>>>()),
    ) {
        (Value::String(text), _) => text.clone(),
        (Value::Null, _) => String::new(),
        (_, Some(words)) => words.join(" "),
        _ => value.to_string(),
    }
}

/// Returns the texts of a result. Codex has an object as JSON in a text, and Goose one with a list.
fn result(output: &Value) -> String {
    match output {
        Value::String(text) => {
            let parsed: Option<Value> = Some(text)
                .filter(|it| it.starts_with('{'))
                .and_then(|it| serde_json::from_str(it).ok());
            let inner = parsed.as_ref().and_then(|it| it["output"].as_str());
            inner.unwrap_or(text).to_owned()
        }
        Value::Array(blocks) => {
            let texts = blocks.iter().map(|block| match block["text"].as_str() {
                Some(text) => text.to_owned(),
                None => format!("[{}]", block["type"].as_str().unwrap_or("value")),
            });
            texts.collect::<Vec<_>>().join("\n")
        }
        Value::Object(fields) => {
            let inner = ["content", "output"]
                .iter()
                .find_map(|name| fields.get(*name));
            inner.map_or_else(|| output.to_string(), result)
        }
        _ => plain(output),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let boundary = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(boundary.unwrap_or(0));
        text.push('…');
    }
    text
}
