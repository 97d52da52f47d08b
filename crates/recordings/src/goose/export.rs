//! The sessions of a Goose database in the form of `goose session export --format json`, which
//! `goose session import` reads.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use turnkeep_model::SessionId;

use crate::error::Error;
use crate::file_name::component;
use crate::goose::database::{Database, Fields, Index, MessageRow};
use crate::goose::sessions::{open, text};

use crate::time;

/// Exports sessions of a Goose database, which is open for reading.
pub struct Exporter {
    database: Database,
    /// The row of each session.
    sessions: HashMap<Vec<u8>, i64>,
    messages: Index,
}

/// A session as Goose itself exports it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Export {
    /// `sessions/<id>.json`, in which `/`, `\`, `%` and control characters of the id are percent-encoded.
    pub name: String,
    /// JSON, which `goose session import` makes a session of, under a new id.
    pub json: Vec<u8>,
}

/// The columns of a session that Goose exports. Older databases have fewer.
const COLUMNS: [&str; 28] = [
    "name",
    "description",
    "user_set_name",
    "session_type",
    "working_dir",
    "created_at",
    "updated_at",
    "extension_data",
    "total_tokens",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "accumulated_total_tokens",
    "accumulated_input_tokens",
    "accumulated_output_tokens",
    "accumulated_cache_read_tokens",
    "accumulated_cache_write_tokens",
    "accumulated_cost",
    "schedule_id",
    "recipe_json",
    "user_recipe_values_json",
    "provider_name",
    "model_config_json",
    "goose_mode",
    "archived_at",
    "project_id",
    "parent_session_id",
];

/// The fields that a further message changes come last, so that a store keeps only the end of a grown session anew. Goose
/// reads them in any order.
#[derive(Serialize)]
struct Session<'a> {
    id: &'a str,
    session_type: String,
    created_at: String,
    parent_session_id: Option<String>,
    schedule_id: Option<String>,
    recipe: Option<Box<RawValue>>,
    user_recipe_values: Option<Box<RawValue>>,
    conversation: Vec<Message>,
    message_count: usize,
    last_message_at: Option<String>,
    updated_at: String,
    working_dir: String,
    name: String,
    user_set_name: bool,
    extension_data: Box<RawValue>,
    usage: Usage,
    accumulated_usage: Usage,
    accumulated_cost: Option<f64>,
    provider_name: Option<String>,
    model_config: Option<Box<RawValue>>,
    goose_mode: String,
    archived_at: Option<String>,
    project_id: Option<String>,
}

#[derive(Serialize)]
struct Usage {
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    total_tokens: Option<i64>,
    cache_read_input_tokens: Option<i64>,
    cache_write_input_tokens: Option<i64>,
}

#[derive(Serialize)]
struct Message {
    id: Option<String>,
    role: String,
    created: i64,
    content: Box<RawValue>,
    metadata: BTreeMap<String, Box<RawValue>>,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter")
            .field("path", &self.database.path())
            .finish_non_exhaustive()
    }
}

impl Exporter {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let mut database = open(path)?;
        Ok(Self {
            sessions: database.session_numbers()?,
            messages: database.index()?,
            database,
        })
    }

    /// Exports a session with all of its messages: also tool calls, thinking and hidden messages. `None` if
    /// the database does not have the session. Leaves out a message that Goose can't read either, because its
    /// content is not a JSON list.
    ///
    /// The same rows give the same bytes.
    ///
    /// # Errors
    /// [`Error::Database`] and [`Error::TooLarge`] if the rows can't be read.
    pub fn export(&mut self, session_id: &SessionId) -> Result<Option<Export>, Error> {
        let id = session_id.as_str();
        let Some(number) = self.sessions.get(id.as_bytes()) else {
            return Ok(None);
        };
        let fields = self.database.session(*number, &COLUMNS)?;
        let places = self.messages.get(id.as_bytes());
        let places = places.map_or(&[][..], Vec::as_slice);
        let conversation = self.database.messages(places, message)?;
        let conversation = conversation.into_iter().flatten().collect();
        let session = session(id, fields, conversation);
        // Values that were read from JSON are serialized without failing.
        let json = serde_json::to_vec(&session).unwrap_or_default();
        let name = format!("sessions/{}.json", component(id));
        Ok(Some(Export { name, json }))
    }
}

fn session<'a>(id: &'a str, mut fields: Fields, conversation: Vec<Message>) -> Session<'a> {
    let mut field = |name: &str| fields.remove(name);
    let mut usage = |prefix: &str| {
        let mut tokens = |name: &str| number(field(&format!("{prefix}{name}_tokens")));
        Usage {
            input_tokens: tokens("input"),
            output_tokens: tokens("output"),
            total_tokens: tokens("total"),
            cache_read_input_tokens: tokens("cache_read"),
            cache_write_input_tokens: tokens("cache_write"),
        }
    };
    let (last_usage, accumulated_usage) = (usage(""), usage("accumulated_"));
    let name = field("name").filter(|name| !name.is_empty());
    let last = conversation.iter().map(|message| message.created).max();
    Session {
        id,
        session_type: field("session_type").map_or_else(|| "user".to_owned(), text),
        created_at: field("created_at").and_then(date).unwrap_or_else(epoch),
        parent_session_id: field("parent_session_id").map(text),
        schedule_id: field("schedule_id").map(text),
        recipe: json(field("recipe_json"), '{'),
        user_recipe_values: json(field("user_recipe_values_json"), '{'),
        message_count: conversation.len(),
        conversation,
        last_message_at: last.and_then(time::from_goose).map(rfc3339),
        updated_at: field("updated_at").and_then(date).unwrap_or_else(epoch),
        working_dir: field("working_dir").map(text).unwrap_or_default(),
        name: name.or(field("description")).map(text).unwrap_or_default(),
        user_set_name: number(field("user_set_name")) == Some(1),
        extension_data: json(field("extension_data"), '{').unwrap_or_else(empty_object),
        usage: last_usage,
        accumulated_usage,
        accumulated_cost: number(field("accumulated_cost")),
        provider_name: field("provider_name").map(text),
        model_config: json(field("model_config_json"), '{'),
        goose_mode: field("goose_mode").map_or_else(|| "auto".to_owned(), text),
        archived_at: field("archived_at").and_then(date),
        project_id: field("project_id").map(text),
    }
}

fn message(row: MessageRow) -> Option<Message> {
    let role = text(row.role?);
    if role != "user" && role != "assistant" {
        return None;
    }
    let mut metadata: BTreeMap<String, Box<RawValue>> = row
        .metadata_json
        .and_then(|json| serde_json::from_slice(&json).ok())
        .unwrap_or_default();
    // Goose requires both.
    for key in ["userVisible", "agentVisible"] {
        let value = metadata.get(key).map(|value| value.get());
        if !matches!(value, Some("true" | "false")) {
            metadata.insert(key.to_owned(), RawValue::TRUE.to_owned());
        }
    }
    Some(Message {
        id: row.message_id.map(text),
        role,
        created: row.created.unwrap_or_default(),
        content: json(row.content_json, '[')?,
        metadata,
    })
}

/// Parses a number that was read as text.
fn number<T: FromStr>(bytes: Option<Vec<u8>>) -> Option<T> {
    std::str::from_utf8(&bytes?).ok()?.parse().ok()
}

/// Returns a JSON value that begins with this character. `None` for everything else, as Goose does.
fn json(bytes: Option<Vec<u8>>, start: char) -> Option<Box<RawValue>> {
    let value: Box<RawValue> = serde_json::from_slice(&bytes?).ok()?;
    value.get().starts_with(start).then_some(value)
}

fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Converts a time of SQLite, or of RFC 3339.
fn date(bytes: Vec<u8>) -> Option<String> {
    let text = text(bytes);
    let time = NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f");
    let time = time.map(|time| time.and_utc()).ok();
    time.or_else(|| time::from_rfc3339(&text)).map(rfc3339)
}

fn epoch() -> String {
    rfc3339(DateTime::UNIX_EPOCH)
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
