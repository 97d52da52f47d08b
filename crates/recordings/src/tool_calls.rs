//! The tool calls of a session, for people who read it.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::fmt;
use std::io::{BufReader, Read};
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;
use serde_json::value::RawValue;
use turnkeep_model::{RecordingFile, SessionId};

use crate::error::Error;
use crate::file_name::component;
use crate::jsonl::{for_each_text, parse};
use crate::open::open;

/// A longer input or result is cut to so many bytes: some tools print megabytes.
const LONGEST: usize = 64 * 1024;

/// The longest file that is one JSON value, a session of Goose, in bytes.
const LONGEST_FILE: u64 = 256 * 1024 * 1024;

/// The longest line, or message of Goose, that is parsed, in bytes. Parsed, a hostile one takes many times as much.
const LONGEST_LINE: usize = 16 * 1024 * 1024;

/// The calls that wait for their results.
const MOST_OPEN: usize = 100;

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
    let file = open(path)?;
    let length = file.metadata().map_err(Error::io(path))?.len();
    let mut calls = Vec::new();
    for_each_tool_call(path, file, length, |number, call| {
        calls.push((number, call));
        true
    })?;
    calls.sort_by_key(|(number, _)| *number);
    Ok(calls.into_iter().map(|(_, call)| call).collect())
}

/// Visits the tool calls of a file like [`tool_calls`], with few of them in memory. `name` is the name of the file:
/// `*.zst` is decompressed, and `*.json` is an export of Goose. `length` is its length in bytes; no more are read.
///
/// Each call has its number in the order of the file, from 0. It comes as soon as its result is read; without one at the
/// end of the file, or when 100 later calls wait for theirs. `visit` returns `false` to stop: then no more of the file is
/// read.
///
/// # Errors
///
/// [`Error::Io`] and [`Error::TooLarge`] if the file can't be read as far as that.
///
/// ```
/// let line = r#"{"message":{"content":[{"type":"tool_use","id":"1","name":"Bash","input":{"command":"ls"}}]}}"#;
/// let length = line.len() as u64;
/// turnkeep_recordings::for_each_tool_call("s.jsonl".as_ref(), line.as_bytes(), length, |number, call| {
///     assert_eq!((number, &*call.name), (0, "Bash"));
///     true
/// })?;
/// # Ok::<(), turnkeep_recordings::Error>(())
/// ```
pub fn for_each_tool_call(
    name: &Path,
    file: impl Read,
    length: u64,
    visit: impl FnMut(usize, ToolCall) -> bool,
) -> Result<(), Error> {
    let file = file.take(length);
    let mut calls = Calls {
        visit,
        next: 0,
        open: VecDeque::new(),
        is_stopped: false,
    };
    let read = |line: &str| {
        if line.len() <= LONGEST_LINE
            && let Some(line) = parse(line)
        {
            calls.line(&line);
        }
        !calls.is_stopped
    };
    if name.extension().is_some_and(|it| it == "json") {
        if length > LONGEST_FILE {
            let path = name.to_owned();
            return Err(Error::TooLarge { path });
        }
        for_each_message(name, file, read)?;
    } else {
        for_each_text(name, file, length, read)?;
    }
    while let Some(open) = calls.open.pop_front() {
        calls.visit(open.number, open.call);
    }
    Ok(())
}

/// Returns the file among those that a store keeps for a task that is the recording of this session itself, not one of a
/// sub-agent or a parent. `None` if there is none. Of several states of the file it is the one with the highest number, and of
/// several names the first one by their bytes. The order of `files` does not matter.
///
/// Their names are those of [`KeptFile`](crate::KeptFile).
#[must_use]
pub fn transcript<'a>(
    files: &'a [RecordingFile],
    session: &SessionId,
) -> Option<&'a RecordingFile> {
    let id = component(session.as_str());
    let is_own = |file: &&RecordingFile| {
        let name = Path::new(file.name.as_str());
        let name = name.file_name().unwrap_or_default().to_string_lossy();
        let stem = [".jsonl", ".jsonl.zst", ".json"];
        let stem = stem.iter().find_map(|suffix| name.strip_suffix(suffix));
        let rollout = stem.and_then(|stem| stem.strip_prefix("rollout-"));
        stem.is_some_and(|stem| stem == id)
            || rollout
                .and_then(|it| it.split_once(&*id))
                .is_some_and(|(time, reverted)| {
                    time.ends_with('-') && (reverted.is_empty() || reverted.starts_with('_'))
                })
    };
    files
        .iter()
        .filter(is_own)
        .min_by_key(|file| (&file.name, Reverse(file.number)))
}

/// Visits the messages of a session of Goose that is one JSON value, up to a damaged one.
fn for_each_message(
    name: &Path,
    file: impl Read,
    visit: impl FnMut(&str) -> bool,
) -> Result<(), Error> {
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(file));
    match json.deserialize_map(Session(visit)) {
        Err(error) if error.is_io() => Err(Error::io(name)(error.into())),
        _ => Ok(()),
    }
}

struct Session<V>(V);

impl<'de, V: FnMut(&str) -> bool> Visitor<'de> for Session<V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a session")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            match &*name {
                "conversation" | "messages" => fields.next_value_seed(Messages(&mut self.0))?,
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct Messages<'a, V>(&'a mut V);

impl<'de, V: FnMut(&str) -> bool> DeserializeSeed<'de> for Messages<'_, V> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, V: FnMut(&str) -> bool> Visitor<'de> for Messages<'_, V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("messages")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut messages: A) -> Result<(), A::Error> {
        while let Some(message) = messages.next_element::<Box<RawValue>>()? {
            if !(self.0)(message.get()) {
                return Err(A::Error::custom("the visitor has stopped"));
            }
        }
        Ok(())
    }
}

struct Calls<V> {
    visit: V,
    /// The number of the next call.
    next: usize,
    /// The calls without a result, in their order.
    open: VecDeque<OpenCall>,
    is_stopped: bool,
}

struct OpenCall {
    number: usize,
    id: String,
    call: ToolCall,
}

impl<V: FnMut(usize, ToolCall) -> bool> Calls<V> {
    fn visit(&mut self, number: usize, call: ToolCall) {
        self.is_stopped = self.is_stopped || !(self.visit)(number, call);
    }

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
        let call = ToolCall {
            name: cut(name.as_str().unwrap_or("tool").to_owned()),
            input: cut(in_words(input)),
            output: None,
            timestamp,
        };
        let number = self.next;
        self.next += 1;
        let Some(id) = id.as_str() else {
            return self.visit(number, call);
        };
        let id = id.to_owned();
        self.open.push_back(OpenCall { number, id, call });
        if self.open.len() > MOST_OPEN
            && let Some(oldest) = self.open.pop_front()
        {
            self.visit(oldest.number, oldest.call);
        }
    }

    fn end(&mut self, id: &Value, output: &Value) {
        // The last one, if an id is there twice.
        let place = self.open.iter().rposition(|open| *id == *open.id);
        if let Some(mut open) = place.and_then(|place| self.open.remove(place)) {
            open.call.output = Some(cut(result(output)));
            self.visit(open.number, open.call);
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
