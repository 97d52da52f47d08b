//! The tokens that agents have recorded of their answers.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufReader, Read};
use std::ops::{AddAssign, Sub};
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::error::Error;
use crate::jsonl::{for_each_text, parse};
use crate::lenient::{Lenient, from_object};
use crate::time;

/// A longer name of a model is cut to so many characters.
const LONGEST_MODEL: usize = 64;

/// Numbers of tokens, as an agent has counted them. No token is in two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Tokens {
    /// Read by the model, without those of a cache.
    pub input: u64,
    /// Read from a cache.
    pub cache_read: u64,
    /// Read, and written into a cache.
    pub cache_write: u64,
    /// Written by the model, with its reasoning.
    pub output: u64,
}

impl Tokens {
    fn map(self, other: Self, each: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            input: each(self.input, other.input),
            cache_read: each(self.cache_read, other.cache_read),
            cache_write: each(self.cache_write, other.cache_write),
            output: each(self.output, other.output),
        }
    }

    /// Returns the sum of all numbers, at most [`u64::MAX`].
    #[must_use]
    pub fn sum(&self) -> u64 {
        let input = self.input.saturating_add(self.cache_read);
        input
            .saturating_add(self.cache_write)
            .saturating_add(self.output)
    }
}

/// Saturates.
impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        *self = self.map(other, u64::saturating_add);
    }
}

/// Saturates.
impl Sub for Tokens {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.map(other, u64::saturating_sub)
    }
}

/// The tokens of an answer of a model, or of a whole session of Goose.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenRecord {
    /// Of the answer, or of copies of it in other files, for instance those of a fork. Different answers have different
    /// ones, as far as 64 bits can tell.
    pub answer: u64,
    /// The time of the answer, UTC. `None` if the recording has no valid one.
    pub timestamp: Option<DateTime<Utc>>,
    /// The model, at most 64 characters. `None` if the recording does not say.
    pub model: Option<String>,
    /// The tokens. Not all are 0.
    pub tokens: Tokens,
}

/// Reads the tokens in a file of Claude Code, Codex or Goose, and passes them to `on_record` in the order of the file.
/// Other files, and damaged lines, have none. `name` is the name of the file; `*.zst` is decompressed, and `*.json` is
/// an export of Goose. `length` is its length in bytes.
///
/// Claude Code writes an answer over several lines with the same id, of which each repeats the tokens: they are one
/// record. Codex counts the tokens of a whole session: a record has those that have been added. A Goose session is one
/// record, with the time of its last change.
///
/// A file may repeat an answer at another place, and another file may have a copy: count each [`TokenRecord::answer`]
/// once.
///
/// # Errors
///
/// [`Error::Io`] and [`Error::TooLarge`] if the file can't be read to its end.
///
/// ```
/// let line = r#"{"type":"assistant","timestamp":"2026-02-03T08:00:00Z","message":{"id":"msg_01","model":"opus",
///     "usage":{"input_tokens":4,"cache_read_input_tokens":900,"output_tokens":7}}}"#.replace('\n', "");
/// let mut records = Vec::new();
/// let lines = format!("{line}\n{line}\n");
/// turnkeep_recordings::token_records("s.jsonl".as_ref(), lines.as_bytes(), lines.len() as u64, &mut |record| {
///     records.push(record);
/// })?;
/// assert_eq!((records.len(), records[0].tokens.output, records[0].tokens.sum()), (1, 7, 911));
/// # Ok::<(), turnkeep_recordings::Error>(())
/// ```
pub fn token_records(
    name: &Path,
    file: impl Read,
    length: u64,
    on_record: &mut dyn FnMut(TokenRecord),
) -> Result<(), Error> {
    if name.extension().is_some_and(|it| it == "json") {
        // Whatever is not an export has no tokens.
        let session = serde_json::from_reader(BufReader::new(file));
        return match session {
            Ok(session) => {
                on_record_of(goose(session), on_record);
                Ok(())
            }
            Err(error) if error.is_io() => Err(Error::io(name)(error.into())),
            Err(_) => Ok(()),
        };
    }
    let mut reader = Reader::default();
    for_each_text(name, file, length, |text| {
        if PARTS.iter().any(|part| text.contains(part))
            && let Some(line) = parse(text)
        {
            on_record_of(reader.line(line), on_record);
        } else if text.contains("\"user\"") {
            on_record_of(reader.prompted(), on_record);
        }
        true
    })?;
    on_record_of(reader.end(), on_record);
    Ok(())
}

fn on_record_of(record: Option<TokenRecord>, on_record: &mut dyn FnMut(TokenRecord)) {
    if let Some(record) = record.filter(|record| record.tokens != Tokens::default()) {
        on_record(record);
    }
}

/// One of these is in each line that is parsed. In a text of a conversation the quotation marks are escaped.
const PARTS: [&str; 4] = [
    "\"usage\"",
    "\"token_count\"",
    "\"turn_context\"",
    "\"session_meta\"",
];

/// A line of Claude Code or Codex.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    #[serde(rename = "type")]
    kind: Lenient<String>,
    timestamp: Lenient<String>,
    uuid: Lenient<String>,
    message: Lenient<Message>,
    payload: Lenient<Payload>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    id: Lenient<String>,
    model: Lenient<String>,
    usage: Lenient<Usage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Payload {
    id: Lenient<String>,
    model: Lenient<String>,
    info: Lenient<Info>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Info {
    total_token_usage: Lenient<Usage>,
    last_token_usage: Lenient<Usage>,
}

/// An export of Goose.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Session {
    id: Lenient<String>,
    created_at: Lenient<String>,
    updated_at: Lenient<String>,
    accumulated_usage: Lenient<Usage>,
    model_config: Lenient<ModelConfig>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ModelConfig {
    model_name: Lenient<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    input_tokens: Lenient<i64>,
    output_tokens: Lenient<i64>,
    // Of Claude Code.
    cache_creation_input_tokens: Lenient<i64>,
    // Of Claude Code and Goose.
    cache_read_input_tokens: Lenient<i64>,
    // Of Codex.
    cached_input_tokens: Lenient<i64>,
    // Of Codex and Goose.
    cache_write_input_tokens: Lenient<i64>,
}

from_object!(Message, Payload, Info, ModelConfig, Usage);

impl Usage {
    /// Of Claude Code, whose input is without the caches.
    fn of_claude(&self) -> Tokens {
        Tokens {
            input: number(&self.input_tokens),
            cache_read: number(&self.cache_read_input_tokens),
            cache_write: number(&self.cache_creation_input_tokens),
            output: number(&self.output_tokens),
        }
    }

    /// Of Codex and Goose, whose input is with the caches.
    fn with_caches(&self) -> Tokens {
        let read = number(&self.cached_input_tokens).max(number(&self.cache_read_input_tokens));
        let cache_write = number(&self.cache_write_input_tokens);
        Tokens {
            input: number(&self.input_tokens).saturating_sub(read.saturating_add(cache_write)),
            cache_read: read,
            cache_write,
            output: number(&self.output_tokens),
        }
    }
}

fn number(field: &Lenient<i64>) -> u64 {
    field.0.and_then(|it| u64::try_from(it).ok()).unwrap_or(0)
}

/// Makes records of the lines of a file.
#[derive(Default)]
struct Reader {
    /// The last answer of Claude Code, with its id. The next line may have more of it.
    open: Option<(String, TokenRecord)>,
    // The state of Codex. A fork begins with the lines of its parent, the header included, so both have the same state at
    // the same line.
    thread: String,
    model: Option<String>,
    total: Option<Tokens>,
}

impl Reader {
    fn line(&mut self, line: Line) -> Option<TokenRecord> {
        let timestamp = line.timestamp.0.as_deref().and_then(time::from_rfc3339);
        if let Some(payload) = line.payload.0 {
            return self.payload(line.kind.0.as_deref(), payload, timestamp);
        }
        // The result of a subagent has a `usage` too, which its own recording counts.
        if line.kind.0.as_deref() == Some("user") {
            return self.prompted();
        }
        let message = line.message.0?;
        let tokens = message.usage.0?.of_claude();
        let id = message.id.0.unwrap_or_default();
        if let Some((open, record)) = &mut self.open
            && *open == id
            && !id.is_empty()
        {
            // The first lines may have been written before the answer was whole.
            record.tokens = record.tokens.map(tokens, u64::max);
            return None;
        }
        let uuid = line.uuid.0.unwrap_or_default();
        let record = TokenRecord {
            answer: match is_unique(&id) {
                true => hash(&id),
                false => hash(&(uuid, timestamp)),
            },
            timestamp,
            model: message.model.0.map(cut),
            tokens,
        };
        self.open.replace((id, record)).map(|(_, record)| record)
    }

    /// Reads another line of the user. It ends an answer that can't be told from the next by its id.
    fn prompted(&mut self) -> Option<TokenRecord> {
        let open = self.open.take_if(|(id, _)| !is_unique(id));
        open.map(|(_, record)| record)
    }

    fn end(&mut self) -> Option<TokenRecord> {
        self.open.take().map(|(_, record)| record)
    }

    fn payload(
        &mut self,
        kind: Option<&str>,
        payload: Payload,
        timestamp: Option<DateTime<Utc>>,
    ) -> Option<TokenRecord> {
        match kind {
            Some("session_meta") => self.thread = payload.id.0.unwrap_or_default(),
            Some("turn_context") => self.model = payload.model.0.map(cut),
            _ => {}
        }
        let info = payload.info.0?;
        let total = info.total_token_usage.0?.with_caches();
        let last = info.last_token_usage.0.map(|last| last.with_caches());
        let tokens = match self.total {
            Some(before) if before.sum() <= total.sum() => total - before,
            // Counted anew.
            Some(_) => total,
            // A fork counts on from its parent, whose lines may be in another file.
            None => last.unwrap_or(total),
        };
        self.total = Some(total);
        Some(TokenRecord {
            answer: hash(&(&self.thread, total)),
            timestamp,
            model: self.model.clone(),
            tokens,
        })
    }
}

fn goose(session: Session) -> Option<TokenRecord> {
    let updated_at = session.updated_at.0;
    Some(TokenRecord {
        // The ids are unique only in one database.
        answer: hash(&(session.id.0, session.created_at.0, &updated_at)),
        timestamp: updated_at.as_deref().and_then(time::from_rfc3339),
        model: session
            .model_config
            .0
            .and_then(|it| it.model_name.0)
            .map(cut),
        tokens: session.accumulated_usage.0?.with_caches(),
    })
}

/// Whether an id tells an answer from all others. Some gateways give every answer the same, such as `msg_proxy_stream`.
fn is_unique(id: &str) -> bool {
    id.contains(|it: char| it.is_ascii_digit())
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn cut(model: String) -> String {
    match model.char_indices().nth(LONGEST_MODEL) {
        Some((end, _)) => model[..end].to_owned(),
        None => model,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(name: &str, lines: &[Value]) -> Vec<TokenRecord> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let mut records = Vec::new();
        token_records(
            name.as_ref(),
            text.as_bytes(),
            text.len() as u64,
            &mut |record| records.push(record),
        )
        .unwrap();
        records
    }

    fn tokens(records: &[TokenRecord]) -> Vec<[u64; 4]> {
        let of = |it: &TokenRecord| it.tokens;
        let each = |it: Tokens| [it.input, it.cache_read, it.cache_write, it.output];
        records.iter().map(of).map(each).collect()
    }

    fn claude(id: &str, uuid: &str, usage: Value) -> Value {
        json!({"type": "assistant", "uuid": uuid, "timestamp": "2026-02-03T08:00:00Z",
            "message": {"id": id, "model": "opus", "usage": usage}})
    }

    fn user() -> Value {
        json!({"type": "user", "message": {"content": "Say \"usage\""}})
    }

    #[test]
    fn the_lines_of_an_answer_are_one_record_with_its_last_numbers() {
        let usage = |output| {
            json!({"input_tokens": 4, "cache_creation_input_tokens": 20,
            "cache_read_input_tokens": 300, "output_tokens": output})
        };
        let records = read(
            "s.jsonl",
            &[
                claude("msg_1", "a", usage(3)),
                user(),
                claude("msg_1", "b", usage(170)),
                claude("msg_2", "c", usage(5)),
                claude("msg_1", "a", usage(170)),
            ],
        );
        assert_eq!(
            tokens(&records),
            [[4, 300, 20, 170], [4, 300, 20, 5], [4, 300, 20, 170]]
        );
        assert_eq!(records[0].answer, records[2].answer, "counted once");
        assert_ne!(records[0].answer, records[1].answer);
        assert_eq!(records[0].model.as_deref(), Some("opus"));
        assert_eq!(
            records[0].timestamp,
            Some("2026-02-03T08:00:00Z".parse().unwrap())
        );
    }

    #[test]
    fn the_same_id_for_every_answer_does_not_make_them_one() {
        let answer = |uuid| claude("msg_proxy_stream", uuid, json!({"output_tokens": 7}));
        let lines = [answer("a"), answer("b"), user(), answer("c")];
        let records = read("s.jsonl", &lines);
        assert_eq!(tokens(&records), [[0, 0, 0, 7], [0, 0, 0, 7]]);
        assert_ne!(records[0].answer, records[1].answer);
        // A copy in another file has the same lines.
        assert_eq!(read("t.jsonl", &lines)[1].answer, records[1].answer);

        let mut result = user();
        result["toolUseResult"] = json!({"usage": {"output_tokens": 90}});
        let records = read("s.jsonl", &[answer("a"), result, answer("b")]);
        assert_eq!(tokens(&records), [[0, 0, 0, 7], [0, 0, 0, 7]]);
    }

    fn header(thread: &str) -> Value {
        json!({"type": "session_meta", "payload": {"id": thread}})
    }

    fn count(total: [i64; 3], last: [i64; 3]) -> Value {
        let usage = |[input, cached, output]: [i64; 3]| json!({"input_tokens": input, "cached_input_tokens": cached, "output_tokens": output});
        json!({"type": "event_msg", "timestamp": "2026-02-03T08:00:00Z", "payload": {"type": "token_count",
            "info": {"total_token_usage": usage(total), "last_token_usage": usage(last)}}})
    }

    #[test]
    fn codex_counts_the_whole_session_and_a_record_what_was_added() {
        let model = json!({"type": "turn_context", "payload": {"model": "gpt"}});
        let none = json!({"type": "event_msg", "payload": {"type": "token_count", "info": null}});
        let parent = [
            header("p"),
            model,
            none,
            count([100, 60, 5], [100, 60, 5]),
            count([100, 60, 5], [100, 60, 5]),
            count([300, 160, 9], [200, 100, 4]),
        ];
        let records = read("rollout.jsonl", &parent);
        assert_eq!(tokens(&records), [[40, 60, 0, 5], [100, 100, 0, 4]]);
        assert_eq!(records[1].model.as_deref(), Some("gpt"));

        let fork = [
            &[header("f")],
            &parent[..],
            &[count([350, 160, 10], [50, 0, 1])],
        ]
        .concat();
        let copied = read("fork.jsonl", &fork);
        assert_eq!(tokens(&copied)[2..], [[50, 0, 0, 1]]);
        let answers = |records: &[TokenRecord]| -> Vec<_> {
            records.iter().map(|record| record.answer).collect()
        };
        assert_eq!(answers(&copied)[..2], answers(&records));

        // The parent is another file; then the numbers begin anew.
        let lines = [
            header("g"),
            count([350, 160, 10], [50, 0, 1]),
            count([20, 0, 2], [20, 0, 2]),
        ];
        assert_eq!(
            tokens(&read("g.jsonl", &lines)),
            [[50, 0, 0, 1], [20, 0, 0, 2]]
        );
    }

    #[test]
    fn an_export_of_goose_is_one_record() {
        let usage = json!({"input_tokens": 50, "output_tokens": 6, "cache_read_input_tokens": 30});
        let session = json!({"id": "1", "updated_at": "2026-02-03T08:00:00Z", "conversation": [{"usage": 1}],
            "accumulated_usage": usage, "model_config": {"model_name": "sonnet"}});
        let records = read("sessions/1.json", &[session]);
        assert_eq!(tokens(&records), [[20, 30, 0, 6]]);
        assert_eq!(records[0].model.as_deref(), Some("sonnet"));
        for other in [json!([1]), json!("x"), json!({"id": 1})] {
            assert_eq!(read("meta.json", &[other]), []);
        }
        assert_eq!(read("empty.json", &[]), []);
    }

    #[test]
    fn odd_numbers_count_as_none_and_sums_do_not_overflow() {
        for odd in [
            json!(-5),
            json!("7"),
            json!(1.5),
            json!(null),
            json!([1]),
            json!(u64::MAX),
        ] {
            let line = claude(
                "msg_1",
                "a",
                json!({"input_tokens": odd, "output_tokens": 1}),
            );
            assert_eq!(tokens(&read("s.jsonl", &[line])), [[0, 0, 0, 1]]);
        }
        let huge = claude(
            "msg_1",
            "a",
            json!({"input_tokens": i64::MAX, "output_tokens": i64::MAX,
            "cache_read_input_tokens": i64::MAX}),
        );
        let mut sum = read("s.jsonl", &[huge])[0].tokens;
        assert_eq!(sum.sum(), u64::MAX);
        sum += sum;
        sum += sum;
        assert_eq!(sum.input, u64::MAX);
        let totals = [
            header("t"),
            count([9, 50, -1], [9, 50, -1]),
            count([i64::MAX, 0, 1], [0, 0, 0]),
        ];
        let records = read("t.jsonl", &totals);
        assert_eq!(tokens(&records)[0], [0, 50, 0, 0]);
        let long = "m".repeat(1_000);
        let line = json!({"message": {"id": "1", "model": long, "usage": {"output_tokens": 1}}});
        assert_eq!(
            read("s.jsonl", &[line])[0].model.as_ref().unwrap().len(),
            64
        );
        for odd in [
            json!({"usage": 1}),
            json!({"message": "usage"}),
            json!({"payload": {"info": 1}}),
        ] {
            assert_eq!(read("s.jsonl", &[odd]), []);
        }
    }

    #[test]
    fn damaged_lines_are_skipped_and_a_compressed_rollout_is_read() {
        let text = format!(
            "{}\nnonsense \"usage\"\n{{\"message\":{{\"usage\"\n{}",
            header("t"),
            count([9, 0, 1], [9, 0, 1])
        );
        for (name, bytes) in [
            ("r.jsonl", text.clone().into_bytes()),
            ("r.jsonl.zst", zstd::encode_all(text.as_bytes(), 3).unwrap()),
        ] {
            let mut records = Vec::new();
            let length = bytes.len() as u64;
            let mut add = |record| records.push(record);
            token_records(name.as_ref(), bytes.as_slice(), length, &mut add).unwrap();
            assert_eq!(tokens(&records), [[9, 0, 0, 1]], "{name}");
        }
    }
}
